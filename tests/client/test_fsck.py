"""The replay: it accepts what follows from the entries, and names what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from teelog.client import fsck
from teelog.client.source import DirectorySource
from teelog.tlog import tiles
from teelog.tlog.rfc6962 import EMPTY_ROOT
from tests.client import logs
from tests.vectors import vectors


async def replay(folder: Path, size: int, flavour: str = "") -> fsck.Replay:
    return await fsck.replay(DirectorySource(folder), size, logs.head(logs.entries(size, flavour)).root)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 255, 256, 257, 511, 512, 513, 775, 66_000])
async def test_a_sound_log_of_any_size_has_no_problem(tmp_path: Path, size: int):
    logs.write(tmp_path, logs.entries(size))
    seen: list[int] = []
    root = logs.head(logs.entries(size)).root
    found = await fsck.replay(DirectorySource(tmp_path), size, root, seen.append)
    assert found == fsck.Replay(size, root, sum(1 for _ in tiles.new_between(0, size)), (), 0)
    assert sum(seen) == size
    assert size or root == EMPTY_ROOT


async def test_every_single_changed_tile_is_named(tmp_path: Path):
    logs.write(tmp_path, logs.entries(775))
    for tile in tiles.new_between(0, 775):
        path = tmp_path / tile.path
        good = path.read_bytes()
        for bad in (good[:-1] + bytes([good[-1] ^ 1]), good[:-32], good + b"x"):
            path.write_bytes(bad)
            assert [problem.path for problem in (await replay(tmp_path, 775)).problems] == [tile.path]
        path.unlink()
        assert [problem.path for problem in (await replay(tmp_path, 775)).problems] == [tile.path]
        path.write_bytes(good)
    assert (await replay(tmp_path, 775)).problems == ()


async def test_a_changed_entry_shows_in_its_tile_and_in_the_root(tmp_path: Path):
    logs.write(tmp_path, logs.entries(300))
    path = tmp_path / "tile/entries/000"
    path.write_bytes(path.read_bytes().replace(b"entry 7 ", b"entry X "))
    found = await replay(tmp_path, 300)
    assert [problem.path for problem in found.problems] == ["tile/0/000", "tile/1/000.p/1", "checkpoint"]
    assert found.problems[0].expected is not None
    assert found.problems[0].expected.endswith(" at 7")


@pytest.mark.parametrize("change", ["gone", "short", "long", "few"])
async def test_a_bundle_that_cannot_be_read_ends_the_replay(tmp_path: Path, change: str):
    logs.write(tmp_path, logs.entries(600))
    path = tmp_path / "tile/entries/001"
    good = path.read_bytes()
    path.unlink()
    if change != "gone":
        few = tiles.encode_bundle(tiles.parse_bundle(good, 256)[:255])
        path.write_bytes({"short": good[:-1], "long": good + b"x", "few": few}[change])
    found = await replay(tmp_path, 600)
    assert found.root is None
    assert found.size == 256
    assert [problem.path for problem in found.problems] == ["tile/entries/001"]


async def test_another_root_is_a_problem_of_the_checkpoint(tmp_path: Path):
    logs.write(tmp_path, logs.entries(300))
    found = await replay(tmp_path, 300, "other")
    assert [problem.path for problem in found.problems] == ["checkpoint"]


async def test_a_log_by_another_implementation_replays(tmp_path: Path):
    from teelog.tlog import checkpoint, vkey

    folder = vectors("tlog/tessera-testlog") / "testdata" / "log"
    key = vkey.parse((vectors("tlog/tessera-testlog") / "vkey.txt").read_text().strip())
    head = checkpoint.open_checkpoint((folder / "checkpoint").read_bytes(), [key]).checkpoint
    found = await fsck.replay(DirectorySource(folder), head.size, head.root)
    assert found.problems == ()
    assert found.size == head.size > 0
