"""Checkpoints (c2sp.org/tlog-checkpoint): the note text in which a log commits to its tree.

<origin>
<size, decimal>
<root hash, base64>
[<extension line> ...]
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass

from teelog import strict
from teelog.errors import MalformedError, VerificationError
from teelog.tlog import note
from teelog.tlog.rfc6962 import EMPTY_ROOT, HASH_LENGTH

MAX_ORIGIN = 255  # bytes; what a cosigned message can carry (CS-08)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head. size: 0..2**63-1 leaves. root: 32 bytes. extensions: opaque lines without newline."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def body(self) -> bytes:
        """The note text."""
        lines = [self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions]
        return "".join(line + "\n" for line in lines).encode()


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint whose note was opened with trusted keys.

    checkpoint.extensions is empty unless a verified signature covers those lines (CS-13: ML-DSA-44 does not).
    """

    checkpoint: Checkpoint
    note: note.Note


def parse_body(text: bytes) -> Checkpoint:
    """A checkpoint from note text. Raises MalformedError."""
    try:
        lines = text.decode().split("\n")
    except UnicodeDecodeError as error:
        raise MalformedError("checkpoint is not UTF-8") from error
    # CP-01: at least three non-empty lines, each ended; CP-06: extension lines are non-empty too.
    if len(lines) < 4 or lines.pop() != "" or not all(lines):
        raise MalformedError("checkpoint is not at least three non-empty lines")
    origin, size, root, *extensions = lines
    return Checkpoint(
        origin,  # CP-02: non-empty, otherwise opaque
        strict.decimal(size.encode(), "checkpoint size"),  # CP-03, CP-04
        strict.b64(root.encode(), "checkpoint root", HASH_LENGTH),  # CP-05
        tuple(extensions),
    )


def claimed_origin(text: bytes) -> str:
    """The origin line of note text that nothing has authenticated yet. Raises MalformedError."""
    origin, newline, _ = text.partition(b"\n")
    if not newline or not origin:
        raise MalformedError("checkpoint has no origin line")
    try:
        return origin.decode()
    except UnicodeDecodeError as error:
        raise MalformedError("checkpoint is not UTF-8") from error


def open_checkpoint(
    data: bytes | note.UnverifiedNote,
    verifiers: Iterable[note.Verifier] | dict[tuple[str, bytes], note.Verifier],
    origin: str | None = None,
    *,
    body: Checkpoint | None = None,
) -> SignedCheckpoint:
    """A checkpoint whose signatures by ``verifiers`` have been checked.

    verifiers: as for ``note.open_note``. origin: the origin that the caller expects; None where the caller compares it
    itself. body: the note's text, if ``parse_body`` has read it.
    Raises MalformedError, SignatureError, UntrustedKey; VerificationError for another origin or a wrong empty root.
    """
    opened = note.open_note(data, verifiers)
    checkpoint = parse_body(opened.text) if body is None else body
    if origin is not None and checkpoint.origin != origin:
        raise VerificationError("checkpoint is of another log", expected=origin, actual=checkpoint.origin)
    # CP-12: there is only one empty tree.
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise VerificationError(
            "checkpoint of size 0 has another root than the empty tree",
            expected=EMPTY_ROOT.hex(),
            actual=checkpoint.root.hex(),
        )
    if checkpoint.extensions and not any(
        getattr(verified.verifier, "covers_extensions", False) for verified in opened.signatures
    ):
        checkpoint = Checkpoint(checkpoint.origin, checkpoint.size, checkpoint.root)
    return SignedCheckpoint(checkpoint, opened)
