"""How much of last_signed may have been signed, after a commit without a server (``log allow``).

A witness that has seen a size up to last_signed normally confirms it: that batch was committed here, then signed. What
was committed while nobody asked the witnesses was certainly not signed here, so a witness that has seen it has seen
another instance of this log (R-05). ``LOG/unconfirmed`` holds the size before the first such commit, until a start has
asked the witnesses and nothing newer was known to any of them. The directory's lock is held by every caller.
"""

from __future__ import annotations

from pathlib import Path

from teelog import durable, strict
from teelog.errors import ConfigError, MalformedError


def mark(path: Path, size: int) -> None:
    """Before a commit: at most ``size`` has been signed. An older mark stays. Durable."""
    if path.exists():
        return
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)  # of a process that was killed
    durable.write_new(temporary, b"%d\n" % size, 0o644)
    temporary.replace(path)
    durable.fsync_directory(path.parent)


def read(path: Path) -> int | None:
    """The size that may have been signed, None without a mark. Raises ConfigError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return strict.decimal(data.removesuffix(b"\n"), "size")
    except MalformedError as error:
        raise ConfigError(f"{path} is damaged", expected="a size", actual=error.message) from error


def clear(path: Path) -> None:
    """The witnesses have confirmed the log. Durable, so that what is signed next is not held against it."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    durable.fsync_directory(path.parent)
