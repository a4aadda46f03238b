"""Forged Azure VMs: each yields what its case says, and no mutation of a good one passes."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import ConfigError, MalformedError, NotEstablished
from teelog.evidence import platform
from teelog.evidence.azure import hcl, policy
from teelog.statement import registers, require
from teelog.testing import azure, azure_cases, intel, tpm
from teelog.testing.azure import PARAVISOR, Vm
from teelog.testing.azure_cases import FLOOR, NONCE, SNP, TDX
from teelog.testing.sev_snp import NOW
from teelog.verdict import Check, Outcome
from tests.commands import teelog
from tests.evidence.contract import check_case, mutations

CASES = {case.name: case for case in azure_cases.cases()}
REFUSED = (MalformedError, NotEstablished)


@pytest.mark.parametrize("name", CASES)
def test_each_case_yields_what_it_says(name: str):
    case = CASES[name]
    endorsements, roots = case.vm.endorsements(), case.vm.roots()
    check_case(case, "azure", NONCE, lambda evidence: evidence.hardware(endorsements, NOW, roots))


@pytest.mark.parametrize("vm", [SNP, TDX], ids=lambda vm: vm.tee)
def test_the_built_in_roots_do_not_know_the_fake(vm: Vm):
    evidence = platform.parse(vm.evidence(NONCE))
    assert evidence.hardware(vm.endorsements(), NOW).outcome is not Outcome.VERIFIED


def test_a_certificate_may_come_as_endorsement():
    bare = platform.parse(SNP.evidence(NONCE, members={"vcek": None}))
    assert bare.hardware([SNP.machine().endorsement()], NOW, SNP.roots()).outcome is Outcome.VERIFIED


def test_registers_are_the_guests_pcrs_by_the_names_of_statements():
    evidence = platform.parse(SNP.evidence(quote={"selected": (4, 7, 11)}))
    assert list(evidence.registers) == ["pcr4", "pcr7", "pcr11"]
    registers.check("azure", {name: value.hex() for name, value in evidence.registers.items()})


def test_a_release_narrows_paravisors_and_cannot_wave_them_through():
    evidence = platform.parse(SNP.evidence(NONCE))
    assert evidence.configuration({}, {"paravisor": [PARAVISOR.hex()]}).outcome is Outcome.VERIFIED
    assert evidence.configuration({}, {"paravisor": "any"}).outcome is Outcome.NOT_ESTABLISHED
    assert evidence.configuration({"paravisor": "any"}, {"paravisor": ["00" * 48]}).outcome is Outcome.FAILED
    assert evidence.configuration(FLOOR, {"paravisor": ["00" * 48]}).outcome is Outcome.FAILED


def test_an_unknown_demand_is_not_established_and_one_of_other_hardware_does_not_concern():
    for vm, foreign in ((SNP, {"mrseam": ["00" * 48]}), (TDX, {"host_data": "00" * 32})):
        evidence = platform.parse(vm.evidence(NONCE))
        evidence.hardware(vm.endorsements(), NOW, vm.roots())
        assert evidence.configuration(FLOOR, {"moon": "full"}).outcome is Outcome.NOT_ESTABLISHED
        assert evidence.configuration(FLOOR, {"secure_boot": "yes"}).outcome is Outcome.NOT_ESTABLISHED
        for nonsense in ({"mrseam": "x"}, {"min_tcb": {"bl": 1}}, {"host_data": None}):
            assert evidence.configuration(FLOOR, nonsense).outcome is Outcome.NOT_ESTABLISHED
        assert evidence.configuration(FLOOR, foreign).outcome is Outcome.VERIFIED
        assert evidence.configuration(FLOOR, {"debug": False, "secure_boot": True}).outcome is Outcome.VERIFIED


@pytest.mark.parametrize(
    "table",
    [{"moon": 1}, {"paravisor": []}, {"paravisor": "some"}, {"debug": True}, {"tee": ["sgx"]}, {"min_tcb": 1}],
    ids=str,
)
def test_a_trust_file_that_means_nothing_or_too_much_is_an_error(table: dict[str, object]):
    with pytest.raises(ConfigError):
        platform.check_floor("azure", table)


def test_a_release_can_be_written_with_every_demand_that_is_understood_here():
    demands = {"paravisor": ["00" * 48], "tee": ["tdx"], "secure_boot": True, "console": False}
    assert set(policy.Policy.__struct_fields__) == set(demands)
    require.check_known(demands, "")


def test_a_log_explains_the_registers():
    events = ((0, b"firmware"), (4, b"loader"))
    evidence = platform.parse(SNP.evidence(values=tpm.extended(events)))
    assert isinstance(evidence, platform.Logged)
    assert evidence.replay(tpm.event_log(events)).outcome is Outcome.VERIFIED
    assert evidence.replay(tpm.event_log(events[:1])).outcome is Outcome.FAILED


@pytest.mark.parametrize("vm", [SNP, TDX], ids=lambda vm: vm.tee)
def test_fields_and_facts_say_what_holds(vm: Vm):
    evidence = platform.parse(vm.evidence(NONCE))
    assert evidence.fields()["vm_id"] == azure.VM_ID
    assert any(PARAVISOR.hex() in each and "NOT compared" in each for each in evidence.facts)
    assert evidence.configuration(FLOOR).check is Check.CONFIGURATION


def never_passes(raw: bytes, good: platform.Evidence, vm: Vm) -> None:
    """Unless it says the same: the certificate's PEM may have other line ends, the TDREPORT another MAC."""
    try:
        evidence = platform.parse(raw, "azure")
    except REFUSED:
        return
    found = evidence.hardware(vm.endorsements(), NOW, vm.roots())
    same = (evidence.fields(), evidence.registers) == (good.fields(), good.registers)
    assert found.outcome is not Outcome.VERIFIED or same


