"""`teelog witness pull-logs`: what a published list of logs adds to a witness."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from teelog.cli import output
from teelog.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from teelog.witness.list_plan import Bounds, Plan

SHOWN = 20  # logs named without --json


def pull(witness: Path, source: str | None, *, dry_run: bool, max_logs: int, max_per_day: int, local: bool) -> None:
    """Applies one list, or those of the witness's configuration, and reports each."""
    from teelog.witness import admin, list_plan, list_puller
    from teelog.witness.list_plan import Bounds

    lines: list[str] = []
    found: list[dict[str, Any]] = []
    for where, bounds, near in _sources(witness, source, Bounds(max_logs, max_per_day), local):
        data = _read(where, near)
        list_plan.parse(data)  # what is malformed is told as such before anybody else sees it
        plan = admin.pull(witness, admin.PullLogs(list_puller.text(data), bounds, dry_run))
        lines += _lines(where, plan, dry_run)
        found.append(_object(where, plan))
    output.result(lines, {"schema": "teelog-witness-pull/v1", "dry_run": dry_run, "lists": found})


def _sources(witness: Path, source: str | None, bounds: Bounds, local: bool) -> list[tuple[str, Bounds, bool]]:
    from teelog.witness import directory

    config = directory.load_config(witness)
    if source is not None:
        return [(source, bounds, local)]
    if not config.lists:
        raise ConfigError(
            f"{witness / directory.CONFIG} names no list",
            expected="[[list]] with its url",
            hint=f"teelog witness pull-logs {witness} URL",
        )
    return [(one.url, one.bounds, one.local) for one in config.lists]


def _read(source: str, local: bool) -> bytes:
    from teelog.client.source import is_url
    from teelog.witness import list_plan, list_puller

    if is_url(source):
        with output.progress("reading the list"):
            return asyncio.run(list_puller.fetch(source, local=local))
    try:
        with Path(source).open("rb") as file:
            return file.read(list_plan.MAX_LIST + 1)
    except OSError as error:
        raise UnavailableError(f"cannot read {source}", actual=error.strerror) from error


def _lines(where: str, plan: Plan, dry_run: bool) -> list[str]:
    word = "would be added" if dry_run else "added"
    lines = [f"{where}: {len(plan.add)} {word}, {plan.known} known already, {len(plan.skipped)} skipped"]
    lines += [f"  + {one.origin}  {one.per_day} a day" for one in plan.add[:SHOWN]]
    if len(plan.add) > SHOWN:
        lines.append(f"  and {len(plan.add) - SHOWN} more (--json has all)")
    lines += [f"  - line {one.line}: {one.name[:80]}: {one.why}" for one in plan.skipped[:SHOWN]]
    if plan.other_quota:
        lines.append(f"  {plan.other_quota} known ones have another quota here; it stays")
    return lines


def _object(where: str, plan: Plan) -> dict[str, Any]:
    return {
        "source": where,
        "added": [
            {"log": one.origin, "vkeys": list(one.vkeys), "per_day": one.per_day, "contact": one.contact}
            for one in plan.add
        ],
        "known": plan.known,
        "other_quota": plan.other_quota,
        "skipped": [{"line": one.line, "log": one.name, "why": one.why} for one in plan.skipped],
    }
