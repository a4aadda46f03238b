"""Durations and moments as users type them: 90, 90s, 10m, 24h, 7d; 2026-01-31, 2026-01-31T12:00:00Z."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

import click

from teelog.errors import MalformedError

if TYPE_CHECKING:
    _Type = click.ParamType[float]
else:
    _Type = click.ParamType  # no generic before click 8.4

MAX_SECONDS = 10 * 366 * 86_400

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_UNIT = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Duration(_Type):
    """A click type; its value is seconds, above 0 and at most ten years, as float."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = _DURATION.fullmatch(str(value))
        seconds = float(match[1]) * _UNIT[match[2]] if match else 0.0
        if not 0 < seconds <= MAX_SECONDS:
            limit = ", at most ten years" if match and seconds else ""
            self.fail(f"{value} is not a duration such as 500ms, 60s, 10m, 24h or 7d{limit}", param, ctx)
        return seconds


DURATION = Duration()


def moment(_context: click.Context, _option: click.Parameter, value: str | None) -> datetime | None:
    """The callback of options that take a day, or a second as RFC 3339 in UTC."""
    if value is None:
        return None
    from teelog.statement import release

    try:
        return release.time(f"{value}T00:00:00Z" if _DAY.fullmatch(value) else value)
    except MalformedError as error:
        raise click.BadParameter(f"expected a day such as 2026-01-31, or 2026-01-31T12:00:00Z, not {value}") from error
