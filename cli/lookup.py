"""`teelog lookup`: what stands under a key of the log's index, or that nothing does; both proven."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from teelog.cli import current_index, keyref, moment, online, output, standing, statements
from teelog.cli import policy as policies
from teelog.cli.proof import utc
from teelog.cli.standing import Asked
from teelog.errors import MalformedError
from teelog.index import keys
from teelog.index.keys import Kind
from teelog.statement import draft
from teelog.tlog.policy import WitnessedCheckpoint

if TYPE_CHECKING:
    from teelog.client.log import LogReader

MAX_SHOWN = 20  # entries of a list that are fetched and described, the newest

_KINDS = [kind.value for kind in Kind if kind is not Kind.LOG_POLICY]
_BY_COLON = (Kind.SUBJECT, Kind.EVIDENCE)
_FILES = {Kind.SIGNER: "a key file", Kind.ABOUT: "a statement's file"}
_DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128}  # of a digest: half of one would be proven absent


@dataclass(frozen=True, slots=True)
class _Learned:
    """lists: entry indices by key, rising. counts: of each list. described: what entries are, by index."""

    lists: Mapping[bytes, list[int]]
    counts: Mapping[bytes, int]
    described: Mapping[int, str]
    main: WitnessedCheckpoint
    index: WitnessedCheckpoint | None


@click.command()
@click.argument("kind", type=click.Choice(_KINDS), metavar="KIND")
@click.argument("key")
@click.option("--prefix", is_flag=True, help="All keys that begin so, and that there are no others.")
@standing.reading_options
@output.json_option
def command(kind: str, key: str, prefix: bool, asked: Asked) -> None:
    """Look up KEY in the log's index: all entries that it lists there, or the proof that it lists none (exit code 0).

    \b
    KIND       KEY
    namespace  acme.example
    status     acme.example/inference/stable      the stream's effective statuses
    release    acme.example/inference/stable      its effective releases
    register   sev-snp/measurement/HEX            releases with this value
    subject    sha256:HEX                         releases of this artifact
    evidence   sha256:HEX                         results on this evidence
    signer     HEX or a public key file           what this key has signed
    about      HEX or a statement's file          statements that refer to this one

    With --prefix, KEY is the first components, such as acme.example or sev-snp/measurement. Without an index policy the
    whole log is read instead.

    Example: teelog lookup register sev-snp/measurement/HEX --policy policy.txt --index-policy index.txt
    """
    chosen = Kind(kind)
    wanted = _key(chosen, key, prefix)
    learned = online.run(_learn(asked, wanted, prefix))
    _report(asked, chosen, wanted, learned, prefix)


def _key(kind: Kind, text: str, prefix: bool) -> bytes:
    if kind is Kind.SIGNER and os.path.lexists(text):
        text = keyref.load_public(text).fingerprint
    if kind is Kind.ABOUT and os.path.lexists(text):
        text = statements.read(text).statement_id
    text = text.removesuffix("/") if prefix else text
    parts = text.split(":" if kind in _BY_COLON else "/") if text else []
    digits = _DIGITS.get(parts[0]) if kind in _BY_COLON and len(parts) == 2 else None
    if digits is not None and len(parts[1]) != digits:
        raise click.UsageError(f"not a key of kind {kind}: {parts[0]} has {digits} hex digits, not {len(parts[1])}")
    try:
        return keys.prefix(kind, *parts) if prefix else keys.key(kind, *parts)
    except MalformedError as error:
        wanted = f", expected {error.expected}" if error.expected is not None else ""
        if kind in _FILES:
            wanted = f", expected 64 hex digits or {_FILES[kind]} that exists"
        elif not prefix and len(parts) < keys.ARITY[kind]:
            wanted += "; --prefix finds all that begin so"
        raise click.UsageError(f"not a key of kind {kind}: {error.message}{wanted}") from error


async def _learn(asked: Asked, wanted: bytes, prefix: bool) -> _Learned:
    from teelog.client.cache import DiskCache
    from teelog.client.history import search
    from teelog.client.http import HttpClient
    from teelog.client.log import LogReader
    from teelog.tlog.policy import verify_checkpoint

    state = online.open_state(asked.state_folder)
    async with HttpClient() as http:
        source = asked.source(http)
        index = await current_index.if_any(asked, source, http, state)
        if index is not None:
            if prefix:
                counts = {key: value.count for key, value in await index.prefix(wanted)}
                return _Learned({}, counts, {}, index.main, index.index)
            found = await index.lookup(wanted)
            lists = {} if found is None else {wanted: await index.elements(found)}
            return _Learned(lists, _counts(lists), await _described(index.log, lists), index.main, index.index)
        main = verify_checkpoint(await source.checkpoint(), asked.main)
        await online.remember(state, main, source)
        head = main.checkpoint
        reader = LogReader(source, head.size, head.root, DiskCache(state.tiles(policies.the_log(asked.main).key)))
        with output.progress("reading the log", head.size) as step:
            matches = (lambda key: key.startswith(wanted)) if prefix else (lambda key: key == wanted)
            lists = await search(reader, head.origin, matches, step)
        described = {} if prefix else await _described(reader, lists)
        return _Learned({} if prefix else lists, _counts(lists), described, main, None)


def _counts(lists: Mapping[bytes, list[int]]) -> dict[bytes, int]:
    return {key: len(indices) for key, indices in lists.items()}


async def _described(reader: LogReader, lists: Mapping[bytes, list[int]]) -> dict[int, str]:
    wanted = [index for indices in lists.values() for index in indices[-MAX_SHOWN:]]
    described = {}
    for index in wanted:
        try:
            described[index] = statements.describe(draft.read(await reader.entry(index)))
        except MalformedError:
            described[index] = "no statement"
    return described


def _report(asked: Asked, kind: Kind, wanted: bytes, learned: _Learned, prefix: bool) -> None:
    asked = asked.resting_on(learned.index)
    shown = wanted.decode("ascii").removesuffix("\n").replace("\n", " ")
    total = sum(learned.counts.values())
    if not learned.counts:
        output.ok(f"{shown}: nothing, and the index proves it" if asked.index else f"{shown}: nothing in the whole log")
    elif prefix:
        output.ok(f"{shown}: {len(learned.counts)} key{'' if len(learned.counts) == 1 else 's'}, and no others")
    else:
        output.ok(f"{shown}: {total} entr{'y' if total == 1 else 'ies'}, and no others")
    rows = [("entries", "key")] if prefix and learned.counts else []
    rows += [(str(count), _shown(key)) for key, count in sorted(learned.counts.items())] if prefix else []
    lines = output.columns(rows)
    indices = learned.lists.get(wanted, [])
    lines += (
        [f"not shown     {len(indices) - MAX_SHOWN} older ones; --json has all"] if len(indices) > MAX_SHOWN else []
    )
    lines += [f"entry         {index}  {learned.described.get(index, '')}" for index in indices[-MAX_SHOWN:]]
    head = learned.main.checkpoint
    lines.append(f"log           {head.origin}, size {head.size}")
    lines.append(f"witnessed by  {policies.witnessed_by(learned.main, asked.main)}")
    lines.append(f"that is all   {standing.vouched(asked)}")
    as_of, stale = moment.check_age(asked, learned.main, learned.index)
    lines += [f"as of         {utc(as_of)}"] if as_of is not None else []
    output.result(
        lines,
        {
            "schema": "teelog-index-lookup/v1",
            "kind": kind.value,
            "components": list(keys.parse_prefix(wanted)[1]),
            "prefix": prefix,
            "count": total,
            "entries": indices,
            "keys": [
                {"components": list(keys.parse(key)[1]), "count": count}
                for key, count in sorted(learned.counts.items())
            ],
            "log": head.origin,
            "size": head.size,
            "root": head.root,
            "witnesses": policies.cosigners(learned.main, asked.main),
            "by_index": asked.index is not None,
            "as_of": as_of,
            "stale": stale is not None,
        },
    )
    if stale is not None:
        raise stale


def _shown(key: bytes) -> str:
    return "/".join(keys.parse(key)[1])
