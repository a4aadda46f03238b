"""A log's writer under full control: time moves by hand, work happens by hand, and every seam can fail."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from teelog.errors import UnavailableError
from teelog.log_server import config as configuration
from teelog.log_server import create as creating
from teelog.log_server.config import Config
from teelog.log_server.delivery import Delivery, Failure, Proofs
from teelog.log_server.directory import LogDirectory
from teelog.log_server.intake import Intake
from teelog.log_server.seams import NAMESPACE, Admitted, Logged, Outcome, Place, Rejected, Request
from teelog.log_server.sequencer import Sequencer
from teelog.log_server.signing import LogSigner
from teelog.log_server.state import SqliteState, read_only
from teelog.log_server.store import DirectoryStore
from teelog.tlog import note, rfc6962, tiles
from teelog.tlog.checkpoint import Checkpoint, open_checkpoint

ORIGIN = "log.example/tee"
START_MS = 1_800_000_000_000


@dataclass
class ManualClock:
    ms: int = START_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    def pass_ms(self, ms: int) -> None:
        self.ms += ms


class Injected(Exception):
    """The fault under test."""


@dataclass
class Faults:
    """Every call of a seam is written down; a planned one fails before it has an effect, or after."""

    calls: list[str] = field(default_factory=list)
    planned: dict[str, tuple[str, int]] = field(default_factory=dict)
    error: Callable[[], BaseException] = Injected

    def plan(self, name: str, when: str, times: int = 1) -> None:
        self.planned[name] = (when, times)

    def around(self, name: str, work: Callable[[], Any]) -> Any:
        self.calls.append(name)
        when, times = self.planned.get(name, ("", 0))
        if when:
            self.planned.pop(name)
            if times > 1:
                self.planned[name] = (when, times - 1)
        if when == "before":
            raise self.error()
        result = work()
        if when == "after":
            raise self.error()
        return result


class Faulty:
    """A seam's implementation with faults around its methods, called ``<prefix>.<method>``."""

    def __init__(self, inner: Any, prefix: str, faults: Faults) -> None:
        self._inner, self._prefix, self._faults = inner, prefix, faults

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if not callable(method):
            return method
        return lambda *args: self._faults.around(f"{self._prefix}.{name}", lambda: method(*args))


@dataclass
class HandCosigner:
    """Answers at once, or when told to. down: there is no quorum."""

    down: bool = False
    held: bool = False
    requests: list[Request] = field(default_factory=list)
    pending: list[Future[list[note.Signature]]] = field(default_factory=list)
    wait: float = 0.0
    probe_error: Exception | None = None

    def cosign(self, request: Request) -> Future[list[note.Signature]]:
        self.requests.append(request)
        future: Future[list[note.Signature]] = Future()
        if self.held:
            self.pending.append(future)
        elif self.down:
            future.set_exception(UnavailableError("the witness quorum is not reached"))
        else:
            future.set_result([])
        return future

    def release(self) -> None:
        for future in self.pending:
            future.set_result([])
        self.pending.clear()

    def probe(self, request: Request, last_signed: int) -> Future[None]:
        future: Future[None] = Future()
        if self.probe_error is not None:
            future.set_exception(self.probe_error)
        else:
            future.set_result(None)
        return future

    def ready_in(self) -> float:
        return self.wait


@dataclass
class Inbox:
    """A front that keeps what it is told, and every proof it was ever given (the observer)."""

    outcomes: dict[int, list[Outcome] | Failure] = field(default_factory=dict)
    observed: list[tuple[Logged, bytes]] = field(default_factory=list)
    asked: dict[int, Sequence[Admitted]] = field(default_factory=dict)
    faults: Faults | None = None

    def deliver(self, delivery: Delivery) -> None:
        if self.faults is not None:
            self.faults.calls.append("deliver")
        proofs = Proofs(delivery)
        for answer in delivery.answers:
            if answer.failure is not None:
                self.outcomes[answer.ticket] = answer.failure
                continue
            found = proofs.outcomes(answer)
            self.outcomes[answer.ticket] = found
            for item, outcome in zip(self.asked.get(answer.ticket, ()), found, strict=False):
                if isinstance(outcome, Logged):
                    self.observed.append((outcome, item.leaf))


