"""Proofs of the trie from a hostile server: one spelling, no proof of anything else."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import MalformedError, ProofError, TeelogError
from teelog.index import trie
from teelog.index.proof import MAX_PROOF, verify_lookup, verify_prefix

PAIRS = [(f"key\n{hashlib.sha256(b'%d' % at).hexdigest()}\n".encode(), b"%040d" % at) for at in range(300)]
KEY, VALUE = PAIRS[17]
ABSENT = b"key\n" + b"0" * 64 + b"\n"


def _trie() -> trie.Trie:
    made = trie.Trie()
    for key, value in PAIRS:
        made.set(key, value)
    return made


TRIE = _trie()
ROOT = TRIE.root()
PRESENCE, ABSENCE = TRIE.prove_lookup(KEY), TRIE.prove_lookup(ABSENT)
PREFIX = KEY[:5]
HELD, PREFIX_PROOF = TRIE.scan(PREFIX), TRIE.prove_prefix(PREFIX)


def _steps(proof: bytes) -> list[bytes]:
    """The proof's steps, all of whose bits are below 128 here or take two bytes."""
    steps = []
    while proof:
        length = 33 if proof[0] < 0x80 else 34
        steps.append(proof[:length])
        proof = proof[length:]
    return steps


def _number(step: bytes) -> int:
    return step[0] if len(step) == 33 else step[0] & 0x7F | step[1] << 7


def test_the_proofs_that_the_rest_of_this_file_breaks_hold():
    verify_lookup(ROOT, KEY, VALUE, PRESENCE)
    verify_lookup(ROOT, ABSENT, None, ABSENCE)
    verify_prefix(ROOT, PREFIX, HELD, PREFIX_PROOF)
    assert len(_steps(PRESENCE)) > 4
    assert len(HELD) > 3
    assert PREFIX_PROOF


def _longer(step: bytes) -> bytes:
    """The same bit in one byte more than it needs."""
    number = step[: len(step) - 32]
    return number[:-1] + bytes([number[-1] | 0x80, 0]) + step[-32:]


@pytest.mark.parametrize("at", range(len(_steps(PRESENCE))))
def test_a_number_in_more_bytes_than_it_needs_is_refused(at: int):
    steps = _steps(PRESENCE)
    steps[at] = _longer(steps[at])
    with pytest.raises(MalformedError, match="minimal"):
        verify_lookup(ROOT, KEY, VALUE, b"".join(steps))


def test_lengths_of_an_absence_proof_in_more_bytes_than_they_need_are_refused():
    assert ABSENCE[0] < 0x80
    for proof in (bytes([ABSENCE[0] | 0x80, 0]) + ABSENCE[1:], b"\x80\x80\x00" + ABSENCE[1:], b"\xff" * 10 + ABSENCE):
        with pytest.raises(MalformedError):
            verify_lookup(ROOT, ABSENT, None, proof)


@pytest.mark.parametrize("swap", [(0, 1), (1, 2), (0, -1)])
def test_bits_in_another_order_are_refused(swap: tuple[int, int]):
    steps = _steps(PRESENCE)
    one, other = swap
    steps[one], steps[other] = steps[other], steps[one]
    with pytest.raises(MalformedError, match="fall"):
        verify_lookup(ROOT, KEY, VALUE, b"".join(steps))


def test_a_bit_that_is_tested_twice_is_refused():
    steps = _steps(PRESENCE)
    with pytest.raises(MalformedError, match="fall"):
        verify_lookup(ROOT, KEY, VALUE, b"".join([steps[0], *steps]))


def test_a_bit_beyond_every_key_is_refused():
    step = b"\xff\x7f" + bytes(32)
    with pytest.raises(MalformedError):
        verify_lookup(trie.inner_hash(8_199, bytes(32), bytes(32)), KEY, VALUE, step)


@pytest.mark.parametrize("cut", [1, 16, 32])
def test_a_proof_that_ends_within_a_step_is_refused(cut: int):
    with pytest.raises(MalformedError):
        verify_lookup(ROOT, KEY, VALUE, PRESENCE[:-cut])


def test_a_proof_with_bytes_before_or_behind_is_refused():
    for proof in (PRESENCE + b"\x00", PRESENCE + b"\x00" + bytes(32), b"\x00" + PRESENCE, bytes(33) + PRESENCE):
        with pytest.raises(TeelogError):
            verify_lookup(ROOT, KEY, VALUE, proof)


