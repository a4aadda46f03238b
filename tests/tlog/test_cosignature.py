"""Cosignatures (c2sp.org/tlog-cosignature): the messages to the byte, the blobs, what they do and do not say."""

from __future__ import annotations

import base64
import hashlib
import struct

import pytest

from teelog.errors import ConfigError, MalformedError, NotWitnessed, SignatureError, UntrustedKey
from teelog.keys import Algorithm
from teelog.tlog import cosignature, note, policy_lint
from teelog.tlog.checkpoint import open_checkpoint
from teelog.tlog.note import Signature
from teelog.tlog.policy import in_time, parse_policy, quorum_since, verify_checkpoint
from teelog.tlog.vkey import NoteSigner, VerifierKey
from tests.tlog import make
from tests.tlog.make import COSIGN, ED, MLDSA, NOW

W1, W1_PQ = make.WITNESSES[0], make.WITNESSES_PQ[0]
HEAD = make.head(5)
TEXT = HEAD.body()


def signed(signer: NoteSigner, text: bytes = TEXT, time: int = NOW) -> Signature:
    return signer.sign(text, time)


def changed(signature: Signature, blob: bytes) -> Signature:
    return Signature(signature.name, signature.key_id, blob)


def check(signer: NoteSigner, signature: Signature, text: bytes = TEXT) -> int | None:
    return note.open_note(note.encode(text, [signature]), [signer.verifier]).signatures[0].timestamp


def test_CS_01_key_ids():
    for signer, kind in ((W1, 4), (W1_PQ, 6)):
        raw = signer.private.public.raw
        expected = hashlib.sha256(b"witness.example/w1\n" + bytes([kind]) + raw).digest()[:4]
        assert signer.verifier.key_id == expected


def test_CS_02_blobs_have_one_length():
    for signer, length in ((W1, 76), (W1_PQ, 2432)):
        signature = signed(signer)
        assert len(signature.key_id + signature.blob) == length
        assert check(signer, signature) == NOW
        blobs = (signature.blob[:-1], signature.blob + b"\x00", signature.blob[8:], signature.blob[:8], b"x")
        for blob in blobs:
            with pytest.raises(SignatureError):
                check(signer, changed(signature, blob))
    with pytest.raises(SignatureError):
        check(W1, changed(signed(W1), signed(W1_PQ).blob))


@pytest.mark.parametrize("timestamp", [2**63, 2**64 - 1])
def test_CS_03_a_timestamp_above_2_to_the_63_less_one_is_refused(timestamp: int):
    """Even where the signature over it would hold."""
    message = b"cosignature/v1\ntime %d\n" % timestamp + TEXT
    blob = struct.pack(">Q", timestamp) + W1.private.sign(message)
    with pytest.raises(SignatureError, match=r"above 2\^63-1"):
        check(W1, Signature(W1.verifier.name, W1.verifier.key_id, blob))
    with pytest.raises(MalformedError, match="out of range"):
        cosignature.ml_dsa_44_message("w", timestamp, "o", 0, 5, HEAD.root)
    assert check(W1, signed(W1, time=2**63 - 1)) == 2**63 - 1
    assert check(W1_PQ, signed(W1_PQ, time=2**63 - 1)) == 2**63 - 1


def test_CS_03_a_timestamp_is_big_endian():
    for signer in (W1, W1_PQ):
        assert signed(signer).blob[:8] == NOW.to_bytes(8, "big")
        assert cosignature.parse_blob(b"\x00" * 7 + b"\x02" + bytes(64), 72) == (2, bytes(64))


def test_CS_04_a_future_timestamp_counts_for_inclusion_and_not_for_freshness():
    data = make.sign(HEAD, make.LOG, time=NOW)
    lines = [*note.parse(data).signatures]
    policy = make.policy(make.log_line(), *make.witness_lines([W1]), "quorum w1")
    for ahead, fresh in ((0, True), (300, True), (301, False), (10**9, False)):
        cosigned = note.encode(TEXT, [*lines, signed(W1, time=NOW + ahead)])
        assert verify_checkpoint(cosigned, policy).cosignatures["w1"].timestamp == NOW + ahead
        if fresh:
            verify_checkpoint(cosigned, policy, now=NOW, max_age=60)
        else:
            with pytest.raises(NotWitnessed):
                verify_checkpoint(cosigned, policy, now=NOW, max_age=60)


