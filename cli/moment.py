"""Moments: how a user types one, and what was in effect then."""

from __future__ import annotations

from teelog.cli import duration
from teelog.cli.standing import Asked, Standing
from teelog.errors import NotEstablished
from teelog.statement.names import Stream
from teelog.statement.status import Status

callback = duration.moment


async def status_at(asked: Asked, found: Standing, stream: Stream, at: int) -> tuple[Status | None, int | None]:
    """The status that was in effect at ``at`` (POSIX seconds), and by when witnesses had seen it."""
    del asked, found, stream, at
    raise NotEstablished("the time of a status is not known", hint="--size N")