@pytest.mark.parametrize("name", ["good-sev-snp", "good-sev-snp-numbers", "good-tdx"])
def test_A_48_flipped_bits_and_truncations_never_pass(name: str):
    case = CASES[name]
    good = platform.parse(case.evidence)
    for bad in mutations(case.evidence, name):
        never_passes(bad, good, case.vm)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100), st.integers(0, 2599))
def test_A_48_arbitrary_bytes_within_a_report_raise_nothing_else(junk: bytes, place: int):
    good = azure.hcl_report(azure.SNP, bytes(1184), azure.runtime_data())
    bad = (good[:place] + junk + good[place + len(junk) :])[:2600]
    try:
        report = hcl.parse(bad)
    except REFUSED:
        return
    assert report.runtime != azure.runtime_data() or bad[1216:] == good[1216:]


@settings(max_examples=100, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=9), lambda x: st.lists(x, max_size=4)))
def test_A_48_whatever_a_member_holds_is_refused(value: object):
    whole = json.loads(SNP.evidence(NONCE))
    for name in ("version", "hcl_report", "tpm_quote"):
        with pytest.raises(REFUSED):
            platform.parse(json.dumps({**whole, name: value if value not in (1, 2) else 9}).encode(), "azure")
    for member in ("keys", "vm-configuration"):
        data = azure.runtime_data(**{member: value})  # type: ignore[arg-type]
        with pytest.raises(REFUSED):
            platform.parse(SNP.evidence(NONCE, runtime=data), "azure")


@pytest.mark.parametrize("item", ["[]", "{}", '""', "1", '{"a":[]}'])
def test_A_48_a_file_of_many_small_things_costs_little_memory(item: str):
    raw = f'{{"hcl_report":[{item}'.encode() + f",{item}".encode() * ((1 << 17) // (len(item) + 1) - 20) + b"]}"
    tracemalloc.start()
    try:
        with pytest.raises(REFUSED):
            platform.parse(raw, "azure")
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


AT = ("--at", "2026-09-22T00:00:00Z", "--historical", "--without", "binding")
ROOTS = (f"Milan={SNP.roots().pins['Milan'].hex()}", f"intel={next(iter(TDX.roots().pins.values())).hex()}")


@pytest.mark.parametrize("vm", [SNP, TDX], ids=lambda vm: vm.tee)
def test_as_a_user_types_it(vm: Vm, tmp_path: Path):
    events = ((0, b"firmware"), (4, b"loader"))
    files = {
        "vm.json": vm.evidence(NONCE, values=tpm.extended(events)),
        "log": tpm.event_log(events),
        "other.log": tpm.event_log(events[:1]),
        "require.json": json.dumps({"paravisor": [PARAVISOR.hex()], "secure_boot": True}).encode(),
        "chain.pem": vm.machine().chain(),
        "collateral.json": intel.Platform().collateral("TDX"),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    shown = json.loads(teelog("evidence", "show", tmp_path / "vm.json", "--json").text)
    assert (shown["platform"], shown["fields"]["hardware"], shown["verified"]) == ("azure", vm.tee, False)
    given = ("--endorsement", tmp_path / "chain.pem") if vm is SNP else ("--collateral", tmp_path / "collateral.json")
    root = ROOTS[vm is TDX]
    words = ["evidence", "verify", tmp_path / "vm.json", *given, "--root", root, "--nonce", NONCE.hex(), *AT]
    assert teelog(*words).code == 3  # nothing says which paravisors are good
    wanted = [*words, "--require", tmp_path / "require.json", "--event-log"]
    ran = teelog(*wanted, tmp_path / "log")
    assert ran.code == 0
    assert "pcr4" in ran.text
    assert teelog(*wanted, tmp_path / "other.log").code == 1
