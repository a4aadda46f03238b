"""Checkpoints (c2sp.org/tlog-checkpoint): three lines, strictly, and what a signature on them covers."""

from __future__ import annotations

import base64
import itertools
import socket

import pytest

from teelog.errors import MalformedError, SignatureError, UntrustedKey, VerificationError
from teelog.tlog import fork, note, rfc6962
from teelog.tlog.checkpoint import Checkpoint, claimed_origin, open_checkpoint, parse_body
from teelog.tlog.rfc6962 import EMPTY_ROOT
from teelog.tlog.tiles import Edge
from tests.test_strict import BAD_NUMBERS
from tests.tlog import make

ROOT = base64.b64encode(make.head(5).root)
GOOD = make.head(5).body()


def body(origin: bytes = b"log.example/tee", size: bytes = b"5", root: bytes = ROOT, *more: bytes) -> bytes:
    return b"".join(line + b"\n" for line in (origin, size, root, *more))


def refused(text: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_body(text)
    if b"\n\n" not in text and text.endswith(b"\n") and len(text) > 1 and text[:1] != b"\n":
        data = note.encode(text, [make.LOG.sign(text, make.NOW)])
        with pytest.raises(MalformedError):
            open_checkpoint(data, [make.LOG.verifier])


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\n", b"log.example/tee\n", b"log.example/tee\n5\n", GOOD[:-1],
        body(origin=b""), body(size=b""), body(root=b""), b"\n" + GOOD, GOOD.replace(b"\n5\n", b"\n\n5\n"),
        b"log.example/tee\n5\n" + ROOT,
    ],
)  # fmt: skip
def test_CP_01_three_non_empty_ended_lines(text: bytes):
    refused(text)


def test_CP_02_any_origin_is_an_origin_and_none_is_dialled(monkeypatch: pytest.MonkeyPatch):
    def dial(*_: object) -> None:
        raise AssertionError("an origin was dialled")

    monkeypatch.setattr(socket, "socket", dial)
    monkeypatch.setattr(socket, "getaddrinfo", dial)
    for origin in ("go.sum database tree", "https://localhost:1/", "x", "ü\u2028", "a+b", " lead", "127.0.0.1"):
        head = make.head(5, origin)
        assert parse_body(head.body()) == head
        opened = open_checkpoint(make.sign(head, make.LOG), [make.LOG.verifier], origin)
        assert opened.checkpoint.origin == origin
    with pytest.raises(VerificationError, match="another log"):
        open_checkpoint(make.sign(make.head(5, "other.example"), make.LOG), [make.LOG.verifier], make.ORIGIN)


@pytest.mark.parametrize("size", BAD_NUMBERS)
def test_CP_03_size_is_plain_decimal(size: bytes):
    with pytest.raises(MalformedError):
        parse_body(body(size=size))


def test_CP_03_zero_is_a_size():
    assert parse_body(body(size=b"0", root=base64.b64encode(EMPTY_ROOT))).size == 0


def test_CP_04_no_size_above_2_to_the_63_less_one():
    assert parse_body(body(size=b"%d" % (2**63 - 1))).size == 2**63 - 1
    refused(body(size=b"%d" % 2**63))
    refused(body(size=b"%d" % (2**64 - 1)))


@pytest.mark.parametrize(
    "root",
    [
        base64.b64encode(bytes(31)), base64.b64encode(bytes(33)), base64.b64encode(bytes(64)),
        base64.urlsafe_b64encode(b"\xff" * 32), ROOT.rstrip(b"="), ROOT + b"=", b" " + ROOT, ROOT + b" ",
        make.head(5).root.hex().encode(), ROOT[:-2] + bytes([ROOT[-2] + 1]) + b"=", b"\xff" * 44,
    ],
)  # fmt: skip
def test_CP_05_root_is_canonical_base64_of_32_bytes(root: bytes):
    with pytest.raises(MalformedError):
        parse_body(body(root=root))


def test_CP_06_extension_lines_are_kept_to_the_byte_and_never_empty():
    lines = ["ext 1", " two ", "ü\u2028\u0085x", "— not a signature", "7"]
    head = make.head(5, extensions=lines)
    assert parse_body(head.body()).extensions == tuple(lines)
    assert parse_body(head.body()).body() == head.body()
    opened = open_checkpoint(make.sign(head, make.LOG), [make.LOG.verifier])
    assert opened.checkpoint == head
    for at in range(len(lines) + 1):
        refused(make.head(5, extensions=[*lines[:at], "", *lines[at:]]).body())


def test_CP_07_a_checkpoint_has_no_extension_lines_unless_they_are_given():
    assert make.head(5).extensions == ()
    assert GOOD.count(b"\n") == 3


