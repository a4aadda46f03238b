"""From when on a status binds every verifier: the log's index has to cover it, and what was shown before has to age."""

from __future__ import annotations

import time
from dataclasses import dataclass

from teelog.cli import online, output, standing
from teelog.cli.standing import Asked
from teelog.errors import NotWitnessed, RefusedError, TeelogError, UnavailableError
from teelog.index import keys
from teelog.statement.names import Stream
from teelog.statement.status import Status

PAUSE = 0.5  # seconds between two looks at the index


@dataclass(frozen=True, slots=True)
class Bound:
    """size, index_size: of the main log and of the index log that are published and cover the status.

    by: POSIX seconds; from then on no verifier whose view of the log may be as old as the status before said, or newer,
    goes by that one. None: there was none.
    """

    size: int
    index_size: int
    by: int | None


def wait(asked: Asked, stream: Stream, index: int, before: Status | None) -> Bound:
    """Returns once the log's index shows that the entry at ``index``, or a later one, is the stream's last status.

    before: the status that it replaced. Raises UnavailableError where that takes longer than the timeout.
    """
    return online.run(_wait(asked, stream, index, before))


async def _wait(asked: Asked, stream: Stream, index: int, before: Status | None) -> Bound:
    import asyncio

    from teelog.client.http import HttpClient
    from teelog.client.source import HttpSource

    state = online.open_state(asked.state_folder)
    deadline = time.monotonic() + asked.timeout
    output.note("waiting for the log's index to cover it")
    async with HttpClient() as http:
        source = HttpSource(http, asked.place)
        while True:
            trouble: TeelogError | None = None
            try:
                found = await standing.open_index(asked, source, http, state)
                last = await found.lookup(keys.status_key(str(stream)))
                if last is not None and last.last >= index:
                    size, index_size = found.main.checkpoint.size, found.index.checkpoint.size
                    times = [line.timestamp or 0 for line in found.index.cosignatures.values()]
                    return Bound(size, index_size, _by(max([int(time.time()), *times]), before))
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


def _by(seen: int, before: Status | None) -> int | None:
    """Protocol section 1: T + A, and never after the next update that the status before promised."""
    if before is None:
        return None
    promised = int(before.predicate.next_update_time.timestamp())
    return max(seen, min(seen + before.predicate.max_age_s, promised))
