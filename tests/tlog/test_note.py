"""Signed notes (c2sp.org/signed-note): what is read, what is refused, which signatures count."""

from __future__ import annotations

import base64
import dataclasses
import os
from collections.abc import Iterator

import pytest

from teelog.errors import ConfigError, MalformedError, SignatureError, UntrustedKey
from teelog.keys import Algorithm
from teelog.tlog import note
from teelog.tlog.note import Signature, UnverifiedNote
from teelog.tlog.vkey import NoteSigner, VerifierKey
from tests.tlog import make

ANNA = make.signer("anna.example/a")
BERT = make.signer("bert.example/b")
TEXT = b"first line\nsecond line\n"
GOOD = make.sign(TEXT, ANNA)
# What Go's unicode.IsSpace holds for a space, less the control characters.
SPACES = [0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]


def opened(data: bytes, *signers: NoteSigner) -> note.Note:
    return note.open_note(data, make.vkeys(signers or (ANNA,)))


def refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        note.parse(data)
    with pytest.raises(MalformedError):
        opened(data)


def line(name: str, blob: bytes) -> bytes:
    return f"— {name} {base64.b64encode(blob).decode()}\n".encode()


def test_SN_01_text_comes_with_its_newline_and_without_the_empty_line():
    assert opened(GOOD).text == TEXT
    assert opened(make.sign(b"\n", ANNA)).text == b"\n"


def test_SN_02_no_text_without_a_verified_signature():
    unverified = note.parse(GOOD)
    assert isinstance(unverified, UnverifiedNote)
    assert not isinstance(unverified, note.Note)
    assert not hasattr(unverified, "text")
    public = {field.name for field in dataclasses.fields(UnverifiedNote) if not field.name.startswith("_")}
    assert public == {"signatures"}
    assert TEXT.decode().split("\n")[0] not in repr(unverified)
    with pytest.raises(UntrustedKey):
        note.open_note(unverified, [])
    with pytest.raises(UntrustedKey):
        note.open_note(GOOD, make.vkeys([BERT]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n",
        TEXT,
        TEXT + b"\n",
        TEXT + GOOD[len(TEXT) + 1 :],  # no empty line
        GOOD[len(TEXT) + 1 :],  # no text
        b"\n" + GOOD[len(TEXT) + 1 :],
        GOOD[:-1],  # last newline missing
        TEXT[:-1] + GOOD[len(TEXT) + 1 :],
    ],
)
def test_SN_03_a_note_has_text_an_empty_line_and_ended_signature_lines(data: bytes):
    refused(data)


@pytest.mark.parametrize("text", [b"", b"no newline", b"a\nno newline", b"tab\t\n", b"cr\r\n", b"nul\x00\n", b"\xff\n"])
def test_SN_04_only_text_that_can_stand_in_a_note_is_signed(text: bytes):
    with pytest.raises(MalformedError):
        ANNA.sign(text, make.NOW)
    with pytest.raises(MalformedError):
        note.encode(text, note.parse(GOOD).signatures)


