"""Cosigned main checkpoints that the index keeps: one file a size.

Of each of the newest index leaves, and for good of each size with which a status or namespace came into effect.

The leaf itself holds the log's own line alone. A verifier needs the main checkpoint of that very size with the
witnesses' lines, which the main log no longer shows once it has grown.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Sequence
from pathlib import Path

from teelog import durable

SETTLED = 2_000_000_000
"""Nanoseconds after which a directory's time of change is no longer that of a change still to come."""


class Inputs:
    """``directory``: exists, or is made with the first note. One process writes, any reads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._listed: tuple[int, Sequence[int]] | None = None

    def read(self, size: int) -> bytes | None:
        """The note for a main log of ``size`` entries, None if it is not kept."""
        try:
            return (self._directory / str(size)).read_bytes()
        except FileNotFoundError:
            return None

    def keep(self, size: int, note: bytes) -> bool:
        """Keeps ``note``, durably, in the place of an older one; False if it is there already."""
        if self.read(size) == note:
            return False
        self._directory.mkdir(exist_ok=True)
        temporary = self._directory / ".new"
        temporary.unlink(missing_ok=True)  # of a process that was killed
        durable.write_new(temporary, note, 0o644)
        temporary.replace(self._directory / str(size))
        durable.fsync_directory(self._directory)
        return True

    def drop(self, below: int) -> None:
        """Forgets what is of a smaller size."""
        for size in self.sizes():
            if size < below:
                (self._directory / str(size)).unlink(missing_ok=True)

    def first_with(self, index: int) -> bytes | None:
        """The note of the smallest size that has the entry at ``index``, None if none is kept."""
        sizes = self.sizes()
        place = bisect.bisect_right(sizes, index)
        return self.read(sizes[place]) if place < len(sizes) else None

    def sizes(self) -> Sequence[int]:
        """Of all that is kept, ascending."""
        try:
            changed = self._directory.stat().st_mtime_ns
            # What is kept for good gets long, and anyone may ask: it is listed again only where it has changed.
            if self._listed is not None and self._listed[0] == changed:
                return self._listed[1]
            names = [path.name for path in self._directory.iterdir()]
        except FileNotFoundError:
            return []
        found = sorted(int(name) for name in names if name.isascii() and name.isdigit())
        # A clock's tick later, what is added shows in the time of the directory.
        self._listed = (changed, found) if time.time_ns() - changed > SETTLED else None
        return found
