"""Tickets: a pending checkpoint that the mirror gives its client to keep, so that an upload to it can be gone on with
after the log has moved on. The mirror keeps nothing itself.

    version 1 || HMAC-SHA-256(key, origin size || origin || note) || note

The key lives as long as the process: what an earlier one gave is as good as none.
"""

from __future__ import annotations

import hashlib
import hmac

VERSION = b"\x01"
_MAC = 32
MAX_TICKET = 0xFFFF


def issue(key: bytes, origin: str, note: bytes) -> bytes:
    """A ticket for a note that was the pending checkpoint once; empty where it has no room for it."""
    ticket = VERSION + _mac(key, origin, note) + note
    return ticket if len(ticket) <= MAX_TICKET else b""


def read(key: bytes, origin: str, ticket: bytes) -> bytes | None:
    """The note, None for what is no ticket of ours for this log.

    MI-30: "The mirror MUST authenticate any information it derives from a ticket."
    """
    mac, note = ticket[1 : 1 + _MAC], ticket[1 + _MAC :]
    if ticket[:1] != VERSION or not hmac.compare_digest(mac, _mac(key, origin, note)):
        return None
    return note


def _mac(key: bytes, origin: str, note: bytes) -> bytes:
    name = origin.encode()
    return hmac.new(key, len(name).to_bytes(2, "big") + name + note, hashlib.sha256).digest()
