"""Every real quote of TDX and SGX of the shared vectors yields what expected.json states, and no mutation passes."""

from __future__ import annotations

import json

import pytest

from teelog.errors import MalformedError, NotEstablished, VerificationError
from teelog.evidence import platform
from teelog.evidence.dcap import chain, collateral, pck, verify
from teelog.evidence.dcap.evidence import Quoted
from teelog.evidence.platform import Expected
from teelog.evidence.sgx import Sgx
from teelog.evidence.tdx import Tdx
from teelog.verdict import Outcome
from tests.evidence import intel_real
from tests.evidence.contract import mutations
from tests.evidence.real import seconds
from tests.vectors import vectors


def parsed(name: str) -> Quoted:
    evidence = platform.parse(intel_real.load(name).raw)
    assert isinstance(evidence, Quoted)
    return evidence


def test_every_stated_case_is_tested():
    assert set(intel_real.stated()) == {*intel_real.ALL, intel_real.EVENT_LOG}


@pytest.mark.parametrize("name", intel_real.ALL)
def test_fields_are_as_stated(name: str):
    evidence, expect = parsed(name), intel_real.load(name).expect
    assert evidence.answer.hex() == expect["report_data"]
    leaf = collateral.certificate(evidence.quote.pck_chain()[0])
    assert pck.read(leaf).fmspc.hex().upper() == intel_real.load(name).stated["fmspc"]
    assert evidence.quote.header.version == intel_real.load(name).stated["quote_version"]
    if isinstance(evidence, Sgx):
        own = evidence.report
        assert own.mrenclave.hex() == expect["mrenclave"]
        assert own.mrsigner.hex() == expect["mrsigner"]
        assert own.attributes.hex() == expect["attributes"]
        assert own.cpu_svn.hex() == expect["cpusvn"]
        assert own.debug == expect["debug"]
        return
    assert isinstance(evidence, Tdx)
    report = evidence.report
    assert [each.hex() for each in report.rtmr] == expect["rtmr"]
    for field in ("mrtd", "mrseam", "mrsignerseam", "tee_tcb_svn", "mrconfigid", "mrowner", "mrownerconfig"):
        assert getattr(report, field).hex() == expect[field], field
    flags = report.attribute_flags()
    assert {each: flags[each] for each in ("debug", "sept_ve_disable", "migratable")} == {
        each: expect[each] for each in ("debug", "sept_ve_disable", "migratable")
    }
    assert report.td_attributes.to_bytes(8, "little").hex() == expect["td_attributes"]
    assert report.xfam.to_bytes(8, "little").hex() == expect["xfam"]
    if report.mrservicetd is not None and report.tee_tcb_svn_2 is not None:
        assert report.mrservicetd.hex() == expect["mrservicetd"]
        assert report.tee_tcb_svn_2.hex() == expect["tee_tcb_svn2"]


@pytest.mark.parametrize("name", intel_real.UP_TO_DATE)
def test_genuine_quote_passes_all_checks(name: str):
    case, evidence = intel_real.load(name), parsed(name)
    passed = 0
    for each in case.withs():
        if "CertNotValidYet" in each.said:
            finding = evidence.hardware([each.collateral], each.now)
            assert (finding.outcome, "not valid yet" in str(finding.cause)) == (Outcome.FAILED, True)
            continue
        assert each.said == "OK UpToDate []"
        hardware = evidence.hardware([each.collateral], each.now)
        assert hardware.outcome is Outcome.VERIFIED
        assert "TCB status: UpToDate" in hardware.details
        assert not any("NOT Intel's" in line for line in hardware.details)
        assert evidence.configuration().outcome is Outcome.VERIFIED
        expected = Expected(report_data=bytes.fromhex(case.expect["report_data"]))
        assert evidence.freshness(expected).outcome is Outcome.VERIFIED
        passed += 1
    assert passed


def test_out_of_date_platform_is_genuine_and_fails_the_default_floor():
    evidence = parsed(intel_real.OUT_OF_DATE)
    for each in intel_real.load(intel_real.OUT_OF_DATE).withs():
        assert each.said == "OK OutOfDate []"
        assert evidence.hardware([each.collateral], each.now).outcome is Outcome.VERIFIED
        finding = evidence.configuration()
        assert (finding.outcome, finding.actual) == (Outcome.FAILED, "OutOfDate")
        assert evidence.configuration({"tcb_status": ["UpToDate", "OutOfDate"]}).outcome is Outcome.VERIFIED


