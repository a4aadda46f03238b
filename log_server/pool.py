"""The front's half of the pool, and the pool inside one process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from teelog.errors import UnavailableError
from teelog.log_server.delivery import Delivery, Failure, Proofs
from teelog.log_server.intake import Intake
from teelog.log_server.seams import Admitted, Logged, Outcome


class Waiters:
    """Submissions under way, by ticket. Used on one event loop."""

    def __init__(self) -> None:
        self._futures: dict[int, asyncio.Future[list[Outcome]]] = {}
        self._ticket = 0

    def new(self) -> tuple[int, asyncio.Future[list[Outcome]]]:
        self._ticket += 1
        future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self._futures[self._ticket] = future
        return self._ticket, future

    def forget(self, ticket: int) -> None:
        self._futures.pop(ticket, None)

    def deliver(self, delivery: Delivery) -> None:
        """All of a batch's answers in one callback."""
        proofs = Proofs(delivery)
        for answer in delivery.answers:
            future = self._futures.pop(answer.ticket, None)
            if future is None or future.done():  # its caller has left: the entry's fate is the same (AP-03)
                continue
            if answer.failure is not None:
                future.set_exception(answer.failure.error())
            else:
                future.set_result(proofs.outcomes(answer))

    def fail(self, failure: Failure) -> None:
        """Fails everything under way."""
        futures, self._futures = self._futures, {}
        for future in futures.values():
            if not future.done():
                future.set_exception(failure.error())


class LocalPool:
    """``Pool`` for a front in the sequencer's own process, on ``loop``."""

    def __init__(self, intake: Intake, loop: asyncio.AbstractEventLoop) -> None:
        self._intake = intake
        self._loop = loop
        self._waiters = Waiters()

    async def submit(self, entries: Sequence[Admitted]) -> list[Outcome]:
        if not entries:
            return []
        ticket, future = self._waiters.new()
        self._require(self._intake.offer(self, ticket, entries), ticket)
        return await future

    async def find(self, leaf: bytes) -> Logged | None:
        ticket, future = self._waiters.new()
        self._require(self._intake.find(self, ticket, leaf), ticket)
        outcomes = await future
        return found(outcomes)

    async def namespaces(self, since: int = 0) -> list[tuple[int, bytes]]:
        return self._intake.namespaces(since)

    def _require(self, failure: Failure | None, ticket: int) -> None:
        if failure is not None:
            self._waiters.forget(ticket)
            raise failure.error()

    def deliver(self, delivery: Delivery) -> None:
        """See ``intake.Port``."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._waiters.deliver, delivery)


def found(outcomes: Sequence[Outcome]) -> Logged | None:
    """The outcome of a look-up."""
    if not outcomes:
        return None
    (outcome,) = outcomes
    if not isinstance(outcome, Logged):
        raise UnavailableError("the sequencer gave no answer to a look-up")
    return outcome
