"""Parts of a result that are logged as salted digests: disclosed, withheld, and what cannot pass for them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teelog.errors import MalformedError, TeelogError, VerificationError
from teelog.statement import disclosure, jws

CLAIMS = {"iss": "acme.example", "submods": {"cpu0": {"ear_status": "none"}}}
PARTS = {"ear_raw_evidence": "AAAA", "eat_nonce": "0123456789"}
SALTS = [bytes([n] * 16) for n in range(2)]
HIDDEN, MADE = disclosure.conceal(CLAIMS, PARTS, SALTS)


def test_RFC_9901_section_4_2_1_example():
    # The example of the RFC, with its white space: a digest is over the disclosure as it was written.
    text = b"WyJfMjZiYzRMVC1hYzZxMktJNmNCVzVlcyIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0"
    assert json.loads(jws.unb64url(text, "")) == ["_26bc4LT-ac6q2KI6cBW5es", "family_name", "Möbius"]
    held = {"_sd": ["X9yH0Ajrdm1Oij4tWso9UzzKJvPoDxwmuEcO3XAdRC0"]}
    (found,) = disclosure.check(held, [text]).disclosed
    assert (found.where, found.name, found.value) == ("", "family_name", "Möbius")


def test_a_part_is_disclosed_by_name_and_others_stay_withheld():
    assert set(HIDDEN) == {*CLAIMS, "_sd", "_sd_alg"}
    checked = disclosure.check(HIDDEN, MADE)
    assert {each.name: each.value for each in checked.disclosed} == PARTS
    assert checked.withheld == 0
    alone = disclosure.check(HIDDEN, MADE[1:])
    assert [each.name for each in alone.disclosed] == ["eat_nonce"]
    assert alone.withheld == 1
    assert disclosure.read(disclosure.write(MADE)) == MADE


def test_digests_are_in_an_order_of_their_own():
    assert HIDDEN["_sd"] == sorted(HIDDEN["_sd"])


def test_a_salt_makes_equal_parts_unequal():
    other, _ = disclosure.conceal(CLAIMS, PARTS, [bytes([n + 5] * 16) for n in range(2)])
    assert not set(other["_sd"]) & set(HIDDEN["_sd"])
    for salts in ([], SALTS[:1], [b"short", SALTS[0]]):
        with pytest.raises(ValueError, match="salt"):
            disclosure.conceal(CLAIMS, PARTS, salts)


def test_a_part_of_an_appraisal_is_disclosed_in_its_place():
    inner, (only,) = disclosure.conceal({"ear_status": "none"}, {"ueid": "AQ"}, SALTS[:1])
    inner.pop("_sd_alg")
    (found,) = disclosure.check({"submods": {"a/b": inner}}, [only]).disclosed
    assert (found.where, found.name) == ("/submods/a~1b", "ueid")


def _digest(text: bytes) -> str:
    return jws.b64url(hashlib.sha256(text).digest()).decode()


def _raw(tree: Any) -> bytes:
    return jws.b64url(json.dumps(tree).encode())


def test_a_disclosure_of_another_result_does_not_hold():
    _, theirs = disclosure.conceal(CLAIMS, {"ear_raw_evidence": "BBBB"}, SALTS[:1])
    with pytest.raises(VerificationError):
        disclosure.check(HIDDEN, theirs)
    with pytest.raises(VerificationError):
        disclosure.check(HIDDEN, [MADE[0], MADE[0]])
    with pytest.raises(VerificationError):
        disclosure.check(CLAIMS, MADE)


@pytest.mark.parametrize(
    "tree",
    [
        ["s", "iss", "evil.example"], ["s", "_sd", []], ["s", "...", "x"], ["s", "x"], ["s", 1, 2], [1, "x", 2], {},
        "x", ["s", "x", 1.5], ["s", "x", 1, 2],
    ],
)  # fmt: skip
def test_a_disclosure_that_would_change_the_result_is_refused_though_its_digest_is_held(tree: Any):
    text = _raw(tree)
    with pytest.raises(MalformedError):
        disclosure.check({**CLAIMS, "_sd": [_digest(text)]}, [text])


def test_two_claims_of_one_name_are_refused():
    texts = [_raw(["a", "x", 1]), _raw(["b", "x", 2])]
    with pytest.raises(MalformedError, match="already"):
        disclosure.check({"_sd": list(map(_digest, texts))}, texts)


@pytest.mark.parametrize(
    "claims",
    [
        {"_sd": "x"}, {"_sd": [1]}, {"_sd": ["x", "x"]}, {"_sd": ["x"], "a": [{"_sd": ["x"]}]}, {"_sd_alg": "sha-512"},
        {"_sd_alg": None},
    ],
)  # fmt: skip
def test_digests_that_are_none_are_refused(claims: dict[str, Any]):
    with pytest.raises(MalformedError):
        disclosure.check(claims, [])


@pytest.mark.parametrize("file", [b"", b"x", b"\n" * 65, MADE[0], MADE[0] + b"\nx"])
def test_a_file_is_lines(file: bytes):
    with pytest.raises(MalformedError):
        disclosure.read(file)


@given(st.binary(max_size=80), st.booleans())
def test_any_disclosure_holds_or_is_refused(text: bytes, encoded: bool):
    text = jws.b64url(text) if encoded else text
    with pytest.raises(TeelogError):
        disclosure.check(HIDDEN, [text])
