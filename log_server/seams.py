"""The seams of the log server: what may be exchanged, and the contract that every implementation keeps.

    front  --Pool-->  sequencer  --LogState-->  durable truth (last_signed, staged batches, dedup)
                                 --TileStore--> what the public reads
                                 --Cosigner---> witnesses
                                 --Clock------> time

TileStore, LogState, Cosigner and Clock are blocking and called from the sequencer's thread only. Parallelism is an
implementation's inner business. Each has one contract test that all implementations pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from teelog.errors import TeelogError
from teelog.tlog import note

# -- what travels -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Admitted:
    """An entry that the front has checked on its own: bounded, parsed, signed by the right keys.

    entry: the exact bytes to log, 0..65,535. leaf: its RFC 6962 leaf hash. statement: SHA-256 of what was signed, 32
    bytes; None for raw entries, which have no second dedup. namespace: the namespace's name where the entry is a
    namespace statement, whose chain condition only the sequencer can decide; else None. version: its version then.
    """

    entry: bytes
    leaf: bytes
    statement: bytes | None
    namespace: str | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Logged:
    """The entry is number ``index`` in the published checkpoint ``note``. fresh: False for a duplicate.

    proof: inclusion proof for the size of ``note``. note: the cosigned checkpoint, as published.
    """

    index: int
    fresh: bool
    proof: tuple[bytes, ...]
    note: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """A definite no by the sequencer: a chain condition, or a known statement in other bytes.

    status: HTTP status (409). kind: the stable problem type. detail: one line. leaf: the logged leaf that it collides
    with, or None.
    """

    status: int
    kind: str
    detail: str
    leaf: bytes | None = None


Outcome = Logged | Rejected


@dataclass(frozen=True, slots=True)
class Staged:
    """A committed batch: entries [lo, lo + len(entries)) and the tree that they lead to.

    bundle: the entries as ``tiles.encode_bundle`` writes them. size, root: the tree after the batch.
    """

    lo: int
    bundle: bytes
    count: int
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """What ``LogState.open`` found. epoch: this opener's. size, root: last_signed. published: the newest note."""

    epoch: int
    size: int
    root: bytes
    published: bytes


# -- errors that carry a decision -------------------------------------------------------------------------------------


class Full(TeelogError):
    """The pool takes nothing now; nothing of the submission was taken. retry_after: seconds."""

    exit_code = 4

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Frozen(TeelogError):
    """The log has ended: nothing is admitted any more, ever. successor: the origin of the log that goes on, or None."""

    def __init__(self, message: str, successor: str | None = None) -> None:
        super().__init__(message)
        self.successor = successor


class Fenced(TeelogError):
    """Another opener took a later epoch. Certainly nothing was changed. This process must stop writing."""


class Stale(TeelogError):
    """The compare-and-swap's old value did not match. Certainly nothing was changed."""


class Conflict(TeelogError):
    """A create-once object exists with other bytes. Fatal (R-08)."""


class UnknownOutcome(TeelogError):
    """A commit may or may not have happened. Fatal for the sequencer: drop memory, ``open()`` again, or stop (R-03)."""


# -- seams ------------------------------------------------------------------------------------------------------------


class LogState(Protocol):
    """The durable truth of one log. Serializable, durable on return, read-after-write across processes and restarts."""

    def open(self, origin: str, key_hash: bytes) -> Head:
        """Takes the next epoch, which fences every earlier opener. Raises ConfigError for another origin or key."""

    def known(self, hashes: Sequence[bytes]) -> dict[bytes, int]:
        """The index of each leaf hash or statement id among ``hashes`` (32 bytes) that is logged.

        Exact for everything committed in this or an earlier epoch.
        """

    def commit(
        self, epoch: int, previous: tuple[int, bytes], batch: Staged, hashes: Sequence[tuple[bytes, int]]
    ) -> None:
        """One durable transaction: epoch and (size, root) match -> store the batch, remember ``hashes`` (leaf hashes
        and statement ids with their index), last_signed := (batch.size, batch.root).

        The stored batch is read back and compared inside the transaction (R-07). Raises Fenced or Stale: certainly
        nothing changed. Every other exception is UnknownOutcome to the caller.
        """

    def staged(self) -> list[Staged]:
        """Committed batches not yet retired, ascending and contiguous up to last_signed."""

    def publish(self, epoch: int, note_bytes: bytes) -> None:
        """Stores the cosigned note durably, before it is shown to anyone; never a smaller size. Raises Fenced."""

    def retire(self, epoch: int, upto: int) -> None:
        """Forgets staged batches below size ``upto``: their tiles are durable and published."""

    def close(self) -> None: ...


