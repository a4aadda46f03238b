"""The add-checkpoint exchange (c2sp.org/tlog-witness): request, answer and conflict, for both sides.

old <size>
[<consistency proof hash, base64> ...]

<checkpoint>
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from teelog import strict
from teelog.errors import MalformedError
from teelog.tlog import note
from teelog.tlog.rfc6962 import HASH_LENGTH, MAX_HASHES

MAX_REQUEST = 128 * 1024  # bytes (W-40)
MAX_ANSWER = 64 * 1024  # bytes
SIZE_TYPE = "text/x.tlog.size"  # W-16: exactly this, no charset


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request. old: the size the client believes was cosigned last. checkpoint: the signed note, as sent."""

    old: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    def encode(self) -> bytes:
        """The request body. Raises ValueError for more hashes than a proof can have (W-07)."""
        if len(self.proof) > MAX_HASHES:
            raise ValueError("a consistency proof has at most 63 hashes")
        lines = b"".join(base64.b64encode(item) + b"\n" for item in self.proof)
        return b"old %d\n" % self.old + lines + b"\n" + self.checkpoint


def parse_add_checkpoint(body: bytes) -> AddCheckpoint:
    """Reads a request strictly (W-04 to W-07). The checkpoint is not looked into. Raises MalformedError."""
    head, separator, checkpoint = body.partition(b"\n\n")
    if not separator:
        raise MalformedError("request has no empty line before the checkpoint")
    first, *lines = head.split(b"\n")
    if not first.startswith(b"old "):
        raise MalformedError("request does not start with an old size line", expected="old <size>", actual=first[:80])
    old = strict.decimal(first.removeprefix(b"old "), "old size")
    return AddCheckpoint(old, parse_hashes(lines), checkpoint)


def parse_hashes(lines: Sequence[bytes]) -> tuple[bytes, ...]:
    """Proof lines: at most 63, each base64 of 32 bytes. Raises MalformedError."""
    if len(lines) > MAX_HASHES:
        raise MalformedError("too many proof lines", expected=f"at most {MAX_HASHES}", actual=len(lines))
    return tuple(strict.b64(line, "proof line", HASH_LENGTH) for line in lines)


def encode_answer(signatures: Iterable[note.Signature]) -> bytes:
    """W-30: one or more signature lines and nothing else."""
    return b"".join(signature.line() for signature in signatures)


def parse_answer(body: bytes) -> tuple[note.Signature, ...]:
    """The signature lines of a 200 answer, unverified. Raises MalformedError."""
    if len(body) > MAX_ANSWER or not body.endswith(b"\n"):
        raise MalformedError("witness answer is not a sequence of lines", actual=f"{len(body)} bytes")
    lines = body[:-1].split(b"\n")
    if len(lines) > note.MAX_SIGNATURES:
        raise MalformedError(
            "witness answer has too many lines", expected=f"at most {note.MAX_SIGNATURES}", actual=len(lines)
        )
    return tuple(note.parse_line(line) for line in lines)


def encode_conflict(size: int) -> bytes:
    """W-16: the latest cosigned size, decimal, one newline."""
    return b"%d\n" % size


def parse_conflict(body: bytes) -> int:
    """The size in a 409 answer. Raises MalformedError."""
    if not body.endswith(b"\n"):
        raise MalformedError("conflict answer is not one decimal line", actual=body[:40])
    return strict.decimal(body[:-1], "witness size")