def test_a_step_left_out_is_refused():
    steps = _steps(PRESENCE)
    for at in range(len(steps)):
        with pytest.raises(ProofError):
            verify_lookup(ROOT, KEY, VALUE, b"".join(steps[:at] + steps[at + 1 :]))


def test_another_hash_is_refused():
    for at in range(len(PRESENCE)):
        with pytest.raises(TeelogError):
            verify_lookup(ROOT, KEY, VALUE, PRESENCE[:at] + bytes([PRESENCE[at] ^ 1]) + PRESENCE[at + 1 :])


def test_a_bit_that_keys_of_this_tree_do_not_differ_in_is_refused():
    """A step that names another bit with the same direction commits to another tree."""
    steps = _steps(PRESENCE)
    lower = next(n for n in range(_number(steps[0]) - 1, _number(steps[1]), -1))
    steps[0] = trie.uvarint(lower) + steps[0][-32:]
    with pytest.raises(ProofError):
        verify_lookup(ROOT, KEY, VALUE, b"".join(steps))


@pytest.mark.parametrize("length", [MAX_PROOF + 1, 10 * MAX_PROOF])
def test_a_proof_beyond_64_KiB_is_refused_unread(length: int):
    for check in (
        lambda: verify_lookup(ROOT, KEY, VALUE, bytes(length)),
        lambda: verify_lookup(ROOT, KEY, None, bytes(length)),
        lambda: verify_prefix(ROOT, PREFIX, HELD, bytes(length)),
    ):
        with pytest.raises(MalformedError, match="too long"):
            check()


def test_presence_is_no_absence_and_absence_no_presence():
    for key, value, proof in (
        (KEY, None, PRESENCE),
        (ABSENT, VALUE, ABSENCE),
        (KEY, None, ABSENCE),
        (KEY, None, b""),
        (ABSENT, None, b""),
        (KEY, VALUE, b""),
    ):
        with pytest.raises(TeelogError):
            verify_lookup(ROOT, key, value, proof)


def _leaf(key: bytes, value: bytes) -> bytes:
    return trie.uvarint(len(key)) + key + trie.uvarint(len(value)) + value


def test_absence_shown_by_the_key_itself_is_refused():
    with pytest.raises(ProofError, match="itself"):
        verify_lookup(ROOT, KEY, None, _leaf(KEY, VALUE) + PRESENCE)


def test_absence_shown_by_a_leaf_to_which_the_key_does_not_lead_is_refused():
    """The commonest lie: some other leaf, validly in the tree."""
    refused = 0
    for key, value in PAIRS[:40]:
        if key != KEY:
            with pytest.raises(ProofError, match="does not lead to"):
                verify_lookup(ROOT, KEY, None, _leaf(key, value) + TRIE.prove_lookup(key))
            refused += 1
    assert refused == 39


def test_the_empty_tree_has_the_empty_proof_and_no_other_tree_has():
    verify_lookup(trie.EMPTY_ROOT, KEY, None, b"")
    verify_prefix(trie.EMPTY_ROOT, PREFIX, [], b"")
    for root, value, proof in (
        (trie.EMPTY_ROOT, VALUE, b""),
        (trie.EMPTY_ROOT, None, b"\x00\x00"),
        (trie.EMPTY_ROOT, None, ABSENCE),
        (ROOT, None, b""),
    ):
        with pytest.raises(TeelogError):
            verify_lookup(root, KEY, value, proof)
    for root, proof in ((trie.EMPTY_ROOT, b"\x00"), (ROOT, b"")):
        with pytest.raises(TeelogError):
            verify_prefix(root, PREFIX, [], proof)


def test_a_root_of_another_length_is_refused():
    for root in (b"", ROOT[:31], ROOT + b"\x00"):
        with pytest.raises(MalformedError):
            verify_lookup(root, KEY, VALUE, PRESENCE)
        with pytest.raises(MalformedError):
            verify_prefix(root, PREFIX, HELD, PREFIX_PROOF)


def test_bytes_do_not_move_between_key_and_value():
    for key, value in ((KEY + VALUE[:1], VALUE[1:]), (KEY[:-1], KEY[-1:] + VALUE)):
        with pytest.raises(ProofError):
            verify_lookup(ROOT, key, value, PRESENCE)


