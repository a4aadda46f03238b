"""The store against the trie and lists in memory, in versions, with readers beside the writer."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teelog.errors import ConfigError, RefusedError
from teelog.index import keys
from teelog.index.lists import List, Value, verify_element, verify_page
from teelog.index.proof import verify_lookup, verify_prefix
from teelog.index.trie import Trie
from teelog.indexing.store import IndexReader, IndexStore, NotRetained

ORIGIN = "log.example/tee"


class Model:
    """The index by its definition."""

    def __init__(self) -> None:
        self.trie = Trie()
        self.lists: dict[bytes, list[int]] = {}

    def extend(self, changes: list[tuple[bytes, int]]) -> bytes:
        for key, index in changes:
            self.lists.setdefault(key, []).append(index)
        for key in {key for key, _ in changes}:
            self.trie.set(key, List(self.lists[key]).value().encode())
        return self.trie.root()

    def copy(self) -> Model:
        twin = Model()
        twin.trie, twin.lists = self.trie.copy(), {key: list(held) for key, held in self.lists.items()}
        return twin


def about(number: int) -> bytes:
    return keys.key(keys.Kind.ABOUT, f"{number:064x}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


def _check_version(reader: IndexReader, size: int, model: Model, asked: list[bytes]) -> None:
    root = model.trie.root()
    assert reader.version(size).map_root == root
    for key in asked:
        found = reader.lookup(size, key)
        indices = model.lists.get(key)
        assert found.value == (None if indices is None else List(indices).value())
        verify_lookup(root, key, found.value and found.value.encode(), found.proof)
        assert found.proof == model.trie.prove_lookup(key)
        if found.value is None or indices is None:
            for ask in (reader.element, reader.page):
                with pytest.raises(IndexError):
                    ask(size, key, 0)
            continue
        _check_list(reader, size, key, found.value, indices)


def _check_list(reader: IndexReader, size: int, key: bytes, value: Value, indices: list[int]) -> None:
    for position in {0, len(indices) // 2, len(indices) - 1}:
        index, path = reader.element(size, key, position)
        assert index == indices[position]
        verify_element(value, position, index, path)
    pages = range((len(indices) + 255) // 256)
    for number in pages:
        listed, path = reader.page(size, key, number)
        assert listed == indices[256 * number : 256 * (number + 1)]
        verify_page(value, number, listed, path)
    for ask, beyond in ((reader.element, len(indices)), (reader.page, len(pages)), (reader.element, -1)):
        with pytest.raises(IndexError):
            ask(size, key, beyond)


BATCHES = st.lists(st.lists(st.lists(st.integers(0, 40), max_size=6), max_size=30), min_size=1, max_size=6)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(BATCHES, st.sets(st.integers(0, 5)), st.sets(st.integers(0, 5)))
def test_store_is_the_definition(path: Path, batches: list[list[list[int]]], published: set[int], reopened: set[int]):
    shutil.rmtree(path.parent)
    path.parent.mkdir()
    model, size, kept = Model(), 0, {}
    store = IndexStore.open(path, ORIGIN, create=True)
    for number, batch in enumerate(batches):
        changes = [(about(key), size + at) for at, entry in enumerate(batch) for key in dict.fromkeys(entry)]
        size += len(batch)
        assert store.extend(changes, size) == model.extend(changes) == store.map_root
        if number in published:
            store.publish(number + 1, size, now=1_000.0)
            kept[number + 1] = model.copy()
        if number in reopened:
            store.close()
            store = IndexStore.open(path, ORIGIN)
        assert (store.input_size, store.map_root) == (size, model.trie.root())
    reader = IndexReader.open(path)
    for index_size, then in kept.items():
        _check_version(reader, index_size, then, [about(key) for key in range(41)])
    reader.close()
    store.close()


def test_long_lists_in_batches_of_every_shape(path: Path):
    model, size, rng = Model(), 0, random.Random(1)
    store = IndexStore.open(path, ORIGIN, create=True)
    reader = IndexReader.open(path)
    kept = {}
    for version, count in enumerate([1, 31, 1, 1, 200, 30, 1, 700, 5, 70_000, 3], 1):
        changes = [(about(0 if rng.random() < 0.97 else 1), size + at) for at in range(count)]
        size += count
        assert store.extend(changes, size) == model.extend(changes)
        store.publish(version, size, now=1_000.0)
        kept[version] = model.copy()
    for version, then in kept.items():
        _check_version(reader, version, then, [about(0), about(1), about(2)])
    reader.close()
    store.close()


def test_every_prefix_is_proven_complete(path: Path):
    store, model = IndexStore.open(path, ORIGIN, create=True), Model()
    releases = [keys.release_key(f"{ns}/{p}/{c}") for ns in ("a.example", "b.example") for p in "xy" for c in "cd"]
    changes = [(key, at) for at, key in enumerate([*releases, about(1)])]
    root = store.extend(changes, len(changes))
    model.extend(changes)
    store.publish(1, len(changes))
    reader = IndexReader.open(path)
    asked = [b"", b"rel", keys.prefix(keys.Kind.RELEASE, "a.example"), keys.prefix(keys.Kind.RELEASE, "c.example")]
    for prefix in [*asked, releases[0], about(1), about(2), b"zz"]:
        pairs, proof = reader.scan(1, prefix, 64 * 1024)
        assert pairs == model.trie.scan(prefix)
        assert proof == model.trie.prove_prefix(prefix)
        verify_prefix(root, prefix, pairs, proof)
    with pytest.raises(RefusedError) as refused:
        reader.scan(1, b"", 500)
    assert refused.value.status == 413
    reader.close()
    store.close()


def test_old_versions_are_answered_from_until_their_time_is_over(path: Path):
    store, model, size = IndexStore.open(path, ORIGIN, create=True, retain=10.0), Model(), 0
    reader, kept = IndexReader.open(path), {}
    for version in range(1, 30):
        changes = [(about(hash((version, at)) % 5_000), size + at) for at in range(40)]
        size += 40
        store.extend(changes, size)
        model.extend(changes)
        kept[version] = model.copy()
        store.publish(version, size, now=1_000.0 + version)
        for old, then in kept.items():
            # Version v was replaced at 1001 + v: it is answered from until 1011 + v.
            if version < old + 11:
                _check_version(reader, old, then, [changes[0][0], changes[-1][0], about(1)])
            else:
                with pytest.raises(NotRetained) as refused:
                    reader.lookup(old, about(1))
                assert (refused.value.expected, refused.value.actual) == (version, old)
    reader.close()
    store.close()


def test_disk_is_used_again_once_versions_are_over(path: Path):
    store, size = IndexStore.open(path, ORIGIN, create=True, retain=3.0), 0
    counts = []
    for version in range(1, 80):
        changes = [(about(at * 37 % 2_000), size + at) for at in range(200)]
        size += 200
        store.extend(changes, size)
        store.publish(version, size, now=1_000.0 + version)
        counts.append(_rows(path, "page"))
    assert counts[70] <= counts[35] + 5, "pages of versions that are over are not written over"
    assert _rows(path, "freed") <= 5
    store.close()


def _rows(path: Path, table: str) -> int:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        found: int = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    db.close()
    return found


def test_building_without_readers_leaves_no_unused_pages(path: Path):
    store, size = IndexStore.open(path, ORIGIN, create=True), 0
    for _ in range(20):
        store.extend([(about(at * 7919 % 10_007), at) for at in range(size, size + 500)], size + 500)
        size += 500
    spare = sum(len(row[0]) // 8 for row in sqlite3.connect(path).execute("SELECT body FROM spare"))
    assert spare <= 10
    assert _rows(path, "freed") == 0
    assert _rows(path, "page") < 10_000 / 10
    store.close()


def test_a_failed_batch_changes_nothing_and_stops_the_store(path: Path):
    store = IndexStore.open(path, ORIGIN, create=True)
    root = store.extend([(about(1), 0)], 1)
    for bad in ([(about(1), 0)], [(about(1), 2), (about(1), 1)], [(about(1), 9)]):
        with pytest.raises(ValueError):
            store.extend(bad, 5)
    assert store.map_root == root
    with pytest.raises(ValueError, match="0x00"):
        store.extend([(about(2), 1), (b"a\x00\n", 2)], 3)
    with pytest.raises(ValueError, match="open it again"):
        store.extend([(about(2), 1)], 2)
    store.close()
    store = IndexStore.open(path, ORIGIN)
    assert (store.input_size, store.map_root) == (1, root)
    store.extend([(about(1), 1)], 2)
    store.close()


def test_only_the_newest_version_is_published_and_only_forwards(path: Path):
    store = IndexStore.open(path, ORIGIN, create=True)
    assert store.published is None
    store.extend([(about(1), 0)], 1)
    store.publish(3, 1)
    store.publish(3, 1)
    with pytest.raises(ValueError):
        store.publish(2, 1)
    with pytest.raises(ValueError):
        store.publish(4, 0)
    store.publish(4, 1)
    store.extend([], 2)
    store.publish(5, 2)
    assert store.published is not None
    assert (store.published.index_size, store.published.input_size) == (5, 2)
    store.close()


def test_a_file_of_another_log_or_version_or_none_is_refused(path: Path):
    with pytest.raises(ConfigError):
        IndexStore.open(path, ORIGIN)
    IndexStore.open(path, ORIGIN, create=True).close()
    with pytest.raises(ConfigError):
        IndexStore.open(path, ORIGIN, create=True)
    with pytest.raises(ConfigError):
        IndexStore.open(path, "other.example/log")
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    for opened in (lambda: IndexStore.open(path, ORIGIN), lambda: IndexReader.open(path)):
        with pytest.raises(ConfigError) as refused:
            opened()
        assert "build it again" in str(refused.value.hint)
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigError):
        IndexStore.open(path, ORIGIN)


def test_a_damaged_page_is_an_error_of_the_database(path: Path):
    store = IndexStore.open(path, ORIGIN, create=True)
    store.extend([(about(at), at) for at in range(100)], 100)
    store.publish(1, 100)
    reader = IndexReader.open(path)
    for damage in ("UPDATE page SET body = substr(body, 1, 40)", "DELETE FROM page"):
        store._db.execute(damage)
        with pytest.raises(sqlite3.DatabaseError, match="of the index is"):
            reader.lookup(1, about(1))
    reader.close()
    store.close()


def test_R_31_the_index_is_written_ahead_and_needs_no_fsync_a_commit(path: Path):
    store = IndexStore.open(path, ORIGIN, create=True)
    assert store._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 1
    store.close()


def test_a_reader_cannot_write(path: Path):
    store = IndexStore.open(path, ORIGIN, create=True)
    reader = IndexReader.open(path)
    with pytest.raises(sqlite3.OperationalError):
        reader._db.execute("DELETE FROM page")
    reader.close()
    store.close()
