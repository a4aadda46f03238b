"""Arm CCA tokens, real and forged: each yields what its case says, and no mutation of a good one passes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import ConfigError, MalformedError, NotEstablished
from teelog.evidence import platform, report_data, tables
from teelog.evidence.cca import keys, policy, token
from teelog.evidence.platform import Evidence, Expected, Roots
from teelog.statement import registers, require
from teelog.testing import cca, cca_cases
from teelog.testing.cca import Machine
from teelog.testing.cca_cases import MACHINE, NONCE
from teelog.testing.sev_snp import NOW
from teelog.verdict import Finding, Outcome
from tests.evidence.contract import check_case, mutations
from tests.vectors import vectors

CASES = {case.name: case for case in cca_cases.cases()}
REFUSED = (MalformedError, NotEstablished)
REAL = {
    "trustee": ("trustee/cca-example-token.cbor", "trustee/cpak-pub.json"),
    "veraison-services": ("veraison-services/cca-evidence.cbor", "veraison-services/ec256.pub.json"),
}
RIM = {
    "trustee": "ae87fbf7f105e71a7827cb6f0896889c73d2beaf4830d4f9cb05e3e96c3fc7b4"
    "faa04caf36a26bd094cf9c7b738617e4c189aaee184dedda5d7a03c39dbdac7c",
    "veraison-services": "43" * 64,
}


def read(name: str) -> bytes:
    return Path(vectors(f"evidence/cca/{name}")).read_bytes()


def pinned(key: bytes) -> Roots:
    (found,) = keys.read([key])
    return Roots({"test": found.fingerprint})


@pytest.mark.parametrize("name", CASES)
def test_each_case_yields_what_it_says(name: str):
    case = CASES[name]
    check_case(case, "cca", NONCE, lambda evidence: evidence.hardware(case.given, NOW, case.machine.roots()))


@pytest.mark.parametrize("name", REAL)
def test_real_token_chains_to_its_platforms_key(name: str):
    raw, key = map(read, REAL[name])
    evidence = platform.parse(raw)
    finding = evidence.hardware([key], NOW, pinned(key))
    assert finding.outcome is Outcome.VERIFIED
    assert any("trust anchor supplied by the user" in each for each in finding.details)
    assert evidence.configuration().outcome is Outcome.VERIFIED
    assert evidence.registers["rim"].hex() == RIM[name]
    assert list(evidence.registers) == ["rim", "rem0", "rem1", "rem2", "rem3"]
    challenge = token.parse(raw).realm.challenge
    assert evidence.freshness(Expected(report_data=challenge)).outcome is Outcome.VERIFIED


def test_real_token_fails_with_the_wrong_key_even_if_that_is_pinned():
    raw, key = read("veraison-services/cca-evidence.cbor"), read("veraison-services/ec384.pub.json")
    assert platform.parse(raw).hardware([key], NOW, pinned(key)).outcome is Outcome.FAILED


@pytest.mark.parametrize("name", REAL)
def test_A_48_flipped_bits_and_truncations_of_a_real_token_never_pass(name: str):
    raw, key = map(read, REAL[name])
    _never_pass(raw, key, pinned(key), name)


@pytest.mark.parametrize("name", ["good", "good-key-as-a-point"])
def test_A_48_flipped_bits_and_truncations_never_pass(name: str):
    case = CASES[name]
    _never_pass(case.evidence, case.given[0], case.machine.roots(), name)


def _never_pass(raw: bytes, key: bytes, roots: Roots, seed: str) -> None:
    for bad in mutations(raw, seed):
        assert _outcome(bad, key, roots) in (Outcome.FAILED, None)


def _outcome(raw: bytes, key: bytes, roots: Roots) -> Outcome | None:
    """None: refused when parsed."""
    try:
        evidence = platform.parse(raw, "cca")
    except REFUSED:
        return None
    return evidence.hardware([key], NOW, roots).outcome


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 1200))
def test_A_48_arbitrary_bytes_within_a_token_never_pass(junk: bytes, place: int):
    good = CASES["good"].evidence
    bad = good[:place] + junk + good[place + max(len(junk), 1) :]
    assert bad == good or _outcome(bad, MACHINE.endorsement(), MACHINE.roots()) in (Outcome.FAILED, None)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_A_48_arbitrary_bytes_as_an_endorsement_never_pass(junk: bytes):
    for file in (junk, b"{" + junk):
        finding = _evidence().hardware([file], NOW, MACHINE.roots())
        assert finding.outcome is Outcome.FAILED


def _evidence() -> Evidence:
    return platform.parse(CASES["good"].evidence)


def test_without_a_pin_nothing_is_established_since_arm_publishes_no_root():
    finding = _evidence().hardware([MACHINE.endorsement()], NOW)
    assert finding.outcome is Outcome.NOT_ESTABLISHED
    assert "Arm publishes no root" in str(finding.cause)


def test_a_key_is_the_same_as_pem_der_and_jwk():
    import base64
    import json

    pem = MACHINE.endorsement()
    (key,) = keys.read([pem])
    numbers = key.key.public_numbers()
    x, y = (base64.urlsafe_b64encode(each.to_bytes(48)).rstrip(b"=").decode() for each in (numbers.x, numbers.y))
    jwk = json.dumps({"kty": "EC", "crv": "P-384", "x": x, "y": y, "kid": "1"}).encode()
    der = report_data.bound_bytes(pem)
    assert [each.fingerprint for each in keys.read([jwk, der])] == [key.fingerprint] * 2
    for form in (pem, jwk, der):
        assert _evidence().hardware([form], NOW, MACHINE.roots()).outcome is Outcome.VERIFIED


def test_registers_go_by_the_names_of_statements():
    registers.check("cca", {name: value.hex() for name, value in _evidence().registers.items()})


def test_the_stricter_of_trust_file_and_release_holds_and_an_unknown_demand_is_not_established():
    right, wrong = {"config": ["cfcfcfcf"]}, {"config": ["00"]}
    assert _evidence().configuration(right, right).outcome is Outcome.VERIFIED
    assert _evidence().configuration(wrong, right).outcome is Outcome.FAILED
    assert _evidence().configuration(right, wrong).outcome is Outcome.FAILED
    assert _evidence().configuration({}, {"colour": "red"}).outcome is Outcome.NOT_ESTABLISHED


def test_firmware_that_was_compared_with_nothing_is_named():
    found = _evidence().configuration({"components": {"RMM": cca.measurement("RMM").hex()}})
    assert "firmware: 3 components, NOT compared: RSE_BL2, AP_BL31" in found.details


@pytest.mark.parametrize(
    "table", [{"debug": True}, {"config": []}, {"components": {"RMM": "00"}}, {"instance_id": "1"}]
)
def test_a_trust_file_that_means_nothing_is_an_error(table: dict[str, object]):
    with pytest.raises(ConfigError):
        platform.check_floor("cca", table)


KEY = b"a public key, SPKI DER"


def bound(challenge: bytes, **expected: object) -> Finding:
    return platform.parse(MACHINE.token(challenge=challenge)).binding(Expected(**expected))  # type: ignore[arg-type]


def test_the_challenge_is_the_64_bytes_of_report_data():
    whole = report_data.commitment(NONCE, KEY)
    assert bound(whole, binds=KEY, nonce=NONCE).outcome is Outcome.VERIFIED
    assert bound(whole, binds=b"other", nonce=NONCE).outcome is Outcome.FAILED
    assert bound(whole).outcome is Outcome.NOT_ESTABLISHED
    assert bound(NONCE, binds=KEY, nonce=NONCE).outcome is Outcome.FAILED


def test_the_same_token_comes_out_every_time():
    assert Machine().token() == Machine().token()
    assert Machine(realm=b"2").token() != Machine().token()
    assert "lifecycle of the platform: recoverable debug" in "\n".join(
        platform.parse(MACHINE.token(platform={token.LIFECYCLE: cca.DEBUG})).facts
    )
    assert _evidence().fields()["component2"] == {
        "type": "RMM", "version": "none", "measurement": cca.measurement("RMM"), "signer_id": cca.SIGNER,
    }  # fmt: skip


def test_a_release_can_be_written_with_every_demand_that_is_understood_here():
    demands = {
        "debug": False, "implementation_id": ["00" * 32], "instance_id": ["01" * 33], "config": ["cf"],
        "signer_ids": ["00" * 32], "components": {"RMM": "00" * 32}, "personalization": "00" * 64,
        "hash_algorithm": "sha-256",
    }  # fmt: skip
    assert set(policy.Policy.__struct_fields__) == set(demands)
    assert require.read(demands)[1] == ()
    assert tables.read(demands, policy.Policy)[1] == ()
