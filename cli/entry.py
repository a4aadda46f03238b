"""`teelog entry`: one entry of a log, fetched, proven and decoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import msgspec

from teelog.cli import online, output, statements
from teelog.cli import policy as policies
from teelog.cli.proof_get import LEAF
from teelog.client.state import ClientState
from teelog.errors import MalformedError
from teelog.statement import draft, strict_json
from teelog.statement.draft import Draft
from teelog.strict import MAX_INT
from teelog.tlog.policy import Policy, WitnessedCheckpoint, verify_checkpoint
from teelog.tlog.rfc6962 import leaf_hash

MAX_SHOWN = 400  # lines of an entry that are printed


@dataclass(frozen=True, slots=True)
class _Found:
    index: int
    entry: bytes = field(repr=False)
    witnessed: WitnessedCheckpoint


@click.command()
@click.argument("which", metavar="INDEX|LEAF")
@policies.policy_option
@click.option("--raw", "raw_file", metavar="FILE", help="Write the entry's exact bytes to this file.")
@online.url_option
@click.option("--from", "place", metavar="DIR", help="Read a log's directory instead of a URL.")
@online.mirror_option
@online.state_option
@output.json_option
def command(
    which: str,
    policy_file: str,
    raw_file: str | None,
    url: str | None,
    place: str | None,
    mirrors: tuple[str, ...],
    state_folder: Path | None,
) -> None:
    """Fetch the entry with this index or leaf hash, verify that it is in the witnessed log, and show it.

    Example: teelog entry 0 --policy policy.txt
    """
    policy = policies.load(policy_file)
    policies.warn_if_unwitnessed(policy)
    index, leaf = _parse(which)
    state = online.open_state(state_folder)
    chosen = place or policies.place_of(policy, url, mirrors)
    found = online.run(_fetch(chosen, mirrors, index, leaf, policy, state))
    if raw_file is not None:
        output.write_file(raw_file, found.entry)
        if raw_file == output.STDOUT:
            return
    _report(found, policy, raw_file)


def _parse(which: str) -> tuple[int | None, bytes | None]:
    if LEAF.fullmatch(which):
        return None, bytes.fromhex(which)
    if which.isascii() and which.isdigit() and len(which) <= 19 and int(which) <= MAX_INT:
        return int(which), None
    raise click.UsageError(f"neither an index nor a leaf hash (64 lower-case hex digits): {which}")


async def _fetch(
    place: str | None,
    mirrors: tuple[str, ...],
    index: int | None,
    leaf: bytes | None,
    policy: Policy,
    state: ClientState,
) -> _Found:
    from teelog.client.cache import DiskCache
    from teelog.client.log import LogReader

    async with online.open_source(place, policy, mirrors) as source:
        witnessed = verify_checkpoint(await source.checkpoint(), policy)
        await online.remember(state, witnessed, source)
        head = witnessed.checkpoint
        cache = DiskCache(state.tiles(policies.the_log(policy, head.origin).key))
        reader = LogReader(source, head.size, head.root, cache)
        if index is None:
            assert leaf is not None
            index = await reader.locate(leaf)
        return _Found(index, await reader.entry(index), witnessed)


def _report(found: _Found, policy: Policy, raw_file: str | None) -> None:
    head = found.witnessed.checkpoint
    statement = _statement(found.entry)
    output.ok(f"entry {found.index} of {head.size} in {head.origin}  VERIFIED")
    lines = [
        f"leaf          {leaf_hash(found.entry).hex()}",
        f"length        {len(found.entry)} bytes",
        f"witnessed by  {policies.witnessed_by(found.witnessed, policy)}",
    ]
    if raw_file is not None:
        lines.append(f"written to    {raw_file}")
    if statement is not None:
        lines += [f"states        {statements.describe(statement)}", f"statement id  {statement.statement_id}"]
        lines += [f"signed by     {keyid} (not verified here)" for keyid in statement.signers]
    output.result(
        lines + _shown(found.entry, statement),
        {
            "schema": "teelog-entry/v1",
            "log": head.origin,
            "index": found.index,
            "size": head.size,
            "root": head.root,
            "leaf": leaf_hash(found.entry),
            "length": len(found.entry),
            "witnesses": policies.cosigners(found.witnessed, policy),
            "statement": _plain(statement),
            "raw": raw_file,
        },
    )


def _statement(entry: bytes) -> Draft | None:
    """What the entry states; None for entries that are no statement of ours."""
    try:
        return draft.read(entry)
    except MalformedError:
        return None


def _shown(entry: bytes, statement: Draft | None) -> list[str]:
    """The entry itself, behind a bar: it is the words of whoever submitted it (A-77)."""
    text = entry if statement is None else msgspec.json.format(statement.payload, indent=2)
    lines = output.quoted(text)
    more = len(lines) - MAX_SHOWN
    return lines if more <= 0 else [*lines[:MAX_SHOWN], f"... {more} more lines; --raw FILE writes all of it"]


def _plain(statement: Draft | None) -> dict[str, Any] | None:
    if statement is None:
        return None
    document = strict_json.load(statement.payload)
    return {**statements.signatures(statement), "content": document}
