"""What a witness answers to add-checkpoint: a function of the request, the known logs, the stored head and the time.

No I/O here. The order is that of the specification (c2sp.org/tlog-witness, "add-checkpoint"):

    framing -> origin -> note and signature -> old <= size -> root of size 0 -> old is the stored size -> proof -> clock

``read`` does the part that costs nothing, ``decide`` the rest. The engine then makes a Cosign come true: compare and
swap the head, and only then sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from teelog import strict
from teelog.errors import MalformedError, ProofError, SignatureError, UntrustedKey
from teelog.tlog import note, rfc6962
from teelog.tlog.checkpoint import Checkpoint, parse_body
from teelog.tlog.fork import ForkProof, find_fork
from teelog.tlog.vkey import VerifierKey
from teelog.tlog.witness import SIZE_TYPE, AddCheckpoint, encode_conflict, parse_add_checkpoint

TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class KnownLog:
    """A log on the witness's list. keys: all of the name ``origin``. disabled: nothing is cosigned any more."""

    origin: str
    keys: tuple[VerifierKey, ...]
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """The checkpoint that was cosigned last for a log.

    size: 0..2**63-1. root: 32 bytes. timestamp: POSIX seconds of the cosignature. note: the checkpoint re-encoded with
    the log's signatures that verified, and nothing else (W-45).
    """

    size: int
    root: bytes
    timestamp: int
    note: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """A well-framed request. origin: claimed by the checkpoint's first line, authenticated by nothing yet."""

    add: AddCheckpoint
    origin: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer that needs no signature. body never repeats what the client sent (A-32)."""

    status: int
    body: bytes
    content_type: str = TEXT
    retry_after: int | None = None  # seconds


@dataclass(frozen=True, slots=True)
class Cosign:
    """All checks hold: replace ``previous`` (None: nothing stored) by ``head``, then sign ``body`` at its timestamp."""

    origin: str
    body: bytes
    head: Head
    previous: Head | None


@dataclass(frozen=True, slots=True)
class Inconsistent:
    """A checkpoint that the log signed and that does not extend the stored head. Answer, and keep what was shown.

    shown: the two notes and the proof that came with them. proven: whether they alone prove a fork to anyone.
    """

    origin: str
    answer: Answer
    shown: ForkProof
    proven: bool


Decision = Answer | Cosign | Inconsistent


def refuse(status: HTTPStatus, reason: str) -> Answer:
    """An answer with one line of text."""
    return Answer(status, reason.encode() + b"\n")


def read(body: bytes) -> Request | Answer:
    """The request's framing and claimed origin. No cryptography."""
    try:
        # W-04 to W-07.
        add = parse_add_checkpoint(body)
    except MalformedError as error:
        return refuse(HTTPStatus.BAD_REQUEST, error.message)
    origin, newline, _ = add.checkpoint.partition(b"\n")
    if not origin or not newline:
        return refuse(HTTPStatus.BAD_REQUEST, "request has no checkpoint")
    try:
        return Request(add, origin.decode())
    except UnicodeDecodeError:
        return unknown_origin()  # no known origin is spelled like this


def unknown_origin() -> Answer:
    """W-09: "If the checkpoint origin is unknown, the witness MUST respond with a "404 Not Found"."""
    return refuse(HTTPStatus.NOT_FOUND, "log is not known here")