def test_an_inner_node_is_no_leaf():
    """The 0x00 and 0x01 before what is hashed: a node's hash can not be met by any pair."""
    left, right = trie.leaf_hash(b"a", b"1"), trie.leaf_hash(b"b", b"2")
    root = trie.inner_hash(6, left, right)
    assert root != trie.leaf_hash(left, right)
    forged = hashlib.sha256(b"\x01\x06" + left + right).digest()
    assert forged == root
    with pytest.raises(ProofError):
        verify_lookup(root, left, right, b"")


# -- prefixes ---------------------------------------------------------------------------------------------------------


def test_a_key_left_out_or_added_or_changed_under_a_prefix_is_refused():
    extra = (PREFIX + b"~\n", b"v")
    changed = [(HELD[0][0], b"other"), *HELD[1:]]
    for pairs in (HELD[1:], HELD[:-1], HELD[:2] + HELD[3:], [*HELD, extra], changed, []):
        with pytest.raises(TeelogError):
            verify_prefix(ROOT, PREFIX, pairs, PREFIX_PROOF)


def test_a_larger_subtree_with_keys_without_the_prefix_is_refused():
    """torchwood's verifier alone would take the whole tree as proof for any prefix."""
    everything = TRIE.scan(b"")
    verify_prefix(ROOT, b"", everything, b"")
    with pytest.raises(ProofError, match="does not have the prefix"):
        verify_prefix(ROOT, PREFIX, everything, b"")


def test_the_larger_subtree_without_those_keys_is_refused():
    with pytest.raises(ProofError):
        verify_prefix(ROOT, PREFIX, HELD, b"")


def test_a_part_of_the_prefix_is_refused():
    """A proof for the longer prefix of one key shows only a part of the keys with the shorter one."""
    key, value = HELD[0]
    proof = TRIE.prove_lookup(key)
    verify_lookup(ROOT, key, value, proof)
    with pytest.raises(ProofError, match="part of the prefix"):
        verify_prefix(ROOT, PREFIX, [(key, value)], proof)


@pytest.mark.parametrize("order", ["reversed", "swapped", "twice"])
def test_pairs_in_another_order_or_twice_are_refused(order: str):
    pairs = {"reversed": HELD[::-1], "swapped": [HELD[1], HELD[0], *HELD[2:]], "twice": [HELD[0], *HELD]}[order]
    with pytest.raises(ProofError, match="rising order"):
        verify_prefix(ROOT, PREFIX, pairs, PREFIX_PROOF)


def test_absence_of_a_prefix_shown_by_a_key_that_has_it_is_refused():
    key, value = HELD[0]
    with pytest.raises(ProofError, match="with the prefix"):
        verify_prefix(ROOT, PREFIX, [], _leaf(key, value) + TRIE.prove_lookup(key))


def test_absence_of_a_prefix_is_proven_and_only_by_the_leaf_it_leads_to():
    absent = b"key\n0000"
    assert TRIE.scan(absent) == []
    verify_prefix(ROOT, absent, [], TRIE.prove_prefix(absent))
    other, value = next(pair for pair in PAIRS if pair[0][4:5] in b"89")
    with pytest.raises(ProofError):
        verify_prefix(ROOT, absent, [], _leaf(other, value) + TRIE.prove_lookup(other))


def test_a_prefix_answer_beyond_64_KiB_is_refused():
    pairs = [(b"%04d" % at, bytes(64)) for at in range(1_000)]
    with pytest.raises(MalformedError, match="more pairs"):
        verify_prefix(trie.tree_hash(pairs), b"", pairs, b"")


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from([(KEY, VALUE), (KEY, None), (ABSENT, None), (ABSENT, VALUE)]))
def test_no_bytes_but_the_proof_are_one(proof: bytes, claim: tuple[bytes, bytes | None]):
    with pytest.raises(TeelogError):
        verify_lookup(ROOT, *claim, proof)


@settings(deadline=None)
@given(st.data())
def test_one_changed_byte_of_an_absence_or_prefix_proof_is_refused(data: st.DataObject):
    at = data.draw(st.integers(0, len(ABSENCE) - 1))
    flip = data.draw(st.integers(1, 255))
    with pytest.raises(TeelogError):
        verify_lookup(ROOT, ABSENT, None, ABSENCE[:at] + bytes([ABSENCE[at] ^ flip]) + ABSENCE[at + 1 :])
    at %= len(PREFIX_PROOF)
    with pytest.raises(TeelogError):
        verify_prefix(ROOT, PREFIX, HELD, PREFIX_PROOF[:at] + bytes([PREFIX_PROOF[at] ^ flip]) + PREFIX_PROOF[at + 1 :])