def raw(text: str | bytes) -> Admitted:
    entry = text.encode() if isinstance(text, str) else text
    return Admitted(entry, rfc6962.leaf_hash(entry), None)


def some(count: int, prefix: str = "e") -> list[Admitted]:
    return [raw(f"{prefix}{number}") for number in range(count)]


def statement(
    text: str, variant: str = "", namespace: str | None = None, version: int = 0, prev: Admitted | None = None
) -> Admitted:
    entry = (text + variant).encode()
    place = None if namespace is None else Place(NAMESPACE, namespace, version, prev.statement if prev else None)
    statement_id = hashlib.sha256(text.encode()).digest()
    return Admitted(entry, rfc6962.leaf_hash(entry), statement_id, place=place)


QUICK = configuration.parse(f'origin = "{ORIGIN}"\n[disk]\nmin_free_bytes = 0\n'.encode())


class CheckedSigner(LogSigner):
    """No signature for a root that is not in last_signed, ever (protocol section 8)."""

    directory: LogDirectory
    faults: Faults

    def sign(self, size: int, root: bytes, now: int) -> tuple[bytes, tuple[note.Signature, ...]]:
        with closing(read_only(self.directory.state)) as db:
            row = db.execute("SELECT size, root FROM log").fetchone()
        assert (row[0], bytes(row[1])) == (size, root), "a signature without its row"
        self.faults.calls.append("sign")
        return super().sign(size, root, now)


class Rig:
    """One opening of a log's directory. ``drop`` it as a crash would, ``reopen`` makes the next one."""

    def __init__(
        self, path: Path, clock: ManualClock | None = None, config: Config = QUICK, *, create: bool = True
    ) -> None:
        self.clock = clock or ManualClock()
        self.config = config
        self.directory = LogDirectory(path)
        if create:
            creating.create(path, ORIGIN, self.clock)
        self.faults = Faults()
        plain = self.directory.signer(ORIGIN)
        self.signer = CheckedSigner(ORIGIN, plain._signers)
        self.signer.directory, self.signer.faults = self.directory, self.faults
        self.cosigner = HandCosigner()
        pool = config.pool
        self.intake = Intake(pool.max_entries, pool.max_bytes, pool.seal_entries)
        self.inbox = Inbox(faults=self.faults)
        self.state = Faulty(SqliteState(self.directory.state), "state", self.faults)
        self.store = Faulty(DirectoryStore(self.directory.public, self.directory.scratch), "store", self.faults)
        self.sequencer = Sequencer(config, self.signer, self.state, self.store, self.cosigner, self.intake, self.clock)
        self._ticket = 0

    def open(self) -> Rig:
        """Opens and publishes what is committed."""
        self.sequencer.open()
        self.work(3)  # ask the witnesses; publish; take submissions
        return self

    def work(self, rounds: int = 1) -> None:
        """As ``run`` does: a failure means a reload."""
        for _ in range(rounds):
            try:
                self.sequencer.work()
            except Exception as error:
                from teelog.log_server.sequencer import FATAL

                if isinstance(error, FATAL):
                    self.sequencer._halt(error)
                else:
                    self.sequencer._reload(error)
                if self.sequencer.stopped.done():
                    return

    def offer(self, entries: Sequence[Admitted]) -> int | Failure:
        self._ticket += 1
        self.inbox.asked[self._ticket] = entries
        failure = self.intake.offer(self.inbox, self._ticket, entries)
        return self._ticket if failure is None else failure

    def submit(self, entries: Sequence[Admitted], ms: int = 2_000) -> list[Outcome] | Failure | None:
        """Offers and works until it is answered; None: it is not."""
        ticket = self.offer(entries)
        if isinstance(ticket, Failure):
            return ticket
        self.clock.pass_ms(ms)
        self.work(3)
        return self.inbox.outcomes.get(ticket)

    def logged(self, entries: Sequence[Admitted]) -> list[Logged]:
        outcomes = self.submit(entries)
        assert isinstance(outcomes, list), outcomes
        assert all(isinstance(outcome, Logged) for outcome in outcomes), outcomes
        return outcomes  # type: ignore[return-value]

    def drop(self) -> None:
        """As SIGKILL leaves it, as far as one process can: nothing is finished, only the database handle goes."""
        db = self.state._inner._db
        if db is not None:
            db.close()

    def reopen(self, config: Config | None = None) -> Rig:
        self.drop()
        again = Rig(self.directory.path, self.clock, config or self.config, create=False)
        again.inbox.observed = self.inbox.observed
        return again

    def check(self) -> Checkpoint:
        """The deep check of the directory, with the observer's proofs."""
        return check(self.directory, self.inbox.observed)


