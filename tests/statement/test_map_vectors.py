"""The published vectors of the map function: they are what the code gives, by the definitions alone."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from teelog.index import keys
from teelog.index.lists import List
from teelog.index.trie import tree_hash
from teelog.statement import index_map
from teelog.statement.index_map import MemoryState
from tests.statement import make_map_vectors

LOGS = json.loads(make_map_vectors.FILE.read_bytes())


def test_generator_writes_what_is_committed() -> None:
    assert make_map_vectors.write(make_map_vectors.read()) == make_map_vectors.FILE.read_bytes()


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log["name"])
def test_each_entry_maps_as_published(log: dict[str, Any]) -> None:
    state = MemoryState(log["origin"])
    lists: dict[bytes, list[int]] = {}
    for index, item in enumerate(log["entries"]):
        mapped = index_map.map_entry(base64.b64decode(item["entry"], validate=True), index, state)
        assert [key.decode() for key in mapped.keys] == item["keys"], item["note"]
        assert (None if mapped.effect is None else mapped.effect.key.decode()) == item["effective"], item["note"]
        for key in mapped.keys:
            lists.setdefault(key, []).append(index)
        if mapped.effect is not None:
            state.apply(mapped.effect)
        pairs = [(key, List(found).value().encode()) for key, found in sorted(lists.items())]
        assert tree_hash(pairs).hex() == item["map_root"]


def test_vectors_show_every_kind_of_key_and_of_list() -> None:
    seen = {keys.parse(key.encode())[0] for log in LOGS for item in log["entries"] for key in item["keys"]}
    assert seen == set(keys.Kind)
    listed = {keys.parse(i["effective"].encode())[0] for log in LOGS for i in log["entries"] if i["effective"]}
    assert listed == keys.EFFECTIVE


def test_entries_that_are_called_inert_are() -> None:
    for log in LOGS:
        for item in log["entries"]:
            if item["note"].startswith("inert"):
                assert item["effective"] is None
