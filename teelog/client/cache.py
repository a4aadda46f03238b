"""A log's full tiles and bundles on disk. A cache: deleting it at any time costs requests and nothing else."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from teelog.tlog import tiles

MAX_FILE = tiles.MAX_BUNDLE


class DiskCache:
    """Files under ``folder`` at their paths in the log (``LogReader`` checks what comes back: TT-42).

    A file appears whole or not at all; what cannot be written is not kept, and that is no error.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, path: str) -> bytes | None:
        """The bytes kept at a tile's path, or None."""
        try:
            with (self._folder / path).open("rb") as file:
                data = file.read(MAX_FILE + 1)
        except OSError:
            return None
        return data if len(data) <= MAX_FILE else None

    def put(self, path: str, data: bytes) -> None:
        """Keeps authenticated bytes."""
        target = self._folder / path
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(data)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)

    def drop(self, path: str) -> None:
        """Forgets what is kept at ``path``."""
        with contextlib.suppress(OSError):
            (self._folder / path).unlink()
