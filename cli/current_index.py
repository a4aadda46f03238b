"""A log's index as a command asks it: the one that covers what is published now, compared with what was seen before."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from teelog.cli import catching_up, ended, online, output
from teelog.cli import policy as policies
from teelog.errors import ConfigError, MisbehaviourError, RefusedError, TeelogError, UnavailableError
from teelog.tlog.policy import Policy

if TYPE_CHECKING:
    from teelog.cli.standing import Asked
    from teelog.client.http import HttpClient
    from teelog.client.index import RemoteIndex
    from teelog.client.rebuilt_index import RebuiltIndex
    from teelog.client.source import TileSource
    from teelog.client.state import ClientState


async def if_any(
    asked: Asked, source: TileSource, http: HttpClient, state: ClientState, *, complete: bool = False
) -> RemoteIndex | None:
    """``current``; where it is gone with its log, made again from a mirror that has the index log too.

    None where no index is to be asked, or no mirror has it: who reads all entries needs no index.
    """
    if asked.index is None:
        return None
    if not asked.mirrors:
        return await current(asked, source, http, state, complete=complete)
    try:
        return await current(asked, source, http, state, complete=complete)
    except (UnavailableError, RefusedError, ConfigError) as error:
        output.warn(f"the log's index cannot be asked: {error.message}")
    try:
        found = await from_mirrors(http, asked.mirrors, asked.main, asked.index, state)
    except MisbehaviourError as error:
        raise state.convict(asked.origin, error) from error
    if found is None:
        output.warn("no mirror has the index log: the whole log is read instead")
        return None
    await online.remember(state, found.main, source)
    return found


async def from_mirrors(
    http: HttpClient, mirrors: Sequence[str], main: Policy, index: Policy, state: ClientState
) -> RebuiltIndex | None:
    """The index made again from the first mirror that has what it takes; None where none has.

    Raises MisbehaviourError, and VerificationError where entries and index contradict each other.
    """
    from teelog.client.cache import DiskCache
    from teelog.client.cosigning import cosign_anew
    from teelog.client.rebuilt_index import OtherMap, rebuild

    async def cosign(policy: Policy, checkpoint: bytes) -> bytes:
        return await cosign_anew(http, policy, checkpoint)

    key = policies.the_log(main).key
    for mirror in mirrors:
        try:
            with output.progress("making the index again") as step:
                found = await rebuild(
                    http, mirror, main, index, key.name, cosign, step, DiskCache(state.tiles(key))
                )
        except (MisbehaviourError, OtherMap):
            raise
        except TeelogError as error:
            if not (isinstance(error, RefusedError) and error.status == 404):
                output.warn(f"{mirror}: {error.message}")
            continue
        output.note(f"the index is made again from {mirror}, up to {found.main.checkpoint.size} entries")
        return found
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
