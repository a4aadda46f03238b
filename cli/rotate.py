"""`teelog namespace rotate`: the next version of a namespace, and the statuses that it calls for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from teelog.cli import keyref, namespace_show, online, orphans, output, publish, standing, statements
from teelog.cli.standing import Asked
from teelog.errors import ConfigError, RefusedError, TeelogError, UntrustedKey, VerificationError
from teelog.statement import chain, draft, namespace, status
from teelog.statement.admit import Kind
from teelog.statement.chain import Last, Terms
from teelog.statement.draft import Draft
from teelog.statement.namespace import Key, Namespace, NamespacePredicate, Role
from teelog.statement.release import Release
from teelog.statement.status import Status

if TYPE_CHECKING:
    from teelog.client.http import Refusal
    from teelog.client.publish import Published

_THRESHOLD = re.compile(r"(owner|release|status|result)=([1-9][0-9]?)")
_ADD = re.compile(r"(owner|release|status|result)=(.+)", re.DOTALL)


def thresholds(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[Role, int]:
    """Callback of --threshold ROLE=N."""
    matches = [_THRESHOLD.fullmatch(value) for value in values]
    if not all(matches):
        raise click.BadParameter("expected ROLE=N, such as owner=2")
    return {Role(match[1]): int(match[2]) for match in matches if match}


def _added(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> list[tuple[Role, str]]:
    matches = [_ADD.fullmatch(value) for value in values]
    if not all(matches):
        raise click.BadParameter("expected ROLE=KEYREF, such as status=new.key.pub")
    return [(Role(match[1]), match[2]) for match in matches if match]


@click.command("rotate")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False))
@click.option("--add", metavar="ROLE=KEYREF", multiple=True, callback=_added, help="A key for a role; repeatable.")
@click.option("--remove", metavar="KEYREF", multiple=True, help="Counts for nothing any more; repeatable.")
@click.option("--retire", metavar="KEYREF", multiple=True, help="Counts for what is logged before; needs a policy.")
@click.option(
    "--threshold", "changed", metavar="ROLE=N", multiple=True, callback=thresholds, help="How many must sign."
)
@click.option("--key", "keys", metavar="KEYREF", multiple=True, help="Owner of the version before; repeatable.")
@click.option(
    "--status-key", "status_keys", metavar="KEYREF", multiple=True, help="Signs the new statuses; repeatable."
)
@click.option("--out", metavar="FILE", help="Where the next version goes.")
@click.option("--publish", "publishing", is_flag=True, help="Log it, with the statuses that it calls for, at once.")
@click.option("--lose-releases", "lose", is_flag=True, help="Publish it though allowed releases lose their last key.")
@click.option("--dry-run", is_flag=True, help="With --publish: show what would be logged; publish nothing.")
@standing.options_if_any
@output.json_option
def command(
    file: str,
    add: list[tuple[Role, str]],
    remove: tuple[str, ...],
    retire: tuple[str, ...],
    changed: dict[Role, int],
    keys: tuple[str, ...],
    status_keys: tuple[str, ...],
    out: str | None,
    publishing: bool,
    lose: bool,
    dry_run: bool,
    asked: Asked | None,
) -> None:
    """Make the version of a namespace that follows the one in FILE, signed by owners of that one.

    A release or a status whose key is removed is believed no more; --retire keeps what a key has signed before. So
    --publish hands the log, in one batch, the new version and a new status of every stream that needs one: what was
    allowed, signed with --status-key. Without any change, FILE is a new version already, made before and signed by more
    owners since (`teelog sign`), and is published.

    Example: teelog namespace rotate ns.json --add status=new.key.pub --remove old.key.pub --key owner.key --out
    ns2.json --publish --status-key new.key --policy policy.txt
    """
    if (publishing or retire) and asked is None:
        raise click.UsageError("--publish and --retire ask the log: --policy FILE")
    if remove and retire:
        raise click.UsageError("--remove and --retire are two rotations")
    changes = bool(add or remove or retire or changed)
    if changes and out is None:
        raise click.UsageError("Missing option '--out'")
    if not changes and not publishing:
        raise click.UsageError("nothing to change: --add, --remove, --retire, --threshold")
    given = _read(file)
    signers = [keyref.load_signer(ref) for ref in keys]
    status_signers = [keyref.load_signer(ref) for ref in status_keys]
    now = (
        None if asked is None or not (publishing or retire) else online.run(_learn(asked, _predicate(given).namespace))
    )
    signed = given
    if changes:
        _must_own(given, signers)
        until = now.size if now is not None and retire else None
        made = _next(given, add, remove, retire, changed, until)
        signed = draft.sign(draft.read(namespace.payload(made)), signers)
        assert out is not None
        statements.write_new(out, signed)
    elif signers:
        raise click.UsageError("--key signs a change: teelog sign FILE --key KEYREF")
    if not publishing or now is None or asked is None:
        _warn_of_statuses(given, remove, retire)
        namespace_show.report(signed, out or file)
        return
    after = _verified(signed, now)
    _must_keep(now, after, lose)
    renewed = _statuses(now, after, status_signers)
    _tell(after, renewed)
    verdicts = None if dry_run else _publish(asked, [signed, *renewed])
    _report(signed, renewed, verdicts, out or file)


def _read(file: str) -> Draft:
    found = statements.read(file)
    if found.statement.kind is not Kind.NAMESPACE:
        raise statements.wrong_kind(file, Kind.NAMESPACE, found.statement.kind)
    return found


def _predicate(statement: Draft) -> NamespacePredicate:
    assert isinstance(statement.statement.claim, NamespacePredicate)
    return statement.statement.claim


# -- the next version -------------------------------------------------------------------------------------------------


def _next(
    last: Draft,
    add: Sequence[tuple[Role, str]],
    remove: Sequence[str],
    retire: Sequence[str],
    changed: Mapping[Role, int],
    until: int | None,
) -> NamespacePredicate:
    if not last.signed:
        raise ConfigError("nobody has signed the version before: change that one", hint="teelog namespace new")
    added = [Key(keyref.load_public(ref).to_pem().decode(), (role,), None) for role, ref in add]
    made = _predicate(last)
    statement_id = last.statement_id
    gone = [keyref.load_public(ref).fingerprint for ref in remove or retire]
    return chain.rotate(made, statement_id, add=added, remove=gone, until=until, thresholds=changed)


def _must_own(last: Draft, signers: Sequence[keyref.Signer]) -> None:
    """Raises UntrustedKey for a key that is no owner's: its signature would count for nothing."""
    held = namespace.held_keys(_predicate(last))
    owners = [keyid for keyid, key in held.items() if Role.OWNER in key.roles]
    for signer in signers:
        if signer.public.fingerprint not in owners:
            raise UntrustedKey(
                "this key is no owner of the version before",
                expected=", ".join(owners),
                actual=signer.public.fingerprint,
                hint="--key KEYREF of an owner",
            )


