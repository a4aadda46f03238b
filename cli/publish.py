"""`teelog release publish`: hand a signed statement to the log and keep the proof that it is logged and witnessed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from teelog.cli import files, keyref, online, output, statements
from teelog.cli import policy as policies
from teelog.client.state import ClientState
from teelog.errors import MalformedError, RefusedError, TeelogError
from teelog.statement import draft, sigstore_bundle
from teelog.statement.draft import Draft
from teelog.tlog.policy import Policy

if TYPE_CHECKING:
    from teelog.client.http import Refusal
    from teelog.client.publish import Published

# What to do about a refusal, by the kind of problem: our words, as a server's advice is not to be followed.
_HINTS = {
    "unknown-namespace": "teelog namespace new; the log's operator logs it with: teelog log allow LOG FILE",
    "wrong-key": "teelog release new, and sign that with keys that the namespace lists only: a signature stays",
    "not-allowed": "hand it to the log's operator, who logs a namespace with: teelog log allow LOG FILE",
    "bad-signature": "teelog release sign FILE --key KEYREF",
    "frozen": "the log has ended: publish on its successor",
    "stale": "the namespace's keys changed meanwhile: publish the same file again",
    "unknown-release": "teelog release publish: a status allows what is logged before it",
    "unknown-statement": "a result is logged where what it names is logged: is this the log that it was judged by?",
    "unknown-checkpoint": "a result is published on the log by which it was judged: teelog result show RESULT",
}
_NOT_NEXT = "something else came first: make it again from what the log has now"


@click.command("publish")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False))
@policies.policy_option
@click.option("--out", metavar="PROOF", required=True, help="Where to write the proof, FILE.tlog-proof.")
@online.url_option
@online.timeout_option
@online.state_option
@click.option("--key", "keys", metavar="KEY", multiple=True, help="Public key of a foreign file's signer; repeatable.")
@click.option("--entry-out", metavar="FILE", help="Where a re-encoded file goes.  [default: FILE.dsse.json]")
@output.json_option
def command(
    file: str,
    policy_file: str,
    out: str,
    url: str | None,
    timeout: float,
    state_folder: Path | None,
    keys: tuple[str, ...],
    entry_out: str | None,
) -> None:
    """Publish the signed statement in FILE and write its proof, once the policy accepts it.

    The same file may be published again at any time: it keeps its index, and the proof is a fresh one. FILE is a DSSE
    file as `teelog release sign` writes it; or, with --key, another tool's DSSE file or a Sigstore bundle, which is
    re-encoded first.

    Example: teelog release publish release.json --policy policy.txt --out release.tlog-proof
    """
    entry, entry_file = _entry(file, keys, entry_out)
    hand_over(entry, entry_file, policy_file, out, url=url, timeout=timeout, state_folder=state_folder)


def hand_over(
    entry: Draft,
    entry_file: str,
    policy_file: str,
    out: str,
    *,
    url: str | None,
    timeout: float,
    state_folder: Path | None,
) -> None:
    """Submits an entry, verifies the proof that comes back, writes it and reports. entry_file: what holds its bytes."""
    policy = policies.load(policy_file)
    policies.warn_if_unwitnessed(policy)
    place = policies.url_of(policy, url)
    state = online.open_state(state_folder)
    published = submit(entry.file, policy, place, timeout, state)
    output.write_file(out, published.file)
    _report(entry, published, policy, out, entry_file)
    if not output.wants_json():
        output.note(f"next: teelog proof verify {entry_file} --proof {out} --policy {policy_file}")


def _entry(file: str, keys: tuple[str, ...], entry_out: str | None) -> tuple[Draft, str]:
    """The signed statement, and the file that holds its exact bytes. Writes that file if it is a new one."""
    data = files.read(file, sigstore_bundle.MAX_FILE, "statement")
    if not keys:
        found = read(data, file)
        if not found.signed:
            raise MalformedError(
                f"{file} is not signed yet",
                expected="a DSSE envelope",
                actual="a bare statement",
                hint=f"teelog release sign {file} --key KEYREF",
            )
        return found, file
    envelope = sigstore_bundle.canonical(data, [keyref.load_public(key) for key in keys])
    if envelope.file != data:
        target = entry_out or f"{file}.dsse.json"
        output.write_file(target, envelope.file)
        output.note(f"{target} holds the file as it is logged: keep it, the proof is for its exact bytes")
        file = target
    return draft.read(envelope.file), file


def read(data: bytes, file: str) -> Draft:
    """The statement in a file's bytes. Raises MalformedError that names the file."""
    try:
        return draft.read(data)
    except MalformedError as error:
        raise MalformedError(
            f"{file}: {error.message}",
            expected=error.expected,
            actual=error.actual,
            hint=f"another tool's file? teelog release publish {file} --key PUBLIC-KEY ...",
        ) from error


def submit(entry: bytes, policy: Policy, place: str, timeout: float, state: ClientState) -> Published:
    """Hands the entry to the log at ``place``; what is refused is explained. Raises as the client's ``publish``."""
    from teelog.client.http import Refusal

    try:
        return online.run(_publish(place, entry, policy, timeout, state))
    except Refusal as refusal:
        raise explained(refusal) from refusal


async def _publish(place: str, entry: bytes, policy: Policy, timeout: float, state: ClientState) -> Published:
    from teelog.client.http import HttpClient
    from teelog.client.publish import publish
    from teelog.client.source import HttpSource

    async with HttpClient() as http:
        published = await publish(http, place, entry, policy, timeout=timeout, tell=online.tell)
        await online.remember(state, published.inclusion.witnessed, HttpSource(http, place))
    return published


def explained(refusal: Refusal) -> TeelogError:
    """A log's no with what to do about it."""
    leaf, hint = refusal.problem.leaf, _HINTS.get(refusal.problem.kind)
    if refusal.problem.kind == "conflict" and refusal.expected is not None:
        hint = _NOT_NEXT  # the leaf is the one to follow
    elif leaf:
        hint = f"teelog proof get {leaf}: this statement is logged in other bytes"
    return RefusedError(
        refusal.message, status=refusal.status, expected=refusal.expected, actual=refusal.actual, hint=hint
    )


def _report(entry: Draft, published: Published, policy: Policy, out: str, entry_file: str) -> None:
    inclusion = published.inclusion
    head = inclusion.witnessed.checkpoint
    output.ok(f"{statements.describe(entry)} is {'published' if published.new else 'published already'}")
    output.result(
        [
            f"index         {inclusion.index} of {head.size} in {head.origin}",
            f"leaf          {inclusion.leaf.hex()}",
            f"statement id  {entry.statement_id}",
            f"witnessed by  {policies.witnessed_by(inclusion.witnessed, policy)}",
            f"proof         {out}",
        ],
        {
            "schema": "teelog-published/v1",
            "new": published.new,
            "log": head.origin,
            "index": inclusion.index,
            "size": head.size,
            "root": head.root,
            "leaf": inclusion.leaf,
            "statement_id": entry.statement_id,
            "witnesses": policies.cosigners(inclusion.witnessed, policy),
            "quorum": policies.describe_quorum(policy),
            "entry": entry_file,
            "proof": out,
        },
    )
