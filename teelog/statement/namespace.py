"""Namespaces, ``urn:teelog:namespace:v1``: whose keys speak for a name, and on which log (protocol section 3).

    {"namespace":"acme.example","log":"log.example/tee","version":0,"prev":null,
     "keys":[{"key":"-----BEGIN PUBLIC KEY-----...","roles":["owner","release","status"],"until":null}],
     "thresholds":{"owner":1,"release":1,"status":1}}

Version 0 is signed by a threshold of its own owners, each later one by the owners of the one before it. ``until`` is a
log index: the key counts for entries before it. Members other than these are refused, ``replaces`` (version 0 only: the
last version of the chain that a DNS recovery abandons) excepted.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated

import msgspec

from teelog.errors import MalformedError, VerificationError
from teelog.keys import PublicKey
from teelog.statement import dsse, intoto, key_set, names, strict_json
from teelog.statement.dsse import Envelope
from teelog.statement.log_policy import check_chain
from teelog.statement.strict_json import Count

PREDICATE_TYPE = "urn:teelog:namespace:v1"


class Role(enum.StrEnum):
    """What a key may sign."""

    OWNER = "owner"
    RELEASE = "release"
    STATUS = "status"
    RESULT = "result"


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """key: SPKI PEM. until: log index from which on the key no longer counts; null while it is in force."""

    key: str
    roles: tuple[Role, ...]
    until: Count | None


class NamespacePredicate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """log: origin of the one log on which the namespace speaks. thresholds: for each role that a key holds."""

    namespace: str
    log: str
    version: Count
    prev: str | None
    keys: tuple[Key, ...]
    thresholds: Annotated[dict[Role, Count], strict_json.Members]
    replaces: str | None = None


class NamespaceStatement(intoto.Frame, frozen=True, forbid_unknown_fields=True):
    subject: tuple[intoto.Topic, ...]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: NamespacePredicate


_decoder = msgspec.json.Decoder(NamespaceStatement)


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A key with what it may do. until: as in the statement."""

    public: PublicKey
    roles: tuple[Role, ...]
    until: int | None

    def in_force(self, index: int | None) -> bool:
        """Whether the key counts for an entry at ``index``; None: for one that is still to come, however late."""
        return self.until is None or (index is not None and index < self.until)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace statement whose signatures held: made by ``verify_first`` and ``verify_next`` only.

    keys: by keyid. public_keys: the same, as ``Envelope.verify`` takes them.
    """

    statement_id: str
    name: str
    log: str
    version: int
    keys: Mapping[str, HeldKey]
    thresholds: Mapping[Role, int]
    public_keys: Mapping[str, PublicKey] = field(repr=False)

    def keys_for(self, role: Role, index: int | None = None) -> dict[str, PublicKey]:
        """The keys that hold ``role`` and are in force at ``index`` (see HeldKey.in_force), by keyid."""
        return {keyid: key.public for keyid, key in self.keys.items() if role in key.roles and key.in_force(index)}

    def require(self, role: Role, signers: Iterable[str], index: int | None = None) -> None:
        """Raises UntrustedKey unless a threshold of distinct ``signers`` hold ``role`` at ``index``."""
        threshold = self.thresholds.get(role)
        # keys are counted, not signatures.
        held = self.keys
        found = {it for it in signers if it in held and role in held[it].roles and held[it].in_force(index)}
        # A role that nobody holds has no threshold, and nothing meets it.
        if threshold is not None and len(found) >= threshold:
            return
        holders = self.keys_for(role, index)
        what = f"{role} keys of {self.name}"
        key_set.require_threshold(signers, holders, len(holders) + 1 if threshold is None else threshold, what)


def payload(predicate: NamespacePredicate) -> bytes:
    """The bytes to sign. Raises MalformedError."""
    subject = intoto.topic(predicate.namespace, hashlib.sha256(predicate.namespace.encode()).hexdigest())
    statement = NamespaceStatement(intoto.STATEMENT_TYPE, subject, PREDICATE_TYPE, predicate)
    encoded = strict_json.encode(statement)
    read(encoded)
    return encoded


def read(claimed: bytes) -> NamespacePredicate:
    """The predicate of a payload, well-formed; nothing is verified. Raises MalformedError."""
    return _read(claimed)[0]


@lru_cache(64)  # a reader meets the same few versions again with every release; a refusal is not kept
def _read(claimed: bytes) -> tuple[NamespacePredicate, Mapping[str, HeldKey]]:
    statement = intoto.decode(claimed, _decoder)
    intoto.check_predicate_type(statement.predicate_type, PREDICATE_TYPE)
    predicate = statement.predicate
    names.namespace(predicate.namespace, "/predicate/namespace")
    intoto.check_topic(statement.subject, predicate.namespace, hashlib.sha256(predicate.namespace.encode()).hexdigest())
    names.origin(predicate.log, "/predicate/log")
    check_chain(predicate.version, predicate.prev)
    if predicate.replaces is not None:
        names.statement_id(predicate.replaces, "/predicate/replaces")
        if predicate.version != 0:
            raise MalformedError("only a first version replaces another chain", where="/predicate/replaces")
    held = held_keys(predicate)
    _check_thresholds(predicate, held)
    return predicate, held


def held_keys(predicate: NamespacePredicate) -> dict[str, HeldKey]:
    """The keys by keyid. Raises MalformedError."""
    key_set.check_count(len(predicate.keys), "/predicate/keys")
    held: dict[str, HeldKey] = {}
    for index, entry in enumerate(predicate.keys):
        where = f"/predicate/keys/{index}"
        public = key_set.read(entry.key, f"{where}/key")
        if not entry.roles or len(set(entry.roles)) != len(entry.roles):
            raise MalformedError(
                "roles are not one or more distinct ones", where=f"{where}/roles", expected=", ".join(Role)
            )
        if key_set.is_ecdsa(public) and not set(entry.roles) <= {Role.RELEASE, Role.RESULT}:
            raise MalformedError(
                "key may sign releases and results only",
                where=f"{where}/roles",
                expected="release, result",
                actual=public.algorithm,
            )
        if public.fingerprint in held:
            raise MalformedError("key is listed twice", where=f"{where}/key", actual=public.fingerprint)
        held[public.fingerprint] = HeldKey(public, entry.roles, entry.until)
    return held


def _check_thresholds(predicate: NamespacePredicate, held: Mapping[str, HeldKey]) -> None:
    if Role.OWNER not in predicate.thresholds:
        raise MalformedError("no threshold for owners", where="/predicate/thresholds", expected="owner")
    for role, threshold in predicate.thresholds.items():
        # Owners that are on their way out could sign no later version: the chain would end here.
        holders = [key for key in held.values() if role in key.roles and (role is not Role.OWNER or key.until is None)]
        key_set.check_threshold(threshold, len(holders), f"/predicate/thresholds/{role}")
    missing = {role for key in held.values() for role in key.roles} - set(predicate.thresholds)
    if missing:
        raise MalformedError(
            "a role has keys and no threshold", where="/predicate/thresholds", expected=", ".join(sorted(missing))
        )


def verify_first(envelope: Envelope, index: int | None = None) -> Namespace:
    """Version 0, signed by a threshold of its own owners.

    index: of the entry in the log, None before it has one.
    Raises MalformedError, SignatureError, UntrustedKey, VerificationError (not a version 0).
    """
    candidate = _candidate(envelope)
    if candidate.version != 0:
        raise VerificationError(
            "not the first version of a namespace", expected="version 0", actual=f"version {candidate.version}"
        )
    return _by_its_own_owners(envelope, candidate, index)


def _by_its_own_owners(envelope: Envelope, candidate: Namespace, index: int | None) -> Namespace:
    verified = envelope.verify(candidate.public_keys)
    candidate.require(Role.OWNER, verified.signers, index)
    return candidate


def verify_pinned(envelope: Envelope, pin: str, index: int | None = None) -> Namespace:
    """The version whose statement id a verifier has pinned: the pin vouches for its content, whoever signed it.

    A version 0 has its owners' signatures all the same, and they are checked. index: of the entry in the log, None
    where it is not known. Raises as ``verify_first``.
    """
    if envelope.statement_id != pin:
        raise VerificationError("not the pinned namespace statement", expected=pin, actual=envelope.statement_id)
    candidate = _candidate(envelope)
    return _by_its_own_owners(envelope, candidate, index) if candidate.version == 0 else candidate


def verify_next(envelope: Envelope, previous: Namespace, index: int | None = None) -> Namespace:
    """The version after ``previous``, signed by a threshold of the owners of ``previous``.

    index: of the entry in the log, None before it has one. A new owner may sign too, and counts for nothing.
    Raises as ``verify_first``.
    """
    predicate = read(envelope.claimed())
    if (predicate.namespace, predicate.log) != (previous.name, previous.log):
        raise VerificationError(
            "another namespace or log",
            expected=f"{previous.name} on {previous.log}",
            actual=f"{predicate.namespace} on {predicate.log}",
        )
    if (predicate.version, predicate.prev) != (previous.version + 1, previous.statement_id):
        raise VerificationError(
            "version does not follow the one before",
            expected=f"version {previous.version + 1}, prev {previous.statement_id}",
            actual=f"version {predicate.version}, prev {predicate.prev}",
        )
    candidate = _candidate(envelope)
    verified = envelope.verify({**candidate.public_keys, **previous.public_keys})
    previous.require(Role.OWNER, verified.signers, index)
    return candidate


def restore(claimed: bytes) -> Namespace:
    """A version from its payload, for those who verified it before and kept it: nothing is verified here.

    Raises MalformedError.
    """
    return _namespace(dsse.statement_id(claimed), claimed)


def _candidate(envelope: Envelope) -> Namespace:
    """What the envelope claims, its signatures still to be checked."""
    return _namespace(envelope.statement_id, envelope.claimed())


def _namespace(statement_id: str, claimed: bytes) -> Namespace:
    predicate, held = _read(claimed)
    return Namespace(
        statement_id,
        predicate.namespace,
        predicate.log,
        predicate.version,
        held,
        predicate.thresholds,
        {keyid: key.public for keyid, key in held.items()},
    )
