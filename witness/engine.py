"""The one thread that writes: check, commit, sign, publish, answer.

    requests --queue--> [check each against its stored head]
                        [one transaction: compare and swap all heads that may move]   durable from here on
                        [each: sign -> publish -> answer]

Everything that waits while a transaction is under way goes into the next one, so many logs share an fsync, and a lone
log waits for nothing. A crash at any step:

    before the commit      nothing happened; the log asks again
    after the commit       no signature left; the log asks again, is told the new size, and gets it signed (old == size)
    after signing          the same
    after publishing       the same; monitors see the cosigned checkpoint
    after the answer       done

Start-up signs and publishes every head that is not published (the same head may be signed any number of times, with the
timestamp of its commit), and refuses to sign at all beside published checkpoints that the state does not know (W-49).
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

import structlog

from teelog.errors import ConfigError, TeelogError, UnavailableError
from teelog.tlog import note
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.vkey import NoteSigner
from teelog.tlog.witness import encode_answer
from teelog.witness.decide import Answer, Cosign, Head, Inconsistent, Request, conflict, decide
from teelog.witness.evidence import EvidenceStore
from teelog.witness.metrics import Metrics
from teelog.witness.published import Published, PublishedHead
from teelog.witness.registry import Registry
from teelog.witness.state import Store

log = structlog.get_logger("teelog.witness")

QUEUE_LENGTH = 2048  # requests waiting; more get 503
MAX_BATCH = 64  # requests in one transaction
REPAIR_SECONDS = 30.0  # between attempts to publish what could not be published
# After a failed fsync the page cache may look clean though the disk lacks the data: no second try.
FATAL_CODES = (1034, 1290)  # SQLITE_IOERR_FSYNC, SQLITE_IOERR_DIR_FSYNC

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Check:
    """A request under way."""

    request: Request
    answer: Future[Answer]


@dataclass(frozen=True, slots=True)
class _Call:
    """Something else that needs the writer."""

    run: Callable[[], Any]
    result: Future[Any]


def _turn_away(item: _Check | _Call) -> None:
    if isinstance(item, _Check):
        if item.answer.set_running_or_notify_cancel():
            item.answer.set_result(Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"try again later\n", retry_after=1))
    elif item.result.set_running_or_notify_cancel():
        item.result.set_exception(UnavailableError("the witness is busy or has stopped"))


def failed() -> Answer:
    return Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"storage failed, nothing was signed\n", retry_after=5)


class Engine:
    """Owns the databases from ``start`` to ``stop``.

    now: POSIX seconds. monotonic: seconds. extensions: W-39. gate: why a checkpoint is not cosigned although all checks
    hold, None if it is; it must not wait. on_fatal: called from the engine's thread when it gives up. step: called with
    "checked", "committed", "signed", "published" as each is done: tests stop, race and kill here.
    """

    def __init__(
        self,
        store: Store,
        published: Published,
        evidence: EvidenceStore,
        signers: Sequence[NoteSigner],
        *,
        now: Callable[[], int],
        monotonic: Callable[[], float],
        metrics: Metrics,
        extensions: bool = False,
        gate: Callable[[Cosign], Answer | None] = lambda _: None,
        on_fatal: Callable[[], None] = lambda: None,
        step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._published = published
        self._evidence = evidence
        self._signers = tuple(signers)
        self._now = now
        self._monotonic = monotonic
        self._metrics = metrics
        self._extensions = extensions
        self._gate = gate
        self._on_fatal = on_fatal
        self._step = step
        self._queue: queue.SimpleQueue[_Check | _Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="witness-engine", daemon=True)
        self._unpublished: dict[str, float] = {}  # origin -> since when, monotonic
        self._suspect = False  # whether the connection saw a failed transaction
        self._ended = False
        self.fatal: Exception | None = None
        self.registry = Registry(store.logs())
        metrics.watch(self.unpublished_seconds, self.registry.__len__)

    # -- from any thread ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Publishes what a crash left unpublished and starts. Raises ConfigError where the state was rolled back."""
        self._refuse_rollback()
        self._publish_missing()
        self._thread.start()

    def stop(self) -> None:
        """Answers what is queued, then ends the thread and closes the databases."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        else:
            self._store.close()
            self._published.close()

    def submit(self, request: Request) -> Future[Answer]:
        answer: Future[Answer] = Future()
        self._put(_Check(request, answer))
        return answer

    def call(self, run: Callable[[Store], Result]) -> Future[Result]:
        """Runs something on the engine's thread; the log list is read again afterwards."""
        result: Future[Result] = Future()

        def work() -> Result:
            done = run(self._store)
            self.registry.replace(self._store.logs())
            return done

        self._put(_Call(work, result))
        return result

    def _put(self, item: _Check | _Call) -> None:
        if self._ended or self._queue.qsize() >= QUEUE_LENGTH:
            _turn_away(item)
            return
        self._queue.put(item)
        if self._ended:  # between the two lines above: nobody else will look
            self._turn_all_away()

    def _turn_all_away(self) -> None:
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return
            if item is not None:
                _turn_away(item)

    def unpublished_seconds(self) -> float:
        since = min(self._unpublished.copy().values(), default=None)
        return 0.0 if since is None else self._monotonic() - since

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except Exception as error:  # noqa: BLE001  whatever it is, this process must not sign any more
            self._give_up(error)
        finally:
            self._ended = True
            self._turn_all_away()
            self._store.close()
            self._published.close()

    def _turn(self) -> bool:
        try:
            first = self._queue.get(timeout=REPAIR_SECONDS)
        except queue.Empty:
            self._repair()
            return True
        checks: list[_Check] = []
        item: _Check | _Call | None = first
        while True:
            if not isinstance(item, _Check):
                self._process(checks)
                if item is None:
                    return False
                self._serve(item)
                return True
            checks.append(item)
            if len(checks) == MAX_BATCH:
                break
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
        self._process(checks)
        return True

    def _serve(self, call: _Call) -> None:
        if not call.result.set_running_or_notify_cancel():
            return
        try:
            call.result.set_result(call.run())
        except sqlite3.Error as error:
            self._storage_failed(error)
            call.result.set_exception(UnavailableError("storage failed", actual=str(error)))
        except TeelogError as error:
            call.result.set_exception(error)
        except BaseException as error:
            call.result.set_exception(UnavailableError("the witness stops", actual=type(error).__name__))
            raise

    def _process(self, checks: list[_Check]) -> None:
        # A request whose client has left is not worth a signature.
        checks = [check for check in checks if check.answer.set_running_or_notify_cancel()]
        if not checks:
            return
        try:
            self._recover()
            moves = self._check(checks)
            won = self._commit([move for _, move in moves])
            for (check, move), ok in zip(moves, won, strict=True):
                check.answer.set_result(self._cosign(move) if ok else self._lost(check.request))
        except sqlite3.Error as error:
            # W-37: "5xx without signature"; whether or not it was persisted, the next request sees what is stored.
            self._storage_failed(error)
        finally:
            for check in checks:
                if not check.answer.done():
                    check.answer.set_result(failed())

    def _check(self, checks: list[_Check]) -> list[tuple[_Check, Cosign]]:
        """Answers what needs no signature; returns the heads that should move."""
        moves = []
        for check in checks:
            request = check.request
            known, head = self.registry.log(request.origin), self._store.head(request.origin)
            decision = decide(request, known, head, self._now(), extensions=self._extensions)
            held = self._gate(decision) if isinstance(decision, Cosign) else None
            if held is not None:
                check.answer.set_result(held)
            elif isinstance(decision, Cosign):
                moves.append((check, decision))
            elif isinstance(decision, Inconsistent):
                self._keep(decision)
                check.answer.set_result(decision.answer)
            else:
                check.answer.set_result(decision)
        self._step("checked")
        return moves

    def _commit(self, moves: list[Cosign]) -> list[bool]:
        if not moves:
            return []
        begin = self._monotonic()
        # W-35, W-38: "The witness MUST persist the new checkpoint before responding"; here before signing, too.
        won = self._store.advance(moves)
        self._metrics.commit_seconds.observe(self._monotonic() - begin)
        self._step("committed")
        return won

    def _cosign(self, move: Cosign) -> Answer:
        """Signs and publishes a committed head."""
        try:
            lines = self._sign(move.body, move.head.timestamp)
            self._step("signed")
            # WM-06: visible before it is returned.
            self._publish(move.origin, move.head, lines)
            self._step("published")
        except sqlite3.Error as error:
            self._unpublished.setdefault(move.origin, self._monotonic())
            self._storage_failed(error)
            return failed()
        self._unpublished.pop(move.origin, None)
        self._metrics.cosigned.inc()
        return Answer(HTTPStatus.OK, encode_answer(lines))  # W-30

    def _lost(self, request: Request) -> Answer:
        """W-36: somebody else moved the head between check and commit. Nothing is signed."""
        head = self._store.head(request.origin)
        decision = decide(request, self.registry.log(request.origin), head, self._now(), extensions=self._extensions)
        if isinstance(decision, Inconsistent):  # W-28: two views that arrive together are a fork all the same
            self._keep(decision)
        return conflict(0 if head is None else head.size)

    def _sign(self, body: bytes, timestamp: int) -> list[note.Signature]:
        """W-31 to W-33: both keys, over exactly this body."""
        return [signer.sign(body, timestamp) for signer in self._signers]

    def _publish(self, origin: str, head: Head, lines: Sequence[note.Signature]) -> None:
        # WM-03: "MUST include the cosignature(s) [...] and the cosignature from the log key(s)"; nothing else.
        cosigned = head.note + encode_answer(lines)
        self._published.put(PublishedHead(origin, head.size, head.root, head.timestamp), cosigned)

    def _keep(self, found: Inconsistent) -> None:
        """W-28: what a misbehaving log showed stays, and someone is told."""
        self._metrics.inconsistent.inc()
        try:
            path = self._evidence.keep(found.origin, found.shown, found.proven)
        except OSError as error:
            log.error("evidence could not be kept", origin=found.origin, error=str(error))
            return
        if path is not None:
            self._metrics.forks.inc(int(found.proven))
            event = "log has forked" if found.proven else "log showed a checkpoint that does not extend its last"
            log.error(event, origin=found.origin, file=str(path))

    # -- faults -------------------------------------------------------------------------------------------------------

    def _storage_failed(self, error: sqlite3.Error) -> None:
        self._metrics.storage_errors.inc()
        self._suspect = True
        log.error("storage failed", error=str(error), code=getattr(error, "sqlite_errorname", None))
        if getattr(error, "sqlite_errorcode", None) in FATAL_CODES:
            self.fatal = error
            self._on_fatal()

    def _recover(self) -> None:
        """After a failure nothing of the old connections is believed. Raises sqlite3.Error: still failing."""
        if self.fatal is not None:
            raise sqlite3.OperationalError("stopped after a failed fsync")
        if self._suspect:
            self._store.reopen()
            self._published.reopen()
            self._suspect = False

    def _give_up(self, error: Exception) -> None:
        self.fatal = error
        log.error("witness stops", error=f"{type(error).__name__}: {error}")
        self._on_fatal()

    def _repair(self) -> None:
        if not self._unpublished:
            return
        try:
            self._recover()
            self._publish_missing()
        except sqlite3.Error as error:
            self._storage_failed(error)
        else:
            self._unpublished.clear()

    # -- start-up -----------------------------------------------------------------------------------------------------

    def _refuse_rollback(self) -> None:
        """W-49: a published head is at most as new as the stored one. Raises ConfigError."""
        for shown in self._published.heads():
            head = self._store.head(shown.origin)
            at_least = head is not None and (shown.size, shown.timestamp) <= (head.size, head.timestamp)
            if not at_least or (head is not None and shown.size == head.size and shown.root != head.root):
                raise ConfigError(
                    f"state.db is older than what this witness has published for {shown.origin}: it was rolled back",
                    expected=f"size {shown.size}, root {shown.root.hex()}",
                    actual="nothing" if head is None else f"size {head.size}, root {head.root.hex()}",
                    hint="put back the newest state.db; without it this witness must not sign again (docs/witness.md)",
                )

    def _publish_missing(self) -> None:
        shown = {head.origin: (head.size, head.timestamp) for head in self._published.heads()}
        for origin, head in list(self._store.heads()):
            if shown.get(origin) != (head.size, head.timestamp):
                body = Checkpoint(origin, head.size, head.root)
                text = note.parse(head.note).claimed_text()
                if not text.startswith(body.body()):
                    raise ConfigError("state.db is damaged: a head and its note differ", actual=origin)
                self._publish(origin, head, self._sign(text, head.timestamp))
