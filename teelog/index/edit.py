"""Changes to a trie in pages: copy on write, in the order of the keys, each changed page hashed and written once.

    edit = Edit(root, read, write, space)
    for key in sorted(...): place = edit.find(key); edit.put(place, payload, value)
    root, map_root = edit.finish()

As keys rise, what lies before the last one is never touched again: only the pages from the root down to it are held,
and a page is hashed and written when the keys have passed it. So a batch takes memory for one path, whatever its size.

A page that a published version still needs is copied under a new number; any other is changed in place.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
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
    """Where a key is, or would be. payload: None if the key is new; then ``differs`` is the first bit in which it
    differs from the key that its bits lead to, -1 where the trie is empty.
    """

    key: bytes
    payload: bytes | None
    differs: int = -1


class Edit:
    """One batch of changes.

    root: number of the root page, 0 for the empty trie. read: gives what ``write`` was given last for a number, else
    what is on disk; the page it gives may be changed.
    """

    def __init__(self, root: int, read: Read, write: Callable[[Page], None], space: Space) -> None:
        self._root = root
        self._read = read
        self._write = write
        self._space = space
        self._path: list[tuple[Page, int]] = []  # (page, item) from the root page to the last key found
        self._tested: list[int] = []  # the last bit that is tested in each of those pages on the way
        self._changed: set[int] = set()  # numbers of those pages of the path that are to be written
        self._last = b""

    def find(self, key: bytes) -> Place:
        """Holds until the next ``find``. Raises ValueError for a key that contains 0x00, or is not above the last."""
        # Without 0x00 the order of the bytes is the trie's, and an empty key would read as a page.
        if key <= self._last or b"\x00" in key:
            raise ValueError("keys in pages rise, and contain no 0x00")
        path, number, depth = self._path, self._root, 0
        if path:
            # Where all bits that were tested are those of the last key, the way is the same.
            same = divergence(self._last, key)
            while depth + 1 < len(path) and self._tested[depth] < same:
                depth += 1
            number = path[depth][0].number
        self._last = key
        while number:
            page = path[depth][0] if depth < len(path) else self._read(number)
            at, differs = _nearest(page, key) if page.complete else (page.walk(key), -1)
            number = page.children[at]
            if len(path) > depth + 1 and path[depth + 1][0].number != number:
                # The keys have passed what is below; closing it may add items to this page.
                self._close(depth + 1)
                number = page.number
                continue
            path[depth : depth + 1] = [(page, at)]
            self._tested[depth:] = [page.above(at)]
            depth += 1
        if not path:
            return Place(key, None)
        page, at = path[-1]
        if not page.complete and page.keys[at] != key:
            differs = divergence(key, page.keys[at])
        return Place(key, None if differs >= 0 else page.payloads[at], differs)

    def put(self, place: Place, payload: bytes, value: bytes) -> None:
        """Sets the payload of the place's key. value: what the trie commits to, at most 1,024 bytes."""
        key, old, differs = place
        item = Item(leaf_hash(key, value), 0, key, payload)
        path = self._path
        if not path:
            page = Page(self._space.take(), self._space.version, [item], [])
            self._root = page.number
            self._changed.add(page.number)
            path.append((page, 0))
            return
        page, at = path[-1]
        if old is not None:
            page.hashes[at] = item.hash
            page.payloads[at] = payload
            self._touch()
            return
        # The lowest page that has no inner node above it which tests a later bit than the one that now divides.
        depth = len(path) - 1
        while depth and path[depth - 1][0].above(path[depth - 1][1]) > differs:
            depth -= 1
        page, at = path[depth]
        if depth + 1 < len(path):
            self._close(depth + 1)
            at = page.walk(key)
        page.insert(at, differs, bool(bit(key, differs)), item)
        self._touch()
        self._ease(page)

    def finish(self) -> tuple[int, bytes]:
        """(number of the root page, map root); everything is written."""
        self._close(1)
        if not self._root:
            return 0, EMPTY_ROOT
        page = self._path.pop()[0] if self._path else self._read(self._root)
        if page.number not in self._changed:
            return self._root, page.hash()
        items, bits = self._settle(page)
        while bits:
            items, bits = self._settle(Page(self._space.take(), self._space.version, items, bits))
        self._root = items[0].child
        return self._root, items[0].hash

    def _close(self, depth: int) -> None:
        """Takes leave of the path's pages from ``depth`` on: what changed is written, and stands in the page above."""
        path = self._path
        while len(path) > depth:
            page = path.pop()[0]
            if page.number in self._changed:
                above = path[-1][0]
                at = above.children.index(page.number)
                items, bits = self._settle(page)
                if bits:
                    above.splice(at, items, bits)
                    self._ease(above)
                else:
                    above.hashes[at] = items[0].hash

    def _settle(self, page: Page) -> tuple[list[Item], list[int]]:
        """Writes the page. What stands for it above: itself, or the parts that it is cut into."""
        self._changed.discard(page.number)
        if len(page.keys) <= page.limit:
            return [self._written(page)], []
        parts = self._divided(page)
        self._space.free(page)
        return parts

    def _ease(self, page: Page) -> None:
        """The page, all of whose pages below are written, gets one for each of its parts if it is crowded."""
        if len(page.keys) > _CROWDED:
            page.replace(*self._divided(page))

    def _divided(self, page: Page) -> tuple[list[Item], list[int]]:
        """The page's items in new pages within its limit, which are written; an item alone stays as it is."""
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
                part = Page(self._space.take(), self._space.version, items[low : high + 1], bits[low:high])
                found.append(self._written(part))
        return found, between

    def _written(self, page: Page) -> Item:
        self._write(page)
        return Item(page.hash(), page.number, b"", b"")

    def _touch(self) -> None:
        """Marks the path's pages changed, from the last up to the first that is already: so are those above it."""
        path = self._path
        for depth in range(len(path) - 1, -1, -1):
            page = path[depth][0]
            if page.number in self._changed:
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
            self._changed.add(page.number)


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
