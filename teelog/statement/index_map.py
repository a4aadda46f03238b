"""The map function of ``/index/v1``: under which keys of the verifiable index an entry stands (protocol section 4).

A pure, total function of an entry's bytes, its index and the state left by all earlier entries (``Effective``). Whoever
runs it over the same entries gets the same lists, so it uses no time, randomness, network or configuration, no floats,
no locale, no Unicode normalisation and no X.509; what it does not understand it maps to nothing. Its rules, with
vectors, are in docs/formats/map-function.md. A change of any rule is another index, ``/index/v2``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import msgspec

from teelog.errors import MalformedError, TeelogError, UntrustedKey, VerificationError
from teelog.index import keys
from teelog.index.keys import MAX_KEYS_PER_ENTRY, Kind
from teelog.keys import Algorithm, PublicKey, private_key_from_seed
from teelog.statement import admit, log_policy, namespace, registers, status
from teelog.statement.admit import ParsedEntry
from teelog.statement.dsse import Envelope
from teelog.statement.ear import Result
from teelog.statement.effective import (
    Effect,
    Effective,
    LogPolicyEffect,
    MemoryState,
    NamespaceEffect,
    ReleaseEffect,
    Rows,
    StatusEffect,
)
from teelog.statement.log_policy import LogPolicyPredicate
from teelog.statement.namespace import NamespacePredicate
from teelog.statement.release import ReleaseClaim
from teelog.statement.status import StatusPredicate

__all__ = [
    "Effect",
    "Effective",
    "LogPolicyEffect",
    "Mapped",
    "MemoryState",
    "NamespaceEffect",
    "ReleaseEffect",
    "Rows",
    "StatusEffect",
    "check_build",
    "decide",
    "map_entry",
    "map_read",
    "read",
    "signing_keys",
]

Read = ParsedEntry | MalformedError
"""An entry as it was read, or why it is none of ours."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """What an entry maps to.

    keys: distinct, sorted as bytes, at most 256: each one's list gets the entry's index. effect: of an entry that
    enters an effective list, else None. why_inert: for people, why there is no effect; None where none is meant. It may
    hold text of the entry: printed through ``teelog.cli.output`` only.
    """

    keys: tuple[bytes, ...]
    effect: Effect | None
    why_inert: str | None


def map_entry(entry: bytes, index: int, state: Effective) -> Mapped:
    """The keys of the entry at ``index``, and what it changes. The caller applies the effect before the next entry.

    Raises nothing for any bytes; ConfigError on a build without one of the signature algorithms, which would map
    entries otherwise than others do.
    """
    return map_read(read(entry), index, state)


def read(entry: bytes) -> Read:
    """What ``map_read`` takes: the entry, of which nothing is verified. Raises ConfigError, see ``map_entry``."""
    check_build()
    try:
        return admit.classify(entry)
    except MalformedError as error:
        return error


def map_read(parsed: Read, index: int, state: Effective) -> Mapped:
    """As ``map_entry``, of an entry that was read before, and maybe checked (``Envelope.checked``)."""
    if isinstance(parsed, MalformedError):
        return Mapped((), None, str(parsed))
    try:
        found = set(_content_keys(parsed))
    except MalformedError as error:
        return Mapped((), None, str(error))
    effect: Effect | None = None
    why = None
    try:
        effect = decide(parsed, index, state)
        signers = parsed.envelope.keyids
    except (VerificationError, MalformedError) as error:
        why = str(error)
        signers = ()
    if effect is None:
        signers = _signers(parsed, state)
    else:
        found.add(effect.key)
    found.update(keys.key(Kind.SIGNER, keyid) for keyid in signers)
    # Protocol section 4: at most 256 keys an entry; admission refuses more, and here they are none.
    if len(found) > MAX_KEYS_PER_ENTRY:
        return Mapped((), None, f"the entry has {len(found)} index keys, more than {MAX_KEYS_PER_ENTRY}")
    return Mapped(tuple(sorted(found)), effect, why)


def decide(parsed: ParsedEntry, index: int, state: Effective) -> Effect | None:
    """The effect of a well-formed entry; None for a kind that has none (a result).

    index: of the entry. Raises VerificationError or MalformedError saying why it is inert.
    """
    claim, envelope = parsed.statement.claim, parsed.envelope
    if isinstance(claim, Result) or not isinstance(envelope, Envelope):
        return None
    policy = state.log_policy()
    # Protocol section 3: nothing is admitted after it; so no effective list grows after it.
    if policy is not None and policy.predicate.frozen is not None:
        raise VerificationError("the log is frozen", expected=f"nothing after {policy.statement_id}")
    if isinstance(claim, LogPolicyPredicate):
        return _log_policy(envelope, claim, index, state, policy)
    if isinstance(claim, NamespacePredicate):
        return _namespace(parsed, claim, index, state)
    if isinstance(claim, StatusPredicate):
        return _status(parsed, claim, index, state)
    return _release(parsed, claim, index, state)


# -- effects ----------------------------------------------------------------------------------------------------------


def _log_policy(
    envelope: Envelope, claim: LogPolicyPredicate, index: int, state: Effective, last: log_policy.LogPolicy | None
) -> Effect:
    _check_log(claim.log, state)
    if last is not None:
        log_policy.verify_next(envelope, last)
    elif index == 0:
        log_policy.verify_first(envelope)
    else:
        # Protocol section 3: entry 0. Anywhere else, whoever came first could end a log that has none.
        raise VerificationError("the first log policy is entry 0", expected="index 0", actual=f"index {index}")
    return LogPolicyEffect(envelope.claimed())


def _namespace(parsed: ParsedEntry, claim: NamespacePredicate, index: int, state: Effective) -> Effect:
    envelope = _envelope(parsed)
    _check_log(claim.log, state)
    last = state.namespace(claim.namespace)
    if last is None:
        namespace.verify_first(envelope, index)
    else:
        # A version 0 beside a chain is inert, with ``replaces`` too: no entry can show whose the domain is.
        namespace.verify_next(envelope, last, index)
    return NamespaceEffect(claim.namespace, envelope.claimed())


def _status(parsed: ParsedEntry, claim: StatusPredicate, index: int, state: Effective) -> Effect:
    _check_log(claim.log, state)
    status.check_follows(claim, state.status(claim.stream))
    status.check_allowed(claim, state.release)
    verified = admit.check_status(parsed, _current(parsed, state), index)
    return StatusEffect(claim.stream, verified.head)


def _release(parsed: ParsedEntry, claim: ReleaseClaim, index: int, state: Effective) -> Effect:
    # A list holds a statement once: anyone can log it again with other signatures around it.
    if state.release(parsed.statement_id) is not None:
        raise VerificationError("the release is logged before", actual=parsed.statement_id)
    admit.check_release(parsed, _current(parsed, state), index)
    return ReleaseEffect(claim.predicate.stream, parsed.statement_id)


def _check_log(log: str, state: Effective) -> None:
    # a statement for one log is not replayed to another.
    if log != state.origin:
        raise VerificationError("statement is for another log", expected=state.origin, actual=log)


def _current(parsed: ParsedEntry, state: Effective) -> namespace.Namespace:
    assert parsed.namespace is not None
    found = state.namespace(parsed.namespace)
    if found is None:
        raise UntrustedKey("the namespace has no version in force here", expected=f"version 0 of {parsed.namespace}")
    return found


def _envelope(parsed: ParsedEntry) -> Envelope:
    assert isinstance(parsed.envelope, Envelope)
    return parsed.envelope


# -- keys -------------------------------------------------------------------------------------------------------------


def _content_keys(parsed: ParsedEntry) -> Iterator[bytes]:
    """Keys that an entry has for what it states, whoever signed it."""
    claim = parsed.statement.claim
    if isinstance(claim, ReleaseClaim):
        for variant in claim.predicate.variants:
            for name, value in variant.registers.items():
                if value != registers.ANY:
                    yield keys.key(Kind.REGISTER, variant.platform, name, value)
        for subject in claim.statement.subject:
            for algorithm, value in subject.digest.items():
                yield keys.key(Kind.SUBJECT, algorithm, value)
    elif isinstance(claim, StatusPredicate):
        for gone in claim.revoked:
            yield keys.key(Kind.ABOUT, gone.release)
    elif isinstance(claim, Result) and claim.judged is not None:
        judged = claim.judged
        for statement_id in judged.namespaces:
            yield keys.key(Kind.ABOUT, statement_id)
        if judged.release is not None:
            yield keys.key(Kind.ABOUT, judged.release)
        if not isinstance(judged.evidence, msgspec.UnsetType):
            for algorithm, value in judged.evidence.items():
                yield keys.key(Kind.EVIDENCE, algorithm, value)


def _signers(parsed: ParsedEntry, state: Effective) -> tuple[str, ...]:
    """Of an entry without effect: the keyids whose signatures hold, among the keys that could sign it now."""
    held = signing_keys(parsed, state)
    if isinstance(parsed.envelope, Envelope):
        return parsed.envelope.holding(held)
    try:
        return (parsed.envelope.verify(held).signer,)
    except TeelogError:
        return ()


class Holders(Protocol):
    """Whose keys count: of ``Effective``, what is needed to know which keys may have signed an entry."""

    def log_policy(self) -> log_policy.LogPolicy | None: ...
    def namespace(self, name: str) -> namespace.Namespace | None: ...


def signing_keys(parsed: ParsedEntry, state: Holders) -> dict[str, PublicKey]:
    """The keys, by keyid, that count for an entry in this state.

    Of the version in force; a namespace or log policy may be signed by keys that it names itself, too."""
    claim = parsed.statement.claim
    own: dict[str, PublicKey] = {}
    if isinstance(claim, LogPolicyPredicate):
        own = log_policy.operator_keys(claim)
        policy = state.log_policy()
        return own if policy is None else {**own, **policy.operators}
    if isinstance(claim, NamespacePredicate):
        own = {keyid: key.public for keyid, key in namespace.held_keys(claim).items()}
    assert parsed.namespace is not None
    current = state.namespace(parsed.namespace)
    return own if current is None else {**own, **current.public_keys}


@cache
def check_build() -> None:
    """Raises ConfigError if this build lacks an algorithm: it would take good signatures for none at all."""
    for algorithm in Algorithm:
        private_key_from_seed(algorithm, bytes(56 if algorithm is Algorithm.ECDSA_P384 else 32))
