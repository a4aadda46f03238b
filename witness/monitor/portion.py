"""The next entries of a log, a bounded portion at a time: fetched a few bundles ahead, hashed, kept until judged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from teelog.client.log import LogReader
from teelog.client.rehash import Rehash
from teelog.client.source import TileSource
from teelog.errors import MalformedError
from teelog.statement import admit
from teelog.statement.log_policy import LogPolicyPredicate
from teelog.tlog import tiles
from teelog.tlog.tiles import HEIGHT, WIDTH, Bundle, Tile
from teelog.witness.monitor.hashes import HashFiles, bundles

AHEAD = 4  # bundles fetched while one is hashed
PORTION = 64  # bundles in a portion, at most
PORTION_BYTES = 32 << 20  # after which a portion ends


class Joined:
    """Tiles that the monitor computed, entries from a place, those just read from memory.

    followed: tiles beyond this size, too, come from the place; None: none do.
    """

    def __init__(self, own: HashFiles, place: TileSource, followed: int | None = None) -> None:
        self._own = own
        self._place = place
        self._followed = followed
        self.name = place.name
        self.held: dict[Bundle, bytes] = {}

    async def checkpoint(self) -> bytes:
        return await self._place.checkpoint()

    async def tile(self, tile: Tile) -> bytes:
        end = (tile.index * WIDTH + tile.width) << HEIGHT * tile.level
        mine = self._followed is None or end <= self._followed
        return await (self._own if mine else self._place).tile(tile)

    async def bundle(self, bundle: Bundle) -> bytes:
        return self.held.get(bundle) or await self._place.bundle(bundle)


async def grow(
    tree: Rehash, source: TileSource, size: int, held: dict[Bundle, bytes], enough: Callable[[], bool] = lambda: False
) -> None:
    """Takes the next portion of entries, a few bundles fetched ahead. enough: asked after each, to end the portion."""
    end = min(size, (tree.size // WIDTH + PORTION) * WIDTH)
    wanted = bundles(tree.size, end)
    taken = 0
    tasks: list[tuple[Bundle, asyncio.Task[bytes]]] = []
    try:
        while (wanted or tasks) and taken < PORTION_BYTES and not (taken and enough()):
            while wanted and len(tasks) < AHEAD:
                tasks.append((wanted[0], asyncio.ensure_future(source.bundle(wanted.pop(0)))))
            bundle, task = tasks.pop(0)
            data = await task
            tree.bundle(data, bundle.width)
            held[bundle] = data
            taken += len(data)
    finally:
        for _, task in tasks:
            task.cancel()


async def batches(
    source: Joined, start: int, end: int, root: bytes
) -> AsyncIterator[tuple[int, Sequence[bytes]]]:
    """Entries [start, end) of the followed tree (end, root), bundle by bundle: the index of the first, and they.

    What is held was hashed just now; the rest is read again, and authenticated.
    """
    reader = LogReader(source, end, root)
    while start < end:
        bundle = Bundle(start // WIDTH, min(WIDTH, end - start // WIDTH * WIDTH))
        held = source.held.get(bundle)
        upto = bundle.index * WIDTH + bundle.width
        if held is not None:
            yield start, tiles.parse_bundle(held, bundle.width)[start % WIDTH :]
        else:
            yield start, [entry async for _, entry in reader.entries(start, upto)]
        start = upto
        if start % (PORTION * WIDTH) == 0:
            reader = LogReader(source, end, root)  # the tiles below the top are not kept for the whole log


async def explain(reader: LogReader, start: int, end: int) -> None:
    """Reads the portion entry by entry: raises what is wrong with the first that is."""
    async for _ in reader.entries(start, end):
        pass


async def is_of_our_kind(reader: LogReader, origin: str) -> bool:
    """Whether a log begins with a log policy of its own: only then its entries have a meaning here."""
    try:
        first = admit.classify(await reader.entry(0)).predicate
    except MalformedError:
        return False
    return isinstance(first, LogPolicyPredicate) and first.log == origin
