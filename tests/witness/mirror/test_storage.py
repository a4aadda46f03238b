"""A mirror signs nothing that is not on the disk, and goes on after a kill or a fault at any step."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from teelog import durable
from teelog.client.mirror_folder import MirrorFolder
from teelog.errors import ConfigError, UnavailableError
from teelog.tlog import note, rfc6962
from teelog.tlog.checkpoint import Checkpoint
from teelog.witness.mirror import directory
from teelog.witness.mirror.decide import Pending
from teelog.witness.mirror.storage import TABLE, MirroredLog
from tests.witness.harness import Desk, Log
from tests.witness.mirror.mirroring import HASH, NAME, mirroring

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


def test_a_mirrored_log_keeps_no_descriptor(tmp_path: Path) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    try:
        db.executescript(TABLE)
        logs = [MirroredLog(f"log.example/{number}", tmp_path / str(number), db) for number in range(3)]
        held = [path for each in Path("/proc/self/fd").iterdir() if (path := each.resolve()).is_relative_to(tmp_path)]
        assert (len(logs), held) == (3, [])
    finally:
        db.close()


async def test_nobody_else_copies_into_a_mirrors_log(desk: Desk, log: Log, tmp_path: Path) -> None:
    async with mirroring(desk, tmp_path / "m") as mirror:
        mirror.pend(log, 0, 5)
        assert (await mirror.push(log, 0, 5)).status == 200
        with pytest.raises(ConfigError, match="a server's own"), MirrorFolder(tmp_path / "m" / "logs" / HASH):
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
        lambda folder: (folder / "logs" / HASH / "tile" / "0" / "001.p" / "44").write_bytes(b""),
        lambda folder: (folder / "state.db").write_bytes(b"no database"),
    ],
    ids=["tile-lost", "tile-changed", "tile-cut", "state-damaged"],
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


async def test_a_start_signs_only_what_is_not_shown(desk: Desk, log: Log, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    await _filled(desk, folder, log)
    checkpoint = folder / "logs" / HASH / "checkpoint"
    whole = checkpoint.read_bytes()
    steps: list[str] = []
    async with mirroring(desk, folder, step=steps.append) as mirror:
        assert steps == []
        await mirror.whole(log, 300)
    # Without one of the mirror's lines, without the log's, without the file, with another; and whole: again nothing.
    lines = whole.splitlines(keepends=True)
    for shown in (b"".join(lines[:-1]), b"".join([*lines[:-3], *lines[-2:]]), None, b"no note", whole):
        checkpoint.unlink()
        if shown is not None:
            checkpoint.write_bytes(shown)
        steps.clear()
        async with mirroring(desk, folder, step=steps.append) as mirror:
            assert steps == ([] if shown == whole else ["signed", "shown"])
            await mirror.whole(log, 300)


async def test_a_state_older_than_what_was_signed_is_refused(desk: Desk, log: Log, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    await _filled(desk, folder, log)
    kept = (folder / "state.db").read_bytes()
    async with mirroring(desk, folder) as mirror:
        mirror.pend(log, 300, 400)
        assert (await mirror.push(log, 300, 400)).status == 200
    (folder / "state.db").write_bytes(kept)
    with pytest.raises(ConfigError, match="rolled back") as refused:
        async with mirroring(desk, folder):
            pass
    assert (refused.value.expected, refused.value.actual) == ("at least 400 entries", 300)


async def test_a_state_from_before_the_first_upload_is_refused(desk: Desk, log: Log, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    directory.init(folder, NAME)
    kept = (folder / "state.db").read_bytes()
    await _filled(desk, folder, log)
    (folder / "state.db").write_bytes(kept)
    with pytest.raises(ConfigError, match="rolled back") as refused:
        async with mirroring(desk, folder):
            pass
    assert (refused.value.expected, refused.value.actual) == ("at least 300 entries", 0)


async def test_a_checkpoint_that_the_mirror_did_not_sign_is_none_that_it_was_rolled_back_behind(
    desk: Desk, log: Log, tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    directory.init(folder, NAME)
    for name, shown in ((HASH, log.note(300)), ("0" * 64, log.note(300)), ("1" * 64, b"no note")):
        (folder / "logs" / name).mkdir()
        (folder / "logs" / name / "checkpoint").write_bytes(shown)
    await _filled(desk, folder, log)


async def test_R_30_after_a_failed_fsync_nothing_more_is_written(
    desk: Desk, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> None:
        raise durable.NotSynced(errno.EIO, "Input/output error")

    stopped: list[bool] = []
    async with mirroring(desk, tmp_path / "m", on_fatal=lambda: stopped.append(True)) as mirror:
        mirror.pend(log, 0, 300)
        with monkeypatch.context() as patched:
            patched.setattr(durable, "sync_file", broken)
            assert (await mirror.push(log, 0, 300)).status == 503
        # The disk seems well again: that says nothing.
        assert (await mirror.push(log, 0, 300)).status == 503
        assert (stopped, mirror.kept()) == ([True], (0, -1))
    async with mirroring(desk, tmp_path / "m") as mirror:
        assert (await mirror.push(log, 0, 300)).status == 200
        await mirror.whole(log, 300)


async def test_what_does_not_lead_to_the_pending_checkpoint_is_never_signed(
    desk: Desk, log: Log, tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    await _filled(desk, folder, log)
    async with mirroring(desk, folder) as mirror:
        # As if the witness had taken another branch: its state is not what it was when the entries were proven.
        other = Log(view="B", forked_at=3)
        head = Checkpoint(log.origin, 300, rfc6962.root_of_leaves(other.leaves(300)))
        with pytest.raises(UnavailableError, match="another tree"):
            await mirror.engine.commit(log.origin, Pending(head, other.note(300)))
        await mirror.whole(log, 300)


async def test_a_log_whose_files_could_not_be_read_goes_on_once_they_can(desk: Desk, log: Log, tmp_path: Path) -> None:
    async with mirroring(desk, tmp_path / "m") as mirror:
        mirror.pend(log, 0, 5)
        assert (await mirror.push(log, 0, 5)).status == 200
        mirror.pend(log, 5, 7)
        tiles = tmp_path / "m" / "logs" / HASH / "tile"
        tiles.rename(tmp_path / "away")
        tiles.touch()
        # The first forgets what it knew of the log, the second fails to read it.
        assert [(await mirror.push(log, 5, 7)).status for _ in range(2)] == [503, 503]
        tiles.unlink()
        (tmp_path / "away").rename(tiles)
        assert (await mirror.push(log, 5, 7)).status == 200
        await mirror.whole(log, 7)


@pytest.mark.parametrize("harm", ["flipped", "cut", "of-another-width"])
async def test_a_bundle_that_the_disk_changed_is_neither_copied_nor_signed_for(
    desk: Desk, log: Log, tmp_path: Path, harm: str
) -> None:
    folder = tmp_path / "m"
    await _filled(desk, folder, log)
    bundle = folder / "logs" / HASH / "tile" / "entries" / "001.p" / "44"
    good = bundle.read_bytes()
    bad = {"flipped": good[:-1] + bytes([good[-1] ^ 1]), "cut": good[:-1], "of-another-width": good + b"\x00\x01x"}
    async with mirroring(desk, folder) as mirror:
        bundle.write_bytes(bad[harm])
        mirror.pend(log, 300, 310)
        assert (await mirror.push(log, 300, 310)).status == 503
        assert mirror.kept() == (300, 300)
        bundle.write_bytes(good)
        assert (await mirror.push(log, 300, 310)).status == 200
        await mirror.whole(log, 310)


async def test_TT_16_TT_17_partial_tiles_go_once_the_full_one_is_shown(desk: Desk, log: Log, tmp_path: Path) -> None:
    def partial(folder: Path) -> list[str]:
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.p"))

    tree = tmp_path / "m" / "logs" / HASH
    async with mirroring(desk, tmp_path / "m") as mirror:
        size = 0
        for more in (100, 255, 300, 512, 600):
            mirror.pend(log, size, more)
            assert (await mirror.push(log, size, more)).status == 200
            size = more
            await mirror.whole(log, size)
    assert partial(tree / "tile") == ["0/002.p", "1/000.p", "entries/002.p"]


async def test_a_folder_that_is_no_mirror_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "file").write_text("x")
    with pytest.raises(ConfigError, match="is no mirror"):
        directory.init(tmp_path / "m", "mirror.example/m1")
    with pytest.raises(ConfigError, match="is no mirror"):
        directory.load(tmp_path / "m", "witness.example/w1")

