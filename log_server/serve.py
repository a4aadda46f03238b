"""A log's life: take the directory, prove that it was not rolled back, listen, and leave in good order.

One process by default: the sequencer in its thread, the front on the event loop. With ``workers`` the fronts are
processes of their own (``teelog.log_server.workers``), and this one keeps the sequencer and the admin listeners.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from teelog.errors import ConfigError, UnavailableError
from teelog.index.leaf import origin_of
from teelog.listen import Address, bind, bind_unix
from teelog.log_server import config as configuration
from teelog.log_server import journal, recovery
from teelog.log_server.about import LogInfo
from teelog.log_server.admin import Admin, admin_handler
from teelog.log_server.app import Front
from teelog.log_server.config import Config
from teelog.log_server.directory import LogDirectory
from teelog.log_server.guard import guarded
from teelog.log_server.index import process as index_process
from teelog.log_server.index.process import IndexProcess, Task
from teelog.log_server.limits import Limits
from teelog.log_server.metrics import FrontMetrics, Metrics
from teelog.log_server.mirroring import Mirroring
from teelog.log_server.pool_socket import PoolServer, SocketPool
from teelog.log_server.read import Directory
from teelog.log_server.seams import Pool, RolledBack
from teelog.log_server.workers import READY, REPORT_SECONDS, Crew, Tally
from teelog.log_server.writer import Writer
from teelog.serving import new_loop, stop_on_signals
from teelog.tlog.policy import Policy

log = logging.getLogger("teelog.log_server")

Ready = Callable[[Address, Address | None], None]

SHUTDOWN_SECONDS = 10.0
"""For submissions under way: until then they are published and answered."""
START_SECONDS = 600.0
"""For a front to wait for the sequencer, which may have much to read."""
MAX_WORKERS = 64
STALE_SECONDS = 30.0
"""Entries that wait for a checkpoint so long make the log not ready."""


def serve(
    path: Path,
    listen: Address,
    policy: Policy,
    *,
    admin_listen: Address | None = None,
    workers: int = 0,
    index_policy: Policy | None = None,
    ready: Ready = lambda _public, _admin: None,
) -> None:
    """Serves the log in ``path`` until SIGTERM or SIGINT.

    workers: front processes; 0 = the front in this one. index_policy: of the index log; None: no index. ready: called
    with the addresses in use, once requests are taken. Raises ConfigError, Damaged, Conflict, RolledBack,
    UnavailableError (address in use, a front that ended); at the end what stopped the writer, if anything did: until
    then reads go on.
    """
    if not 0 <= workers <= MAX_WORKERS:
        raise ConfigError("wrong number of workers", expected=f"0 to {MAX_WORKERS}", actual=workers)
    journal.configure()
    config = configuration.load(path)
    info = log_info(path, policy, config, index_policy)
    sockets, bound = bind(listen, max(1, workers))
    index = None
    if index_policy is not None:
        index = IndexProcess.fork(Task(LogDirectory(path), index_policy, config), sockets, new_loop)
        config = index_process.main_config(config, policy, index_policy)

    async def work(listening: socket.socket, line: socket.socket) -> None:
        if index is not None:
            index.let_go()
        await _front_process(path, config, info, listening, line)

    crew = Crew.fork(sockets, work, new_loop) if workers else None
    served = Served(path, policy, config, info, bound, admin_listen, ready, index)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_serve(served, sockets[0], crew))


@dataclass(frozen=True, slots=True)
class Served:
    """What ``serve`` was asked for. bound: the address in use."""

    path: Path
    policy: Policy
    config: Config
    info: LogInfo
    bound: Address
    admin_listen: Address | None
    ready: Ready
    index: IndexProcess | None = None


async def _serve(served: Served, listening: socket.socket, crew: Crew | None) -> None:
    stopping = stop_on_signals()
    async with AsyncExitStack() as stack:
        index = served.index
        if index is not None:
            stack.push_async_callback(index.close)
        if crew is not None:
            stack.push_async_callback(crew.close)
        writer = Writer.open(served.path, served.policy, served.config)
        stack.push_async_callback(writer.close)
        check_raw(writer, served.config)
        mirroring = Mirroring(writer.directory, served.config, index=index is not None)
        stack.push_async_callback(mirroring.close)
        metrics = Metrics([item.name for item in writer.cosigners.witnesses])
        metrics.watch(lambda: writer.status() | beside(writer, index, mirroring))
        writer.sequencer.sealed = metrics.sealed
        writer.cosigners.answered = metrics.cosigned
        loop = asyncio.get_running_loop()
        writer.sequencer.stopped.add_done_callback(lambda end: loop.call_soon_threadsafe(_stopped, end, stopping))
        if index is not None:
            follow(index, writer)
        writer.sequencer.published = mirroring.after(writer.sequencer.published)
        writer.start()
        mirroring.start()
        await _until_open(writer, stopping)
        front = await start_front(stack, writer.pool, served.path, served.config, served.info, metrics)
        bound_admin = await start_admin(stack, writer, metrics, front, served.admin_listen, index)
        if crew is None:
            await listen_public(stack, front, listening)
        else:
            await _start_crew(stack, crew, writer, metrics, stopping)
        if not stopping.is_set():
            served.ready(served.bound, bound_admin)
        await stopping.wait()
        log.info("stopping")
    # Everything above is closed; what stopped the writer or a front, if anything did, is the outcome.
    if crew is not None:
        crew.check()
    if writer.sequencer.stopped.done():
        writer.sequencer.stopped.result()


def beside(writer: Writer, index: IndexProcess | None, mirroring: Mirroring) -> dict[str, Any]:
    """What the metrics show beside the writer's own status."""
    return {
        "published_age_s": _age(writer),
        "index": None if index is None else index.status(),
        "mirrors": mirroring.status(),
    }


