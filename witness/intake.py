"""What waits for the engine: requests to be judged, and other work that needs its thread. Bounded."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from teelog.errors import UnavailableError
from teelog.witness.decide import Answer, Request

QUEUE_LENGTH = 2048  # requests waiting; more get 503
MAX_BATCH = 64  # requests in one transaction


@dataclass(frozen=True, slots=True)
class Check:
    """A request under way."""

    request: Request
    answer: Future[Answer]


@dataclass(frozen=True, slots=True)
class Call:
    """Something else that needs the writer."""

    run: Callable[[], Any]
    result: Future[Any]


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done next: ``checks`` together, then ``call``. last: and nothing afterwards."""

    checks: list[Check]
    call: Call | None = None
    last: bool = False


class Intake:
    """Filled from any thread, emptied by one."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Check | Call | None] = queue.SimpleQueue()
        self.ended = False

    def __len__(self) -> int:
        return self._queue.qsize()

    def put(self, item: Check | Call) -> None:
        if self.ended or self._queue.qsize() >= QUEUE_LENGTH:
            _turn_away(item)
            return
        self._queue.put(item)
        if self.ended:  # between the two lines above: nobody else will look
            self._turn_all_away()

    def close(self) -> None:
        """What was put before is still done."""
        self._queue.put(None)

    def end(self) -> None:
        """Nothing is done any more; whoever waits is told."""
        self.ended = True
        self._turn_all_away()

    def take(self, seconds: float) -> Work | None:
        """All that waits up to the next call, at most MAX_BATCH checks; None where nothing came in time."""
        checks: list[Check] = []
        try:
            item = self._queue.get(timeout=seconds)
            while isinstance(item, Check):
                checks.append(item)
                if len(checks) == MAX_BATCH:
                    return Work(checks)
                item = self._queue.get_nowait()
        except queue.Empty:
            return Work(checks) if checks else None
        return Work(checks, item, last=item is None)

    def _turn_all_away(self) -> None:
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return
            if item is not None:
                _turn_away(item)


def _turn_away(item: Check | Call) -> None:
    if isinstance(item, Check):
        if item.answer.set_running_or_notify_cancel():
            item.answer.set_result(Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"try again later\n", retry_after=1))
    elif item.result.set_running_or_notify_cancel():
        item.result.set_exception(UnavailableError("the witness is busy or has stopped"))
