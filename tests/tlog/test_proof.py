"""Offline proofs (c2sp.org/tlog-proof): the file to the byte, and every way in which one does not hold."""

from __future__ import annotations

import base64
import dataclasses

import pytest

from teelog.errors import (
    MalformedError,
    NotEstablished,
    NotWitnessed,
    ProofError,
    SignatureError,
    TeelogError,
    UntrustedKey,
    VerificationError,
)
from teelog.tlog import note, proof
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.note import Signature
from teelog.tlog.policy import Policy
from teelog.tlog.proof import HEADER, TlogProof, parse_proof, verify_proof
from tests.test_strict import BAD_NUMBERS
from tests.tlog import make
from tests.tlog.make import LOG, NOW, WITNESSES
from tests.tlog.reference import Reference

INDEX, SIZE = 5, 9
LEAVES = make.leaves(SIZE)
LEAF = LEAVES[INDEX]
PROOF = make.proof(INDEX, SIZE, LOG, *WITNESSES)
FILE = PROOF.encode()
POLICY = make.usual_policy()
LINES = FILE.split(b"\n\n", 1)[0].split(b"\n")
CHECKPOINT = PROOF.checkpoint


def file(*lines: bytes, checkpoint: bytes = CHECKPOINT) -> bytes:
    return b"\n".join(lines) + b"\n\n" + checkpoint


def refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_proof(data)


def verify(given: TlogProof | bytes, leaf: bytes = LEAF, policy: Policy = POLICY, **more: object) -> None:
    parsed = given if isinstance(given, TlogProof) else parse_proof(given)
    found = verify_proof(parsed, leaf, policy, **more)  # type: ignore[arg-type]
    assert (found.leaf, found.index) == (leaf, parsed.index)
    assert len(found.witnessed.cosignatures) >= 1 or policy.quorum == "none"


def test_a_proof_reads_back_and_verifies():
    assert parse_proof(FILE) == PROOF
    assert file(*LINES) == FILE
    verify(FILE)


HEADERS = [
    *(
        b"",
        b"c2sp.org/tlog-proof@v2",
        b"c2sp.org/tlog-proof@v1 ",
        b" c2sp.org/tlog-proof@v1",
        b"c2sp.org/tlog-proof@v1\r",
    ),
    *(
        b"\xef\xbb\xbfc2sp.org/tlog-proof@v1",
        b"C2SP.org/tlog-proof@v1",
        b"c2sp.org/tlog-proof",
        b"c2sp.org/tlog-proof@v1\x00",
    ),
]


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_PR_01_the_first_line(header: bytes):
    refused(file(header, *LINES[1:]))


def test_PR_01_line_ends_are_newlines():
    refused(FILE.replace(b"\n", b"\r\n"))
    refused(b"\n" + FILE)
    refused(file(*LINES[1:]))


def test_PR_02_one_extra_line_with_data_before_the_index():
    extra = b"extra " + base64.b64encode(b"more")
    parsed = parse_proof(file(HEADER, extra, *LINES[1:]))
    assert parsed.unauthenticated_extra == b"more"
    assert parsed.encode() == file(HEADER, extra, *LINES[1:])
    spellings = [b"extra", b"extra ", b"extra  bW9yZQ==", b"extra bW9yZQ", b"extra bW9yZR==", b"Extra bW9yZQ=="]
    spellings += [b"extra\tbW9yZQ==", b"extra bW9y\x00ZQ==", b"extra bW9yZQ== ", b"extra -_8="]
    for bad in spellings:
        refused(file(HEADER, bad, *LINES[1:]))
    refused(file(HEADER, extra, extra, *LINES[1:]))
    refused(file(HEADER, LINES[1], extra, *LINES[2:]))
    refused(file(*LINES, extra))


def test_PR_03_extra_data_decides_nothing_and_says_so_in_its_name():
    names = {field.name for field in dataclasses.fields(TlogProof)}
    assert "unauthenticated_extra" in names
    assert "extra" not in names
    for extra in (None, b"x", b"index 0", b"\x00" * 1000):
        verify(dataclasses.replace(PROOF, unauthenticated_extra=extra))
        with pytest.raises(ProofError):
            verify(dataclasses.replace(PROOF, unauthenticated_extra=extra), LEAVES[4])
    assert not any("extra" in field.name for field in dataclasses.fields(proof.VerifiedInclusion))


@pytest.mark.parametrize("number", [number for number in BAD_NUMBERS if number != b"1\n"])
def test_PR_04_index_is_plain_decimal(number: bytes):
    with pytest.raises(MalformedError):
        parse_proof(file(HEADER, b"index " + number, *LINES[2:]))


@pytest.mark.parametrize(
    "line", [b"index", b"index  5", b"index\t5", b"Index 5", b"index 5 ", b" index 5", b"5", b"leaf 5"]
)
def test_PR_04_the_index_line_has_one_spelling(line: bytes):
    refused(file(HEADER, line, *LINES[2:]))


