"""Durable writes, in one place: contents before names, names before anyone relies on them (R-19, R-30).

Two answers to a failed fsync. After one the kernel may call the lost pages clean: neither a second fsync nor reading
back can tell whether the data reached the disk. What has promised something to others (``fsync``, ``fdatasync``,
``fsync_directory``, ``name_wal``) ends the process; only starting again, from what is really there, can tell. What has
not (``create``, ``replace``, ``sync_directory``) raises NotSynced, and whoever tries again writes all of it anew.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import sqlite3

EXIT_CODE = 4  # I/O (design section 8)


class NotSynced(OSError):
    """An fsync failed: what was written may be lost, whatever is read back."""


def give_up(what: str, error: BaseException) -> NoReturn:
    """Ends the process at once, without running anything that could write."""
    sys.stderr.write(
        f"error: {what} could not be made durable: {error}; this process ends, nothing is taken for written\n"
    )
    sys.stderr.flush()
    os._exit(EXIT_CODE)


# -- ends the process where the disk fails ----------------------------------------------------------------------------


def fsync(descriptor: int, what: str) -> None:
    """fsync, or the end of the process."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        give_up(what, error)


def fdatasync(descriptor: int, what: str) -> None:
    """fdatasync (contents and size), or the end of the process."""
    try:
        os.fdatasync(descriptor)
    except OSError as error:
        give_up(what, error)


def fsync_directory(path: str | os.PathLike[str]) -> None:
    """Makes the names in a directory durable, or ends the process."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fsync(descriptor, os.fspath(path))
    finally:
        os.close(descriptor)


def name_wal(db: sqlite3.Connection, path: Path) -> None:
    """R-30: makes the name of a database's -wal durable before a commit relies on it, or ends the process.

    SQLite syncs the folder once as well, but takes no notice where that fails. Raises sqlite3.Error.
    """
    db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()  # the first read makes the file
    fsync_directory(path.absolute().parent)


def write_new(path: str | os.PathLike[str], data: bytes, mode: int) -> None:
    """A new file, durable with its contents; its name is durable once its directory is. Raises FileExistsError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)
        write_all(descriptor, data)
        fsync(descriptor, os.fspath(path))
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes the whole of ``data``. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


# -- raises where the disk fails --------------------------------------------------------------------------------------


def sync(descriptor: int) -> None:
    """fsync. Raises NotSynced."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise NotSynced(error.errno, error.strerror) from error


def sync_file(path: Path) -> None:
    """Makes the contents of a written file durable. Raises OSError."""
    _sync_at(path, os.O_RDONLY)


def sync_directory(path: Path) -> None:
    """Makes the names in a directory durable. Raises OSError."""
    _sync_at(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync_at(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def create(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Creates ``path`` with ``data``: whole, or not at all. Raises FileExistsError if it is there, OSError."""
    temporary = _write_beside(path, data, mode)
    try:
        os.link(temporary, path)  # fails where the name was taken in the meantime
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def replace(path: Path, data: bytes, mode: int = 0o666) -> None:
    """``path`` has ``data``, whole, or what it had before. mode: less the umask. Raises OSError."""
    temporary = _write_beside(path, data, mode)
    try:
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def _write_beside(path: Path, data: bytes, mode: int) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # left by a killed process that had this number
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, mode)
    try:
        write_all(descriptor, data)
        sync(descriptor)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return temporary
