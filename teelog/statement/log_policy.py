"""Log policies, ``urn:teelog:log-policy:v1``: how a log describes and ends itself (protocol section 3).

    {"log":"log.example/tee","version":0,"prev":null,"operators":["-----BEGIN PUBLIC KEY-----..."],"threshold":1,
     "admission":{"raw":false}}

Entry 0 of every log is its policy of version 0, signed by a threshold of the operators that it names; none of them is
the key that signs checkpoints. Each later version is signed by a threshold of the operators of the one before.
``frozen{successor}`` ends the log. Members other than these are refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from teelog.errors import MalformedError, VerificationError
from teelog.keys import PublicKey
from teelog.statement import dsse, intoto, key_set, names, strict_json
from teelog.statement.dsse import Envelope
from teelog.statement.strict_json import Count

PREDICATE_TYPE = "urn:teelog:log-policy:v1"


class Admission(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """raw: the log also takes bytes of any kind, unsigned: a log for load tests, not one to trust for statements.

    private_results: it takes attestation results that hold raw evidence, nonces or a machine's identity.
    """

    raw: bool
    private_results: bool = False


class Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """successor: the origin of the log that goes on, or null."""

    successor: str | None


class LogPolicyPredicate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """log: origin. version: 0, 1, ... prev: statement id of the version before, null in version 0.

    operators: SPKI PEM, Ed25519 or ML-DSA-44. threshold: how many of them must sign the next version.
    """

    log: str
    version: Count
    prev: str | None
    operators: tuple[str, ...]
    threshold: Count
    admission: Admission
    frozen: Frozen | None = None


class LogPolicyStatement(intoto.Frame, frozen=True, forbid_unknown_fields=True):
    subject: tuple[intoto.Topic, ...]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: LogPolicyPredicate


_decoder = msgspec.json.Decoder(LogPolicyStatement)


@dataclass(frozen=True, slots=True)
class LogPolicy:
    """A log policy whose signatures held."""

    statement_id: str
    predicate: LogPolicyPredicate
    operators: Mapping[str, PublicKey]


def payload(predicate: LogPolicyPredicate) -> bytes:
    """The bytes to sign. Raises MalformedError."""
    subject = intoto.topic(predicate.log, hashlib.sha256(predicate.log.encode()).hexdigest())
    statement = LogPolicyStatement(intoto.STATEMENT_TYPE, subject, PREDICATE_TYPE, predicate)
    encoded = strict_json.encode(statement)
    read(encoded)
    return encoded


def read(claimed: bytes) -> LogPolicyPredicate:
    """The predicate of a payload, well-formed; nothing is verified. Raises MalformedError."""
    statement = intoto.decode(claimed, _decoder)
    intoto.check_predicate_type(statement.predicate_type, PREDICATE_TYPE)
    predicate = statement.predicate
    names.origin(predicate.log, "/predicate/log")
    intoto.check_topic(statement.subject, predicate.log, hashlib.sha256(predicate.log.encode()).hexdigest())
    check_chain(predicate.version, predicate.prev)
    operator_keys(predicate)
    key_set.check_threshold(predicate.threshold, len(predicate.operators), "/predicate/threshold")
    if predicate.frozen is not None and predicate.frozen.successor is not None:
        names.origin(predicate.frozen.successor, "/predicate/frozen/successor")
    return predicate


def operator_keys(predicate: LogPolicyPredicate) -> dict[str, PublicKey]:
    """The operators' keys by keyid. Raises MalformedError."""
    key_set.check_count(len(predicate.operators), "/predicate/operators")
    keys: dict[str, PublicKey] = {}
    for index, pem in enumerate(predicate.operators):
        where = f"/predicate/operators/{index}"
        key = key_set.read(pem, where)
        if key_set.is_ecdsa(key):
            raise MalformedError(
                "key may sign releases only", where=where, expected="ed25519 or ml-dsa-44", actual=key.algorithm
            )
        if key.fingerprint in keys:
            raise MalformedError("key is listed twice", where=where, actual=key.fingerprint)
        keys[key.fingerprint] = key
    return keys


def check_chain(version: int, prev: str | None) -> None:
    """``prev`` is null in version 0 and a statement id in all others. Raises MalformedError."""
    if prev is not None:
        names.statement_id(prev, "/predicate/prev")
    if (version == 0) != (prev is None):
        expected = "null in version 0, the statement id of the version before in others"
        raise MalformedError("prev does not suit the version", where="/predicate/prev", expected=expected)


def verify_first(envelope: Envelope) -> LogPolicy:
    """Version 0, signed by a threshold of its own operators.

    Raises MalformedError, SignatureError, UntrustedKey, VerificationError (not a version 0).
    """
    predicate = read(envelope.claimed())
    if predicate.version != 0:
        raise VerificationError("not the first log policy", expected="version 0", actual=f"version {predicate.version}")
    keys = operator_keys(predicate)
    return _verified(envelope, predicate, keys, predicate.threshold)


def verify_next(envelope: Envelope, previous: LogPolicy) -> LogPolicy:
    """The version after ``previous``, signed by a threshold of its operators. Raises as ``verify_first``."""
    predicate = read(envelope.claimed())
    before = previous.predicate
    if before.frozen is not None:
        raise VerificationError("the log is frozen: no policy can follow")
    if predicate.log != before.log:
        raise VerificationError("policy of another log", expected=before.log, actual=predicate.log)
    if (predicate.version, predicate.prev) != (before.version + 1, previous.statement_id):
        raise VerificationError(
            "policy does not follow the one before",
            expected=f"version {before.version + 1}, prev {previous.statement_id}",
            actual=f"version {predicate.version}, prev {predicate.prev}",
        )
    return _verified(envelope, predicate, previous.operators, before.threshold)


def restore(claimed: bytes) -> LogPolicy:
    """A policy from its payload, for those who verified it before and kept it: nothing is verified here.

    Raises MalformedError.
    """
    predicate = read(claimed)
    return LogPolicy(dsse.statement_id(claimed), predicate, operator_keys(predicate))


def _verified(
    envelope: Envelope, predicate: LogPolicyPredicate, keys: Mapping[str, PublicKey], threshold: int
) -> LogPolicy:
    verified = envelope.verify(keys)
    key_set.require_threshold(verified.signers, keys, threshold, "the log's operators")
    return LogPolicy(verified.statement_id, predicate, operator_keys(predicate))
