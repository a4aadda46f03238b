"""Forged quotes of TDX and SGX: each yields what its case says, and no mutation of a good one passes."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import ConfigError, MalformedError, NotEstablished, VerificationError
from teelog.evidence import platform
from teelog.evidence.dcap import chain, collateral, pck, quote, verify
from teelog.evidence.platform import Evidence, Expected
from teelog.evidence.sgx import policy as sgx_policy
from teelog.evidence.tdx import policy as tdx_policy
from teelog.statement.require import Require
from teelog.testing import intel, intel_cases, x509
from teelog.testing.intel import NOW, Platform
from teelog.testing.intel_cases import NONCE, PLATFORM
from teelog.verdict import Check, Finding, Outcome
from tests.evidence.contract import mutations

CASES = {case.name: case for case in intel_cases.cases()}
GOOD = [name for name, case in CASES.items() if case.check is None]
ROOTS = intel.roots()
COLLATERAL = PLATFORM.collateral()


def hardware(raw: bytes, *files: bytes) -> Finding:
    return platform.parse(raw).hardware(files, NOW, ROOTS)


@pytest.mark.parametrize("name", CASES)
def test_each_case_yields_what_it_says(name: str):
    case = CASES[name]
    if case.check == "parse":
        with pytest.raises((MalformedError, NotEstablished)) as caught:
            platform.parse(case.evidence)
        assert case.cause in caught.value.message
        return
    evidence = platform.parse(case.evidence)
    found = [
        evidence.hardware(case.endorsements, NOW, ROOTS),
        evidence.configuration(case.floor),
        evidence.freshness(Expected(nonce=NONCE)),
    ]
    bad = [finding for finding in found if finding.outcome is not Outcome.VERIFIED]
    if case.check is None:
        assert not bad
        return
    assert (bad[0].check, bad[0].outcome) == (case.check, case.outcome)
    assert case.cause in str(bad[0].cause)


def test_the_same_quote_comes_out_every_time():
    assert Platform().tdx() == Platform().tdx()
    assert Platform(b"2").tdx() != Platform().tdx()


def test_R_05_padding_is_no_part_of_the_quote_so_that_it_has_one_hash():
    raw = PLATFORM.tdx()
    assert platform.parse(raw + bytes(3000)).raw == platform.parse(raw).raw == raw


def own(raw: bytes, files: list[bytes]) -> tuple[str, tuple[str, ...]]:
    """By this project's own verifier, whatever dcap-qvl says."""
    parsed = quote.parse(raw, int.from_bytes(raw[4:8], "little"))
    leaf, issuer, root = map(collateral.certificate, parsed.pck_chain())
    found = pck.read(leaf)
    return chain.verify(parsed, found, issuer, root, collateral.select(collateral.read_all(files), found.fmspc), NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": status, part: other}
        for status in ("UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded")
        for part in ("qe_status", "module_status")
        for other in ("UpToDate", "OutOfDate", "Revoked")
    ]
    + [{"status": "OutOfDateConfigurationNeeded", "qe_status": "OutOfDate"}, {"status": "Revoked"}],
    ids=lambda changes: "-".join(changes.values()),
)
def test_dcap_qvl_and_the_own_verifier_make_one_status_of_all_parts(changes: dict[str, str]):
    raw, files = PLATFORM.tdx(), [PLATFORM.collateral(**changes)]
    evidence = platform.parse(raw)
    finding = evidence.hardware(files, NOW, ROOTS)
    if "Revoked" in changes.values():
        assert finding.outcome is Outcome.FAILED
        with pytest.raises(VerificationError, match="Revoked"):
            own(raw, files)
        return
    status, _ = own(raw, files)
    assert f"TCB status: {status}" in finding.details


@pytest.mark.parametrize("statement", ["tcb_info", "qe_identity"])
def test_no_platform_s_key_speaks_for_intel_though_its_chain_ends_in_the_same_root(statement: str):
    forged = PLATFORM.collateral(signed_by={statement: PLATFORM.other(seed=b"key is known to others")})
    finding = hardware(PLATFORM.tdx(), forged)
    assert finding.outcome is Outcome.FAILED
    assert "not a certificate and the pinned root" in (finding.cause or "")


