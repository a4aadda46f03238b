"""`teelog result publish`: one result, or many at once, each with its proof; one bad file does not stop the others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teelog.cli import files, online, output, publish
from teelog.cli import policy as policies
from teelog.errors import ConfigError, MalformedError, NotEstablished, RefusedError, TeelogError, UnavailableError
from teelog.statement import dsse, ear_token
from teelog.statement.draft import Draft
from teelog.statement.token import Form
from teelog.tlog.policy import Policy, WitnessedCheckpoint
from teelog.tlog.proof import MAX_LENGTH, VerifiedInclusion, parse_proof, verify_proof
from teelog.tlog.rfc6962 import leaf_hash

if TYPE_CHECKING:
    from teelog.client.http import HttpClient
    from teelog.client.publish_many import Outcome

MODE = 0o644
MAX_LIST = 1 << 26  # bytes of a list of files
PROOF = ".tlog-proof"
_REENCODED = {Form.JWT: ".jws", Form.CWT: ".cose"}
_BY_EXIT: dict[int, type[TeelogError]] = {3: NotEstablished, 4: UnavailableError, 6: ConfigError}


@dataclass(slots=True)
class _Item:
    """A file and what became of it. entry_file: what holds the bytes that are logged. before: it was logged already."""

    file: str
    proof: str
    entry_file: str = ""
    statement_id: str | None = None
    inclusion: VerifiedInclusion | None = None
    before: bool = False
    error: TeelogError | None = None


@dataclass(frozen=True, slots=True)
class _Sent:
    item: _Item
    entry: bytes


@click.command("publish")
@click.argument("names", metavar="RESULT...", nargs=-1, type=click.Path(dir_okay=False))
@policies.policy_option
@click.option("--out", metavar="PROOF", help="Publish one RESULT, and write its proof here.")
@click.option(
    "--out-dir",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the proofs go.  [default: RESULT.tlog-proof, beside each]",
)
@click.option("--from", "list_file", metavar="LIST", help="Also the files named in LIST, one a line; - for stdin.")
@click.option("--again", is_flag=True, help="Ask for a fresh proof where there is one that the policy accepts.")
@online.url_option
@online.timeout_option
@online.state_option
@click.option("--entry-out", metavar="FILE", help="With --out: where a re-encoded file goes.  [default: RESULT.jws]")
@output.json_option
def command(
    names: tuple[str, ...],
    policy_file: str,
    out: str | None,
    out_dir: Path | None,
    list_file: str | None,
    again: bool,
    url: str | None,
    timeout: float,
    state_folder: Path | None,
    entry_out: str | None,
) -> None:
    """Publish attestation results and write the proof of each, once the policy accepts it.

    A result's issuer is a namespace of the log, and its key holds the role `result` there. By default a log takes no
    result that holds raw evidence, a nonce or a chip id; and none that names a release or a checkpoint which is not on
    it.

    Many are sent in batches, with a verdict each. The same command again goes on where an earlier one was stopped: what
    has its proof is left alone, what the log holds already gets one. Any that failed make the exit code that of the
    worst failure.

    Example: teelog result publish results/*.jwt --policy policy.txt --out-dir proofs
    """
    named = [*names, *(_listed(list_file) if list_file is not None else ())]
    if not named:
        raise click.UsageError("no RESULT to publish")
    if out is not None:
        if len(named) > 1 or out_dir is not None or again:
            raise click.UsageError("--out is of one RESULT; without it any number has its proofs")
        made, entry_file = _read(named[0], entry_out)
        publish.hand_over(made, entry_file, policy_file, out, url=url, timeout=timeout, state_folder=state_folder)
        return
    # The form of the answer must not hang on how many files a pattern finds.
    if entry_out is not None:
        raise click.UsageError("--entry-out goes with --out")
    policy = policies.load(policy_file)
    policies.warn_if_unwitnessed(policy)
    place = policies.url_of(policy, url)
    items = _items(named, out_dir)
    online.run(_publish(items, policy, place, timeout, state_folder, again))
    _report(items, policies.the_log(policy).key.name)


def _listed(path: str) -> Iterator[str]:
    data = files.read(path, MAX_LIST, "list")
    try:
        yield from (line for line in data.decode().splitlines() if line)
    except UnicodeDecodeError as error:
        raise MalformedError(f"{path} is no list of files", expected="a file name a line, UTF-8") from error


def _items(named: Sequence[str], out_dir: Path | None) -> list[_Item]:
    """Raises UsageError where two proofs would have one name, UnavailableError."""
    items: dict[str, _Item] = {}
    for file in named:
        proof = f"{file}{PROOF}" if out_dir is None else str(out_dir / f"{Path(file).name}{PROOF}")
        before = items.setdefault(proof, _Item(file, proof))
        if before.file != file:
            raise click.UsageError(f"{before.file} and {file} would have one proof, {proof}")
    if out_dir is not None:
        try:
            out_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnavailableError(f"cannot make {out_dir}", actual=error.strerror) from error
    return list(items.values())


def _read(file: str, entry_out: str | None = None) -> tuple[Draft, str]:
    """The result in a file, and the file that holds its exact bytes; that is written if it is a new one."""
    data = files.read(file, dsse.MAX_FILE, "result")
    try:
        entry = ear_token.canonical(data)
    except MalformedError as error:
        raise MalformedError(f"{file}: {error.message}", expected=error.expected, actual=error.actual) from error
    made = publish.read(entry, file)
    if made.token is None:
        raise MalformedError(f"{file} is no attestation result", expected="a JWT or CWT", actual=made.statement.kind)
    if entry != data:
        file = entry_out or f"{file}{_REENCODED[made.token.form]}"
        output.write_file(file, entry, MODE)
        output.note(f"{file} holds the result as it is logged: keep it, the proof is for its exact bytes")
    return made, file


# -- many -------------------------------------------------------------------------------------------------------------


async def _publish(
    items: list[_Item], policy: Policy, place: str, timeout: float, state_folder: Path | None, again: bool
) -> None:
    from teelog.client.http import HttpClient
    from teelog.client.publish_many import AT_ONCE
    from teelog.client.source import HttpSource

    state = online.open_state(state_folder)
    async with HttpClient() as http:
        with output.progress("publishing", len(items)) as step:
            batches = _batches(items, policy, again, step)

            async def work() -> None:
                for batch in batches:
                    await _send(http, place, batch, policy, timeout)
                    step(len(batch))

            await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        seen = sorted((item.inclusion.witnessed for item in items if item.inclusion is not None), key=_size)
        for witnessed in (*seen[:1], *seen[-1:]):
            await online.remember(state, witnessed, HttpSource(http, place))


def _size(witnessed: WitnessedCheckpoint) -> int:
    return witnessed.checkpoint.size


def _batches(items: list[_Item], policy: Policy, again: bool, step: output.Step) -> Iterator[list[_Sent]]:
    """What is to be sent, read as it is asked for: so many files may be more than memory holds."""
    from teelog.client.publish_many import BATCH_BYTES, BATCH_ENTRIES

    batch: list[_Sent] = []
    size = 0
    for item in items:
        sent = _prepare(item, policy, again)
        if sent is None:
            step()
            continue
        if batch and (len(batch) == BATCH_ENTRIES or size + len(sent.entry) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(sent)
        size += len(sent.entry) + 2
    if batch:
        yield batch


def _prepare(item: _Item, policy: Policy, again: bool) -> _Sent | None:
    """None for a file that is no result, or that has its proof."""
    try:
        made, item.entry_file = _read(item.file)
        item.statement_id = made.statement_id
        item.inclusion = None if again else _proven(item.proof, made.file, policy)
    except TeelogError as error:
        item.error = error
        return None
    item.before = item.inclusion is not None
    return None if item.before else _Sent(item, made.file)


def _proven(proof: str, entry: bytes, policy: Policy) -> VerifiedInclusion | None:
    """What the proof beside a file shows; None if it has to be asked for."""
    if not Path(proof).exists():
        return None
    try:
        return verify_proof(parse_proof(files.read(proof, MAX_LENGTH, "proof")), leaf_hash(entry), policy)
    except TeelogError:
        return None  # another file's, another policy's, or one that was never whole


async def _send(http: HttpClient, place: str, batch: list[_Sent], policy: Policy, timeout: float) -> None:
    from teelog.client.http import Refusal
    from teelog.client.publish import Published
    from teelog.client.publish_many import publish_many

    def settled(number: int, outcome: Outcome) -> None:
        item = batch[number].item
        if not isinstance(outcome, Published):
            item.error = publish.explained(outcome) if isinstance(outcome, Refusal) else outcome
            return
        try:
            output.write_file(item.proof, outcome.file)
        except TeelogError as error:
            item.error = error
            return
        item.inclusion, item.before = outcome.inclusion, not outcome.new

    entries = [each.entry for each in batch]
    await publish_many(http, place, entries, policy, settled, timeout=timeout, tell=online.tell)


# -- what became of them ----------------------------------------------------------------------------------------------


def _report(items: list[_Item], log: str) -> None:
    failed = [item for item in items if item.error is not None]
    before = sum(item.before for item in items)
    good = len(items) - len(failed)
    told = f"{good} of {len(items)} results are published" + (f", {before} of them before" if before else "")
    (output.fail if failed else output.ok)(told)
    output.result(
        output.columns([("index", "result"), *((_verdict(item), item.file) for item in items)]),
        {
            "schema": "teelog-results-published/v1",
            "log": log,
            "published": good - before,
            "before": before,
            "failed": len(failed),
            "results": [_json(item) for item in items],
        },
    )
    if failed:
        raise _worst(failed)


def _verdict(item: _Item) -> str:
    if item.inclusion is not None:
        return str(item.inclusion.index)
    return "no: " + (item.error.message if item.error is not None else "")


def _json(item: _Item) -> dict[str, object]:
    found: dict[str, object] = {
        "result": item.file,
        "entry": item.entry_file or None,
        "statement_id": item.statement_id,
    }
    if item.inclusion is not None:
        head = item.inclusion.witnessed.checkpoint
        return found | {
            "published": True,
            "new": not item.before,
            "index": item.inclusion.index,
            "size": head.size,
            "leaf": item.inclusion.leaf,
            "proof": item.proof,
        }
    assert item.error is not None
    error = item.error
    return found | {
        "published": False,
        "error": error.message,
        "expected": error.expected,
        "actual": error.actual,
        "hint": error.hint,
    }


def _worst(failed: list[_Item]) -> TeelogError:
    """One error for all of them, with the exit code of the worst."""
    errors = [item.error for item in failed if item.error is not None]
    code = output.worst_exit(error.exit_code for error in errors)
    first = next(error for error in errors if error.exit_code == code)
    rest = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
    return _BY_EXIT.get(code, RefusedError)(
        f"not published: {next(item.file for item in failed if item.error is first)}{rest}",
        expected=first.expected,
        actual=first.message if first.actual is None else f"{first.message}: {first.actual}",
        hint=first.hint,
    )
