"""The index as a process of its own, so that it takes nothing from the log but the CPU that is left.

It is forked before the main log's keys are read and before there are threads. On a line to the server it says how far
it is; through a pipe the server rings whenever a main checkpoint is published. Whatever ends it ends the index alone.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

import msgspec

from teelog.errors import ConfigError, TeelogError, UnavailableError
from teelog.index.leaf import origin_of
from teelog.log_server import config as configuration
from teelog.log_server import journal
from teelog.log_server.config import Config, Intervals
from teelog.log_server.directory import LogDirectory
from teelog.log_server.index.indexer import Indexer, Progress
from teelog.log_server.index.inputs import Inputs
from teelog.log_server.index.mainlog import MainLog
from teelog.log_server.workers import reap
from teelog.log_server.writer import Writer
from teelog.tlog.policy import Policy

log = logging.getLogger("teelog.log_server")

REPORT_SECONDS = 0.05
"""The least between two reports; a log that waits for its index hears of it that often."""
MAX_REPORT = 65_536  # bytes
WORKING = ("mapping", "cosigning", "idle")


class Report(msgspec.Struct, frozen=True):
    """What the process says: progress, and (name, answers, alarm) of each witness."""

    doing: str
    mapped: int
    index_size: int
    input_size: int
    why: str
    witnesses: list[tuple[str, int, bool]]


class Task(msgspec.Struct, frozen=True):
    """What the process is started with."""

    directory: LogDirectory
    policy: Policy
    config: Config


def check(directory: LogDirectory, origin: str, policy: Policy) -> None:
    """What can be said before the process starts. Raises ConfigError."""
    index = directory.index
    if not index.state.exists():
        raise ConfigError(f"{directory.path} has no index log", expected=f"{index.path}, as teelog log init makes it")
    vkeys = index.verifiers()
    if not vkeys or vkeys[0].name != origin_of(origin):
        raise ConfigError(f"{index.vkeys} is of another log", expected=origin_of(origin))
    configuration.check_policy(policy, vkeys)


def index_config(config: Config, policy: Policy) -> Config:
    """The index log's settings: those of its log, but a leaf waits for nothing.

    republish_s: the index is refreshed right after the main log is; its own interval is for when that does not come.
    """
    intervals = config.intervals
    by_name = {
        name: seconds for name, seconds in config.witnesses.min_interval_s_by_name.items() if name in policy.witnesses
    }
    return Config(
        origin=origin_of(config.origin),
        intervals=Intervals(
            batch_ms=1, checkpoint_ms=1, seal_min_ms=0,
            republish_s=intervals.republish_s + max(intervals.republish_s // 2, 1), retry_ms=intervals.retry_ms,
        ),
        witnesses=msgspec.structs.replace(config.witnesses, min_interval_s_by_name=by_name),
        disk=config.disk,
    )  # fmt: skip


def main_config(config: Config, policy: Policy, index_policy: Policy) -> Config:
    """The main log's settings: what names witnesses of the index log alone is not for it."""
    by_name = config.witnesses.min_interval_s_by_name
    own = {
        name: seconds
        for name, seconds in by_name.items()
        if name in policy.witnesses or name not in index_policy.witnesses
    }
    witnesses = msgspec.structs.replace(config.witnesses, min_interval_s_by_name=own)
    return msgspec.structs.replace(config, witnesses=witnesses)


class IndexProcess:
    """The server's end. ``fork`` before its event loop, the rest on the loop."""

    def __init__(self, pid: int, line: socket.socket, bell: int, max_lag: int) -> None:
        self._pid = pid
        self._line = line
        self._bell = bell
        self._max_lag = max_lag
        self._hearing: asyncio.Task[None] | None = None
        self._ending = False
        self._level = False
        """Whether it has been as near as it has to be since the start."""
        self.running = True
        self.report = Report("starting", 0, 0, 0, "", [])

    @classmethod
    def fork(
        cls, task: Task, listening: Sequence[socket.socket], loop: Callable[[], asyncio.AbstractEventLoop]
    ) -> IndexProcess:
        """listening: the server's sockets, which are none of the process's business."""
        gc.collect()
        gc.freeze()
        ours, theirs = socket.socketpair()
        heard, rung = os.pipe()
        pid = os.fork()
        if pid == 0:
            for other in [ours, *listening]:
                other.close()
            os.close(rung)
            _live(task, theirs, heard, loop)
        theirs.close()
        os.close(heard)
        os.set_blocking(rung, False)
        return cls(pid, ours, rung, task.config.index.max_lag_entries)

    def let_go(self) -> None:
        """In another process that was forked from the server."""
        self._line.close()
        os.close(self._bell)

    def ring(self) -> None:
        """A main checkpoint is published. From any thread."""
        with suppress(OSError):  # full: it has enough to wake up for; broken: it has ended
            os.write(self._bell, b"\0")

    def behind(self, published_size: int) -> bool:
        """Whether sealing has to wait for the index. From the sequencer's thread.

        Only for its work under load: not for its witnesses, and not for what it had to catch up with at a start.
        """
        report = self.report
        if published_size - report.mapped <= self._max_lag:
            self._level = True
            return False
        return self._max_lag > 0 and self._level and self.running and report.doing in WORKING

    def watch(self, progressed: Callable[[], None]) -> None:
        """Hears its reports; progressed: called after each."""
        self._hearing = asyncio.create_task(self._hear(progressed))

    async def _hear(self, progressed: Callable[[], None]) -> None:
        reader, writer = await asyncio.open_connection(sock=self._line, limit=MAX_REPORT)
        with suppress(ConnectionError):
            while line := await reader.readline():
                self.report = msgspec.json.decode(line, type=Report)
                progressed()
        writer.close()
        self.running = False
        progressed()
        if not self._ending:
            log.error("the index has stopped, the log goes on: %s", self.report.why or "its process has ended")

    def status(self) -> dict[str, Any]:
        """For metrics and ``/readyz``'s text."""
        report = self.report
        return {
            "running": self.running and report.doing != "stopped",
            "doing": report.doing if self.running else "stopped",
            "mapped_size": report.mapped,
            "size": report.index_size,
            "input_size": report.input_size,
            "why": report.why,
            "witnesses": [
                {"name": name, "answers": answers, "alarm": alarm} for name, answers, alarm in report.witnesses
            ],
        }

    async def close(self) -> None:
        """Ends the process, which leaves what is unfinished to the next start. Once is enough."""
        self._ending = True
        pid, self._pid = self._pid, 0
        if not pid:
            return
        os.kill(pid, signal.SIGTERM)  # not yet reaped, so the number is still its own
        await reap(pid)
        if self._hearing is not None:
            await self._hearing
        self._line.close()
        os.close(self._bell)