def test_a_revocation_list_that_is_not_yet_in_force_is_none():
    later = json.loads(PLATFORM.collateral())
    key = x509.p256_key(b"intel " + intel.PLATFORM_CA.encode())
    later["pck_crl"] = x509.revocation_list(intel.PLATFORM_CA, key, NOW + 1, NOW + 60).hex()
    finding = hardware(PLATFORM.tdx(), json.dumps(later).encode())
    assert finding.outcome is Outcome.FAILED
    assert "not in force" in (finding.cause or "")


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"status": "Revoked"}, "Revoked"),
        ({"revoked": [PLATFORM.serial]}, "is revoked"),
        ({"revoked_authorities": [2]}, "is revoked"),
        ({"revoked_authorities": [3]}, "is revoked"),
        ({"next_update": NOW - 1}, "not in force"),
        ({"issued": NOW + 1}, "not in force"),
        ({"tcb_info": {"tcbLevels": []}}, "No matching TCB level"),
        ({"tcb_info": {"tdxModuleIdentities": []}}, "does not know this TDX module"),
        ({"tcb_info": {"nextUpdate": "2026-01-01T00:00:00Z"}}, "TDX statement is not in force"),
        ({"qe_identity": {"nextUpdate": "2026-01-01T00:00:00Z"}}, "TD_QE statement is not in force"),
        ({"qe_identity": {"mrsigner": "00" * 32}}, "another quoting enclave"),
        ({"qe_identity": {"isvprodid": 1}}, "another quoting enclave"),
        ({"qe_identity": {"miscselect": "00000001"}}, "miscselect"),
        ({"qe_identity": {"attributes": "13" + "00" * 15}}, "attributes"),
        ({"qe_identity": {"id": "QE"}}, "another enclave's"),
        ({"qe_identity": {"tcbLevels": []}}, "no level of the quoting enclave"),
        ({"qe_status": "Excellent"}, "not known here"),
    ],
)
def test_the_own_verifier_refuses_collateral_that_dcap_qvl_refuses(changes: dict[str, object], cause: str):
    raw, files = PLATFORM.tdx(), [PLATFORM.collateral(**changes)]
    assert hardware(raw, *files).outcome is Outcome.FAILED
    with pytest.raises(VerificationError, match=cause):
        own(raw, files)
    # And so a quote that only the own verifier judges does not pass either.
    finding = hardware(PLATFORM.tdx(td_attributes=0), *files)
    assert finding.outcome is Outcome.FAILED


@pytest.mark.parametrize(
    "member", ["tcb_info", "qe_identity", "tcb_info_signature", "qe_identity_signature", "root_ca_crl", "pck_crl"]
)
@pytest.mark.parametrize("attributes", [0, intel.SEPT_VE_DISABLE], ids=["own", "dcap-qvl"])
def test_collateral_that_somebody_changed_is_refused(member: str, attributes: int):
    text = json.loads(COLLATERAL)
    value = text[member]
    at = value.rindex("1")  # a digit of a number, of hex or of a date
    text[member] = value[:at] + "2" + value[at + 1 :]
    finding = hardware(PLATFORM.tdx(td_attributes=attributes), json.dumps(text).encode())
    assert finding.outcome is Outcome.FAILED


@pytest.mark.parametrize("bit", range(64))
def test_whatever_dcap_qvl_says_of_an_attribute_is_understood(bit: int):
    """A new text would make a genuine quote fail as hardware: this is the test that notices."""
    evidence = platform.parse(PLATFORM.tdx(td_attributes=intel.SEPT_VE_DISABLE ^ 1 << bit))
    assert evidence.hardware([COLLATERAL], NOW, ROOTS).outcome is Outcome.VERIFIED


LATE = {
    "Debug mode is enabled": {"td_attributes": intel.SEPT_VE_DISABLE | 1},
    "SEPT_VE_DISABLE is not enabled": {"td_attributes": 0},
    "Invalid MR service TD": {"service_td": b"\1"},
}


@pytest.mark.parametrize("text", LATE)
def test_the_late_refusals_of_dcap_qvl_have_the_texts_known_here(text: str):
    assert text in verify.LATE_REFUSALS
    with pytest.raises(VerificationError) as caught:
        ask(PLATFORM.tdx(**LATE[text]))  # type: ignore[arg-type]
    assert caught.value.message == text


@pytest.mark.parametrize("text", LATE)
def test_dcap_qvl_says_them_only_after_the_signature(text: str):
    raw = bytearray(PLATFORM.tdx(**LATE[text]))  # type: ignore[arg-type]
    raw[48 + 500] ^= 1
    with pytest.raises(VerificationError, match="signature is invalid"):
        ask(bytes(raw))
    assert hardware(bytes(raw), COLLATERAL).outcome is Outcome.FAILED


