"""Fronts as processes of their own: the same front, its pool behind a Unix socket, its listening socket one of several
on one address, between which the kernel shares out connections.

They are forked before the keys are read and before anything else runs, so a front never holds a signing key (R-18).
Each has a line to the server: on it the front says that it is ready and what it counted, and its end says that the
other process has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from teelog.errors import UnavailableError
from teelog.log_server.metrics import FrontMetrics

log = logging.getLogger("teelog.log_server")

READY = b"ready\n"
REPORT_SECONDS = 1.0
"""Between a front's reports; as often it hears of new namespaces."""
GRACE_SECONDS = 15.0
"""For a front to end; then it is killed."""

Work = Callable[[socket.socket, socket.socket], Coroutine[Any, Any, None]]
"""A front's life: (its listening socket, its line to the server)."""


class Tally:
    """What a front process counts until its next report."""

    def __init__(self) -> None:
        self._entries: Counter[int] = Counter()
        self._requests: Counter[tuple[str, int]] = Counter()

    def entry(self, status: int, count: int = 1) -> None:
        self._entries[status] += count

    def request(self, route: str, status: int, count: int = 1) -> None:
        self._requests[route, status] += count

    def report(self) -> bytes:
        """A line with everything since the last one."""
        told = [list(self._entries.items()), [[*key, count] for key, count in self._requests.items()]]
        self._entries.clear()
        self._requests.clear()
        return json.dumps(told).encode() + b"\n"


def add_report(line: bytes, metrics: FrontMetrics) -> None:
    """Counts what a front reports."""
    entries, requests = json.loads(line)
    for status, count in entries:
        metrics.entry(status, count)
    for route, status, count in requests:
        metrics.request(route, status, count)


@dataclass(frozen=True, slots=True)
class Worker:
    pid: int
    line: socket.socket


class Crew:
    """The fronts of a server. ``fork`` in the server before its event loop, the rest on the loop."""

    def __init__(self, workers: list[Worker]) -> None:
        self._workers = workers
        self._watching: list[asyncio.Task[None]] = []
        self._ready = asyncio.Semaphore(0)
        self._ending = False
        self.lost = False
        """Whether a front has ended that should not."""

    @classmethod
    def fork(cls, listening: list[socket.socket], work: Work, loop: Callable[[], asyncio.AbstractEventLoop]) -> Crew:
        """One front for each listening socket; of those the server keeps none."""
        gc.collect()
        gc.freeze()  # what is there by now stays shared between the processes
        workers: list[Worker] = []
        for own in listening:
            ours, theirs = socket.socketpair()
            pid = os.fork()
            if pid == 0:
                for other in [*(worker.line for worker in workers), ours, *(s for s in listening if s is not own)]:
                    other.close()
                _live(work, own, theirs, loop)
            theirs.close()
            workers.append(Worker(pid, ours))
        for own in listening:
            own.close()
        return cls(workers)

    def watch(self, metrics: FrontMetrics, stopping: asyncio.Event) -> None:
        """Hears the fronts' reports; sets ``stopping`` if one of them ends."""
        for worker in self._workers:
            self._watching.append(asyncio.create_task(self._hear(worker, metrics, stopping)))

    async def _hear(self, worker: Worker, metrics: FrontMetrics, stopping: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection(sock=worker.line)
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                if line == READY:
                    self._ready.release()
                else:
                    add_report(line, metrics)
        writer.close()
        if not self._ending:
            log.error("front process %d has ended", worker.pid)
            self.lost = True
            stopping.set()

    async def all_ready(self, stopping: asyncio.Event) -> None:
        """Waits until every front takes requests, or ``stopping``."""
        stop = asyncio.create_task(stopping.wait())
        for _ in self._workers:
            one = asyncio.create_task(self._ready.acquire())
            await asyncio.wait({one, stop}, return_when=asyncio.FIRST_COMPLETED)
            one.cancel()
        stop.cancel()

    def check(self) -> None:
        """Raises UnavailableError if a front was lost."""
        if self.lost:
            raise UnavailableError("a front process has ended", hint="start the server again; the journal says more")

    async def close(self) -> None:
        """Ends the fronts, which answer what is under way. Once is enough."""
        self._ending = True
        workers, self._workers = self._workers, []
        for worker in workers:
            os.kill(worker.pid, signal.SIGTERM)  # not yet reaped, so the number is still its own
        await asyncio.gather(*(reap(worker.pid) for worker in workers))
        await asyncio.gather(*self._watching)
        for worker in workers:
            worker.line.close()


async def reap(pid: int) -> None:
    """Waits for a process's end, and sees to it."""
    waiting = asyncio.create_task(asyncio.to_thread(os.waitpid, pid, 0))
    done, _ = await asyncio.wait({waiting}, timeout=GRACE_SECONDS)
    if not done:
        os.kill(pid, signal.SIGKILL)
    await waiting


def _live(
    work: Work, listening: socket.socket, line: socket.socket, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """A front process; never returns."""
    code = 1
    try:
        # Ctrl-C reaches the whole group: the server decides when its fronts end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(work(listening, line))
        code = 0
    except BaseException:
        log.exception("a front process fails")
    finally:
        os._exit(code)
