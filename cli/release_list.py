"""`teelog release list`: what a stream allows, or allowed, with all of it proven."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

import click

from teelog.cli import duration, moment, online, orphans, output, standing, statuses
from teelog.cli import policy as policies
from teelog.cli.allow import stream_type
from teelog.cli.proof import utc
from teelog.cli.standing import Asked
from teelog.errors import NotEstablished, TeelogError
from teelog.statement.names import Stream
from teelog.statement.release import Release
from teelog.statement.status import Status
from teelog.tlog.policy import WitnessedCheckpoint


@dataclass(frozen=True, slots=True)
class _Learned:
    """size: of the log, as far as was asked about. since: POSIX seconds by which witnesses had seen the status.

    as_of: up to when they vouch that it is the last one. stale: what is wrong with that. orphans: allowed releases that
    nobody takes, as their keys are removed.
    """

    status: Status | None
    known: Mapping[str, Release]
    size: int
    since: int | None
    main: WitnessedCheckpoint
    index: WitnessedCheckpoint | None
    as_of: int | None
    stale: TeelogError | None
    orphans: Collection[Release] = ()


@click.command("list")
@click.argument("stream", metavar="STREAM", callback=stream_type)
@click.option("--at", metavar="TIME", callback=duration.moment, help="As it was at 2026-01-31, or with T12:00:00Z.")
@click.option("--size", type=click.IntRange(min=0), help="As it was in the log's first so many entries.")
@standing.reading_options
@output.json_option
def command(stream: Stream, at: datetime | None, size: int | None, asked: Asked) -> None:
    """Show which releases STREAM allows now, or allowed at an earlier time or size of the log.

    Everything is proven: the status, that it was the last one, who signed it, that the releases are logged. Nothing
    allowed is an answer too (exit code 0). With --at, the witnesses' clocks tell: a status counts from when a quorum
    had seen it in the log. A log may show a later time than that, never an earlier one.

    Example: teelog release list acme.example/inference/stable --trust trust.toml
    """
    if at is not None and size is not None:
        raise click.UsageError("--at or --size, not both")
    learned = online.run(_learn(asked, stream, None if at is None else int(at.timestamp()), size))
    _report(asked, stream, learned, at, past=at is not None or size is not None)


async def _learn(asked: Asked, stream: Stream, at: int | None, size: int | None) -> _Learned:
    async with standing.standing(asked, stream.namespace) as found:
        history = found.history
        if size is not None and size > history.size:
            raise NotEstablished("the log has not so many entries yet", expected=f"at most {history.size}", actual=size)
        since = None
        status = await history.status(stream, size)
        if at is not None:
            status, since = await moment.status_at(asked, found, stream, at)
        known = await standing.known(history, stream, statuses.named([status.predicate if status else None]))
        as_of, stale = moment.check_age(asked.resting_on(found.index), found.main, found.index)
        past = size is not None or at is not None
        covered = history.size if size is None else size
        allowed = {each.release for each in status.predicate.allowed_now} if status is not None else set()
        lost: Collection[Release] = ()
        if allowed and not past:
            current = (await standing.versions(history, stream.namespace))[-1].namespace
            lost = orphans.among([each for each in known.values() if each.statement_id in allowed], current)
        return _Learned(status, known, covered, since, found.main, found.index, as_of, None if past else stale, lost)


def _report(asked: Asked, stream: Stream, learned: _Learned, at: datetime | None, *, past: bool) -> None:
    asked = asked.resting_on(learned.index)
    found = learned.status
    predicate = None if found is None else found.predicate
    judged = int(time.time()) if at is None else int(at.timestamp())
    late = predicate is not None and not past and judged > predicate.next_update_time.timestamp()
    when = f" at {utc(int(at.timestamp()))}" if at else f" in the first {learned.size} entries" if past else ""
    (output.ok if learned.stale is None else output.fail)(f"{stream}{when}: {_said(found)}")
    lines = output.columns(
        [("release", "svn", "state", "statement id"), *statuses.rows(predicate, learned.known)] if predicate else []
    )
    if found is not None and predicate is not None:
        lines += [f"withdrawn     {' '.join(row)}" for row in statuses.revoked(predicate, learned.known)]
        lines += [f"status        seq {predicate.seq}, index {found.index}, {found.statement_id}"]
        lines += [f"signed by     {keyid}" for keyid in found.signers] + statuses.terms(predicate)
    if learned.since is not None:
        lines.append(f"in effect     by {utc(learned.since)} at the latest: witnesses had seen it then")
    head = learned.main.checkpoint
    lines.append(f"log           {head.origin}, size {head.size}")
    lines.append(f"witnessed by  {policies.witnessed_by(learned.main, asked.main)}")
    lines.append(f"that is all   {standing.vouched(asked)}")
    lines += [f"as of         {utc(learned.as_of)}"] if learned.as_of is not None else []
    if late:
        output.warn(f"next_update is past: no verifier believes it any more; teelog release renew {stream}")
    orphans.warn(learned.orphans)
    output.result(
        lines,
        {
            "schema": "teelog-release-list/v1",
            "stream": str(stream),
            "at": None if at is None else int(at.timestamp()),
            "status": statuses.as_json(predicate, learned.known),
            "statement_id": None if found is None else found.statement_id,
            "index": None if found is None else found.index,
            "signers": [] if found is None else list(found.signers),
            "since": learned.since,
            "late": late,
            "without_key": sorted(each.statement_id for each in learned.orphans),
            "as_of": learned.as_of,
            "stale": learned.stale is not None,
            "log": head.origin,
            "size": learned.size,
            "root": head.root,
            "witnesses": policies.cosigners(learned.main, asked.main),
            "by_index": asked.index is not None,
        },
    )
    if learned.stale is not None:
        raise learned.stale


def _said(found: Status | None) -> str:
    if found is None:
        return "nothing is allowed, it has no status"
    if found.predicate.is_closed:
        successor = found.predicate.successor
        return "nothing is allowed, it is closed on this log" + (f" and goes on at {successor}" if successor else "")
    count = len(found.predicate.allowed_now)
    return f"{count or 'no'} release{'' if count == 1 else 's'} allowed"
