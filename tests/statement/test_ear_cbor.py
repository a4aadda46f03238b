"""Attestation results in CBOR: the same claims by number, both dialects, and as entries of a log."""

from __future__ import annotations

import json
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from teelog.errors import MalformedError, UntrustedKey
from teelog.index import keys
from teelog.index.keys import Kind as Key
from teelog.statement import admit, ear, ear_cbor, ear_token, index_map, jws
from teelog.statement.admit import Kind
from teelog.statement.token import Form
from teelog.testing import cose
from tests.statement import make
from tests.statement.test_cwt import token
from tests.statement.test_ear import DRAFT, NAMESPACE, NOW, PRIVATE_CLAIMS, STREAM, VERAISON, VERIFIER, acme

NUMBERED = cbor2.loads(ear_cbor.encode(DRAFT))

# As the Rust library of Veraison and Trustee writes them: unsorted, maps of indefinite length, one policy as text.
DEPLOYED: dict[Any, Any] = {
    265: "tag:github.com,2023:veraison/ear",
    6: 1_666_529_184,
    1004: {1: "rrtrap-v1.0.0", 0: "Acme Inc."},
    1: "acme.example",
    266: {"PSA_IOT": {1000: 2, 1001: {4: 2, 0: 2, 2: 3}, 1003: "policy://0123", -70001: {"x": b"y"}}},
}


def entry(claims: Any = None, signer: Any = VERIFIER) -> bytes:
    return token({1: -8}, cose.encode(NUMBERED if claims is None else claims), signer)


def test_the_drafts_numbers_are_written_deterministically():
    encoded = ear_cbor.encode(DRAFT)
    assert cbor2.dumps(NUMBERED, canonical=True) == encoded
    assert {
        1: "acme.example",
        2: STREAM,
        6: NOW,
        265: "tag:ietf.org,2026:rats/ear#03",
        266: {"sev-snp": {1000: 2, 1001: {1: 2, 2: 3, 4: 2}}},
        1000: 2,
        1004: {0: "urn:teelog", 1: "teelog 0.1.0"},
        ear.CLAIM: DRAFT[ear.CLAIM],
    } == NUMBERED


def test_both_forms_say_the_same():
    assert ear_cbor.read(ear_cbor.encode(DRAFT)) == ear.read(json.dumps(DRAFT).encode())


def test_the_deployed_dialect_is_read_as_it_is_written():
    theirs = cose.encode(cose.Indefinite({key: _indefinite(value) for key, value in DEPLOYED.items()}))
    assert theirs[0] == 0xBF
    assert ear_cbor.read(theirs) == ear.read(json.dumps(VERAISON).encode())


def _indefinite(value: Any) -> Any:
    if isinstance(value, dict):
        return cose.Indefinite({key: _indefinite(item) for key, item in value.items()})
    return value


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({265: None}, "/eat_profile"),
        ({265: 7}, "/eat_profile"),
        ({6: None}, "/iat"),
        ({6: "1790000000"}, "/iat"),
        ({6: True}, "/iat"),
        ({6: -1}, "/iat"),
        ({6: 2**53}, "/iat"),
        ({6: cbor2.CBORTag(1, NOW)}, "/iat"),
        ({4: b"x"}, "/exp"),
        ({1: b"acme.example"}, "/iss"),
        ({"iat": NOW}, "/iat"),
        ({1004: None}, "/ear_verifier_id"),
        ({1004: {0: "a", "developer": "b"}}, "/ear_verifier_id/developer"),
        ({266: {}}, "/submods"),
        ({266: {"a": 1}}, "/submods/a"),
        ({266: {"a": {1000: 3}}}, "/submods/a/ear_status"),
        ({266: {"a": {1000: 0, 1001: {4: 128}}}}, "/hardware"),
        ({266: {"a": {1000: 2, 1001: {4: 97}}}}, "/submods/a/ear_status"),
        ({266: {"a": {1000: 2, 1001: {4: 2, "hardware": 97}}}}, "/hardware"),
        ({1000: 2, 266: {"a": {1000: 32}}}, "/ear_status"),
        ({ear.CLAIM: {}}, "/urn:teelog:appraisal:v1"),
        ({ear.CLAIM: DRAFT[ear.CLAIM] | {"release": b"\xab" * 32}}, "/urn:teelog:appraisal:v1"),
        ({ear.CLAIM: DRAFT[ear.CLAIM] | {"checks": {1: "verified"}}}, None),
        ({70: 1.5}, None),
        ({70: {True: 1}}, None),
        ({70: [2**64 - 1]}, "/70"),
        ({70: dict.fromkeys(range(257), 0)}, "/70"),
        (dict.fromkeys(range(5000, 5257), 0), "/"),
    ],
)
def test_A_43_a_claim_of_the_wrong_kind_is_refused_with_its_place(change: dict[Any, Any], where: str | None):
    claims = {key: value for key, value in (NUMBERED | change).items() if value is not None}
    text = cbor2.dumps(claims)
    if change.get(ear.CLAIM, {}).get("checks") == {1: "verified"}:
        assert ear_cbor.read(text).judged.checks == {"1": "verified"}  # type: ignore[union-attr]
        return
    with pytest.raises(MalformedError) as caught:
        ear_cbor.read(text)
    assert where is None or where in str(caught.value.where)


