"""The hashes of a log's tree that the monitor computed itself: with them it can show what a later view contradicts,
whatever the log still serves.

    <folder>/0, 1, ...    level by level, the hashes of all complete subtrees of 256^level leaves, 32 bytes each

A tile is a slice of one file. Appended and synced before the state that refers to it is committed; what is beyond the
committed size is of a portion that was not finished, and is written again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from teelog import durable
from teelog.client.rehash import Rehash
from teelog.errors import ConfigError, RefusedError, UnavailableError
from teelog.tlog import tiles
from teelog.tlog.rfc6962 import HASH_LENGTH
from teelog.tlog.tiles import HEIGHT, TILE_LENGTH, WIDTH, Bundle, Tile


class HashFiles:
    """A ``TileSource`` of hash tiles alone. size: leaves that are committed; the caller keeps it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def name(self) -> str:
        return str(self.folder)

    def resume(self, size: int, root: bytes) -> Rehash:
        """The tree as it was committed. Raises ConfigError where the files do not lead to ``root``; OSError."""
        edges, level = [], 0
        while size >> HEIGHT * level:
            count = size >> HEIGHT * level
            start = count // WIDTH * WIDTH
            edge = self._read(level, start, count - start)
            if edge is None:
                raise self._unfit(size)
            edges.append(edge)
            level += 1
        found = Rehash(size, edges)
        if found.root() != root:
            raise self._unfit(size)
        return found

    def _unfit(self, size: int) -> ConfigError:
        return ConfigError(
            f"{self.folder} does not hold the tree that the monitor has followed",
            expected=f"the hashes of {size} entries",
            hint=f"teelog monitor init NEW, or remove {self.folder.parent} to begin anew",
        )

    def write(self, due: Iterable[tuple[Tile, bytes]]) -> None:
        """Writes these tiles durably. Raises OSError."""
        self.folder.mkdir(exist_ok=True, mode=0o700)
        written: dict[int, int] = {}
        try:
            for tile, data in due:
                if tile.level not in written:
                    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                    written[tile.level] = os.open(self.folder / str(tile.level), flags, 0o600)
                os.pwrite(written[tile.level], data, tile.index * TILE_LENGTH)
            for descriptor in written.values():
                durable.sync(descriptor)
        finally:
            for descriptor in written.values():
                os.close(descriptor)
        durable.sync_directory(self.folder)

    def _read(self, level: int, start: int, count: int) -> bytes | None:
        try:
            with (self.folder / str(level)).open("rb") as file:
                data = os.pread(file.fileno(), count * HASH_LENGTH, start * HASH_LENGTH)
        except FileNotFoundError:
            data = b""
        return data if len(data) == count * HASH_LENGTH else None

    async def tile(self, tile: Tile) -> bytes:
        """Raises RefusedError, UnavailableError."""
        try:
            data = self._read(tile.level, tile.index * WIDTH, tile.width)
        except OSError as error:
            raise UnavailableError(f"cannot read {self.folder}", actual=error.strerror) from error
        if data is None:
            raise RefusedError(f"{self.folder} has no {tile.path}", status=404)
        return data

    async def bundle(self, bundle: Bundle) -> bytes:  # noqa: ARG002
        """Entries are not kept: RefusedError."""
        raise RefusedError(f"{self.folder} keeps no entries", status=404)

    async def checkpoint(self) -> bytes:
        """Checkpoints are in the monitor's state: RefusedError."""
        raise RefusedError(f"{self.folder} keeps no checkpoint", status=404)


def bundles(start: int, end: int) -> list[tiles.Bundle]:
    """The bundles that hold entries [start, end), each as wide as a tree of ``end`` entries has it."""
    numbers = range(start // WIDTH, -(-end // WIDTH)) if start < end else ()
    return [Bundle(number, min(WIDTH, end - number * WIDTH)) for number in numbers]
