"""`teelog release allow`, `withdraw` and `renew`: the next status of a stream, made, shown, signed and published."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from teelog.cli import binding, keyref, online, orphans, output, publish, standing, statements, statuses
from teelog.cli import policy as policies
from teelog.cli import said as said_
from teelog.cli.binding import Bound
from teelog.cli.proof import utc
from teelog.cli.said import Said
from teelog.cli.standing import Asked, Wanted
from teelog.errors import MalformedError, NotEstablished, RefusedError, UntrustedKey
from teelog.statement import chain, draft, names, status
from teelog.statement.chain import Last, Terms
from teelog.statement.draft import Draft
from teelog.statement.names import Stream
from teelog.statement.namespace import Namespace, Role
from teelog.statement.release import Release
from teelog.statement.status import Status, StatusPredicate

if TYPE_CHECKING:
    from teelog.client.publish import Published

SCHEMA = "teelog-status-change/v1"


def stream_type(_context: click.Context, _option: click.Parameter, value: str | None) -> Stream | None:
    """Callback of options and arguments that name a stream."""
    if value is None:
        return None
    try:
        return names.stream(value)
    except MalformedError as error:
        raise click.BadParameter(str(error)) from error


_stream_option = click.option(
    "--stream", metavar="S", callback=stream_type, help="Of a RELEASE that is named by its statement id or version."
)


# -- the commands -----------------------------------------------------------------------------------------------------


@click.command("allow")
@click.argument("releases", metavar="RELEASE...", nargs=-1, required=True)
@_stream_option
@click.option("--replace", is_flag=True, help="Allow these alone; else what was allowed stays.")
@click.option(
    "--grace", metavar="RELEASE=TIME", multiple=True, callback=said_.grace_type, help="Goes after this; repeatable."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@said_.options
@standing.options
@output.json_option
def allow(
    releases: tuple[str, ...],
    stream: Stream | None,
    replace: bool,
    grace: dict[str, float],
    yes: bool,
    said: Said,
    asked: Asked,
) -> None:
    """Allow releases that are logged, by a new status of their stream. What was allowed stays, unless --replace.

    The set before and after is shown first; where it is that set already, nothing is published: `teelog release renew`
    says it for longer. RELEASE is a file, a statement id or STREAM@VERSION. Where several keys
    have to sign, and lie elsewhere: --dry-run --out status.json, then `teelog sign` and `teelog release publish`.

    Example: teelog release allow release.json --key acme-status.key --policy policy.txt --grace 1.4.1=72h
    """
    named = [standing.wanted(text) for text in releases]
    late = {standing.wanted(text): seconds for text, seconds in grace.items()}
    wanted_stream = standing.stream_of([*named, *late], stream)

    def plan(last: Last, terms: Terms, chosen: Mapping[Wanted, Release]) -> StatusPredicate | None:
        now = datetime.now(UTC)
        until = {chosen[each].statement_id: now + timedelta(seconds=seconds) for each, seconds in late.items()}
        after = chain.allow(last, [chosen[each].statement_id for each in named], terms, only=replace, grace=until)
        return None if said.nothing_else and _same(last.predicate, after, now) else after

    _change(asked, wanted_stream, [*named, *late], plan, said, "they are allowed", ask=not yes)


def _same(before: StatusPredicate | None, after: StatusPredicate, now: datetime) -> bool:
    """Whether what is believed now says the same, its end apart."""
    if before is None or before.next_update_time <= now:
        return False
    return set(before.allowed_now) == set(after.allowed_now) and set(before.revoked) == set(after.revoked)


@click.command("withdraw")
@click.argument("releases", metavar="RELEASE...", nargs=-1, required=True)
@_stream_option
@click.option(
    "--cause", metavar="TEXT", required=True, callback=said_.cause_type, help="Such as CVE-2026-1234; it is logged."
)
@click.option("--no-wait", is_flag=True, help="Do not wait until the log's index covers it.")
@said_.options
@standing.options
@output.json_option
def withdraw(
    releases: tuple[str, ...], stream: Stream | None, cause: str, no_wait: bool, said: Said, asked: Asked
) -> None:
    """Withdraw releases, by a new status of their stream; say when that binds every verifier.

    Returns when a published checkpoint of the log's index covers it: from then on, nobody who asks is told otherwise,
    and what was fetched before goes stale. Withdrawing again publishes nothing more and waits again.

    Example: teelog release withdraw acme.example/inference/stable@1.4.1 --cause CVE-2026-1234 --key acme-status.key
    --trust trust.toml
    """
    named = [standing.wanted(text) for text in releases]
    wanted_stream = standing.stream_of(named, stream)

    def plan(last: Last, terms: Terms, chosen: Mapping[Wanted, Release]) -> StatusPredicate | None:
        if last.predicate is None:
            raise RefusedError(f"{wanted_stream} has no status: nothing is allowed", expected="an allowed release")
        gone = {each.statement_id: cause for each in chosen.values()}
        if not {each.release for each in last.predicate.allowed_now} & gone.keys():
            return None  # withdrawn before
        return chain.withdraw(last, gone, terms)

    _change(asked, wanted_stream, named, plan, said, "none of these is allowed", wait=not no_wait)


@click.command("renew")
@click.argument("stream", metavar="STREAM", callback=stream_type)
@said_.options
@standing.options
@output.json_option
def renew(stream: Stream, said: Said, asked: Asked) -> None:
    """Say again what is allowed in STREAM, before its status is too old to be believed.

    Example: teelog release renew acme.example/inference/stable --key acme-status.key --policy policy.txt
    """

    def plan(last: Last, terms: Terms, _chosen: Mapping[Wanted, Release]) -> StatusPredicate:
        if last.predicate is None:
            raise RefusedError(f"{stream} has no status: nothing is allowed", hint="teelog release allow RELEASE")
        return chain.renew(last, terms)

    _change(asked, stream, [], plan, said, "")


# -- the way of every change ------------------------------------------------------------------------------------------

Plan = Callable[[Last, Terms, Mapping[Wanted, Release]], StatusPredicate | None]
"""The next status from the last one; None where nothing has to change."""


@dataclass(frozen=True, slots=True)
class _Learned:
    """What is in effect. known: the releases that any of it names, by statement id. size: of the log then."""

    namespace: Namespace
    before: Status | None
    chosen: Mapping[Wanted, Release]
    known: Mapping[str, Release]
    size: int


def _change(
    asked: Asked,
    stream: Stream,
    named: Sequence[Wanted],
    plan: Plan,
    said: Said,
    already: str,
    *,
    ask: bool = False,
    wait: bool = False,
) -> None:
    # All keys first: a wrong one is told before anything is asked.
    signers = [keyref.load_signer(ref) for ref in said.keys]
    learned = online.run(_learn(asked, stream, named))
    before = learned.before
    after = plan(_last(stream, asked, before), _new_terms(said, before), learned.chosen)
    if after is None:
        _stays(asked, stream, learned, already, wait)
        return
    _show(stream, before, after, learned.known)
    orphans.warn_of_allowed({each.release for each in after.allowed_now}, learned.known.values(), learned.namespace)
    signed = draft.sign(draft.read(status.payload(after)), signers)
    complete = _check(signed, learned.namespace, said)
    if said.out is not None:
        statements.write_new(said.out, signed)
    if said.dry_run or not complete:
        output.note("nothing is published")
        _report(asked, learned, after, signed, None, None, said)
        return
    if ask:
        _confirm()
    published = _publish(asked, signed)
    output.ok(f"{statements.describe(signed)} is {'published' if published.new else 'published already'}")
    asks = wait and asked.index is not None
    bound = binding.wait(asked, stream, published.inclusion.index) if asks else None
    _report(asked, learned, after, signed, published, bound, said)
    _must_be_known(wait, bound)


async def _learn(asked: Asked, stream: Stream, named: Sequence[Wanted]) -> _Learned:
    async with standing.standing(asked, stream.namespace, complete=True) as found:
        history = found.history
        versions = await standing.versions(history, stream.namespace)
        before = await history.status(stream)
        chosen = dict(zip(named, await standing.resolve(history, stream, named), strict=True))
        known = {each.statement_id: each for each in chosen.values()}
        known |= await standing.known(
            history, stream, statuses.named([before.predicate if before else None]) - set(known)
        )
        return _Learned(versions[-1].namespace, before, chosen, known, history.size)


def _last(stream: Stream, asked: Asked, before: Status | None) -> Last:
    return Last(stream, asked.origin) if before is None else Last.of(before)


def _new_terms(said: Said, before: Status | None) -> Terms:
    age = said.max_age_s or (said_.MAX_AGE if before is None else before.predicate.max_age_s)
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=said.next_update)
    return Terms(said.reason, age, until)


def _show(stream: Stream, before: Status | None, after: StatusPredicate, known: Mapping[str, Release]) -> None:
    """What changes, for whoever has to agree to it."""
    was = "no status" if before is None else f"seq {before.predicate.seq}"
    output.note(f"{stream}: {was} -> seq {after.seq}")
    for line in statuses.changes(before.predicate if before else None, after, known) + statuses.terms(after):
        output.note(line)


def _check(signed: Draft, namespace: Namespace, said: Said) -> bool:
    """Whether the signatures are enough. Raises UntrustedKey for a key that the namespace does not give the role."""
    assert signed.envelope is not None
    try:
        status.verify(signed.envelope, namespace)
    except UntrustedKey as error:
        if not said.dry_run:
            hint = f"teelog namespace show {namespace.name} --policy FILE tells which keys are its status keys"
            raise UntrustedKey(error.message, expected=error.expected, actual=error.actual, hint=hint) from error
        need = namespace.thresholds.get(Role.STATUS)
        output.warn(f"not signed by enough status keys of {namespace.name} yet: {need or 'none are named'}")
        return False
    return True


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is there to agree: --yes, or --dry-run to see what would change")
    if not click.confirm("publish this?", err=True):
        raise RefusedError("nothing is published: you did not agree")


def _publish(asked: Asked, signed: Draft) -> Published:
    state = online.open_state(asked.state_folder)
    return publish.submit(signed.file, asked.main, asked.place, asked.timeout, state)


# -- what is told ----------------------------------------------------------------------------------------------------


def _stays(asked: Asked, stream: Stream, learned: _Learned, already: str, wait: bool) -> None:
    """Nothing is to be published: it was before."""
    now = learned.before
    assert now is not None
    assert now.index is not None
    until = now.predicate.next_update
    output.ok(f"{stream}: {already}: seq {now.predicate.seq} of the stream says so already, believed until {until}")
    bound = binding.wait(asked, stream, now.index) if wait and asked.index is not None else None
    known = statuses.as_json(now.predicate, learned.known)
    output.result(
        [f"statement id  {now.statement_id}", *_bound_lines(bound)],
        {
            "schema": SCHEMA,
            "stream": str(stream),
            "statement_id": now.statement_id,
            "signers": list(now.signers),
            "before": known,
            "after": known,
            "published": False,
            "index": now.index,
            **_bound_json(bound),
            "file": None,
        },
    )
    _must_be_known(wait, bound)


def _must_be_known(wait: bool, bound: Bound | None) -> None:
    if wait and bound is None:
        raise NotEstablished(
            "whether the log's index covers it was not asked: nobody says when it binds",
            expected="the policy of the index",
            hint="again with --index-policy FILE or --trust FILE, or with --no-wait",
        )


def _bound_lines(bound: Bound | None) -> list[str]:
    if bound is None:
        return []
    lines = [f"index covers  {bound.size} entries, at index size {bound.index_size}"]
    return lines + ([f"binding for every verifier by {utc(bound.by)}"] if bound.by is not None else [])


def _bound_json(bound: Bound | None) -> dict[str, Any]:
    if bound is None:
        return {"size": None, "index_size": None, "binding_by": None}
    return {"size": bound.size, "index_size": bound.index_size, "binding_by": bound.by}


def _report(
    asked: Asked,
    learned: _Learned,
    after: StatusPredicate,
    signed: Draft,
    published: Published | None,
    bound: Bound | None,
    said: Said,
) -> None:
    lines = [f"statement id  {signed.statement_id}"]
    if published is not None:
        head = published.inclusion.witnessed.checkpoint
        lines.append(f"index         {published.inclusion.index} of {head.size} in {head.origin}")
        lines.append(f"witnessed by  {policies.witnessed_by(published.inclusion.witnessed, asked.main)}")
    lines += _bound_lines(bound)
    lines += [f"status        {said.out}"] if said.out else []
    before = learned.before
    output.result(
        lines,
        {
            "schema": SCHEMA,
            "stream": after.stream,
            "statement_id": signed.statement_id,
            "signers": list(signed.signers),
            "before": statuses.as_json(before.predicate if before else None, learned.known),
            "after": statuses.as_json(after, learned.known),
            "published": published is not None,
            "index": None if published is None else published.inclusion.index,
            **_bound_json(bound),
            "file": said.out,
        },
    )