@pytest.mark.parametrize("name", [intel_real.DEBUG_TD, intel_real.DEBUG_ENCLAVE])
def test_A_50_debug_is_a_failure_of_configuration_though_the_hardware_is_genuine(name: str):
    evidence = parsed(name)
    for each in intel_real.load(name).withs():
        assert each.said == "ERR Verification failed: Debug mode is enabled"
        hardware = evidence.hardware([each.collateral], each.now)
        assert hardware.outcome is Outcome.VERIFIED
        assert any("Debug mode is enabled" in line for line in hardware.details)
        finding = evidence.configuration()
        assert finding.outcome is Outcome.FAILED
        assert "debugged" in str(finding.cause)


def test_azure_quote_is_genuine_by_the_own_verifier_and_passes_where_the_trust_file_allows_it():
    evidence = parsed(intel_real.AZURE)
    for each in intel_real.load(intel_real.AZURE).withs():
        assert each.said == "ERR Verification failed: SEPT_VE_DISABLE is not enabled"
        hardware = evidence.hardware([each.collateral], each.now)
        assert hardware.outcome is Outcome.VERIFIED
        assert "TCB status: OutOfDate" in hardware.details
        assert "SEPT_VE_DISABLE" in str(evidence.configuration().cause)
        allowed = {"sept_ve_disable": False, "tcb_status": ["OutOfDate"]}
        assert evidence.configuration({"sept_ve_disable": False}).outcome is Outcome.FAILED
        assert evidence.configuration(allowed).outcome is Outcome.VERIFIED


@pytest.mark.parametrize("name", intel_real.NO_LEVEL)
def test_platform_below_every_tcb_level_fails(name: str):
    evidence = parsed(name)
    for each in intel_real.load(name).withs():
        assert each.said.startswith("ERR Verification failed: ")
        finding = evidence.hardware([each.collateral], each.now)
        assert finding.outcome is Outcome.FAILED
        said = (
            "not valid yet" if "CertNotValidYet" in each.said else each.said.removeprefix("ERR Verification failed: ")
        )
        assert said in str(finding.cause)


def test_bytes_that_are_not_zeros_behind_a_quote_are_refused():
    raw = vectors(f"evidence/{intel_real.NO_LEVEL[-1]}").read_bytes()
    assert intel_real.BYTES_BEHIND in raw
    with pytest.raises(MalformedError, match="not zeros"):
        platform.parse(raw)


def test_enclave_has_the_status_and_advisories_that_intels_own_library_names():
    evidence = parsed(intel_real.ENCLAVE)
    (each,) = intel_real.load(intel_real.ENCLAVE).withs()
    hardware = evidence.hardware([each.collateral], each.now)
    assert hardware.outcome is Outcome.VERIFIED
    assert "TCB status: ConfigurationAndSWHardeningNeeded" in hardware.details
    assert "advisories that apply: INTEL-SA-00289, INTEL-SA-00615" in hardware.details
    finding = evidence.configuration()
    assert finding.outcome is Outcome.FAILED
    assert finding.actual == "ConfigurationAndSWHardeningNeeded INTEL-SA-00289 INTEL-SA-00615"
    assert evidence.configuration({"tcb_status": ["ConfigurationAndSWHardeningNeeded"]}).outcome is Outcome.VERIFIED


@pytest.mark.parametrize("when", ["2025-07-20T00:00:00Z", "2026-11-01T00:00:00Z", "2025-06-18T00:00:00Z"])
def test_quote_fails_outside_of_its_collaterals_time(when: str):
    name = intel_real.UP_TO_DATE[0]
    (each,) = intel_real.load(name).withs()
    finding = parsed(name).hardware([each.collateral], seconds(when))
    assert finding.outcome is Outcome.FAILED


def test_collateral_of_another_kind_of_platform_fails():
    others = {name: intel_real.load(name).first().collateral for name in intel_real.UP_TO_DATE}
    name = intel_real.DEBUG_TD
    for other in others.values():
        finding = parsed(name).hardware([other], intel_real.load(name).first().now)
        assert finding.outcome is Outcome.FAILED
        assert "another kind of platform" in str(finding.cause)


