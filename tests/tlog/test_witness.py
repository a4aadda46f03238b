"""The bytes of add-checkpoint (c2sp.org/tlog-witness), both sides; the service's own tests have the decisions."""

from __future__ import annotations

import base64

import pytest

from teelog.errors import MalformedError, SignatureError
from teelog.tlog import note, witness
from teelog.tlog.witness import AddCheckpoint, parse_add_checkpoint, parse_answer, parse_conflict
from tests.test_strict import BAD_NUMBERS
from tests.tlog import make

CHECKPOINT = make.sign(make.head(9), make.LOG, make.LOG_PQ)
HASHES = tuple(make.leaves(5))


def request(old: bytes = b"old 5", *lines: bytes) -> bytes:
    return b"".join(line + b"\n" for line in (old, *lines, b"")) + CHECKPOINT


def refused(body: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_add_checkpoint(body)


def test_W_04_request_is_old_line_proof_lines_empty_line_checkpoint():
    for proof in ((), HASHES[:1], HASHES):
        given = AddCheckpoint(5, proof, CHECKPOINT)
        assert parse_add_checkpoint(given.encode()) == given
    assert (
        request(b"old 5", *(base64.b64encode(item) for item in HASHES)) == AddCheckpoint(5, HASHES, CHECKPOINT).encode()
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"\n", b"\n\n", b"old 5", b"old 5\n", request().replace(b"\n", b"\r\n"), b"\n" + request(), CHECKPOINT],
)
def test_W_04_anything_else_is_malformed(body: bytes):
    refused(body)


def test_W_04_without_the_empty_line_the_checkpoint_is_no_proof():
    refused(b"old 5\n" + CHECKPOINT)


@pytest.mark.parametrize("number", [number for number in BAD_NUMBERS if number != b"1\n"])
def test_W_05_old_is_plain_decimal(number: bytes):
    refused(request(b"old " + number))


@pytest.mark.parametrize(
    "line", [b"Old 5", b"old  5", b"old\t5", b"old5", b" old 5", b"old", b"old ", b"old 5 ", b"new 5", b""]
)
def test_W_05_the_old_line_has_one_spelling(line: bytes):
    refused(request(line))


def test_W_05_W_18_zero_is_an_old_size():
    assert parse_add_checkpoint(request(b"old 0")).old == 0


@pytest.mark.parametrize("line", [bytes(31), bytes(33), bytes(64), b""])
def test_W_06_a_proof_line_is_a_hash(line: bytes):
    refused(request(b"old 5", base64.b64encode(line) or b"="))
    good = base64.b64encode(HASHES[0])
    for bad in (good + b" ", b" " + good, good[:-1], good + b"=", good.replace(b"=", b""), b"AAA", good[:-2] + b"B="):
        if bad != good:
            refused(request(b"old 5", bad))


def test_W_07_a_proof_has_at_most_63_lines_on_both_sides():
    lines = [base64.b64encode(bytes([number]) * 32) for number in range(64)]
    assert len(parse_add_checkpoint(request(b"old 5", *lines[:63])).proof) == 63
    refused(request(b"old 5", *lines))
    proof = tuple(bytes([number]) * 32 for number in range(64))
    assert AddCheckpoint(5, proof[:63], CHECKPOINT).encode()
    with pytest.raises(ValueError, match="at most 63"):
        AddCheckpoint(5, proof, CHECKPOINT).encode()


def test_W_16_conflict_is_one_decimal_line():
    assert witness.encode_conflict(0) == b"0\n"
    assert witness.SIZE_TYPE == "text/x.tlog.size"
    for size in (0, 1, 5, 2**63 - 1):
        assert parse_conflict(witness.encode_conflict(size)) == size


@pytest.mark.parametrize(
    "body", [b"", b"\n", b"5", b"5\n\n", b"5\r\n", b" 5\n", b"<html>\n", *(n + b"\n" for n in BAD_NUMBERS)]
)
def test_W_44_a_conflict_without_a_size_is_malformed(body: bytes):
    with pytest.raises(MalformedError):
        parse_conflict(body)


def test_W_30_answer_is_signature_lines_and_nothing_else():
    text = make.head(9).body()
    lines = [signer.sign(text, make.NOW) for signer in (make.WITNESSES[0], make.WITNESSES_PQ[0])]
    body = witness.encode_answer(lines)
    assert parse_answer(body) == tuple(lines)
    assert all(line.startswith("— ".encode()) for line in body.splitlines())
    # W-31: appended to the request's note they verify.
    opened = note.open_note(CHECKPOINT + body, make.vkeys([make.WITNESSES[0], make.WITNESSES_PQ[0]]))
    assert [each.signature for each in opened.signatures] == lines
    for bad in (
        b"",
        b"\n",
        body[:-1],
        body + b"\n",
        b"\n" + body,
        body + b"x\n",
        body.replace(b"\n", b"\r\n"),
        b"ok\n",
        CHECKPOINT,
    ):
        with pytest.raises(MalformedError):
            parse_answer(bad)
    with pytest.raises(MalformedError):
        parse_answer(body * 40)
    with pytest.raises(MalformedError):
        parse_answer(lines[0].line() * 65)


def test_W_43_lines_of_unknown_keys_are_ignored_and_known_ones_verified():
    """The log's way with an answer; its own tests have the quorum around it."""
    text = make.head(9).body()
    mine = make.WITNESSES[0].sign(text, make.NOW)
    strangers = [
        make.signer("stranger.example", make.COSIGN).sign(text, make.NOW),
        make.WITNESSES[1].sign(text, make.NOW),
    ]
    answer = parse_answer(witness.encode_answer([strangers[0], mine, strangers[1]]))
    opened = note.open_note(note.encode(text, answer), [make.WITNESSES[0].verifier])
    assert [each.signature for each in opened.signatures] == [mine]
    assert opened.encode() == note.encode(text, [mine])
    forged = note.Signature(mine.name, mine.key_id, strangers[0].blob)
    with pytest.raises(SignatureError):
        note.open_note(note.encode(text, [forged, *strangers]), [make.WITNESSES[0].verifier])


def test_W_30_an_answer_has_at_most_64_lines_and_64_kib():
    line = make.signer("w.example").sign(b"x\n", 0).line()
    assert len(parse_answer(line * note.MAX_SIGNATURES)) == note.MAX_SIGNATURES
    with pytest.raises(MalformedError, match="too many lines"):
        parse_answer(line * (note.MAX_SIGNATURES + 1))
    name = "w" * 8_192
    fill = note.Signature(name, bytes(4), bytes(5)).line()
    last = note.Signature(
        "w" * (witness.MAX_ANSWER - 7 * len(fill) - (len(fill) - len(name))), bytes(4), bytes(5)
    ).line()
    exact = fill * 7 + last
    assert len(exact) == witness.MAX_ANSWER
    assert len(parse_answer(exact)) == 8
    with pytest.raises(MalformedError, match="sequence of lines"):
        parse_answer(b"".join((fill * 7, last.replace(b" w", b" ww", 1))))
