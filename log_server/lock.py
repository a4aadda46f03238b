"""One process writes to a log's directory: an exclusive flock on its ``lock`` file, held until the process ends.

The file is never removed: whoever held the old one would not see the new one. The epoch in the state row stands
behind it (F-09): a lock that a broken network file system grants twice still forks nothing.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from teelog.errors import ConfigError
from teelog.log_server import config

NAME = "lock"
PATIENCE = 2.0  # seconds: `log allow` beside a start holds it for a moment
_PAUSE = 0.05  # seconds between two tries


class DirectoryLock:
    """Held from ``take`` to ``release``."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, directory: Path, patience: float = PATIENCE) -> DirectoryLock:
        """Raises ConfigError if another process holds it for longer than ``patience``, in seconds."""
        path = directory / NAME
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(descriptor, patience)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise ConfigError(
                f"{directory} is in use by another process",
                expected="one process for a log directory",
                actual=f"process {holder}" if holder.isdigit() else None,
                hint=f"teelog log status {directory if (directory / config.NAME).exists() else directory.parent}",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)  # for people: the lock is the flock
        return cls(descriptor)

    def release(self) -> None:
        os.close(self._descriptor)


def _lock(descriptor: int, patience: float) -> None:
    """Raises BlockingIOError."""
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(_PAUSE)
        else:
            return


def held(directory: Path) -> bool:
    """Whether a process holds it. Asking takes a shared lock for a moment, which refuses nobody who waits for none."""
    try:
        descriptor = os.open(directory / NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
