"""The trie cut into pages, as it is kept on disk: each page is one complete subtree (docs/decisions/0012).

A page is a list of items in the trie's order, and the bits in which neighbours differ: bit ``i`` is the first in which
items i and i + 1 do. An item is a key (with its payload and the hash of its leaf), or a page of its own, which stands
for all keys below it (with its number and its hash). The smallest of the bits is the subtree's topmost inner node, the
smallest on either side of it are that node's halves, and so on: no node is stored, and none has to be.

Encoded: uint64 born, uint16 items, uint16 length of the keys' common start; uint16 each: bits, key lengths (0xffff: a
page), payload lengths; 32-byte hashes; common start; rests of the keys; payloads (of a page: its number, uint64). All
little-endian. The form is this software's own: nothing outside depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate, pairwise
from struct import Struct
from typing import NamedTuple

from teelog.index.trie import Steps, divergence, fold

MAX_KEYS, MAX_ITEMS = 16, 32
"""Items of a page as it is written: of one that has only keys, of any other. The first are changed most."""

_HEAD = Struct("<QHH")
_NUMBER = Struct("<Q")
_CHILD = 0xFFFF


class Item(NamedTuple):
    """hash: 32 bytes. child: number of a page, 0 for a key. key, payload: empty for a page."""

    hash: bytes
    child: int
    key: bytes
    payload: bytes


class Page:
    """One page, decoded, as parallel lists. born: number of the version that wrote it. complete: no item is a page."""

    __slots__ = ("bits", "born", "children", "complete", "hashes", "keys", "number", "payloads")

    def __init__(self, number: int, born: int, items: Sequence[Item], bits: list[int]) -> None:
        self.number = number
        self.born = born
        self.bits = bits
        self.hashes = [item.hash for item in items]
        self.children = [item.child for item in items]
        self.keys = [item.key for item in items]
        self.payloads = [item.payload for item in items]
        self.complete = not any(self.children)

    @property
    def limit(self) -> int:
        return MAX_KEYS if self.complete else MAX_ITEMS

    def items(self) -> list[Item]:
        return list(map(Item, self.hashes, self.children, self.keys, self.payloads))

    def replace(self, items: Sequence[Item], bits: list[int]) -> None:
        Page.__init__(self, self.number, self.born, items, bits)

    def splice(self, at: int, items: Sequence[Item], bits: Sequence[int]) -> None:
        """Puts items, and the bits between them, in the place of item ``at``."""
        end = at + 1
        self.hashes[at:end] = [item.hash for item in items]
        self.children[at:end] = [item.child for item in items]
        self.keys[at:end] = [item.key for item in items]
        self.payloads[at:end] = [item.payload for item in items]
        self.bits[at:at] = bits
        self.complete = not any(self.children)

    def insert(self, near: int, bit: int, after: bool, item: Item) -> None:
        """Adds an item that differs first in ``bit`` from item ``near`` and from all with which that one agrees so far.

        after: whether the new item has a one there.
        """
        bits = self.bits
        if after:
            while near < len(bits) and bits[near] > bit:
                near += 1
            at = near + 1
        else:
            while near > 0 and bits[near - 1] > bit:
                near -= 1
            at = near
        bits.insert(near, bit)
        self.hashes.insert(at, item.hash)
        self.children.insert(at, item.child)
        self.keys.insert(at, item.key)
        self.payloads.insert(at, item.payload)
        self.complete = self.complete and not item.child

    def above(self, at: int) -> int:
        """The bit of the inner node right above item ``at`` within this page, -1 if there is none."""
        bits = self.bits
        return max(bits[at - 1] if at else -1, bits[at] if at < len(bits) else -1)

    def walk(self, key: bytes) -> int:
        """The item that the bits of the (padded) key lead to."""
        bits, length = self.bits, len(key)
        low, high = 0, len(bits)
        while low < high:
            window = bits[low:high]
            number = min(window)
            gap = low + window.index(number)
            at = number >> 3
            if key[at] >> (7 - (number & 7)) & 1 if at < length else at != length:
                low = gap + 1
            else:
                high = gap
        return low

    def ways(self, at: int) -> list[tuple[int, int, int]]:
        """The inner nodes from the page's top down to item ``at``: (gap, first item, last item) of each."""
        bits, found = self.bits, []
        low, high = 0, len(bits)
        while low < high:
            gap = bits.index(min(bits[low:high]), low, high)
            found.append((gap, low, high))
            low, high = (gap + 1, high) if at > gap else (low, gap)
        return found

    def steps(self, at: int) -> Steps:
        """(bit, hash of the other half) from item ``at`` up to the page's top."""
        found = []
        for gap, low, high in reversed(self.ways(at)):
            low, high = (low, gap) if at > gap else (gap + 1, high)
            found.append((self.bits[gap], fold(self.hashes[low : high + 1], self.bits[low:high])))
        return found

    def hash(self) -> bytes:
        return fold(self.hashes, self.bits)

    def encode(self) -> bytes:
        children, keys, count = self.children, self.keys, len(self.keys)
        if self.complete:
            start = _common(keys[0], keys[-1])
            lengths = [len(key) - start for key in keys]
            sizes = list(map(len, self.payloads))
            rest = [keys[0][:start], *[key[start:] for key in keys], *self.payloads]
        elif all(children):
            start, lengths, sizes = 0, [_CHILD] * count, [_NUMBER.size] * count
            rest = [_children(count).pack(*children)]
        else:
            own = [key for key in keys if key]
            start = _common(own[0], own[-1])
            lengths = [len(key) - start if key else _CHILD for key in keys]
            payloads = [
                _NUMBER.pack(child) if child else payload
                for payload, child in zip(self.payloads, children, strict=True)
            ]
            sizes = list(map(len, payloads))
            rest = [own[0][:start], *[key[start:] for key in own], *payloads]
        head = _HEAD.pack(self.born, count, start)
        return b"".join((head, _numbers(count).pack(*self.bits, *lengths, *sizes), *self.hashes, *rest))

    @classmethod
    def decode(cls, number: int, data: bytes) -> Page:
        """A page that ``encode`` made: the file is the software's own, and SQLite notices what it can of damage."""
        page = cls.__new__(cls)
        born, count, start = _HEAD.unpack_from(data)
        numbers = _numbers(count)
        listed = numbers.unpack_from(data, _HEAD.size)
        page.number, page.born = number, born
        page.bits = list(listed[: count - 1])
        at = _HEAD.size + numbers.size
        end = at + 32 * count
        page.hashes = [data[i : i + 32] for i in range(at, end, 32)]
        lengths, sizes = listed[count - 1 : 2 * count - 1], listed[2 * count - 1 :]
        own = count - lengths.count(_CHILD)
        page.complete = own == count
        if not own:
            page.children = list(_children(count).unpack_from(data, end))
            page.keys, page.payloads = [b""] * count, [b""] * count
            return page
        common = data[end : end + start]
        plain = lengths if page.complete else [0 if length == _CHILD else length for length in lengths]
        ends = list(accumulate(plain, initial=end + start))
        keys = [common + data[a:b] for a, b in pairwise(ends)]
        payloads = [data[a:b] for a, b in pairwise(accumulate(sizes, initial=ends[-1]))]
        page.children = [0] * count
        if not page.complete:
            for i, length in enumerate(lengths):
                if length == _CHILD:
                    (page.children[i],) = _NUMBER.unpack(payloads[i])
                    keys[i] = payloads[i] = b""
        page.keys, page.payloads = keys, payloads
        return page