def test_PR_04_an_index_line_is_needed_once():
    refused(file(HEADER, *LINES[2:]))
    refused(file(HEADER))
    refused(file(HEADER, LINES[1], LINES[1], *LINES[2:]))


def test_PR_05_0_to_63_lines_of_32_bytes():
    hashes = [base64.b64encode(bytes([number]) * 32) for number in range(64)]
    for count in (0, 1, 62, 63):
        assert len(parse_proof(file(HEADER, b"index 5", *hashes[:count])).hashes) == count
    refused(file(HEADER, b"index 5", *hashes))
    for bad in (bytes(31), bytes(33), bytes(64)):
        refused(file(HEADER, b"index 5", hashes[0], base64.b64encode(bad)))
    for bad in (hashes[0] + b" ", b" " + hashes[0], hashes[0][:-1], hashes[0][:-2] + b"B=", b"x"):
        refused(file(HEADER, b"index 5", bad))


def test_PR_05_PR_06_exactly_one_empty_line():
    """A second one makes a checkpoint of what is none."""
    for at in range(1, len(LINES) + 1):
        with pytest.raises((MalformedError, UntrustedKey)):
            verify(b"\n".join([*LINES[:at], b"", *LINES[at:]]) + b"\n\n" + CHECKPOINT)
    with pytest.raises(MalformedError):
        verify(b"\n".join(LINES) + b"\n" + CHECKPOINT)
    refused(b"\n".join(LINES))
    refused(b"\n".join(LINES) + b"\n")
    with pytest.raises(MalformedError):
        verify(file(*LINES, checkpoint=b""))


def test_PR_06_the_checkpoint_is_kept_to_the_byte():
    stranger = make.signer("stranger.example").sign(b"anything\n", NOW)
    signatures = [*note.parse(CHECKPOINT).signatures, stranger, stranger]
    checkpoint = note.encode(make.head(SIZE).body(), signatures)
    parsed = parse_proof(file(*LINES, checkpoint=checkpoint))
    assert parsed.checkpoint == checkpoint
    assert parsed.encode() == file(*LINES, checkpoint=checkpoint)
    verify(parsed)


def test_PR_07_only_a_key_of_that_origin_speaks_for_it():
    other = make.signer("other.example/log")
    policy = make.policy(
        make.log_line(), make.log_line(other), *make.witness_lines(), "group g 3 w1 w2 w3 w4", "quorum g"
    )
    verify(FILE, policy=policy)
    with pytest.raises(UntrustedKey, match="not list"):
        verify(make.proof(INDEX, SIZE, LOG, *WITNESSES), policy=make.policy(make.log_line(other), "quorum none"))
    # Log B signs a checkpoint that says it is log A's, beside it A's honest signature over nothing.
    forged = dataclasses.replace(PROOF, checkpoint=make.sign(make.head(SIZE), other, *WITNESSES))
    with pytest.raises(UntrustedKey, match="not signed by the log"):
        verify(forged, policy=policy)
    foreign = dataclasses.replace(PROOF, checkpoint=make.sign(make.head(SIZE, "other.example/log"), LOG, *WITNESSES))
    with pytest.raises(UntrustedKey, match="not signed by the log"):
        verify(foreign, policy=policy)
    with pytest.raises(VerificationError, match="another log"):
        verify(FILE, policy=policy, origin="other.example/log")
    verify(FILE, policy=policy, origin=make.ORIGIN)
    with pytest.raises(UntrustedKey):
        verify(dataclasses.replace(PROOF, checkpoint=make.sign(make.head(SIZE), *WITNESSES)))


def broken(signature: Signature) -> Signature:
    return Signature(signature.name, signature.key_id, signature.blob[:-1] + bytes([signature.blob[-1] ^ 1]))


def test_PR_08_a_failing_line_of_a_known_witness_rejects():
    signatures = list(note.parse(CHECKPOINT).signatures)
    for at in range(len(signatures)):
        bad = [*signatures[:at], broken(signatures[at]), *signatures[at + 1 :]]
        checkpoint = note.encode(make.head(SIZE).body(), bad)
        with pytest.raises(SignatureError):
            verify(dataclasses.replace(PROOF, checkpoint=checkpoint))
        # Three of four would do: the fourth is verified all the same.
        extra = note.encode(make.head(SIZE).body(), [*signatures, broken(signatures[at])])
        with pytest.raises(SignatureError):
            verify(dataclasses.replace(PROOF, checkpoint=extra))


def test_PR_08_even_outside_the_quorum():
    policy = make.policy(make.log_line(), *make.witness_lines(), "quorum w1")
    signatures = list(note.parse(CHECKPOINT).signatures)
    checkpoint = note.encode(make.head(SIZE).body(), [*signatures[:4], broken(signatures[4])])
    with pytest.raises(SignatureError):
        verify(dataclasses.replace(PROOF, checkpoint=checkpoint), policy=policy)


