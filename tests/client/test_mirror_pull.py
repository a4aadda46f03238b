"""A log copied: verified as it comes, complete before it is shown, gone on with after any stop, never onto a fork."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from teelog.client import mirror_pull
from teelog.client.fsck import replay
from teelog.client.mirror_folder import MirrorFolder
from teelog.client.mirror_pull import Pulled, pull
from teelog.client.source import DirectorySource, TileSource
from teelog.errors import (
    ConfigError,
    MalformedError,
    MisbehaviourError,
    NotWitnessed,
    ProofError,
    RefusedError,
    TeelogError,
    UnavailableError,
)
from teelog.tlog import fork
from teelog.tlog.tiles import Bundle, Tile
from tests.client import logs

ENTRIES = logs.entries(1_100)


async def copy(source: Path | TileSource, target: Path) -> Pulled:
    place = DirectorySource(source) if isinstance(source, Path) else source
    with MirrorFolder(target) as folder:
        return await pull(place, folder, logs.policy(), logs.ORIGIN)


async def whole(folder: Path, size: int) -> bool:
    """By the independent check: the checkpoint is of so many entries, and all follows from them."""
    head = logs.head(ENTRIES[:size])
    assert (folder / "checkpoint").read_bytes().startswith(head.body())
    found = await replay(DirectorySource(folder), size, head.root)
    return not found.problems and found.root == head.root


def log(folder: Path, size: int, flavour: str = "") -> Path:
    logs.write(folder, ENTRIES[:size] if not flavour else logs.entries(size, flavour))
    return folder


@pytest.mark.parametrize("sizes", [(0,), (1,), (255,), (256,), (257,), (1_100,), (0, 1, 256, 300, 512, 1_100)])
async def test_a_copy_is_whole_and_grows(tmp_path: Path, sizes: tuple[int, ...]):
    before = 0
    for number, size in enumerate(sizes):
        found = await copy(log(tmp_path / f"log{number}", size), tmp_path / "copy")
        assert (found.before, found.size) == (before, size)
        assert size - before <= found.fetched < size - before + 256
        assert await whole(tmp_path / "copy", size)
        before = size
    assert not list((tmp_path / "copy" / ".mirror" / "scratch").iterdir())


async def test_a_log_of_more_than_one_portion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mirror_pull, "PORTION", 256)
    monkeypatch.setattr(mirror_pull, "GROUP_FILES", 3)
    await copy(log(tmp_path / "log", 1_100), tmp_path / "copy")
    assert await whole(tmp_path / "copy", 1_100)


async def test_what_is_there_is_not_fetched_again(tmp_path: Path):
    source = log(tmp_path / "log", 1_100)
    assert (await copy(source, tmp_path / "copy")).fetched == 1_100
    shutil.rmtree(source / "tile")
    assert (await copy(source, tmp_path / "copy")).fetched == 0


async def test_an_unchanged_checkpoint_brings_its_newer_cosignatures(tmp_path: Path):
    source = log(tmp_path / "log", 300)
    await copy(source, tmp_path / "copy")
    newer = logs.sign(logs.head(ENTRIES[:300]), time=logs.NOW + 600)
    older = logs.sign(logs.head(ENTRIES[:300]), time=logs.NOW - 600)
    for shown, kept in ((newer, newer), (older, newer)):
        (source / "checkpoint").write_bytes(shown)
        await copy(source, tmp_path / "copy")
        assert (tmp_path / "copy" / "checkpoint").read_bytes() == kept


async def test_TT_17_partial_tiles_go_once_their_full_ones_are_there(tmp_path: Path):
    for number, size in enumerate((200, 300, 600)):
        await copy(log(tmp_path / f"log{number}", size), tmp_path / "copy")
    left = sorted(str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy" / "tile").rglob("*.p"))
    assert left == ["tile/0/002.p", "tile/1/000.p", "tile/entries/002.p"]


class Kill(BaseException):
    """The process ends here."""


def each_step(run: Callable[[int], bool]) -> None:
    """Calls ``run`` with a step to die at, from 0 on, until it says that there was no such step."""
    step = 0
    while run(step):
        step += 1
    assert step > 10


def test_a_kill_at_any_step_leaves_the_copy_from_before_and_is_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import asyncio

    monkeypatch.setattr(mirror_pull, "GROUP_FILES", 2)
    old, new = log(tmp_path / "old", 300), log(tmp_path / "new", 1_100)
    replace, rename = Path.replace, Path.replace
    left = 0

    def dying(self: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left < 0:
            raise Kill
        return replace(self, target)

    def run(step: int) -> bool:
        nonlocal left
        target = tmp_path / f"copy{step}"
        asyncio.run(copy(old, target))
        left = step
        monkeypatch.setattr(Path, "replace", dying)
        try:
            asyncio.run(copy(new, target))
            died = False
        except Kill:
            died = True
        finally:
            monkeypatch.setattr(Path, "replace", rename)
        if died:
            shown = (target / "checkpoint").read_bytes()
            size = 1_100 if shown.startswith(logs.head(ENTRIES).body()) else 300
            assert asyncio.run(whole(target, size))
            asyncio.run(copy(new, target))
        assert asyncio.run(whole(target, 1_100))
        return died

    each_step(run)


class Changed:
    """A log of which some files are others; None: not there."""

    def __init__(self, path: Path, files: dict[str, bytes | TeelogError]) -> None:
        self.name = "changed"
        self.log = DirectorySource(path)
        self.files = files

    def _given(self, path: str) -> bytes | None:
        found = self.files.get(path)
        if isinstance(found, TeelogError):
            raise found
        return found

    async def checkpoint(self) -> bytes:
        return self._given("checkpoint") or await self.log.checkpoint()

    async def tile(self, tile: Tile) -> bytes:
        found = self._given(tile.path)
        return await self.log.tile(tile) if found is None else found

    async def bundle(self, bundle: Bundle) -> bytes:
        found = self._given(bundle.path)
        return await self.log.bundle(bundle) if found is None else found


FORGED = logs.files(logs.entries(1_100, "forged"))
PATHS = ["tile/0/001", "tile/0/004.p/76", "tile/1/000.p/4", "tile/entries/002", "tile/entries/004.p/76"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("wrong", ["forged", "empty", "short", "missing", "down"])
async def test_nothing_false_is_written_and_the_copy_stays_as_it_was(tmp_path: Path, path: str, wrong: str):
    old, new = log(tmp_path / "old", 300), log(tmp_path / "new", 1_100)
    given: dict[str, tuple[bytes | TeelogError, type[TeelogError]]] = {
        "forged": (FORGED[path], ProofError),
        "empty": (b"", MalformedError),
        "short": (FORGED[path][:-1], MalformedError),
        "missing": (RefusedError("no", status=404), RefusedError),
        "down": (UnavailableError("down"), UnavailableError),
    }
    data, error = given[wrong]
    await copy(old, tmp_path / "copy")
    with pytest.raises((error, ProofError) if wrong == "short" else error):
        await copy(Changed(new, {path: data}), tmp_path / "copy")
    assert await whole(tmp_path / "copy", 300)
    honest = logs.files(ENTRIES)
    for file in (tmp_path / "copy" / "tile").rglob("*"):
        name = str(file.relative_to(tmp_path / "copy"))
        if file.is_file() and name in honest:
            assert file.read_bytes() == honest[name]
    await copy(new, tmp_path / "copy")
    assert await whole(tmp_path / "copy", 1_100)


@pytest.mark.parametrize(
    ("note", "error"),
    [
        (logs.sign(logs.head(ENTRIES), logs.WITNESSES[:2]), NotWitnessed),
        (logs.sign(logs.head(ENTRIES), log=logs.OTHER_LOG), TeelogError),
        (b"<html>", MalformedError),
    ],
    ids=["quorum", "key", "page"],
)
async def test_a_checkpoint_that_the_policy_does_not_accept_is_not_copied(
    tmp_path: Path, note: bytes, error: type[TeelogError]
):
    source = log(tmp_path / "log", 1_100)
    with pytest.raises(error):
        await copy(Changed(source, {"checkpoint": note}), tmp_path / "copy")
    assert not (tmp_path / "copy" / "checkpoint").exists()


@pytest.mark.parametrize(("kept", "forked"), [(300, 300), (300, 600), (600, 300)])
async def test_a_fork_is_proven_and_not_followed(tmp_path: Path, kept: int, forked: int):
    await copy(log(tmp_path / "log", kept), tmp_path / "copy")
    with pytest.raises(MisbehaviourError) as caught:
        await copy(log(tmp_path / "fork", forked, "forked"), tmp_path / "copy")
    assert caught.value.evidence is not None
    fork.verify_fork(fork.parse_fork(caught.value.evidence), [logs.LOG.verifier])
    assert await whole(tmp_path / "copy", kept)


async def test_MI_41_a_fork_between_a_copy_that_was_begun_and_the_next_try_is_proven(tmp_path: Path):
    source, other = log(tmp_path / "log", 1_100), log(tmp_path / "fork", 1_100, "forked")
    broken = Changed(source, {"tile/entries/004.p/76": UnavailableError("down")})
    with pytest.raises(UnavailableError):
        await copy(broken, tmp_path / "copy")
    with pytest.raises(MisbehaviourError):
        await copy(other, tmp_path / "copy")
    await copy(source, tmp_path / "copy")
    assert await whole(tmp_path / "copy", 1_100)


async def test_a_place_that_lies_behind_changes_nothing(tmp_path: Path):
    await copy(log(tmp_path / "log", 600), tmp_path / "copy")
    found = await copy(log(tmp_path / "old", 300), tmp_path / "copy")
    assert (found.behind, found.size) == (True, 600)
    assert await whole(tmp_path / "copy", 600)


async def test_a_folder_of_something_else_is_left_alone(tmp_path: Path):
    source = log(tmp_path / "log", 300)
    other = tmp_path / "other"
    other.mkdir()
    head = logs.head(ENTRIES[:5], logs.OTHER_LOG.verifier.name)
    (other / "checkpoint").write_bytes(logs.sign(head, (), logs.OTHER_LOG))
    with pytest.raises(ConfigError, match="something else"):
        await copy(source, other)
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "log.toml").touch()
    with pytest.raises(ConfigError, match="own folder"):
        await copy(source, tmp_path / "server")


async def test_one_process_writes_a_copy(tmp_path: Path):
    source = log(tmp_path / "log", 300)
    with MirrorFolder(tmp_path / "copy"), pytest.raises(ConfigError, match="another process"):
        await copy(source, tmp_path / "copy")
    await copy(source, tmp_path / "copy")


@pytest.mark.parametrize("call", ["fsync", "open", "replace"])
async def test_a_disk_that_fails_is_told_and_nothing_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
):
    source = log(tmp_path / "log", 300)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        if call == "fsync":
            patched.setattr(os, "fsync", full)
            patched.setattr(os, "fdatasync", full)
        elif call == "replace":
            patched.setattr(Path, "replace", full)
        else:
            patched.setattr(MirrorFolder, "_named", full)
        with pytest.raises(UnavailableError):
            await copy(source, tmp_path / "copy")
    assert not (tmp_path / "copy" / "checkpoint").exists()
    await copy(source, tmp_path / "copy")
    assert await whole(tmp_path / "copy", 300)
