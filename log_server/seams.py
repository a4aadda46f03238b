"""The seams of the log server: what may be exchanged, and the contract that every implementation keeps.

    front  --Pool-->  sequencer  --LogState-->  durable truth (last_signed, staged batches, dedup)
                                 --TileStore--> what the public reads
                                 --Cosigner---> witnesses
                                 --Clock------> time

TileStore, LogState and Clock are blocking and called from the sequencer's thread; reading from a TileStore is safe from
any thread. Parallelism is an implementation's inner business. Each has one contract test that all implementations pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import msgspec

from teelog.errors import MalformedError, TeelogError
from teelog.tlog import note, tiles

# -- what travels -----------------------------------------------------------------------------------------------------


LOG_POLICY, NAMESPACE, STATUS = "log-policy", "namespace", "status"
"""The kinds of chains."""


class Place(msgspec.Struct, frozen=True, array_like=True):
    """The place in a chain that a statement claims. Whether the chain is there by now only the sequencer can tell.

    kind: of the chain. name: of the namespace or stream; empty for the log policy. position: its version or seq. prev:
    statement id of the one before, None at position 0. ended: nothing may follow (a closed stream, a frozen log).
    successor: the origin of the log that goes on then, or None. releases: statement ids that a status allows.
    """

    kind: str
    name: str
    position: int
    prev: bytes | None = None
    ended: bool = False
    successor: str | None = None
    releases: tuple[bytes, ...] = ()


class Cites(msgspec.Struct, frozen=True, array_like=True):
    """What an attestation result says it was judged by; whether this log holds it only the sequencer can tell.

    release: statement id, or None. namespaces: statement ids of versions. size, root: of the checkpoint; None and empty
    where it names none.
    """

    release: bytes | None
    namespaces: tuple[bytes, ...] = ()
    size: int | None = None
    root: bytes = b""


class Admitted(msgspec.Struct, frozen=True):
    """An entry that the front has checked on its own: bounded, parsed, signed by the right keys.

    entry: the exact bytes to log, 0..65,535. leaf: its RFC 6962 leaf hash. statement: SHA-256 of what was signed, 32
    bytes; None for raw entries, which have no second dedup. under: statement id of the namespace version whose keys it
    was judged by, where that must still be the current one. before: its signers' keys suffice for a smaller index
    only; None where they are in force for good. place: of a statement that is part of a chain. cites: of a result.
    """

    entry: bytes
    leaf: bytes
    statement: bytes | None
    under: bytes | None = None
    before: int | None = None
    place: Place | None = None
    cites: Cites | None = None


class Logged(msgspec.Struct, frozen=True):
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

    status: HTTP status (403, 409, 410, 422). kind: the stable problem type. detail: one line. leaf: the logged leaf
    that it collides with, or None.
    """

    status: int
    kind: str
    detail: str
    leaf: bytes | None = None
    expected: str | None = None
    actual: str | None = None
    hint: str | None = None


STALE = "stale"
"""Kind of a rejection that another look by the front may turn around: it judged by keys that are no longer current.

It is told once the version that is current instead is published, so the front can hear of it.
"""

Outcome = Logged | Rejected


@dataclass(frozen=True, slots=True)
class Staged:
    """A committed batch: entries [lo, lo + count) and the tree that they lead to.

    bundle: the entries as ``tiles.encode_bundle`` writes them. size, root: the tree after the batch, size = lo + count.
    """

    lo: int
    count: int
    size: int
    root: bytes
    bundle: bytes

    def entries(self) -> list[bytes]:
        """The batch's entries. Raises Damaged."""
        try:
            return tiles.parse_bundle(self.bundle, self.count)
        except MalformedError as error:
            raise Damaged("a staged batch is damaged", actual=error.message) from error


@dataclass(frozen=True, slots=True)
class NamespaceVersion:
    """A namespace statement as logged: what fronts need to know to judge the namespace's entries."""

    name: str
    version: int
    statement: bytes
    index: int
    entry: bytes


@dataclass(frozen=True, slots=True)
class Tip:
    """The newest statement of a stream's statuses, or of the log's policies.

    kind, name, position, ended, successor: as in ``Place``. index: of its entry. entry: of a log policy; else empty.
    """

    kind: str
    name: str
    position: int
    statement: bytes
    index: int
    ended: bool = False
    successor: str | None = None
    entry: bytes = b""


@dataclass(frozen=True, slots=True)
class Head:
    """What ``LogState.open`` found.

    epoch: this opener's. size, root: last_signed. published: the newest published note, with its published_size.
    dedup_upto: the table of known hashes holds all of entries [0, dedup_upto).
    """

    epoch: int
    size: int
    root: bytes
    published: bytes
    published_size: int
    dedup_upto: int


# -- errors that carry a decision -------------------------------------------------------------------------------------


class Full(TeelogError):
    """The pool takes nothing now; nothing of the submission was taken. retry_after: seconds."""

    exit_code = 4

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Fenced(TeelogError):
    """Another opener took a later epoch. Certainly nothing was changed. This process must stop writing."""

    exit_code = 6


class Stale(TeelogError):
    """The compare-and-swap's old value did not match. Certainly nothing was changed."""


class Conflict(TeelogError):
    """A create-once object exists with other bytes. Fatal (R-08)."""


class Damaged(TeelogError):
    """What is stored does not lead to what was signed. Nothing is signed on top of it (R-01, R-07)."""


class RolledBack(TeelogError):
    """This directory is an older copy: the log has signed more than it knows of. Signing on would fork it (R-05)."""

    exit_code = 5


class UnknownOutcome(TeelogError):
    """A commit may or may not have happened. Fatal for the sequencer: drop memory, ``open()`` again, or stop (R-03)."""

    exit_code = 4


