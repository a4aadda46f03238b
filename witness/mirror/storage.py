"""One mirrored log on disk: a folder that any static server can serve, and a row that says how far it is good.

    entries of a package proven --> bundle and tiles durable --> row: next entry
    all up to ``end``           --> the tiles of that size there, their root the signed one --> row: mirror checkpoint
                                --> signed, shown

The row counts; files beyond it are of a package that was not finished, and are written again with the same bytes.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from teelog.client.mirror_folder import MirrorFolder
from teelog.errors import ConfigError, MalformedError, ProofError
from teelog.tlog import rfc6962, subtree, tiles
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.rfc6962 import HASH_LENGTH, leaf_hash
from teelog.tlog.tiles import WIDTH, Bundle, Edge, Tile
from teelog.witness.mirror.decide import Kept, Pending
from teelog.witness.mirror.packages import Package

TABLE = """
CREATE TABLE IF NOT EXISTS mirrored (
  origin TEXT PRIMARY KEY, next INTEGER NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL, note BLOB NOT NULL,
  timestamp INTEGER NOT NULL
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Row:
    """next: first entry that is not here. size, root, note: of the mirror checkpoint, size -1 before the first.

    note: with the log's signatures. timestamp: POSIX seconds of the mirror's cosignatures on it.
    """

    next: int = 0
    size: int = -1
    root: bytes = rfc6962.EMPTY_ROOT
    note: bytes = b""
    timestamp: int = 0


class MirroredLog:
    """Used by one thread at a time. Methods raise UnavailableError, sqlite3.Error where storage fails.

    folder: the log's, which the mirror's lock is for as well: one for each log would use up this process's descriptors.
    db: with ``TABLE``, in autocommit mode.
    """

    def __init__(self, origin: str, folder: Path, db: sqlite3.Connection) -> None:
        self.origin = origin
        self._folder = MirrorFolder(folder)
        self._folder.prepare()
        self._db = db
        found = db.execute(
            "SELECT next, size, root, note, timestamp FROM mirrored WHERE origin = ?", (origin,)
        ).fetchone()
        self.row = Row() if found is None else Row(*found)
        self._edge = self._read_edge()

    @property
    def kept(self) -> Kept:
        """For ``decide``."""
        row = self.row
        pending = None if row.size < 0 else Pending(Checkpoint(self.origin, row.size, row.root), row.note)
        return Kept(row.next, row.size, pending)

    @property
    def shown(self) -> bytes | None:
        """The checkpoint that is served."""
        return self._folder.checkpoint

    def _read_edge(self) -> Edge:
        data = [self._get(tile.path) for tile in tiles.edge(self.row.next)]
        if any(each is None for each in data):
            raise ConfigError(
                f"{self._folder.path} lacks tiles of its {self.row.next} entries", hint="restore the folder"
            )
        try:
            edge = tiles.edge_from_tiles(self.row.next, [each for each in data if each is not None])
        except MalformedError as error:
            raise self._damaged("tile") from error
        if self.row.next == self.row.size and edge.root() != self.row.root:
            raise ConfigError(f"{self._folder.path} does not hold the tree that was signed", hint="restore the folder")
        return edge

    def _get(self, path: str) -> bytes | None:
        return self._folder.get(path)

    # -- entries ------------------------------------------------------------------------------------------------------

    def save(self, package: Package, target: Checkpoint) -> bool:
        """Keeps the entries of a package that leads to ``target``; False where all were here. Raises ProofError where
        it does not lead there.

        The caller has seen that ``package.start`` is at most the next entry.
        """
        hashes = [leaf_hash(entry) for entry in package.entries]
        # MI-23: "it reconstructs the subtree hash based on the received entries and entries already in the log".
        leading = self._leaves(package.first, package.start)
        root = rfc6962.root_of_leaves([*leading, *hashes])
        # MI-22: "it MUST authenticate the entries by verifying the subtree consistency proof".
        subtree.verify(package.first, package.end, target.size, root, target.root, package.proof)
        # MI-24, MI-37: "the mirror MUST skip saving that entry"; another upload may have been faster.
        skipped = self.row.next - package.start
        if skipped >= len(hashes):
            return False
        self._append(package.entries[skipped:], hashes[skipped:])
        return True

    def _append(self, entries: tuple[bytes, ...], hashes: list[bytes]) -> None:
        """Entries of one bundle, from the next one on."""
        number, before = divmod(self.row.next, WIDTH)
        held = self._entries(Bundle(number, before)) if before else []
        edge, new = self._edge.append(hashes)
        bundle = Bundle(number, before + len(entries))
        objects = {tile.path: data for tile, data in new.items()}
        objects[bundle.path] = tiles.encode_bundle([*held, *entries])
        self._folder.create(objects)
        self._put(Row(edge.size, self.row.size, self.row.root, self.row.note, self.row.timestamp))
        self._edge = edge

    def _leaves(self, start: int, end: int) -> list[bytes]:
        """Leaf hashes of stored entries within one tile."""
        if start == end:
            return []
        tile = Tile(0, start // WIDTH, end % WIDTH or WIDTH)
        data = self._cut(tile)
        return tiles.parse_tile(data, tile.width)

    def _entries(self, bundle: Bundle) -> list[bytes]:
        """Stored entries, which are those that were proven: what the disk changed is not copied, nor signed for."""
        data = self._get(bundle.path)
        width = bundle.width
        if data is None:
            data, width = self._get(bundle.full.path), WIDTH
        if data is None:
            raise ConfigError(f"{self._folder.path} lacks {bundle.path}", hint="restore the folder")
        first = bundle.index * WIDTH
        try:
            entries = tiles.parse_bundle(data, width)[: bundle.width]
        except MalformedError as error:
            raise self._damaged(bundle.path) from error
        if [leaf_hash(entry) for entry in entries] != self._leaves(first, first + bundle.width):
            raise self._damaged(bundle.path)
        return entries

    def _damaged(self, path: str) -> ConfigError:
        return ConfigError(f"{self._folder.path} holds a damaged {path}", hint="restore the folder")

    def _cut(self, tile: Tile) -> bytes:
        """A tile of a smaller tree than the one that is stored (MI-38)."""
        length = tile.width * HASH_LENGTH
        count = self.row.next >> tiles.HEIGHT * tile.level
        if tile.index == count // WIDTH:
            return b"".join(self._edge.levels[tile.level][: tile.width])
        data = self._get(tile.full.path)
        if data is None or len(data) != tiles.TILE_LENGTH:
            raise ConfigError(f"{self._folder.path} lacks {tile.full.path}", hint="restore the folder")
        return data[:length]

    # -- the mirror checkpoint ----------------------------------------------------------------------------------------

    def commit(self, target: Pending, timestamp: int) -> bool:
        """Makes ``target`` the mirror checkpoint; False where a larger one is already (MI-33).

        All its entries are here. MI-34, MI-35: durable before it is signed. Raises ProofError if what is stored does
        not lead to it, which is not to be signed.
        """
        head = target.checkpoint
        if head.size < self.row.size:
            return False
        if head.size > self.row.next:
            raise ValueError("entries are missing")
        cut = {tile: self._cut(tile) for tile in tiles.edge(head.size)}
        root = tiles.edge_from_tiles(head.size, list(cut.values())).root()
        if root != head.root:
            raise ProofError("what is stored is of another tree", expected=head.root.hex(), actual=root.hex())
        missing = {tile.path: data for tile, data in cut.items() if not self._folder.has(tile.path)}
        if head.size % WIDTH:
            bundle = tiles.bundle_for(head.size // WIDTH, head.size)
            if not self._folder.has(bundle.path):
                missing[bundle.path] = tiles.encode_bundle(self._wider(bundle)[: bundle.width])
        if missing:
            self._folder.create(missing)
        # CS: a timestamp never goes back.
        timestamp = max(timestamp, self.row.timestamp)
        self._put(Row(self.row.next, head.size, head.root, target.note, timestamp))
        return True

    def _wider(self, bundle: Bundle) -> list[bytes]:
        full = bundle.index < self.row.next // WIDTH
        return self._entries(Bundle(bundle.index, WIDTH if full else self.row.next % WIDTH))

    def show(self, note: bytes) -> None:
        """Serves the mirror checkpoint with the mirror's cosignatures."""
        self._folder.publish(note)

    def drop_partials(self, before: int) -> None:
        """TT-16, TT-17: those that are full in what is shown now, and were not in the tree of ``before`` entries."""
        new = [tile for tile in tiles.new_between(before, self.row.size) if tile.width == WIDTH]
        self._folder.drop_partials(tile.path for tile in new)
        self._folder.drop_partials(Bundle(tile.index).path for tile in new if tile.level == 0)

    def _put(self, row: Row) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO mirrored VALUES (?, ?, ?, ?, ?, ?)",
            (self.origin, row.next, row.size, row.root, row.note, row.timestamp),
        )
        self.row = row

