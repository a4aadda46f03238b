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

import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from http import HTTPStatus
from typing import TypeVar

import structlog

from teelog.errors import TeelogError, UnavailableError
from teelog.tlog import note
from teelog.tlog.vkey import NoteSigner
from teelog.tlog.witness import encode_answer
from teelog.witness.compared import cosigned_text, unpublished
from teelog.witness.decide import Answer, Cosign, Decision, Head, Inconsistent, Request, conflict, decide
from teelog.witness.evidence import EvidenceStore
from teelog.witness.intake import Call, Check, Intake
from teelog.witness.limits import TokenBuckets
from teelog.witness.metrics import Metrics
from teelog.witness.published import Published, PublishedHead
from teelog.witness.registry import Registry
from teelog.witness.state import Store

log = structlog.get_logger("teelog.witness")

# Evidence of one log and kind. Each file costs two fsyncs, for which all logs wait: a log that signs one false
# checkpoint after the other must not hold up the others, nor push out what it showed before.
KEPT_AT_ONCE = 2
KEPT_SECONDS = 60.0  # until one more is kept
KEPT_LOGS = 16_384  # of which it is remembered when something was kept

HOPELESS = 3  # heads that could not be stored one by one, and none could
REPAIR_SECONDS = 30.0  # between attempts to publish what could not be published
# After a failed fsync the page cache may look clean though the disk lacks the data: no second try.
FATAL_CODES = (1034, 1290)  # SQLITE_IOERR_FSYNC, SQLITE_IOERR_DIR_FSYNC

