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
from teelog.log_server.seams import Fenced, RolledBack
from teelog.log_server.state import SqliteState
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
        async with asyncio.timeout(120):
            while not writer.sequencer.stopped.done():
                status = writer.sequencer.status()
                if status["confirmed"] and status["writing"] and status["size"] == status["published_size"]:
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
        assert not (await allow(path, make.namespace_file(), SystemClock())).entered.published
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


async def cut_off_before_publication(path: Path, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that ends between the witness's cosignature and the publication, as a kill there would."""

    def killed(*_: object) -> None:
        raise Fenced("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteState, "publish", killed)
        with pytest.raises(Fenced):
            await published(path, policy)


async def test_F_03_what_was_cosigned_and_not_published_before_a_kill_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "LOG"
    async with witnessed(tmp_path) as (desk, policy):
        assert await published(path, policy) == 1
        await allow(path, make.namespace_file(), SystemClock())
        await cut_off_before_publication(path, policy, monkeypatch)
        assert unconfirmed.read(LogDirectory(path).unconfirmed) is None  # gone before the signature, which is out
        assert await published(path, policy) == 2
        assert desk.witness.evidence.fork_files() == []


async def test_R_05_an_older_copy_with_a_committed_batch_goes_on_only_while_nobody_went_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, older, oldest = tmp_path / "LOG", tmp_path / "OLD", tmp_path / "OLDEST"
    beta = make.namespace_file(namespace="beta.example")
    async with witnessed(tmp_path) as (desk, policy):
        assert await published(path, policy) == 1
        await allow(path, make.namespace_file(), SystemClock())
        await cut_off_before_publication(path, policy, monkeypatch)
        shutil.copytree(path, older)
        shutil.copytree(path, oldest)
        assert await published(path, policy) == 2
        # The same batch, committed by a process that had been confirmed: its tree is the witness's.
        assert await published(older, policy) == 2
        await allow(path, beta, SystemClock())
        assert await published(path, policy) == 3
        # What came on top of it without a server is the mark's: size 2 may have been signed, size 3 was not.
        await allow(oldest, make.namespace_file(namespace="gamma.example"), SystemClock())
        assert unconfirmed.read(LogDirectory(oldest).unconfirmed) == 2
        for copy in (older, oldest):
            with pytest.raises(RolledBack, match="more of this log than this directory knows of"):
                await published(copy, policy)
        assert desk.witness.evidence.fork_files() == []


async def test_a_mark_outlives_a_start_that_no_witness_confirms(tmp_path: Path) -> None:
    path = tmp_path / "LOG"
    async with witnessed(tmp_path) as (_, policy):
        assert await published(path, policy) == 1
        await allow(path, make.namespace_file(), SystemClock())
    writer = Writer.open(path, policy)  # the witness is gone
    writer.start()
    while not any(item.failure for item in writer.cosigners.witnesses):
        await asyncio.sleep(0.01)
    await writer.close()
    assert unconfirmed.read(LogDirectory(path).unconfirmed) == 1


async def test_a_reload_after_the_mark_is_gone_is_not_held_against_the_log(tmp_path: Path) -> None:
    path = tmp_path / "LOG"
    async with witnessed(tmp_path) as (_, policy):
        await allow(path, make.namespace_file(), SystemClock())
        writer = Writer.open(path, policy)
        assert writer.sequencer.signed_at_most == 1
        writer.start()
        async with asyncio.timeout(120):
            while writer.sequencer.status()["published_size"] != 2:
                await asyncio.sleep(0.01)
        assert writer.sequencer.signed_at_most is None
        await writer.close()


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