@cache
def _children(count: int) -> Struct:
    return Struct(f"<{count}Q")


@cache
def _numbers(count: int) -> Struct:
    return Struct(f"<{3 * count - 1}H")


def _common(first: bytes, last: bytes) -> int:
    """Bytes with which two keys, and all that lie between them, begin."""
    return divergence(first, last) >> 3 if first != last else len(first)


Read = Callable[[int], Page]
"""Number of a page -> the page."""


class Found(NamedTuple):
    """Where the bits of a key lead. path: (page, item) from the root page down; the last item is a key."""

    path: list[tuple[Page, int]]

    @property
    def key(self) -> bytes:
        page, at = self.path[-1]
        return page.keys[at]

    @property
    def payload(self) -> bytes:
        page, at = self.path[-1]
        return page.payloads[at]

    def steps(self) -> Steps:
        return [step for page, at in reversed(self.path) for step in page.steps(at)]


def find(root: int, key: bytes, read: Read) -> Found:
    """The leaf that the bits of ``key`` lead to in the trie whose root page is ``root``."""
    path = []
    number = root
    while number:
        page = read(number)
        at = page.walk(key)
        path.append((page, at))
        number = page.children[at]
    return Found(path)


def under(found: Found, prefix: bytes, read: Read, limit: int) -> list[tuple[bytes, bytes]] | None:
    """(key, payload) of all keys with the prefix, in order, where ``found`` is what the prefix leads to and has it.

    limit: None comes back as soon as there are more keys than that.
    """
    page, low, high = _top(found, 8 * len(prefix))
    todo = [(page, at) for at in range(high, low - 1, -1)]
    pairs: list[tuple[bytes, bytes]] = []
    while todo:
        page, at = todo.pop()
        child = page.children[at]
        if child:
            page = read(child)
            todo += [(page, i) for i in range(len(page.keys) - 1, -1, -1)]
        elif len(pairs) == limit:
            return None
        else:
            pairs.append((page.keys[at], page.payloads[at]))
    return pairs


def _top(found: Found, bits: int) -> tuple[Page, int, int]:
    """(page, first item, last item) of the smallest subtree on the path that no bit below ``bits`` divides."""
    for page, at in found.path:
        for gap, low, high in page.ways(at):
            if page.bits[gap] >= bits:
                return page, low, high
    page, at = found.path[-1]
    return page, at, at
