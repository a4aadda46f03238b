"""What a user says of a new status: the options of `teelog release allow`, `withdraw` and `renew`."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from teelog.cli.duration import DURATION
from teelog.statement import status

Command = TypeVar("Command", bound=Callable[..., Any])

MAX_AGE = 86_400  # seconds, of a stream's first status
NEXT_UPDATE = 28 * 86_400.0  # seconds ahead; verifiers take 30 days

_GRACE = re.compile(r"(.+)=([^=]+)", re.DOTALL)


def grace_type(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    found = {}
    for value in values:
        match = _GRACE.fullmatch(value)
        if match is None:
            raise click.BadParameter("expected RELEASE=DURATION, such as 1.4.1=72h")
        found[match[1]] = DURATION.convert(match[2], option, context)
    return found


def cause_type(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if not 1 <= len(value) <= status.MAX_TEXT:
        raise click.BadParameter(f"expected 1 to {status.MAX_TEXT} characters")
    return value


@dataclass(frozen=True, slots=True)
class Said:
    """What a user says of the new status beside the set. max_age_s None: as before."""

    keys: tuple[str, ...]
    reason: str
    max_age_s: int | None
    next_update: float
    dry_run: bool
    out: str | None

    @property
    def nothing_else(self) -> bool:
        """Whether nothing is asked for but the set."""
        return not self.reason and self.max_age_s is None and self.next_update == NEXT_UPDATE


def options(command: Command) -> Command:
    """Gives a command the options of a new status; its parameter is ``said``."""

    @functools.wraps(command)
    def packed(
        *args: Any,
        keys: tuple[str, ...],
        reason: str,
        max_age: float | None,
        next_update: float,
        dry_run: bool,
        out: str | None,
        **rest: Any,
    ) -> Any:
        age = None if max_age is None else max(1, int(max_age))
        return command(*args, said=Said(keys, reason, age, next_update, dry_run, out), **rest)

    made: Any = packed
    for option in reversed(
        (
            click.option("--key", "keys", metavar="KEYREF", multiple=True, required=True, help="Signs; repeatable."),
            click.option("--reason", metavar="TEXT", default="", help="For people; it is logged."),
            click.option("--max-age", type=DURATION, help="Oldest view that counts as now.  [default: as before, 24h]"),
            click.option(
                "--next-update", type=DURATION, default=NEXT_UPDATE, help="Believed for so long.  [default: 28d]"
            ),
            click.option("--dry-run", is_flag=True, help="Show what would change; publish nothing."),
            click.option("--out", metavar="FILE", help="Where the signed status goes too."),
        )
    ):
        made = option(made)
    return made  # type: ignore[no-any-return]
