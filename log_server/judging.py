"""Where entries are judged: a lone one on the event loop, many on threads, in runs.

A signature check releases the interpreter, so a second core helps; handing one entry to a thread costs more than its
check. Entries that arrive in one turn of the loop, or while others are being judged, therefore go together.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from teelog.log_server.admission import Admission
from teelog.log_server.problems import Problem
from teelog.log_server.seams import NAMESPACE, Admitted

THREADS = 2
LONE = 4
"""As few entries are judged on the loop."""
RUN = 32
"""Entries of one run at most: none waits long for the others of its run."""

Verdict = tuple[Admitted, str | None] | Problem
"""The entry as the pool takes it with the name of the quota that it uses up, or why not."""

Run = list[tuple[bytes, asyncio.Future[Verdict]]]


class Judges:
    """Used on one event loop; ``close`` it.

    alone: whether this process has the cores to itself. Beside other fronts the loop judges runs of single entries:
    the other cores are the others'. Threads take batches all the same.
    """

    def __init__(self, admission: Admission, *, alone: bool = True) -> None:
        self._admission = admission
        self._runners = THREADS if alone else 1
        self._lone = LONE if alone else RUN
        self._threads = ThreadPoolExecutor(THREADS, "teelog-verify")
        self._queue: deque[tuple[bytes, asyncio.Future[Verdict]]] = deque()
        self._runs = 0

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def one(self, entry: bytes) -> Verdict:
        """The verdict on one entry."""
        loop = asyncio.get_running_loop()
        verdict: asyncio.Future[Verdict] = loop.create_future()
        self._queue.append((entry, verdict))
        if self._runs < self._runners:
            self._runs += 1
            loop.call_soon(self._next)
        return await verdict

    async def many(self, entries: Sequence[bytes]) -> list[Verdict]:
        """The verdicts on many entries, in order."""
        loop = asyncio.get_running_loop()
        size = -(-len(entries) // THREADS)
        parts = await asyncio.gather(
            *(
                loop.run_in_executor(self._threads, self.judge, entries[at : at + size])
                for at in range(0, len(entries), size)
            )
        )
        return [verdict for part in parts for verdict in part]

    async def in_order(self, entries: Sequence[bytes], verdicts: Sequence[Verdict]) -> list[Verdict]:
        """The verdicts where an entry may depend on namespace versions before it. verdicts: as if none did."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._in_order, entries, verdicts)

    def _in_order(self, entries: Sequence[bytes], verdicts: Sequence[Verdict]) -> list[Verdict]:
        admission = self._admission.overlaid()
        superseded: set[bytes] = set()
        found: list[Verdict] = []
        for entry, given in zip(entries, verdicts, strict=True):
            verdict = given
            if superseded and (isinstance(given, Problem) or given[0].under in superseded):
                try:
                    verdict = admission.judge(entry)
                except Problem as problem:
                    verdict = problem
            found.append(verdict)
            if isinstance(verdict, Problem) or not changes_namespace(verdict[0]):
                continue
            admission.expect(entry)
            assert verdict[0].place is not None
            superseded.add(verdict[0].place.prev or b"")
        return found

    def for_operator(self, entry: bytes) -> Verdict:
        """The verdict on an entry that comes from the log's operator."""
        try:
            return self._admission.judge(entry, operator=True)
        except Problem as problem:
            return problem

    def judge(self, entries: Sequence[bytes]) -> list[Verdict]:
        """The verdicts on these entries, here and now."""
        verdicts: list[Verdict] = []
        for entry in entries:
            try:
                verdicts.append(self._admission.judge(entry))
            except Problem as problem:
                verdicts.append(problem)
        return verdicts

    def _next(self) -> None:
        queue = self._queue
        run = [queue.popleft() for _ in range(min(RUN, len(queue)))]
        if len(run) <= self._lone:
            done: Future[list[Verdict]] = Future()
            try:
                done.set_result(self.judge([entry for entry, _ in run]))
            except Exception as error:  # noqa: BLE001  told to those who wait
                done.set_exception(error)
            self._finish(run, done)
            return
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, self.judge, [entry for entry, _ in run])
        work.add_done_callback(lambda done: self._finish(run, done))

    def _finish(self, run: Run, done: Future[list[Verdict]] | asyncio.Future[list[Verdict]]) -> None:
        if self._queue:
            asyncio.get_running_loop().call_soon(self._next)
        else:
            self._runs -= 1
        _tell(run, done)


def changes_namespace(admitted: Admitted) -> bool:
    """Whether other entries are judged otherwise once it is logged."""
    return admitted.place is not None and admitted.place.kind == NAMESPACE


def _tell(run: Run, done: Future[list[Verdict]] | asyncio.Future[list[Verdict]]) -> None:
    error = None if done.cancelled() else done.exception()
    for place, (_, waiting) in enumerate(run):
        if waiting.done():  # its client has left
            continue
        if done.cancelled():
            waiting.cancel()
        elif error is not None:
            waiting.set_exception(error)
        else:
            waiting.set_result(done.result()[place])
