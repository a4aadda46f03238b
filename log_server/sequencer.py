"""The sequencer: one thread that turns submissions into a published log (protocol section 8).

    seal: take from the pool, decide duplicates and chain conditions, commit the batch and last_signed in one
          transaction, checked by a second code path inside it
    sign: last_signed, and nothing else -> apply: tiles durable and readable -> cosign -> store the note -> publish
    answer

Batches go on being sealed while a checkpoint is being cosigned; only one signed checkpoint is ever unpublished.
Whatever goes wrong on the way drops everything in memory and starts again from what is durable (R-03); if that fails
too, the writer stops for good and only reads go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

from teelog.errors import UnavailableError
from teelog.log_server import answers as answering
from teelog.log_server import apply as applying
from teelog.log_server import batch as batching
from teelog.log_server import recovery
from teelog.log_server.batch import Waiting
from teelog.log_server.config import Config
from teelog.log_server.confirming import Confirmation
from teelog.log_server.delivery import Answer, Failure
from teelog.log_server.intake import Intake
from teelog.log_server.recovery import Memory
from teelog.log_server.seams import Clock, Conflict, Cosigner, Fenced, LogState, Request, RolledBack, TileStore
from teelog.log_server.signing import ClockBack, LogSigner
from teelog.tlog import note

log = logging.getLogger("teelog.log_server")

FATAL = (Fenced, Conflict, RolledBack)
"""What no reload can mend."""
PAUSE = 1.0  # seconds between looks at a clock or a disk that does not allow to go on
IDLE = 60.0  # seconds; an idle sequencer looks around at least so often
MAX_COLLECT = 1_024  # completed tiles whose partial ones may lie about under load (TT-17)
LOST = "the log could not finish this; it may still be logged: submit the same bytes again"


@dataclass(slots=True)
class Round:
    """A signed checkpoint on its way. future: None while the witnesses are to be asked (again), at retry_at."""

    request: Request
    root: bytes
    future: Future[list[note.Signature]] | None
    retry_at: float = 0.0


class Sequencer:
    """``open`` once, then ``run`` in a thread of its own until ``stop``."""

    def __init__(
        self,
        config: Config,
        signer: LogSigner,
        state: LogState,
        store: TileStore,
        cosigner: Cosigner,
        intake: Intake,
        clock: Clock,
    ) -> None:
        self.config = config
        self.intake = intake
        self.stopped: Future[None] = Future()
        """Done when ``run`` ends: with None after ``stop``, else with what stopped the writer."""
        self.sealed: Callable[[int], None] = lambda _: None
        """Told the entries of each batch, for metrics; from the sequencer's thread."""
        self.signed_at_most: int | None = None
        """Below last_signed after a commit without a server (``unconfirmed``)."""
        self.confirmed: Callable[[], None] = lambda: None
        """Called when the witnesses have confirmed the log, before anything is signed."""
        self.entry_zero = True
        """Whether the log begins with an entry of its own, before which nothing is taken; False for an index log."""
        self.noted: Callable[[int], None] = lambda _: None
        """Told the size of a checkpoint that is durable and about to be shown; must not raise. From this thread."""
        self.published: Callable[[], None] = lambda: None
        """Called when a checkpoint is shown, unchanged ones included; must not block or raise. From this thread."""
        self.held: Callable[[], bool] = lambda: False
        """Whether sealing waits, for an index that is too far behind; then ``intake.wake`` tells of the end of it."""
        self._signer = signer
        self._state = state
        self._store = store
        self._cosigner = cosigner
        self._clock = clock
        self._memory: Memory | None = None
        self._round: Round | None = None
        self._confirmation = Confirmation(cosigner, clock, config.intervals.retry_ms / 1000)
        self._sealed_at = self._signed_at = float("-inf")
        self._published_at = clock.monotonic()
        self._waiting: list[Waiting] = []
        self._collect: list[str] = []
        self._stopping = False
        self._told = ""

    # -- life ---------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Everything that must hold before anything is signed, from local files; applies what was committed.

        Raises ConfigError, Damaged, Conflict, RolledBack, UnknownOutcome.
        """
        self._memory = recovery.load(self._state, self._store, self._signer, self._clock)
        self.intake.reset_namespaces(self._memory.published_namespaces())

    @property
    def memory(self) -> Memory:
        if self._memory is None:
            raise UnavailableError("the log is not open")
        return self._memory

    def run(self) -> None:
        """The thread. Never raises: what ends it is in ``stopped``."""
        while not self._stopping:
            try:
                self.turn()
            except FATAL as error:
                self._halt(error)
                return
            except Exception as error:
                log.exception("the sequencer drops its memory and reloads")
                if not self._reload(error):
                    return
        self.intake.drain(Failure("unavailable", "the log is stopping", 1.0))
        self._fail_waiting(Failure("unavailable", LOST, 1.0))
        self.stopped.set_result(None)

    def stop(self) -> None:
        """Ends ``run`` after the turn under way; from any thread. What is committed is published at the next start."""
        self._stopping = True
        self.intake.wake()

    def close(self) -> None:
        """Frees the state, after ``run`` has ended or if it never ran."""
        self._state.close()

    @property
    def _begun(self) -> bool:
        return self.memory.published_size > 0 or not self.entry_zero

    def status(self) -> dict[str, object]:
        """Sizes and what it is doing; from any thread."""
        memory, current = self._memory, self._round
        return {
            "writing": memory is not None,
            "confirmed": self._confirmation.done,
            "size": memory.size if memory else None,
            "published_size": memory.published_size if memory else None,
            "cosigning_size": current.request.size if current else None,
            "frozen": memory is not None and memory.policy is not None and memory.policy.ended,
            "held_up": self._told or None,
        }

    def _halt(self, error: BaseException) -> None:
        log.error("the writer stops: %s", error)
        self._memory = None
        self._round = None
        failure = Failure("unavailable", "the log's writer has stopped", None)
        self.intake.drain(failure)
        self._fail_waiting(failure)
        self._state.close()
        self.stopped.set_exception(error)

    def _reload(self, cause: BaseException) -> bool:
        # an unknown outcome is fatal for everything in memory; the next act is a reload that succeeds, or none.
        before, self._memory = self._memory, None
        self._round = None
        self._fail_waiting(Failure("unavailable", LOST, 1.0))
        try:
            self.open()
            if before is not None:
                recovery.require_extended(self.memory, before)
        except Exception as error:
            log.exception("the reload failed too")
            error.__context__ = cause
            self._halt(error)
            return False
        return True

    def _fail_waiting(self, failure: Failure) -> None:
        waiting, self._waiting = self._waiting, []
        self.intake.fail([item.submission for item in waiting], failure)

    @contextmanager
    def _failing(self, submissions: Sequence[batching.Submission]) -> Iterator[None]:
        """Around work on what was taken from the pool: what fails here fails them, and frees their place."""
        try:
            yield
        except BaseException:
            self.intake.fail(submissions, Failure("unavailable", LOST, 1.0))
            raise

    # -- one turn -----------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Waits until something is due and does it."""
        self.intake.wait(self._sleep())
        if not self._stopping:
            self.work()

    def work(self) -> None:
        """Does what is due now."""
        self._answer_finds()
        if self._round is not None and self._round.future is not None and self._round.future.done():
            self._conclude(self._round, self._round.future)
        if not self._confirmation.done:
            self._confirm()
        if self._allowed():
            if self._seal_due() <= 0:
                self._seal()
            self._checkpoint()
        self._tidy()

    def _sleep(self) -> float:
        if not self._confirmation.done:
            return self._confirmation.wait(PAUSE)
        if self._told:
            return PAUSE
        until = [self._seal_due(), self._sign_due(), IDLE]
        if self._collect or self.memory.dedup.due(self.memory.published_size):
            until.append(0.0 if not self.intake.pooled() else IDLE)
        return max(0.0, min(until))

    def _allowed(self) -> bool:
        """Whether clock and disk allow to go on; tells once, and takes nothing until they do."""
        if not self._confirmation.done:
            return False
        reason = ""
        try:
            self._signer.check_clock(self._clock.now_ms() // 1000)
        except ClockBack as error:
            reason = error.message
        free = self._store.free()
        # below the watermark nothing is promised any more.
        if free is not None and free < self.config.disk.min_free_bytes:
            reason = "the disk is nearly full"
        if reason != self._told:
            self._told = reason
            if reason:
                log.error("%s", reason)
                self.intake.refuse(Failure("full", reason, 30.0))
        if not reason and self.intake.refusal is not None and self._begun:
            self.intake.open()
        return not reason

    def _confirm(self) -> None:
        size = self.memory.size
        known = size if self.signed_at_most is None else min(size, self.signed_at_most)
        if self._confirmation.step(self._published, known, self._wake):
            self.confirmed()
            self.signed_at_most = None  # from now on a commit is followed by a signature

    def _published(self) -> Request:
        memory = self.memory
        body, lines = self._signer.reopen(memory.note)
        return Request(body, lines, memory.published_size, memory.consistency(memory.published_size))

    def _wake(self, _future: object) -> None:
        self.intake.wake()

    # -- seal ---------------------------------------------------------------------------------------------------------

    def _seal_due(self) -> float:
        """Seconds until the next batch: at its interval, or when a tile is full; the first after idle at once."""
        pooled = self.intake.pooled()
        memory = self.memory
        if not pooled or not self._begun:  # entry 0 comes first
            return IDLE
        if self.held():
            return PAUSE
        if memory.size - memory.published_size >= self.config.pool.max_entries:
            return IDLE  # what a reload let go of counts as well: without a quorum nothing piles up
        intervals = self.config.intervals
        wait = intervals.seal_min_ms if pooled >= self.config.pool.seal_entries else intervals.batch_ms
        return self._sealed_at + wait / 1000 - self._clock.monotonic()

    def _seal(self) -> None:
        memory = self.memory
        submissions = self.intake.take(self.config.pool.batch_entries)
        self._sealed_at = self._clock.monotonic()
        with self._failing(submissions):
            waiting, plan = batching.decide(submissions, memory)
        self._waiting += waiting  # before anything can fail: an unknown outcome fails them, never forgets them
        if plan is not None:
            batching.commit(plan, memory, self._state)
            self.sealed(len(plan.entries))
        self._answer()

    # -- sign, apply, cosign, publish ---------------------------------------------------------------------------------

    def _sign_due(self) -> float:
        """Seconds until the next checkpoint is to be signed or asked for again; IDLE if none is."""
        memory, now = self.memory, self._clock.monotonic()
        if self._round is not None:
            return IDLE if self._round.future is not None else self._round.retry_at - now
        if memory.size > memory.published_size:
            due = self._signed_at + self.config.intervals.checkpoint_ms / 1000 - now
        elif memory.size:
            due = self._published_at + self.config.intervals.republish_s - now
        else:
            return IDLE
        return max(due, self._cosigner.ready_in())

    def _checkpoint(self) -> None:
        if self._sign_due() > 0:
            return
        if self._round is not None:
            self._ask(self._round)
            return
        if self.intake.pooled() and self._begun and not self.held():
            self._seal()  # what waits needs no second checkpoint
        memory = self.memory
        self._signed_at = self._clock.monotonic()
        body, lines = self._signer.sign(memory.size, memory.root, self._clock.now_ms() // 1000)
        if memory.unapplied:
            memory.applied = applying.apply(self._store, memory.tree, memory.applied, memory.unapplied)
            memory.unapplied.clear()
            memory.overlay.clear()
        request = Request(body, lines, memory.size, memory.consistency(memory.size))
        self._round = Round(request, memory.root, None)
        self._ask(self._round)

    def _ask(self, current: Round) -> None:
        current.future = self._cosigner.cosign(current.request)
        current.future.add_done_callback(self._wake)
        if current.future.done():
            self._conclude(current, current.future)

    def _conclude(self, current: Round, future: Future[list[note.Signature]]) -> None:
        try:
            cosignatures = future.result()
        except UnavailableError as error:
            # Fail closed: nothing is published, nothing further is signed, the pool fills.
            log.warning("checkpoint %d is not published: %s", current.request.size, error)
            current.future = None
            current.retry_at = self._clock.monotonic() + self.config.intervals.retry_ms / 1000
            if current.request.size == self.memory.published_size:
                self._published_at = self._clock.monotonic()  # a mere refresh: the old one stands
                self._round = None
            return
        self._round = None
        self._publish(current, note.encode(current.request.text, [*current.request.log_lines, *cosignatures]))

    def _publish(self, current: Round, signed: bytes) -> None:
        memory, size = self.memory, current.request.size
        self._state.publish(memory.epoch, signed, size)
        self.noted(size)
        self._store.replace_checkpoint(signed)
        self._published_at = self._clock.monotonic()
        self._collect += applying.completed(memory.published_size, size)
        self.intake.publish(memory.publish(size, current.root, signed))
        self._answer()
        if self.intake.refusal is not None:
            self.intake.wake()  # entry 0 is published: the next turn opens the pool
        self.published()

    def refresh(self) -> None:
        """Has an unchanged checkpoint cosigned anew now, or as soon as the witnesses may be asked; from any thread."""
        self._published_at = float("-inf")
        self.intake.wake()

    # -- answers ------------------------------------------------------------------------------------------------------

    def _answer(self) -> None:
        """Answers every submission whose entries are all published."""
        size = self.memory.published_size
        ready = [item for item in self._waiting if item.needs <= size]
        if not ready:
            return
        answers = [(item.submission, Answer(item.submission.ticket, item.verdicts)) for item in ready]
        leaves = answering.leaves(self.memory, answers)  # before anything is let go: a read that fails forgets nobody
        self._waiting = [item for item in self._waiting if item.needs > size]
        self.intake.answer(answers, self.memory.note, leaves)

    def _answer_finds(self) -> None:
        finds = self.intake.take_finds()
        if not finds:
            return
        with self._failing(finds):
            answers = answering.look_up(self.memory, finds)
            leaves = answering.leaves(self.memory, answers)
        self.intake.answer(answers, self.memory.note, leaves)

    # -- in the idle part ---------------------------------------------------------------------------------------------

    def _tidy(self) -> None:
        memory, busy = self.memory, bool(self.intake.pooled())
        if self._collect and (not busy or len(self._collect) >= MAX_COLLECT):
            # TT-16, TT-17: full, durable, published: now the partial ones may go, oldest first.
            paths, self._collect = self._collect, []
            self._store.drop_partials(paths)
        if memory.dedup.due(memory.published_size) and (not busy or memory.dedup.overdue):
            memory.dedup.move(memory.epoch, memory.published_size)
