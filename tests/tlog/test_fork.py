"""Fork proofs: two signed views accuse a log, and nothing else does."""

from __future__ import annotations

import base64
import itertools

import pytest

from teelog.errors import MalformedError, ProofError, SignatureError, UntrustedKey, VerificationError
from teelog.tlog import fork
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.fork import ForkProof, find_fork, parse_fork, verify_fork
from tests.test_strict import BAD_NUMBERS
from tests.tlog import make
from tests.tlog.make import LOG, LOG_PQ
from tests.tlog.reference import Reference

KEYS = [LOG.verifier]
HONEST = Reference(make.leaves(40))
EVIL = Reference([*make.leaves(3), *make.leaves(80)[43:]])  # parts from HONEST at entry 3


def view(reference: Reference, size: int, origin: str = make.ORIGIN) -> tuple[Checkpoint, bytes]:
    head = Checkpoint(origin, size, reference.mth(0, size))
    return head, make.sign(head, LOG)


def test_CP_13_every_pair_of_parted_views_is_found_and_verifies():
    for small, large in itertools.product(range(1, 20), range(1, 20)):
        if small > large:
            continue
        first, second = view(HONEST, small), view(EVIL, large)
        proof = EVIL.proof(small, large)
        found = find_fork(first, second, proof, EVIL.mth(0, small))
        assert found == find_fork(second, first, proof, EVIL.mth(0, small)) or small == large
        if small <= 3:
            assert found is None  # no fork yet: one tree extends the other
            continue
        assert found is not None
        read = parse_fork(found.encode())
        assert read == found
        views = verify_fork(read, KEYS)
        assert {views.first.checkpoint, views.second.checkpoint} == {first[0], second[0]}


def test_a_fork_is_found_without_the_root_where_the_proof_tells_it():
    for small, large in itertools.combinations(range(4, 20), 2):
        found = find_fork(view(HONEST, small), view(EVIL, large), EVIL.proof(small, large))
        if small & (small - 1):
            assert found is not None
            verify_fork(found, KEYS)
        else:
            # A complete node of the tree: the proof starts from the verifier's own root and just fails.
            assert found is None


def test_a_consistency_proof_that_merely_fails_accuses_nobody():
    first, second = view(HONEST, 5), view(HONEST, 9)
    good = HONEST.proof(5, 9)
    for proof in ([], good[1:], good[:-1], [*good, good[0]], [bytes(32)] * len(good), good[::-1], EVIL.proof(5, 9)):
        for root in (None, first[0].root, EVIL.mth(0, 5), bytes(32)):
            assert find_fork(first, second, proof, root) is None
    for proof in ([], good, [bytes(32)] * len(good), EVIL.proof(5, 9)):
        for root in (None, first[0].root, EVIL.mth(0, 5), bytes(32)):
            with pytest.raises((VerificationError, ProofError)):
                verify_fork(ForkProof(first[1], second[1], root, tuple(proof)), KEYS)


def test_the_same_tree_twice_is_no_fork():
    one = view(HONEST, 5)
    assert find_fork(one, one) is None
    again = make.sign(one[0], LOG, LOG_PQ)
    for fork_proof in (ForkProof(one[1], one[1]), ForkProof(one[1], again)):
        with pytest.raises(VerificationError, match="same tree"):
            verify_fork(fork_proof, KEYS)


def test_views_of_two_logs_are_no_fork():
    other = make.signer("other.example")
    theirs = make.sign(Checkpoint("other.example", 5, EVIL.mth(0, 5)), other)
    with pytest.raises(VerificationError, match="two logs"):
        verify_fork(ForkProof(view(HONEST, 5)[1], theirs), [LOG.verifier, other.verifier])
    # Log A's key under log B's origin, or the other way round.
    mislabelled = make.sign(Checkpoint("other.example", 5, EVIL.mth(0, 5)), LOG)
    labelled = make.sign(Checkpoint("other.example", 5, HONEST.mth(0, 5)), LOG)
    with pytest.raises(VerificationError, match="another name than its origin"):
        verify_fork(ForkProof(mislabelled, labelled), KEYS)


def test_both_views_are_signed():
    one, two = view(HONEST, 5), view(EVIL, 5)
    unsigned = make.sign(two[0], make.signer("other.example"))
    tampered = one[1].replace(base64.b64encode(one[0].root), base64.b64encode(two[0].root))
    for bad, error in (
        (unsigned, UntrustedKey),
        (tampered, SignatureError),
        (two[0].body(), MalformedError),
        (b"", MalformedError),
    ):
        for pair in ((one[1], bad), (bad, one[1])):
            with pytest.raises(error):
                verify_fork(ForkProof(*pair), KEYS)
    with pytest.raises(UntrustedKey):
        verify_fork(ForkProof(one[1], two[1]), [])


def test_every_changed_part_of_a_fork_proof_fails():
    found = find_fork(view(HONEST, 6), view(EVIL, 13), EVIL.proof(6, 13), EVIL.mth(0, 6))
    assert found is not None
    assert found.root is not None
    honest_root = HONEST.mth(0, 6)
    for root, proof in (
        (None, ()),
        (None, found.proof),
        (honest_root, found.proof),
        (bytes(32), found.proof),
        (found.root, ()),
        (found.root, found.proof[1:]),
        (found.root, found.proof[::-1]),
        (found.root, (*found.proof, bytes(32))),
        (honest_root, tuple(HONEST.proof(6, 13))),
    ):
        with pytest.raises(VerificationError):
            verify_fork(ForkProof(found.first, found.second, root, proof), KEYS)
    with pytest.raises(VerificationError):
        verify_fork(ForkProof(found.second, found.first, found.root, found.proof), KEYS)


