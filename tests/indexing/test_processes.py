"""The file between processes: readers beside the writer, and a writer that is killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

from teelog.index.lists import List
from teelog.index.proof import verify_lookup
from teelog.index.trie import Trie
from teelog.indexing.store import IndexReader, IndexStore, NotRetained
from tests.indexing.writer import BATCH, ORIGIN, changes


def _start(path: Path, batches: int, retain: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.indexing.writer", str(path), str(batches), str(retain)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


BATCHES = 120


@cache
def _roots(batches: int) -> list[bytes]:
    """The map root after each batch, by definition."""
    trie, lists = Trie(), {}
    roots = [trie.root()]
    for number in range(batches):
        for key, index in changes(number * BATCH):
            lists.setdefault(key, List()).append(index)
            trie.set(key, lists[key].value().encode())
        roots.append(trie.root())
    return roots


def test_a_reader_sees_whole_versions_while_pages_are_written_over(tmp_path: Path):
    path, batches = tmp_path / "index.db", BATCHES
    IndexStore.open(path, ORIGIN, create=True).close()
    roots, rng = _roots(batches), random.Random(2)
    reader = IndexReader.open(path)
    proven, over = set(), 0
    with _start(path, batches, 0.0) as writer:
        while writer.poll() is None or not proven:
            seen = reader.published()
            if seen is None:
                continue
            assert seen.map_root == roots[seen.input_size // BATCH]
            key, _ = rng.choice(changes(rng.randrange(batches) * BATCH))
            try:
                found = reader.lookup(seen.index_size, key)
            except NotRetained:
                over += 1
                continue
            verify_lookup(seen.map_root, key, found.value and found.value.encode(), found.proof)
            proven.add(seen.index_size)
    assert writer.returncode == 0
    assert len(proven) > 1
    reader.close()
    store = IndexStore.open(path, ORIGIN)
    assert (store.input_size, store.map_root) == (batches * BATCH, roots[-1])
    store.close()


def test_a_writer_killed_at_any_moment_goes_on_from_a_whole_version(tmp_path: Path):
    path, batches = tmp_path / "index.db", BATCHES
    IndexStore.open(path, ORIGIN, create=True).close()
    roots, rng = _roots(batches), random.Random(3)
    killed = 0
    for _ in range(6):
        with _start(path, batches, 1.0) as writer:
            # What ends the wait is the writer's own progress, as far as a reader sees it.
            reader = IndexReader.open(path)
            seen = reader.published()
            until = (seen.input_size if seen else 0) + BATCH * rng.randrange(2, 12)
            while writer.poll() is None:
                seen = reader.published()
                if seen is not None and seen.input_size >= until:
                    writer.send_signal(signal.SIGKILL)
                    break
            reader.close()
        killed += writer.returncode == -signal.SIGKILL
        store = IndexStore.open(path, ORIGIN)
        done, rest = divmod(store.input_size, BATCH)
        assert rest == 0
        assert store.map_root == roots[done]
        newest = store.published
        assert newest is None or newest.map_root == roots[newest.input_size // BATCH]
        store.close()
    assert killed >= 3
    with _start(path, batches, 1.0) as writer:
        assert writer.wait(60) == 0
    store = IndexStore.open(path, ORIGIN)
    assert (store.input_size, store.map_root) == (batches * BATCH, roots[-1])
    _check_everything(path, store)


def _check_everything(path: Path, store: IndexStore) -> None:
    """Every key of the newest version, with its list, from the pages that all those restarts left."""
    lists: dict[bytes, list[int]] = {}
    for first in range(0, store.input_size, BATCH):
        for key, index in changes(first):
            lists.setdefault(key, []).append(index)
    newest = store.published
    version = newest.index_size + 1 if newest else 1
    store.publish(version, store.input_size)
    reader = IndexReader.open(path)
    for key, indices in random.Random(4).sample(sorted(lists.items()), 200):
        found = reader.lookup(version, key)
        assert found.value == List(indices).value()
        verify_lookup(store.map_root, key, found.value.encode(), found.proof)
    reader.close()
    store.close()
