"""Changes to a trie in pages: copy on write, each changed page hashed once.

    edit = Edit(root, read, space)
    for key in ...: place = edit.find(key); edit.put(place, payload, value)
    root, map_root, pages = edit.finish()

A page that a published version still needs is copied under a new number; any other is changed in place. Numbers come
from ``space``, which also learns which pages the new version no longer has.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple, Protocol

from teelog.index.pages import MAX_ITEMS, Item, Page, Read
from teelog.index.trie import EMPTY_ROOT, bit, divergence, leaf_hash

_CROWDED = 4 * MAX_ITEMS
"""Items at which a page is divided while a batch still goes on, so that no step of it gets long."""


class Space(Protocol):
    """Numbers of pages. version: number of the version that the edit makes; ``Page.born`` of what it writes."""

    version: int

    def take(self) -> int:
        """A number > 0 that no page of a version still needed has."""

    def needed(self, page: Page) -> bool:
        """Whether a version other than the newest one has this page."""

    def free(self, page: Page) -> None:
        """The new version does not have this page, whose number and birth are as they were."""


class Place(NamedTuple):
    """Where a key is, or would be.

    path: (page, item) from the root page on. payload: None if the key is new; then ``differs`` is the first bit in
    which it differs from the path's last key, -1 where the trie is empty.
    """

    key: bytes
    path: list[tuple[Page, int]]
    payload: bytes | None
    differs: int = -1


class Edit:
    """One batch of changes. root: number of the root page, 0 for the empty trie."""

    def __init__(self, root: int, read: Read, space: Space) -> None:
        self._root = root
        self._read = read
        self._space = space
        self._dirty: dict[int, Page] = {}

    def find(self, key: bytes) -> Place:
        """Holds until the next ``put``. Raises ValueError for a key that is empty or contains 0x00."""
        # Without 0x00 the order of the bytes is the trie's, and an empty key would read as a page.
        if not key or b"\x00" in key:
            raise ValueError("a key in pages is not empty and contains no 0x00")
        path: list[tuple[Page, int]] = []
        number = self._root
        while number:
            page = self._dirty.get(number) or self._read(number)
            if page.complete:
                at, differs = _nearest(page, key)
                path.append((page, at))
                return Place(key, path, None if differs >= 0 else page.payloads[at], differs)
            at = page.walk(key)
            path.append((page, at))
            number = page.children[at]
        if not path:
            return Place(key, path, None)
        page, at = path[-1]
        if page.keys[at] == key:
            return Place(key, path, page.payloads[at])
        return Place(key, path, None, divergence(key, page.keys[at]))

    def put(self, place: Place, payload: bytes, value: bytes) -> None:
        """Sets the payload of the place's key. value: what the trie commits to, at most 1,024 bytes."""
        key, path, old, differs = place
        item = Item(leaf_hash(key, value), 0, key, payload)
        if not path:
            self._root = self._page([item], []).number
            return
        page, at = path[-1]
        if old is not None:
            page.hashes[at] = item.hash
            page.payloads[at] = payload
            self._touch(path)
            return
        # The lowest page that has no inner node above it which tests a later bit than the one that now divides.
        depth = len(path) - 1
        while depth and path[depth - 1][0].above(path[depth - 1][1]) > differs:
            depth -= 1
        page, at = path[depth]
        page.insert(at, differs, bool(bit(key, differs)), item)
        self._touch(path[: depth + 1])
        if len(page.keys) > _CROWDED:
            page.replace(*self._divided(page))

    def finish(self) -> tuple[int, bytes, list[Page]]:
        """(number of the root page, map root, pages to write)."""
        if not self._root:
            return 0, EMPTY_ROOT, []
        if self._root not in self._dirty:
            return self._root, self._read(self._root).hash(), []
        items, bits = self._close(self._dirty[self._root])
        while len(items) > 1:
            items, bits = self._settle(self._page(items, bits))
        self._root = items[0].child
        return self._root, items[0].hash, list(self._dirty.values())

    def _close(self, page: Page) -> tuple[list[Item], list[int]]:
        """Hashes the page and all changed ones below. What stands for it above: itself, or the parts it is cut into."""
        if not page.complete:
            for at in range(len(page.children) - 1, -1, -1):
                child = self._dirty.get(page.children[at])
                if child is not None:
                    items, bits = self._close(child)
                    if bits:
                        page.splice(at, items, bits)
                    else:
                        page.hashes[at] = items[0].hash
        return self._settle(page)

    def _settle(self, page: Page) -> tuple[list[Item], list[int]]:
        if len(page.keys) <= page.limit:
            return [Item(page.hash(), page.number, b"", b"")], []
        items, bits = self._divided(page)
        del self._dirty[page.number]
        self._space.free(page)
        for at, item in enumerate(items):
            if not item.hash:
                items[at] = item._replace(hash=self._dirty[item.child].hash())
        return items, bits

    def _divided(self, page: Page) -> tuple[list[Item], list[int]]:
        """The page's items in new pages within its limit, whose hash is still empty; an item alone stays bare."""
        items, bits, limit = page.items(), page.bits, page.limit
        found: list[Item] = []
        between: list[int] = []
        todo = [(0, len(bits))]
        while todo:
            low, high = todo.pop()
            if high - low >= limit:
                gap = bits.index(min(bits[low:high]), low, high)
                todo += [(gap + 1, high), (low, gap)]
                continue
            if low:
                between.append(bits[low - 1])
            if low == high:
                found.append(items[low])
            else:
                made = self._page(items[low : high + 1], bits[low:high])
                found.append(Item(b"", made.number, b"", b""))
        return found, between

    def _page(self, items: list[Item], bits: list[int]) -> Page:
        page = Page(self._space.take(), self._space.version, items, bits)
        self._dirty[page.number] = page
        return page

    def _touch(self, path: list[tuple[Page, int]]) -> None:
        """Marks the pages of a path changed, from the last up to the first that is already: so are those above it."""
        for depth in range(len(path) - 1, -1, -1):
            page = path[depth][0]
            if page.number in self._dirty:
                return
            if self._space.needed(page):
                self._space.free(page)
                page.number = self._space.take()
                if depth:
                    above, at = path[depth - 1]
                    above.children[at] = page.number
                else:
                    self._root = page.number
            page.born = self._space.version
            self._dirty[page.number] = page


def _nearest(page: Page, key: bytes) -> tuple[int, int]:
    """(item, first bit in which it differs) of the key most like ``key`` in a page of keys; (item, -1) of itself."""
    keys = page.keys
    at = bisect_left(keys, key)
    if at == len(keys):
        return at - 1, divergence(key, keys[at - 1])
    if keys[at] == key:
        return at, -1
    after = divergence(key, keys[at])
    before = divergence(key, keys[at - 1]) if at else -1
    return (at, after) if after > before else (at - 1, before)