def test_CS_05_ed25519_message_to_the_byte():
    """The example of the specification."""
    text = b"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    expected = b"cosignature/v1\ntime 1679315147\n" + text
    assert cosignature.ed25519_message(1679315147, text) == expected
    assert cosignature.ed25519_message(0, text).startswith(b"cosignature/v1\ntime 0\n")
    signature = signed(W1, text, 1679315147)
    W1.private.public.verify(expected, signature.blob[8:])
    # No signature line is part of the message.
    both = note.encode(text, [make.LOG.sign(text, 0), signature])
    assert note.open_note(both, [W1.verifier]).signatures[0].timestamp == 1679315147


def test_CS_06_extension_lines_are_part_of_the_ed25519_message():
    text = make.head(5, extensions=["ext", "more"]).body()
    signature = signed(W1, text)
    W1.private.public.verify(b"cosignature/v1\ntime %d\n" % NOW + text, signature.blob[8:])
    assert check(W1, signature, text) == NOW
    for other in (["ext"], ["ext", "more", "x"], ["ext", "mor"], ["more", "ext"], []):
        with pytest.raises(SignatureError):
            check(W1, signature, make.head(5, extensions=other).body())


def test_CS_07_ml_dsa_message_to_the_byte():
    name, origin = "witness.example/w1", "example.com/log"
    message = cosignature.ml_dsa_44_message(name, 1679315147, origin, 0, 20852163, b"\xab" * 32)
    assert message == b"".join(
        (
            bytes.fromhex("737562747265652f76310a00"),  # subtree/v1, newline, NUL
            b"\x12witness.example/w1",
            bytes.fromhex("00000000641850cb"),
            b"\x0fexample.com/log",
            bytes.fromhex("0000000000000000"),
            bytes.fromhex("00000000013e2dc3"),
            b"\xab" * 32,
        )
    )


def test_CS_07_ml_dsa_signs_that_message_with_an_empty_context():
    message = cosignature.ml_dsa_44_message("witness.example/w1", NOW, make.ORIGIN, 0, 5, HEAD.root)
    signature = signed(W1_PQ)
    W1_PQ.private.public.verify(message, signature.blob[8:])
    mldsa = pytest.importorskip("mldsa")
    mldsa.VerificationKey(W1_PQ.private.public.raw).verify(signature.blob[8:], message, context=b"")
    for wrong in (
        W1_PQ.private._key.sign(message, b"subtree/v1"),  # under a context
        W1_PQ.private.sign(hashlib.sha256(message).digest()),  # hashed first
        W1_PQ.private.sign(message[12:]),  # without the label
        W1_PQ.private.sign(cosignature.ed25519_message(NOW, TEXT)),  # the other message
    ):
        with pytest.raises(SignatureError):
            check(W1_PQ, changed(signature, NOW.to_bytes(8) + wrong))


@pytest.mark.parametrize("bad", ["", "x" * 256, "ü" * 128])
def test_CS_08_name_and_origin_have_1_to_255_bytes(bad: str):
    for name, origin in ((bad, "log"), ("witness", bad)):
        with pytest.raises(MalformedError, match="1 to 255 bytes"):
            cosignature.ml_dsa_44_message(name, 0, origin, 0, 5, HEAD.root)
    for kind in (COSIGN, MLDSA):
        algorithm = Algorithm.ML_DSA_44 if kind is MLDSA else Algorithm.ED25519
        with pytest.raises(MalformedError):
            VerifierKey.of(bad, kind, make.key("x", algorithm).public)
    long = "ü" * 127 + "x"
    assert cosignature.ml_dsa_44_message(long, 0, long, 0, 5, HEAD.root).count(b"\xff" + long.encode()) == 2


def test_CS_08_an_origin_that_ml_dsa_cannot_carry_is_refused_on_both_sides():
    text = make.head(5, "o" * 256).body()
    with pytest.raises(MalformedError):
        W1_PQ.sign(text, NOW)
    with pytest.raises(SignatureError):
        check(W1_PQ, signed(W1_PQ), text)


def test_CS_09_an_origin_has_no_newline():
    for name, origin in (("w\n", "log"), ("w", "log\n"), ("w", "lo\ng")):
        with pytest.raises(MalformedError):
            cosignature.ml_dsa_44_message(name, 0, origin, 0, 5, HEAD.root)
    assert b"\x0flog.example/tee\x00" in cosignature.ml_dsa_44_message("w", 0, make.ORIGIN, 0, 5, HEAD.root)


