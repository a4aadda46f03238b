"""`teelog monitor alerts`: what a monitor has found."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from teelog.cli import output
from teelog.cli.monitor_setup import MONITOR
from teelog.cli.proof import utc
from teelog.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from teelog.witness.monitor.finding import Alert
    from teelog.witness.monitor.state import Followed, State

MAX_NUMBER = 2**63 - 1
"""Of an alert: its row's in SQLite."""


@click.command()
@MONITOR
@click.option(
    "--after", type=click.IntRange(0, MAX_NUMBER), default=0, metavar="NUMBER", help="Only those above it."
)
@click.option("--open", "only_open", is_flag=True, help="Only those that are not over.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1_000, show_default=True, metavar="N")
@click.option("--settle", type=click.IntRange(0, MAX_NUMBER), metavar="NUMBER", help="Events up to it are dealt with.")
@output.json_option
def alerts(monitor: Path, after: int, only_open: bool, limit: int, settle: int | None) -> None:
    """Show what the monitor has found, also while it runs, and how far it has looked.

    No alert means that nothing was found as far as it has looked, and no more. Conditions end by themselves; an event,
    such as a changed key, stays open until you settle it, which the next look does.

    Example: teelog monitor alerts M --after 12 --json
    """
    from teelog.witness.monitor import form, settings

    if settle is not None:
        _settle(monitor, settle)
    told = {sink.name: f"{sink.kind} {sink.target}".rstrip() for sink in settings.read(monitor).sinks}
    with reading(monitor) as state:
        followed = state.followed()
        found = list(state.ledger.alerts(after, only_open=only_open, limit=limit + 1))
        troubles = {told[name]: trouble for name, trouble in state.troubles().items() if name in told}
    more, found = len(found) > limit, found[:limit]
    lines = [line for alert in found for line in _lines(monitor, alert)]
    lines += [f"untold      {sink} since {utc(since)}: {cause}" for sink, (since, cause) in troubles.items()]
    if more:
        words = " --open" if only_open else ""
        lines.append(f"more        teelog monitor alerts {monitor}{words} --after {found[-1].number}")
    output.result([*lines, looked_line(followed)], form.listing(found, followed, troubles, more=more))


def _settle(monitor: Path, number: int) -> None:
    from teelog.witness.monitor import settings

    with reading(monitor) as state:
        newest = state.ledger.newest(1)
    if number and (not newest or newest[0].number < number):
        # What is not known yet is dealt with by nobody.
        last = newest[0].number if newest else 0
        raise ConfigError("there is no such alert yet", expected=f"at most {last}", actual=number)
    with settings.changing(monitor) as before:
        settings.write(monitor, msgspec.structs.replace(before, settled=max(before.settled, number)))
    output.note(f"the next look settles the events up to {number}")


@contextlib.contextmanager
def reading(monitor: Path) -> Iterator[State]:
    """A monitor's state, for reading while it runs. Raises ConfigError, UnavailableError."""
    import sqlite3

    from teelog.witness.monitor.folder import Folder
    from teelog.witness.monitor.state import State

    try:
        with contextlib.closing(State.open(Folder(monitor).state, writer=False)) as state:
            yield state
    except sqlite3.Error as error:
        raise UnavailableError(f"{monitor} cannot be read", actual=str(error)) from error


def _lines(monitor: Path, alert: Alert) -> list[str]:
    found = alert.finding
    over = "" if alert.cleared_at is None else f", over since {utc(alert.cleared_at)}"
    where = "" if found.index is None else f" entry {found.index}"
    about = f"{found.severity} {found.kind} {found.about or found.log}{where}{over}"
    lines = [
        f"{alert.number:<6} {utc(alert.first_at)}  {about}",
        f"       {found.text}",
    ]
    if found.evidence:
        lines.append(f"       teelog fork verify {monitor / 'evidence' / found.evidence}")
    return lines


def looked_line(followed: Followed) -> str:
    """How far the monitor has looked, for people."""
    if not followed.read_at:
        return f"looked      never yet at {followed.origin}"
    line = f"looked      at {followed.signed} entries of {followed.origin}, last read {utc(followed.read_at)}"
    if followed.mapped < followed.signed:
        line += f", judged {followed.mapped}"
    return line if followed.looked_at <= followed.read_at else f"{line}, in vain {utc(followed.looked_at)}"
