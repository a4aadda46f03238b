"""What a cosigner signs (c2sp.org/tlog-cosignature): the two messages and the timestamped blob around a signature."""

from __future__ import annotations

import struct

from teelog import strict
from teelog.errors import MalformedError, SignatureError

ED25519_BLOB = 8 + 64  # CS-02, without the 4-byte key ID
ML_DSA_44_BLOB = 8 + 2420
_LABEL = b"subtree/v1\n\x00"


def ed25519_message(timestamp: int, body: bytes) -> bytes:
    """CS-05, CS-06: header line, time line and the whole note text, extension lines included.

    timestamp: POSIX seconds, 0..2**63-1. body: the checkpoint's note text.
    """
    return b"cosignature/v1\ntime %d\n" % timestamp + body


def ml_dsa_44_message(name: str, timestamp: int, origin: str, start: int, end: int, root: bytes) -> bytes:
    """CS-07: the ``cosigned_message`` structure; the FIPS 204 context is empty and the message is not pre-hashed.

    name: the cosigner's. timestamp: POSIX seconds, 0 where no claim of "largest seen" is made. [start, end): the
    leaves under ``root`` (32 bytes); for a checkpoint 0 and its size. Raises MalformedError.
    """
    # CS-11: a subtree that does not start at 0 makes no claim of time.
    if start != 0 and timestamp != 0:
        raise MalformedError("a subtree cosignature with start > 0 must have timestamp 0", actual=timestamp)
    if not 0 <= timestamp <= strict.MAX_INT:
        raise MalformedError("cosignature timestamp is out of range", actual=timestamp)
    return b"".join(
        (
            _LABEL,
            _prefixed(name, "cosigner name"),
            struct.pack(">Q", timestamp),
            _prefixed(origin, "log origin"),
            struct.pack(">QQ", start, end),
            root,
        )
    )


def _prefixed(text: str, what: str) -> bytes:
    raw = text.encode()
    # CS-08: 1..255 bytes, not characters. CS-09: without the newline.
    if not 1 <= len(raw) <= 255 or b"\n" in raw:
        raise MalformedError(f"{what} must have 1 to 255 bytes and no newline", actual=f"{len(raw)} bytes")
    return bytes([len(raw)]) + raw


def encode_blob(timestamp: int, signature: bytes) -> bytes:
    """``timestamped_signature``: big-endian uint64 and the signature."""
    return struct.pack(">Q", timestamp) + signature


def parse_blob(blob: bytes, length: int) -> tuple[int, bytes]:
    """(timestamp, signature) of a ``timestamped_signature`` of ``length`` bytes. Raises SignatureError."""
    if len(blob) != length:  # CS-02
        raise SignatureError(
            "cosignature has the wrong length", expected=f"{length} bytes", actual=f"{len(blob)} bytes"
        )
    timestamp: int = struct.unpack(">Q", blob[:8])[0]
    if timestamp > strict.MAX_INT:  # CS-03
        raise SignatureError("cosignature timestamp is above 2^63-1", actual=timestamp)
    return timestamp, blob[8:]
