"""Work that a command does again and again until it is stopped (`--every`)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable


async def until_stopped(attempt: Callable[[], Awaitable[float]]) -> None:
    """Attempts until SIGTERM or SIGINT. attempt: returns the seconds until the next one; cancelled if it is under way.

    Raises what an attempt raises.
    """
    from teelog.serving import stop_on_signals

    stopped = stop_on_signals()
    while not stopped.is_set():
        work = asyncio.ensure_future(attempt())
        stop = asyncio.ensure_future(stopped.wait())
        await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not work.done():
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), work.result())
