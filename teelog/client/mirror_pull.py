"""A log copied file by file (c2sp.org/tlog-tiles): nothing is written that does not belong to a checkpoint which the
caller's policy accepts, and the copy shows that checkpoint only once all of it is there.

    compare with what the copy has, and with what it was going to have -> note what is copied -> bundles and their
    tiles, in groups -> the tiles above -> the checkpoint -> what partial tiles have become full

A kill anywhere leaves a copy that shows the checkpoint from before, and files that are not fetched again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from teelog.client.index import LastLeaf, last_leaf
from teelog.client.log import LogReader, prover
from teelog.client.mirror_folder import MirrorFolder
from teelog.client.source import DirectorySource, FileSource, TileSource
from teelog.errors import ConfigError, MisbehaviourError, TeelogError, UnavailableError
from teelog.tlog import fork, tiles
from teelog.tlog.policy import Policy, WitnessedCheckpoint, quorum_since, read_checkpoint, verify_checkpoint
from teelog.tlog.tiles import WIDTH, Tile
from teelog.tlog.vkey import VerifierKey

PORTION = WIDTH * WIDTH
"""Entries for which one reader keeps hashes, so that memory does not grow with the log."""
AHEAD = 8  # bundles under way at a time
GROUP_FILES, GROUP_BYTES = 64, 1 << 24
"""What is made durable at a time."""

Tell = Callable[[int], None]
"""Called as entries are copied or found to be there, with how many more."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """before, size: entries that the copy showed and shows. fetched: entries that were copied by this pull.

    behind: the place lies behind the copy, which stays as it is.
    """

    witnessed: WitnessedCheckpoint = field(repr=False)
    before: int
    size: int
    fetched: int
    behind: bool = False


async def pull(
    source: TileSource, folder: MirrorFolder, policy: Policy, origin: str, tell: Tell = lambda _: None
) -> Pulled:
    """Brings the copy in ``folder`` to what ``source`` shows now.

    policy: whose quorum the checkpoint must have. Raises what ``source`` and verifying its checkpoint raise,
    MalformedError and ProofError for what does not belong to it; ConfigError where the folder holds another log;
    MisbehaviourError, with the fork proof as its evidence, where the log has signed another tree before.
    """
    note = await source.checkpoint()
    return await copy(source, folder, note, policy, origin, tell)


async def pull_with_index(
    source: TileSource,
    indexes: Sequence[tuple[FileSource, TileSource]],
    folder: MirrorFolder,
    main: Policy,
    index: Policy,
    origin: str,
    tell: Tell = lambda _: None,
) -> tuple[Pulled, Pulled]:
    """As ``pull``, and the log's index log to ``<folder>/index``: with it, the index can be made again from the copy.

    indexes: where the log may lie and, for each, where its index log lies then: the first that shows a last leaf is
    copied. The copy of the log covers what that leaf is of, and the leaf's cosigned main checkpoint is at
    index/v1/<size>/main. Raises as ``pull``, and what ``index.last_leaf`` raised at the first place.
    """
    last, log = await _first_leaf(indexes, main, index)
    note = await source.checkpoint()
    if verify_checkpoint(note, main, origin=origin).checkpoint.size < last.main.checkpoint.size:
        note = last.main.note.encode()
    pulled = await copy(source, folder, note, main, origin, tell)
    size = last.index.checkpoint.size
    with MirrorFolder(folder.path / "index") as below:
        await asyncio.to_thread(below.create, {f"v1/{size}/main": last.main.note.encode()})
        indexed = await copy(log, below, last.index.note.encode(), index, last.index.checkpoint.origin)
        if not indexed.behind:
            await asyncio.to_thread(below.keep_only, "v1", str(size))
    return pulled, indexed


async def _first_leaf(
    indexes: Sequence[tuple[FileSource, TileSource]], main: Policy, index: Policy
) -> tuple[LastLeaf, TileSource]:
    first: TeelogError | None = None
    for place, log in indexes:
        try:
            return await last_leaf(place, log, main, index), log
        except MisbehaviourError:
            raise
        except TeelogError as error:
            first = first or error
    raise first or ValueError("a log lies in at least one place")


async def copy(
    source: TileSource, folder: MirrorFolder, note: bytes, policy: Policy, origin: str, tell: Tell = lambda _: None
) -> Pulled:
    """As ``pull``, up to the checkpoint ``note``."""
    shown = verify_checkpoint(note, policy, origin=origin)
    kept = _kept(folder.checkpoint, policy, origin, folder)
    pending = _kept(folder.pending, policy, origin, folder)
    before = 0 if kept is None else kept.checkpoint.size
    if kept is not None:
        await _compare(kept, shown, source, DirectorySource(folder.path))
        if shown.checkpoint.size < before:
            return Pulled(kept, before, before, 0, behind=True)
    if pending is not None and pending.checkpoint.size > before:
        # What was copied of it lies there already: the new one has to be of the same tree (MI-41).
        await _compare(pending, shown, source, source)
        if shown.checkpoint.size < pending.checkpoint.size:
            raise UnavailableError(
                f"{source.name} lies behind what it showed before",
                expected=f"at least {pending.checkpoint.size} entries",
                actual=shown.checkpoint.size,
            )
    if kept is not None and shown.checkpoint == kept.checkpoint:
        if (quorum_since(shown, policy) or 0) >= (quorum_since(kept, policy) or 0):
            folder.publish(note)
        return Pulled(shown, before, before, 0)
    folder.begin(note)
    fetched = await _Copy(source, folder, shown.checkpoint.size, shown.checkpoint.root, tell).run(before)
    folder.publish(note)
    size = shown.checkpoint.size
    await asyncio.to_thread(folder.drop_partials, _completed(before, size))
    return Pulled(shown, before, size, fetched)


def _kept(note: bytes | None, policy: Policy, origin: str, folder: MirrorFolder) -> WitnessedCheckpoint | None:
    if note is None:
        return None
    try:
        return read_checkpoint(note, policy, origin=origin)
    except TeelogError as error:
        raise ConfigError(
            f"{folder.path} holds something else than a copy of this log",
            expected=origin,
            actual=error.message,
            hint="choose another DIR",
        ) from error


async def _compare(
    kept: WitnessedCheckpoint, shown: WitnessedCheckpoint, source: TileSource, own: TileSource
) -> None:
    """Both signed by the log: one must begin with the other. own: where the tiles of ``kept`` are."""
    small, large = sorted((kept, shown), key=lambda each: each.checkpoint.size)
    pair = (small.checkpoint, small.note.encode()), (large.checkpoint, large.note.encode())
    lines = [line.verifier for each in (small, large) for line in each.log_signatures]
    keys = [key for key in dict.fromkeys(lines) if isinstance(key, VerifierKey)]
    if small.checkpoint.size in (0, large.checkpoint.size):
        found = fork.find_fork(*pair, keys=keys)
    else:
        # What is shown is larger or ours is: whoever has the larger one has the tiles that prove it.
        prove = prover(own if large is kept else source)
        root, proof = await prove(small.checkpoint, large.checkpoint)
        found = fork.find_fork(*pair, proof, root, keys)
    if found is not None:
        fork.verify_fork(found, keys)
        raise MisbehaviourError(
            f"the log {small.checkpoint.origin} signed two views that cannot both be true",
            expected="one append-only tree",
            actual=f"sizes {small.checkpoint.size} and {large.checkpoint.size}",
            evidence=found.encode(),
        )


class _Copy:
    def __init__(self, source: TileSource, folder: MirrorFolder, size: int, root: bytes, tell: Tell) -> None:
        self._source = source
        self._folder = folder
        self._size = size
        self._root = root
        self._tell = tell
        self._group: dict[str, bytes] = {}
        self._bytes = 0
        self._fetched = 0

    async def run(self, before: int) -> int:
        """Copies what the tree has and the one of ``before`` entries had not; the number of entries fetched."""
        first = before - before % WIDTH
        self._tell(first)
        for start in range(first - first % PORTION, self._size, PORTION):
            await self._portion(max(start, first), min(self._size, start + PORTION))
        for level in range(1, tiles.MAX_LEVEL + 1):
            if not self._size >> (tiles.HEIGHT * level):
                break
            await self._level(level, before)
        await self._flush()
        return self._fetched

    def _reader(self) -> LogReader:
        return LogReader(self._source, self._size, self._root, self._folder)

    async def _portion(self, start: int, end: int) -> None:
        reader = self._reader()
        wanted = [number for number in range(start // WIDTH, -(-end // WIDTH)) if not self._held(number)]
        self._tell(end - start - sum(tiles.bundle_for(number, self._size).width for number in wanted))
        for at in range(0, len(wanted), AHEAD):
            under_way = [self._bundle(reader, number) for number in wanted[at : at + AHEAD]]
            found = await asyncio.gather(*under_way, return_exceptions=True)
            for objects in found:
                if not isinstance(objects, BaseException):
                    await self._add(objects)
            failures = [each for each in found if isinstance(each, BaseException)]
            if failures:
                await self._flush()  # what came is not fetched again
                raise failures[0]

    def _held(self, number: int) -> bool:
        """A full bundle and its tile, written once by a pull that had verified them."""
        bundle = tiles.bundle_for(number, self._size)
        return bundle.width == WIDTH and self._folder.has(bundle.path) and self._folder.has(Tile(0, number).path)

    async def _bundle(self, reader: LogReader, number: int) -> dict[str, bytes]:
        bundle = tiles.bundle_for(number, self._size)
        start = number * WIDTH
        entries = [entry async for _, entry in reader.entries(start, start + bundle.width)]
        tile = Tile(0, number, bundle.width)
        self._fetched += bundle.width
        self._tell(bundle.width)
        return {bundle.path: tiles.encode_bundle(entries), tile.path: await reader.tile(tile)}

    async def _level(self, level: int, before: int) -> None:
        count = self._size >> (tiles.HEIGHT * level)
        first = (before >> (tiles.HEIGHT * level)) // WIDTH
        reader = self._reader()
        for index in range(first, -(-count // WIDTH)):
            tile = tiles.tile_for(level, index, self._size)
            if tile.width < WIDTH or not self._folder.has(tile.path):
                await self._add({tile.path: await reader.tile(tile)})

    async def _add(self, objects: dict[str, bytes]) -> None:
        self._group |= objects
        self._bytes += sum(map(len, objects.values()))
        if len(self._group) >= GROUP_FILES or self._bytes >= GROUP_BYTES:
            await self._flush()

    async def _flush(self) -> None:
        group, self._group, self._bytes = self._group, {}, 0
        if group:
            await asyncio.to_thread(self._folder.create, group)


def _completed(before: int, size: int) -> Iterator[str]:
    """Full tiles and bundles that were partial in the tree of ``before``."""
    for tile in tiles.edge(before):
        if tiles.tile_for(tile.level, tile.index, size).width == WIDTH:
            yield tile.full.path
            if tile.level == 0:
                yield tiles.Bundle(tile.index).path