def test_PR_09_below_the_quorum_the_missing_groups_are_named():
    verify(make.proof(INDEX, SIZE, LOG, *WITNESSES[:3]))
    verify(make.proof(INDEX, SIZE, LOG, *WITNESSES[1:]))
    for witnesses in ((), WITNESSES[:1], WITNESSES[2:]):
        with pytest.raises(NotWitnessed) as caught:
            verify(make.proof(INDEX, SIZE, LOG, *witnesses))
        assert "3 of 4 in g" in str(caught.value)
    assert "missing: w1, w2" in str(caught.value)
    nested = make.policy(make.log_line(), *make.witness_lines(), "group x all w1 w2", "group y any w3 w4",
                         "group both all x y", "quorum both")  # fmt: skip
    with pytest.raises(NotWitnessed) as caught:
        verify(make.proof(INDEX, SIZE, LOG, *WITNESSES[:2]), policy=nested)
    assert "1 of 2 in y (missing: w3, w4)" in str(caught.value)
    assert "in x" not in str(caught.value)


def test_PR_10_the_proof_binds_the_callers_leaf():
    for index, leaf in enumerate(LEAVES):
        if index == INDEX:
            verify(FILE, leaf)
        else:
            with pytest.raises(ProofError, match="not for this entry"):
                verify(FILE, leaf)
    with pytest.raises(ProofError):
        verify(FILE, make.head(SIZE).root)


def test_PR_11_index_beyond_the_tree_and_the_empty_tree():
    for index in (SIZE, SIZE + 1, 2**63 - 1):
        with pytest.raises(ProofError, match="outside the tree"):
            verify(dataclasses.replace(PROOF, index=index))
    empty = TlogProof(0, (), make.sign(make.head(0), LOG, *WITNESSES))
    for leaf in (LEAF, make.head(0).root):
        with pytest.raises(ProofError, match="outside the tree"):
            verify(empty, leaf)


def test_PR_12_a_tree_of_one():
    one = make.proof(0, 1, LOG, *WITNESSES)
    assert one.hashes == ()
    verify(one, LEAVES[0])
    with pytest.raises(ProofError):
        verify(one, LEAVES[1])
    with pytest.raises(ProofError):
        verify(dataclasses.replace(one, hashes=(LEAVES[0],)), LEAVES[0])


def test_PR_13_every_change_to_the_hashes_fails():
    hashes = list(PROOF.hashes)
    root = make.head(SIZE).root
    changed = [hashes[:at] + hashes[at + 1 :] for at in range(len(hashes))]
    changed += [[*hashes[:at], hashes[at], *hashes[at:]] for at in range(len(hashes))]
    changed += [[*hashes, root], [root, *hashes], [LEAF, *hashes], [*hashes, LEAF], hashes[::-1], []]
    changed += [[*hashes[:at], bytes(32), *hashes[at + 1 :]] for at in range(len(hashes))]
    for bad in changed:
        with pytest.raises(ProofError):
            verify(dataclasses.replace(PROOF, hashes=tuple(bad)))
    for index in set(range(SIZE)) - {INDEX}:
        with pytest.raises(ProofError):
            verify(dataclasses.replace(PROOF, index=index))


