"""What an entry is, for those who take it in: a log's admission, a monitor, a reader of the log.

``classify`` reads strictly and verifies nothing; the ``check_`` functions verify against a namespace that the caller
looked up by ``ParsedEntry.namespace``. Splitting the two lets a server classify in its event loop and verify elsewhere.
"""

from __future__ import annotations

import enum

import msgspec

from teelog.errors import MalformedError, VerificationError
from teelog.statement import dsse, ear_token, intoto, log_policy, names, release, status
from teelog.statement import namespace as namespaces
from teelog.statement.dsse import Envelope
from teelog.statement.ear import Result
from teelog.statement.log_policy import LogPolicy, LogPolicyPredicate
from teelog.statement.names import Stream
from teelog.statement.namespace import Namespace, NamespacePredicate, Role
from teelog.statement.release import Release, ReleaseClaim, ReleasePredicate
from teelog.statement.status import Status, StatusPredicate
from teelog.statement.token import Token


class Kind(enum.StrEnum):
    LOG_POLICY = "log-policy"
    NAMESPACE = "namespace"
    RELEASE = "release"
    STATUS = "status"
    RESULT = "result"


Claim = LogPolicyPredicate | NamespacePredicate | ReleaseClaim | StatusPredicate | Result
Predicate = LogPolicyPredicate | NamespacePredicate | ReleasePredicate | StatusPredicate | Result


class Statement(msgspec.Struct, frozen=True):
    """A well-formed statement of which nothing is verified.

    claim: LogPolicyPredicate, NamespacePredicate, ReleaseClaim, StatusPredicate or Result, as ``kind`` says.
    namespace: whose keys must sign it; None for a log policy. stream: of a release or a status.
    """

    kind: Kind
    claim: Claim
    namespace: str | None
    stream: Stream | None

    @property
    def predicate(self) -> Predicate:
        return self.claim.predicate if isinstance(self.claim, ReleaseClaim) else self.claim


class ParsedEntry(msgspec.Struct, frozen=True):
    """A well-formed entry of which nothing is verified: an envelope (of a result: a token) with its statement."""

    envelope: Envelope | Token
    statement: Statement

    @property
    def kind(self) -> Kind:
        return self.statement.kind

    @property
    def statement_id(self) -> str:
        return self.envelope.statement_id

    @property
    def predicate(self) -> Predicate:
        return self.statement.predicate

    @property
    def namespace(self) -> str | None:
        return self.statement.namespace

    @property
    def stream(self) -> Stream | None:
        return self.statement.stream


def classify(entry: bytes) -> ParsedEntry:
    """The kind and the strict reading of an entry's exact bytes.

    Raises MalformedError; ``where`` is a JSON pointer into the envelope (/payload.., /signatures..), into the statement
    (/_type, /subject.., /predicate..), or of a result into its header or claims.
    """
    if ear_token.looks_like(entry):
        token = ear_token.parse(entry)
        return ParsedEntry(token, read_result(token))
    envelope = dsse.parse(entry)
    statement = read_statement(envelope.claimed())
    if isinstance(statement.claim, ReleaseClaim):
        release.check_index_keys(statement.claim, len(envelope.signatures))
    return ParsedEntry(envelope, statement)


def read_statement(payload: bytes) -> Statement:
    """A statement of any known kind from its payload. Raises MalformedError (``where``: a JSON pointer into it)."""
    kind = intoto.claimed_predicate_type(payload)
    if kind == release.PREDICATE_TYPE:
        claim = release.read(payload)
        return Statement(Kind.RELEASE, claim, claim.stream.namespace, claim.stream)
    if kind == status.PREDICATE_TYPE:
        state = status.read(payload)
        stream = names.stream(state.stream)
        return Statement(Kind.STATUS, state, stream.namespace, stream)
    if kind == namespaces.PREDICATE_TYPE:
        owned = namespaces.read(payload)
        return Statement(Kind.NAMESPACE, owned, owned.namespace, None)
    if kind == log_policy.PREDICATE_TYPE:
        return Statement(Kind.LOG_POLICY, log_policy.read(payload), None, None)
    # no reading of a type that is not known.
    raise MalformedError(
        "predicate type is not known",
        where="/predicateType",
        expected=", ".join(one.PREDICATE_TYPE for one in (release, status, namespaces, log_policy)),
        actual=kind[:80],
    )


