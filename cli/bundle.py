"""`teelog bundle`: the one file that shows, offline, what is allowed now: get, show and refresh it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teelog import bundle as bundles
from teelog.appraisal.api import MAX_TIME, appraise
from teelog.appraisal.inputs import Expect
from teelog.bundle import Bundle
from teelog.cli import bundle_file, bundle_refresh, findings, memory, online, output, standing, statements, statuses
from teelog.cli import policy as policies
from teelog.cli import trust as trusts
from teelog.cli.allow import stream_type
from teelog.cli.proof import utc
from teelog.errors import MalformedError
from teelog.statement import draft
from teelog.statement.names import Stream
from teelog.statement.status import StatusPredicate
from teelog.tlog import note
from teelog.tlog.checkpoint import Checkpoint, parse_body
from teelog.trust import Trust
from teelog.verdict import OF_EVIDENCE, Outcome, Verdict

if TYPE_CHECKING:
    from teelog.client.bundle import Shown


@click.group()
def group() -> None:
    """Get, show and refresh bundles (.teelog): the proof that a release is allowed now, in one file."""


group.add_command(bundle_refresh.command)


# -- get --------------------------------------------------------------------------------------------------------------


@group.command()
@click.argument("stream", metavar="STREAM", callback=stream_type)
@click.option("--release", metavar="RELEASE", help="File, statement id or version.  [default: the one that is allowed]")
@trusts.trust_option
@click.option("--out", metavar="FILE", required=True, help="Where the bundle goes.")
@click.option("--withdrawn", is_flag=True, help="Write it too where the release is not allowed: it says why.")
@online.url_option
@online.mirror_option
@online.timeout_option
@online.state_option
@output.json_option
def get(
    stream: Stream,
    release: str | None,
    trust_file: str,
    out: str,
    withdrawn: bool,
    url: str | None,
    mirrors: tuple[str, ...],
    timeout: float,
    state_folder: Path | None,
) -> None:
    """Get the bundle of a release of STREAM from the log, and write it once any verifier with this trust file takes it.

    Example: teelog bundle get acme.example/inference/stable --trust trust.toml --out acme.teelog
    """
    trust = trusts.load(trust_file)
    state = online.open_state(state_folder)
    seen = memory.recall(state, trust)
    place = policies.place_of(trust.main, url, mirrors)
    wanted = None if release is None else standing.wanted(release)
    if wanted is not None:
        standing.stream_of([wanted], stream)
    found = online.run(bundle_refresh.fetch(place, trust, stream, wanted, seen, state, timeout, mirrors=mirrors))
    shown = found.shown
    refused = shown.refused
    if refused is not None and not (withdrawn and shown.withdrawn):
        raise refused
    output.write_file(out, shown.file)
    bundle_refresh.remember(state, trust, seen, found)
    bundle_refresh.tell(found)
    if out != output.STDOUT:
        _report(shown, out, trust, ended=found.ended is not None)
    if refused is not None:
        raise refused


def _report(shown: Shown, out: str, trust: Trust, *, ended: bool) -> None:
    bundle, refused, length = shown.bundle, shown.refused, len(shown.file)
    if refused is None:
        output.ok(f"bundle of {_describe(bundle)}: allowed now")
    else:
        output.fail(f"bundle of {_describe(bundle)}: {refused.message}")
    until = bundle_refresh.holds_until(shown, trust)
    holds = [] if until is None else [f"holds         until {utc(until)}"]
    output.result(
        [*lines(bundle), *holds, f"bundle        {out}, {length} bytes"],
        {**as_json(bundle, length), "file": out, "allowed": refused is None, "ended": ended, "until": until},
    )


# -- show -------------------------------------------------------------------------------------------------------------


@group.command()
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--trust", "trust_file", metavar="FILE", help="Judge it too, by this trust file.")
@output.json_option
def show(file: str, trust_file: str | None) -> None:
    """Show what is in the bundle FILE. Opens no socket. Without --trust nothing is verified.

    With --trust the checks that need no evidence are made, as `teelog verify` makes them.

    Example: teelog bundle show acme.teelog --trust trust.toml
    """
    data = bundle_file.read(file)
    parsed = bundles.parse(data)
    verdict = None
    if trust_file is not None:
        trust = trusts.load(trust_file)
        expect = Expect(_predicate(parsed).stream)
        verdict = appraise(
            evidence=None,
            bundle=data,
            trust=trust,
            expect=expect,
            now=int(time.time()),
            without=OF_EVIDENCE,
        )
        bad = findings.failing(verdict)
        said = f"bundle of {_describe(parsed)}"
        (output.ok if verdict_is_good(verdict) else output.fail)(said if bad is None else f"{said}: {bad}")
    shown = (
        [] if verdict is None else findings.lines(each for each in verdict.findings if each.check not in OF_EVIDENCE)
    )
    output.result(
        [*lines(parsed), f"length        {len(data)} bytes", *(shown or ["nothing is verified here: --trust FILE"])],
        {
            **as_json(parsed, len(data)),
            "file": file,
            "verified": verdict is not None and verdict_is_good(verdict),
            "checks": None if verdict is None else findings.as_json(verdict.findings),
        },
    )
    if verdict is not None:
        findings.check(verdict, historical=False)


def verdict_is_good(verdict: Verdict) -> bool:
    """Nothing failed, nothing is open."""
    return all(each.outcome in (Outcome.VERIFIED, Outcome.OFF) for each in verdict.findings)


def _predicate(bundle: Bundle) -> StatusPredicate:
    claim = draft.read(bundle.status.entry).statement.claim
    if not isinstance(claim, StatusPredicate):
        raise MalformedError("the bundle's status is another statement")
    return claim


def _describe(bundle: Bundle) -> str:
    return statements.describe(draft.read(bundle.release.entry))


def lines(bundle: Bundle) -> list[str]:
    """What a bundle holds, as it claims."""
    predicate = _predicate(bundle)
    release = draft.read(bundle.release.entry)
    heads = (_head(bundle.main_checkpoint), _head(bundle.index_checkpoint))
    made = [f"release       {statements.describe(release)}, index {bundle.release.index}"]
    made += [f"statement id  {release.statement_id}"]
    made += [f"status        seq {predicate.seq}, index {bundle.status.index}: {_standing(bundle, predicate)}"]
    made += statuses.terms(predicate)
    for place, each in enumerate(bundle.namespaces):
        made.append(
            f"namespace     {statements.describe(draft.read(each.entry))}, index {each.index}" + _last(place, bundle)
        )
    for name, (head, cosigners) in zip(("log", "its index"), heads, strict=True):
        made.append(f"{name:<14}{head.origin}, size {head.size}, root {head.root.hex()}")
        # A witness signs with several keys; by name and time it is one.
        once = dict.fromkeys(cosigners)
        made += [f"  cosigned    {who}{f' {utc(when)}' if when else ''}" for who, when in once]
    return made


def _head(checkpoint: bytes) -> tuple[Checkpoint, list[tuple[str, int | None]]]:
    """What a checkpoint says, and whose lines it has with the times that they claim."""
    unverified = note.parse(checkpoint)
    head = parse_body(unverified.claimed_text())
    lines_ = [line for line in unverified.signatures if line.name != head.origin]
    return head, [(line.name, _claimed_time(line.blob)) for line in lines_]


def _claimed_time(blob: bytes) -> int | None:
    seconds = int.from_bytes(blob[:8], "big")
    return seconds if 0 < seconds <= MAX_TIME else None


def _last(place: int, bundle: Bundle) -> str:
    return ", the current one" if place == len(bundle.namespaces) - 1 else ""


def _standing(bundle: Bundle, predicate: StatusPredicate) -> str:
    statement_id = draft.read(bundle.release.entry).statement_id
    for each in predicate.allowed_now:
        if each.release == statement_id:
            return "allows it" if each.until is None else f"allows it until {each.until}"
    causes = [each.cause for each in predicate.revoked if each.release == statement_id]
    return f"withdrawn: {output.safe(causes[0], 200)}" if causes else "does not allow it"


def as_json(bundle: Bundle, length: int) -> dict[str, object]:
    """What a bundle holds, as ``teelog-bundle-content/v1``."""
    predicate = _predicate(bundle)
    release = draft.read(bundle.release.entry)
    main, main_by = _head(bundle.main_checkpoint)
    index, index_by = _head(bundle.index_checkpoint)
    return {
        "schema": "teelog-bundle-content/v1",
        "stream": predicate.stream,
        "release": release.statement_id,
        "release_index": bundle.release.index,
        "status": statuses.as_json(predicate, {}),
        "status_index": bundle.status.index,
        "namespaces": [draft.read(each.entry).statement_id for each in bundle.namespaces],
        "log": main.origin,
        "size": main.size,
        "index_size": index.size,
        "cosigned": [{"name": who, "time": when} for who, when in main_by],
        "index_cosigned": [{"name": who, "time": when} for who, when in index_by],
        "length": length,
    }
