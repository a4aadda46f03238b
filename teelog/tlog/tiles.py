"""Tiles and entry bundles (c2sp.org/tlog-tiles): coordinates, paths, contents, and growing the right edge.

Reading an untrusted log's tiles is ``teelog.tlog.tile_tree``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from teelog.errors import MalformedError
from teelog.tlog.rfc6962 import EMPTY_ROOT, HASH_LENGTH, node_hash
from teelog.tlog.subtree import fold, nodes

WIDTH = 256
HEIGHT = 8
MAX_LEVEL = 63
MAX_ENTRY = 65_535  # bytes (TT-24)
TILE_LENGTH = WIDTH * HASH_LENGTH  # bytes of a full tile (TT-10)
MAX_BUNDLE = WIDTH * (2 + MAX_ENTRY)  # bytes, decoded

_LEVEL = re.compile(r"0|[1-9][0-9]?")
# TT-07: zero-padded 3-digit elements, all but the last behind an x, no leading x000. TT-08: width without leading zero.
_INDEX = re.compile(r"(?P<index>(?:x(?!000/)[0-9]{3}/(?:x[0-9]{3}/)*)?[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?")


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """A hash tile. level 0..63; index >= 0 within the level; width 1..256 hashes, 256 = full."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """``tile/<L>/<N>[.p/<W>]`` (TT-05)."""
        return f"tile/{self.level}/{_format(self.index, self.width)}"

    @property
    def full(self) -> Tile:
        return Tile(self.level, self.index)


@dataclass(frozen=True, slots=True, order=True)
class Bundle:
    """An entry bundle. index >= 0; width 1..256 entries, 256 = full."""

    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """``tile/entries/<N>[.p/<W>]`` (TT-20)."""
        return f"tile/entries/{_format(self.index, self.width)}"

    @property
    def full(self) -> Bundle:
        return Bundle(self.index)


def _format(index: int, width: int) -> str:
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    path = "".join(f"x{part}/" for part in parts[:-1]) + parts[-1]
    return path if width == WIDTH else f"{path}.p/{width}"


def parse_path(path: str) -> Tile | Bundle:
    """The coordinates of ``tile/...`` in its one spelling (TT-06, TT-07, TT-08, TT-20). Raises MalformedError."""
    head, _, rest = path.removeprefix("tile/").partition("/")
    match = _INDEX.fullmatch(rest) if path.startswith("tile/") else None
    if match is None or len(path) > 80:
        raise MalformedError("not a tile path", actual=path[:80])
    index = int(match["index"].replace("x", "").replace("/", ""))
    width = int(match["width"]) if match["width"] else WIDTH
    # An index beyond this no 63-bit size needs.
    if (match["width"] and width >= WIDTH) or index > 2**63 - 1:
        raise MalformedError("not a tile path", actual=path[:80])
    if head == "entries":
        return Bundle(index, width)
    if not _LEVEL.fullmatch(head) or int(head) > MAX_LEVEL:
        raise MalformedError("not a tile path", actual=path[:80])
    return Tile(int(head), index, width)


def partial_width(level: int, size: int) -> int:
    """Width of the partial tile at ``level`` for a tree of ``size``, 0 if there is none (TT-13)."""
    return (size >> (HEIGHT * level)) % WIDTH


def edge(size: int) -> list[Tile]:
    """The partial tiles of a tree of ``size``, level 0 first (TT-14: none is empty; TT-15)."""
    found, level = [], 0
    while size >> (HEIGHT * level):
        if width := partial_width(level, size):
            found.append(Tile(level, size >> (HEIGHT * (level + 1)), width))
        level += 1
    return found


def tile_for(level: int, index: int, size: int) -> Tile:
    """The tile at these coordinates in a tree of ``size``: full, or the partial edge. Raises ValueError if empty."""
    count = size >> (HEIGHT * level)
    width = min(WIDTH, count - index * WIDTH)
    if width < 1:
        raise ValueError(f"no tile {level}/{index} in a tree of size {size}")
    return Tile(level, index, width)


def bundle_for(index: int, size: int) -> Bundle:
    """The bundle at ``index`` in a tree of ``size``. Raises ValueError if empty."""
    return Bundle(index, tile_for(0, index, size).width)


def new_between(old_size: int, new_size: int) -> Iterator[Tile]:
    """Every tile that a tree of ``new_size`` has and one of ``old_size`` had not, partial edge included."""
    level = 0
    while new_size >> (HEIGHT * level):
        first = (old_size >> (HEIGHT * level)) // WIDTH
        count = new_size >> (HEIGHT * level)
        if count != old_size >> (HEIGHT * level):
            for index in range(first, -(-count // WIDTH)):
                yield tile_for(level, index, new_size)
        level += 1


def new_bundles_between(old_size: int, new_size: int) -> Iterator[Bundle]:
    """The same for entry bundles."""
    return (Bundle(tile.index, tile.width) for tile in new_between(old_size, new_size) if tile.level == 0)


# -- contents ---------------------------------------------------------------------------------------------------------


def parse_tile(data: bytes, width: int) -> list[bytes]:
    """The hashes of a tile; exactly ``width`` of 32 bytes (TT-10, TT-41). Raises MalformedError."""
    if len(data) != width * HASH_LENGTH:
        raise MalformedError(
            "tile has the wrong length", expected=f"{width * HASH_LENGTH} bytes", actual=f"{len(data)} bytes"
        )
    return [data[i : i + HASH_LENGTH] for i in range(0, len(data), HASH_LENGTH)]


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """TT-22: each entry behind its big-endian uint16 length. Raises ValueError above MAX_ENTRY (TT-24)."""
    parts = []
    for entry in entries:
        if len(entry) > MAX_ENTRY:
            raise ValueError(f"an entry has at most {MAX_ENTRY} bytes, not {len(entry)}")
        parts.append(struct.pack(">H", len(entry)))
        parts.append(entry)
    return b"".join(parts)


def parse_bundle(data: bytes, width: int) -> list[bytes]:
    """TT-22: exactly ``width`` entries, no byte left over. Raises MalformedError."""
    entries, at, end = [], 0, len(data)
    for number in range(width):
        if at + 2 > end:
            raise MalformedError("entry bundle is truncated", expected=f"{width} entries", actual=number)
        length = data[at] << 8 | data[at + 1]
        at += 2
        if at + length > end:
            raise MalformedError("entry bundle is truncated", expected=f"{width} entries", actual=number)
        entries.append(data[at : at + length])
        at += length
    if at != end:
        raise MalformedError("entry bundle has bytes left over", expected=f"{at} bytes", actual=f"{end} bytes")
    return entries


# -- the growing edge -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Edge:
    """The right edge of a tree: all that is needed to append to it.

    size: leaves. levels[l]: the hashes of level l's partial tile, 0..255 of them.
    """

    size: int = 0
    levels: tuple[tuple[bytes, ...], ...] = ()

    def root(self) -> bytes:
        """The tree's root hash."""
        hashes: list[bytes] = []
        for level in reversed(self.levels):
            hashes += (tile_node(level, height, index) for height, index in nodes(0, len(level)))
        return fold(hashes) if hashes else EMPTY_ROOT

    def append(self, leaf_hashes: Sequence[bytes]) -> tuple[Edge, dict[Tile, bytes]]:
        """The edge after these leaves, and every tile that is new with it (``new_between``), by coordinates."""
        new: dict[Tile, bytes] = {}
        levels: list[tuple[bytes, ...]] = []
        incoming: Sequence[bytes] = leaf_hashes
        before = self.size
        level = 0
        while incoming or level < len(self.levels):
            held = [*(self.levels[level] if level < len(self.levels) else ()), *incoming]
            index = before >> (HEIGHT * (level + 1))
            rising = []
            for start in range(0, len(held) - WIDTH + 1, WIDTH):
                full = held[start : start + WIDTH]
                new[Tile(level, index)] = b"".join(full)
                rising.append(tile_node(full, HEIGHT, 0))
                index += 1
            rest = tuple(held[len(rising) * WIDTH :])
            # TT-12: a partial tile never rises; TT-14: an empty one is never written.
            if rest and incoming:
                new[Tile(level, index, len(rest))] = b"".join(rest)
            levels.append(rest)
            incoming = rising
            level += 1
        return Edge(self.size + len(leaf_hashes), tuple(levels)), new


def edge_from_tiles(size: int, tiles: Sequence[bytes]) -> Edge:
    """The edge of a tree of ``size`` from the contents of ``edge(size)``, in its order. Raises MalformedError."""
    wanted = edge(size)
    if len(tiles) != len(wanted):
        raise ValueError(f"{len(wanted)} edge tiles are needed, {len(tiles)} were given")
    levels: list[tuple[bytes, ...]] = [()] * (max((tile.level for tile in wanted), default=-1) + 1)
    for tile, data in zip(wanted, tiles, strict=True):
        levels[tile.level] = tuple(parse_tile(data, tile.width))
    return Edge(size, tuple(levels))


def tile_node(hashes: Sequence[bytes], height: int, index: int) -> bytes:
    """The node ``height`` levels above a tile's hashes, over hashes [index * 2**height, (index + 1) * 2**height)."""
    level = list(hashes[index << height : (index + 1) << height])
    while len(level) > 1:
        level = [node_hash(level[i], level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]
