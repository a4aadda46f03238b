"""add-checkpoint, rule by rule, on real databases. What needs HTTP is in test_http.py, faults in test_faults.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from teelog.errors import ConfigError
from teelog.tlog import cosignature, note, rfc6962
from teelog.tlog.checkpoint import parse_body
from teelog.tlog.vkey import SignatureType
from teelog.tlog.witness import SIZE_TYPE, encode_answer
from teelog.witness import admin
from teelog.witness.decide import Answer
from tests.witness.harness import NOW, ORIGIN, WITNESS, Desk, Log, signer, verified_cosignatures

OpenDesk = Callable[..., Desk]


def refused(desk: Desk, body: bytes, status: int) -> Answer:
    """W-27: a refusal leaves no byte of the databases changed and signs nothing."""
    before = desk.state_bytes()
    answer = desk.post(body)
    assert answer.status == status, answer
    assert "—".encode() not in answer.body
    assert desk.state_bytes() == before
    return answer


# -- origins ----------------------------------------------------------------------------------------------------------


def test_W_02_each_origin_has_its_own_state(open_desk: OpenDesk) -> None:
    one, two = Log("log.example/one"), Log("log.example/two")
    desk = open_desk(one, two)
    desk.cosign(one, 0, 5)
    desk.cosign(two, 0, 9)
    desk.cosign(one, 5, 6)
    assert (desk.size(one.origin), desk.size(two.origin)) == (6, 9)


def test_W_02_one_origin_may_have_several_keys(open_desk: OpenDesk) -> None:
    first, second = signer("first"), signer("second")
    desk = open_desk(Log(signers=(first, second)))
    desk.cosign(Log(signers=(first,)), 0, 5)
    desk.cosign(Log(signers=(second,)), 5, 6)


def test_W_03_a_log_with_the_witnesss_name_is_refused(open_desk: OpenDesk) -> None:
    desk = open_desk(start=False)
    with pytest.raises(ConfigError, match="own name"):
        desk.add_log(Log(WITNESS))


def test_W_03_an_origin_of_more_than_255_bytes_is_refused(open_desk: OpenDesk) -> None:
    desk = open_desk(start=False)
    desk.add_log(Log("l" * 255))
    with pytest.raises(ConfigError, match="too long"):
        desk.add_log(Log("é" * 128))  # 256 bytes, 128 characters


def test_W_09_unknown_origin_is_404(desk: Desk) -> None:
    refused(desk, Log("log.example/other").request(0, 5), 404)


def test_W_09_unknown_origin_is_404_before_the_note_is_read(desk: Desk) -> None:
    refused(desk, b"old 0\n\nlog.example/other\nnot a checkpoint", 404)
    refused(desk, b"old 0\n\n\xff\xfe\nnot text\n", 404)


def test_a_disabled_log_is_403_and_keeps_its_state(desk: Desk, log: Log) -> None:
    desk.cosign(log, 0, 5)
    desk.engine.call(lambda store: admin.apply(store, WITNESS, admin.DisableLog(ORIGIN))).result(10)  # type: ignore[union-attr]
    refused(desk, log.request(5, 6), 403)
    desk.engine.call(lambda store: admin.apply(store, WITNESS, admin.AddLog(log.vkeys))).result(10)  # type: ignore[union-attr]
    assert refused(desk, log.request(0, 6), 409).body == b"5\n"
    desk.cosign(log, 5, 6)


# -- framing ----------------------------------------------------------------------------------------------------------

BAD_FRAMES = {
    "empty": lambda good: b"",
    "no blank line": lambda good: good.replace(b"\n\n", b"\n", 1),
    "CRLF": lambda good: good.replace(b"\n", b"\r\n"),
    "CRLF in the old line": lambda good: good.replace(b"old 4\n", b"old 4\r\n"),
    "trailing garbage": lambda good: good + b"garbage",
    "trailing line": lambda good: good + b"\n",
    "last newline missing": lambda good: good[:-1],
    "no checkpoint": lambda good: good.partition(b"\n\n")[0] + b"\n\n",
    "no old line": lambda good: good.partition(b"\n")[2],
    "leading newline": lambda good: b"\n" + good,
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_W_04_malformed_framing_is_400(desk: Desk, log: Log, name: str) -> None:
    desk.cosign(log, 0, 4)
    refused(desk, BAD_FRAMES[name](log.request(4, 7)), 400)


BAD_OLD = (
    b"Old 4", b"old  4", b"old\t4", b"old 04", b"old +4", b"old -0", b"old 4 ", b" old 4", b"old", b"old ", b"old4",
    b"old 0x4", b"old 4_0", b"old 9223372036854775808", b"old 99999999999999999999", "old ４".encode(), b"old 4\x00",
)  # fmt: skip


@pytest.mark.parametrize("line", BAD_OLD)
def test_W_05_malformed_old_size_is_400(desk: Desk, log: Log, line: bytes) -> None:
    desk.cosign(log, 0, 4)
    refused(desk, log.request(4, 7).replace(b"old 4", line, 1), 400)


BAD_HASH = (
    b"A" * 44, b" ", b"AAAA", b"not base64", b"A" * 42 + b"==", b"A" * 43 + b"=\t", b"A" * 42 + b"B=", b"_" * 43 + b"=",
    b"A" * 43, b"A" * 47 + b"=",
)  # fmt: skip


@pytest.mark.parametrize("line", BAD_HASH)
def test_W_06_a_proof_line_that_is_not_32_bytes_of_base64_is_400(desk: Desk, log: Log, line: bytes) -> None:
    desk.cosign(log, 0, 4)
    head, _, rest = log.request(4, 7).partition(b"\n")
    refused(desk, head + b"\n" + line + b"\n" + rest, 400)


def test_W_07_more_than_63_proof_lines_are_400(desk: Desk, log: Log) -> None:
    desk.cosign(log, 0, 4)
    with pytest.raises(ValueError, match="63"):
        log.request(4, 7, proof=[bytes(32)] * 64)  # our client never sends them
    head, _, rest = log.request(4, 7, proof=[bytes(32)] * 63).partition(b"\n")
    refused(desk, head + b"\n" + b"A" * 43 + b"=\n" + rest, 400)
    refused(desk, log.request(4, 7, proof=[bytes(32)] * 63), 422)  # 63 are read, and do not verify


# -- signatures -------------------------------------------------------------------------------------------------------


def test_W_08_several_signatures_are_accepted(open_desk: OpenDesk) -> None:
    log = Log(signers=[signer(f"key {number}") for number in range(3)])
    desk = open_desk(log)
    assert len(verified_cosignatures(desk.cosign(log, 0, 5), log.note(5), desk.witness)) == 2


def test_W_10_signatures_of_unknown_keys_are_ignored(desk: Desk, log: Log) -> None:
    strangers = [
        note.Signature(ORIGIN, b"\x01\x02\x03\x04", bytes(64)),
        note.Signature("stranger.example", b"abcd", b"x"),
        signer("another log", "log.example/other").sign(log.body(5), NOW),
    ]
    answer = desk.post(log.request(0, 5, note=log.note(5, extra=strangers)))
    assert answer.status == 200
    assert desk.published() == log.note(5) + answer.body


def test_W_11_no_signature_of_a_trusted_key_is_403(desk: Desk, log: Log) -> None:
    impostor = Log(signers=(signer("impostor"),))
    refused(desk, impostor.request(0, 5), 403)


def test_W_11_a_valid_signature_of_another_known_log_is_403(open_desk: OpenDesk) -> None:
    log, other = Log(), Log("log.example/other")
    desk = open_desk(log, other)
    body = log.body(5)
    stolen = body + b"\n" + other.signers[0].sign(body, NOW).line()
    refused(desk, log.request(0, 5, note=stolen), 403)


def test_W_12_an_invalid_line_of_a_trusted_key_is_403_even_beside_a_valid_one(open_desk: OpenDesk) -> None:
    first, second = signer("first"), signer("second")
    desk = open_desk(Log(signers=(first, second)))
    log = Log(signers=(first,))
    key = second.verifier
    bad = note.Signature(key.name, key.key_id, bytes(64))
    refused(desk, log.request(0, 5, note=log.note(5, extra=[bad])), 403)
    refused(desk, log.request(0, 5, note=log.body(5) + b"\n" + bad.line() + first.sign(log.body(5), NOW).line()), 403)
    desk.cosign(log, 0, 5)


def test_W_12_a_second_invalid_line_of_the_same_key_is_403(desk: Desk, log: Log) -> None:
    key = log.signers[0].verifier
    refused(desk, log.request(0, 5, note=log.note(5, extra=[note.Signature(key.name, key.key_id, bytes(64))])), 403)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: good.replace("— ".encode(), b"- "),
        lambda good: good.replace(b"\n\n", b"\n"),
        lambda good: good.replace(b"log.example/tee\n5", b"log.example/tee\n\x015"),
        lambda good: good.rstrip(b"\n"),
        lambda good: good.replace(b"=\n", b"\n"),
        lambda good: good + b"\n",
    ],
)
def test_W_13_a_malformed_note_of_a_known_origin_is_400(desk: Desk, log: Log, spoil: Callable[[bytes], bytes]) -> None:
    bad = spoil(log.note(5))
    assert bad != log.note(5)
    refused(desk, b"old 0\n\n" + bad, 400)


@pytest.mark.parametrize(
    "body",
    [
        b"log.example/tee\n",
        b"log.example/tee\n5\n",
        b"log.example/tee\n05\n" + b"A" * 43 + b"=\n",
        b"log.example/tee\n-5\n" + b"A" * 43 + b"=\n",
        b"log.example/tee\n9223372036854775808\n" + b"A" * 43 + b"=\n",
        b"log.example/tee\n5\nAAAA\n",
        b"log.example/tee\n5\n" + b"A" * 42 + b"B=\n",
    ],
)
def test_W_13_a_signed_but_malformed_checkpoint_is_400(desk: Desk, log: Log, body: bytes) -> None:
    refused(desk, log.request(0, 5, note=log.sign(body), proof=[]), 400)


# -- sizes ------------------------------------------------------------------------------------------------------------


def test_W_14_old_larger_than_the_checkpoint_is_400(desk: Desk, log: Log) -> None:
    desk.cosign(log, 0, 7)
    refused(desk, log.request(7, 5, proof=[]), 400)


def test_W_15_old_size_mismatch_is_409(desk: Desk, log: Log) -> None:
    desk.cosign(log, 0, 7)
    refused(desk, log.request(5, 9), 409)
    refused(desk, log.request(8, 9), 409)


def test_W_16_409_says_the_size_and_nothing_else(desk: Desk, log: Log) -> None:
    desk.cosign(log, 0, 7)
    answer = refused(desk, log.request(5, 9), 409)
    assert (answer.body, answer.content_type) == (b"7\n", "text/x.tlog.size") == (b"7\n", SIZE_TYPE)


def test_W_17_never_cosigned_means_size_0(desk: Desk, log: Log) -> None:
    assert refused(desk, log.request(5, 9), 409).body == b"0\n"


def test_W_18_a_client_may_probe_with_old_0(desk: Desk, log: Log) -> None:
    desk.cosign(log, 0, 7)
    assert refused(desk, log.request(0, 9), 409).body == b"7\n"


def test_W_20_size_0_with_another_root_is_422(desk: Desk, log: Log) -> None:
    refused(desk, log.request(0, 0, note=log.note(0, bytes(32))), 422)
    desk.cosign(log, 0, 0)
    refused(desk, log.request(0, 0, note=log.note(0, bytes(32))), 422)


def test_W_20_the_root_of_size_0_is_checked_before_the_old_size(desk: Desk, log: Log) -> None:
    desk.cosign(log, 0, 7)
    refused(desk, log.request(0, 0, note=log.note(0, bytes(32))), 422)
    refused(desk, log.request(0, 0), 409)


def test_W_21_a_proof_from_size_0_is_422(desk: Desk, log: Log) -> None:
    refused(desk, log.request(0, 5, proof=[bytes(32)]), 422)
    refused(desk, log.request(0, 0, proof=[bytes(32)]), 422)
    desk.cosign(log, 0, 0)
    refused(desk, log.request(0, 5, proof=[bytes(32)]), 422)
    refused(desk, log.request(0, 0, proof=[bytes(32)]), 422)


def test_W_22_the_first_checkpoint_needs_no_proof(desk: Desk, log: Log) -> None:
    desk.cosign(log, 0, 5)
    assert desk.size() == 5


def test_W_23_growing_from_a_stored_size_0(desk: Desk, log: Log) -> None:
    desk.cosign(log, 0, 0)
    assert desk.size() == 0
    desk.cosign(log, 0, 5)
    assert desk.size() == 5


@pytest.mark.parametrize(("old", "new"), [(1, 2), (3, 4), (4, 7), (6, 7), (7, 8), (8, 13), (5, 300)])
def test_W_24_a_consistency_proof_must_verify(desk: Desk, log: Log, old: int, new: int) -> None:
    desk.cosign(log, 0, old)
    good = log.proof(old, new)
    wrong = [bytes(32), *good[1:]]
    for proof in ([], wrong, good[:-1], [*good, bytes(32)], good[::-1] if len(good) > 1 else wrong):
        refused(desk, log.request(old, new, proof=proof), 422)
    desk.cosign(log, old, new)


def test_W_24_a_proof_for_another_root_is_422(desk: Desk, log: Log) -> None:
    desk.cosign(log, 0, 5)
    liar = Log(view="B", forked_at=3)
    refused(desk, liar.request(5, 9), 422)


def test_W_25_equal_sizes_with_another_root_are_422(desk: Desk, log: Log) -> None:
    desk.cosign(log, 0, 5)
    liar = Log(view="B", forked_at=4)
    refused(desk, liar.request(5, 5), 422)
    refused(desk, liar.request(5, 5, proof=[bytes(32)]), 422)


def test_W_25_equal_sizes_with_a_proof_are_422(desk: Desk, log: Log) -> None:
    desk.cosign(log, 0, 5)
    refused(desk, log.request(5, 5, proof=[bytes(32)]), 422)


def test_W_26_an_unchanged_checkpoint_is_signed_again_with_a_fresh_time(desk: Desk, log: Log) -> None:
    first = desk.cosign(log, 0, 5)
    desk.clock.seconds += 600
    second = desk.cosign(log, 5, 5)
    times = [
        {line.timestamp for line in verified_cosignatures(answer, log.note(5), desk.witness)}
        for answer in (first, second)
    ]
    assert times == [{NOW}, {NOW + 600}]


def test_W_27_no_refusal_changes_the_state(desk: Desk, log: Log) -> None:
    # `refused` compares every byte of the databases in each test above; here the bytes do change when they should.
    before = desk.state_bytes()
    desk.cosign(log, 0, 5)
    assert desk.state_bytes() != before
    for body, status in (
        (b"junk", 400),
        (log.request(5, 7, note=log.body(7) + b"\n" + note.Signature(ORIGIN, b"1234", b"x").line()), 403),
        (Log("unknown.example").request(0, 1), 404),
        (log.request(1, 7), 409),
        (log.request(5, 7, proof=[]), 422),
    ):
        refused(desk, body, status)
    assert desk.size() == 5


# -- the answer -------------------------------------------------------------------------------------------------------


def test_W_30_the_answer_is_signature_lines_and_nothing_else(desk: Desk, log: Log) -> None:
    answer = desk.cosign(log, 0, 5)
    lines = answer.body.decode().split("\n")
    assert lines.pop() == ""
    assert [line.startswith("— " + WITNESS + " ") for line in lines] == [True, True]
    assert encode_answer(note.parse_line(line.encode()) for line in lines) == answer.body


def test_W_31_the_lines_verify_on_exactly_this_checkpoint(desk: Desk, log: Log) -> None:
    answer = desk.cosign(log, 0, 5)
    assert len(verified_cosignatures(answer, log.note(5), desk.witness)) == 2
    from teelog.errors import SignatureError

    for other in (log.note(6), Log("log.example/other").note(5)):
        with pytest.raises(SignatureError):
            verified_cosignatures(answer, other, desk.witness)


def test_W_32_both_kinds_of_cosignature_are_returned(desk: Desk, log: Log) -> None:
    lines = verified_cosignatures(desk.cosign(log, 0, 5), log.note(5), desk.witness)
    assert [line.verifier.type for line in lines] == [  # type: ignore[attr-defined]
        SignatureType.COSIGNATURE_ED25519,
        SignatureType.COSIGNATURE_ML_DSA_44,
    ]
    assert {line.verifier.name for line in lines} == {WITNESS}


def test_W_33_the_ml_dsa_line_is_for_the_whole_tree(desk: Desk, log: Log) -> None:
    line = note.parse_line(desk.cosign(log, 0, 5).body.split(b"\n")[1])
    timestamp, signature = cosignature.parse_blob(line.blob, cosignature.ML_DSA_44_BLOB)
    message = cosignature.ml_dsa_44_message(WITNESS, timestamp, ORIGIN, 0, 5, log.root(5))
    desk.witness.signers[1].verifier.public.verify(message, signature)


def test_W_34_the_time_is_never_zero(desk: Desk, log: Log) -> None:
    desk.clock.seconds = 0
    assert desk.post(log.request(0, 5)).status == 503
    assert desk.size() is None


def test_W_34_the_time_never_goes_back(desk: Desk, log: Log) -> None:
    desk.cosign(log, 0, 5)
    desk.clock.seconds -= 1
    before = desk.state_bytes()
    for body in (log.request(5, 6), log.request(5, 5)):
        answer = desk.post(body)
        assert answer.status == 503
        assert "—".encode() not in answer.body
    assert desk.state_bytes() == before
    desk.clock.seconds += 1
    desk.cosign(log, 5, 6)


def test_W_39_extension_lines_are_400_by_default(desk: Desk) -> None:
    refused(desk, Log(extensions=("more",)).request(0, 5), 400)


def test_W_39_extension_lines_are_covered_where_the_operator_accepts_them(open_desk: OpenDesk) -> None:
    log = Log(extensions=("more", "and more"))
    desk = open_desk(log, extensions=True)
    answer = desk.cosign(log, 0, 5)
    verified_cosignatures(answer, log.note(5), desk.witness)
    assert parse_body(note.parse(desk.published() or b"").claimed_text()).extensions == ("more", "and more")


def test_W_39_extension_lines_that_the_log_did_not_sign_are_400(open_desk: OpenDesk) -> None:
    log = Log(signers=(signer("log", kind=SignatureType.COSIGNATURE_ML_DSA_44),), extensions=("more",))
    refused(open_desk(log, extensions=True), log.request(0, 5), 400)


def test_a_log_may_sign_with_ml_dsa_alone(open_desk: OpenDesk) -> None:
    log = Log(signers=(signer("log", kind=SignatureType.COSIGNATURE_ML_DSA_44),))
    desk = open_desk(log)
    desk.cosign(log, 0, 5)
    desk.cosign(log, 5, 6)


# -- what is stored ---------------------------------------------------------------------------------------------------


def test_W_45_a_line_with_the_witnesss_own_name_and_key_id_does_not_stick(open_desk: OpenDesk, log: Log) -> None:
    desk = open_desk(log)
    own = [one.verifier for one in desk.witness.signers]
    bogus = [note.Signature(key.name, key.key_id, bytes(72)) for key in own]
    answer = desk.post(log.request(0, 5, note=log.note(5, extra=bogus)))
    assert answer.status == 200
    with_bogus = b"".join(line.line() for line in bogus)
    assert with_bogus not in (desk.published() or b"")
    desk.stop()
    desk.start()  # it can read its own state again
    desk.cosign(log, 5, 6)


def test_W_46_the_signed_text_is_a_re_encoding(desk: Desk, log: Log) -> None:
    # A note's text has one spelling here: what parses re-encodes to itself, else it was refused before (W-13).
    assert desk.post(log.request(0, 5, note=log.sign(log.body(5).replace(b"\n5\n", b"\n5 \n")))).status == 400
    desk.cosign(log, 0, 5)
    assert (desk.published() or b"").startswith(log.body(5) + b"\n")


def test_W_47_log_key_rotation_keeps_the_state(open_desk: OpenDesk) -> None:
    old, new = signer("old"), signer("new")
    before, after = Log(signers=(old,)), Log(signers=(new,))
    desk = open_desk(before)
    desk.cosign(before, 0, 5)
    desk.stop()
    desk.add_log(after, add_key=True)
    desk.start()
    desk.cosign(after, 5, 6)
    desk.cosign(before, 6, 7)
    desk.stop()
    desk.add_log(after, replace_keys=True)
    desk.start()
    refused(desk, before.request(7, 8), 403)
    desk.cosign(after, 7, 8)


def test_W_48_a_known_origin_with_another_key_is_refused(open_desk: OpenDesk, log: Log) -> None:
    desk = open_desk(log)
    desk.cosign(log, 0, 5)
    desk.stop()
    before = desk.state_bytes()
    with pytest.raises(ConfigError, match="other keys"):
        desk.add_log(Log(signers=(signer("thief"),)))
    assert desk.state_bytes() == before
    desk.start()
    desk.cosign(log, 5, 6)


def test_root_of_the_empty_tree() -> None:
    assert Log().root(0) == rfc6962.EMPTY_ROOT