Result = TypeVar("Result")


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
        self._intake = Intake()
        self._thread = threading.Thread(target=self._run, name="witness-engine", daemon=True)
        self._unpublished: dict[str, float] = {}  # origin -> since when, monotonic
        self._repaired = 0.0  # monotonic
        self._suspect = False  # whether the connection saw a failed transaction
        self._kept = TokenBuckets(KEPT_LOGS)
        self.fatal: Exception | None = None
        self.registry = Registry(store.logs())
        metrics.watch(
            self.unpublished_seconds, self.registry.__len__, self.registry.disabled, self._intake.__len__
        )

    # -- from any thread ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Publishes what a crash left unpublished and starts. Raises ConfigError where the state was rolled back."""
        for origin in unpublished(self._store, self._published):
            self._publish_again(origin)
        self._thread.start()

    def stop(self) -> None:
        """Answers what is queued, then ends the thread and closes the databases."""
        if self._thread.is_alive():
            self._intake.close()
            self._thread.join()
        else:
            self._store.close()
            self._published.close()

    def submit(self, request: Request) -> Future[Answer]:
        answer: Future[Answer] = Future()
        self._intake.put(Check(request, answer))
        return answer

    def call(self, run: Callable[[Store], Result]) -> Future[Result]:
        """Runs something on the engine's thread; the log list in memory follows what it changed."""
        result: Future[Result] = Future()

        def work() -> Result:
            try:
                return run(self._store)
            finally:
                changed = self._store.take_changed()
                if changed:
                    self.registry.put(changed)

        self._intake.put(Call(work, result))
        return result

    def trouble(self) -> str | None:
        """Why it should get no requests now, None where there is no reason: one line of fixed text."""
        if self.fatal is not None or self._intake.ended:
            return "stopped"
        return "storage failed" if self._suspect else None

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
            self._intake.end()
            self._store.close()
            self._published.close()

    def _turn(self) -> bool:
        work = self._intake.take(REPAIR_SECONDS)
        if work is not None:
            self._process(work.checks)
            if work.call is not None:
                self._serve(work.call)
        # By the clock: a busy witness is never without work.
        due = work is None or self._monotonic() - self._repaired >= REPAIR_SECONDS
        if due and (self._unpublished or self._suspect):
            self._repair()
        return work is None or not work.last

    def _serve(self, call: Call) -> None:
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

    def _process(self, checks: list[Check]) -> None:
        # A request whose client has left is not worth a signature.
        checks = [check for check in checks if check.answer.set_running_or_notify_cancel()]
        if not checks:
            return
        try:
            self._recover()
            moves = self._check(checks)
            won = self._commit([move for _, move in moves])
            for (check, move), ok in zip(moves, won, strict=True):
                self._answer(check, move, ok)
        except sqlite3.Error as error:
            # W-37: "5xx without signature"; whether or not it was persisted, the next request sees what is stored.
            self._storage_failed(error)
        finally:
            for check in checks:
                if not check.answer.done():
                    check.answer.set_result(failed())

    def _check(self, checks: list[Check]) -> list[tuple[Check, Cosign]]:
        """Answers what needs no signature; returns the heads that should move."""
        moves = []
        for check in checks:
            try:
                decision = self._decide(check.request)
            except sqlite3.Error as error:
                self._storage_failed(error)
                check.answer.set_result(failed())
                self._recover()  # a row that cannot be read is no reason to doubt the others' for good
                continue
            except Exception as error:  # noqa: BLE001  no log's request may fail those of others
                check.answer.set_result(self._broken(check.request.origin, error))
                continue
            if isinstance(decision, Cosign):
                moves.append((check, decision))
            elif isinstance(decision, Inconsistent):
                self._keep(decision)
                check.answer.set_result(decision.answer)
            else:
                check.answer.set_result(decision)
        self._step("checked")
        return moves

    def _decide(self, request: Request) -> Decision:
        known, head = self.registry.log(request.origin), self._store.head(request.origin)
        decision = decide(request, known, head, self._now(), extensions=self._extensions)
        held = self._gate(decision) if isinstance(decision, Cosign) else None
        return decision if held is None else held

    def _broken(self, origin: str, error: Exception) -> Answer:
        """A fault of ours with one log's request. Nothing was signed for it."""
        self._metrics.request_errors.inc()
        log.error("a request could not be judged", origin=origin, error=f"{type(error).__name__}: {error}")
        return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"the witness cannot judge this request\n")

    def _commit(self, moves: list[Cosign]) -> list[bool | None]:
        """Moves heads in one transaction; for each whether its swap won, None where that could not be stored.

        What fails together is tried one by one: a row that cannot be written must not hold up other logs. Whatever the
        first transaction left, each swap is against what is stored now.
        """
        if not moves:
            return []
        try:
            won: list[bool | None] = [*self._advance(moves)]
        except sqlite3.Error as error:
            if len(moves) == 1:
                raise
            self._storage_failed(error)
            won = self._commit_apart(moves)
        self._metrics.batch.observe(len(moves))
        self._step("committed")
        return won

    def _commit_apart(self, moves: list[Cosign]) -> list[bool | None]:
        won: list[bool | None] = []
        for move in moves:
            if len(won) >= HOPELESS and not any(one is not None for one in won):
                break  # the disk, or another process: nothing can be written
            self._recover()
            try:
                won += self._advance([move])
            except sqlite3.Error as error:
                self._storage_failed(error)
                won.append(None)
        self._recover()
        return won + [None] * (len(moves) - len(won))

    def _advance(self, moves: list[Cosign]) -> list[bool]:
        begin = self._monotonic()
        # W-35, W-38: "The witness MUST persist the new checkpoint before responding"; here before signing, too.
        won = self._store.advance(moves)
        self._metrics.commit_seconds.observe(self._monotonic() - begin)
        return won

    def _answer(self, check: Check, move: Cosign, won: bool | None) -> None:
        """Cosigns a head that has moved."""
        if won is None:
            check.answer.set_result(failed())
            return
        try:
            check.answer.set_result(self._cosign(move) if won else self._lost(check.request))
        except sqlite3.Error as error:
            self._storage_failed(error)
            check.answer.set_result(failed())
            self._recover()
        except Exception as error:  # noqa: BLE001  no log's request may fail those of others
            if won:
                self._unpublished.setdefault(move.origin, self._monotonic())
            check.answer.set_result(self._broken(move.origin, error))

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
        self._metrics.last.set(move.head.timestamp)
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
        """W-28: what a misbehaving log showed stays, and someone is told. No more of it than KEPT_... say."""
        self._metrics.inconsistent.inc()
        if self._evidence.holds(found.origin, found.shown, found.proven):
            return  # before the bound is asked: repeats, which anyone can send, must not use it up
        kind = (found.origin, found.proven)
        if self._kept.take(kind, 1 / KEPT_SECONDS, KEPT_AT_ONCE, self._monotonic()):
            return
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
        self._repaired = self._monotonic()
        try:
            self._recover()
            for origin in list(self._unpublished):
                self._publish_again(origin)
                del self._unpublished[origin]
        except sqlite3.Error as error:
            self._storage_failed(error)

    def _publish_again(self, origin: str) -> None:
        head = self._store.head(origin)
        if head is not None:
            self._publish(origin, head, self._sign(cosigned_text(origin, head), head.timestamp))