@pytest.mark.parametrize(
    "text", [b"", b"\x00", b"\xa1\x06", b"\xa2\x06\x01\x06\x02", b"\x9f" * 99, b"\x80", b"\xa0\x00"]
)
def test_A_43_what_has_two_readings_is_refused(text: bytes):
    with pytest.raises(MalformedError):
        ear_cbor.read(text)


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(NUMBERED, key=str)), _values, st.sampled_from([NUMBERED, DEPLOYED]))
def test_any_claim_may_be_anything_and_is_read_or_malformed(name: Any, value: Any, base: dict[Any, Any]):
    try:
        ear_cbor.read(cbor2.dumps(base | {name: value}))
    except MalformedError:
        return


# -- as entries of a log ----------------------------------------------------------------------------------------------


def test_a_CWT_is_an_entry_like_a_JWT():
    parsed = admit.classify(entry())
    assert (parsed.kind, parsed.namespace, parsed.stream) == (Kind.RESULT, "acme.example", None)
    assert admit.check_result(parsed, acme()).result.subject == STREAM
    with pytest.raises(UntrustedKey):
        admit.check_result(parsed, make.acme())
    made = ear_token.sign(DRAFT, VERIFIER, Form.CWT)
    assert admit.check_result(admit.classify(made.file), acme()) == admit.check_result(parsed, acme())


@pytest.mark.parametrize(
    "private",
    [
        {10: b"0123456789abcdef"},
        {1002: b"evidence"},
        {256: b"\x01chip"},
        {266: {"a": {1000: 2, 10: b"0123456789abcdef"}}},
        {266: {"a": {1000: 2, -70000: {"chip": b"x"}}}},
        {"extra": [{"deep": {"chip_id": b"x"}}]},
    ],
)
def test_evidence_nonces_and_identities_are_found_by_number(private: dict[Any, Any]):
    assert len(PRIVATE_CLAIMS) >= 6
    result = admit.check_result(admit.classify(entry(NUMBERED | private)), acme()).result
    with pytest.raises(MalformedError) as caught:
        admit.check_private(result)
    assert str(caught.value.where).startswith("/")


@pytest.mark.parametrize("number", [10, 256, 257, 262, 1002, -70000])
@pytest.mark.parametrize("appraisal", [{266: {"y": {}}}, {-70001: {}}, {-70002: [{}]}, {"extra": [[{"deep": {}}]]}])
def test_evidence_nonces_and_identities_are_found_by_number_at_any_depth(appraisal: dict[Any, Any], number: int):
    nested = _innermost(appraisal, {number: b"0123456789abcdef"})
    private = ear_cbor.read(cose.encode(NUMBERED | {266: {"x": {1000: 2} | nested}})).private
    assert len(private) == 1
    assert private[0].startswith("/submods/x/")
    assert private[0].endswith(f"/{number}")
    assert ear_cbor.read(cose.encode(NUMBERED | {266: {"x": {1000: 2} | appraisal}})).private == ()


def _innermost(value: Any, filled: Any) -> Any:
    """The value, what is empty in it replaced."""
    if isinstance(value, list):
        return [_innermost(item, filled) for item in value]
    return {name: _innermost(item, filled) for name, item in value.items()} if value else filled


def test_a_number_is_a_number_in_a_CWT_only():
    assert ear.read(json.dumps(DRAFT | {"extra": {"10": "ten"}}).encode()).private == ()


def test_a_CWT_stands_under_the_same_keys_as_a_JWT():
    claims = DRAFT | {ear.CLAIM: DRAFT[ear.CLAIM] | {"evidence": {"sha256": "0e" * 32}}}
    state = index_map.MemoryState(make.LOG)
    mapped = index_map.map_entry(NAMESPACE, 1, state)
    assert mapped.effect is not None
    state.apply(mapped.effect)
    found = [
        index_map.map_entry(ear_token.sign(claims, VERIFIER, form).file, 2, state).keys for form in (Form.JWT, Form.CWT)
    ]
    assert found[0] == found[1]
    assert keys.key(Key.EVIDENCE, "sha256", "0e" * 32) in found[0]
    assert keys.key(Key.SIGNER, VERIFIER.public.fingerprint) in found[0]
    stranger = index_map.map_entry(ear_token.sign(claims, make.STRANGER, Form.CWT).file, 2, state)
    assert keys.key(Key.SIGNER, make.STRANGER.public.fingerprint) not in stranger.keys


def test_CBOR_in_a_JWT_and_JSON_in_a_CWT_are_no_results():
    for file in (jws.sign(ear_cbor.encode(DRAFT), VERIFIER, "x").file, token({1: -8}, json.dumps(DRAFT).encode())):
        with pytest.raises(MalformedError):
            admit.classify(file)
