"""Scalars from outside have one spelling, whatever Python's own readers would take (security section 6)."""

from __future__ import annotations

import base64
import re
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog import strict
from teelog.errors import MalformedError

BAD_NUMBERS = [
    *(b"", b"00", b"01", b"+1", b"-1", b"-0", b"+0", b" 1", b"1 ", b"1\n", b"\n1", b"\t1", b"1\r", b"1\x00", b"1_000"),
    *(b"0x1", b"0b1", b"0o7", b"1e3", b"1.0", b"1,000", b"\xd9\xa1", b"\xef\xbc\x91", b"\xc2\xb2", b"\xff", b"NaN"),
    *(b"inf", b"None", b"true", b"1" * 20, b"9" * 5000, b"%d" % 2**63, b"%d" % (2**64 - 1), b"%d" % 2**64),
]
"""The list of CP-03, PR-04 and W-05: no decimal number of ours."""


@pytest.mark.parametrize("text", BAD_NUMBERS)
def test_int_is_lenient_and_decimal_is_not(text: bytes):
    with pytest.raises(MalformedError, match="size"):
        strict.decimal(text, "size")


@pytest.mark.parametrize(
    "text", [b"1_000", b" 12 ", b"+5", b"1\n", b"-0", b"00", b"1\x0b", "١".encode(), "１".encode()]
)
def test_trap_int_takes_what_decimal_refuses(text: bytes):
    int(text.decode())
    with pytest.raises(MalformedError):
        strict.decimal(text)


@pytest.mark.parametrize("text", ["0xff", "1_0", " ff", "FF"])
def test_trap_int_in_base_16_takes_what_unhex_refuses(text: str):
    int(text, 16)
    with pytest.raises(MalformedError):
        strict.unhex(text)


def test_trap_dollar_and_d_match_too_much():
    assert re.match(r"^[0-9]+$", "12\n")
    assert re.fullmatch(r"\d", "١")
    for text in (b"12\n", "١".encode()):
        with pytest.raises(MalformedError):
            strict.decimal(text)


def test_trap_splitlines_and_strip_know_more_than_newline_and_space():
    text = "a\x0bb\x0cc\x1cd\x1ee\x85f\u2028g\u2029h\ri"
    assert len(text.splitlines()) == 9
    assert text.encode().split(b"\n") == [text.encode()]
    assert "\u00a0x\u3000".strip() == "x"
    assert "\x1c".isspace()


@pytest.mark.parametrize(
    "text",
    [b"Q!Q==", b"Q Q==", b"QQ==\n", b"QQ===", b"QQ==QQ==", b"\nQQ==", b"QQ-_", b"QQ", b"QQ=", b"Q", b"=", b"Q==="],
)
def test_trap_b64decode_drops_or_pads_what_b64_refuses(text: bytes):
    with pytest.raises(MalformedError):
        strict.b64(text)


def test_trap_b64decode_takes_bits_that_no_encoder_writes():
    for text in (b"QR==", b"QUJDREV=", b"/x=="):
        assert base64.b64decode(text, validate=True)
        with pytest.raises(MalformedError, match="canonical"):
            strict.b64(text)
    assert base64.b64decode(b"Q!Q==") == b"A"


@pytest.mark.parametrize("text", ["0 1", "01\n", " 01", "0A", "AB", "0", "0x01", "g0", "٠٠", "\udcff00", "0_1"])
def test_trap_fromhex_takes_what_unhex_refuses(text: str):
    with pytest.raises(MalformedError):
        strict.unhex(text)
    with pytest.raises(MalformedError):
        strict.unhex(text.encode("utf-8", "surrogatepass"))


def test_trap_fromhex_takes_spaces_and_capitals():
    assert bytes.fromhex("0A 0b") == b"\x0a\x0b"


def test_CP_04_big_numbers_stop_at_the_parser():
    with pytest.raises(struct.error):
        struct.pack(">q", 2**63)
    assert strict.decimal(b"9223372036854775807") == strict.MAX_INT == 2**63 - 1
    struct.pack(">q", strict.MAX_INT)
    with pytest.raises(MalformedError, match=r"larger than 2\^63-1"):
        strict.decimal(b"9223372036854775808")


def test_fixed_lengths_are_checked():
    assert strict.b64(base64.b64encode(bytes(32)), "root", 32) == bytes(32)
    assert strict.unhex("00" * 4, "key ID", 4) == bytes(4)
    for length in (0, 31, 33):
        with pytest.raises(MalformedError, match="wrong length"):
            strict.b64(base64.b64encode(bytes(length)), "root", 32)
        with pytest.raises(MalformedError, match="wrong length"):
            strict.unhex("00" * length, "root", 32)


def test_refusals_never_carry_the_whole_input():
    for read in (strict.decimal, strict.b64, strict.unhex):
        with pytest.raises(MalformedError) as caught:
            read(b"!" * 100_000)
        assert len(str(caught.value)) < 300


@given(st.integers(0, 2**63 - 1))
@settings(deadline=None)
def test_every_number_has_its_one_spelling(value: int):
    assert strict.decimal(b"%d" % value) == value


@given(st.binary(max_size=100))
@settings(deadline=None)
def test_every_value_has_its_one_base64_and_hex(value: bytes):
    assert strict.b64(base64.b64encode(value)) == value
    assert strict.unhex(value.hex()) == strict.unhex(value.hex().encode()) == value


@given(st.one_of(st.binary(max_size=30), st.from_regex(rb"[0-9+ =/A-Za-z\n_-]{0,20}", fullmatch=True)))
@settings(deadline=None)
def test_what_is_read_re_encodes_to_itself(text: bytes):
    for read, write in (
        (strict.decimal, lambda value: b"%d" % value),
        (strict.b64, base64.b64encode),
        (strict.unhex, lambda value: value.hex().encode()),
    ):
        try:
            value = read(text)
        except MalformedError:
            continue
        assert write(value) == text
