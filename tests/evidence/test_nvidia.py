"""Forged reports of NVIDIA GPUs: each yields what its case says, and no mutation of a good one passes."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import ConfigError, MalformedError, NotEstablished, TeelogError
from teelog.evidence import nvidia as module
from teelog.evidence import platform, report_data
from teelog.evidence.nvidia import answers, rim, roots
from teelog.evidence.platform import Expected
from teelog.testing import nvidia, nvidia_cases
from teelog.testing.nvidia import Gpu
from teelog.testing.nvidia_cases import GPU, NONCE
from teelog.testing.sev_snp import NOW
from teelog.verdict import Outcome
from tests.evidence.contract import check_case, mutations

CASES = {case.name: case for case in nvidia_cases.cases()}
ROOTS = nvidia.roots()
PINS = roots.rim(ROOTS)
REFUSED = (MalformedError, NotEstablished)


@pytest.mark.parametrize("name", CASES)
def test_each_case_yields_what_it_says(name: str):
    case = CASES[name]
    refused = NotEstablished if case.outcome == "not established" else MalformedError
    check_case(case, "nvidia", NONCE, lambda evidence: evidence.hardware(case.endorsements, NOW, ROOTS), (refused,))


def test_the_same_report_comes_out_every_time():
    assert Gpu().report(NONCE) == Gpu().report(NONCE)
    assert Gpu(b"2").chain() != Gpu().chain()


def test_what_a_transport_put_around_a_report_is_no_part_of_it():
    report = GPU.report(NONCE)
    for name in ("good", "good-hex", "good-one-zero-behind", "good-of-the-sdk"):
        assert platform.parse(CASES[name].evidence).raw == report


def test_the_built_in_roots_do_not_know_the_fake_and_the_verdict_says_when_it_is_not_the_vendors():
    evidence = platform.parse(GPU.report(NONCE))
    assert evidence.hardware([GPU.endorsement()], NOW).outcome is Outcome.FAILED
    assert any("NOT NVIDIA's" in each for each in evidence.hardware([GPU.endorsement()], NOW, ROOTS).details)


def test_configuration_is_not_established_before_hardware_was_asked_nor_after_it_failed():
    evidence = platform.parse(GPU.report(NONCE))
    assert evidence.configuration().outcome is Outcome.NOT_ESTABLISHED
    assert evidence.hardware(nvidia_cases.usual(), NOW, ROOTS).outcome is Outcome.VERIFIED
    assert evidence.configuration().outcome is Outcome.VERIFIED
    assert evidence.hardware([], NOW, ROOTS).outcome is Outcome.NOT_ESTABLISHED
    assert evidence.configuration().outcome is Outcome.NOT_ESTABLISHED


def test_the_driver_s_golden_rim_of_another_kind_of_gpu_is_none():
    evidence = platform.parse(GPU.report(NONCE))
    # Of the same version, and it names fewer measurements, none of which differs.
    other = nvidia.signed(nvidia.golden(nvidia.DRIVER_VERSION, (0,), product="GB100"))
    evidence.hardware([GPU.endorsement(), other, nvidia.rims()[1]], NOW, ROOTS)
    finding = evidence.configuration()
    assert finding.outcome is Outcome.FAILED
    assert "another kind of GPU" in (finding.cause or "")


def test_a_demand_that_is_not_known_here_is_not_established():
    evidence = platform.parse(GPU.report(NONCE))
    evidence.hardware(nvidia_cases.usual(), NOW, ROOTS)
    assert evidence.configuration({}, {"colour": "red"}).outcome is Outcome.NOT_ESTABLISHED
    assert evidence.configuration({}, {"driver": ["1"]}).outcome is Outcome.FAILED


@pytest.mark.parametrize("table", [{"driver": []}, {"driver": "1"}, {"vbios": ["x"]}, {"golden": False}])
def test_a_trust_file_that_means_nothing_is_an_error(table: dict[str, object]):
    with pytest.raises(ConfigError):
        platform.check_floor("nvidia", table)


def test_binding_and_parts_are_committed_to_by_the_nonce():
    key, nonce = b"a public key, SPKI DER", b"fake challenge"
    expected = Expected(nonce=nonce, binds=key, parts=(b"part",))
    bound = platform.parse(GPU.report(answers.commitment(expected)))
    assert bound.binding(expected).outcome is Outcome.VERIFIED
    assert bound.freshness(expected).outcome is Outcome.VERIFIED
    for other in (
        Expected(nonce=nonce, binds=b"other", parts=(b"part",)),
        Expected(nonce=b"other", binds=key, parts=(b"part",)),
        Expected(nonce=nonce, binds=key),
    ):
        assert bound.binding(other).outcome is Outcome.FAILED
        assert bound.freshness(other).outcome is Outcome.FAILED
    assert bound.binding(Expected(nonce=nonce)).outcome is Outcome.NOT_ESTABLISHED
    assert bound.freshness(Expected()).outcome is Outcome.NOT_ESTABLISHED
    plain = platform.parse(GPU.report(NONCE))
    assert plain.binding(Expected(nonce=NONCE, binds=key)).outcome is Outcome.FAILED
    assert plain.freshness(Expected(report_data=NONCE)).outcome is Outcome.VERIFIED
    assert plain.freshness(Expected(report_data=NONCE + b"\0")).outcome is Outcome.FAILED
    assert len(report_data.commitment(nonce)) == report_data.SIZE


def test_without_the_extra_golden_rims_are_not_established():
    code = (
        "import sys; sys.modules['signxml'] = sys.modules['lxml'] = None\n"
        "from teelog.evidence import platform\n"
        "from teelog.testing import nvidia, nvidia_cases as c; from teelog.testing.sev_snp import NOW\n"
        "evidence = platform.parse(c.GPU.report(c.NONCE))\n"
        "rim = nvidia.golden(nvidia.DRIVER_VERSION, (0,))\n"
        "assert evidence.hardware([c.GPU.endorsement(), rim], NOW, nvidia.roots()).outcome == 'verified'\n"
        "found = evidence.configuration(); print(found.outcome.value, found.cause)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("not established golden RIMs are not read: signxml is not installed")


def test_a_report_without_golden_rims_loads_no_xml():
    code = (
        "import sys; from teelog.evidence import platform\n"
        "from teelog.testing import nvidia, nvidia_cases as c\n"
        "platform.parse(c.GPU.report(c.NONCE)).hardware([c.GPU.endorsement()], 1_790_000_000, nvidia.roots())\n"
        "print([name for name in ('signxml', 'lxml', 'dcap_qvl') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def never_passes(raw: bytes) -> None:
    try:
        evidence = platform.parse(raw, "nvidia")
    except REFUSED:
        return
    # The same bytes in another wrapping are the same report.
    found = evidence.hardware([GPU.endorsement()], NOW, ROOTS).outcome
    assert found is Outcome.FAILED or evidence.raw == GPU.report(NONCE)


@pytest.mark.parametrize("name", ["good", "good-of-the-sdk"])
def test_A_48_flipped_bits_and_truncations_never_pass(name: str):
    for bad in mutations(CASES[name].evidence, name):
        never_passes(bad)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 4200))
def test_A_48_arbitrary_bytes_within_a_report_never_pass(junk: bytes, place: int):
    good = CASES["good"].evidence
    never_passes(good[:place] + junk + good[place + max(len(junk), 1) :])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_A_48_any_bytes_are_a_report_or_are_refused(junk: bytes):
    for raw in (junk, b"\x11\xe0\x01\xff" + junk, b"11e0" + junk, b"[" + junk, junk + b'"evidence"'):
        module.looks_like(raw)
        with pytest.raises(REFUSED):
            module.parse(raw)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 4000))
def test_A_48_arbitrary_bytes_within_a_golden_rim_change_nothing_or_are_refused(junk: bytes, place: int):
    good, _ = nvidia.rims()
    try:
        found = rim.verify(good[:place] + junk + good[place + max(len(junk), 1) :], NOW, PINS)
    except TeelogError:
        return
    assert found == rim.verify(good, NOW, PINS)


def test_A_48_deep_or_wide_xml_costs_no_memory():
    tracemalloc.start()
    for raw in (b"<a>" * 30_000, b"<a " + b"b='' " * 20_000 + b"/>", b"<a>" + b"<b/>" * 30_000 + b"</a>"):
        with pytest.raises(TeelogError):
            rim.verify(raw, NOW, PINS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 23


def test_facts_and_fields_say_what_holds():
    evidence = platform.parse(GPU.report(NONCE))
    assert f"driver: {nvidia.DRIVER_VERSION}" in evidence.facts
    assert evidence.fields()["vbios"] == nvidia.VBIOS_VERSION
    assert len(evidence.registers) == nvidia.BLOCKS
    assert evidence.registers["measurement3"] == nvidia.measurements()[3]