@pytest.mark.parametrize("name", intel_real.GENUINE)
def test_dcap_qvl_and_the_own_verifier_find_the_same_status(name: str):
    evidence = parsed(name)
    for each in intel_real.load(name).withs():
        if "CertNotValidYet" in each.said:
            continue
        leaf, issuer, root = map(collateral.certificate, evidence.quote.pck_chain())
        found = pck.read(leaf)
        given = collateral.select(collateral.read_all([each.collateral]), found.fmspc)
        own = chain.verify(evidence.quote, found, issuer, root, given, each.now)
        if each.said.startswith("OK "):
            assert verify._ask(evidence.quote, given, root, each.now) == own
            assert each.said == f"OK {own[0]} {list(own[1])}"


@pytest.mark.parametrize("name", intel_real.NO_LEVEL)
def test_the_own_verifier_finds_no_level_either(name: str):
    evidence = parsed(name)
    each = intel_real.load(name).first()
    leaf, issuer, root = map(collateral.certificate, evidence.quote.pck_chain())
    found = pck.read(leaf)
    given = collateral.select(collateral.read_all([each.collateral]), found.fmspc)
    with pytest.raises(VerificationError, match="No matching TCB level"):
        chain.verify(evidence.quote, found, issuer, root, given, each.now)


@pytest.mark.parametrize("kind", ["tdx", "sgx"])
def test_A_49_look_alike_root_fails_the_pin(kind: str):
    """Intel's sample data: root, collateral and quote by keys of the same names."""
    folder = vectors(f"evidence/{kind}/intel-qvl-sample")
    tcb_info = json.loads((folder / "tcbInfo.json").read_bytes())
    identity = json.loads((folder / "qeIdentity.json").read_bytes())
    signers = (folder / "tcbSignChain.pem").read_text()
    made = {
        "pck_crl_issuer_chain": (folder / "pckSignChain.pem").read_text(),
        "root_ca_crl": (folder / "rootCaCrl.der").read_bytes().hex(),
        "pck_crl": (folder / "intermediateCaCrl.der").read_bytes().hex(),
        "tcb_info_issuer_chain": signers,
        "tcb_info": json.dumps(tcb_info["tcbInfo"], separators=(",", ":")),
        "tcb_info_signature": tcb_info["signature"],
        "qe_identity_issuer_chain": signers,
        "qe_identity": json.dumps(identity["enclaveIdentity"], separators=(",", ":")),
        "qe_identity_signature": identity["signature"],
    }
    evidence = platform.parse((folder / "quote.dat").read_bytes())
    assert evidence.platform == kind
    finding = evidence.hardware([json.dumps(made).encode()], seconds("2024-04-01T00:00:00Z"))
    assert finding.outcome is Outcome.FAILED
    assert "pinned root" in str(finding.cause)
    # With a genuine platform's quote, too.
    name = intel_real.UP_TO_DATE[0] if kind == "tdx" else intel_real.ENCLAVE
    finding = parsed(name).hardware([json.dumps(made).encode()], intel_real.load(name).first().now)
    assert finding.outcome is Outcome.FAILED


def test_ccel_replays_to_the_rtmrs():
    stated = intel_real.stated()[intel_real.EVENT_LOG]
    evidence = parsed(stated["quote"])
    assert isinstance(evidence, Tdx)
    log = vectors(f"evidence/{intel_real.EVENT_LOG}").read_bytes()
    finding = evidence.replay(log)
    assert finding.outcome is Outcome.VERIFIED
    assert finding.details == ("the event log gives rtmr0, rtmr1, rtmr2, event by event",)
    assert stated["expect"] == {"rtmr0": True, "rtmr1": True, "rtmr2": True}
    other = parsed(intel_real.UP_TO_DATE[0])
    assert isinstance(other, Tdx)
    assert other.replay(log).outcome is Outcome.FAILED


@pytest.mark.parametrize("name", intel_real.GENUINE)
def test_A_48_flipped_bits_and_truncations_never_pass(name: str):
    """1,000 mutations: refused or failed, and never an error that is not ours."""
    case = intel_real.load(name)
    each = case.first()
    exact = platform.parse(case.raw).raw
    for bad in mutations(exact, name):
        try:
            evidence = platform.parse(bad)
        except (MalformedError, NotEstablished):
            continue
        assert evidence.hardware([each.collateral], each.now).outcome is not Outcome.VERIFIED
