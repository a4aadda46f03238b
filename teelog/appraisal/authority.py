"""Steps 5 and 7, as far as signatures go: the namespace, followed from its pin, and the release that its keys sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from teelog.appraisal.inputs import Seen
from teelog.errors import MalformedError, TeelogError, UntrustedKey
from teelog.keys import PublicKey
from teelog.statement import dsse, intoto, names, namespace, release
from teelog.statement.dsse import Envelope
from teelog.statement.namespace import Namespace, Role
from teelog.statement.release import ReleaseClaim
from teelog.trust import Trust
from teelog.verdict import Check, Finding, failed, not_established, verified


@dataclass(frozen=True, slots=True)
class Chain:
    """A namespace's versions, each authentic, in their order, without a gap.

    versions: from the first that the pinned one leads back to among those given, to the last. place: of the first
    one's file. pinned: which of the versions the pin names.
    """

    versions: tuple[Namespace, ...]
    place: int
    pinned: int

    @property
    def current(self) -> Namespace:
        return self.versions[-1]

    @property
    def from_pin(self) -> tuple[Namespace, ...]:
        return self.versions[self.pinned :]

    def at(self, index: int, indices: Sequence[int]) -> Namespace | None:
        """The version that was current for entry ``index``: the last one before it; None where all came later.

        indices: of the versions, in order.
        """
        return next((each for each, own in zip(self.versions[::-1], indices[::-1], strict=True) if own < index), None)


@dataclass(frozen=True, slots=True)
class Read:
    """A release's file, parsed; nothing is verified."""

    envelope: Envelope
    claim: ReleaseClaim


def read_release(entry: bytes) -> Read | MalformedError:
    """A release's file, or what is wrong with its form."""
    try:
        envelope = dsse.parse(entry)
        return Read(envelope, release.read(envelope.claimed()))
    except MalformedError as error:
        return _no_release(entry) or error


def _no_release(entry: bytes) -> MalformedError | None:
    """Where a statement of another kind was given, that is what is wrong with it."""
    with suppress(MalformedError):
        kind = intoto.claimed_predicate_type(dsse.parse(entry).claimed())
        if kind != release.PREDICATE_TYPE:
            return MalformedError("the statement is no release", expected=release.PREDICATE_TYPE, actual=kind[:80])
    return None


def follow(
    entries: Sequence[bytes], stream: str, trust: Trust, seen: Seen, indices: Sequence[int | None] = ()
) -> Chain | Finding:
    """The namespace of ``stream`` from its pin on; or the finding of ``signer`` that says why not.

    entries: files of namespace statements, in order. Those before the pinned one count as far as its ``prev``, and
    theirs in turn, name them; any others are passed over. indices: of their entries, as far as they are known: an
    owner's time ends at one.
    """
    try:
        name = names.stream(stream).namespace
    except MalformedError as error:
        return failed(Check.SIGNER, error)
    if stream not in trust.streams:
        return not_established(Check.SIGNER, f"the trust file does not list the stream {stream}")
    pin = trust.namespaces.get(name)
    if pin is None:
        return not_established(Check.SIGNER, f"the trust file has no pin for {name} (teelog trust pin)")
    if not entries:
        return not_established(Check.SIGNER, f"no namespace statement of {name} was given")
    try:
        envelopes = [dsse.parse(entry) for entry in entries]
        place = next((n for n, envelope in enumerate(envelopes) if envelope.statement_id == pin), None)
        if place is None:
            return failed(
                Check.SIGNER,
                "none of the namespace statements is the pinned one",
                expected=pin,
                actual=", ".join(envelope.statement_id for envelope in envelopes[:4]),
            )
        first = _back(envelopes, place)
        known = indices or [None] * len(envelopes)
        versions = [namespace.verify_pinned(envelopes[first], envelopes[first].statement_id, known[first])]
        for envelope, index in zip(envelopes[first + 1 :], known[first + 1 :], strict=True):
            versions.append(namespace.verify_next(envelope, versions[-1], index))
    except TeelogError as error:
        return failed(Check.SIGNER, error)
    return _known(Chain(tuple(versions), first, place - first), name, seen)


