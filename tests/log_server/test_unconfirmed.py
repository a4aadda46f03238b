"""R-05 for a log that grew without a server: what was committed while nobody asked the witnesses was never signed."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from teelog.errors import ConfigError
from teelog.log_server import unconfirmed
from teelog.log_server.allow import allow
from teelog.log_server.clock import SystemClock
from teelog.log_server.create import create
from teelog.log_server.directory import LogDirectory
from teelog.log_server.seams import RolledBack
from teelog.log_server.writer import Writer
from teelog.tlog.policy import Policy, parse_policy
from teelog.witness import admin
from tests.log_server.rig import ORIGIN
from tests.statement import make
from tests.witness.harness import Clock, Desk
from tests.witness.http_harness import live


@asynccontextmanager
async def witnessed(folder: Path) -> AsyncIterator[tuple[Desk, Policy]]:
    """A log in ``folder/LOG`` and its one witness."""
    created = create(folder / "LOG", ORIGIN, SystemClock())
    desk = Desk(folder / "W", start=False)
    admin.run(desk.path, admin.AddLog(tuple(str(key) for key in created.vkeys)))
    desk.clock = SystemSeconds()
    desk.start()
    with desk:
        async with live(desk) as witness:
            key = desk.witness.signers[0].verifier
            yield desk, parse_policy(f"witness w {key} {witness.url}\nquorum w\n".encode())


class SystemSeconds(Clock):
    def __call__(self) -> int:
        return SystemClock().now_ms() // 1000


async def published(path: Path, policy: Policy) -> int:
    """Serves until all that is committed is published; its size. Raises what stopped the writer."""
    writer = Writer.open(path, policy)
    try:
        writer.start()
        async with asyncio.timeout(30):
            while not writer.sequencer.stopped.done():
                status = writer.sequencer.status()
                if status["confirmed"] and status["size"] == status["published_size"]:
                    return int(str(status["size"]))
                await asyncio.sleep(0.01)
        await writer.stopped()
        raise AssertionError("the writer stopped without a reason")
    finally:
        await writer.close()


async def test_F_15_an_older_copy_that_grew_without_a_server_is_refused_before_a_signature(tmp_path: Path) -> None:
    path, older = tmp_path / "LOG", tmp_path / "OLD"
    async with witnessed(tmp_path) as (desk, policy):
        assert await published(path, policy) == 1
        shutil.copytree(path, older)
        assert not (await allow(path, make.namespace_file(), SystemClock())).published
        assert await published(path, policy) == 2
        # The same number of entries, others: only the mark tells that these were never signed.
        await allow(older, make.namespace_file(namespace="beta.example"), SystemClock())
        with pytest.raises(RolledBack, match="more of this log than this directory knows of"):
            await published(older, policy)
        assert desk.witness.evidence.fork_files() == []


async def test_growth_without_a_server_is_published_and_the_mark_goes(tmp_path: Path) -> None:
    path = tmp_path / "LOG"
    async with witnessed(tmp_path) as (_, policy):
        await allow(path, make.namespace_file(), SystemClock())
        assert unconfirmed.read(LogDirectory(path).unconfirmed) == 1
        assert await published(path, policy) == 2
        assert unconfirmed.read(LogDirectory(path).unconfirmed) is None
        assert await published(path, policy) == 2


def test_the_oldest_mark_stays_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "unconfirmed"
    unconfirmed.mark(path, 7)
    unconfirmed.mark(path, 9)
    assert unconfirmed.read(path) == 7
    unconfirmed.clear(path)
    unconfirmed.clear(path)
    assert unconfirmed.read(path) is None
    path.write_bytes(b"")
    with pytest.raises(ConfigError):
        unconfirmed.read(path)
