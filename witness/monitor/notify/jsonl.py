"""JSON lines: each alert is one line at the end of a file, on the disk before it counts as told."""

from __future__ import annotations

import os
from pathlib import Path

from teelog.errors import UnavailableError
from teelog.witness.monitor.finding import Alert
from teelog.witness.monitor.form import document
from teelog.witness.monitor.notify.text import json_line
from teelog.witness.monitor.state import Followed


class JsonLines:
    """The file is opened anew each time, so it may be moved away at any moment (rotation)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def tell(self, alert: Alert, followed: Followed) -> None:
        """Raises UnavailableError."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                # A line that a crash cut short is not continued.
                torn = b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""
                line = torn + json_line(document(alert, followed)) + b"\n"
                if os.write(descriptor, line) != len(line):
                    raise UnavailableError(f"{self._path} took only a part of a line")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise UnavailableError(f"cannot write {self._path}", actual=error.strerror) from error