def _back(envelopes: Sequence[Envelope], place: int) -> int:
    """How far back from the one at ``place`` each names the one before it: what a pin vouches for."""
    while place and namespace.read(envelopes[place].claimed()).prev == envelopes[place - 1].statement_id:
        place -= 1
    return place


def _known(chain: Chain, name: str, seen: Seen) -> Chain | Finding:
    current = chain.current
    if current.name != name:
        return failed(Check.SIGNER, "the pinned statement is of another namespace", expected=name, actual=current.name)
    known = seen.namespaces.get(name)
    if known is None:
        return chain
    version, statement_id = known
    # Step 5: version >= seen.
    if current.version < version:
        return failed(
            Check.SIGNER,
            "the namespace is not as new as one that was seen before",
            expected=f"version {version}, {statement_id}, or later",
            actual=f"version {current.version}, {current.statement_id}",
        )
    same = next((each for each in chain.versions if each.version == version), None)
    if same is not None and same.statement_id != statement_id:
        return failed(
            Check.SIGNER,
            f"version {version} of the namespace is not the one that was seen before",
            expected=statement_id,
            actual=same.statement_id,
        )
    return chain


def signer(
    read: Read | MalformedError | None,
    stream: str,
    chain: Chain | Finding,
    index: int | None,
    indices: Sequence[int] = (),
    *,
    index_shows: bool = False,
) -> Finding:
    """The release is of the expected stream and signed by a threshold of its namespace's release keys.

    Of the keys of two versions: the one that was current when the release was logged, without which it never came into
    effect (protocol section 4), and the current one, whose owners have the last word (section 7, step 7).

    index, indices: of the release and of the chain's versions; None and () where ``logged`` did not establish them.
    index_shows: whether ``allowed-now`` asks the log's index if the release came into effect, so that a chain from the
    pin on is enough.
    """
    if read is None:
        return not_established(Check.SIGNER, "no release was given")
    if isinstance(chain, Finding):
        return chain
    if isinstance(read, MalformedError):
        return failed(Check.SIGNER, read)
    other = of_stream(Check.SIGNER, read.claim, stream)
    if other is not None:
        return other
    current = chain.current
    then = current if index is None else chain.at(index, indices)
    if then is None and index_shows:
        then = current
    if then is None:
        first = chain.versions[0].version
        return not_established(
            Check.SIGNER,
            f"the release was logged before version {first} of the namespace; whose keys counted then takes version "
            f"{first - 1}, with its proof",
        )
    try:
        signers = read.envelope.verify(keys_of(then, current)).signers
        if then is not current and not _met(then, signers, index):
            return failed(
                Check.SIGNER,
                f"the release was not signed by the keys that counted when it was logged: version {then.version}'s",
                expected=f"{then.thresholds.get(Role.RELEASE)} of {', '.join(then.keys_for(Role.RELEASE, index))}",
                actual=", ".join(signers),
            )
        # Index 0: as if no key's time had ended.
        if index is None and not _met(current, signers, None) and _met(current, signers, 0):
            return not_established(
                Check.SIGNER, "whether its key still counted when the release was logged is not known: see logged"
            )
        current.require(Role.RELEASE, signers, index)
    except TeelogError as error:
        return failed(Check.SIGNER, error)
    said = [f"signed by {', '.join(signers)}"]
    said += [f"logged under version {then.version} of the namespace, whose keys allow it"] if then != current else []
    pin = chain.from_pin[0].statement_id
    return verified(
        Check.SIGNER, *said, f"namespace {current.name} version {current.version}, followed from its pin {pin}"
    )


def keys_of(then: Namespace, current: Namespace) -> Mapping[str, PublicKey]:
    """The keys of two versions."""
    return current.public_keys if then is current else {**then.public_keys, **current.public_keys}


def of_stream(check: Check, claim: ReleaseClaim, stream: str) -> Finding | None:
    """None if the release is of the stream that the caller expects."""
    if str(claim.stream) == stream:
        return None
    return failed(check, "the release is of another stream", expected=stream, actual=claim.stream)


def _met(version: Namespace, signers: Sequence[str], index: int | None) -> bool:
    with suppress(UntrustedKey):
        version.require(Role.RELEASE, signers, index)
        return True
    return False
