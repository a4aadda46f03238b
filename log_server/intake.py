"""The sequencer's half of the pool: a bounded queue of submissions, and the way back to the fronts.

Every front is a ``Port``. A submission counts against the bounds until it is answered, so a log that cannot publish
fills up and refuses (R-10): promises are never handed out on credit.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from teelog.log_server.delivery import Answer, Delivery, Failure, Leaves
from teelog.log_server.seams import Admitted, NamespaceVersion


class Port(Protocol):
    """Where a front's answers go."""

    def deliver(self, delivery: Delivery) -> None:
        """Called from the sequencer's thread, once a batch; must not block or raise."""


@dataclass(frozen=True, slots=True)
class Submission:
    """entries: what a front handed in. find: instead of them, a leaf hash to be looked up. ticket: the front's own."""

    port: Port
    ticket: int
    entries: Sequence[Admitted] = ()
    find: bytes | None = None
    size: int = field(default=0, compare=False)
    """Bytes of its entries."""


class Intake:
    """max_entries, max_bytes: of unanswered submissions. seal_entries: as many in the queue wake the sequencer."""

    def __init__(self, max_entries: int, max_bytes: int, seal_entries: int = 256) -> None:
        self.seal_entries = seal_entries
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._queue: deque[Submission] = deque()
        self._finds: list[Submission] = []
        self._queued = 0
        self._entries = 0
        self._bytes = 0
        self._woken = False
        self._refusal: Failure | None = Failure("unavailable", "the log is starting", 1.0)
        self._namespaces: list[tuple[int, bytes]] = []

    # -- fronts, from any thread --------------------------------------------------------------------------------------

    def offer(self, port: Port, ticket: int, entries: Sequence[Admitted]) -> Failure | None:
        """Takes the submission and returns None, or takes nothing of it and says why."""
        size = sum([len(item.entry) for item in entries])
        with self._changed:
            if self._refusal is not None:
                return self._refusal
            if self._entries + len(entries) > self._max_entries or self._bytes + size > self._max_bytes:
                return Failure("full", "the pool is full", 1.0)
            self._queue.append(Submission(port, ticket, entries, size=size))
            before = self._queued
            self._queued += len(entries)
            self._entries += len(entries)
            self._bytes += size
            # The sequencer sleeps until its interval is over, or a tile is full.
            if before == 0 or before < self.seal_entries <= self._queued:
                self._wake()
        return None

    def find(self, port: Port, ticket: int, leaf: bytes) -> Failure | None:
        """Asks for a leaf; as ``offer``."""
        with self._changed:
            # A pool that is full still answers what is logged.
            if self._refusal is not None and self._refusal.kind == "unavailable":
                return self._refusal
            if len(self._finds) >= self._max_entries:
                return Failure("full", "too many look-ups", 1.0)
            self._finds.append(Submission(port, ticket, find=leaf))
            self._wake()
        return None

    def namespaces(self, since: int) -> list[tuple[int, bytes]]:
        """Published namespace statements from index ``since`` on."""
        with self._changed:
            return [item for item in self._namespaces if item[0] >= since]

    def waiting(self) -> tuple[int, int]:
        """(entries, bytes) not yet answered."""
        with self._changed:
            return self._entries, self._bytes

    # -- the sequencer ------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._woken = True
        self._changed.notify()

    def wake(self) -> None:
        """Ends ``wait``; from any thread."""
        with self._changed:
            self._wake()

    def wait(self, seconds: float) -> None:
        """Blocks until something was handed in, or ``wake``, or the time is over."""
        with self._changed:
            if not self._woken and seconds > 0:
                self._changed.wait(seconds)
            self._woken = False

    def pooled(self) -> int:
        """Entries that can be taken now."""
        with self._changed:
            return self._queued

    def take(self, limit: int) -> list[Submission]:
        """Whole submissions in their order: at least one if there is any, else at most ``limit`` entries."""
        taken: list[Submission] = []
        count = 0
        with self._changed:
            while self._queue and (not taken or count + len(self._queue[0].entries) <= limit):
                submission = self._queue.popleft()
                taken.append(submission)
                count += len(submission.entries)
            self._queued -= count
        return taken

    def take_finds(self) -> list[Submission]:
        with self._changed:
            finds, self._finds = self._finds, []
        return finds

    def publish(self, namespaces: Iterable[NamespaceVersion]) -> None:
        """Tells of newly published namespace statements, before their submissions are answered."""
        with self._changed:
            self._namespaces += ((item.index, item.entry) for item in namespaces)

    def reset_namespaces(self, namespaces: Iterable[NamespaceVersion]) -> None:
        with self._changed:
            self._namespaces = [(item.index, item.entry) for item in namespaces]

    def answer(
        self, answers: Sequence[tuple[Submission, Answer]], note: bytes = b"", tiles: Sequence[Leaves] = ()
    ) -> None:
        """Sends each front its answers, with the tiles that these need, and frees their place in the pool."""
        by_port: dict[int, tuple[Port, list[Answer]]] = {}
        entries = size = 0
        for submission, answer in answers:
            entries += len(submission.entries)
            size += submission.size
            by_port.setdefault(id(submission.port), (submission.port, []))[1].append(answer)
        with self._changed:
            self._entries -= entries
            self._bytes -= size
        for port, own in by_port.values():
            port.deliver(Delivery(note, _needed(own, tiles) if len(by_port) > 1 else list(tiles), own))

    def fail(self, submissions: Iterable[Submission], failure: Failure) -> None:
        """Answers submissions with the same failure."""
        self.answer([(item, Answer(item.ticket, failure=failure)) for item in submissions])

    def open(self) -> None:
        """Takes submissions from now on."""
        with self._changed:
            self._refusal = None

    def refuse(self, failure: Failure) -> None:
        """Refuses every new submission with ``failure``; what is in the queue stays there."""
        with self._changed:
            self._refusal = failure

    @property
    def refusal(self) -> Failure | None:
        return self._refusal

    def drain(self, failure: Failure) -> None:
        """Refuses from now on, and answers all that is in the queue with the same."""
        self.refuse(failure)
        self.fail([*self.take(1 << 62), *self.take_finds()], failure)


def _needed(answers: Sequence[Answer], tiles: Sequence[Leaves]) -> list[Leaves]:
    wanted = {verdict.index >> 8 for answer in answers for verdict in answer.verdicts if verdict.rejected is None}
    return [leaves for leaves in tiles if leaves.index in wanted]
