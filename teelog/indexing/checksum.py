"""CRC-32 behind what ``index.db`` holds. SQLite has no checksums: a bit that flips on the disk would become a map root
that is signed, and no later one puts that right. Against those who write the file on purpose it does nothing.
"""

from __future__ import annotations

import sqlite3
from zlib import crc32

_LENGTH = 4


def sealed(body: bytes) -> bytes:
    """``body`` with its checksum."""
    return body + crc32(body).to_bytes(_LENGTH, "little")


def opened(data: bytes, what: str) -> bytes:
    """The body. Raises sqlite3.DatabaseError where it is not what was written."""
    body = data[:-_LENGTH]
    if crc32(body).to_bytes(_LENGTH, "little") != data[-_LENGTH:]:
        raise sqlite3.DatabaseError(f"{what} of the index is damaged")
    return body
