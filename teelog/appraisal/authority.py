"""Steps 5 and 7, as far as signatures go: the namespace, followed from its pin, and the release that its keys sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from teelog.appraisal.inputs import Seen
from teelog.errors import MalformedError, TeelogError
from teelog.statement import dsse, names, namespace, release
from teelog.statement.dsse import Envelope
from teelog.statement.names import Stream
from teelog.statement.namespace import Namespace
from teelog.statement.release import ReleaseClaim
from teelog.trust import Trust
from teelog.verdict import Check, Finding, failed, not_established, verified


@dataclass(frozen=True, slots=True)
class Chain:
    """versions: from the pinned one to the last that was given, each authentic. place: of the pinned one's file."""

    versions: tuple[Namespace, ...]
    place: int

    @property
    def current(self) -> Namespace:
        return self.versions[-1]


@dataclass(frozen=True, slots=True)
class Read:
    """A release's file, parsed; nothing is verified."""

    envelope: Envelope
    claim: ReleaseClaim


def read_release(entry: bytes) -> Read | MalformedError:
    try:
        envelope = dsse.parse(entry)
        return Read(envelope, release.read(envelope.claimed()))
    except MalformedError as error:
        return error


def follow(entries: Sequence[bytes], stream: str, trust: Trust, seen: Seen) -> Chain | Finding:
    """The namespace of ``stream`` from its pin on; or the finding of ``signer`` that says why not.

    entries: files of namespace statements, in order; those before the pinned one are passed over.
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
        versions = [namespace.verify_pinned(envelopes[place], pin)]
        for envelope in envelopes[place + 1 :]:
            versions.append(namespace.verify_next(envelope, versions[-1]))
    except TeelogError as error:
        return failed(Check.SIGNER, error)
    return _known(Chain(tuple(versions), place), name, seen)


def _known(chain: Chain, name: str, seen: Seen) -> Chain | Finding:
    current = chain.current
    if current.name != name:
        return failed(Check.SIGNER, "the pinned statement is of another namespace", expected=name, actual=current.name)
    known = seen.namespaces.get(name)
    # Step 5: version >= seen.
    if known is not None and (
        current.version < known[0] or (current.version == known[0] and current.statement_id != known[1])
    ):
        return failed(
            Check.SIGNER,
            "the namespace is not as new as one that was seen before",
            expected=f"version {known[0]}, {known[1]}, or later",
            actual=f"version {current.version}, {current.statement_id}",
        )
    return chain


def signer(
    read: Read | MalformedError | None, stream: str, chain: Chain | Finding, index: int | None, *, index_holds: bool
) -> Finding:
    """The release is of the expected stream and signed by a threshold of its namespace's release keys.

    index: of the release, as its proof claims; used only where ``index_holds``, since a key's time ends at an index.
    """
    if read is None:
        return not_established(Check.SIGNER, "no release was given")
    if isinstance(chain, Finding):
        return chain
    if isinstance(read, MalformedError):
        return failed(Check.SIGNER, read)
    claimed: Stream = read.claim.stream
    if str(claimed) != stream:
        return failed(Check.SIGNER, "the release is of another stream", expected=stream, actual=claimed)
    try:
        found = release.verify(read.envelope, chain.current, index if index_holds else None, read.claim)
    except TeelogError as error:
        return failed(Check.SIGNER, error)
    current = chain.current
    return verified(
        Check.SIGNER,
        f"signed by {', '.join(found.signers)}",
        f"namespace {current.name} version {current.version}, followed from its pin {chain.versions[0].statement_id}",
    )
