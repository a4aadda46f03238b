"""Making writes durable. A failed fsync ends the process.

After an error from fsync the kernel may call the lost pages clean: neither a second fsync nor reading back can tell
whether the data reached the disk (R-30). Only starting again, from what is really there, can.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

EXIT_CODE = 4  # I/O (design section 8)


def give_up(what: str, error: BaseException) -> NoReturn:
    """Ends the process at once, without running anything that could write."""
    sys.stderr.write(
        f"error: {what} could not be made durable: {error}; this process ends, nothing is taken for written\n"
    )
    sys.stderr.flush()
    os._exit(EXIT_CODE)


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
    """Makes the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fsync(descriptor, os.fspath(path))
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes the whole of ``data``. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_new(path: str | os.PathLike[str], data: bytes, mode: int) -> None:
    """A new file, durable with its contents; its name is durable once its directory is. Raises FileExistsError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)
        write_all(descriptor, data)
        fsync(descriptor, os.fspath(path))
    finally:
        os.close(descriptor)
