"""A log read through a tree head that the caller has verified: entries, hashes and proofs, every byte authenticated.

Nothing that a source gives is used, returned or cached before its hash has been followed up to the root (TT-40).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from teelog.client.source import Replaceable, TileSource
from teelog.errors import (
    MalformedError,
    NotEstablished,
    ProofError,
    RefusedError,
    UnavailableError,
    VerificationError,
)
from teelog.tlog import rfc6962, subtree, tiles
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.rfc6962 import leaf_hash
from teelog.tlog.tile_tree import TileTree
from teelog.tlog.tiles import WIDTH, Bundle, Tile

PARALLEL = 8  # requests under way at a time


class TileCache(Protocol):
    """Keeps authenticated full tiles and bundles. What it gives back is checked again (R-19, TT-42)."""

    def get(self, path: str) -> bytes | None: ...
    def put(self, path: str, data: bytes) -> None: ...
    def drop(self, path: str) -> None: ...


class LogReader:
    """The log behind ``source`` as the tree (size, root).

    All methods raise what the source raises, MalformedError and ProofError.
    """

    def __init__(self, source: TileSource, size: int, root: bytes, cache: TileCache | None = None) -> None:
        self.source = source
        self.size = size
        self.root = root
        self._tree = TileTree(size, root)
        self._cache = cache
        self._slots = asyncio.Semaphore(PARALLEL)

    async def leaf_hashes(self, start: int, end: int) -> list[bytes]:
        """The leaf hashes of entries [start, end)."""
        return await self._nodes([(0, index) for index in range(start, end)])

    async def tile(self, tile: Tile) -> bytes:
        """The bytes of a tile of this tree (``tiles.tile_for``)."""
        first = tile.index * WIDTH
        level = tile.level * tiles.HEIGHT
        return b"".join(await self._nodes([(level, first + place) for place in range(tile.width)]))

    async def prove_inclusion(self, index: int) -> list[bytes]:
        """The inclusion proof of entry ``index``, made from tiles. Requires 0 <= index < size."""
        await self._load(_nodes_of(index, index + 1, self.size))
        return rfc6962.prove_inclusion(index, self.size, self._tree.read)

    async def prove_consistency(self, old_size: int) -> tuple[bytes, list[bytes]]:
        """The root of this tree's first ``old_size`` leaves, and the proof of it. Requires 0 < old_size <= size."""
        await self._load([*_nodes_of(0, old_size, self.size), *subtree.nodes(0, old_size)])
        root = rfc6962.root(old_size, self._tree.read)
        return root, rfc6962.prove_consistency(old_size, self.size, self._tree.read)

    async def prove_subtree(self, start: int, end: int, size: int) -> list[bytes]:
        """The proof of [start, end) in the tree of this log's first ``size`` entries. Requires size <= self.size."""
        await self._load([node for low, high in subtree.ranges(start, end, size) for node in subtree.nodes(low, high)])
        return subtree.prove(start, end, size, self._tree.read)

    async def entry(self, index: int) -> bytes:
        """The exact bytes of entry ``index``."""
        self._check(index)
        return (await self._bundle(index // WIDTH))[index % WIDTH]

    async def entries(self, start: int = 0, end: int | None = None) -> AsyncIterator[tuple[int, bytes]]:
        """(index, bytes) of entries [start, end), in order; ``end`` defaults to the size."""
        end = self.size if end is None else end
        for number in range(start // WIDTH, -(-end // WIDTH)):
            for index, entry in enumerate(await self._bundle(number), number * WIDTH):
                if start <= index < end:
                    yield index, entry

    async def find(self, leaf: bytes) -> int | None:
        """The index of the newest entry with this leaf hash, by reading all level-0 tiles if need be."""
        for number in range((self.size - 1) // WIDTH, -1, -1):
            end = min(self.size, (number + 1) * WIDTH)
            hashes = await self.leaf_hashes(number * WIDTH, end)
            if leaf in hashes:
                return end - 1 - hashes[::-1].index(leaf)
        return None

    async def locate(self, leaf: bytes) -> int:
        """As ``find``. Raises VerificationError where no entry has this leaf hash."""
        index = await self.find(leaf)
        if index is None:
            raise VerificationError(
                "no entry with this leaf hash is in the log",
                expected=f"leaf {leaf.hex()}",
                actual=f"{self.size} others",
            )
        return index

    def _check(self, index: int) -> None:
        if not 0 <= index < self.size:
            raise NotEstablished("the log has no such entry yet", expected=f"an index below {self.size}", actual=index)

    async def _nodes(self, nodes: Sequence[tuple[int, int]]) -> list[bytes]:
        await self._load(nodes)
        return self._tree.read(nodes)

    async def _load(self, nodes: Sequence[tuple[int, int]]) -> None:
        """Fetches in parallel, adds in the order in which parents come first."""
        wanted = self._tree.missing(nodes)
        fetched = await asyncio.gather(*(self._fetch_tile(tile) for tile in wanted))
        for tile, (data, cached) in zip(wanted, fetched, strict=True):
            await self._add(tile, data, cached)

    async def _fetch_tile(self, tile: Tile) -> tuple[bytes, bool]:
        held = self._cached(tile)
        if held is not None:
            return held, True
        async with self._slots:
            return await self.source.tile(tile), False

    async def _add(self, tile: Tile, data: bytes, cached: bool) -> None:
        try:
            self._tree.add(tile, data)
        except (ProofError, MalformedError) as error:
            await self._add_again(tile, error)
            return
        if not cached and tile not in self._tree.missing([]):  # the edge counts once all of it is there
            self._keep(tile, data)

    async def _add_again(self, tile: Tile, error: ProofError | MalformedError) -> None:
        """In place of what did not hold. Raises ``error`` where nothing else is to be had."""
        edge = self._tree.missing([])
        # The edge holds as a whole or not at all: any of its tiles may be the wrong one.
        wrong = edge if isinstance(error, ProofError) and tile in edge else [tile]
        held = [each for each in wrong if self._cached(each) is not None]
        for each in held:
            self._drop(each)
        for each in wrong:
            if held:
                # TT-42: our own disk is no witness against the log: drop, fetch again, judge that.
                again = await self.source.tile(each)
            else:
                again = await self._elsewhere(each, error, partial(self.source.tile, each))
            await self._add(each, again, False)

    async def _bundle(self, number: int) -> list[bytes]:
        bundle = tiles.bundle_for(number, self.size)
        hashes = await self.leaf_hashes(number * WIDTH, number * WIDTH + bundle.width)
        held = self._cached(bundle)
        if held is not None:
            try:
                return _check_bundle(bundle, held, hashes)
            except (ProofError, MalformedError):
                self._drop(bundle)
        async with self._slots:
            data = await self.source.bundle(bundle)
        while True:
            try:
                entries = _check_bundle(bundle, data, hashes)
            except (ProofError, MalformedError) as error:
                data = await self._elsewhere(bundle, error, lambda: self.source.bundle(bundle))
                continue
            self._keep(bundle, data)
            return entries

    async def _elsewhere(
        self, wanted: Tile | Bundle, error: ProofError | MalformedError, read: Callable[[], Awaitable[bytes]]
    ) -> bytes:
        """What another place gives for what this one gave wrong. Raises ``error`` where there is none."""
        located = _located(error, self.source.name, wanted.path)
        if not isinstance(self.source, Replaceable) or not self.source.reject(wanted.path):
            raise located from error
        try:
            return await read()
        except (UnavailableError, RefusedError) as silent:
            raise located from silent

    # Only full tiles and bundles are kept: they never change.

    def _cached(self, wanted: Tile | Bundle) -> bytes | None:
        return self._cache.get(wanted.path) if self._cache is not None and wanted.width == WIDTH else None

    def _keep(self, wanted: Tile | Bundle, data: bytes) -> None:
        if self._cache is not None and wanted.width == WIDTH:
            self._cache.put(wanted.path, data)

    def _drop(self, wanted: Tile | Bundle) -> None:
        if self._cache is not None:
            self._cache.drop(wanted.path)


def _nodes_of(start: int, end: int, size: int) -> list[tuple[int, int]]:
    return [node for low, high in subtree.ranges(start, end, size) for node in subtree.nodes(low, high)]


def _check_bundle(bundle: Bundle, data: bytes, hashes: Sequence[bytes]) -> list[bytes]:
    entries = tiles.parse_bundle(data, bundle.width)  # TT-22
    for offset, (entry, expected) in enumerate(zip(entries, hashes, strict=True)):
        actual = leaf_hash(entry)
        if actual != expected:  # TT-23
            raise ProofError(
                f"entry {bundle.index * WIDTH + offset} is not the one that the tree holds",
                expected=f"leaf {expected.hex()}",
                actual=f"leaf {actual.hex()}",
            )
    return entries


def _located(error: ProofError | MalformedError, name: str, path: str) -> ProofError | MalformedError:
    """The same complaint, saying whose file it is about."""
    return type(error)(f"{name}/{path}: {error.message}", expected=error.expected, actual=error.actual)


def prover(source: TileSource) -> Callable[[Checkpoint, Checkpoint], Awaitable[tuple[bytes, list[bytes]]]]:
    """Shows with the tiles of ``source`` how two verified checkpoints of one log fit together (``state.Prove``)."""

    async def prove(smaller: Checkpoint, larger: Checkpoint) -> tuple[bytes, list[bytes]]:
        return await LogReader(source, larger.size, larger.root).prove_consistency(smaller.size)

    return prove