class TileStore(Protocol):
    """What the public reads. Objects are create-once; only the checkpoint is replaced."""

    def create(self, objects: Mapping[str, bytes]) -> None:
        """Path -> bytes. Returns when all are durable and readable. Equal bytes already there are success.

        Raises Conflict for different bytes. After any other exception some may exist; the same call again is safe.
        """

    def read(self, path: str) -> bytes | None:
        """None only when certainly absent (read-after-write); doubt raises."""

    def checkpoint(self) -> bytes | None:
        """The published checkpoint, or None."""

    def replace_checkpoint(self, note_bytes: bytes) -> None:
        """Atomically and durably replaces the published checkpoint."""

    def drop_partials(self, full: Sequence[str]) -> int:
        """Deletes ``FULL.p/*`` of each path once FULL is confirmed readable (TT-17); idempotent. Returns the count."""

    def probe(self) -> None:
        """Proves create-once and read-after-write on scratch keys. Raises ConfigError."""

    def free(self) -> int | None:
        """Bytes left, None where there is no limit."""


class Cosigner(Protocol):
    """Asks the witnesses. Thread-safe: called from the sequencer's thread, works wherever it likes."""

    def cosign(self, signed: bytes, size: int, consistency: Consistency) -> list[note.Signature]:
        """Verified cosignature lines for the log's signed note, when the quorum is met or nobody is left to ask.

        size: of the checkpoint. Raises UnavailableError if the quorum is not reached in time (fail closed: the caller
        publishes nothing), MisbehaviourError if a witness shows a larger or other tree.
        """


class Consistency(Protocol):
    """Gives the consistency proof from an old size to the checkpoint being cosigned."""

    def __call__(self, old_size: int) -> Sequence[bytes]: ...


class Clock(Protocol):
    def now_ms(self) -> int:
        """POSIX milliseconds."""

    def monotonic(self) -> float:
        """Seconds, for intervals."""


class Pool(Protocol):
    """Front to sequencer. The front's half is async, the sequencer's half is called from its thread."""

    async def submit(self, entries: Sequence[Admitted]) -> list[Outcome]:
        """Front: one outcome an entry, in order, once all are in a published checkpoint.

        Raises Full at once, nothing half taken; UnavailableError where the sequencer stopped or the quorum is lost (the
        entries may still be logged later: the same bytes again give the same index); Frozen for good. A caller that is
        cancelled while it waits changes nothing about the entries' fate (AP-03).
        """

    async def find(self, leaf: bytes) -> Logged | None:
        """Front: the entry with this leaf hash with a proof for the newest published checkpoint, None if unknown."""

    async def namespaces(self, since: int = 0) -> list[tuple[int, bytes]]:
        """Front: (index, entry) of every namespace statement, ``since`` <= index, in the newest published checkpoint.

        Ascending. Asked at start, and again when a front meets a name or key that it does not know.
        """

    def take(self, limit: int, wait: float) -> list[Admitted]:
        """Sequencer: at most ``limit`` entries, as submitted; waits ``wait`` seconds at most for the first."""


def bundle_slices(batch: Staged) -> Iterator[bytes]:
    """The batch's entries."""
    from teelog.tlog import tiles

    return iter(tiles.parse_bundle(batch.bundle, batch.count))
