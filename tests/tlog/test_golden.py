"""The core's formats, committed: bytes that never change by accident, and signatures that must go on verifying."""

from __future__ import annotations

import hashlib

import pytest

from teelog.errors import TeelogError
from teelog.tlog import note, policy_lint, rfc6962, tiles, vkey, witness
from teelog.tlog.checkpoint import open_checkpoint
from teelog.tlog.fork import parse_fork, verify_fork
from teelog.tlog.policy import parse_policy, verify_checkpoint
from teelog.tlog.proof import parse_proof, verify_proof
from tests.tlog import make, make_golden
from tests.tlog.make_golden import ENTRY, EXTRA, GOLDEN, INDEX, SIZE, masked

FILES = {path.name: path.read_bytes() for path in sorted(GOLDEN.iterdir())}
POLICY = parse_policy(FILES["policy.txt"])
LEAF = rfc6962.leaf_hash(ENTRY)

# By hand, once: what is signed, to the byte.
COSIGNER, LOG_ORIGIN = b"\x12witness.example/w1", b"\x0flog.example/tee"
MESSAGES = {
    "ed25519.cosigned-message": b"cosignature/v1\ntime 1790000000\nlog.example/tee\n21\n",
    "ml-dsa-44.cosigned-message": b"".join(
        (b"subtree/v1\n\x00", COSIGNER, bytes.fromhex("000000006ab13b80"), LOG_ORIGIN, bytes(8), bytes(7), b"\x15")
    ),
    "ml-dsa-44-subtree.cosigned-message": b"".join(
        (b"subtree/v1\n\x00", COSIGNER, bytes(8), LOG_ORIGIN, bytes(7), b"\x10", bytes(7), b"\x14")
    ),
}


def test_generator_makes_what_is_committed():
    made = make_golden.files()
    assert set(made) == set(FILES)
    for name, data in made.items():
        assert masked(data) == masked(FILES[name]), name


def test_only_ml_dsa_signatures_are_masked():
    assert masked(FILES["plain.checkpoint"]) == FILES["plain.checkpoint"]
    assert FILES["cosigned.checkpoint"] != masked(FILES["cosigned.checkpoint"])
    assert len(masked(FILES["cosigned.checkpoint"])) < 1_000


@pytest.mark.parametrize("name", MESSAGES)
def test_CS_05_CS_07_signed_messages_to_the_byte(name: str):
    head = make.head(SIZE)
    tail = head.body().split(b"\n", 2)[2] if name.startswith("ed") else head.root
    if "subtree.cosigned" in name and "44-subtree" in name:
        tail = rfc6962.root_of_leaves(make.leaves(20)[16:20])
    assert FILES[name] == MESSAGES[name] + tail


def test_CS_21_committed_ml_dsa_signatures_verify():
    keys = {key.key_id: key for key in map(vkey.parse, FILES["vkeys.txt"].decode().split("\n")[:-1])}
    assert len(keys) == 10
    opened = open_checkpoint(FILES["cosigned.checkpoint"], keys.values(), make.ORIGIN)
    assert [line.verifier.key_id for line in opened.note.signatures] == [
        line.key_id for line in note.parse(FILES["cosigned.checkpoint"]).signatures
    ]
    assert opened.note.others == ()
    assert sum(key.type is make.MLDSA for key in (line.verifier for line in opened.note.signatures)) == 3
    mldsa = pytest.importorskip("mldsa")
    message = FILES["ml-dsa-44.cosigned-message"]
    key = make.WITNESSES_PQ[0].verifier
    line = next(line for line in note.parse(FILES["cosigned.checkpoint"]).signatures if line.key_id == key.key_id)
    mldsa.VerificationKey(key.public.raw).verify(line.blob[8:], message)


def test_committed_proofs_verify():
    found = verify_proof(parse_proof(FILES["entry.tlog-proof"]), LEAF, POLICY)
    assert (found.index, found.witnessed.checkpoint) == (INDEX, make.head(SIZE))
    assert len(found.witnessed.log_signatures) == 2
    extra = parse_proof(FILES["extra.tlog-proof"])
    assert extra.unauthenticated_extra == EXTRA
    assert verify_proof(extra, LEAF, POLICY).witnessed.checkpoint == make.head(SIZE)
    assert verify_proof(parse_proof(FILES["one.tlog-proof"]), make.leaves(1)[0], POLICY).index == 0


def test_committed_policy_tolerates_one_colluder():
    assert policy_lint.lint(POLICY).tolerated == 1
    assert policy_lint.lint(POLICY).problems == ()
    assert verify_checkpoint(FILES["cosigned.checkpoint"], POLICY).checkpoint == make.head(SIZE)


def test_committed_forks_accuse():
    for name, sizes in (
        ("equal-sizes.teelog-fork", (SIZE, SIZE)),
        ("with-keys.teelog-fork", (SIZE, SIZE)),
        ("two-sizes.teelog-fork", (6, 13)),
    ):
        views = verify_fork(parse_fork(FILES[name]), make.vkeys([make.LOG, make.LOG_PQ]))
        assert (views.first.checkpoint.size, views.second.checkpoint.size) == sizes
        with pytest.raises(TeelogError):
            verify_fork(parse_fork(FILES[name]), [make.signer("innocent.example").verifier])


def test_committed_exchange_with_a_witness_reads_back():
    request = witness.parse_add_checkpoint(FILES["request.add-checkpoint"])
    assert request.encode() == FILES["request.add-checkpoint"]
    old, new = make.head(request.old), make.head(SIZE)
    rfc6962.verify_consistency(old.size, old.root, new.size, new.root, request.proof)
    keys = make.vkeys(make_golden.PAIRS[0])
    opened = note.open_note(request.checkpoint + FILES["answer.add-checkpoint"], keys)
    assert [line.timestamp for line in opened.signatures] == [make.NOW, make.NOW]
    assert witness.encode_answer(witness.parse_answer(FILES["answer.add-checkpoint"])) == FILES["answer.add-checkpoint"]


def test_committed_bundle_and_tile_belong_together():
    entries = tiles.parse_bundle(FILES["entries.bundle"], SIZE)
    assert entries[INDEX] == ENTRY
    assert [hashlib.sha256(b"\x00" + entry).digest() for entry in entries] == tiles.parse_tile(
        FILES["level-0.tile"], SIZE
    )
