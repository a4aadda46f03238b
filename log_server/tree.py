"""Our own tree, read from the TileStore. It was checked when it was written; readers verify it on their own."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Protocol

from teelog.log_server.seams import Damaged
from teelog.tlog import rfc6962, tiles
from teelog.tlog.tiles import HEIGHT, WIDTH, Bundle, Tile

CACHED = 512  # tiles, 4 MiB


class TileReader(Protocol):
    """The reading half of a ``TileStore``."""

    def read(self, path: str) -> bytes | None: ...


class Tree:
    """Tiles and entries of everything that was applied. Safe from any thread."""

    def __init__(self, store: TileReader) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._tiles: OrderedDict[Tile, bytes] = OrderedDict()

    def remember(self, new: Mapping[Tile, bytes]) -> None:
        """Tiles just written, most likely the next to be read."""
        with self._lock:
            for tile, data in new.items():
                self._tiles[tile] = data
            self._shrink()

    def _shrink(self) -> None:
        while len(self._tiles) > CACHED:
            self._tiles.popitem(last=False)

    def tile(self, tile: Tile) -> bytes:
        """The tile's hashes. Raises Damaged if it is not there, though it was applied."""
        with self._lock:
            data = self._tiles.get(tile)
            if data is not None:
                self._tiles.move_to_end(tile)
                return data
        data = self._load(tile.path, tile.full.path)
        length = tile.width * rfc6962.HASH_LENGTH
        if len(data) < length:
            raise Damaged("a tile is too short", expected=f"{length} bytes", actual=f"{len(data)} bytes in {tile.path}")
        data = data[:length]
        self.remember({tile: data})
        return data

    def _load(self, path: str, full: str) -> bytes:
        # TT-17: the partial one may have been collected, once the full one exists.
        data = self._store.read(path)
        if data is None and path != full:
            data = self._store.read(full)
        if data is None:
            raise Damaged("a part of the tree is missing", actual=path)
        return data

    def leaf_hashes(self, index: int, size: int) -> bytes:
        """Level 0's tile ``index`` in a tree of ``size``."""
        return self.tile(tiles.tile_for(0, index, size))

    def bundle(self, index: int, size: int) -> list[bytes]:
        """The entries of a bundle in a tree of ``size``. Raises Damaged."""
        place = tiles.bundle_for(index, size)
        data = self._store.read(place.path)
        if data is not None:
            return tiles.parse_bundle(data, place.width)
        full = self._store.read(Bundle(index).path)
        if full is None:
            raise Damaged("a part of the log is missing", actual=place.path)
        return tiles.parse_bundle(full, WIDTH)[: place.width]

    def reader(self, size: int, overlay: Mapping[tuple[int, int], bytes] | None = None) -> rfc6962.Read:
        """Nodes of a tree of ``size``. overlay: tiles not yet in the store, by (level, index), which come first."""
        newer = overlay or {}

        def read(nodes: Sequence[tuple[int, int]]) -> list[bytes]:
            found = []
            for level, index in nodes:
                tile_level, height = level // HEIGHT, level % HEIGHT
                place = index >> (HEIGHT - height)
                data = newer.get((tile_level, place)) or self.tile(tiles.tile_for(tile_level, place, size))
                first = (index - (place << (HEIGHT - height))) << height
                raw = data[first * 32 : (first + (1 << height)) * 32]
                if len(raw) != 32 << height:
                    raise Damaged("a tile is too short", actual=f"{tile_level}/{place}")
                found.append(node(raw))
            return found

        return read


def node(raw: bytes) -> bytes:
    """The root over a power of two of concatenated hashes."""
    level = [raw[at : at + 32] for at in range(0, len(raw), 32)]
    while len(level) > 1:
        level = [rfc6962.node_hash(level[at], level[at + 1]) for at in range(0, len(level), 2)]
    return level[0]