def subtree_line(start: int, end: int, timestamp: int, root: bytes = HEAD.root, origin: str = make.ORIGIN) -> Signature:
    """An ML-DSA line over any cosigned_message at all."""
    name = W1_PQ.verifier.name
    message = b"subtree/v1\n\x00" + bytes([len(name)]) + name.encode() + struct.pack(">Q", timestamp)
    message += bytes([len(origin)]) + origin.encode() + struct.pack(">QQ", start, end) + root
    blob = struct.pack(">Q", timestamp) + W1_PQ.private.sign(message)
    return Signature(name, W1_PQ.verifier.key_id, blob)


def test_CS_10_a_checkpoint_is_the_subtree_from_0_to_its_size():
    assert check(W1_PQ, subtree_line(0, 5, NOW)) == NOW
    for start, end in ((0, 4), (0, 6), (1, 5), (4, 5), (5, 5), (0, 0)):
        with pytest.raises(SignatureError):
            check(W1_PQ, subtree_line(start, end, 0 if start else NOW))
    with pytest.raises(SignatureError):
        check(W1_PQ, subtree_line(0, 5, NOW, make.head(4).root))
    with pytest.raises(SignatureError):
        check(W1_PQ, subtree_line(0, 5, NOW, origin="other.example"))


def test_CS_11_a_subtree_that_starts_later_has_no_time():
    assert cosignature.ml_dsa_44_message("w", 0, "o", 4, 8, HEAD.root)
    for timestamp in (1, NOW):
        with pytest.raises(MalformedError, match="timestamp 0"):
            cosignature.ml_dsa_44_message("w", timestamp, "o", 4, 8, HEAD.root)
    with pytest.raises(SignatureError):
        check(W1_PQ, subtree_line(4, 5, NOW))


def test_CS_12_the_timestamp_of_the_blob_is_the_signed_one():
    for signer in (W1, W1_PQ):
        signature = signed(signer)
        for timestamp in (NOW + 1, NOW - 1, 0, NOW << 8):
            with pytest.raises(SignatureError):
                check(signer, changed(signature, timestamp.to_bytes(8) + signature.blob[8:]))


def test_CS_13_ml_dsa_says_nothing_about_extension_lines_and_nobody_is_told_otherwise():
    ml_dsa_only = make.policy(make.log_line(make.LOG_PQ), *make.witness_lines([W1_PQ]), "quorum w1")
    for extensions in ([], ["ext"], ["other", "lines"]):
        text = make.head(5, extensions=extensions).body()
        data = note.encode(text, [signed(make.LOG_PQ), signed(W1_PQ)])
        opened = open_checkpoint(data, [make.LOG_PQ.verifier])
        assert (opened.checkpoint.size, opened.checkpoint.extensions) == (5, ())
        assert verify_checkpoint(data, ml_dsa_only).checkpoint.extensions == ()
    assert open_checkpoint(
        make.sign(make.head(5, extensions=["ext"]), make.LOG), [make.LOG.verifier]
    ).checkpoint.extensions


def test_CS_13_a_witness_cannot_vouch_for_lines_that_the_log_did_not_sign():
    """The witness covers the lines it was shown; who showed them, it does not know."""
    policy = make.policy(make.log_line(make.LOG_PQ), *make.witness_lines([W1]), "quorum w1")
    text = make.head(5, extensions=["added on the way"]).body()
    data = note.encode(text, [signed(make.LOG_PQ), signed(W1, text)])
    assert verify_checkpoint(data, policy).checkpoint == HEAD
    both = make.policy(make.log_line(make.LOG_PQ), make.log_line(), *make.witness_lines([W1]), "quorum w1")
    assert verify_checkpoint(data, both).checkpoint == HEAD
    data = note.encode(text, [signed(make.LOG_PQ), signed(make.LOG, text), signed(W1, text)])
    assert verify_checkpoint(data, both).checkpoint.extensions == ("added on the way",)


def test_CS_14_one_key_is_one_cosigner():
    """Duplicate witness keys are refused; a log's key among the witnesses the format allows and the lint names."""
    twin = make.signer("mirror.example/m", COSIGN, W1.verifier.name)
    assert twin.private.public == W1.private.public
    with pytest.raises(ConfigError, match="duplicate witness key"):
        parse_policy(make.text(make.log_line(), *make.witness_lines([W1, twin]), "group g all w1 w2", "quorum g"))
    itself = make.signer("witness.example/self", COSIGN, make.ORIGIN)
    policy = make.policy(make.log_line(), *make.witness_lines([itself]), "quorum w1")
    assert any("own key" in problem for problem in policy_lint.lint(policy).problems)
    assert not any("own key" in problem for problem in policy_lint.lint(make.usual_policy()).problems)