def test_PR_14_the_largest_numbers_are_refused_like_any_others():
    last = 2**63 - 1
    huge = Checkpoint(make.ORIGIN, last, make.head(3).root)
    for index in (0, last - 1, last, last // 2):
        for count in (0, 1, 62, 63):
            given = TlogProof(index, tuple(make.leaves(count)), make.sign(huge, LOG, *WITNESSES))
            with pytest.raises(ProofError):
                verify(parse_proof(given.encode()))
    for number in (2**63, 2**64 - 1, 2**64):
        refused(file(HEADER, b"index %d" % number, *LINES[2:]))
        with pytest.raises(MalformedError):
            verify(dataclasses.replace(PROOF, checkpoint=CHECKPOINT.replace(b"\n9\n", b"\n%d\n" % number)))


def test_PR_17_timestamps_are_ignored_unless_asked_for():
    for time in (1, NOW, 2**63 - 1):
        verify(make.proof(INDEX, SIZE, LOG, *WITNESSES, time=time))


def test_PR_17_max_age_and_not_before_to_the_second():
    for age in (0, 60, 86_400):
        verify(FILE, now=NOW + age, max_age=age)
        with pytest.raises(NotWitnessed):
            verify(FILE, now=NOW + age + 1, max_age=age)
    verify(FILE, now=NOW - 300, max_age=0)
    with pytest.raises(NotWitnessed):
        verify(FILE, now=NOW - 301, max_age=0)
    verify(FILE, not_before=NOW)
    with pytest.raises(NotWitnessed):
        verify(FILE, not_before=NOW + 1)
    verify(FILE, not_before=NOW, now=NOW + 60, max_age=60)
    with pytest.raises(ValueError, match="needs now"):
        verify(FILE, max_age=60)


def test_PR_17_old_cosignatures_do_not_make_up_the_quorum():
    text = make.head(SIZE).body()
    old = [signer.sign(text, NOW - 100) for signer in WITNESSES[:2]]
    new = [signer.sign(text, NOW) for signer in WITNESSES[2:]]
    mixed = dataclasses.replace(PROOF, checkpoint=note.encode(text, [LOG.sign(text, 0), *old, *new]))
    verify(mixed)
    verify(mixed, now=NOW, max_age=100)
    with pytest.raises(NotWitnessed):
        verify(mixed, now=NOW, max_age=99)
    # The newest line of each witness counts.
    again = [WITNESSES[0].sign(text, NOW)]
    refreshed = note.encode(text, [LOG.sign(text, 0), *again, *old, *new])
    verify(dataclasses.replace(PROOF, checkpoint=refreshed), now=NOW, max_age=99)


def test_PR_17_without_witnesses_no_age_can_be_told():
    lone = make.policy(make.log_line(), "quorum none")
    verify(FILE, policy=lone)
    for asked in ({"now": NOW, "max_age": 60}, {"not_before": 1}, {"now": NOW, "max_age": 60, "not_before": 1}):
        with pytest.raises(NotEstablished, match="age"):
            verify(FILE, policy=lone, **asked)


def test_MI_43_a_mirror_does_not_count_for_entries_that_it_does_not_hold():
    names = list(POLICY.witnesses)
    assert (len(names), POLICY.groups[POLICY.quorum].threshold) == (4, 3)
    for least in (0, INDEX):
        verify(FILE, mirrors=dict.fromkeys(names, least))
    verify(FILE, mirrors={names[0]: INDEX + 1})
    for short in ({names[0]: INDEX + 1, names[1]: INDEX + 1}, dict.fromkeys(names, 2**63 - 1)):
        with pytest.raises(NotWitnessed):
            verify(FILE, mirrors=short)


def test_PR_18_a_proof_has_at_most_a_mebibyte():
    assert proof.MAX_LENGTH == 2**20
    padded = file(HEADER, b"extra " + base64.b64encode(bytes(700_000)), *LINES[1:])
    assert len(padded) < 2**20
    verify(padded)
    assert parse_proof(FILE + b"\n" * (2**20 - len(FILE)))
    refused(FILE + b"\n" * (2**20 - len(FILE) + 1))


def test_PR_19_the_answer_does_not_depend_on_the_clock():
    """verify_proof is given no time; with one, only max_age asks for it. The process test is in test_offline.py."""
    for now in (0, 4_102_444_800):
        verify(FILE, now=now)


def test_PR_20_a_true_proof_for_another_entry_says_what_was_expected():
    other = make.proof(6, SIZE, LOG, *WITNESSES)
    verify(other, LEAVES[6])
    with pytest.raises(ProofError, match="not for this entry") as caught:
        verify(other)
    assert LEAF.hex() in str(caught.value.expected)
    assert "index 6" in str(caught.value.expected)


@pytest.mark.parametrize(
    "nothing", [b"", b"\n", b"\n\n", b"null", b"{}", b"[]", HEADER, HEADER + b"\n", HEADER + b"\n\n", b"\x00", b"0"]
)
def test_PR_21_nothing_to_check_is_never_a_success(nothing: bytes):
    refused(nothing)


def test_PR_21_no_signature_no_witness_no_log_is_never_a_success():
    empty = make.policy("quorum none")
    for policy in (empty, make.policy(*make.witness_lines(), "quorum w1")):
        with pytest.raises(UntrustedKey):
            verify(FILE, policy=policy)
    with pytest.raises(TeelogError):
        verify(file(*LINES, checkpoint=make.head(SIZE).body()))
    with pytest.raises(TeelogError):
        verify(file(*LINES, checkpoint=make.head(SIZE).body() + b"\n"))


def test_TT_30_an_entry_below_the_lower_bound_is_refused():
    for bound in (0, INDEX):
        verify(FILE, min_index=bound)
    with pytest.raises(ProofError, match="below the lower bound"):
        verify(FILE, min_index=INDEX + 1)


def test_every_leaf_of_every_size_to_20_verifies_for_the_caller_who_holds_it():
    for size in range(1, 21):
        leaves = make.leaves(size)
        signed = make.sign(make.head(size), LOG, *WITNESSES[:3])
        for index in range(size):
            verify(TlogProof(index, tuple(Reference(leaves).path(index, 0, size)), signed), leaves[index])
