"""`teelog monitor once`: one look at a whole log, of which nothing is kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from teelog.cli import files, online, output, standing
from teelog.cli import policy as policies
from teelog.cli.duration import DURATION
from teelog.cli.proof import utc
from teelog.errors import (
    MalformedError,
    MisbehaviourError,
    TeelogError,
    UnavailableError,
    VerificationError,
)
from teelog.statement import names
from teelog.tlog.fork import ForkProof

if TYPE_CHECKING:
    from teelog.client.source import TileSource
    from teelog.client.state import ClientState
    from teelog.tlog.policy import WitnessedCheckpoint
    from teelog.witness.index_look import Crime
    from teelog.witness.monitor_once import Question, Report

MAX_KNOWN = 64 << 20  # bytes of a list of statement ids
FAULT_SUFFIX = ".teelog-index-fault"


def _names(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(names.namespace(value) for value in values)
    except MalformedError as error:
        raise click.BadParameter(f"{error.message}, expected {error.expected}") from error


@click.command()
@click.argument("place", metavar="LOG|URL")
@policies.policy_option
@click.option(
    "--index-policy",
    "index_file",
    metavar="FILE",
    envvar="TEELOG_INDEX_POLICY",
    show_envvar=True,
    help="Of the log's index, which is rebuilt.",
)
@click.option(
    "--namespace",
    "namespaces",
    multiple=True,
    metavar="NAME",
    callback=_names,
    help="Alert on what concerns it. Repeatable.",
)
@click.option("--known", "known_file", metavar="FILE", help="Statement ids to expect, one a line.")
@click.option(
    "--ahead", type=DURATION, default="24h", show_default=True, help="Alert so long before a status goes stale."
)
@click.option("--max-age", type=DURATION, metavar="DURATION", help="Fail if no quorum of cosignatures is newer.")
@online.state_option
@output.json_option
def once(
    place: str,
    policy_file: str,
    index_file: str | None,
    namespaces: tuple[str, ...],
    known_file: str | None,
    ahead: float,
    max_age: float | None,
    state_folder: Path | None,
) -> None:
    """Replay a whole log from its tiles: ours, or any tiled log.

    Every entry is hashed again; the tree is compared with what was seen before and with what the policy's witnesses
    saw. With --index-policy every leaf of the log's index is checked against the index rebuilt from the entries. With
    --namespace, whatever changes the vendor's keys, has no effect, was not expected or goes stale is an alert.

    Exit code 5, and a proof, where the log misbehaved; 1 where something does not verify, or with alerts.

    Example: teelog monitor once https://log.example/tee --policy main.policy --namespace acme.example
    """
    from teelog.witness.monitor_once import Question, look

    if known_file is not None and not namespaces:
        raise click.UsageError("--known goes with --namespace NAME")
    policy = policies.load(policy_file)
    policies.warn_if_unwitnessed(policy)
    index_policy = None if index_file is None else policies.load(index_file)
    if index_policy is not None:
        standing.must_belong(policy, index_policy)
    question = Question(
        place,
        policy,
        index_policy,
        frozenset(namespaces),
        None if known_file is None else _known(known_file),
        int(time.time()),
        ahead,
        max_age,
    )
    state = online.open_state(state_folder)

    async def remember(seen: WitnessedCheckpoint, source: TileSource) -> str | None:
        from teelog.client.log import prover

        return await state.observe(seen, prover(source))

    with output.progress("looking at the log") as step:
        done: dict[str, int] = {}

        def progress(what: str, count: int) -> None:
            done[what] = done.get(what, 0) + count
            step(count, ", ".join(f"{number} entries {each}" for each, number in done.items()))

        report = online.run(look(question, remember, progress))
    kept = [(crime, _keep(state, report, crime)) for crime in report.crimes]
    problem = _problem(report, kept)
    _show(report, question, kept, whole=problem is None)
    if problem is not None:
        raise problem


def _known(path: str) -> frozenset[str]:
    from teelog.witness.monitor import known

    return known.parse_list(files.read(path, MAX_KNOWN, "list of statement ids"), path)


def _keep(state: ClientState, report: Report, crime: Crime) -> Path | None:
    from teelog.client.state import FORK_SUFFIX

    if crime.proof is None:
        return None
    suffix = FORK_SUFFIX if isinstance(crime.proof, ForkProof) else FAULT_SUFFIX
    return state.keep_evidence(report.main.checkpoint.origin, crime.proof.encode(), suffix)


def _problem(report: Report, kept: Sequence[tuple[Crime, Path | None]]) -> TeelogError | None:
    """The worst that was found, None if all is well."""
    if kept:
        crime, path = kept[0]
        hint = None if path is None else f"teelog fork verify {path}"
        return MisbehaviourError(crime.text, actual=f"{len(kept)} findings" if len(kept) > 1 else None, hint=hint)
    if report.failures:
        return VerificationError("the log does not verify", actual=report.failures[0])
    watched = [alert for alert in report.alerts if alert.about or report.watched]
    if watched:
        count = f"{len(watched)} alert{'' if len(watched) == 1 else 's'}"
        return VerificationError(count, actual=f"{watched[0].kind}: {watched[0].text}")
    return UnavailableError("not all could be looked at", actual=report.troubles[0]) if report.troubles else None


def _show(report: Report, question: Question, kept: Sequence[tuple[Crime, Path | None]], *, whole: bool) -> None:
    head = report.main.checkpoint
    for crime, path in kept:
        output.fail(crime.text if path is None else f"{crime.text}: proof in {path}")
    for failure in report.failures:
        output.fail(failure)
    for alert in report.alerts:
        where = "" if alert.index is None else f" entry {alert.index}"
        output.fail(f"{alert.kind} {alert.about or head.origin}{where}: {alert.text}")
    for trouble in report.troubles:
        output.warn(trouble)
    if whole:
        output.ok(f"{head.origin} is whole, as far as was looked")
    output.result(_lines(report), _json(report, question, kept))


def _lines(report: Report) -> list[str]:
    head, replay, index = report.main.checkpoint, report.replay, report.index
    hashed = "none" if replay is None else f"{replay.size} of {head.size}, {replay.tiles} tiles compared"
    lines = [f"entries     {hashed}", f"root        {head.root.hex()}"]
    if report.main.cosigned is not None:
        lines.append(f"cosigned    {utc(report.main.cosigned)}")
    if index is not None:
        right = f"{report.leaves} of {index.checkpoint.size} leaves"
        lines.append(f"index       {right} right, the last of {report.input_size} entries")
    if report.mapped:
        lines.append(f"mapped      {report.mapped} entries")
    return lines + [f"witness     {view.witness}: {_view(view.size)}{view.said}" for view in report.vantage]


def _view(size: int | None) -> str:
    return "not asked, " if size is None else f"size {size}, "


def _json(report: Report, question: Question, kept: Sequence[tuple[Crime, Path | None]]) -> dict[str, Any]:
    head, replay, index = report.main.checkpoint, report.replay, report.index
    return {
        "schema": "teelog-monitor/v1",
        "ok": not (report.crimes or report.failures or report.troubles or report.alerts),
        "log": head.origin,
        "size": head.size,
        "root": head.root,
        "cosigned": report.main.cosigned,
        "entries": 0 if replay is None else replay.size,
        "tiles": 0 if replay is None else replay.tiles,
        "mapped": report.mapped,
        "index": None
        if index is None
        else {
            "log": index.checkpoint.origin,
            "size": index.checkpoint.size,
            "leaves": report.leaves,
            "input_size": report.input_size,
            "cosigned": index.cosigned,
        },
        "witnesses": [{"witness": view.witness, "size": view.size, "said": view.said} for view in report.vantage],
        "namespaces": sorted(question.namespaces),
        "misbehaviour": [{"text": crime.text, "proof": path} for crime, path in kept],
        "failures": report.failures,
        "alerts": [
            {
                "alert": alert.kind.value,
                "namespace": alert.about.partition("/")[0] or None,
                "about": alert.about,
                "index": alert.index,
                "text": alert.text,
            }
            for alert in report.alerts
        ],
        "troubles": report.troubles,
    }