def ask(raw: bytes) -> None:
    """dcap-qvl alone."""
    parsed = quote.parse(raw, quote.TDX)
    leaf, _, root = map(collateral.certificate, parsed.pck_chain())
    found = collateral.select(collateral.read_all([COLLATERAL]), pck.read(leaf).fmspc)
    verify._ask(parsed, found, root, NOW)


def test_without_dcap_qvl_hardware_is_not_established(monkeypatch: pytest.MonkeyPatch):
    import sys

    verify._library.cache_clear()
    monkeypatch.setitem(sys.modules, "dcap_qvl", None)
    finding = hardware(PLATFORM.tdx(), COLLATERAL)
    verify._library.cache_clear()
    assert finding.outcome is Outcome.NOT_ESTABLISHED
    assert "dcap-qvl" in str(finding.cause)


@pytest.mark.parametrize("raw", [PLATFORM.tdx(), PLATFORM.sgx()], ids=["tdx", "sgx"])
def test_the_tcb_status_is_not_known_before_hardware_is(raw: bytes):
    finding = platform.parse(raw).configuration()
    assert finding.outcome is Outcome.NOT_ESTABLISHED
    assert "TCB status" in str(finding.cause)


def test_the_tcb_status_of_a_failed_hardware_check_is_forgotten():
    evidence = platform.parse(PLATFORM.tdx())
    assert evidence.hardware([COLLATERAL], NOW, ROOTS).outcome is Outcome.VERIFIED
    assert evidence.hardware([COLLATERAL], NOW).outcome is Outcome.FAILED
    assert evidence.configuration().outcome is Outcome.NOT_ESTABLISHED


def judged(floor: dict[str, object], require: dict[str, object], **fields: object) -> Finding:
    evidence = platform.parse(PLATFORM.tdx(**fields))  # type: ignore[arg-type]
    assert evidence.hardware([PLATFORM.collateral(status="OutOfDate")], NOW, ROOTS).outcome is Outcome.VERIFIED
    return evidence.configuration({"tcb_status": ["OutOfDate"], **floor}, require)


def test_a_release_makes_the_demands_stricter_and_never_weaker():
    assert judged({}, {}).outcome is Outcome.VERIFIED
    assert judged({}, {"tcb_status": ["UpToDate"]}).outcome is Outcome.FAILED
    assert judged({"tcb_status": ["UpToDate"]}, {"tcb_status": ["OutOfDate"]}).outcome is Outcome.FAILED
    assert judged({}, {"sept_ve_disable": False}, td_attributes=0).outcome is Outcome.FAILED
    assert judged({"sept_ve_disable": False}, {}, td_attributes=0).outcome is Outcome.VERIFIED
    assert judged({"sept_ve_disable": False}, {"sept_ve_disable": True}, td_attributes=0).outcome is Outcome.FAILED
    both = {"td_attributes": intel.SEPT_VE_DISABLE | intel_cases.MIGRATABLE}
    assert judged({}, {"migratable": True}, **both).outcome is Outcome.FAILED
    assert judged({"migratable": True}, {"migratable": False}, **both).outcome is Outcome.FAILED
    service = intel_cases.SERVICE_TD
    assert judged({}, {"service_td": [service.hex()]}, service_td=service).outcome is Outcome.FAILED
    allowed = {"service_td": [service.hex()]}
    assert judged(allowed, {}, service_td=service).outcome is Outcome.VERIFIED
    assert judged(allowed, {"service_td": []}, service_td=service).outcome is Outcome.FAILED


def test_a_demand_without_a_meaning_here_is_not_established():
    assert judged({}, {"moon_phase": "full"}).outcome is Outcome.NOT_ESTABLISHED
    assert judged({}, {"debug": "maybe"}).outcome is Outcome.NOT_ESTABLISHED
    assert judged({}, {"mrseam": None}).outcome is Outcome.NOT_ESTABLISHED


@pytest.mark.parametrize("name", ["tdx", "sgx"])
@pytest.mark.parametrize(
    "table", [{"debug": True}, {"tcb_status": ["Revoked"]}, {"tcb_status": []}, {"tcb_status": "UpToDate"}, {"x": 1}]
)
def test_a_trust_file_cannot_ask_for_what_makes_no_sense_or_must_never_be(name: str, table: dict[str, object]):
    with pytest.raises(ConfigError):
        platform.check_floor(name, table)


