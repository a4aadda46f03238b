"""From when on a status binds every verifier: the log's index has to cover it, and what was shown before has to age."""

from __future__ import annotations

import time
from dataclasses import dataclass

from teelog.cli import current_index, moment, online, output
from teelog.cli.standing import Asked, Standing
from teelog.errors import NotEstablished, NotWitnessed, RefusedError, TeelogError, UnavailableError
from teelog.index import keys
from teelog.statement.names import Stream
from teelog.statement.status import Status

PAUSE = 0.5  # seconds between two looks at the index
MAX_OLDER = 1_000  # statuses before the last one that are looked at, newest first


@dataclass(frozen=True, slots=True)
class Bound:
    """size, index_size: of the main log and of the index log that are published and cover the status.

    by: POSIX seconds; from then on no verifier goes by a status before that one which allows what it does not, however
    old the bundle is that somebody kept. None: there was no status before.
    """

    size: int
    index_size: int
    by: int | None


def wait(asked: Asked, stream: Stream, index: int) -> Bound:
    """Returns once the log's index shows that the entry at ``index``, or a later one, is the stream's last status.

    Raises UnavailableError where that takes longer than the timeout.
    """
    return online.run(_wait(asked, stream, index))


async def _wait(asked: Asked, stream: Stream, index: int) -> Bound:
    import asyncio

    from teelog.client.http import HttpClient
    from teelog.client.indexed import Indexed
    from teelog.client.source import HttpSource

    state = online.open_state(asked.state_folder)
    deadline = time.monotonic() + asked.timeout
    output.note("waiting for the log's index to cover it")
    async with HttpClient() as http:
        source = HttpSource(http, asked.place)
        while True:
            trouble: TeelogError | None = None
            try:
                found = await current_index.open_index(asked, source, http, state)
                last = await found.lookup(keys.status_key(str(stream)))
                if last is not None and last.last >= index:
                    size, index_size = found.main.checkpoint.size, found.index.checkpoint.size
                    times = [line.timestamp or 0 for line in found.index.cosignatures.values()]
                    all_of_it = Standing(Indexed(found), found.main, found.index, source, http, state)
                    return Bound(size, index_size, await _by(asked, all_of_it, stream, max([int(time.time()), *times])))
            except (UnavailableError, NotWitnessed, RefusedError) as error:
                trouble = error  # no quorum yet, or the index has moved on: a matter of time
            if time.monotonic() + PAUSE >= deadline:
                raise UnavailableError(
                    "the status is published, and the log's index does not cover it yet",
                    expected=f"an index of more than {index} entries",
                    actual=None if trouble is None else trouble.message,
                    hint="again: nothing is published twice",
                ) from trouble
            await asyncio.sleep(PAUSE)


async def _by(asked: Asked, found: Standing, stream: Stream, seen: int) -> int | None:
    """Protocol section 1: T + A for each status that was there before, and never after the next update it promised.

    A status counts in bundles that were cosigned before the one after it was seen: T is when that was, ``seen`` (POSIX
    seconds) for the last one. A is its own ``max_age_s``: a later status does not shorten it.
    """
    from teelog.client.indexed import Indexed

    history = found.history
    assert isinstance(history, Indexed)
    after = await history.status(stream)
    if after is None or after.predicate.seq == 0:
        return None
    last, allowed = after.predicate.seq, {item.release for item in after.predicate.allowed_now}
    by = seen
    for seq in range(last - 1, max(-1, last - 1 - MAX_OLDER), -1):
        status = await history.status_number(stream, seq)
        assert status is not None
        if {item.release for item in status.predicate.allowed_now} - allowed and _until(seen, status) > by:
            since = seen if seq == last - 1 else min(seen, await _replaced(asked, found, after, seen))
            by = max(by, _until(since, status))
        after = status
    return by


def _until(since: int, status: Status) -> int:
    predicate = status.predicate
    return min(since + predicate.max_age_s, int(predicate.next_update_time.timestamp()))


async def _replaced(asked: Asked, found: Standing, after: Status, seen: int) -> int:
    """When the quorum had seen ``after``; ``seen`` where nothing tells."""
    try:
        return await moment.effective_since(asked, found, after)
    except NotEstablished:
        return seen