def test_equal_sizes_need_neither_root_nor_proof():
    one, two = view(HONEST, 5), view(EVIL, 5)
    assert verify_fork(ForkProof(one[1], two[1]), KEYS)
    for root, proof in ((bytes(32), ()), (None, (bytes(32),)), (two[0].root, ())):
        with pytest.raises(VerificationError):
            verify_fork(ForkProof(one[1], two[1], root, proof), KEYS)


def test_the_empty_tree_forks_from_nothing():
    empty = (make.head(0), make.sign(make.head(0), LOG))
    assert find_fork(empty, view(EVIL, 5), []) is None
    for root in (None, make.head(0).root, bytes(32)):
        with pytest.raises(VerificationError):
            verify_fork(ForkProof(empty[1], view(EVIL, 5)[1], root), KEYS)


def test_fork_with_ml_dsa_signatures():
    heads = [Checkpoint(make.ORIGIN, 5, reference.mth(0, 5)) for reference in (HONEST, EVIL)]
    notes = [make.sign(head, LOG_PQ) for head in heads]
    assert verify_fork(ForkProof(*notes), [LOG_PQ.verifier])


def test_the_file_has_one_spelling():
    found = find_fork(view(HONEST, 6), view(EVIL, 13), EVIL.proof(6, 13), EVIL.mth(0, 6))
    assert found is not None
    data = found.encode()
    head, notes = data.split(b"\n\n", 1)
    lines = head.split(b"\n")
    assert lines[0] == fork.HEADER

    def refused(*changed: bytes, rest: bytes = notes) -> None:
        with pytest.raises(MalformedError):
            parse_fork(b"\n".join(changed) + b"\n\n" + rest)

    refused(*lines, rest=notes + b"\n")
    refused(*lines, rest=notes[:-1])
    refused(b"teelog-fork/v2", *lines[1:])
    refused(lines[0] + b" ", *lines[1:])
    refused(lines[0], lines[2], lines[1], *lines[3:])
    refused(lines[0], lines[1], *lines[3:])
    refused(*lines[:3], lines[3], lines[3], *lines[4:])
    refused(*lines[:4], *[base64.b64encode(bytes(32))] * 64)
    refused(*lines[:3], b"root " + base64.b64encode(bytes(31)))
    refused(*lines, base64.b64encode(bytes(33)))
    for number in BAD_NUMBERS:
        if number != b"1\n":
            refused(lines[0], b"first " + number, *lines[2:])
            refused(*lines[:2], b"second " + number, *lines[3:])
    for bad in (b"", fork.HEADER, fork.HEADER + b"\n\n", head, data.replace(b"\n", b"\r\n"), data + b"x" * 2**20):
        with pytest.raises(MalformedError):
            parse_fork(bad)


def test_views_signed_beside_the_log_by_another_name_are_no_fork():
    other = make.signer("other.example")
    heads = [Checkpoint(make.ORIGIN, 5, reference.mth(0, 5)) for reference in (HONEST, EVIL)]
    notes = [make.sign(head, LOG, other) for head in heads]
    assert verify_fork(ForkProof(*notes), KEYS)
    with pytest.raises(VerificationError, match="another name than its origin"):
        verify_fork(ForkProof(*notes), [LOG.verifier, other.verifier])


def test_the_largest_file_is_read():
    one, two = view(HONEST, 5)[1], view(EVIL, 5)[1]
    short = ForkProof(one, two)
    fill = fork.MAX_LENGTH - len(short.encode()) - 4  # the length itself gets longer
    exact = ForkProof(one, two + b"x" * fill).encode()
    assert len(exact) == fork.MAX_LENGTH
    assert parse_fork(exact).encode() == exact
    with pytest.raises(MalformedError, match="too long"):
        parse_fork(exact + b"x")


def test_a_file_names_up_to_8_log_keys_each_once():
    one, two = view(HONEST, 5)[1], view(EVIL, 5)[1]
    keys = tuple(make.signer(f"log{number}.example").verifier for number in range(9))
    for count in (0, 1, 8):
        given = ForkProof(one, two, keys=keys[:count])
        assert parse_fork(given.encode()) == given
    for bad in (keys, (keys[0], keys[0])):
        with pytest.raises(MalformedError, match="too many keys, or one twice"):
            parse_fork(ForkProof(one, two, keys=bad).encode())
    data = ForkProof(one, two, keys=keys[:1]).encode()
    line = f"key {keys[0]}".encode()
    for bad in (
        b"key",
        b"key ",
        b"key x",
        b"key \xff",
        line + b" ",
        b"key " + str(make.WITNESSES[0].verifier).encode(),
    ):
        with pytest.raises(MalformedError):
            parse_fork(data.replace(line, bad))


def test_two_keys_with_one_view_each_prove_nothing_by_themselves():
    one = make.sign(view(HONEST, 5)[0], LOG)
    two = make.sign(view(EVIL, 5)[0], LOG_PQ)
    both = (LOG.verifier, LOG_PQ.verifier)
    with pytest.raises(VerificationError):
        fork.verify_own_keys(ForkProof(one, two, keys=both))
    with pytest.raises(VerificationError, match="names no key"):
        fork.verify_own_keys(ForkProof(one, view(EVIL, 5)[1]))
    for keys in (both, both[::-1], both[:1]):
        assert fork.verify_own_keys(ForkProof(one, view(EVIL, 5)[1], keys=keys)).signers() == (LOG.verifier,)
    # To who knows that both are the log's, it is a fork.
    assert verify_fork(ForkProof(one, two), both).signers() == both
