"""The keys that a fork proof names, and that no bytes whatever accuse an honest log."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teelog.errors import MalformedError, TeelogError, UntrustedKey, VerificationError
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.fork import MAX_KEYS, ForkProof, find_fork, parse_fork, verify_fork, verify_own_keys
from teelog.tlog.vkey import NoteSigner
from tests.tlog import make
from tests.tlog.make import COSIGN, LOG, LOG_PQ
from tests.tlog.reference import Reference

SECOND = make.signer(make.ORIGIN, seed="second")
HONEST = Reference(make.leaves(40))
EVIL = Reference([*make.leaves(3), *make.leaves(80)[43:]])  # parts from HONEST at entry 3


def view(reference: Reference, size: int, *signers: NoteSigner) -> tuple[Checkpoint, bytes]:
    head = Checkpoint(make.ORIGIN, size, reference.mth(0, size))
    return head, make.sign(head, *(signers or (LOG,)))


def forked(*signers: NoteSigner, named: tuple[NoteSigner, ...] = (LOG,)) -> ForkProof:
    """HONEST at 5 by LOG, EVIL at 9 by ``signers``."""
    found = find_fork(view(HONEST, 5), view(EVIL, 9, *signers), EVIL.proof(5, 9), keys=[one.verifier for one in named])
    assert found is not None
    return found


def test_a_fork_by_a_key_that_the_file_names() -> None:
    read = parse_fork(forked(LOG).encode())
    assert read.keys == (LOG.verifier,)
    assert verify_own_keys(read).signers() == (LOG.verifier,)


def test_the_key_that_signed_both_views_is_found_among_several() -> None:
    found = forked(SECOND, LOG, named=(SECOND, LOG_PQ, LOG))
    assert verify_own_keys(parse_fork(found.encode())).signers() == (LOG.verifier,)


def test_two_keys_with_one_view_each_prove_nothing_by_themselves() -> None:
    found = forked(SECOND, named=(LOG, SECOND))
    with pytest.raises(UntrustedKey):
        verify_own_keys(found)
    # Whoever knows by himself that both are the log's has been shown a fork.
    assert verify_fork(found, [LOG.verifier, SECOND.verifier]).signers() == (LOG.verifier, SECOND.verifier)


def test_a_file_without_keys_proves_nothing_by_itself() -> None:
    found = forked(LOG, named=())
    with pytest.raises(VerificationError, match="names no key"):
        verify_own_keys(found)
    verify_fork(found, [LOG.verifier])


DATA = forked(LOG).encode()
KEY_LINE = b"\nkey " + str(LOG.verifier).encode()


@pytest.mark.parametrize(
    "changed",
    [
        KEY_LINE * 2,
        KEY_LINE.replace(b"key ", b"key  "),
        KEY_LINE.replace(b"key ", b"Key "),
        KEY_LINE[:-1],
        KEY_LINE + b" ",
        b"\nkey ",
        b"\nkey " + str(make.signer(make.ORIGIN, kind=COSIGN).verifier).encode(),  # a witness's
    ],
)
def test_malformed_key_lines_are_refused(changed: bytes) -> None:
    assert DATA.count(KEY_LINE) == 1
    with pytest.raises(MalformedError):
        parse_fork(DATA.replace(KEY_LINE, changed))


def test_at_most_eight_keys() -> None:
    keys = tuple(make.signer(make.ORIGIN, seed=f"key {number}").verifier for number in range(MAX_KEYS + 1))
    good = ForkProof(b"a", b"b", keys=keys[:MAX_KEYS])
    assert parse_fork(good.encode()) == good
    with pytest.raises(MalformedError, match="too many keys"):
        parse_fork(ForkProof(b"a", b"b", keys=keys).encode())


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 8), st.integers())
def test_honest_notes_never_make_a_fork_proof(first: int, second: int, count: int, seed: int) -> None:
    """Whatever proof a slanderer brings, to the search or to the verifier."""
    small, large = sorted((first, second))
    views = view(HONEST, small), view(HONEST, large)
    honest = HONEST.proof(small, large) if small < large else []
    choice = [*honest, bytes(32), views[0][0].root, views[1][0].root, EVIL.mth(0, small), *EVIL.proof(small, 40)]
    proof = random.Random(seed).choices(choice, k=count)
    for root in (None, bytes(32), views[0][0].root, EVIL.mth(0, small)):
        assert find_fork(*views, proof, root) is None
        with pytest.raises(TeelogError):
            verify_fork(ForkProof(views[0][1], views[1][1], root, tuple(proof)), [LOG.verifier])


@given(st.binary(max_size=300))
def test_whatever_is_read_is_written_back_as_it_was(data: bytes) -> None:
    for text in (data, b"teelog-fork/v1\n" + data, b"teelog-fork/v1\nfirst 0\nsecond 0\n" + data):
        with contextlib.suppress(MalformedError):
            assert parse_fork(text).encode() == text


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_no_changed_byte_verifies_by_the_files_own_key(place: int, flip: int) -> None:
    changed = bytearray(DATA)
    changed[place] ^= flip
    with pytest.raises(TeelogError):
        verify_own_keys(parse_fork(bytes(changed)))
