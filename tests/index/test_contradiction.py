"""Index forks: two views that contradict each other convict, and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import MalformedError, TeelogError, VerificationError
from teelog.index import contradiction, keys
from teelog.index.contradiction import Contradiction, View
from teelog.index.leaf import IndexLeaf
from teelog.testing.ledger import Ledger, cosigned, hiding
from teelog.testing.ledger import View as Published
from teelog.tlog import note
from teelog.tlog.vkey import NoteSigner, SignatureType, VerifierKey
from tests.appraisal.story import STREAM
from tests.statement import make

NOW = 1_790_000_000
KEY = keys.namespace_key("acme.example")


def view(published: Published, key: bytes = b"") -> View:
    """What the index shows, of a key or of its leaf alone."""
    made = View(
        published.index,
        published.ledger.index_leaves[published.index_size - 1],
        published.ledger.index_tree.path(published.index_size - 1, published.index_size),
    )
    if not key:
        return made
    found = published.lookup(key)
    return replace(made, key=key, count=found.count, list_root=found.list_root, trie_proof=found.trie_proof)


def ledger(*hidden: int, entries: int = 4) -> Ledger:
    """A namespace with versions 0, 1, 2; the index leaves some entries out."""
    led = Ledger(rewrite=hiding(*hidden) if hidden else None)
    led.append(make.log_policy_file())
    prev = None
    for version in range(entries - 1):
        file = make.namespace_file(version=version, prev=prev)
        prev = make.admit.classify(file).statement_id
        led.append(file)
    return led


def signers(led: Ledger) -> list[VerifierKey]:
    return [signer.verifier for signer in led.index_log]


@cache
def convicting() -> tuple[bytes, list[VerifierKey]]:
    """An index that showed three versions, and later, over more entries, two."""
    honest, liar = ledger(), ledger(3, entries=5)
    liar.publish(NOW, collude=True)
    first, second = view(honest.publish(NOW), KEY), view(liar.publish(NOW, collude=True), KEY)
    return Contradiction(first, second, tuple(signers(honest))).encode(), signers(honest)


def test_a_list_that_shrank_convicts_whichever_view_comes_first():
    data, log_keys = convicting()
    found = contradiction.parse(data)
    said = "a list of 3 elements has become one of"
    assert said in contradiction.verify(found, log_keys)
    assert said in contradiction.verify(replace(found, first=found.second, second=found.first), log_keys)
    assert found.encode() == data


def test_two_map_roots_for_one_checkpoint_convict_with_and_without_a_key():
    honest, liar = ledger(), ledger(3)
    pair = honest.publish(NOW), liar.publish(NOW, collude=True)
    for key in (b"", KEY):
        found = Contradiction(view(pair[0], key), view(pair[1], key))
        assert contradiction.verify(found, signers(honest)) == "two map roots for the first 4 entries"


def test_a_later_leaf_that_covers_less_convicts():
    led = ledger()
    first = view(led.publish(NOW))
    led.add_leaf(led.shown.root(), led.checkpoint(3))
    second = view(led.publish(NOW, index=False, collude=True))
    assert "covers 3 entries" in contradiction.verify(Contradiction(first, second), signers(led))


def test_an_honest_index_never_contradicts_itself():
    led = Ledger()
    led.append(make.log_policy_file())
    views, prev = [], None
    for version in range(4):
        file = make.namespace_file(version=version, prev=prev)
        prev = make.admit.classify(file).statement_id
        led.append(file)
        published = led.publish(NOW)
        views += [view(published), view(published, KEY)]
    for first in views:
        for second in views:
            with pytest.raises(VerificationError, match="can be true"):
                contradiction.verify(Contradiction(first, second), signers(led))


def test_views_of_two_keys_or_two_logs_convict_nobody():
    led, other = ledger(), Ledger("other.example/log")
    other.append(make.log_policy_file(log="other.example/log"))
    led.append(make.release_file(stream=STREAM))
    published = led.publish(NOW)
    two_keys = Contradiction(view(published, KEY), view(published, keys.release_key(STREAM)))
    with pytest.raises(VerificationError, match="can be true"):
        contradiction.verify(two_keys, signers(led))
    two_logs = Contradiction(view(published), view(other.publish(NOW)))
    with pytest.raises(VerificationError):
        contradiction.verify(two_logs, signers(led) + signers(other))


def test_a_view_that_the_index_log_did_not_sign_convicts_nobody():
    data, _ = convicting()
    with pytest.raises(VerificationError):
        contradiction.verify(contradiction.parse(data), signers(Ledger("other.example/log")))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_flipped_bit_convicts(drawn: st.DataObject):
    data, log_keys = convicting()
    raw = bytearray(data)
    bit = drawn.draw(st.integers(0, 8 * len(raw) - 1))
    raw[bit >> 3] ^= 1 << (bit & 7)
    try:
        found = contradiction.parse(bytes(raw))
        contradiction.verify(found, log_keys)
    except TeelogError:
        return
    # A line of a cosigner, whom nobody asks here, may be another.
    original = contradiction.parse(data)
    assert replace(found, first=original.first, second=original.second) == original
    assert found.first.leaf == original.first.leaf
    assert (found.second.leaf, found.second.trie_proof) == (original.second.leaf, original.second.trie_proof)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_malformed(data: bytes):
    for read in (contradiction.parse, View.parse):
        with pytest.raises(MalformedError):
            read(data)


def test_files_have_one_encoding():
    data, _ = convicting()
    tree = cbor2.loads(data)
    assert cbor2.dumps(tree, canonical=True) == data
    for wrong in (
        cbor2.dumps({**tree, 4: b""}),
        cbor2.dumps({key: tree[key] for key in (0, 1, 2)}),
        cbor2.dumps({**tree, 0: "teelog-index-fork/v2"}),
        cbor2.dumps({**tree, 1: ["no vkey"]}),
        cbor2.dumps({**tree, 1: tree[1] * 9}),
        data + b"\x00",
        b"\xb8\x04" + data[1:],
    ):
        with pytest.raises(MalformedError):
            contradiction.parse(wrong)
    one = contradiction.parse(data).first
    assert View.parse(one.encode()) == one


def test_leaves_that_a_client_of_a_log_handed_in_do_not_convict_the_log():
    """A log that takes any bytes may hold what reads as two leaves of an index; only an index log speaks so."""
    led = Ledger()
    led.append(make.log_policy_file())
    text = led.checkpoint().body()
    views = []
    for root in (b"\x01" * 32, b"\x02" * 32):
        leaf = IndexLeaf(root, note.encode(text, [led.log[0].sign(text, 0)])).encode()
        place = led.append(leaf)
        checkpoint = cosigned(led.checkpoint(), led.log, (), NOW)
        views.append(View(checkpoint, leaf, led.tree.path(place, place + 1)))
    log_keys = [signer.verifier for signer in led.log]
    with pytest.raises(MalformedError, match="not the origin of an index log"):
        contradiction.verify(Contradiction(views[0], views[1], tuple(log_keys)), log_keys)


def test_two_keys_that_the_file_names_with_a_view_each_prove_nothing():
    """Else anyone could put a view of an honest index beside one of their own making."""
    data, (own,) = convicting()
    found = contradiction.parse(data)
    assert contradiction.verify_own_keys(found)[1] == own
    forger = NoteSigner.of(own.name, SignatureType.ED25519, make.STRANGER)
    opened = contradiction.open_view(found.second, [own])
    forged = replace(found.second, checkpoint=cosigned(opened.head, [forger], (), NOW))
    both = Contradiction(found.first, forged, (own, forger.verifier))
    assert contradiction.verify(both, both.keys)
    with pytest.raises(VerificationError):
        contradiction.verify_own_keys(both)
