"""Building the index from entries: the same root whatever the batches and the interruptions."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path

import pytest

from teelog.index import keys
from teelog.index.keys import Kind
from teelog.indexing import build
from teelog.indexing.build import Builder
from teelog.indexing.store import IndexReader, IndexStore
from teelog.statement.index_map import map_entry
from tests.statement import make
from tests.statement.replay import STREAM, Replay

VECTORS = json.loads((Path(__file__).parent.parent / "statement/golden/map-function.json").read_text())
LOGS = [
    [base64.b64decode(entry["entry"]) for entry in each["entries"]] for each in VECTORS if each["origin"] == make.LOG
]


@pytest.fixture(scope="module", params=range(len(LOGS)))
def log(request: pytest.FixtureRequest) -> list[bytes]:
    return LOGS[request.param]


def _roots(entries: list[bytes]) -> list[bytes]:
    """Map root after each number of entries, by definition."""
    replay = Replay()
    found = [replay.trie.root()]
    for entry in entries:
        replay.add(entry)
        found.append(replay.trie.root())
    return found


@pytest.mark.parametrize("changes", [1, 3, 5_000])
def test_root_after_any_batches_and_restarts(
    log: list[bytes], changes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(build, "MAX_CHANGES", changes)
    roots, rng, done = _roots(log), random.Random(changes), 0
    store = IndexStore.open(tmp_path / "index.db", make.LOG, create=True)
    while done < len(log):
        upto = rng.randint(done, len(log))
        assert Builder(store).advance(log[done:], upto) == roots[upto]
        assert (store.input_size, store.map_root) == (upto, roots[upto])
        done = upto
        if rng.random() < 0.5:
            store.close()
            store = IndexStore.open(tmp_path / "index.db", make.LOG)
    store.close()


def test_state_on_disk_is_the_state_in_memory(log: list[bytes], tmp_path: Path):
    replay = Replay(log)
    store = IndexStore.open(tmp_path / "index.db", make.LOG, create=True)
    Builder(store).advance(iter(log), len(log))
    kept = store.effective()
    assert {key: store.row(key) for key in replay.state.rows} == replay.state.rows
    assert kept.status(STREAM) == replay.state.status(STREAM)
    assert kept.origin == make.LOG
    store.close()


def test_what_an_earlier_entry_of_the_same_batch_did_counts(tmp_path: Path):
    """A release and its status in one transaction: without the pending effects the status would be inert."""
    log = max(LOGS, key=len)
    whole = Replay(log)
    effective = [key for key in whole.lists if keys.parse(key)[0] is Kind.STATUS]
    assert effective
    store = IndexStore.open(tmp_path / "index.db", make.LOG, create=True)
    Builder(store).advance(log, len(log))
    store.publish(1, len(log))
    reader = IndexReader.open(tmp_path / "index.db")
    for key in effective:
        assert reader.lookup(1, key).value == whole.lists[key].value()
    # The control: every entry against the state before the batch.
    empty = Replay()
    blind = [map_entry(entry, index, empty.state) for index, entry in enumerate(log)]
    assert not any(key in mapped.keys for mapped in blind for key in effective)
    reader.close()
    store.close()


def test_entries_that_end_early_are_refused_and_what_was_committed_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(build, "MAX_CHANGES", 1)
    log = max(LOGS, key=len)
    store = IndexStore.open(tmp_path / "index.db", make.LOG, create=True)
    builder = Builder(store)
    with pytest.raises(ValueError, match="end at 3"):
        builder.advance(log[:3], 5)
    assert store.input_size <= 3
    assert builder.advance(log[store.input_size :], len(log)) == _roots(log)[-1]
    store.close()


def test_an_error_while_entries_are_read_leaves_nothing_pending(tmp_path: Path):
    log = max(LOGS, key=len)
    store = IndexStore.open(tmp_path / "index.db", make.LOG, create=True)
    builder = Builder(store)

    def broken():
        yield from log[:4]
        raise OSError("no tile")

    with pytest.raises(OSError, match="no tile"):
        builder.advance(broken(), len(log))
    assert store.input_size == 0
    assert builder.advance(log, len(log)) == _roots(log)[-1]
    store.close()


def test_no_entries_are_no_change(tmp_path: Path):
    store = IndexStore.open(tmp_path / "index.db", make.LOG, create=True)
    root = store.map_root
    assert Builder(store).advance([], 0) == root
    assert Builder(store).advance([b"no statement"] * 3, 3) == root
    assert Builder(store).advance([b"not even read"], 3) == root
    assert store.input_size == 3
    store.close()


def test_a_rewritten_map_has_another_root(tmp_path: Path):
    """The control: an index that leaves one entry out of one list does not get away with it."""
    log = max(LOGS, key=len)

    class Liar(Builder):
        def map(self, entry: bytes, index: int):
            mapped = super().map(entry, index)
            return mapped if index != 2 else type(mapped)(mapped.keys[1:], mapped.effect, mapped.why_inert)

    store = IndexStore.open(tmp_path / "index.db", make.LOG, create=True)
    assert Liar(store).advance(log, len(log)) != _roots(log)[-1]
    store.close()