@pytest.mark.parametrize("bad", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x80", b"\xf4\x90\x80\x80", b"\x80"])
def test_SN_05_invalid_utf8_anywhere_is_refused(bad: bytes):
    signature = GOOD[len(TEXT) + 1 :]
    refused(b"x" + bad + b"\n\n" + signature)
    refused(GOOD.replace(b"anna", b"an" + bad))
    refused(GOOD.replace(b"anna.example/a ", b"anna.example/a " + bad))
    refused(GOOD + bad)


@pytest.mark.parametrize("control", [bytes([value]) for value in range(0x20) if value != 0x0A])
def test_SN_06_control_characters_are_refused_everywhere(control: bytes):
    for place in range(0, len(GOOD) + 1, 7):
        refused(GOOD[:place] + control + GOOD[place:])
    with pytest.raises(MalformedError):
        ANNA.sign(b"x" + control + b"\n", make.NOW)


@pytest.mark.parametrize("text", ["del \x7f\n", "nel \u0085\n", "ls \u2028\n", "nbsp \u00a0\n", "\ufeffbom\n"])
def test_SN_06_delete_and_c1_are_no_ascii_control_characters(text: str):
    assert opened(make.sign(text.encode(), ANNA)).text == text.encode()


def test_SN_07_text_is_split_at_the_last_empty_line():
    inner = GOOD  # a text that is a signed note itself
    outer = make.sign(inner, BERT)
    assert opened(outer, BERT).text == inner
    assert opened(outer, BERT, ANNA).text == inner
    with pytest.raises(UntrustedKey):
        opened(outer, ANNA)
    for text in (b"a\n\nb\n", b"\n\na\n", b"a\n\n", b"a\n\n\n\n", b"\n\n"):
        assert opened(make.sign(text, ANNA)).text == text


@pytest.mark.parametrize("prefix", ["- ", "– ", "—  ", "—\u00a0", "\ufeff— ", " — ", "—", "", "— — ", "― ", "—\u2003"])
def test_SN_08_a_signature_line_starts_with_em_dash_and_space(prefix: str):
    signature = GOOD[len(TEXT) + 1 :].decode().removeprefix("— ")
    bad = (prefix + signature).encode()
    refused(TEXT + b"\n" + bad)
    refused(GOOD + bad)
    refused(TEXT + b"\n" + bad + GOOD[len(TEXT) + 1 :])
    with pytest.raises(MalformedError):
        note.parse_line(bad[:-1])


@pytest.mark.parametrize("trailer", [b"x\n", b" \n", b"# comment\n", b"anna.example/a AAAAAAA=\n"])
def test_SN_09_nothing_follows_the_signature_lines(trailer: bytes):
    refused(GOOD + trailer)


def test_SN_09_an_empty_line_at_the_end_leaves_no_signature():
    refused(GOOD + b"\n")
    refused(GOOD + b"\n\n")


@pytest.mark.parametrize("character", [*map(chr, SPACES), "+", "\t", "\x00", "\ud800"])
def test_SN_10_key_names_have_no_space_plus_or_half_character(character: str):
    for name in (f"a{character}b", character, f"{character}b", f"b{character}"):
        with pytest.raises(MalformedError):
            note.check_name(name)
        with pytest.raises(MalformedError):
            VerifierKey.of(name, make.ED, ANNA.private.public)
        with pytest.raises(MalformedError):
            NoteSigner.of(name, make.ED, ANNA.private)
        raw = f"— {name} {base64.b64encode(b'12345').decode()}".encode("utf-8", "surrogatepass")
        with pytest.raises(MalformedError):
            note.parse_line(raw)


def test_SN_10_key_names_are_not_empty_and_otherwise_free():
    with pytest.raises(MalformedError):
        note.check_name("")
    refused(TEXT + b"\n" + line("", b"12345"))
    for name in ("x", "sum.golang.org", "zürich.example", "日本", "a-b_c/~", "\u200b", "\ufeff"):
        signer = make.signer(name)
        assert opened(make.sign(TEXT, signer), signer).signatures[0].signature.name == name


@pytest.mark.parametrize(
    "encoded",
    ["", "QUJDREU", "QUJDREU==", "QUJDREU=\u00a0", " QUJDREU=", "QUJD RE=", "QUJD-EU=", "QUJD_EU=", "QUJDREU=QQ==",
     "=QUJDREU", "QUJDREV=", "QUJDR!EU=", "QUJDRA==\x7f", "QUJDRF=="],
)  # fmt: skip
def test_SN_11_only_canonical_standard_base64(encoded: str):
    refused(TEXT + b"\n" + f"— anna.example/a {encoded}\n".encode())


def test_SN_12_a_signature_has_a_key_id_and_at_least_one_byte():
    for length in range(5):
        refused(TEXT + b"\n" + line("x.example", b"1" * length))
    assert note.parse(TEXT + b"\n" + line("x.example", b"12345")).signatures == (Signature("x.example", b"1234", b"5"),)


def test_SN_13_name_and_key_id_together_name_a_key():
    signature = note.parse(GOOD).signatures[0]
    assert signature.key_id == ANNA.verifier.key_id
    others = [
        Signature("other.example", signature.key_id, signature.blob),
        Signature(signature.name, b"\x00\x00\x00\x01", signature.blob),
        Signature(signature.name.upper(), signature.key_id, signature.blob),
    ]
    for other in others:
        with pytest.raises(UntrustedKey):
            opened(note.encode(TEXT, [other]))
    found = opened(note.encode(TEXT, [*others, signature]))
    assert found.others == tuple(others)
    assert [each.signature for each in found.signatures] == [signature]
    assert found.encode() == GOOD


def test_SN_14_only_unknown_signatures_is_unverified_and_tells_no_text():
    with pytest.raises(UntrustedKey, match="unverified") as caught:
        opened(GOOD, BERT)
    assert "first line" not in str(caught.value)
    assert caught.value.evidence is None
    assert ANNA.verifier.key_id.hex() in str(caught.value)


def bad_signatures(signature: Signature) -> Iterator[Signature]:
    for blob in (
        signature.blob[:-1],
        signature.blob + b"\x00",
        bytes([signature.blob[0] ^ 1]) + signature.blob[1:],
        bytes(64),
        b"\x01",
    ):
        yield Signature(signature.name, signature.key_id, blob)


def test_SN_15_a_known_key_is_verified():
    for bad in bad_signatures(note.parse(GOOD).signatures[0]):
        with pytest.raises(SignatureError):
            opened(note.encode(TEXT, [bad]))
    for text in (b"other\n", TEXT + b"\n", TEXT[1:], TEXT.upper()):
        with pytest.raises(SignatureError):
            opened(note.encode(text, note.parse(GOOD).signatures))


def test_SN_16_one_failing_known_signature_rejects_the_note():
    signatures = note.parse(make.sign(TEXT, ANNA, BERT)).signatures
    assert len(opened(note.encode(TEXT, signatures), ANNA, BERT).signatures) == 2
    for bad in bad_signatures(signatures[0]):
        for order in ([bad, signatures[1]], [signatures[1], bad]):
            data = note.encode(TEXT, order)
            with pytest.raises(SignatureError):
                opened(data, ANNA, BERT)
            # To whoever does not know the first key, the same note is fine.
            assert opened(data, BERT).text == TEXT


def test_SN_17_every_line_of_a_known_key_counts_and_identical_ones_count_once():
    signature = note.parse(GOOD).signatures[0]
    assert len(opened(note.encode(TEXT, [signature, signature])).signatures) == 1
    for bad in bad_signatures(signature):
        for order in ([signature, bad], [bad, signature], [signature, signature, bad]):
            with pytest.raises(SignatureError):
                opened(note.encode(TEXT, order))


def test_SN_18_sixteen_large_post_quantum_signatures_are_accepted():
    strangers = [Signature(f"w{number}.example", os.urandom(4), os.urandom(4627)) for number in range(16)]
    data = note.encode(TEXT, [*strangers, *note.parse(GOOD).signatures])
    assert opened(data).others == tuple(strangers)
    assert note.MAX_LENGTH >= 128 * 1024


def test_SN_19_limits_hold_before_any_signature_is_checked():
    class Never:
        name, key_id = ANNA.verifier.name, ANNA.verifier.key_id

        def verify(self, text: bytes, blob: bytes) -> int | None:
            raise AssertionError("checked a signature of an oversized note")

    mine = note.parse(GOOD).signatures[0]
    strangers = [Signature("x.example", number.to_bytes(4), b"x") for number in range(note.MAX_SIGNATURES)]
    for data in (
        note.encode(TEXT, [mine, *strangers]),
        note.encode(b"x" * note.MAX_LENGTH + b"\n", [mine]),
    ):
        with pytest.raises(MalformedError, match=r"too (many|long)"):
            note.open_note(data, [Never()])
    assert len(opened(note.encode(TEXT, [mine, *strangers[1:]])).others) == note.MAX_SIGNATURES - 1
    exact = note.encode(TEXT, [mine])
    text = b"x" * (note.MAX_LENGTH - len(exact)) + TEXT
    assert opened(make.sign(text, ANNA)).text == text


def test_SN_23_one_public_key_under_two_types_is_two_keys():
    plain, cosigner = make.signer("one.example", make.ED, "same"), make.signer("one.example", make.COSIGN, "same")
    assert plain.verifier.public == cosigner.verifier.public
    assert plain.verifier.key_id != cosigner.verifier.key_id
    text = make.head(3).body()
    data = make.sign(text, plain, cosigner)
    assert [s.timestamp for s in opened(data, plain, cosigner).signatures] == [None, make.NOW]
    assert len(opened(data, plain).others) == len(opened(data, cosigner).others) == 1
    # The one's signature does not pass for the other's.
    first, second = note.parse(data).signatures
    for swapped in (
        Signature(first.name, first.key_id, second.blob),
        Signature(second.name, second.key_id, first.blob),
        Signature(second.name, second.key_id, make.NOW.to_bytes(8) + first.blob),
    ):
        with pytest.raises(SignatureError):
            opened(note.encode(text, [swapped]), plain, cosigner)


def test_SN_25_signature_is_rfc8032_over_the_text_alone():
    signature = note.parse(GOOD).signatures[0]
    ANNA.private.public.verify(TEXT, signature.blob)
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(signature.blob[32:], "little")
    for forged in (s + order, s + 2 * order):
        blob = signature.blob[:32] + forged.to_bytes(32, "little")
        with pytest.raises(SignatureError):
            opened(note.encode(TEXT, [Signature(signature.name, signature.key_id, blob)]))
    for blob in (signature.blob[:63], signature.blob + b"\x00"):
        with pytest.raises(SignatureError):
            opened(note.encode(TEXT, [Signature(signature.name, signature.key_id, blob)]))


def test_SN_27_two_keys_of_one_name_and_id_are_ambiguous():
    clash = dataclasses.replace(BERT.verifier, name=ANNA.verifier.name, key_id=ANNA.verifier.key_id)
    for verifiers in ([ANNA.verifier, clash], [clash, ANNA.verifier]):
        with pytest.raises(ConfigError, match="ambiguous key"):
            note.open_note(GOOD, verifiers)
    # The same key twice is no ambiguity.
    assert note.open_note(GOOD, [ANNA.verifier, ANNA.verifier]).text == TEXT


def test_SN_28_an_accepted_note_serialises_to_its_own_bytes():
    signatures = [Signature(f"k{number}.example/ü", os.urandom(4), os.urandom(1 + number)) for number in range(20)]
    for text in (TEXT, b"\n", b"a\n\nb\n\n", GOOD, "ü\u2028\n".encode()):
        data = note.encode(text, signatures)
        parsed = note.parse(data)
        assert note.encode(parsed.claimed_text(), parsed.signatures) == data


def test_messages_name_at_most_eight_keys():
    many = [(f"k{number}.example", bytes(4)) for number in range(20)]
    assert note.describe(many).endswith("and 12 more")
    assert "more" not in note.describe(many[:8])
    assert note.describe([]) == "none"


def test_algorithms_do_not_mix_with_types():
    with pytest.raises(ValueError, match="does not use"):
        VerifierKey.of("x.example", make.MLDSA, ANNA.private.public)
    with pytest.raises(ValueError, match="does not use"):
        VerifierKey.of("x.example", make.ED, make.key("x", Algorithm.ML_DSA_44).public)
