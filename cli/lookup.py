"""`teelog lookup`: what stands under a key of the log's index, or that nothing does; both proven."""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from teelog.cli import current_index, files, keyref, looked_up, moment, online, output, standing, statements
from teelog.cli import policy as policies
from teelog.cli.looked_up import Shown
from teelog.cli.proof import utc
from teelog.cli.standing import Asked, Wanted
from teelog.errors import MalformedError
from teelog.index import keys
from teelog.index.keys import Kind
from teelog.statement.namespace import Namespace
from teelog.tlog.policy import WitnessedCheckpoint

if TYPE_CHECKING:
    from teelog.client.history import History
    from teelog.client.log import LogReader
    from teelog.statement.index_map import MemoryState

MAX_SHOWN = 20  # entries of a list that are fetched and described, the newest

_KINDS = [kind.value for kind in Kind if kind is not Kind.LOG_POLICY]
_BY_COLON = (Kind.SUBJECT, Kind.EVIDENCE)
_FILES = {Kind.SIGNER: "a key file", Kind.ABOUT: "a statement's file"}
_DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128}  # of a digest: half of one would be proven absent


@dataclass(frozen=True, slots=True)
class _Learned:
    """key: what was looked up. lists: entry indices by key, rising. counts: of each list. shown: the newest entries."""

    key: bytes
    lists: Mapping[bytes, list[int]]
    counts: Mapping[bytes, int]
    shown: Sequence[Shown]
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
    evidence   sha256:HEX or the evidence's file  results on this evidence
    signer     HEX or a public key file           what this key has signed
    about      HEX, a statement's file,           statements that refer to this one,
               or STREAM@VERSION                  such as results of a release

    A list holds whatever names its key: a result is shown with its verdict if a key of its issuer signed it.

    With --prefix, KEY is the first components, such as acme.example or sev-snp/measurement. Without an index policy the
    whole log is read instead.

    Example: teelog lookup register sev-snp/measurement/HEX --policy policy.txt --index-policy index.txt
    """
    chosen = Kind(kind)
    wanted = _release(chosen, key, prefix) or _key(chosen, key, prefix)
    learned = online.run(_learn(asked, wanted, prefix))
    _report(asked, chosen, learned, prefix)


def _release(kind: Kind, text: str, prefix: bool) -> Wanted | None:
    """The release that is meant by STREAM@VERSION; None for any other key."""
    if kind is not Kind.ABOUT or prefix or "@" not in text or os.path.lexists(text):
        return None
    found = standing.wanted(text)
    if found.stream is None:
        raise click.UsageError(f"a release of which stream? NAMESPACE/PRODUCT/CHANNEL{text}")
    return found


def _key(kind: Kind, text: str, prefix: bool) -> bytes:
    if kind is Kind.SIGNER and os.path.lexists(text):
        text = keyref.load_public(text).fingerprint
    if kind is Kind.ABOUT and os.path.lexists(text):
        text = statements.read(text).statement_id
    if kind is Kind.EVIDENCE and os.path.lexists(text):
        text = "sha256:" + hashlib.sha256(files.read(text, what="evidence")).hexdigest()
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


async def _learn(asked: Asked, named: bytes | Wanted, prefix: bool) -> _Learned:
    from teelog.client.cache import DiskCache
    from teelog.client.history import replay, search
    from teelog.client.http import HttpClient
    from teelog.client.indexed import Indexed
    from teelog.client.log import LogReader
    from teelog.tlog.policy import verify_checkpoint

    state = online.open_state(asked.state_folder)
    async with HttpClient() as http:
        source = asked.source(http)
        index = await current_index.if_any(asked, source, http, state)
        if index is not None:
            history = Indexed(index)
            wanted = named if isinstance(named, bytes) else await _about(history, named)
            if prefix:
                counts = {key: value.count for key, value in await index.prefix(wanted)}
                return _Learned(wanted, {}, counts, (), index.main, index.index)
            found = await index.lookup(wanted)
            lists = {} if found is None else {wanted: await index.elements(found)}
            shown = await _by_index(index.log, history, lists.get(wanted, [])[-MAX_SHOWN:])
            return _Learned(wanted, lists, _counts(lists), shown, index.main, index.index)
        main = verify_checkpoint(await source.checkpoint(), asked.main)
        await online.remember(state, main, source)
        head = main.checkpoint
        met: deque[tuple[int, bytes, Namespace | None]] = deque(maxlen=MAX_SHOWN)

        def meet(index: int, entry: bytes, state: MemoryState) -> None:
            issuer = looked_up.issuer(entry)
            met.append((index, entry, None if issuer is None else state.namespace(issuer)))

        reader = LogReader(source, head.size, head.root, DiskCache(state.tiles(policies.the_log(asked.main).key)))
        with output.progress("reading the log", head.size) as step:
            if isinstance(named, bytes):
                wanted = named
            else:
                assert named.stream is not None
                wanted = await _about(await replay(reader, head.origin, named.stream.namespace, step), named)
            matches = (lambda key: key.startswith(wanted)) if prefix else (lambda key: key == wanted)
            lists = await search(reader, head.origin, matches, step, meet)
        if prefix:
            return _Learned(wanted, {}, _counts(lists), (), main, None)
        return _Learned(wanted, lists, _counts(lists), [looked_up.shown(*each) for each in met], main, None)


async def _about(history: History, named: Wanted) -> bytes:
    """The key under which a release is referred to. Raises as ``standing.resolve``."""
    assert named.stream is not None
    (release,) = await standing.resolve(history, named.stream, [named])
    return keys.key(Kind.ABOUT, release.statement_id)


def _counts(lists: Mapping[bytes, list[int]]) -> dict[bytes, int]:
    return {key: len(indices) for key, indices in lists.items()}


async def _by_index(reader: LogReader, history: History, indices: Sequence[int]) -> list[Shown]:
    found = []
    for index in indices:
        entry = await reader.entry(index)
        issuer = looked_up.issuer(entry)
        versions = () if issuer is None else await history.versions(issuer)
        before = [version.namespace for version in versions if version.index < index]
        found.append(looked_up.shown(index, entry, before[-1] if before else None))
    return found


def _report(asked: Asked, kind: Kind, learned: _Learned, prefix: bool) -> None:
    wanted = learned.key
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
    lines += looked_up.lines(learned.shown, int(time.time()))
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
            "shown": [looked_up.as_json(each) for each in learned.shown],
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
