"""A log's index as a command asks it: the one that covers what is published now, compared with what was seen before."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from teelog.cli import catching_up, ended, online, output
from teelog.cli import policy as policies
from teelog.errors import ConfigError, MisbehaviourError, RefusedError, UnavailableError

if TYPE_CHECKING:
    from teelog.cli.standing import Asked
    from teelog.client.http import HttpClient
    from teelog.client.index import RemoteIndex
    from teelog.client.source import TileSource
    from teelog.client.state import ClientState


async def if_any(
    asked: Asked, source: TileSource, http: HttpClient, state: ClientState, *, complete: bool = False
) -> RemoteIndex | None:
    """``current``; None where no index is to be asked, or it is gone with its log and there are mirrors.

    A mirror keeps entries, and cannot answer for the index: who reads them all needs no index.
    """
    if asked.index is None:
        return None
    if not asked.mirrors:
        return await current(asked, source, http, state, complete=complete)
    try:
        return await current(asked, source, http, state, complete=complete)
    except (UnavailableError, RefusedError, ConfigError) as error:
        output.warn(f"the log's index cannot be asked, so the whole log is read: {error.message}")
        return None


async def current(
    asked: Asked, source: TileSource, http: HttpClient, state: ClientState, *, complete: bool = False
) -> RemoteIndex:
    """The index once it covers what the log has published by now; it is a moment behind.

    complete: raise UnavailableError where it does not get there in time; otherwise that is told, and it is given as it
    is.
    """
    from teelog.tlog.policy import verify_checkpoint

    head = verify_checkpoint(await source.checkpoint(), asked.main).checkpoint
    size = head.size
    found, end = await catching_up.covering(
        size,
        lambda: open_index(asked, source, http, state),
        lambda: ended.told(source, head),
        time.monotonic() + (asked.timeout if complete else min(asked.timeout, catching_up.PATIENCE)),
    )
    covered = found.main.checkpoint.size
    if covered >= size:
        return found
    if end is not None and complete:
        raise end
    if complete:
        raise UnavailableError("the log's index is behind", expected=f"{size} entries", actual=covered)
    output.warn(f"the log's index is behind: it covers {covered} of {size} entries, and so does this answer")
    return found


async def open_index(asked: Asked, source: TileSource, http: HttpClient, state: ClientState) -> RemoteIndex:
    """The log's index with the main checkpoint that it covers; both are compared with what was seen before."""
    from teelog.client import index as client
    from teelog.client.cache import DiskCache
    from teelog.client.source import HttpSource

    assert asked.index is not None
    cache = DiskCache(state.tiles(policies.the_log(asked.main).key))
    try:
        found = await client.open_index(http, asked.place, asked.main, asked.index, cache)
    except MisbehaviourError as error:
        raise state.convict(asked.origin, error) from error
    await online.remember(state, found.main, source)
    await online.remember(state, found.index, HttpSource(http, f"{asked.place}/index"))
    return found