# -- the process's own end --------------------------------------------------------------------------------------------


class PipeBell:
    """The reading end of the pipe, and a pipe of its own to be woken through."""

    def __init__(self, rung: int) -> None:
        woken, self._waker = os.pipe()
        self._ends = [rung, woken]
        for end in self._ends:
            os.set_blocking(end, False)

    def wait(self, seconds: float) -> None:
        for end in select.select(self._ends, [], [], seconds)[0]:
            os.read(end, 4_096)

    def wake(self) -> None:
        os.write(self._waker, b"\0")


def _live(task: Task, line: socket.socket, bell: int, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """The process; never returns."""
    code = 1
    try:
        # Ctrl-C reaches the whole group: the server decides when its processes end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        journal.configure(process="index")
        os.nice(task.config.index.nice)
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(_work(task, line, bell))
        code = 0
    except TeelogError as error:
        log.error("the index process ends: %s", error)
    except BaseException:
        log.exception("the index process fails")
    finally:
        os._exit(code)


async def _work(task: Task, line: socket.socket, bell: int) -> None:
    loop, stopping, changed = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    reader, writer = await asyncio.open_connection(sock=line)
    gone = asyncio.create_task(reader.read())
    # With the server dead the next one wants the index's directory at once.
    gone.add_done_callback(lambda end: None if end.cancelled() else os._exit(0))
    directory, config = task.directory, task.config

    def told(_progress: Progress) -> None:
        loop.call_soon_threadsafe(changed.set)

    async with AsyncExitStack() as stack:
        index = Writer.open(directory.index, task.policy, index_config(config, task.policy), entry_zero=False)
        stack.push_async_callback(index.close)
        indexer = Indexer(
            MainLog(directory, config.origin),
            index.sequencer,
            directory.index.index_db,
            Inputs(directory.index.inputs),
            PipeBell(bell),
            retain=config.index.retain_s,
            start=index.start,
            moments=Inputs(directory.index.moments),
            told=told,
        )
        thread = threading.Thread(target=indexer.run, name="indexer", daemon=True)
        thread.start()
        ended: asyncio.Future[Any] = asyncio.wrap_future(indexer.stopped)
        stop: asyncio.Future[Any] = asyncio.create_task(stopping.wait())
        while not (ended.done() or stopping.is_set()):
            tell: asyncio.Future[Any] = asyncio.create_task(changed.wait())
            await asyncio.wait([ended, stop, tell], return_when=asyncio.FIRST_COMPLETED)
            tell.cancel()
            changed.clear()
            await _send(writer, _report(indexer.progress, index))
            await asyncio.wait([ended, stop], timeout=REPORT_SECONDS)
        stop.cancel()
        indexer.stop()
        while thread.is_alive():
            await asyncio.sleep(0.005)
        await _send(writer, _report(indexer.progress, index))
        writer.close()
        gone.cancel()
        ended.exception()
        if indexer.stopped.exception() is not None:
            raise UnavailableError(indexer.progress.why)


def _report(progress: Progress, index: Writer) -> bytes:
    witnesses = [(item.name, item.cosigned, bool(item.alarm)) for item in index.cosigners.witnesses]
    return (
        msgspec.json.encode(
            Report(
                progress.doing, progress.mapped, progress.index_size, progress.input_size, progress.why[:500], witnesses
            )
        )
        + b"\n"
    )


async def _send(writer: asyncio.StreamWriter, line: bytes) -> None:
    with suppress(ConnectionError):
        writer.write(line)
        await writer.drain()