async def _start_crew(
    stack: AsyncExitStack, crew: Crew, writer: Writer, metrics: Metrics, stopping: asyncio.Event
) -> None:
    pool = PoolServer(writer.intake, writer.directory.pool_socket)
    await pool.start()
    stack.push_async_callback(pool.close)
    # Closed once more, before the pool: what is under way in the fronts is answered first.
    stack.push_async_callback(crew.close)
    crew.watch(metrics, stopping)
    await crew.all_ready(stopping)


async def _front_process(
    path: Path, config: Config, info: LogInfo, listening: socket.socket, line: socket.socket
) -> None:
    """A front's life in a process of its own: until SIGTERM, or until the server's end of the line closes."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    reader, writer = await asyncio.open_connection(sock=line)
    gone = asyncio.create_task(reader.read())
    # With the server dead nothing can be answered any more, and the next one wants the address at once.
    gone.add_done_callback(lambda end: None if end.cancelled() else os._exit(0))
    connecting = asyncio.create_task(SocketPool.connect(LogDirectory(path).pool_socket, START_SECONDS))
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({connecting, stop}, return_when=asyncio.FIRST_COMPLETED)
    if stopping.is_set():
        connecting.cancel()
        return
    async with AsyncExitStack() as stack:
        pool = connecting.result()
        stack.push_async_callback(pool.close)
        tally = Tally()
        front = await start_front(stack, pool, path, config, info, tally, alone=False)
        await listen_public(stack, front, listening)
        writer.write(READY)
        while not stopping.is_set():
            await asyncio.wait({stop}, timeout=REPORT_SECONDS)
            writer.write(tally.report())
            with suppress(UnavailableError):
                await front.submissions.refresh()
    with suppress(ConnectionError):
        writer.write(tally.report())
        await writer.drain()
    writer.close()


def follow(index: IndexProcess, writer: Writer) -> None:
    """Tells the index of every published checkpoint, and has sealing wait for it where it is too far behind."""
    sequencer = writer.sequencer
    sequencer.published = index.ring
    sequencer.held = lambda: index.behind(sequencer.memory.published_size)
    index.watch(writer.intake.wake)


def _stopped(end: Future[None], stopping: asyncio.Event) -> None:
    error = end.exception()
    if isinstance(error, RolledBack):
        stopping.set()  # an older copy shows nobody anything
    elif error is not None:
        log.error("reads go on without the writer")


async def _until_open(writer: Writer, stopping: asyncio.Event) -> None:
    """Waits for the witnesses to confirm the log and for entry 0 to be published, as long as one exchange may take."""
    until = time.monotonic() + writer.sequencer.config.witnesses.timeout_ms / 1000
    while writer.intake.refusal is not None and time.monotonic() < until and not stopping.is_set():
        await asyncio.sleep(0.01)


def check_raw(writer: Writer, config: Config) -> None:
    """What is admitted is what entry 0 says. Raises ConfigError."""
    memory = writer.sequencer.memory
    first = recovery.stated_admission(memory.tree, memory.applied.size)
    for name in ("raw", "private_results"):
        stated = first is not None and bool(getattr(first, name))
        configured = bool(getattr(config.admission, name))
        if stated != configured:
            raise ConfigError(
                f"admission.{name} is not what the log's entry 0 states",
                expected=str(stated).lower(),
                actual=str(configured).lower(),
            )


def log_info(path: Path, policy: Policy, config: Config, index_policy: Policy | None = None) -> LogInfo:
    """What the log tells about itself. Raises ConfigError."""
    directory = LogDirectory(path)
    intervals = config.intervals
    index = None
    if index_policy is not None:
        index_process.check(directory, config.origin, index_policy)
        index = LogInfo(origin_of(config.origin), _vkeys(directory.index), _witnesses(index_policy))
    return LogInfo(
        config.origin,
        _vkeys(directory),
        _witnesses(policy),
        config.admission.raw,
        config.admission.private_results,
        {
            "batch": intervals.batch_ms / 1000,
            "checkpoint": intervals.checkpoint_ms / 1000,
            "republish": float(intervals.republish_s),
        },
        index,
    )


def _vkeys(directory: LogDirectory) -> tuple[str, ...]:
    return tuple(str(key) for key in directory.verifiers())


def _witnesses(policy: Policy) -> tuple[tuple[str, str, str | None], ...]:
    return tuple((item.name, str(item.key), item.url) for item in policy.witnesses.values())


async def start_front(
    stack: AsyncExitStack,
    pool: Pool,
    path: Path,
    config: Config,
    info: LogInfo,
    metrics: FrontMetrics,
    *,
    alone: bool = True,
) -> Front:
    """A front that is ready to be listened for."""
    objects = Directory(path / "public")
    stack.callback(objects.close)
    front = Front(
        pool,
        objects,
        info,
        limits=config.limits,
        retention=config.retention,
        metrics=metrics,
        alone=alone,
        index=None if info.index is None else LogDirectory(path),
    )
    stack.callback(front.close)
    await front.start()
    return front


def spare_the_collector() -> None:
    """What is loaded by now stays for good; of what a request makes almost nothing needs the cycle collector.

    Measured: with CPython's defaults a tenth of the time goes into looking for cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def listen_public(stack: AsyncExitStack, front: Front, listening: socket.socket) -> None:
    """Takes requests, until the stack unwinds: then no new ones, and SHUTDOWN_SECONDS for those under way."""
    spare_the_collector()
    server = front.server()
    runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, listening).start()


