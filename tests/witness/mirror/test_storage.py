"""A mirror signs nothing that is not on the disk, and goes on after a kill or a fault at any step."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from teelog.client.mirror_folder import MirrorFolder
from teelog.errors import ConfigError, UnavailableError
from teelog.tlog import note
from teelog.witness.mirror import directory
from teelog.witness.mirror.storage import MirroredLog
from tests.witness.harness import Desk, Log
from tests.witness.mirror.mirroring import HASH, mirroring

STEPS = ("saved", "committed", "signed", "shown")


class Killed(BaseException):
    """As if the process had gone."""


@pytest.mark.parametrize("killed", STEPS)
@pytest.mark.parametrize("size", [300, 512, 700])
def test_MI_34_MI_35_a_kill_at_any_step_leaves_nothing_signed_that_is_not_durable(
    desk: Desk, log: Log, tmp_path: Path, killed: str, size: int
) -> None:
    folder = tmp_path / "m"

    async def first() -> None:
        armed = [True]

        def step(name: str) -> None:
            if name == killed and armed[0]:
                armed[0] = False
                raise Killed

        async with mirroring(desk, folder, step=step) as mirror:
            mirror.pend(log, 0, 200)
            mirror.pend(log, 200, size)
            # The connection breaks or a 5xx comes: the process is as good as gone.
            try:
                answer = await mirror.push(log, 0, size)
            except (OSError, Exception):
                return
            assert answer.status >= 500

    async def again() -> None:
        async with mirroring(desk, folder) as mirror:
            next_entry, held = mirror.kept()
            status, served = await mirror.get("checkpoint")
            assert (status == 200) == (held >= 0)
            if held >= 0:
                # MI-01: what is served carries the mirror's cosignature, and all of it is there.
                note.open_note(served, [each.verifier for each in mirror.mirror.signers])
                await mirror.whole(log, held)
            answer = await mirror.push(log, next_entry, size)
            assert answer.status == 200, answer
            await mirror.whole(log, size)

    asyncio.run(first())
    asyncio.run(again())


@pytest.mark.parametrize("failing", range(6))
async def test_MI_35_a_tile_that_cannot_be_written_is_never_signed_for(
    desk: Desk, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    calls = [0]
    honest = MirrorFolder.create

    def create(self: MirrorFolder, objects: dict[str, bytes]) -> None:
        calls[0] += 1
        if calls[0] == failing + 1:
            raise UnavailableError("the disk is full")
        honest(self, objects)

    monkeypatch.setattr(MirrorFolder, "create", create)
    async with mirroring(desk, tmp_path / "m") as mirror:
        mirror.pend(log, 0, 700)
        answer = await mirror.push(log, 0, 700)
        next_entry, held = mirror.kept()
        if answer.status == 503:
            assert held == -1
            assert (await mirror.get("checkpoint"))[0] == 404
            assert (await mirror.push(log, next_entry, 700)).status == 200
        else:
            assert (answer.status, failing >= 3) == (200, True)
        await mirror.whole(log, 700)


async def test_MI_34_a_row_that_cannot_be_committed_is_never_signed_for(
    desk: Desk, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(self: MirroredLog, row: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async with mirroring(desk, tmp_path / "m") as mirror:
        mirror.pend(log, 0, 300)
        with monkeypatch.context() as patched:
            patched.setattr(MirroredLog, "_put", put)
            assert (await mirror.push(log, 0, 300)).status == 503
        assert (await mirror.get("checkpoint"))[0] == 404
        assert (await mirror.push(log, 0, 300)).status == 200
        await mirror.whole(log, 300)


def test_two_processes_on_one_folder_are_refused(tmp_path: Path) -> None:
    directory.init(tmp_path / "m", "mirror.example/m1")
    mirror = directory.load(tmp_path / "m", "witness.example/w1")
    with directory.opened(mirror), pytest.raises(UnavailableError, match="in use"), directory.opened(mirror):
        pass


async def _filled(desk: Desk, folder: Path, log: Log) -> None:
    async with mirroring(desk, folder) as mirror:
        mirror.pend(log, 0, 300)
        assert (await mirror.push(log, 0, 300)).status == 200


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "logs" / HASH / "tile" / "0" / "001.p" / "44").unlink(),
        lambda folder: (folder / "logs" / HASH / "tile" / "0" / "001.p" / "44").write_bytes(bytes(44 * 32)),
        lambda folder: (folder / "state.db").write_bytes(b"no database"),
    ],
    ids=["tile-lost", "tile-changed", "state-damaged"],
)
async def test_a_damaged_folder_is_refused_at_the_start(
    desk: Desk, log: Log, tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    folder = tmp_path / "m"
    await _filled(desk, folder, log)
    harm(folder)
    with pytest.raises(ConfigError):
        async with mirroring(desk, folder):
            pass


async def test_a_folder_that_is_no_mirror_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "file").write_text("x")
    with pytest.raises(ConfigError, match="is no mirror"):
        directory.init(tmp_path / "m", "mirror.example/m1")
    with pytest.raises(ConfigError, match="is no mirror"):
        directory.load(tmp_path / "m", "witness.example/w1")

