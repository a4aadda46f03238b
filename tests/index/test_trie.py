"""The trie against published vectors and against its own definition."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import TeelogError
from teelog.index import trie
from teelog.index.proof import verify_lookup, verify_prefix
from tests.vectors import vectors

KEYS = st.binary(max_size=5) | st.text("ab\n", max_size=6).map(str.encode)
PAIRS = st.dictionaries(KEYS, st.binary(max_size=3), max_size=24)


def _trie(pairs: dict[bytes, bytes]) -> trie.Trie:
    made = trie.Trie()
    for key, value in pairs.items():
        made.set(key, value)
    return made


def _sorted(pairs: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    return sorted(pairs.items(), key=lambda pair: trie.order(pair[0]))


def test_published_roots():
    for case in json.loads(vectors("mpt/mpt.json").read_text())["tree"]:
        pairs = {bytes.fromhex(p["key"]): bytes.fromhex(p["value"]) for p in case["pairs"]}
        assert trie.tree_hash(_sorted(pairs)).hex() == case["root"]
        assert _trie(pairs).root().hex() == case["root"]


def test_published_lookups():
    for case in json.loads(vectors("mpt/mpt.json").read_text())["lookup"]:
        value = None if case["value"] is None else bytes.fromhex(case["value"])
        given_ = (bytes.fromhex(case["root"]), bytes.fromhex(case["key"]), value, bytes.fromhex(case["proof"]))
        if case["ok"]:
            verify_lookup(*given_)
        else:
            with pytest.raises(TeelogError):
                verify_lookup(*given_)


@settings(deadline=None)
@given(PAIRS)
def test_root_is_that_of_the_definition_in_any_order(pairs: dict[bytes, bytes]):
    expected = trie.tree_hash(_sorted(pairs))
    assert _trie(pairs).root() == expected
    assert _trie(dict(reversed(pairs.items()))).root() == expected


@settings(deadline=None)
@given(PAIRS, KEYS, st.binary(max_size=3))
def test_every_lookup_is_proven_and_no_other_value_is(pairs: dict[bytes, bytes], key: bytes, wrong: bytes):
    made = _trie(pairs)
    proof = made.prove_lookup(key)
    verify_lookup(made.root(), key, pairs.get(key), proof)
    for lie in (wrong, None):
        if lie != pairs.get(key):
            with pytest.raises(TeelogError):
                verify_lookup(made.root(), key, lie, proof)


@settings(deadline=None)
@given(PAIRS, KEYS)
def test_every_prefix_is_proven_complete(pairs: dict[bytes, bytes], prefix: bytes):
    made = _trie(pairs)
    expected = [pair for pair in _sorted(pairs) if trie.has_prefix(pair[0], prefix)]
    assert made.scan(prefix) == expected
    proof = made.prove_prefix(prefix)
    verify_prefix(made.root(), prefix, expected, proof)
    for left_out in range(len(expected)):
        with pytest.raises(TeelogError):
            verify_prefix(made.root(), prefix, expected[:left_out] + expected[left_out + 1 :], proof)