def read_result(token: Token) -> Statement:
    """An attestation result from its token. Raises MalformedError."""
    found = ear_token.read(token)
    # Whose keys count is the signer's namespace, which the issuer has to be.
    issuer = names.namespace(found.issuer or "", "/iss")
    return Statement(Kind.RESULT, found, issuer, None)


class VerifiedResult(msgspec.Struct, frozen=True):
    """signer: keyid of the key whose signature holds, whatever the token says of it."""

    result: Result
    signer: str


def check_result(parsed: ParsedEntry, namespace: Namespace, index: int | None = None) -> VerifiedResult:
    """The result, signed by a key that holds the role ``result`` in its issuer's namespace.

    Raises SignatureError, UntrustedKey, ValueError for another kind.
    """
    if not isinstance(parsed.statement.claim, Result) or not isinstance(parsed.envelope, Token):
        raise ValueError(f"not a result but a {parsed.kind}")
    if parsed.namespace != namespace.name:
        raise ValueError(f"keys of {namespace.name} for a result of {parsed.namespace}")
    verified = parsed.envelope.verify(namespace.keys_for(Role.RESULT, index))
    namespace.require(Role.RESULT, (verified.signer,), index)
    return VerifiedResult(parsed.statement.claim, verified.signer)


def check_private(result: Result) -> None:
    """Raises MalformedError for a result that holds evidence, a nonce or a machine's identity in clear."""
    if result.private:
        raise MalformedError(
            "the result holds raw evidence, a nonce or a machine's identity, which this log does not take",
            where=result.private[0],
            expected="a result without it: what is logged stays",
        )


def check_release(parsed: ParsedEntry, namespace: Namespace, index: int | None = None) -> Release:
    """The release, signed as ``namespace`` asks. Raises as ``release.verify``, ValueError for another kind."""
    if not isinstance(parsed.statement.claim, ReleaseClaim) or not isinstance(parsed.envelope, Envelope):
        raise ValueError(f"not a release but a {parsed.kind}")
    return release.verify(parsed.envelope, namespace, index, parsed.statement.claim)


def check_status(parsed: ParsedEntry, namespace: Namespace, index: int | None = None) -> Status:
    """The status, signed as ``namespace`` asks. Raises as ``status.verify``, ValueError for another kind."""
    if not isinstance(parsed.statement.claim, StatusPredicate) or not isinstance(parsed.envelope, Envelope):
        raise ValueError(f"not a status but a {parsed.kind}")
    return status.verify(parsed.envelope, namespace, index, parsed.statement.claim)


def check_namespace_v0(parsed: ParsedEntry, log: str, index: int | None = None) -> Namespace:
    """A first version, for the log of origin ``log``.

    Raises as ``namespace.verify_first``, ValueError for another kind.
    """
    return namespaces.verify_first(_envelope(parsed, Kind.NAMESPACE, log), index)


def check_namespace_next(parsed: ParsedEntry, previous: Namespace, index: int | None = None) -> Namespace:
    """A later version. Raises as ``namespace.verify_next``, ValueError for another kind."""
    return namespaces.verify_next(_envelope(parsed, Kind.NAMESPACE, previous.log), previous, index)


def check_log_policy_v0(parsed: ParsedEntry, log: str) -> LogPolicy:
    """Entry 0 of the log of origin ``log``. Raises as ``log_policy.verify_first``, ValueError for another kind."""
    return log_policy.verify_first(_envelope(parsed, Kind.LOG_POLICY, log))


def check_log_policy_next(parsed: ParsedEntry, previous: LogPolicy) -> LogPolicy:
    """A later version. Raises as ``log_policy.verify_next``, ValueError for another kind."""
    return log_policy.verify_next(_envelope(parsed, Kind.LOG_POLICY, previous.predicate.log), previous)


def _envelope(parsed: ParsedEntry, kind: Kind, log: str) -> Envelope:
    claim = parsed.statement.claim
    if not isinstance(claim, LogPolicyPredicate | NamespacePredicate) or not isinstance(parsed.envelope, Envelope):
        raise ValueError(f"not a {kind} but a {parsed.kind}")
    if parsed.kind is not kind:
        raise ValueError(f"not a {kind} but a {parsed.kind}")
    # a statement for one log is not replayed to another.
    if claim.log != log:
        raise VerificationError("statement is for another log", expected=log, actual=claim.log)
    return parsed.envelope
