"""The published vectors of the index's format: still what this code makes, and each accepted or refused as it says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from teelog.errors import TeelogError
from teelog.index import keys
from teelog.index.leaf import IndexLeaf, origin_of
from teelog.index.lists import List, Value, verify_element, verify_page
from teelog.index.proof import verify_lookup, verify_prefix
from teelog.index.trie import tree_hash
from teelog.tlog import vkey
from tests.index import make_vectors

GOLDEN: dict[str, Any] = json.loads(make_vectors.FILE.read_text())
ROOT = bytes.fromhex(GOLDEN["trie"]["root"])


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def _path(case: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(each) for each in case["path"]]


def test_vectors_are_what_this_code_makes():
    assert make_vectors.FILE.read_text() == make_vectors.text()


def test_keys():
    for case in GOLDEN["keys"]["good"]:
        key = bytes.fromhex(case["key"])
        assert keys.key(keys.Kind(case["kind"]), *case["components"]) == key
        assert keys.parse(key) == (case["kind"], tuple(case["components"]))
    for case in GOLDEN["keys"]["bad"]:
        with pytest.raises(TeelogError):
            keys.parse(bytes.fromhex(case["key"]))


def test_lists():
    for case in GOLDEN["lists"]["good"]:
        value = Value.parse(bytes.fromhex(case["value"]))
        indices = [3 * at + 1 for at in range(value.count)]
        assert List(indices).value() == value
        for element in case["elements"]:
            verify_element(value, element["position"], element["index"], _path(element))
        for page in case["pages"]:
            verify_page(value, page["page"], indices[256 * page["page"] :][:256], _path(page))
    for case in GOLDEN["lists"]["bad"]:
        with pytest.raises(TeelogError):
            verify_page(Value.parse(bytes.fromhex(case["value"])), case["page"], case["indices"], _path(case))


def test_root_is_that_of_the_pairs():
    assert tree_hash([(bytes.fromhex(k), bytes.fromhex(v)) for k, v in GOLDEN["trie"]["pairs"]]) == ROOT


@pytest.mark.parametrize("kind", ["good", "bad"])
def test_lookups(kind: str):
    for case in GOLDEN["trie"]["lookup"][kind]:
        given = (ROOT, bytes.fromhex(case["key"]), _bytes(case["value"]), bytes.fromhex(case["proof"]))
        if kind == "good":
            verify_lookup(*given)
        else:
            with pytest.raises(TeelogError):
                verify_lookup(*given)


@pytest.mark.parametrize("kind", ["good", "bad"])
def test_prefixes(kind: str):
    for case in GOLDEN["trie"]["prefix"][kind]:
        pairs = [(bytes.fromhex(k), bytes.fromhex(v)) for k, v in case["pairs"]]
        given = (ROOT, bytes.fromhex(case["prefix"]), pairs, bytes.fromhex(case["proof"]))
        if kind == "good":
            verify_prefix(*given)
        else:
            with pytest.raises(TeelogError):
                verify_prefix(*given)


def test_leaves():
    cases = GOLDEN["leaf"]
    assert origin_of(cases["main_origin"]) == cases["index_origin"]
    for case in cases["good"]:
        leaf = IndexLeaf.parse(case["leaf"].encode())
        assert leaf.map_root.hex() == case["map_root"]
        head = leaf.open([vkey.parse(cases["main_vkey"])], cases["main_origin"])
        assert head.size == case["input_size"]
    for case in cases["bad"]:
        with pytest.raises(TeelogError):
            IndexLeaf.parse(case["leaf"].encode())