def test_registers_are_those_of_the_statements():
    from teelog.statement import registers

    for name, raw in (("tdx", PLATFORM.tdx()), ("sgx", PLATFORM.sgx())):
        evidence = platform.parse(raw)
        assert evidence.platform == name
        assert set(evidence.registers) == set(registers.PLATFORMS[name].lengths)
        registers.check(name, {key: value.hex() for key, value in evidence.registers.items()})


@pytest.mark.parametrize("kind", [tdx_policy.Policy, sgx_policy.Policy], ids=["tdx", "sgx"])
def test_a_release_can_be_written_with_every_demand_that_is_understood_here(kind: type[tdx_policy.Policy]):
    assert set(kind.__struct_fields__) <= set(Require.__struct_fields__)


def test_binding_and_freshness_read_the_report_data():
    evidence: Evidence = platform.parse(PLATFORM.tdx(report_data=NONCE))
    assert evidence.freshness(Expected(nonce=NONCE)).outcome is Outcome.VERIFIED
    assert evidence.freshness(Expected(nonce=b"other")).outcome is Outcome.FAILED
    assert evidence.binding(Expected(binds=b"key")).outcome is Outcome.FAILED
    assert evidence.binding(Expected()).outcome is Outcome.NOT_ESTABLISHED
    assert evidence.binding(Expected()).check is Check.BINDING


PLATFORM_TDX, AZURE_TDX = PLATFORM.tdx(), PLATFORM.tdx(td_attributes=0)
MUTATED = {
    "tdx-1.0": (PLATFORM.tdx(), COLLATERAL),
    "tdx-1.5": (PLATFORM.tdx(service_td=b""), COLLATERAL),
    "azure": (PLATFORM.tdx(td_attributes=0), COLLATERAL),
    "sgx": (PLATFORM.sgx(), PLATFORM.collateral("SGX")),
}


@pytest.mark.parametrize("name", MUTATED)
def test_A_48_flipped_bits_and_truncations_never_pass(name: str):
    raw, files = MUTATED[name]
    assert hardware(raw, files).outcome is Outcome.VERIFIED
    for bad in mutations(raw, name):
        try:
            finding = hardware(bad, files)
        except (MalformedError, NotEstablished):
            continue
        assert finding.outcome is not Outcome.VERIFIED


@pytest.mark.parametrize("start", range(5))
def test_A_48_flipped_bits_of_the_collateral_never_raise(start: int):
    raw = PLATFORM.tdx(td_attributes=0)
    for bad in mutations(COLLATERAL, start, 200):
        assert hardware(raw, bad).check is Check.HARDWARE


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(json.loads(COLLATERAL))), JSON, st.booleans())
def test_A_48_no_value_of_a_member_of_the_collateral_raises_or_passes(member: str, value: object, nested: bool):
    """nested: JSON inside a text, as Intel's statements are."""
    whole = json.loads(COLLATERAL)
    whole[member] = json.dumps(value) if nested else value
    for raw in (PLATFORM_TDX, AZURE_TDX):
        assert hardware(raw, json.dumps(whole).encode()).outcome is not Outcome.VERIFIED


@pytest.mark.parametrize("member", ["tcb_info", "qe_identity", "root_ca_crl", "tcb_info_issuer_chain"])
def test_A_48_large_collateral_stays_below_64_MiB(member: str):
    whole = json.loads(COLLATERAL)
    level = '{"tcb":{"isvsvn":1,"sgxtcbcomponents":[],"pcesvn":0},"tcbStatus":""},'
    start = '"tcbLevels":['
    room = collateral.MAX_COLLATERAL - len(COLLATERAL) - 2000
    if member in ("tcb_info", "qe_identity"):
        many = level * (room // (len(level) + level.count('"')))
        whole[member] = whole[member].replace(start, start + many)
    else:
        whole[member] = whole[member] * (room // len(whole[member]))
    file = json.dumps(whole).encode()
    assert len(file) > collateral.MAX_COLLATERAL // 2
    tracemalloc.start()
    try:
        assert hardware(AZURE_TDX, file).outcome is not Outcome.VERIFIED
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=2048), st.sampled_from([b"\3\0\2\0\0", b"\4\0\2\0\x81", b"\5\0\2\0\x81"]))
def test_A_48_no_bytes_behind_a_header_raise_anything_else(rest: bytes, start: bytes):
    raw = start.ljust(12, b"\0") + quote.INTEL_QE + bytes(20) + rest
    try:
        finding = hardware(raw, COLLATERAL)
    except (MalformedError, NotEstablished):
        return
    assert finding.outcome is not Outcome.VERIFIED
