"""An index made again from a copy of its log: for when the server that answers for it is gone.

A mirror holds the entries and, of a log of this project, the index log with its leaves. The entries lead to the map by
the map function (docs/formats/map-function.md), the last leaf says which root semantic witnesses found, and the two
must agree: then every lookup can be proven here as the server proved it. It takes as long as the log is long.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from teelog.bundle import Lookup
from teelog.client.http import HttpClient
from teelog.client.index import Found, LastLeaf, NothingIndexed, RemoteIndex, check_input
from teelog.client.log import LogReader, TileCache
from teelog.client.places import index_sources, sources
from teelog.client.source import MAX_CHECKPOINT, NOT_FOUND, FileSource, TileSource
from teelog.errors import NotWitnessed, RefusedError, VerificationError
from teelog.index.leaf import IndexLeaf
from teelog.index.lists import List, Value
from teelog.index.trie import Trie
from teelog.statement.index_map import MemoryState, map_entry
from teelog.tlog.policy import Policy, WitnessedCheckpoint, verify_checkpoint

Cosign = Callable[[Policy, bytes], Awaitable[bytes]]
"""Asks the policy's witnesses to cosign a checkpoint anew (``cosigning.cosign_anew``)."""
Tell = Callable[[int], None]
"""Called as entries are read, with how many more there are of them now."""


class OtherMap(VerificationError):
    """Entries and last leaf contradict each other, both signed: semantic witnesses vouched for what is not so."""


@dataclass(frozen=True, slots=True)
class RebuiltIndex(RemoteIndex):
    """A ``RemoteIndex`` that asks nobody. lists, trie: under the same root as the last leaf."""

    lists: Mapping[bytes, List] = field(default_factory=dict, repr=False)
    trie: Trie = field(default_factory=Trie, repr=False)

    async def proven(self, key: bytes) -> tuple[Found | None, bytes]:
        proof = self.trie.prove_lookup(key)
        found = self.lists.get(key)
        if found is None:
            return None, proof
        count, last = len(found.indices), found.indices[-1]
        path = tuple(found.prove(count - 1))
        return Found(key, last, Lookup(count, found.value().root, path, proof)), proof

    async def proven_page(self, found: Found, number: int) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
        indices, path = self.lists[found.key].page(number)
        return tuple(indices), tuple(path)

    async def prefix(self, prefix: bytes) -> list[tuple[bytes, Value]]:
        return [(key, Value.parse(value)) for key, value in self.trie.scan(prefix)]


async def rebuild(
    http: HttpClient,
    mirror: str,
    main: Policy,
    index: Policy,
    origin: str,
    cosign: Cosign,
    tell: Tell = lambda _: None,
    cache: TileCache | None = None,
) -> RebuiltIndex:
    """The index of the log ``origin`` as the copy at ``mirror``, a URL or a directory, allows.

    Raises what reading raises (RefusedError, status 404: it has no copy of the index log), NotWitnessed where neither
    the copy nor the witnesses give a quorum, MalformedError, ProofError, MisbehaviourError; OtherMap where the entries
    lead to another map than the leaf says.
    """
    for place in sources(http, mirror, origin):
        for log in index_sources(http, place, origin):
            try:
                note = await log.checkpoint()
            except RefusedError as error:
                if error.status not in NOT_FOUND:
                    raise
                continue
            last = await _last(place, log, note, main, index, cosign)
            head = last.main.checkpoint
            reader = LogReader(place, head.size, head.root, cache)
            lists, trie = await _replay(reader, origin, tell)
            if trie.root() != last.map_root:
                raise OtherMap(
                    "the log's entries lead to another index than its last leaf says",
                    expected=last.map_root.hex(),
                    actual=trie.root().hex(),
                )
            return RebuiltIndex(
                http, place.name, last.main, last.index, last.leaf, last.path, last.map_root, reader, lists, trie
            )
    raise RefusedError(f"{mirror} has no copy of the log's index", status=404)


async def _last(
    place: FileSource, log: TileSource, note: bytes, main: Policy, index: Policy, cosign: Cosign
) -> LastLeaf:
    head = await _witnessed(note, index, cosign)
    size, root = head.checkpoint.size, head.checkpoint.root
    if size == 0:
        raise NothingIndexed("its log is empty")
    reader = LogReader(log, size, root)
    leaf = await reader.entry(size - 1)
    path = tuple(await reader.prove_inclusion(size - 1))
    parsed = IndexLeaf.parse(leaf)
    try:
        cosigned = await place.read(f"index/v1/{size}/main", MAX_CHECKPOINT)
    except RefusedError as error:
        if error.status not in NOT_FOUND:
            raise
        cosigned = parsed.note  # with the log's line alone
    witnessed = await _witnessed(cosigned, main, cosign)
    check_input(parsed, witnessed, main)
    return LastLeaf(witnessed, head, leaf, path, parsed.map_root)


async def _witnessed(note: bytes, policy: Policy, cosign: Cosign) -> WitnessedCheckpoint:
    try:
        return verify_checkpoint(note, policy)
    except NotWitnessed:
        return verify_checkpoint(await cosign(policy, note), policy)


async def _replay(reader: LogReader, origin: str, tell: Tell) -> tuple[dict[bytes, List], Trie]:
    state, lists, trie = MemoryState(origin), dict[bytes, List](), Trie()
    async for number, entry in reader.entries():
        mapped = map_entry(entry, number, state)
        for key in mapped.keys:
            lists.setdefault(key, List()).append(number)
        if mapped.effect is not None:
            state.apply(mapped.effect)
        tell(1)
    for key, found in lists.items():
        trie.set(key, found.value().encode())
    return lists, trie
