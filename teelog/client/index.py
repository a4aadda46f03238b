"""A log's index asked over HTTP, at one size of the index log: every answer verified before it is given.

    index = await open_index(http, url, main_policy, index_policy)
    found = await index.lookup(keys.status_key(stream))       None: the index proves that there is no such list
    indices = await index.indices(found)                      all of it

Semantic witnesses rebuilt the map under the index log's last leaf: their quorum is what an answer rests on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from teelog import strict
from teelog.client.http import HttpClient, Refusal, check_url
from teelog.client.log import LogReader
from teelog.client.source import HttpSource
from teelog.errors import MalformedError, NotEstablished, ProofError, UnavailableError, VerificationError
from teelog.index.leaf import IndexLeaf
from teelog.index.lists import PAGE, Value, verify_element, verify_page
from teelog.index.proof import MAX_PROOF, verify_lookup, verify_prefix
from teelog.tlog import note
from teelog.tlog.policy import Policy, WitnessedCheckpoint, verify_checkpoint
from teelog.tlog.rfc6962 import HASH_LENGTH
from teelog.tlog.vkey import SignatureType

MAX_ANSWER = 1 << 20  # bytes
MAX_ELEMENTS = 1 << 24
"""Indices of one list that are read; above it the list is for others to read."""
ATTEMPTS = 5  # at a size that is still kept: a busy log's index moves on


class _Last(msgspec.Struct, frozen=True):
    index: str
    path: tuple[str, ...]


class _Lookup(msgspec.Struct, frozen=True):
    count: str
    trie_proof: str
    list_root: str | None = None
    last: _Last | None = None


class _Page(msgspec.Struct, frozen=True):
    indices: tuple[str, ...]
    path: tuple[str, ...]


class _Pair(msgspec.Struct, frozen=True):
    key: str
    value: str


class _Prefix(msgspec.Struct, frozen=True):
    pairs: tuple[_Pair, ...]
    proof: str


Answer = TypeVar("Answer", _Lookup, _Page, _Prefix)


@dataclass(frozen=True, slots=True)
class Found:
    """A key's list. last: its newest element, an index of the main log; last_path: its inclusion in the list."""

    key: bytes
    value: Value
    trie_proof: bytes = field(repr=False)
    last: int
    last_path: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Index:
    """The index under one checkpoint of its log. main: the checkpoint that it covers, of the very same tree.

    leaf, leaf_path: the index log's last leaf and its inclusion. Methods raise UnavailableError, RefusedError (404: this
    size is not kept any more), MalformedError, ProofError.
    """

    http: HttpClient = field(repr=False)
    url: str
    head: WitnessedCheckpoint
    main: WitnessedCheckpoint
    leaf: IndexLeaf = field(repr=False)
    leaf_path: tuple[bytes, ...] = field(repr=False)

    @property
    def size(self) -> int:
        """Leaves of the index log."""
        return self.head.checkpoint.size

    async def lookup(self, key: bytes) -> Found | None:
        """The list under ``key``; None where its absence is proven."""
        answer = await self._ask(f"lookup/{key.hex()}", _Lookup)
        proof = _bytes(answer.trie_proof, "trie_proof")
        count = _number(answer.count, "count")
        if count == 0:
            verify_lookup(self.leaf.map_root, key, None, proof)
            return None
        if answer.list_root is None or answer.last is None:
            raise MalformedError("an answer about a list has no root or no last element")
        value = Value(count, _hash(answer.list_root))
        verify_lookup(self.leaf.map_root, key, value.encode(), proof)
        last, path = _number(answer.last.index, "last index"), _hashes(answer.last.path)
        self._check_index(last)
        verify_element(value, count - 1, last, path)
        return Found(key, value, proof, last, path)

    async def page(self, key: bytes, value: Value, number: int) -> list[int]:
        """Elements ``PAGE`` * number and up to PAGE - 1 that follow, of the list ``value`` under ``key``."""
        answer = await self._ask(f"list/{key.hex()}/{number}", _Page)
        indices = [_number(each, "index") for each in answer.indices]
        verify_page(value, number, indices, _hashes(answer.path))
        for index in indices:
            self._check_index(index)
        return indices

    async def indices(self, found: Found) -> list[int]:
        """All elements, oldest first. Raises NotEstablished where there are too many to read."""
        count = found.value.count
        if count > MAX_ELEMENTS:
            raise NotEstablished("the list is too long to read", expected=f"at most {MAX_ELEMENTS}", actual=count)
        if count == 1:
            return [found.last]
        pages = await asyncio.gather(
            *(self.page(found.key, found.value, number) for number in range(-(-count // PAGE)))
        )
        return [index for page in pages for index in page]

    async def scan(self, prefix: bytes) -> list[tuple[bytes, Value]]:
        """All keys with this prefix, in order, with what stands under each; that there are no others is proven."""
        answer = await self._ask(f"prefix/{prefix.hex()}", _Prefix)
        pairs = [(strict.unhex(each.key, "key"), _bytes(each.value, "value")) for each in answer.pairs]
        verify_prefix(self.leaf.map_root, prefix, pairs, _bytes(answer.proof, "proof"))
        return [(key, Value.parse(value)) for key, value in pairs]

    async def _ask(self, path: str, form: type[Answer]) -> Answer:
        place = f"{self.url}/index/v1/{self.size}/{path}"
        answer = await self.http.get(place, MAX_ANSWER, accept="application/json")
        try:
            return msgspec.json.decode(answer.body, type=form)
        except (ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise MalformedError(f"{place} gives an answer of another form", actual=str(error)[:200]) from error

    def _check_index(self, index: int) -> None:
        if index >= self.main.checkpoint.size:
            raise ProofError(
                "the index lists an entry that the log does not have",
                expected=f"below {self.main.checkpoint.size}",
                actual=index,
            )


async def open_index(http: HttpClient, url: str, main: Policy, index: Policy) -> Index:
    """The newest published index of the log at ``url``, and the main checkpoint that it covers.

    Raises UnavailableError, RefusedError (404: the log has no index), MalformedError, VerificationError (NotWitnessed
    where a quorum is missing), ProofError.
    """
    place = check_url(url)
    for attempt in range(ATTEMPTS):
        source = HttpSource(http, f"{place}/index")
        head = verify_checkpoint(await source.checkpoint(), index)
        if head.checkpoint.size == 0:
            raise UnavailableError("the log's index holds nothing yet", actual="size 0")
        reader = LogReader(source, head.checkpoint.size, head.checkpoint.root)
        last = head.checkpoint.size - 1
        leaf = IndexLeaf.parse(await reader.entry(last))
        path = tuple(await reader.prove_inclusion(last))
        try:
            answer = await http.get(f"{place}/index/v1/{head.checkpoint.size}/main", note.MAX_LENGTH)
        except Refusal as refusal:
            if refusal.status != 404 or attempt == ATTEMPTS - 1:
                raise
            continue  # the index has moved on in the meantime
        covered = verify_checkpoint(answer.body, main)
        _check_input(leaf, covered, main)
        return Index(http, place, head, covered, leaf, path)
    raise AssertionError("unreachable")


def _check_input(leaf: IndexLeaf, covered: WitnessedCheckpoint, main: Policy) -> None:
    """Protocol section 7 step 4: the map was built from exactly this checkpoint's tree."""
    keys = [log.key for log in main.logs if log.key.type is SignatureType.ED25519]
    found = leaf.open(keys, covered.checkpoint.origin)
    if found != covered.checkpoint:
        raise VerificationError(
            "the index was built from another checkpoint than the log gives with it",
            expected=f"size {found.size}, root {found.root.hex()}",
            actual=f"size {covered.checkpoint.size}, root {covered.checkpoint.root.hex()}",
        )


def _number(text: str, what: str) -> int:
    return strict.decimal(text.encode(), what)


def _bytes(text: str, what: str) -> bytes:
    if len(text) > 2 * MAX_PROOF:
        raise MalformedError(f"{what} is too long", expected=f"at most {MAX_PROOF} bytes")
    return strict.b64(text.encode(), what)


def _hash(text: str) -> bytes:
    return strict.b64(text.encode(), "hash", HASH_LENGTH)


def _hashes(texts: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(_hash(each) for each in texts)
