"""Files that the user names: read with a bound, written whole or not at all."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from teelog import durable
from teelog.errors import ConfigError, MalformedError, UnavailableError

MAX_READ = 1 << 20  # bytes; callers that expect more say so


def read(path: str | Path, limit: int = MAX_READ, what: str = "file") -> bytes:
    """The bytes of ``path``, or of stdin for ``-``; at most ``limit`` of them.

    Raises UnavailableError if it cannot be read, MalformedError if it is longer.
    """
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(limit + 1)
    except OSError as error:
        raise UnavailableError(f"cannot read {what} {path}", actual=error.strerror or str(error)) from error
    if len(data) > limit:
        raise MalformedError(f"{what} {path} is too long", expected=f"at most {limit} bytes", actual="more")
    return data


def write(path: Path, data: bytes, mode: int = 0o644, *, exclusive: bool = False) -> None:
    """Writes a temporary file beside ``path``, syncs it, moves it into place and syncs the folder.

    A failure leaves neither a new file nor a changed one. What is no regular file (a pipe, /dev/null) is written to.
    exclusive: refuse to replace. Raises ConfigError (exists), UnavailableError (I/O).
    """
    try:
        _write(path, data, mode, exclusive)
    except FileExistsError as error:
        raise ConfigError(f"{path} exists already", expected="a new file", hint="choose another name") from error
    except OSError as error:
        raise UnavailableError(f"cannot write {path}", actual=error.strerror or str(error)) from error


def _write(path: Path, data: bytes, mode: int, exclusive: bool) -> None:
    if exclusive and os.path.lexists(path):
        raise FileExistsError
    target = Path(os.path.realpath(path))  # a link stays a link
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        target.write_bytes(data)
        return
    if exclusive:
        durable.create(target, data, mode)  # fails where the name was taken in the meantime
    else:
        durable.replace(target, data, mode)
