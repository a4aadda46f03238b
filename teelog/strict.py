"""Strict scalars: the one accepted spelling of numbers, base64 and hex, checked by re-encoding.

Python's own readers are lenient (``int("1_0")``, ``b64decode("QR==")``, ``fromhex("0 1")``): nothing that comes from
outside goes through them. All functions raise MalformedError and name what they were reading through ``what``.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64

from teelog.errors import MalformedError

MAX_INT = 2**63 - 1
"""Largest size, index and timestamp anywhere (CP-04, CS-03)."""

_DECIMAL = re.compile(rb"0|[1-9][0-9]{0,18}")
_HEX = re.compile(rb"[0-9a-f]*")


def decimal(text: bytes, what: str = "number") -> int:
    """ASCII decimal without sign, leading zero or separator, 0..2**63-1."""
    if not _DECIMAL.fullmatch(text):
        raise MalformedError(f"{what} is not a plain decimal number", actual=text[:40])
    value = int(text)
    if value > MAX_INT:
        raise MalformedError(f"{what} is larger than 2^63-1", actual=value)
    return value


def b64(text: bytes, what: str = "base64", length: int | None = None) -> bytes:
    """Padded standard base64 (RFC 4648 section 4) that re-encodes to itself; ``length`` in decoded bytes if fixed."""
    try:
        value = a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise MalformedError(f"{what} is not base64", actual=text[:80]) from error
    if b2a_base64(value, newline=False) != text:
        raise MalformedError(f"{what} is not canonical base64", actual=text[:80])
    if length is not None and len(value) != length:
        raise MalformedError(f"{what} has the wrong length", expected=f"{length} bytes", actual=f"{len(value)} bytes")
    return value


def unhex(text: str | bytes, what: str = "hex", length: int | None = None) -> bytes:
    """Lower-case hex, no separators; ``length`` in decoded bytes if fixed."""
    try:
        raw = text.encode("ascii") if isinstance(text, str) else text
    except UnicodeEncodeError as error:
        raise MalformedError(f"{what} is not lower-case hex", actual=text[:80]) from error
    if not _HEX.fullmatch(raw) or len(raw) % 2:
        raise MalformedError(f"{what} is not lower-case hex", actual=text[:80])
    if length is not None and len(raw) != 2 * length:
        actual = f"{len(raw) // 2} bytes"
        raise MalformedError(f"{what} has the wrong length", expected=f"{length} bytes", actual=actual)
    return bytes.fromhex(raw.decode())