def _warn_of_statuses(given: Draft, remove: Sequence[str], retire: Sequence[str]) -> None:
    held = namespace.held_keys(_predicate(given))
    gone = {keyref.load_public(ref).fingerprint for ref in (*remove, *retire)}
    if any(Role.STATUS in held[keyid].roles for keyid in gone if keyid in held):
        output.warn("a status key goes: every stream needs a new status in the same batch; --publish does that")


# -- what the log has, and what it needs ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Now:
    """current: the last version on the log. statuses: the last one of each stream. allowed: releases, by any stream."""

    current: Namespace
    size: int
    statuses: Sequence[Status]
    allowed: Sequence[Release]


async def _learn(asked: Asked, name: str) -> _Now:
    async with standing.standing(asked, name, complete=True) as found:
        history = found.history
        versions = await standing.versions(history, name)
        found_ = {stream: await history.status(stream) for stream in await history.streams(name)}
        heads = {stream: each for stream, each in found_.items() if each is not None}
        allowed: list[Release] = []
        for stream, head in heads.items():
            wanted = {each.release for each in head.predicate.allowed_now}
            allowed += (await standing.known(history, stream, wanted)).values()
        return _Now(versions[-1].namespace, history.size, list(heads.values()), allowed)


def _verified(signed: Draft, now: _Now) -> Namespace:
    """The new version as what follows the log's last one. Raises VerificationError, UntrustedKey."""
    if signed.envelope is None:
        raise VerificationError("the new version is not signed", hint="--key KEYREF of an owner")
    if signed.statement_id == now.current.statement_id:
        return now.current  # logged before: what is missing are statuses
    last = now.current
    if _predicate(signed).prev != last.statement_id:
        raise VerificationError(
            f"this does not follow the last version of {last.name} on the log",
            expected=f"a change of version {last.version}, {last.statement_id}",
            actual=f"version {_predicate(signed).version}, after {_predicate(signed).prev or 'none'}",
            hint=f"teelog namespace show {last.name} tells its index; teelog entry INDEX --raw FILE",
        )
    return namespace.verify_next(signed.envelope, now.current)


