"""JSON lines: each alert is one line at the end of a file, on the disk before it counts as told."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

from teelog import durable
from teelog.errors import UnavailableError
from teelog.witness.monitor.finding import Alert
from teelog.witness.monitor.form import document
from teelog.witness.monitor.notify.text import json_line
from teelog.witness.monitor.state import Followed


class JsonLines:
    """The file is opened anew each time, so it may be moved away at any moment (rotation)."""

    whole = False

    def __init__(self, path: Path) -> None:
        self._path = path

    async def tell(self, alert: Alert, followed: Followed) -> None:
        """Raises UnavailableError."""
        # A disk that hangs holds up this outlet alone.
        await asyncio.to_thread(self._append, json_line(document(alert, followed)))

    def _append(self, data: bytes) -> None:
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(self._path, flags, 0o600)
            try:
                held = os.fstat(descriptor)
                if not stat.S_ISREG(held.st_mode):
                    raise UnavailableError(f"{self._path} is no regular file")
                size = held.st_size
                # A line that a crash cut short is not continued.
                torn = b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""
                line = torn + data + b"\n"
                if os.write(descriptor, line) != len(line):
                    raise UnavailableError(f"{self._path} took only a part of a line")
                durable.sync(descriptor)
            finally:
                os.close(descriptor)
            if size == 0:
                durable.sync_directory(self._path.parent)
        except OSError as error:
            raise UnavailableError(f"cannot write {self._path}", actual=error.strerror) from error
