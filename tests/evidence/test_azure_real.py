"""Every real piece of evidence of an Azure VM yields what expected.json states, and its mutations never pass."""

from __future__ import annotations

import json
from typing import Any

import pytest

from teelog.errors import MalformedError, NotEstablished
from teelog.evidence import platform
from teelog.evidence.azure import Azure, hcl
from teelog.evidence.platform import Expected, Roots
from teelog.verdict import Outcome
from tests.evidence.contract import mutations
from tests.evidence.real import seconds
from tests.vectors import vectors

STATED = {
    "derived/snp/az-evidence-genoa.tpmquote.msg": "az-snp-vtpm/trustee/evidence-genoa.json",
    "derived/snp/az-evidence-v1.tpmquote.msg": "az-snp-vtpm/trustee/evidence-v1.json",
}
"""The stated cases, which lie in pieces, and the file that each is made of."""
SNP = (*STATED.values(), "az-snp-vtpm/trustee/evidence-v0.json", "az-snp-vtpm/trustee/evidence-v2.json")
TDX = ("az-tdx-vtpm/trustee/evidence-v0.json", "az-tdx-vtpm/trustee/evidence-v1.json")
CHALLENGED = (SNP[1], SNP[2], *TDX)
COLLATERAL = "derived/collateral/tdx-00806F05-2025-06.json"
NOW = seconds("2025-06-25T12:00:00Z")
GENOA_AT = seconds("2025-10-27T12:00:00Z")
MUTATIONS = 1000
REFUSED = (MalformedError, NotEstablished)


def read(name: str) -> bytes:
    return vectors(f"evidence/{name}").read_bytes()


def stated() -> dict[str, dict[str, Any]]:
    entries = json.loads(read("expected.json"))
    return {entry["evidence"]: entry for entry in entries if entry["platform"] == "azure-vtpm"}


def load(name: str) -> tuple[Azure, list[bytes]]:
    evidence = platform.parse(read(name))
    assert isinstance(evidence, Azure)
    return evidence, [read(COLLATERAL)] if name in TDX else []


def test_every_stated_case_is_tested():
    assert set(stated()) == set(STATED)


@pytest.mark.parametrize("name", STATED)
def test_the_stated_case_holds_quote_registers_and_runtime_data(name: str):
    entry = stated()[name]
    assert entry["expect"] == {"quote_signature": True, "pcr_digest": True, "runtime_data_bound": True}
    evidence, _ = load(STATED[name])
    quoted, report = evidence.parsed.quoted, evidence.parsed.report
    # The pieces are those of the file.
    assert (quoted.quote.raw, quoted.signature.value) == (read(name), read(entry["signature"]))
    assert (report.runtime, report.snp) == (read(entry["runtime_data"]), read(entry["report"]))
    assert [value.hex() for value in quoted.values] == json.loads(read(entry["pcrs"]))
    assert evidence.hardware([], GENOA_AT).outcome is Outcome.VERIFIED
    assert list(evidence.registers) == [f"pcr{number}" for number in range(24)]


@pytest.mark.parametrize("name", [*SNP, *TDX])
def test_genuine_machine_chains_to_its_vendor(name: str):
    evidence, endorsements = load(name)
    finding = evidence.hardware(endorsements, GENOA_AT if name in SNP else NOW)
    assert finding.outcome is Outcome.VERIFIED
    assert not any(" NOT " in each for each in finding.details)
    assert evidence.hardware(endorsements, NOW, Roots({"other": bytes(32)})).outcome is Outcome.FAILED


@pytest.mark.parametrize("name", SNP)
def test_genuine_machine_passes_configuration_once_its_paravisor_is_named(name: str):
    evidence, _ = load(name)
    assert evidence.configuration().outcome is Outcome.NOT_ESTABLISHED
    floor = {"paravisor": [evidence.paravisor.hex()], "secure_boot": True}
    assert evidence.configuration(floor).outcome is Outcome.VERIFIED
    assert evidence.configuration({**floor, "console": False}).outcome is Outcome.FAILED


@pytest.mark.parametrize("name", TDX)
def test_genuine_td_passes_but_for_a_platform_that_is_out_of_date(name: str):
    evidence, endorsements = load(name)
    assert evidence.hardware(endorsements, NOW).outcome is Outcome.VERIFIED
    finding = evidence.configuration({"paravisor": "any"})
    assert (finding.outcome, finding.cause) == (Outcome.FAILED, "the platform's TCB status is not accepted")
    accepted = {"paravisor": "any", "tcb_status": ["OutOfDate"]}
    assert evidence.configuration(accepted).outcome is Outcome.VERIFIED
    assert evidence.configuration({**accepted, "sept_ve_disable": True}).outcome is Outcome.FAILED


@pytest.mark.parametrize("name", CHALLENGED)
def test_freshness_is_the_quotes_extra_data(name: str):
    evidence, _ = load(name)
    assert evidence.freshness(Expected(nonce=b"challenge")).outcome is Outcome.VERIFIED
    assert evidence.freshness(Expected(nonce=b"challenge\0")).outcome is Outcome.FAILED


def test_td_quote_needs_collateral_of_its_platform():
    evidence, _ = load(TDX[0])
    assert evidence.hardware([], NOW).outcome is Outcome.NOT_ESTABLISHED


def test_parts_of_two_machines_never_pass():
    one, other = (json.loads(read(name)) for name in (SNP[1], SNP[3]))
    for member in ("hcl_report", "tpm_quote", "vcek"):
        mixed = platform.parse(json.dumps({**one, member: other[member]}).encode())
        assert mixed.hardware([], GENOA_AT).outcome is Outcome.FAILED
    part = {**one["tpm_quote"], "pcrs": other["tpm_quote"]["pcrs"]}
    mixed = platform.parse(json.dumps({**one, "tpm_quote": part}).encode())
    assert mixed.hardware([], GENOA_AT).outcome is Outcome.FAILED


@pytest.mark.parametrize(("name", "signed"), [("hcl-report-snp.bin", True), ("hcl-report-tdx.bin", False)])
def test_bare_reports_of_the_paravisor_commit_to_their_runtime_data(name: str, signed: bool):
    report = hcl.parse(read(f"az-snp-vtpm/azure-cvm-tooling/{name}"))
    assert report.report_data == (report.snp[0x50:0x90] if report.snp else report.td and report.td.report_data)
    assert report.vm.secure_boot is signed


@pytest.mark.parametrize("name", [*SNP, *TDX])
def test_A_48_flipped_bits_and_truncations_never_pass(name: str):
    raw = read(name)
    good, endorsements = load(name)
    for bad in mutations(raw, name, MUTATIONS):
        try:
            evidence = platform.parse(bad, "azure")
        except REFUSED:
            continue
        # Line ends of PEM, and the TDREPORT's MAC that only its machine can check, are no part of what is said.
        same = (evidence.fields(), evidence.registers) == (good.fields(), good.registers)
        found = evidence.hardware(endorsements, NOW if name in TDX else GENOA_AT)
        assert found.outcome is not Outcome.VERIFIED or same
