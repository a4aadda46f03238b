"""Lists on disk. A page of the trie holds a short list whole, and of a long one where it is, how long, and its root.

Lists only grow, so those of all versions are one: a version's list is the first ``count`` elements. A long list is
kept as a log keeps its tree, in tiles.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

from teelog.index.lists import PAGE, List, Value, list_leaf, page_range
from teelog.tlog import rfc6962, subtree, tiles
from teelog.tlog.rfc6962 import HASH_LENGTH, node_hash

INLINE = 32
"""Elements of a short list, at most."""

_LONG = Struct(">BQQ32s")  # one byte so that its length is no multiple of 8
_WIDTH = 8  # bytes of an index


@dataclass(frozen=True, slots=True)
class Short:
    indices: tuple[int, ...]

    @property
    def value(self) -> Value:
        return List(self.indices).value()

    def encode(self) -> bytes:
        return _packed(self.indices)


@dataclass(frozen=True, slots=True)
class Long:
    number: int
    value: Value

    def encode(self) -> bytes:
        return _LONG.pack(1, self.number, self.value.count, self.value.root)


def decode(payload: bytes) -> Short | Long:
    if len(payload) == _LONG.size:
        _, number, count, root = _LONG.unpack(payload)
        return Long(number, Value(count, root))
    return Short(_unpacked(payload))


def value_of(payload: bytes) -> bytes:
    """What the trie commits to."""
    return decode(payload).value.encode()


def extended(db: sqlite3.Connection, payload: bytes | None, indices: Sequence[int]) -> tuple[bytes, bytes]:
    """(payload, value) of a list with further elements. indices: rising. Raises ValueError if they do not follow."""
    if payload is None and len(indices) == 1:  # most keys, most of the time
        return _packed(indices), Value(1, list_leaf(indices[0])).encode()
    old = decode(payload or b"")
    grown: Short | Long
    if isinstance(old, Short):
        together = (*old.indices, *indices)
        grown = Short(together) if len(together) <= INLINE else _extend(db, _new(db), together)
    else:
        grown = _extend(db, old.number, indices, old.value)
    return grown.encode(), grown.value.encode()


def _new(db: sqlite3.Connection) -> int:
    cursor = db.execute("INSERT INTO list (count, last, frontier) VALUES (0, -1, x'')")
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _extend(db: sqlite3.Connection, number: int, indices: Sequence[int], old: Value | None = None) -> Long:
    """old: what the trie has for the list as it was. Raises sqlite3.DatabaseError where it is not that."""
    count, last, packed = db.execute("SELECT count, last, frontier FROM list WHERE id = ?", (number,)).fetchone()
    frontier = [packed[i : i + HASH_LENGTH] for i in range(0, len(packed), HASH_LENGTH)]
    if old is not None and old != Value(count, subtree.fold(frontier)):
        raise sqlite3.DatabaseError(f"list {number} of the index is damaged")
    fresh: list[list[bytes]] = [[]]
    size = count
    for index in indices:
        if index <= last:
            raise ValueError(f"index {index} does not follow {last}")
        last = index
        fresh[0].append(index.to_bytes(_WIDTH, "big"))
        done, level, left = list_leaf(index), 0, size
        while left & 1:
            done = node_hash(frontier.pop(), done)
            level, left = level + 1, left >> 1
            if level % tiles.HEIGHT == 0:
                if level // tiles.HEIGHT == len(fresh):
                    fresh.append([])
                fresh[level // tiles.HEIGHT].append(done)
        frontier.append(done)
        size += 1
    for level, added in enumerate(fresh):
        _add(db, number, level, count >> level * tiles.HEIGHT, added)
    db.execute(
        "UPDATE list SET count = ?, last = ?, frontier = ? WHERE id = ?", (size, last, b"".join(frontier), number)
    )
    return Long(number, Value(size, subtree.fold(frontier)))


def _add(db: sqlite3.Connection, number: int, level: int, start: int, added: Sequence[bytes]) -> None:
    done = 0
    while done < len(added):
        tile, within = divmod(start + done, tiles.WIDTH)
        part = b"".join(added[done : done + tiles.WIDTH - within])
        done += tiles.WIDTH - within
        before = _tile(db, number, level, tile) if within else b""
        # What a transaction that never ended left does not exist; what is there is exactly what came before.
        db.execute("INSERT OR REPLACE INTO list_tile VALUES (?, ?, ?, ?)", (number, level, tile, before + part))


def _tile(db: sqlite3.Connection, number: int, level: int, tile: int) -> bytes:
    row: tuple[bytes] = db.execute(
        "SELECT body FROM list_tile WHERE list = ? AND level = ? AND number = ?", (number, level, tile)
    ).fetchone()
    return row[0]


def element(db: sqlite3.Connection, payload: bytes, position: int) -> tuple[int, list[bytes]]:
    """(entry index, inclusion path). Raises IndexError outside the list."""
    found = decode(payload)
    if not 0 <= position < found.value.count:
        raise IndexError(f"position {position} is outside a list of {found.value.count}")
    if isinstance(found, Short):
        return found.indices[position], List(found.indices).prove(position)
    tree = _Tree(db, found.number)
    path = rfc6962.prove_inclusion(position, found.value.count, tree.read)
    return tree.indices(position // PAGE)[position % PAGE], path


def page(db: sqlite3.Connection, payload: bytes, number: int) -> tuple[list[int], list[bytes]]:
    """(indices, inclusion path of the page). Raises IndexError outside the list."""
    found = decode(payload)
    if not 0 <= number * PAGE < found.value.count:
        raise IndexError(f"page {number} is outside a list of {found.value.count}")
    if isinstance(found, Short):
        return List(found.indices).page(number)
    start, end = page_range(found.value.count, number)
    tree = _Tree(db, found.number)
    path = subtree.prove(start, end, found.value.count, tree.read)
    return list(tree.indices(number)[: end - start]), path


class _Tree:
    """A long list's tree: each tile is read once."""

    def __init__(self, db: sqlite3.Connection, number: int) -> None:
        self._db = db
        self._number = number
        self._hashes: dict[tuple[int, int], list[bytes]] = {}
        self._indices: dict[int, tuple[int, ...]] = {}

    def indices(self, number: int) -> tuple[int, ...]:
        if number not in self._indices:
            self._indices[number] = _unpacked(_tile(self._db, self._number, 0, number))
        return self._indices[number]

    def read(self, nodes: Sequence[tuple[int, int]]) -> list[bytes]:
        found = []
        for level, index in nodes:
            height = level % tiles.HEIGHT
            tile, within = divmod(index << height, tiles.WIDTH)
            hashes = self._tile(level // tiles.HEIGHT, tile)
            found.append(tiles.tile_node(hashes, height, within >> height))
        return found

    def _tile(self, level: int, number: int) -> list[bytes]:
        if (level, number) not in self._hashes:
            if level:
                body = _tile(self._db, self._number, level, number)
                made = [body[i : i + HASH_LENGTH] for i in range(0, len(body), HASH_LENGTH)]
            else:
                made = [list_leaf(index) for index in self.indices(number)]
            self._hashes[level, number] = made
        return self._hashes[level, number]


def _packed(indices: Sequence[int]) -> bytes:
    return b"".join([index.to_bytes(_WIDTH, "big") for index in indices])


def _unpacked(data: bytes) -> tuple[int, ...]:
    return tuple([int.from_bytes(data[i : i + _WIDTH], "big") for i in range(0, len(data), _WIDTH)])
