"""A log's index asked over HTTP (docs/formats/http-api.md): every answer proven under checkpoints that policies accept.

``open_index`` verifies the index log's checkpoint and its last leaf; what is asked then fits that leaf or is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from teelog import strict
from teelog.appraisal.log import check_one_tree
from teelog.bundle import Lookup
from teelog.client.http import HttpClient
from teelog.client.log import LogReader, TileCache
from teelog.client.source import MAX_CHECKPOINT, NOT_FOUND, FileSource, HttpSource, TileSource
from teelog.errors import MalformedError, ProofError, RefusedError, UnavailableError, VerificationError
from teelog.index.leaf import IndexLeaf
from teelog.index.lists import PAGE, Value, verify_element, verify_page
from teelog.index.proof import MAX_PROOF, verify_lookup, verify_prefix
from teelog.tlog.policy import Policy, WitnessedCheckpoint, verify_checkpoint
from teelog.tlog.rfc6962 import HASH_LENGTH
from teelog.tlog.vkey import SignatureType

ATTEMPTS = 4
"""Openings: the index may move on between two requests."""
MAX_ANSWER = 4 * MAX_PROOF  # bytes of JSON; base64 and hex of 64 KiB, and paths

_A = TypeVar("_A", bound=msgspec.Struct)


class _Last(msgspec.Struct, frozen=True):
    index: str
    path: tuple[str, ...]


class _Lookup(msgspec.Struct, frozen=True):
    count: str
    list_root: str | None
    trie_proof: str
    last: _Last | None


class _Page(msgspec.Struct, frozen=True):
    indices: tuple[str, ...]
    path: tuple[str, ...]


class _Pair(msgspec.Struct, frozen=True):
    key: str
    value: str


class _Prefix(msgspec.Struct, frozen=True):
    pairs: tuple[_Pair, ...]
    proof: str


class NothingIndexed(UnavailableError):
    """The log has an index that has published no leaf yet, as for a moment after its start: waiting helps."""

    def __init__(self, actual: object) -> None:
        super().__init__(
            "the log's index has published nothing yet",
            actual=actual,
            hint="try again once its semantic witnesses have read the log",
        )


@dataclass(frozen=True, slots=True)
class Found:
    """What the index holds under a key: a list of ``lookup.count`` entries, the newest of which is ``last``."""

    key: bytes
    last: int
    lookup: Lookup

    @property
    def value(self) -> Value:
        return Value(self.lookup.count, self.lookup.list_root)


@dataclass(frozen=True, slots=True)
class RemoteIndex:
    """The index under two verified checkpoints. All methods raise what HTTP raises, MalformedError and ProofError.

    main: the checkpoint from which the index was built. index: of the index log. leaf: its last one, path: the leaf's
    inclusion. log: reads the main log's entries.
    """

    http: HttpClient = field(repr=False)
    url: str
    main: WitnessedCheckpoint
    index: WitnessedCheckpoint
    leaf: bytes = field(repr=False)
    path: tuple[bytes, ...] = field(repr=False)
    map_root: bytes
    log: LogReader = field(repr=False)

    async def lookup(self, key: bytes) -> Found | None:
        """What the index holds under ``key``; None where it is proven to hold nothing."""
        return (await self.proven(key))[0]

    async def proven(self, key: bytes) -> tuple[Found | None, bytes]:
        """The same, and the trie's proof of it (``index.proof.verify_lookup``)."""
        answer = await self._get(f"lookup/{key.hex()}", _Lookup)
        proof = _b64(answer.trie_proof, "trie proof")
        count = strict.decimal(answer.count.encode(), "count")
        if count == 0:
            verify_lookup(self.map_root, key, None, proof)
            return None, proof
        if answer.last is None or answer.list_root is None:
            raise MalformedError(f"{self.url} answers a lookup without the list's last element")
        value = Value(count, _b64(answer.list_root, "list root", HASH_LENGTH))
        verify_lookup(self.map_root, key, value.encode(), proof)
        last, path = _number(answer.last.index), _hashes(answer.last.path)
        verify_element(value, count - 1, last, path)
        self._check_covered(last)
        # Of a list that rises; so no index makes anyone read more elements than its log has entries.
        if last < count - 1:
            raise ProofError("a list of so many entries cannot end here", expected=f"{count - 1} or above", actual=last)
        return Found(key, last, Lookup(count, value.root, path, proof)), proof

    async def page(self, found: Found, number: int) -> tuple[int, ...]:
        """Page ``number`` of the list: up to 256 entry indices, rising."""
        return (await self.proven_page(found, number))[0]

    async def proven_page(self, found: Found, number: int) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
        """The same, and its path (``index.lists.verify_page``)."""
        answer = await self._get(f"list/{found.key.hex()}/{number}", _Page)
        indices = tuple(_number(each) for each in answer.indices)
        path = _hashes(answer.path)
        verify_page(found.value, number, indices, path)
        for index in indices:
            self._check_covered(index)
        return indices, path

    async def elements(self, found: Found) -> list[int]:
        """The whole list, oldest first."""
        if found.lookup.count == 1:
            return [found.last]
        listed: list[int] = []
        for number in range(-(-found.lookup.count // PAGE)):
            listed += await self.page(found, number)
        return listed

    async def newest_first(self, found: Found) -> AsyncIterator[int]:
        """The whole list, newest first, a page at a time."""
        for number in range((found.lookup.count - 1) // PAGE, -1, -1):
            for index in reversed(await self.page(found, number)):
                yield index

    async def prefix(self, prefix: bytes) -> list[tuple[bytes, Value]]:
        """All keys with ``prefix`` and their values, complete; Refusal with status 413 where that is above 64 KiB."""
        answer = await self._get(f"prefix/{prefix.hex()}", _Prefix)
        pairs = [(strict.unhex(pair.key, "key"), _b64(pair.value, "value")) for pair in answer.pairs]
        verify_prefix(self.map_root, prefix, pairs, _b64(answer.proof, "prefix proof"))
        return [(key, Value.parse(value)) for key, value in pairs]

    def _check_covered(self, index: int) -> None:
        if index >= self.main.checkpoint.size:
            raise ProofError(
                "the index lists an entry that the log does not have yet",
                expected=f"below {self.main.checkpoint.size}",
                actual=index,
            )

    async def _get(self, path: str, kind: type[_A]) -> _A:
        place = f"{self.url}/index/v1/{self.index.checkpoint.size}/{path}"
        answer = await self.http.get(place, MAX_ANSWER, accept="application/json")
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise MalformedError(f"{place} answers something else", actual=str(error)[:200]) from error


@dataclass(frozen=True, slots=True)
class LastLeaf:
    """What an index log ends with, verified. The fields as in ``RemoteIndex``."""

    main: WitnessedCheckpoint
    index: WitnessedCheckpoint
    leaf: bytes = field(repr=False)
    path: tuple[bytes, ...] = field(repr=False)
    map_root: bytes


async def open_index(
    http: HttpClient, url: str, main: Policy, index: Policy, cache: TileCache | None = None
) -> RemoteIndex:
    """The index as it is published now.

    url: of the main log. cache: of its tiles. The rest, and what it raises, as ``last_leaf``.
    """
    source = HttpSource(http, url)
    last = await last_leaf(source, HttpSource(http, f"{source.name}/index"), main, index)
    log = LogReader(source, last.main.checkpoint.size, last.main.checkpoint.root, cache)
    return RemoteIndex(http, source.name, last.main, last.index, last.leaf, last.path, last.map_root, log)


async def last_leaf(source: FileSource, log: TileSource, main: Policy, index: Policy) -> LastLeaf:
    """The newest leaf of an index, and the two checkpoints that it stands between.

    source: of the main log. log: of the index log. main, index: policies whose quorums the checkpoints must have.
    Raises what reading raises (404: this log has no index), NothingIndexed, MalformedError, VerificationError,
    NotWitnessed, ProofError; MisbehaviourError where the leaf holds the log's signature over another tree of the same
    size.
    """
    for left in range(ATTEMPTS - 1, -1, -1):
        head = verify_checkpoint(await _first(log), index)
        size, root = head.checkpoint.size, head.checkpoint.root
        if size == 0:
            raise NothingIndexed("its log is empty")
        reader = LogReader(log, size, root)
        leaf = await reader.entry(size - 1)
        path = tuple(await reader.prove_inclusion(size - 1))
        try:
            answer = await source.read(f"index/v1/{size}/main", MAX_CHECKPOINT)
        except RefusedError as error:
            # The server has published a newer size meanwhile, and keeps this one no longer.
            if error.status not in NOT_FOUND or left == 0:
                raise
            continue
        witnessed = verify_checkpoint(answer, main)
        parsed = IndexLeaf.parse(leaf)
        check_input(parsed, witnessed, main)
        return LastLeaf(witnessed, head, leaf, path, parsed.map_root)
    raise AssertionError("the last attempt returns or raises")


async def _first(log: TileSource) -> bytes:
    """The index log's checkpoint. A server that says when to ask again has none yet: one that is gone says nothing."""
    try:
        return await log.checkpoint()
    except UnavailableError as error:
        if error.retry_after is None:
            raise
        raise NothingIndexed(error.message) from error


def check_input(leaf: IndexLeaf, main: WitnessedCheckpoint, policy: Policy) -> None:
    """The leaf's map was built from this checkpoint's tree."""
    keys = [log.key for log in policy.logs if log.key.type is SignatureType.ED25519]
    head = main.checkpoint
    found = leaf.open(keys, head.origin)
    check_one_tree((found, leaf.note), (head, main.note.encode()), keys)
    if found.size != head.size:
        raise VerificationError(
            "the server gives another main checkpoint than the index leaf's",
            expected=f"size {found.size}",
            actual=f"size {head.size}",
        )


def _number(text: str) -> int:
    return strict.decimal(text.encode(), "index")


def _b64(text: str, what: str, length: int | None = None) -> bytes:
    try:
        return strict.b64(text.encode("ascii"), what, length)
    except UnicodeEncodeError as error:
        raise MalformedError(f"{what} is not base64") from error


def _hashes(path: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(_b64(each, "path", HASH_LENGTH) for each in path)