def _must_keep(now: _Now, after: Namespace, lose: bool) -> None:
    """Raises RefusedError where allowed releases lose the keys by which they count, unless that is wanted."""
    before = {each.statement_id for each in orphans.among(now.allowed, now.current)}
    gone = [each for each in orphans.among(now.allowed, after) if each.statement_id not in before]
    if not gone:
        return
    names = ", ".join(f"{each.claim.stream}@{each.claim.predicate.version}" for each in gone[:8])
    if lose:
        output.warn(f"allowed, and taken by no verifier from then on: {names}")
        return
    raise RefusedError(
        f"{len(gone)} allowed release{'' if len(gone) == 1 else 's'} would count no more: the key that signed goes",
        expected="--retire KEYREF: what the key signed before goes on counting; or --lose-releases",
        actual=names,
    )


def _statuses(now: _Now, after: Namespace, signers: Sequence[keyref.Signer]) -> list[Draft]:
    """The next status of each stream whose last one would count no more. Raises RefusedError, UntrustedKey."""
    needed = [each for each in now.statuses if not each.predicate.is_closed and not _counts(each, after)]
    if needed and not signers:
        raise RefusedError(
            f"{len(needed)} streams would have no status that counts",
            expected="--status-key KEYREF: who signs their new ones",
            actual=", ".join(str(each.stream) for each in needed[:8]),
        )
    made = []
    for last in needed:
        # The time that the vendor promised is kept as long as it was: a rotation is no renewal.
        until = max(last.predicate.next_update_time, datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1))
        terms = Terms(f"key rotation: {after.name} version {after.version}", last.predicate.max_age_s, until)
        signed = draft.sign(draft.read(status.payload(chain.renew(Last.of(last), terms))), signers)
        assert signed.envelope is not None
        status.verify(signed.envelope, after)
        made.append(signed)
    return made


def _counts(last: Status, after: Namespace) -> bool:
    try:
        after.require(Role.STATUS, last.signers)
    except VerificationError:
        return False
    return True


# -- publishing -------------------------------------------------------------------------------------------------------


def _tell(after: Namespace, renewed: Sequence[Draft]) -> None:
    output.note(f"namespace {after.name} version {after.version}")
    for each in renewed:
        output.note(f"with {statements.describe(each)}: what is allowed stays")


def _publish(asked: Asked, batch: Sequence[Draft]) -> Sequence[Published | Refusal]:
    return online.run(_hand_over(asked, batch))


async def _hand_over(asked: Asked, batch: Sequence[Draft]) -> Sequence[Published | Refusal]:
    from teelog.client.http import HttpClient
    from teelog.client.publish import Published, publish_batch
    from teelog.client.source import HttpSource

    state = online.open_state(asked.state_folder)
    files = [each.file for each in batch]
    async with HttpClient() as http:
        verdicts = await publish_batch(http, asked.place, files, asked.main, timeout=asked.timeout, tell=online.tell)
        for each in verdicts:
            if isinstance(each, Published):
                await online.remember(state, each.inclusion.witnessed, HttpSource(http, asked.place))
                break
    return verdicts


def _report(signed: Draft, renewed: Sequence[Draft], verdicts: Sequence[Published | Refusal] | None, file: str) -> None:
    rows: list[tuple[str, ...]] = []
    entries = []
    refused: list[TeelogError] = []
    for place, each in enumerate((signed, *renewed)):
        verdict = None if verdicts is None else verdicts[place]
        index = None
        if isinstance(verdict, TeelogError):
            refused.append(publish.explained(verdict))
            said = f"refused: {verdict.message}"
        elif verdict is None:
            said = "not published"
        else:
            index = verdict.inclusion.index
            said = f"index {index}"
        rows.append((statements.describe(each), output.safe(said, 200), each.statement_id))
        entries.append({"kind": each.statement.kind, "statement_id": each.statement_id, "index": index})
    if verdicts is not None and not refused:
        output.ok(f"{statements.describe(signed)} is published, with {len(renewed)} statuses")
    output.result(
        [*output.columns(rows), f"file          {file}"],
        {
            "schema": "teelog-namespace-rotation/v1",
            "published": verdicts is not None and not refused,
            "file": file,
            "entries": entries,
        },
    )
    if refused:
        raise refused[0]
