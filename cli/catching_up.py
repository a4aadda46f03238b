"""Waiting for an index that has yet to begin or is a moment behind: what was answered just now is in it soon."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from teelog.errors import RefusedError

if TYPE_CHECKING:
    from teelog.client.index import RemoteIndex

PATIENCE = 15.0  # seconds, where the answer may be of what the index covers: a busy index takes some
PAUSE = 0.2  # seconds between two looks at it


async def covering(
    size: int,
    look: Callable[[], Awaitable[RemoteIndex]],
    told: Callable[[], Awaitable[RefusedError | None]],
    until: float,
) -> tuple[RemoteIndex, RefusedError | None]:
    """The index once it covers ``size`` entries, or as it is when time is up; and what ``told`` says of the log's end.

    look: the index as it is now. told: asked where all but the last entry is covered, which may end the log: semantic
    witnesses sign nothing more then, and no waiting helps. until: monotonic seconds. Raises what these two raise;
    NothingIndexed only once time is up.
    """
    import asyncio

    from teelog.client.index import NothingIndexed

    while True:
        try:
            found = await look()
        except NothingIndexed:
            if time.monotonic() + PAUSE >= until:
                raise
            await asyncio.sleep(PAUSE)
            continue
        covered = found.main.checkpoint.size
        end = await told() if covered == size - 1 else None
        if covered >= size or end is not None or time.monotonic() + PAUSE >= until:
            return found, end
        await asyncio.sleep(PAUSE)
