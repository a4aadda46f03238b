"""The list of statement ids that a namespace's owner expects: what was signed on purpose."""

from __future__ import annotations

import re
from pathlib import Path

from teelog.errors import ConfigError
from teelog.witness.monitor.folder import Folder
from teelog.witness.monitor.settings import MAX_KNOWN, Settings

_ID = re.compile(r"[0-9a-f]{64}")


def read_known(folder: Folder, settings: Settings) -> frozenset[str] | None:
    """The ids, read again at each look; None without a list. Raises ConfigError: without it, nothing is expected."""
    if settings.known is None:
        return None
    return parse(folder.path.absolute().parent / settings.known)


def parse(path: Path) -> frozenset[str]:
    """One id a line; further words on a line are comments. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KNOWN + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the list of expected statements {path}", actual=error.strerror) from error
    if len(data) > MAX_KNOWN:
        raise ConfigError(f"{path} is too long", expected=f"at most {MAX_KNOWN} bytes")
    return parse_list(data, str(path))


def parse_list(data: bytes, name: str) -> frozenset[str]:
    """As ``parse``, of what was read. name: of the file, for people. Raises ConfigError."""
    found = set()
    for line in data.decode("ascii", "replace").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        first = line.split()[0]
        if not _ID.fullmatch(first):
            raise ConfigError(f"{name} is no list of statement ids", expected="64 hex digits a line", actual=first[:80])
        found.add(first)
    return frozenset(found)
