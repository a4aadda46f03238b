"""Statuses, ``urn:teelog:status:v1``: what of a stream is allowed, and until when that holds (protocol section 3).

    {"stream":"acme.example/inference/stable","log":"log.example/tee","seq":7,"prev":"<statement id>","reason":"..",
     "allowed":[{"release":"<statement id>","state":"current","until":null},
                {"release":"<statement id>","state":"grace","until":"2026-06-01T00:00:00Z"}],
     "revoked":[{"release":"<statement id>","cause":"CVE-2026-1234"}],
     "max_age_s":86400,"next_update":"2026-06-20T00:00:00Z"}

``allowed`` is the complete set, in the vendor's order: what is not in it is not allowed, whatever came before.
``revoked`` explains. ``closed{successor}`` in place of ``allowed`` ends the stream on this log. Members other than
these are refused. Times are RFC 3339 in UTC, as in releases.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from teelog.errors import MalformedError, UntrustedKey, VerificationError
from teelog.statement import intoto, names, release, strict_json
from teelog.statement.dsse import Envelope
from teelog.statement.names import Stream
from teelog.statement.namespace import Namespace, Role
from teelog.statement.strict_json import Count

PREDICATE_TYPE = "urn:teelog:status:v1"
MAX_ALLOWED = 200
MAX_REVOKED = 200
MAX_TEXT = 512  # characters of ``reason`` and of each ``cause``


class State(enum.StrEnum):
    """grace: allowed until a time, for verifiers that accept it."""

    CURRENT = "current"
    GRACE = "grace"


class Allowed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """release: statement id. until: of ``grace`` only, the last second; null in ``current``."""

    release: str
    state: State
    until: str | None

    @property
    def until_time(self) -> datetime | None:
        """Aware, UTC."""
        return None if self.until is None else release.time(self.until)


class Revoked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """release: statement id. cause: for people and advisories, 1 to 512 characters."""

    release: str
    cause: str


class Closed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """successor: the origin of the log on which the stream goes on, or null."""

    successor: str | None


class StatusPredicate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """log: origin. seq: 0, 1, ... prev: statement id of the status before, null in seq 0. reason: for people.

    allowed: absent where ``closed`` is there, and there where it is absent. max_age_s: 1 or more, the greatest age of
    a checkpoint that a verifier may still take for "now". next_update: the last second at which this status holds.
    """

    stream: str
    log: str
    seq: Count
    prev: str | None
    reason: str
    allowed: tuple[Allowed, ...] | msgspec.UnsetType = msgspec.UNSET
    revoked: tuple[Revoked, ...]
    max_age_s: Count
    next_update: str
    closed: Closed | msgspec.UnsetType = msgspec.UNSET

    @property
    def allowed_now(self) -> tuple[Allowed, ...]:
        """The set; empty in a closed stream."""
        return () if isinstance(self.allowed, msgspec.UnsetType) else self.allowed

    @property
    def is_closed(self) -> bool:
        return not isinstance(self.closed, msgspec.UnsetType)

    @property
    def successor(self) -> str | None:
        """Of a closed stream, if it names one."""
        return None if isinstance(self.closed, msgspec.UnsetType) else self.closed.successor

    @property
    def next_update_time(self) -> datetime:
        """Aware, UTC."""
        return release.time(self.next_update)


class StatusStatement(intoto.Frame, frozen=True, forbid_unknown_fields=True):
    subject: tuple[intoto.Topic, ...]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: StatusPredicate


_decoder = msgspec.json.Decoder(StatusStatement)


class StatusHead(msgspec.Struct, frozen=True):
    """The last effective status of a stream: what the next one has to follow."""

    statement_id: str
    seq: int
    closed: bool


@dataclass(frozen=True, slots=True)
class Status:
    """A status whose signatures held under a namespace: made by ``verify`` only.

    That it is the newest one of its stream, and that its releases are logged, is for the index to show.
    signers: keyids, sorted. index: of its entry in the log, None before it has one.
    """

    predicate: StatusPredicate
    stream: Stream
    statement_id: str
    signers: tuple[str, ...]
    index: int | None
    file: bytes = field(repr=False)

    @property
    def head(self) -> StatusHead:
        return StatusHead(self.statement_id, self.predicate.seq, self.predicate.is_closed)


def payload(predicate: StatusPredicate) -> bytes:
    """The bytes to sign. Raises MalformedError."""
    subject = intoto.topic(predicate.stream, hashlib.sha256(predicate.stream.encode()).hexdigest())
    encoded = strict_json.encode(StatusStatement(intoto.STATEMENT_TYPE, subject, PREDICATE_TYPE, predicate))
    read(encoded)
    return encoded


def read(claimed: bytes) -> StatusPredicate:
    """The predicate of a payload, well-formed; nothing is verified. Raises MalformedError."""
    statement = intoto.decode(claimed, _decoder)
    intoto.check_predicate_type(statement.predicate_type, PREDICATE_TYPE)
    predicate = statement.predicate
    names.stream(predicate.stream, "/predicate/stream")
    intoto.check_topic(statement.subject, predicate.stream, hashlib.sha256(predicate.stream.encode()).hexdigest())
    names.origin(predicate.log, "/predicate/log")
    _check_chain(predicate.seq, predicate.prev)
    _check_text(predicate.reason, "/predicate/reason")
    if predicate.is_closed == (not isinstance(predicate.allowed, msgspec.UnsetType)):
        raise MalformedError("a status has either allowed or closed", where="/predicate/allowed")
    _check_sets(predicate)
    if predicate.successor is not None:
        names.origin(predicate.successor, "/predicate/closed/successor")
    if predicate.max_age_s == 0:
        raise MalformedError("no checkpoint is fresh enough", where="/predicate/max_age_s", expected="1 or more")
    release.time(predicate.next_update, "/predicate/next_update")
    return predicate


def _check_chain(seq: int, prev: str | None) -> None:
    if prev is not None:
        names.statement_id(prev, "/predicate/prev")
    if (seq == 0) != (prev is None):
        expected = "null in seq 0, the statement id of the status before in others"
        raise MalformedError("prev does not suit the seq", where="/predicate/prev", expected=expected)


def _check_sets(predicate: StatusPredicate) -> None:
    allowed = predicate.allowed_now
    _check_count(len(allowed), MAX_ALLOWED, "/predicate/allowed")
    _check_count(len(predicate.revoked), MAX_REVOKED, "/predicate/revoked")
    seen: set[str] = set()
    for index, item in enumerate(allowed):
        where = f"/predicate/allowed/{index}"
        _once(item.release, seen, f"{where}/release")
        if (item.state is State.GRACE) != (item.until is not None):
            raise MalformedError("until is for grace, and grace has one", where=f"{where}/until")
        if item.until is not None:
            release.time(item.until, f"{where}/until")
    for index, gone in enumerate(predicate.revoked):
        # Protocol section 3: an id in both sets is an error, so the one set of ids serves both loops.
        _once(gone.release, seen, f"/predicate/revoked/{index}/release")
        if not gone.cause:
            raise MalformedError("no cause", where=f"/predicate/revoked/{index}/cause", expected="1 character or more")
        _check_text(gone.cause, f"/predicate/revoked/{index}/cause")


def _once(statement_id: str, seen: set[str], where: str) -> None:
    names.statement_id(statement_id, where)
    if statement_id in seen:
        raise MalformedError("release is listed twice in allowed and revoked", where=where, actual=statement_id)
    seen.add(statement_id)


def _check_count(count: int, most: int, where: str) -> None:
    if count > most:
        raise MalformedError("too many releases", where=where, expected=f"at most {most}", actual=count)


def _check_text(text: str, where: str) -> None:
    if len(text) > MAX_TEXT:
        raise MalformedError("text is too long", where=where, expected=f"at most {MAX_TEXT} characters")


def verify(
    envelope: Envelope, namespace: Namespace, index: int | None = None, predicate: StatusPredicate | None = None
) -> Status:
    """A status signed by a threshold of the namespace's status keys, for the namespace's log.

    index: of the entry in the log, None before it has one. predicate: ``read(envelope.claimed())`` if it is at hand.
    Raises MalformedError, SignatureError, UntrustedKey (also for a stream of another namespace), VerificationError
    (another log).
    """
    if predicate is None:
        predicate = read(envelope.claimed())
    stream = names.stream(predicate.stream)
    if stream.namespace != namespace.name:
        raise UntrustedKey(
            "status is for a stream of another namespace", expected=namespace.name, actual=stream.namespace
        )
    # a status of one log is not replayed to another.
    if predicate.log != namespace.log:
        raise VerificationError("status is for another log", expected=namespace.log, actual=predicate.log)
    verified = envelope.verify(namespace.public_keys)
    namespace.require(Role.STATUS, verified.signers, index)
    return Status(predicate, stream, verified.statement_id, verified.signers, index, verified.file)


def check_follows(predicate: StatusPredicate, head: StatusHead | None) -> None:
    """Raises VerificationError unless a status comes directly after ``head``; None: unless it is the first."""
    if head is not None and head.closed:
        raise VerificationError("the stream is closed on this log: no status follows", expected=head.statement_id)
    seq, prev = (0, None) if head is None else (head.seq + 1, head.statement_id)
    if (predicate.seq, predicate.prev) != (seq, prev):
        raise VerificationError(
            "status does not follow the one before",
            expected=f"seq {seq}, prev {prev or 'null'}",
            actual=f"seq {predicate.seq}, prev {predicate.prev or 'null'}",
        )


def check_allowed(predicate: StatusPredicate, stream_of: Callable[[str], str | None]) -> None:
    """Raises VerificationError unless everything allowed is an effective release of the status's own stream.

    stream_of: statement id of a release -> the stream in whose list it is, None if it is in none.
    """
    for item in predicate.allowed_now:
        found = stream_of(item.release)
        if found != predicate.stream:
            raise VerificationError(
                "status allows what is no release of its stream",
                expected=f"a logged release of {predicate.stream}",
                actual=f"{item.release}, {'not logged as a release' if found is None else f'of {found}'}",
            )
