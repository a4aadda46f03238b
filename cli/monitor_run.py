"""`teelog monitor run`: look, tell, wait."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from teelog.cli import output
from teelog.cli.duration import DURATION
from teelog.cli.monitor_alerts import looked_line
from teelog.cli.monitor_setup import MONITOR
from teelog.errors import MisbehaviourError, TeelogError, UnavailableError, VerificationError

if TYPE_CHECKING:
    from teelog.listen import Address
    from teelog.witness.monitor.looked import Look
    from teelog.witness.monitor.settings import Settings, SinkSettings


@click.command()
@MONITOR
@click.option("--interval", type=DURATION, default="60s", show_default=True, help="Between two looks.")
@click.option("--polls", type=click.IntRange(min=1), metavar="N", help="End after so many looks.  [default: never]")
@click.option("--listen", metavar="HOST:PORT", help="Serve the feed, alerts, metrics and health there.")
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="A name under which it is asked, too. Repeatable.")
@output.json_option
def run(monitor: Path, interval: float, polls: int | None, listen: str | None, hosts: tuple[str, ...]) -> None:
    """Follow the log from where the last run ended, and tell of what is found, until stopped.

    It may be killed at any moment and started again: nothing is lost, nothing is found twice. With --polls it ends
    after so many looks, with exit code 5 where the log provably misbehaved, 1 with open alerts, 4 where nothing
    else is open than that the log, a mirror or a witness could not be read.

    Example: teelog monitor run M --interval 60s --listen 127.0.0.1:6990
    """
    from teelog.listen import parse_address
    from teelog.witness.monitor.folder import Folder
    from teelog.witness.monitor.serve import serve

    where = None if listen is None else parse_address(listen)
    with output.progress("looking at the log") as step:

        def progress(what: str, count: int) -> None:
            step(count, f"entries {what}")

        last = serve(
            Folder(monitor),
            interval,
            polls,
            where,
            frozenset(hosts),
            said=_said if polls is None else _found,
            ready=_ready,
            changed=_changed,
            progress=progress,
        )
    if last is None:
        return
    lines = [looked_line(last.followed)]
    problem = _problem(monitor, last)
    output.result(lines, _json(last))
    if problem is not None:
        raise problem


def _ready(address: Address | None) -> None:
    if address is not None:
        output.note(f"listening on {address}")
    else:
        output.note("looking")


def _changed(before: Settings, after: Settings) -> None:
    """What somebody has set meanwhile. Of a webhook its name alone: its path may be a secret."""
    for name in ("watched", "sinks", "mirrors"):
        old, new = ([_word(each) for each in getattr(each, name)] for each in (before, after))
        for sign, words in (("+", [word for word in new if word not in old]), ("-", [w for w in old if w not in new])):
            for word in words:
                output.note(f"settings: {sign} {name} {word}")
    for name in ("place", "known", "settled", "ahead", "max_age", "behind", "policy", "index_policy"):
        if getattr(before, name) != getattr(after, name):
            shown = "changed" if name.endswith("policy") else str(getattr(after, name))
            output.note(f"settings: {name} {shown}")


def _word(each: str | tuple[str, str] | SinkSettings) -> str:
    if isinstance(each, str):
        return each
    return " ".join(each).rstrip() if isinstance(each, tuple) else each.name


def _said(seen: Look | TeelogError) -> None:
    _found(seen)
    if not isinstance(seen, TeelogError):
        output.note(looked_line(seen.followed).replace("looked      ", "looked "))


def _found(seen: Look | TeelogError) -> None:
    if isinstance(seen, TeelogError):
        output.warn(f"no look could be made: {seen}")
        return
    for finding in seen.events:
        where = "" if finding.index is None else f" entry {finding.index}"
        output.fail(f"{finding.severity} {finding.kind} {finding.about or finding.log}{where}: {finding.text}")
    for trouble in seen.troubles:
        output.warn(trouble)


def _problem(monitor: Path, last: Look) -> TeelogError | None:
    hint = f"teelog monitor alerts {monitor} --open"
    for alert in last.open_alerts:
        if alert.finding.severity == "crime":
            return MisbehaviourError(alert.finding.text, hint=hint)
    worse = [alert for alert in last.open_alerts if alert.finding.severity == "alert"]
    unread = [alert for alert in worse if alert.finding.kind == "unreachable"]
    if len(worse) > len(unread):
        first = next(alert for alert in worse if alert not in unread).finding
        count = f"{len(worse)} open alert{'' if len(worse) == 1 else 's'}"
        return VerificationError(
            count, actual=f"{first.kind}: {first.text}", hint=hint
        )
    if unread:
        return UnavailableError("not all could be looked at", actual=unread[0].finding.text, hint=hint)
    return None


def _json(last: Look) -> dict[str, object]:
    from teelog.witness.monitor import form

    return {
        "schema": "teelog-monitor-run/v1",
        "looked": form.looked(last.followed),
        "views": [
            {
                "role": view.place.role.value,
                "name": view.place.name,
                "size": None if view.seen is None else view.checkpoint.size,
                "trouble": None if view.trouble is None else str(view.trouble),
            }
            for view in last.views
        ],
        "alerts": [form.document(alert, last.followed) for alert in last.open_alerts],
    }