def test_CS_15_CS_22_timestamp_zero_counts_for_inclusion_and_never_for_freshness():
    """A sign-subtree line over [0, n) is such a line, for any old size n."""
    line = subtree_line(0, 5, 0)
    assert check(W1_PQ, line) == 0
    policy = make.policy(make.log_line(), *make.witness_lines([W1_PQ]), "quorum w1")
    data = note.encode(TEXT, [signed(make.LOG), line])
    undated = verify_checkpoint(data, policy)
    assert undated.cosignatures["w1"].timestamp == 0
    for max_age in (0, 60, NOW, 2**62):
        with pytest.raises(NotWitnessed):
            verify_checkpoint(data, policy, now=NOW, max_age=max_age)
        assert in_time(undated, now=NOW, max_age=max_age) == set()
    assert quorum_since(undated, policy) is None
    with pytest.raises(NotWitnessed):
        verify_checkpoint(data, policy, not_before=1)
    # Beside a dated line of the same witness it does no harm, in either order.
    for order in ([line, signed(W1_PQ)], [signed(W1_PQ), line]):
        found = verify_checkpoint(note.encode(TEXT, [signed(make.LOG), *order]), policy, now=NOW, max_age=0)
        assert found.cosignatures["w1"].timestamp == NOW


def test_CS_16_types_do_not_pass_for_one_another():
    log, cosigner = make.signer("one.example", ED, "same"), make.signer("one.example", COSIGN, "same")
    data = make.sign(HEAD, cosigner)
    with pytest.raises(UntrustedKey):
        open_checkpoint(data, [log.verifier])
    with pytest.raises(UntrustedKey):
        open_checkpoint(make.sign(HEAD, log), [cosigner.verifier])
    # A blob of the other type under the expected key ID.
    for blob in (signed(cosigner).blob, signed(cosigner).blob[8:]):
        with pytest.raises(SignatureError):
            check(log, Signature("one.example", log.verifier.key_id, blob))
    for blob in (signed(log).blob, bytes(8) + signed(log).blob):
        with pytest.raises(SignatureError):
            check(cosigner, Signature("one.example", cosigner.verifier.key_id, blob))


def test_CS_16_a_log_cannot_be_talked_into_signing_a_cosignature():
    """A25: no two signed messages share a prefix; a checkpoint whose origin looks like a header is no exception."""
    text = cosignature.ed25519_message(NOW, TEXT)
    assert text.startswith(b"cosignature/v1\ntime ")
    # Read as a checkpoint its second line is no number, so nobody who parses what he signs signs it.
    with pytest.raises(MalformedError):
        make.LOG_PQ.sign(text, NOW)
    message = cosignature.ml_dsa_44_message("w", 0, "o", 0, 5, HEAD.root)
    with pytest.raises(MalformedError):
        make.LOG.sign(message, NOW)


def test_CS_19_a_key_makes_one_kind_of_statement():
    """The signer has one type and one name, and offers nothing but the checkpoint statement of it."""
    public = {name for name in dir(W1) if not name.startswith("_")}
    assert public == {"of", "private", "sign", "verifier"}
    for signer in (W1, W1_PQ):
        assert signed(signer).key_id == signer.verifier.key_id
        assert signed(signer).name == signer.verifier.name


def test_CS_20_changes_to_an_ml_dsa_signature_fail_without_any_other_exception():
    signature = signed(W1_PQ)
    for place in [*range(8, 40), *range(40, 2300, 97), *range(2340, 2428)]:
        blob = bytearray(signature.blob)
        blob[place] ^= 0x80
        with pytest.raises(SignatureError):
            check(W1_PQ, changed(signature, bytes(blob)))
    for filler in (b"\x00", b"\xff"):
        with pytest.raises(SignatureError):
            check(W1_PQ, changed(signature, signature.blob[:8] + filler * 2420))


def test_CS_21_two_signatures_of_one_checkpoint_differ_and_both_hold():
    one, two = signed(W1_PQ), signed(W1_PQ)
    assert one.blob[8:] != two.blob[8:]
    assert check(W1_PQ, one) == check(W1_PQ, two) == NOW
    both = note.open_note(note.encode(TEXT, [one, two]), [W1_PQ.verifier])
    assert len(both.signatures) == 2
    assert signed(W1) == signed(W1)


def test_a_cosignature_over_what_is_no_checkpoint_fails():
    for text in (b"hello\n", b"a\nb\nc\n", b"log.example/tee\n05\n" + base64.b64encode(HEAD.root) + b"\n"):
        with pytest.raises(MalformedError):
            W1_PQ.sign(text, NOW)
        with pytest.raises(SignatureError):
            check(W1_PQ, signed(W1_PQ), text)
