"""The trie in pages is the trie: same roots, proofs and scans, whatever the order and the batches."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.index import pages, trie
from teelog.index.edit import Edit
from teelog.index.pages import MAX_ITEMS, Page

KEYS = st.text("ab\n", min_size=1, max_size=12).map(str.encode) | st.binary(min_size=1, max_size=3).filter(
    lambda key: 0 not in key
)


class Shelf:
    """Pages in a dictionary, with versions that may be kept."""

    def __init__(self) -> None:
        self.root = 0
        self.version = 0
        self.kept = 0
        self._numbers = 0
        self.bodies: dict[int, bytes] = {}
        self.freed: list[int] = []

    def read(self, number: int) -> Page:
        return Page.decode(number, self.bodies[number])

    def take(self) -> int:
        self._numbers += 1
        return self._numbers

    def needed(self, page: Page) -> bool:
        return page.born <= self.kept

    def free(self, page: Page) -> None:
        if not self.needed(page):
            self.bodies.pop(page.number, None)

    def apply(self, pairs: dict[bytes, bytes]) -> bytes:
        self.version += 1
        edit = Edit(self.root, self.read, self.write, self)
        for key, value in sorted(pairs.items()):
            edit.put(edit.find(key), value, value)
        self.root, root = edit.finish()
        return root

    def write(self, page: Page) -> None:
        assert 1 <= len(page.keys) <= MAX_ITEMS
        self.bodies[page.number] = page.encode()


def _numbered(count: int, seed: int) -> dict[bytes, bytes]:
    shuffled = random.Random(seed).sample(range(count), count)
    return {f"k\n{hashlib.sha256(b'%d' % n).hexdigest()}\n".encode(): b"%d" % n for n in shuffled}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(KEYS, st.binary(max_size=3), max_size=40), max_size=6), st.lists(KEYS, max_size=6))
def test_pages_are_the_trie(batches: list[dict[bytes, bytes]], asked: list[bytes]):
    shelf, model = Shelf(), trie.Trie()
    for batch in batches:
        for key, value in batch.items():
            model.set(key, value)
        assert shelf.apply(batch) == model.root()
    _compare(shelf, model, [*asked, *(key for batch in batches for key in list(batch)[:5])])


def _compare(shelf: Shelf, model: trie.Trie, keys: list[bytes]) -> None:
    for key in keys:
        if not shelf.root:
            assert model.root() == trie.EMPTY_ROOT
            continue
        found = pages.find(shelf.root, key, shelf.read)
        assert trie.lookup_proof(key, found.key, found.payload, found.steps()) == model.prove_lookup(key)
        assert (found.payload if found.key == key else None) == model.get(key)
        prefix = key[:2]
        found = pages.find(shelf.root, prefix, shelf.read)
        assert trie.prefix_proof(prefix, found.key, found.payload, found.steps()) == model.prove_prefix(prefix)
        if trie.has_prefix(found.key, prefix):
            assert pages.under(found, prefix, shelf.read, 10_000) == model.scan(prefix)
        else:
            assert model.scan(prefix) == []


@pytest.mark.parametrize("batch", [1, 7, 250, 1_500])
def test_pages_are_the_trie_with_many_keys_in_batches_of(batch: int):
    pairs = list(_numbered(1_500 if batch > 1 else 400, batch).items())
    shelf, model = Shelf(), trie.Trie()
    for start in range(0, len(pairs), batch):
        part = dict(pairs[start : start + batch])
        for key, value in part.items():
            model.set(key, value)
        assert shelf.apply(part) == model.root()
    _compare(shelf, model, [key for key, _ in pairs[:200]] + [b"absent", b"k\n0\n", b"z"])


def test_chains_of_prefixes_stay_shallow_in_pages():
    shelf, model = Shelf(), trie.Trie()
    for start in range(0, 512, 64):
        part = {b"%0*x" % (512, 1 << at): b"v" for at in range(start, start + 64)}
        for key, value in part.items():
            model.set(key, value)
        assert shelf.apply(part) == model.root()
    deepest = pages.find(shelf.root, b"%0512x" % 1, shelf.read)
    assert len(deepest.steps()) > 256
    assert len(deepest.path) <= 512 // (MAX_ITEMS // 2)


def test_a_kept_version_stays_readable_while_later_ones_are_made():
    shelf, model = Shelf(), trie.Trie()
    pairs = list(_numbered(2_000, 1).items())
    for key, value in pairs[:1_000]:
        model.set(key, value)
    shelf.apply(dict(pairs[:1_000]))
    shelf.kept, root, before = shelf.version, shelf.root, model.copy()
    for start in range(1_000, 2_000, 100):
        shelf.apply(dict(pairs[start : start + 100]) | {pairs[start - 900][0]: b"changed"})
    for key, _ in pairs:
        found = pages.find(root, key, shelf.read)
        assert trie.lookup_proof(key, found.key, found.payload, found.steps()) == before.prove_lookup(key)


@pytest.mark.parametrize("key", [b"", b"a\x00b"])
def test_a_key_whose_bytes_do_not_order_it_is_refused(key: bytes):
    shelf = Shelf()
    with pytest.raises(ValueError):
        Edit(0, shelf.read, shelf.write, shelf).find(key)


def test_keys_that_do_not_rise_are_refused():
    shelf = Shelf()
    edit = Edit(0, shelf.read, shelf.write, shelf)
    edit.put(edit.find(b"b"), b"", b"")
    for key in (b"a", b"b"):
        with pytest.raises(ValueError):
            edit.find(key)


def test_a_page_is_written_once_a_batch_and_none_without_a_change():
    shelf = Shelf()
    pairs = _numbered(2_000, 5)
    shelf.apply(pairs)
    written: list[int] = []
    edit = Edit(shelf.root, shelf.read, lambda page: written.append(page.number), shelf)
    for key in sorted(pairs)[::3]:
        place = edit.find(key)
        if key == sorted(pairs)[3]:
            edit.put(place, b"new", b"new")
    edit.finish()
    found = pages.find(shelf.root, sorted(pairs)[3], shelf.read)
    assert sorted(written) == sorted(page.number for page, _ in found.path)
