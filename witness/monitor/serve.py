"""A monitor as a process: its folder locked, its listener up, looks until it is stopped."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack

from aiohttp import web

from teelog.errors import TeelogError, UnavailableError
from teelog.listen import Address
from teelog.serving import new_loop, stop_on_signals
from teelog.witness.monitor.folder import Folder
from teelog.witness.monitor.follow import Progress
from teelog.witness.monitor.listener import Listener
from teelog.witness.monitor.looked import Look
from teelog.witness.monitor.run import Clock, Monitor
from teelog.witness.monitor.settings import Settings
from teelog.witness.monitor.state import State

SHUTDOWN_SECONDS = 5.0
MAX_OPEN = 10_000  # open alerts that a run ends with, the worst first
Said = Callable[[Look | TeelogError], object]
Changed = Callable[[Settings, Settings], object]


def serve(
    folder: Folder,
    interval: float,
    polls: int | None,
    listen: Address | None,
    hosts: frozenset[str],
    *,
    said: Said,
    ready: Callable[[Address | None], object],
    changed: Changed,
    progress: Progress,
) -> Look | None:
    """Runs until SIGTERM, SIGINT, or the last of ``polls`` looks, which is returned; None where it was stopped.

    Raises ConfigError, UnavailableError.
    """
    with folder.locked() as state, asyncio.Runner(loop_factory=new_loop) as runner:
        try:
            return runner.run(_serve(folder, state, interval, polls, listen, hosts, said, ready, changed, progress))
        except OSError as error:
            raise UnavailableError(f"{folder.path} cannot be written", actual=str(error)) from error


async def _serve(
    folder: Folder,
    state: State,
    interval: float,
    polls: int | None,
    listen: Address | None,
    hosts: frozenset[str],
    said: Said,
    ready: Callable[[Address | None], object],
    changed: Changed,
    progress: Progress,
) -> Look | None:
    stopping = stop_on_signals()
    clock = Clock()
    last: list[Look] = []

    def saw(seen: Look | TeelogError) -> None:
        if isinstance(seen, Look):
            last[:] = [seen]
        said(seen)

    async def wait(seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await stopping.wait()
        except TimeoutError:
            return False
        return True

    async with AsyncExitStack() as stack:
        bound = None
        if listen is not None:
            bound = await _listen(stack, Listener(state, clock.now, hosts, interval), listen)
        ready(bound)
        monitor = Monitor(folder, state, clock, saw, wait, progress, changed=changed)
        work = asyncio.ensure_future(monitor.run(interval, polls))
        stop = asyncio.ensure_future(stopping.wait())
        await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not work.done():
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            return None
        try:
            await work
        except sqlite3.Error as error:
            raise UnavailableError(f"{folder.state} cannot be used", actual=str(error)) from error
    if polls is None or not last:
        return None
    last[0].open_alerts = state.ledger.worst_open(MAX_OPEN)
    return last[0]


async def _listen(stack: AsyncExitStack, listener: Listener, where: Address) -> Address:
    runner = web.ServerRunner(listener.server(), shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, where.host, where.port).start()
    except OSError as error:
        raise UnavailableError(f"cannot listen on {where}", actual=error.strerror or str(error)) from error
    host, port = runner.addresses[0][:2]
    bound = Address(host, port)
    listener.bound(where, bound)
    return bound
