"""Reading a log: every byte is authenticated before it is used, kept or returned."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from teelog.client.cache import DiskCache
from teelog.client.log import LogReader
from teelog.client.source import DirectorySource, TileSource
from teelog.errors import MalformedError, NotEstablished, ProofError, RefusedError
from teelog.tlog import rfc6962, tiles
from teelog.tlog.tiles import Bundle, Tile
from tests.client import logs


class Memory:
    """A source of given files; ``asked`` is what was asked for."""

    name = "memory"

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[str] = []

    async def checkpoint(self) -> bytes:
        return self.files["checkpoint"]

    async def _read(self, path: str) -> bytes:
        self.asked.append(path)
        if path not in self.files:
            raise RefusedError("not there", status=404)
        return self.files[path]

    async def tile(self, tile: Tile) -> bytes:
        return await self._read(tile.path)

    async def bundle(self, bundle: Bundle) -> bytes:
        return await self._read(bundle.path)


def reader(source: TileSource, size: int, cache: DiskCache | None = None) -> LogReader:
    return LogReader(source, size, logs.head(logs.entries(size)).root, cache)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 300, 513, 775])
async def test_entries_and_proofs_come_from_tiles_alone(tmp_path: Path, size: int):
    entries = logs.entries(size)
    checkpoint = logs.write(tmp_path, entries)
    log = reader(DirectorySource(tmp_path), size)
    assert [entry async for _, entry in log.entries()] == entries
    for index in {0, size // 2, size - 1}:
        leaf = rfc6962.leaf_hash(entries[index])
        assert await log.entry(index) == entries[index]
        rfc6962.verify_inclusion(index, size, leaf, await log.prove_inclusion(index), checkpoint.root)
        assert await log.find(leaf) == index
    assert await log.find(bytes(32)) is None
    for old in {1, size // 2 or 1, size}:
        root, proof = await log.prove_consistency(old)
        assert root == logs.head(entries[:old]).root
        rfc6962.verify_consistency(old, root, size, checkpoint.root, proof)


async def test_a_range_of_entries_starts_and_ends_where_it_was_asked(tmp_path: Path):
    logs.write(tmp_path, logs.entries(600))
    log = reader(DirectorySource(tmp_path), 600)
    assert [index async for index, _ in log.entries(250, 520)] == list(range(250, 520))


async def test_an_entry_beyond_the_size_is_not_established(tmp_path: Path):
    logs.write(tmp_path, logs.entries(3))
    with pytest.raises(NotEstablished):
        await reader(DirectorySource(tmp_path), 3).entry(3)


@pytest.mark.parametrize("size", [300, 775, 70_000])
async def test_TT_40_a_forged_tile_of_the_right_length_is_refused_and_not_cached(tmp_path: Path, size: int):
    good = logs.files(logs.entries(size))
    touched = Memory(good)
    await reader(touched, size).entry(5)
    assert len(touched.asked) >= 3
    for path in touched.asked:
        forged = Memory({**good, path: bytes(len(good[path]))})
        cache = DiskCache(tmp_path / path.replace("/", "_"))
        with pytest.raises((ProofError, MalformedError)):
            await reader(forged, size, cache).entry(5)
        assert cache.get(path) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"",
        lambda data: b"<!DOCTYPE html><title>Not found</title>",
        lambda data: gzip.compress(data),
    ],
    ids=["short", "long", "empty", "html", "gzip"],
)
async def test_TT_41_a_tile_of_another_length_is_refused_and_not_cached(
    tmp_path: Path, spoil: Callable[[bytes], bytes]
):
    good = logs.files(logs.entries(300))
    for path in ("tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000"):
        cache = DiskCache(tmp_path / path.replace("/", "_"))
        with pytest.raises((ProofError, MalformedError)) as caught:
            await reader(Memory({**good, path: spoil(good[path])}), 300, cache).entry(5)
        assert "memory" in caught.value.message
        assert cache.get(path) is None


async def test_TT_23_an_entry_that_the_tree_does_not_hold_is_refused():
    good = logs.files(logs.entries(300))
    other = tiles.encode_bundle([b"evil", *logs.entries(256)[1:]])
    with pytest.raises(ProofError, match="entry 0 is not the one that the tree holds"):
        await reader(Memory({**good, "tile/entries/000": other}), 300).entry(5)


async def test_TT_18_a_partial_that_was_collected_is_read_from_the_full_one(tmp_path: Path):
    entries = logs.entries(600)
    logs.write(tmp_path, entries[:300])
    logs.write(tmp_path, entries)
    for path in ("tile/0/001.p", "tile/entries/001.p"):
        shutil.rmtree(tmp_path / path)
    source = DirectorySource(tmp_path)
    log = reader(source, 300)
    assert await log.entry(299) == entries[299]
    assert await source.tile(Tile(0, 1, 44)) == b"".join(map(rfc6962.leaf_hash, entries[256:300]))


async def test_TT_18_only_what_the_checkpoint_needs_is_asked_for():
    source = Memory(logs.files(logs.entries(300)))
    await reader(source, 300).entry(299)
    assert sorted(source.asked) == ["tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44"]


async def test_TT_42_a_poisoned_cache_is_dropped_and_fetched_again(tmp_path: Path):
    entries = logs.entries(600)
    source = Memory(logs.files(entries))
    cache = DiskCache(tmp_path)
    assert await reader(source, 600, cache).entry(5) == entries[5]
    kept = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert kept == ["tile/0/000", "tile/entries/000"]  # only what never changes

    source.asked.clear()
    assert await reader(source, 600, cache).entry(5) == entries[5]
    assert not set(source.asked) & set(kept)

    for path in kept:
        good = (tmp_path / path).read_bytes()
        for bad in (b"", bytes(len(good)), good[:-1], good[1:] + b"x"):
            (tmp_path / path).write_bytes(bad)
            assert await reader(source, 600, cache).entry(5) == entries[5]
            assert (tmp_path / path).read_bytes() == good


async def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    source = Memory(logs.files(logs.entries(300)))
    assert await reader(source, 300, DiskCache(tmp_path / "file")).entry(5) == logs.entries(6)[5]