# -- seams ------------------------------------------------------------------------------------------------------------

Check = Callable[[bytes], None]
"""Judges a batch's bundle as read back from the store; raises to forbid the commit (R-07)."""


class LogState(Protocol):
    """The durable truth of one log. Serializable, durable on return, read-after-write across processes and restarts."""

    def open(self, origin: str, key_hash: bytes) -> Head:
        """Takes the next epoch, which fences every earlier opener. Raises ConfigError for another origin or key."""

    def commit(
        self,
        epoch: int,
        previous: tuple[int, bytes],
        batch: Staged,
        namespaces: Sequence[NamespaceVersion],
        check: Check,
        tips: Sequence[Tip] = (),
    ) -> None:
        """One durable transaction: epoch and (size, root) match -> store the batch, read it back and have it checked,
        store ``namespaces``, put each of ``tips`` in its chain's place, last_signed := (batch.size, batch.root).

        Raises Fenced, Stale, or what ``check`` raised: certainly nothing changed. Every other exception is an
        UnknownOutcome to the caller.
        """

    def staged(self) -> list[Staged]:
        """Committed batches above the published size, ascending and contiguous up to last_signed."""

    def publish(self, epoch: int, note_bytes: bytes, size: int) -> None:
        """Stores the cosigned note durably, before it is shown to anyone, and forgets the batches below its size, whose
        tiles are durable. Raises Fenced; Stale for a smaller size than the published one.
        """

    def candidates(self, hashes: Sequence[bytes]) -> dict[bytes, list[int]]:
        """For each hash (32 bytes) the indices that the table of known hashes has under its first 8 bytes, if any."""

    def remember(self, epoch: int, hashes: Sequence[tuple[bytes, int]], upto: int) -> None:
        """Adds hashes with their index to the table, dedup_upto := upto, in one transaction. Raises Fenced."""

    def namespaces(self) -> list[NamespaceVersion]:
        """All committed namespace statements, by ascending index."""

    def tip(self, kind: str, name: str) -> Tip | None:
        """The committed tip of a chain of statuses or log policies, None if it has none."""

    def close(self) -> None: ...


class TileStore(Protocol):
    """What the public reads. Objects are create-once; only the checkpoint is replaced."""

    def create(self, objects: Mapping[str, bytes]) -> None:
        """Path -> bytes. Returns when all are durable and readable. Equal bytes already there are success.

        Raises Conflict for different bytes. After any other exception some may exist; the same call again is safe.
        """

    def read(self, path: str) -> bytes | None:
        """None only when certainly absent (read-after-write); doubt raises. Safe from any thread."""

    def checkpoint(self) -> bytes | None:
        """The published checkpoint, or None."""

    def replace_checkpoint(self, note_bytes: bytes) -> None:
        """Atomically and durably replaces the published checkpoint."""

    def drop_partials(self, full: Sequence[str]) -> int:
        """TT-17: deletes ``FULL.p/*`` for each path, once FULL is confirmed readable. Idempotent. Returns how many."""

    def probe(self) -> None:
        """Proves create-once and read-after-write on scratch keys. Raises ConfigError."""

    def free(self) -> int | None:
        """Bytes left (0 where no file can be made any more), None where there is no limit."""


@dataclass(frozen=True, slots=True)
class Request:
    """A checkpoint to be cosigned. text: its body. log_lines: the log's own signature lines over it. size: its size.

    consistency: the proof from an old size (1..size) to this one; callable from any thread.
    """

    text: bytes
    log_lines: tuple[note.Signature, ...]
    size: int
    consistency: Callable[[int], Sequence[bytes]]

    def note(self) -> bytes:
        """The signed note without cosignatures."""
        return note.encode(self.text, self.log_lines)


class Cosigner(Protocol):
    """Asks the witnesses. Called from the sequencer's thread, works elsewhere, answers through futures."""

    def cosign(self, request: Request) -> Future[list[note.Signature]]:
        """The verified cosignature lines, once the quorum is met.

        UnavailableError if the quorum is not reached (fail closed: the caller publishes nothing and asks again later).
        """

    def probe(self, request: Request, last_signed: int) -> Future[None]:
        """Asks the witnesses what they have seen, before anything is signed: ``request`` is the published checkpoint.

        RolledBack if one of them has seen more than ``last_signed``, or another tree; UnavailableError while those
        that answered would not make the quorum.
        """

    def ready_in(self) -> float:
        """Seconds until enough witnesses for the quorum may be asked again (their rate limits); 0 = now."""


class Clock(Protocol):
    def now_ms(self) -> int:
        """POSIX milliseconds."""

    def monotonic(self) -> float:
        """Seconds, for intervals."""


class Pool(Protocol):
    """The front's half of what joins it to the sequencer; the other half is ``teelog.log_server.intake``."""

    async def submit(self, entries: Sequence[Admitted]) -> list[Outcome]:
        """One outcome an entry, in order, once all are in a published checkpoint.

        Raises Full at once, nothing half taken; UnavailableError where the sequencer stopped or the quorum is lost (the
        entries may still be logged later: the same bytes again give the same index). A caller that is cancelled while
        it waits changes nothing about the entries' fate (AP-03).
        """

    async def find(self, leaf: bytes) -> Logged | None:
        """The entry with this leaf hash with a proof for the newest published checkpoint, None if unknown."""

    async def namespaces(self, since: int = 0) -> list[tuple[int, bytes]]:
        """(index, entry) of every namespace statement with ``since`` <= index in the newest published checkpoint,
        ascending. Asked at start, and again when a front meets a name or key that it does not know.
        """
