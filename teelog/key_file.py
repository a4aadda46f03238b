"""Private key files: read only if nobody but the owner can touch them. The one place that judges a key file's mode."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from teelog.errors import ConfigError
from teelog.keys import MAX_PEM_LENGTH

MAX_LENGTH = MAX_PEM_LENGTH + 1024  # bytes; PEM, and perhaps a line that names the key's purpose


def read(path: Path) -> bytes:
    """The file's first ``MAX_LENGTH`` bytes. Mode and bytes are of one open file, so nothing is swapped in between.

    Raises ConfigError if the file cannot be read, or if group or others may touch it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"cannot read key file {path}", actual=error.strerror) from error
    with os.fdopen(descriptor, "rb") as opened:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & 0o077:
            raise ConfigError(
                f"key file {path} is open to others",
                expected="mode 0600",
                actual=f"mode {mode:04o}",
                hint=f"chmod 600 {shlex.quote(str(path))}",
            )
        return opened.read(MAX_LENGTH)
