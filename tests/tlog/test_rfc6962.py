"""The trees against the definitions of RFC 6962, every size to 300, and against pymerkle where it is installed."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import ProofError
from teelog.tlog import rfc6962, subtree
from tests.tlog import make
from tests.tlog.reference import Reference, leaf_hash

TOP = 300
LEAVES = make.leaves(TOP)
REF = Reference(LEAVES)


def test_TT_11_hash_prefixes_and_the_empty_tree():
    assert rfc6962.EMPTY_ROOT == hashlib.sha256(b"").digest() == rfc6962.root_of_leaves([]) == REF.mth(0, 0)
    assert rfc6962.leaf_hash(b"x") == hashlib.sha256(b"\x00x").digest() == leaf_hash(b"x")
    assert rfc6962.node_hash(b"a" * 32, b"b" * 32) == hashlib.sha256(b"\x01" + b"a" * 32 + b"b" * 32).digest()


def test_every_root_to_300_is_the_definitions():
    for size in range(TOP + 1):
        root = REF.mth(0, size)
        assert rfc6962.root_of_leaves(LEAVES[:size]) == root
        assert rfc6962.root(size, REF.read) == root


def test_every_inclusion_proof_to_300_is_the_definitions_and_verifies():
    for size in range(1, TOP + 1):
        root = REF.mth(0, size)
        for index in range(size):
            proof = rfc6962.prove_inclusion(index, size, REF.read)
            assert proof == REF.path(index, 0, size)
            rfc6962.verify_inclusion(index, size, LEAVES[index], proof, root)


def test_PR_15_every_consistency_proof_to_300_is_the_definitions_and_verifies():
    for new in range(1, TOP + 1):
        root = REF.mth(0, new)
        for old in range(1, new + 1):
            proof = rfc6962.prove_consistency(old, new, REF.read)
            assert proof == REF.proof(old, new)
            rfc6962.verify_consistency(old, REF.mth(0, old), new, root, proof)


def test_every_subtree_proof_to_64_is_the_definitions_and_verifies():
    checked = 0
    for size in range(1, 65):
        root = REF.mth(0, size)
        for start, end in itertools.combinations(range(size + 1), 2):
            if not subtree.is_valid(start, end):
                with pytest.raises(ProofError):
                    subtree.verify(start, end, size, REF.mth(start, end), root, [])
                continue
            proof = subtree.prove(start, end, size, REF.read)
            assert proof == REF.subtree_proof(start, end, 0, size)
            subtree.verify(start, end, size, REF.mth(start, end), root, proof)
            checked += 1
    assert checked > 5_000


def test_valid_subtree_is_what_the_draft_says():
    for start in range(70):
        for end in range(70):
            width = 1
            while width < end - start:
                width *= 2
            assert subtree.is_valid(start, end) == (start < end and start % width == 0)
    assert not subtree.is_valid(-2, 0)


def test_PR_13_every_change_to_a_proof_fails():
    for size, index in ((1, 0), (2, 1), (7, 2), (8, 5), (13, 12), (255, 100), (256, 255), (300, 299)):
        proof, root, leaf = REF.path(index, 0, size), REF.mth(0, size), LEAVES[index]
        changed = [proof[:at] + proof[at + 1 :] for at in range(len(proof))]
        changed += [[*proof[:at], other, *proof[at:]] for at in range(len(proof) + 1) for other in (leaf, root)]
        changed += [[*proof[:at], flip(proof[at]), *proof[at + 1 :]] for at in range(len(proof))]
        changed += [[*proof[:at], proof[at + 1], proof[at], *proof[at + 2 :]] for at in range(len(proof) - 1)]
        for bad in changed:
            with pytest.raises(ProofError):
                rfc6962.verify_inclusion(index, size, leaf, bad, root)
        for other in {0, index - 1, index + 1, index ^ 1, size - 1, size} - {index}:
            with pytest.raises(ProofError):
                rfc6962.verify_inclusion(other, size, leaf, proof, root)
        for wrong in (flip(leaf), root if size > 1 else flip(root)):
            with pytest.raises(ProofError):
                rfc6962.verify_inclusion(index, size, wrong, proof, root)
        with pytest.raises(ProofError):
            rfc6962.verify_inclusion(index, size, leaf, proof, flip(root))


def test_PR_15_every_change_to_a_consistency_proof_fails():
    for old, new in itertools.combinations((1, 2, 3, 4, 6, 7, 8, 64, 100, 255, 256, 257), 2):
        proof, before, after = REF.proof(old, new), REF.mth(0, old), REF.mth(0, new)
        changed = [proof[:at] + proof[at + 1 :] for at in range(len(proof))]
        changed += [[*proof[:at], flip(proof[at]), *proof[at + 1 :]] for at in range(len(proof))]
        changed += [[*proof, before], [before, *proof], [*proof, after], [after, *proof], []]
        for bad in changed:
            with pytest.raises(ProofError):
                rfc6962.verify_consistency(old, before, new, after, bad)
        for old_root, new_root in ((flip(before), after), (before, flip(after)), (after, before)):
            with pytest.raises(ProofError):
                rfc6962.verify_consistency(old, old_root, new, new_root, proof)


def test_PR_15_zero_equal_and_backwards():
    root = REF.mth(0, 5)
    rfc6962.verify_consistency(5, root, 5, root, [])
    with pytest.raises(ProofError, match="different roots"):
        rfc6962.verify_consistency(5, root, 5, REF.mth(0, 6), [])
    with pytest.raises(ProofError):
        rfc6962.verify_consistency(5, root, 5, root, [root])
    for old, proof in ((0, []), (0, [root]), (-1, []), (6, []), (6, [root])):
        with pytest.raises(ProofError, match="no consistency proof between these sizes"):
            rfc6962.verify_consistency(old, rfc6962.EMPTY_ROOT, 5, root, proof)
    assert rfc6962.prove_consistency(0, 5, REF.read) == []
    for old, new in ((-1, 5), (6, 5)):
        with pytest.raises(ValueError, match="no consistency proof"):
            rfc6962.prove_consistency(old, new, REF.read)
    for index, size in ((5, 5), (-1, 5), (0, 0)):
        with pytest.raises(ValueError, match="outside"):
            rfc6962.prove_inclusion(index, size, REF.read)


def test_hashes_of_another_length_never_verify():
    """Bytes moved from one hash to its neighbour leave the node's preimage as it was."""
    before, after, proof = REF.mth(0, 2), REF.mth(0, 3), REF.proof(2, 3)
    rfc6962.verify_consistency(2, before, 3, after, proof)
    for cut in (0, 1, 31):
        with pytest.raises(ProofError, match="another length"):
            rfc6962.verify_consistency(2, before[:cut], 3, after, [before[cut:] + proof[0]])
    with pytest.raises(ProofError):
        rfc6962.verify_inclusion(0, 2, LEAVES[0][:31], [LEAVES[0][31:] + LEAVES[1]], before)
    with pytest.raises(ProofError):
        rfc6962.verify_inclusion(0, 1, LEAVES[0][:31], [], LEAVES[0][:31])


