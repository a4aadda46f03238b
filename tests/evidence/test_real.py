"""Every real SEV-SNP report of the shared vectors yields what expected.json states, and its mutations never pass."""

from __future__ import annotations

import pytest

from teelog.errors import MalformedError, TeelogError, UntrustedKey, VerificationError
from teelog.evidence import platform
from teelog.evidence.platform import Expected
from teelog.evidence.sev_snp import chain, report, roots
from teelog.verdict import Outcome
from tests.evidence import real
from tests.evidence.contract import mutations

MUTATIONS = 1000


def test_every_stated_case_is_tested():
    assert set(real.stated()) == set(real.ALL)


@pytest.mark.parametrize("name", real.ALL)
def test_fields_are_as_stated(name: str):
    case = real.load(name)
    expect = case.expect
    if "version" not in expect:
        return
    parsed = report.parse(case.raw)
    for field in ("version", "debug", "migrate_ma", "vmpl", "guest_svn"):
        assert getattr(parsed, field) == expect[field], field
    for field in ("measurement", "report_data", "host_data"):
        assert getattr(parsed, field).hex() == expect[field], field
    for field in ("reported_tcb", "current_tcb", "committed_tcb", "launch_tcb"):
        assert getattr(parsed, field).parts() == expect[field], field
    assert f"{parsed.guest_policy:#x}" == expect["policy"]
    assert f"{parsed.platform_info:#x}" == expect["platform_info"]
    assert parsed.policy_flags()["smt"] == expect["smt"]
    vectors = [parsed.launch_mit_vector, parsed.current_mit_vector]
    assert [vector.to_bytes(8, "little").hex() for vector in vectors] == expect["mit_vectors"]
    assert parsed.product in (case.stated["product"], None)
    assert (parsed.signing_key == report.VLEK) == (case.stated["signer"] == "VLEK")


@pytest.mark.parametrize("name", real.GENUINE)
def test_genuine_report_chains_to_amd(name: str):
    case = real.load(name)
    found = chain.verify(report.parse(case.raw), case.endorsements, case.now, roots.shipped())
    assert found.product == case.stated["product"]
    assert found.endorsement.is_vlek == (case.stated["signer"] == "VLEK")
    assert found.masked == (case.expect["chip_id_matches_cert"] is None)
    window = [real.seconds(each) for each in case.stated["cert_window"]]
    leaf = found.endorsement.certificate
    assert [leaf.not_before, leaf.not_after] == window


@pytest.mark.parametrize("name", real.PASSING)
def test_genuine_report_passes_all_checks(name: str):
    case = real.load(name)
    evidence = platform.parse(case.raw)
    expected = Expected(report_data=bytes.fromhex(case.expect["report_data"]))
    hardware = evidence.hardware(case.endorsements, case.now)
    assert hardware.outcome is Outcome.VERIFIED
    assert not any("NOT AMD's" in each for each in hardware.details)
    assert evidence.configuration().outcome is Outcome.VERIFIED
    assert evidence.freshness(expected).outcome is Outcome.VERIFIED
    assert evidence.registers == {"measurement": bytes.fromhex(case.expect["measurement"])}


@pytest.mark.parametrize("name", real.GENUINE)
@pytest.mark.parametrize("when", ["before", "after"])
def test_A_49_genuine_report_fails_outside_of_its_certificates_validity(name: str, when: str):
    case = real.load(name)
    first, last = (real.seconds(each) for each in case.stated["cert_window"])
    now = first - 1 if when == "before" else last + 1
    finding = platform.parse(case.raw).hardware(case.endorsements, now)
    assert finding.outcome is Outcome.FAILED
    assert "valid yet" in str(finding.cause) if when == "before" else "expired" in str(finding.cause)


def test_A_50_debuggable_guest_fails_though_its_hardware_is_genuine():
    case = real.load(real.DEBUG)
    evidence = platform.parse(case.raw)
    assert evidence.hardware(case.endorsements, case.now).outcome is Outcome.VERIFIED
    assert evidence.configuration().outcome is Outcome.FAILED


def test_A_49_rogue_root_fails_on_the_pin_alone():
    case = real.load(real.ROGUE_ROOT)
    parsed = report.parse(case.raw)
    with pytest.raises(UntrustedKey, match="pinned root of Milan"):
        chain.verify(parsed, case.endorsements, case.now, roots.shipped())


def test_report_of_another_chip_fails():
    case = real.load(real.WRONG_CHIP)
    with pytest.raises(VerificationError, match="another chip"):
        chain.verify(report.parse(case.raw), case.endorsements, case.now, roots.shipped())


@pytest.mark.parametrize("name", ["test-vcek-invalid-legacy.der", "test-vcek-invalid-new.der"])
def test_certificate_with_an_invalid_signature_fails(name: str):
    case = real.load("snp/trustee/test-report.bin")
    leaf = real.vectors(f"evidence/snp/trustee/{name}").read_bytes()
    finding = platform.parse(case.raw).hardware([leaf], case.now)
    assert finding.outcome is Outcome.FAILED


@pytest.mark.parametrize("name", real.GENUINE)
def test_A_48_flipped_bits_and_truncations_never_pass(name: str):
    """1,000 mutations: refused or failed, and never an error that is not ours."""
    case = real.load(name)
    assert platform.parse(case.raw).hardware(case.endorsements, case.now).outcome is Outcome.VERIFIED
    for bad in mutations(case.raw, name, MUTATIONS):
        try:
            evidence = platform.parse(bad)
        except MalformedError:
            continue
        assert evidence.hardware(case.endorsements, case.now).outcome is Outcome.FAILED


@pytest.mark.parametrize("name", ["snp/trustee/test-report.bin", "snp/openanolis-trustee/turin-report.bin"])
def test_A_49_mutated_certificates_never_pass(name: str):
    case = real.load(name)
    evidence = platform.parse(case.raw)
    for bad in mutations(case.endorsements[0], name, 400):
        try:
            finding = evidence.hardware([bad], case.now)
        except TeelogError as error:
            pytest.fail(f"raised {error!r} in place of a finding")
        assert finding.outcome is not Outcome.VERIFIED