def test_CP_09_key_name_and_origin_are_compared_by_who_has_a_policy():
    """Opening with keys alone takes any name (SHOULD); `policy.verify_checkpoint` does not (PL-13)."""
    stranger = make.signer("other.example")
    data = make.sign(make.head(5), stranger)
    assert open_checkpoint(data, [stranger.verifier]).checkpoint == make.head(5)
    from teelog.tlog.policy import verify_checkpoint

    only = make.policy(make.log_line(stranger), "quorum none")
    with pytest.raises(UntrustedKey):
        verify_checkpoint(data, only)


def test_CP_10_unknown_signatures_change_nothing():
    data = make.sign(make.head(5), make.LOG)
    strangers = [make.signer(f"stranger{number}.example").sign(b"something else\n", make.NOW) for number in range(10)]
    mine = note.parse(data).signatures
    for order in ([*strangers, *mine], [*mine, *strangers], [*strangers[:5], *mine, *strangers[5:]]):
        opened = open_checkpoint(note.encode(GOOD, order), [make.LOG.verifier])
        assert opened.checkpoint == make.head(5)
        assert opened.note.encode() == data


def test_CP_11_a_log_signs_with_both_of_its_keys_and_either_suffices():
    data = make.sign(make.head(5), make.LOG, make.LOG_PQ)
    opened = open_checkpoint(data, make.vkeys([make.LOG, make.LOG_PQ]))
    assert [line.timestamp for line in opened.note.signatures] == [None, make.NOW]
    for one in (make.LOG, make.LOG_PQ):
        assert open_checkpoint(data, [one.verifier]).checkpoint == make.head(5)


def test_TT_04_the_ed25519_line_stands_on_its_own():
    data = make.sign(make.head(5), make.LOG, make.LOG_PQ, *make.WITNESSES)
    opened = open_checkpoint(data, [make.LOG.verifier])
    assert opened.note.signatures[0].verifier == make.LOG.verifier
    assert len(opened.note.others) == 5


def test_CP_12_there_is_one_empty_tree():
    empty = make.head(0)
    assert empty.root.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert open_checkpoint(make.sign(empty, make.LOG), [make.LOG.verifier]).checkpoint == empty
    for root in (bytes(32), make.head(1).root):
        bad = make.sign(Checkpoint(make.ORIGIN, 0, root), make.LOG)
        with pytest.raises(VerificationError, match="another root than the empty tree"):
            open_checkpoint(bad, [make.LOG.verifier])


def test_CP_13_two_roots_for_one_size_are_a_fork_proof():
    one = make.head(5)
    two = Checkpoint(make.ORIGIN, 5, make.head(6).root)
    found = fork.find_fork((one, make.sign(one, make.LOG)), (two, make.sign(two, make.LOG)))
    assert found is not None
    views = fork.verify_fork(fork.parse_fork(found.encode()), [make.LOG.verifier])
    assert {views.first.checkpoint, views.second.checkpoint} == {one, two}


def test_CP_14_a_smaller_consistent_checkpoint_is_no_fork():
    reference = make.Reference(make.leaves(9))
    small, large = make.head(5), make.head(9)
    pairs = [(head, make.sign(head, make.LOG)) for head in (small, large)]
    for first, second in (pairs, pairs[::-1]):
        assert fork.find_fork(first, second, reference.proof(5, 9), small.root) is None


def test_a_tampered_body_fails():
    data = make.sign(make.head(5), make.LOG)
    for old, new in ((b"\n5\n", b"\n6\n"), (b"tee", b"tea"), (ROOT, base64.b64encode(make.head(4).root))):
        with pytest.raises(SignatureError):
            open_checkpoint(data.replace(old, new, 1), [make.LOG.verifier])


def test_claimed_origin_is_the_first_line():
    assert claimed_origin(GOOD) == make.ORIGIN
    for bad in (b"", b"x", b"\nx\n", b"\xff\n"):
        with pytest.raises(MalformedError):
            claimed_origin(bad)


def test_CP_08_every_two_heads_of_a_growing_tree_are_consistent():
    """The observer's rule, on what the core computes; the log server's tests hold it under faults."""
    edge, seen = Edge(), []
    leaves = make.leaves(700)
    reference = make.Reference(leaves)
    for start, end in itertools.pairwise([0, 1, 2, 5, 255, 256, 257, 511, 512, 700]):
        edge, _ = edge.append(leaves[start:end])
        seen.append(Checkpoint(make.ORIGIN, edge.size, edge.root()))
    for old, new in itertools.combinations(seen, 2):
        proof = rfc6962.prove_consistency(old.size, new.size, reference.read)
        rfc6962.verify_consistency(old.size, old.root, new.size, new.root, proof)
        assert fork.find_fork((old, b""), (new, b""), proof, old.root) is None
