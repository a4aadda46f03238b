"""What an appraisal takes in beside the evidence and the trust file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from teelog.evidence.platform import Expected


@dataclass(frozen=True, slots=True)
class LoggedFile:
    """A statement as it was logged. entry: the file's exact bytes. proof: its .tlog-proof, None where there is none."""

    entry: bytes = field(repr=False)
    proof: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Part:
    """Evidence of a part of the machine, such as a GPU, to whose digest the machine's own commits; its endorsements."""

    evidence: bytes = field(repr=False)
    endorsements: Sequence[bytes] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Expect:
    """What the caller wants to hear.

    stream: NAMESPACE/PRODUCT/CHANNEL. nonce (1 to 64 bytes) or report_data (the platform's whole field): the challenge
    that the evidence must answer. binds: the bytes that it must commit to, a public key (SPKI DER) or an output.
    parts: bytes of which it must commit to the digests, in order, unless ``appraise`` is given the parts. Without nonce
    and report_data, ``freshness`` is not established; without binds, ``binding`` is not.
    """

    stream: str
    nonce: bytes | None = None
    report_data: bytes | None = None
    binds: bytes | None = None
    parts: tuple[bytes, ...] = ()

    def of_evidence(self) -> Expected:
        """Raises ValueError, as ``Expected`` does."""
        return Expected(self.nonce, self.report_data, self.binds, self.parts)


@dataclass(frozen=True, slots=True)
class SeenCheckpoint:
    """The largest witnessed checkpoint that was seen of a log. note: signed by the log, for a fork proof."""

    size: int
    root: bytes
    note: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Seen:
    """What earlier appraisals saw; a new one never goes back behind it.

    checkpoints: by origin, of logs and of their indexes. namespaces: name -> (version, statement id) of the latest
    version that was followed. statuses: stream -> (seq, statement id) of the latest status that an index showed.
    views: what an index showed last, to convict it should it ever show less (``teelog.index.contradiction.View``,
    encoded); by ``view_key``.
    """

    checkpoints: Mapping[str, SeenCheckpoint] = field(default_factory=dict)
    namespaces: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    statuses: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    views: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def forgetting(self, origin: str) -> Seen:
        kept = {name: each for name, each in self.checkpoints.items() if name != origin}
        return Seen(kept, self.namespaces, self.statuses, self.views)

    def with_larger(self, origin: str, size: int, root: bytes, note: bytes) -> Seen:
        known = self.checkpoints.get(origin)
        if known is not None and known.size >= size:
            return self
        grown = {**self.checkpoints, origin: SeenCheckpoint(size, root, note)}
        return Seen(grown, self.namespaces, self.statuses, self.views)

    def with_namespace(self, name: str, version: int, statement_id: str) -> Seen:
        known = self.namespaces.get(name)
        if known is not None and known[0] >= version:
            return self
        grown = {**self.namespaces, name: (version, statement_id)}
        return Seen(self.checkpoints, grown, self.statuses, self.views)

    def with_status(self, stream: str, seq: int, statement_id: str) -> Seen:
        known = self.statuses.get(stream)
        if known is not None and known[0] >= seq:
            return self
        return Seen(self.checkpoints, self.namespaces, {**self.statuses, stream: (seq, statement_id)}, self.views)

    def with_views(self, views: Mapping[str, bytes]) -> Seen:
        return Seen(self.checkpoints, self.namespaces, self.statuses, {**self.views, **views})


def view_key(origin: str, key: bytes) -> str:
    """Of ``Seen.views``. origin: of the index log. key: of the index; b"" for the last leaf alone."""
    return f"{origin}\n{key.decode('ascii')}"