async def start_admin(
    stack: AsyncExitStack,
    writer: Writer,
    metrics: Metrics,
    front: Front,
    where: Address | None,
    index: IndexProcess | None = None,
) -> Address | None:
    """The Unix socket in the log's directory, and the TCP listener without ``/allow`` if there is to be one."""

    def health() -> str | None:
        return _health(writer)

    def beside() -> str | None:
        if index is None or (index.running and index.report.doing != "stopped"):
            return None
        return f"the index has stopped: {index.report.why or 'its process has ended'}"

    path = writer.directory.admin_socket
    own = bind_unix(path)
    stack.callback(_remove, path)
    submissions = front.submissions
    submissions.policy_from(lambda: writer.sequencer.memory.log_policy())
    await _listen_admin(stack, Admin(metrics, health, submissions.bodies, submissions.allow, beside), front.limits, own)
    if where is None:
        return None
    (public,), bound = bind(where)
    await _listen_admin(stack, Admin(metrics, health, submissions.bodies, beside=beside), front.limits, public)
    return bound


async def _listen_admin(stack: AsyncExitStack, admin: Admin, limits: Limits, listening: socket.socket) -> None:
    # the same deadlines and bounds as in public, of its own.
    runner = web.ServerRunner(guarded(admin_handler(admin), limits), shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, listening).start()


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()


def _age(writer: Writer) -> float | None:
    """Seconds since the checkpoint was published."""
    try:
        return max(0.0, time.time() - (writer.directory.public / "checkpoint").stat().st_mtime)
    except OSError:
        return None


def _health(writer: Writer) -> str | None:
    if writer.sequencer.stopped.done():
        return "the log's writer has stopped"
    refusal = writer.intake.refusal
    if refusal is not None:
        return refusal.message
    age = _age(writer)
    if age is None:
        return "no checkpoint is published"
    if age > STALE_SECONDS and writer.intake.waiting()[0]:
        return f"entries have waited for a checkpoint for {age:.0f} s"
    return None