def decide(
    request: Request, log: KnownLog | None, head: Head | None, now: int, *, extensions: bool = False
) -> Decision:
    """The answer to ``request``.

    log: the log of ``request.origin``, None if unknown. head: its last cosigned head, None if there is none.
    now: POSIX seconds. extensions: whether checkpoints with extension lines are cosigned (W-39).
    """
    if log is None or log.origin != request.origin:
        return unknown_origin()
    if log.disabled:
        return refuse(HTTPStatus.FORBIDDEN, "log is disabled here")
    opened = _open(request, log, extensions)
    if isinstance(opened, Answer):
        return opened
    checkpoint, signed = opened
    old, proof = request.add.old, request.add.proof
    stored = 0 if head is None else head.size

    def inconsistent(status: HTTPStatus, reason: str) -> Inconsistent:
        answer = refuse(status, reason) if status != HTTPStatus.CONFLICT else conflict(stored)
        return _inconsistent(log, answer, head, checkpoint, signed.encode(), proof)

    # W-14: "The old size MUST be equal to or lower than the checkpoint size. Otherwise [...] 400".
    if old > checkpoint.size:
        return refuse(HTTPStatus.BAD_REQUEST, "old size is larger than the checkpoint's")
    # W-20: "A checkpoint of size zero MUST have the root hash of the empty tree [...] Otherwise [...] 422".
    if checkpoint.size == 0 and checkpoint.root != rfc6962.EMPTY_ROOT:
        return inconsistent(HTTPStatus.UNPROCESSABLE_ENTITY, "size 0 with another root than the empty tree's")
    # W-15, W-17, W-18: "MUST check that the old size matches the size of the latest checkpoint it cosigned [...] (or
    # zero if it never cosigned a checkpoint for that origin). If it doesn't match [...] 409".
    if old != stored:
        if head is not None and checkpoint.size == head.size and checkpoint.root != head.root:
            return inconsistent(HTTPStatus.CONFLICT, "")  # a fork all the same, whatever `old` says
        return conflict(stored)
    # W-21: "If the old size is zero, the consistency proof MUST be empty"; W-22, W-23: and then anything extends it.
    if old == 0 and proof:
        return refuse(HTTPStatus.UNPROCESSABLE_ENTITY, "a consistency proof from size 0 must be empty")
    if head is not None and old > 0:
        # W-25: "If the old size matches the checkpoint size, the witness MUST check that the root hashes are also
        # identical. If they don't match [...] 422".
        if old == checkpoint.size and checkpoint.root != head.root:
            return inconsistent(HTTPStatus.UNPROCESSABLE_ENTITY, "same size, another root: the log has forked")
        try:
            # W-24, W-25: "if a Merkle Consistency Proof doesn't verify [...] 422"; also refuses a superfluous one.
            rfc6962.verify_consistency(head.size, head.root, checkpoint.size, checkpoint.root, proof)
        except ProofError:
            return inconsistent(HTTPStatus.UNPROCESSABLE_ENTITY, "consistency proof does not verify")
    # W-34: "the timestamp MUST NOT be zero"; and it never goes back.
    if not 0 < now <= strict.MAX_INT or (head is not None and now < head.timestamp):
        return refuse(HTTPStatus.SERVICE_UNAVAILABLE, "clock is behind the last cosignature")
    # W-46: what is signed is the re-encoding of what was parsed.
    return Cosign(log.origin, checkpoint.body(), Head(checkpoint.size, checkpoint.root, now, signed.encode()), head)


def conflict(size: int) -> Answer:
    """W-16: "The response body MUST consist of the tree size [...] The response MUST have a Content-Type of"."""
    return Answer(HTTPStatus.CONFLICT, encode_conflict(size), SIZE_TYPE)


def _open(request: Request, log: KnownLog, extensions: bool) -> tuple[Checkpoint, note.Note] | Answer:
    try:
        # W-10: "MUST ignore signatures from unknown keys". W-08: several signatures are fine.
        signed = note.open_note(request.add.checkpoint, log.keys)
        checkpoint = parse_body(signed.text)
    except UntrustedKey:
        # W-11: "403 [...] if either no signature from a trusted key for the origin is present,
        return refuse(HTTPStatus.FORBIDDEN, "no signature by a key that is trusted for this log")
    except SignatureError:
        # W-12: or a signature line's key name and ID match a trusted key but the signature itself fails to verify".
        return refuse(HTTPStatus.FORBIDDEN, "a signature by a trusted key does not verify")
    except MalformedError as error:  # W-13
        return refuse(HTTPStatus.BAD_REQUEST, error.message)
    if checkpoint.origin != log.origin:
        return refuse(HTTPStatus.BAD_REQUEST, "checkpoint's origin line is ambiguous")
    if checkpoint.extensions:  # W-39
        if not extensions:
            return refuse(HTTPStatus.BAD_REQUEST, "checkpoints with extension lines are not cosigned here")
        if not any(getattr(line.verifier, "covers_extensions", False) for line in signed.signatures):
            return refuse(HTTPStatus.BAD_REQUEST, "no signature of the log covers the extension lines")
    return checkpoint, signed


def _inconsistent(
    log: KnownLog, answer: Answer, head: Head | None, checkpoint: Checkpoint, signed: bytes, proof: tuple[bytes, ...]
) -> Inconsistent:
    if head is None:
        return Inconsistent(log.origin, answer, ForkProof(b"", signed, proof=proof, keys=log.keys), proven=False)
    stored = Checkpoint(log.origin, head.size, head.root)
    fork = find_fork((stored, head.note), (checkpoint, signed), proof, keys=log.keys)
    shown = fork or ForkProof(head.note, signed, proof=proof, keys=log.keys)
    return Inconsistent(log.origin, answer, shown, proven=fork is not None)