@pytest.mark.parametrize("size", [2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30])
def test_PR_14_sizes_without_a_tree_are_refused_in_few_steps(size: int, monkeypatch: pytest.MonkeyPatch):
    hashed = 0

    def counted(left: bytes, right: bytes) -> bytes:
        nonlocal hashed
        hashed += 1
        return hashlib.sha256(b"\x01" + left + right).digest()

    monkeypatch.setattr(subtree, "node_hash", counted)
    junk = [bytes([number]) * 32 for number in range(63)]
    for index in (0, 1, size // 2, size - 1):
        for proof in ([], junk[:1], junk[:62], junk):
            with pytest.raises(ProofError):
                rfc6962.verify_inclusion(index, size, junk[0], proof, junk[1])
            with pytest.raises(ProofError):
                rfc6962.verify_consistency(index, junk[0], size, junk[1], proof)
    for index in (size, size + 1, -1):
        with pytest.raises(ProofError, match="outside the tree"):
            rfc6962.verify_inclusion(index, size, junk[0], junk, junk[1])
    assert hashed <= 2 * 4 * 4 * 128


def test_PR_14_a_true_proof_in_a_tree_of_2_to_the_63_less_one_verifies():
    """Nodes of all levels over one repeated leaf make the largest tree there can be."""
    level = [LEAVES[0]]
    for _ in range(64):
        level.append(rfc6962.node_hash(level[-1], level[-1]))

    def read(nodes):
        return [level[height] for height, _ in nodes]

    for size in (2**63 - 1, 2**62, 2**62 + 1, 2**63 - 2**31):
        root = rfc6962.root(size, read)
        for index in (0, 1, size // 2, size - 1, 2**61 - 1):
            proof = rfc6962.prove_inclusion(index, size, read)
            assert len(proof) <= rfc6962.MAX_HASHES
            rfc6962.verify_inclusion(index, size, LEAVES[0], proof, root)
            with pytest.raises(ProofError):
                rfc6962.verify_inclusion(index, size, LEAVES[1], proof, root)
        for old in (1, 2, 2**31 + 1, 2**61, size - 1):
            before = rfc6962.root(old, read)
            proof = rfc6962.prove_consistency(old, size, read)
            # Above 2**62 leaves a proof can have one hash more than c2sp.org/tlog-witness lets a client send.
            assert len(proof) <= rfc6962.MAX_HASHES + (size > 2**62)
            rfc6962.verify_consistency(old, before, size, root, proof)
            with pytest.raises(ProofError):
                rfc6962.verify_consistency(old, LEAVES[1], size, root, proof)


@given(st.integers(1, 2**63 - 1), st.data())
@settings(deadline=None)
def test_PR_14_any_index_any_hashes_end_in_one_refusal(size: int, data: st.DataObject):
    index = data.draw(st.integers(0, 2**64))
    proof = data.draw(st.lists(st.binary(min_size=32, max_size=32), max_size=64))
    with pytest.raises(ProofError):
        rfc6962.verify_inclusion(index, size, b"\x11" * 32, proof, b"\x22" * 32)


def test_PR_11_no_index_outside_the_tree_and_nothing_in_the_empty_one():
    for index in (5, 6, 2**63, -1):
        with pytest.raises(ProofError, match="outside the tree"):
            rfc6962.verify_inclusion(index, 5, LEAVES[0], [], REF.mth(0, 5))
    for root in (rfc6962.EMPTY_ROOT, LEAVES[0]):
        with pytest.raises(ProofError, match="outside the tree"):
            rfc6962.verify_inclusion(0, 0, root, [], root)


def test_PR_12_the_only_leaf_is_the_root():
    leaf = LEAVES[0]
    rfc6962.verify_inclusion(0, 1, leaf, [], leaf)
    for proof in ([leaf], [rfc6962.EMPTY_ROOT]):
        with pytest.raises(ProofError, match="too long"):
            rfc6962.verify_inclusion(0, 1, leaf, proof, leaf)
    with pytest.raises(ProofError):
        rfc6962.verify_inclusion(0, 1, leaf, [], LEAVES[1])


def test_PR_16_an_entry_of_two_node_hashes_is_no_node():
    entry = LEAVES[0] + LEAVES[1]
    assert rfc6962.leaf_hash(entry) != rfc6962.node_hash(LEAVES[0], LEAVES[1])
    # The tree holds four entries; their two parents, given out as the leaves of a tree of two.
    for leaf in (rfc6962.leaf_hash(entry), hashlib.sha256(entry).digest()):
        with pytest.raises(ProofError):
            rfc6962.verify_inclusion(0, 2, leaf, [REF.mth(2, 4)], REF.mth(0, 4))


def test_plain_concatenation_has_second_preimages_and_rfc_6962_has_none():
    """Without the prefixes a log of four entries can be passed off as one of two entries that nobody logged."""

    def plain_root(entries: list[bytes]) -> bytes:
        level = [hashlib.sha256(entry).digest() for entry in entries]
        while len(level) > 1:
            level = [hashlib.sha256(level[at] + level[at + 1]).digest() for at in range(0, len(level), 2)]
        return level[0]

    honest = [b"release 1", b"release 2", b"release 3", b"release 4"]
    hashes = [hashlib.sha256(entry).digest() for entry in honest]
    forged = [hashes[0] + hashes[1], hashes[2] + hashes[3]]
    assert plain_root(forged) == plain_root(honest)
    # The forged entry even has a proof that checks out.
    other = hashlib.sha256(forged[1]).digest()
    assert hashlib.sha256(hashlib.sha256(forged[0]).digest() + other).digest() == plain_root(honest)

    logged = [rfc6962.leaf_hash(entry) for entry in honest]
    root = rfc6962.root_of_leaves(logged)
    forged = [logged[0] + logged[1], logged[2] + logged[3]]
    assert rfc6962.root_of_leaves(rfc6962.leaf_hash(entry) for entry in forged) != root
    for size in (2, 4):
        for sibling in (rfc6962.leaf_hash(forged[1]), rfc6962.node_hash(logged[2], logged[3])):
            with pytest.raises(ProofError):
                rfc6962.verify_inclusion(0, size, rfc6962.leaf_hash(forged[0]), [sibling], root)


def test_pymerkle_agrees():
    pymerkle = pytest.importorskip("pymerkle")
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    entries = [b"entry %d" % number for number in range(70)]
    for size, entry in enumerate(entries, 1):
        tree.append_entry(entry)
        assert tree.get_root() == REF.mth(0, size) == rfc6962.root_of_leaves(LEAVES[:size])
    for index in random.Random(7).sample(range(70), 20):
        assert list(tree.prove_inclusion(index + 1).path)[1:] == rfc6962.prove_inclusion(index, 70, REF.read)


def test_nodes_of_any_range_are_complete_and_lie_side_by_side():
    for lo, hi in itertools.combinations(range(40), 2):
        at = lo
        for level, index in subtree.nodes(lo, hi):
            assert index << level == at
            at += 1 << level
        assert at == hi


def flip(value: bytes) -> bytes:
    return bytes([value[0] ^ 1]) + value[1:]


def test_PR_12_both_ways_up_a_tree_accept_the_same_inclusion_proofs():
    """``verify_inclusion`` goes up by itself, ``subtree.verify`` is the general way; proofs of wrong lengths, too."""
    for size in range(1, 14):
        root = REF.mth(0, size)
        for index, claimed in itertools.product(range(size), range(1, 16)):
            leaf, proof = LEAVES[index], rfc6962.prove_inclusion(index, size, REF.read)
            for shown in (proof, [*proof, LEAVES[0]], proof[:-1], proof[::-1]):
                steps = {rfc6962.node_hash(*pair) for item in shown for pair in ((item, leaf), (leaf, item))}
                for target in {root, leaf, *steps}:
                    accepted = holds(rfc6962.verify_inclusion, index, claimed, leaf, shown, target)
                    general = holds(subtree.verify, index, index + 1, claimed, leaf, target, shown)
                    assert accepted is (general and index < claimed)


def holds(check: Callable[..., None], *arguments: object) -> bool:
    try:
        check(*arguments)
    except ProofError:
        return False
    return True
