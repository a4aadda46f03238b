"""Moments: how a user types one, and what was in effect then."""

from __future__ import annotations

import re
from datetime import datetime

import click

from teelog.cli.standing import Asked, Standing
from teelog.errors import MalformedError, NotEstablished
from teelog.statement import release
from teelog.statement.names import Stream
from teelog.statement.status import Status

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def callback(_context: click.Context, _option: click.Parameter, value: str | None) -> datetime | None:
    """Of options that take a day, or a second as RFC 3339 in UTC."""
    if value is None:
        return None
    try:
        return release.time(f"{value}T00:00:00Z" if _DAY.fullmatch(value) else value)
    except MalformedError as error:
        raise click.BadParameter(str(error)) from error


async def status_at(asked: Asked, found: Standing, stream: Stream, at: int) -> tuple[Status | None, int | None]:
    """The status that was in effect at ``at`` (POSIX seconds), and by when witnesses had seen it."""
    del asked, found, stream, at
    raise NotEstablished("the time of a status is not known", hint="--size N")