def check(directory: LogDirectory, observed: Sequence[tuple[Logged, bytes]] = ()) -> Checkpoint:
    """Everything that must hold of a log's directory at any moment, from its bytes alone, by code of its own.

    The published checkpoint is signed; all its entries are there and hash to its root; every tile is what it must be;
    last_signed extends it by exactly the staged batches; every proof ever given leads into it.
    """
    signer = directory.signer(ORIGIN)
    shown = open_checkpoint((directory.public / "checkpoint").read_bytes(), signer.vkeys, ORIGIN).checkpoint
    entries = _entries(directory, shown.size)
    leaves = [rfc6962.leaf_hash(entry) for entry in entries]
    assert rfc6962.root_of_leaves(leaves) == shown.root
    assert len(leaves) == shown.size
    _check_tiles(directory, leaves)
    with closing(read_only(directory.state)) as db:
        _check_state(db, directory, shown)
    heads: dict[bytes, Checkpoint] = {}
    for outcome, leaf in observed:
        if outcome.note not in heads:
            head = heads[outcome.note] = open_checkpoint(outcome.note, signer.vkeys, ORIGIN).checkpoint
            # Every checkpoint ever shown is a prefix of every later one (CP-08).
            assert head.size <= shown.size, "the log went back behind a checkpoint that it showed"
            assert rfc6962.root_of_leaves(leaves[: head.size]) == head.root
        head = heads[outcome.note]
        rfc6962.verify_inclusion(outcome.index, head.size, leaf, outcome.proof, head.root)
        assert leaves[outcome.index] == leaf  # what was acknowledged is never lost (rule 6)
    return shown


def _entries(directory: LogDirectory, size: int) -> list[bytes]:
    entries: list[bytes] = []
    for index in range(-(-size // 256)):
        place = tiles.bundle_for(index, size)
        partial, full = directory.public / place.path, directory.public / place.full.path
        width = 256 if not partial.exists() else place.width
        path = partial if partial.exists() else full
        entries += tiles.parse_bundle(path.read_bytes(), width)[: place.width]
    return entries


def _check_tiles(directory: LogDirectory, leaves: Sequence[bytes]) -> None:
    _, wanted = tiles.Edge().append(leaves)
    for tile, data in wanted.items():
        partial, full = directory.public / tile.path, directory.public / tile.full.path
        if partial.exists():
            assert partial.read_bytes() == data, tile.path
        else:
            assert full.read_bytes()[: len(data)] == data, tile.path


def _check_state(db: sqlite3.Connection, directory: LogDirectory, shown: Checkpoint) -> None:
    size, root, published = db.execute("SELECT size, root, published_size FROM log").fetchone()
    # A crash may come between storing the note and showing it, never the other way round.
    assert shown.size <= published <= size
    everything = _entries(directory, published)  # its tiles were durable before the note was stored
    for lo, count, after, batch_root, bundle in db.execute("SELECT * FROM staged ORDER BY lo"):
        assert (lo, lo + count) == (published, after)
        published = after
        everything += tiles.parse_bundle(bundle, count)
        assert rfc6962.root_of_leaves([rfc6962.leaf_hash(entry) for entry in everything]) == bytes(batch_root)
    assert published == size
    assert len(everything) == size
    if size:
        assert rfc6962.root_of_leaves([rfc6962.leaf_hash(entry) for entry in everything]) == bytes(root)


@contextmanager
def rig(path: Path, config: Config = QUICK) -> Iterator[Rig]:
    made = Rig(path, config=config)
    try:
        yield made.open()
    finally:
        made.drop()


def rejected(outcome: Outcome) -> Rejected:
    assert isinstance(outcome, Rejected)
    return outcome
