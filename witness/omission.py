"""Looks for the compact proof that an index leaves an entry out: the list that skips it, from the index itself.

The index's newest leaf has another map root than the entries lead to. Where its server still answers look-ups, the keys
of the entries that no right leaf covers are compared with the index rebuilt; the first list that skips an entry is it.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from teelog.client.index import Found, RemoteIndex
from teelog.errors import NotEstablished
from teelog.index import fault, keys
from teelog.index.fault import Neighbour, Omission
from teelog.index.keys import Kind
from teelog.index.lists import PAGE, Value
from teelog.indexing.reader import IndexReader
from teelog.statement.index_map import Mapped
from teelog.witness import claimed

MAX_ENTRIES = 10_000  # whose keys are kept
MAX_KEYS = 1_000  # keys asked for
MAX_LIST = 1 << 20  # elements of a list that is read to find what is missing in it


async def find(remote: RemoteIndex, honest: IndexReader, candidates: Iterable[bytes]) -> Omission | None:
    """The first omission under one of ``candidates``, None if their lists skip nothing.

    remote: the index, its map root authenticated. honest: the rebuilt one over the same entries, under index size 1.
    Raises what asking the index raises: a server that lies in its answers shows nothing.
    """
    for _, key in zip(range(MAX_KEYS), candidates, strict=False):
        right = honest.lookup(1, key).value
        found, proof = await remote.proven(key)
        if right is None or right == (None if found is None else found.value):
            continue
        shown = [] if found is None else await _elements(remote, found)
        missing = _first_missing(honest, key, right, shown)
        if missing is not None:
            return await _prove(remote, key, found, proof, shown, missing)
    return None


async def _elements(remote: RemoteIndex, found: Found) -> list[int]:
    if found.lookup.count > MAX_LIST:
        raise NotEstablished("a list is too long to be searched", actual=found.lookup.count)
    return await remote.elements(found)


def _first_missing(honest: IndexReader, key: bytes, right: Value, shown: Sequence[int]) -> int | None:
    held = set(shown)
    for number in range(-(-right.count // PAGE)):
        for index in honest.page(1, key, number)[0]:
            if index not in held:
                return index
    return None


async def _prove(
    remote: RemoteIndex, key: bytes, found: Found | None, proof: bytes, shown: Sequence[int], missing: int
) -> Omission:
    entry = await claimed.entry(remote, missing)
    place = bisect.bisect(shown, missing)
    before = await _neighbour(remote, found, place - 1) if found is not None and place else None
    after = await _neighbour(remote, found, place) if found is not None and place < len(shown) else None
    claims = await claimed.gather(remote, key, missing, place)
    return fault.omission(entry, key, None if found is None else found.value, proof, before, after, claims)


async def _neighbour(remote: RemoteIndex, found: Found, position: int) -> Neighbour:
    index, path = await claimed.element(remote, found, position)
    return fault.neighbour(position, index, path)


class Recent:
    """The keys of the newest entries that were mapped, for ``find``."""

    def __init__(self) -> None:
        self._keys: OrderedDict[int, tuple[bytes, ...]] = OrderedDict()

    def observe(self, index: int, mapped: Mapped) -> None:
        if mapped.keys:
            self._keys[index] = mapped.keys
            if len(self._keys) > MAX_ENTRIES:
                self._keys.popitem(last=False)

    def since(self, start: int) -> Sequence[bytes]:
        """Those of entries from ``start`` on, as far as they are kept, each once: what proves most comes first."""
        found = dict.fromkeys(key for index, held in self._keys.items() if index >= start for key in held)
        return sorted(found, key=_rank)


def _rank(key: bytes) -> int:
    """Of some kinds an entry shows by itself where it belongs; and a signer's list says least."""
    kind, _ = keys.parse(key)
    return 0 if kind in fault.ALONE else 2 if kind is Kind.SIGNER else 1
