"""Composite evidence: a machine whose report data commits to its GPUs, over forged SEV-SNP and NVIDIA reports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from teelog.appraisal.inputs import Expect, Part
from teelog.evidence import platform, report_data
from teelog.testing import nvidia, nvidia_cases, sev_snp
from teelog.testing.nvidia import Gpu
from teelog.testing.sev_snp import Machine
from teelog.verdict import Check, Outcome, Overall, Verdict
from tests.appraisal.case import NOW, STREAM, WAIVED, Case, trust
from tests.statement import make

REAL_PARSE = platform.parse

NONCE = nvidia_cases.NONCE
KEY = b"a key"
EXPECT = Expect(STREAM, nonce=NONCE, binds=KEY)
MACHINE = Machine()
GPU, OTHER = Gpu(), Gpu(seed=b"2")
PARTS = (GPU.report(NONCE), OTHER.report(NONCE))
ROOTS = {"sev-snp": sev_snp.roots(), "nvidia": nvidia.roots()}
TRUST = replace(trust(), roots=ROOTS)


@pytest.fixture(autouse=True)
def _real(_fake_tee: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "parse", REAL_PARSE)


def part(report: bytes, gpu: Gpu = GPU) -> Part:
    return Part(report, (gpu.endorsement(), *nvidia.rims()))


GPUS = (part(PARTS[0]), part(PARTS[1], OTHER))


def judged(committed: tuple[bytes, ...] = PARTS, parts: tuple[Part, ...] = GPUS, **changes: Any) -> Verdict:
    """committed: the parts to which the machine's report data commits. parts: those that are given."""
    data = report_data.commitment(NONCE, KEY, committed)
    report = MACHINE.report(report_data=data, measurement=bytes.fromhex(make.MEASUREMENT))
    usual: dict[str, Any] = {"trust": TRUST, "expect": EXPECT, "more": {"parts": parts}, "now": NOW}
    return Case(evidence=report, endorsements=(MACHINE.endorsement(),), **{**usual, **changes}).appraise()


def outcomes(verdict: Verdict) -> dict[Check, Outcome]:
    asked = (Check.HARDWARE, Check.CONFIGURATION, Check.FRESHNESS, Check.BINDING, Check.MEASUREMENT)
    return {check: verdict[check].outcome for check in asked if verdict[check].outcome is not Outcome.VERIFIED}


def test_one_gpu_is_not_two_however_often_it_answers():
    again = GPU.report(NONCE, values=nvidia.measurements({50: b"x" * 48}))  # real signatures differ each time
    for second in (PARTS[0], again):
        verdict = judged((PARTS[0], second), (part(PARTS[0]), part(second)))
        assert verdict[Check.HARDWARE].outcome is Outcome.FAILED
        assert verdict[Check.HARDWARE].cause == "part 2 (nvidia): it is the same device as part 1"


def test_a_machine_that_commits_to_its_gpus_is_verified_with_them():
    verdict = judged()
    assert outcomes(verdict) == {}, verdict
    assert verdict.overall is Overall.VERIFIED_WITH_WAIVERS
    assert verdict.judged is not None
    assert verdict.judged.platform == "sev-snp"
    said = "\n".join(verdict[Check.HARDWARE].details)
    assert "part 1 (nvidia): NVIDIA GPU" in said
    assert "part 2 (nvidia): NVIDIA GPU" in said
    assert "it commits to all 2 parts" in verdict[Check.FRESHNESS].details


@pytest.mark.parametrize(
    ("committed", "given"),
    [
        ((), GPUS),
        (PARTS[:1], GPUS),
        (PARTS, GPUS[:1]),
        (PARTS, GPUS[::-1]),
        ((PARTS[0], PARTS[0]), GPUS),
        (PARTS, ()),
    ],
)
def test_equal_nonces_alone_bind_no_part(committed: tuple[bytes, ...], given: tuple[Part, ...]):
    found = outcomes(judged(committed, given))
    assert found == {Check.FRESHNESS: Outcome.FAILED, Check.BINDING: Outcome.FAILED}


def test_what_a_transport_put_around_a_part_is_not_committed_to():
    wrapped = Part(nvidia_cases.of_sdk(), nvidia.rims())
    assert outcomes(judged(PARTS[:1], (wrapped,))) == {}


def test_a_part_that_answers_another_nonce_fails_freshness():
    old = GPU.report(bytes(32))
    verdict = judged((old,), (part(old),))
    assert outcomes(verdict) == {Check.FRESHNESS: Outcome.FAILED}
    assert str(verdict[Check.FRESHNESS].cause).startswith("part 1 (nvidia): the report answers another request")


def test_a_part_that_is_not_genuine_fails_hardware_and_is_named():
    rogue = Gpu(rogue=True)
    report = rogue.report(NONCE)
    verdict = judged((PARTS[0], report), (GPUS[0], part(report, rogue)))
    assert verdict[Check.HARDWARE].outcome is Outcome.FAILED
    assert str(verdict[Check.HARDWARE].cause).startswith("part 2 (nvidia): ")
    assert verdict[Check.FRESHNESS].outcome is Outcome.NOT_ESTABLISHED


def test_a_part_with_other_measurements_fails_configuration_and_without_golden_ones_it_is_open():
    wrong = GPU.report(NONCE, values=nvidia.measurements({0: b"x" * 48}))
    assert outcomes(judged((wrong,), (part(wrong),))) == {Check.CONFIGURATION: Outcome.FAILED}
    bare = Part(PARTS[0], (GPU.endorsement(),))
    assert outcomes(judged(PARTS[:1], (bare,))) == {Check.CONFIGURATION: Outcome.NOT_ESTABLISHED}


def test_parts_are_held_to_the_trust_files_table_of_their_platform():
    strict = replace(TRUST, floors={"nvidia": {"driver": ["1.2.3"]}})
    assert outcomes(judged(trust=strict)) == {Check.CONFIGURATION: Outcome.FAILED}


def test_a_part_that_is_no_evidence_fails_hardware():
    assert judged((b"x",), (Part(b"x"),))[Check.HARDWARE].outcome is Outcome.FAILED


@pytest.mark.parametrize(
    "changes",
    [
        {"expect": Expect(STREAM, binds=KEY)},
        {"expect": Expect(STREAM, report_data=report_data.commitment(NONCE, KEY, PARTS))},
        {"without": WAIVED | {Check.FRESHNESS}},
        {"without": WAIVED | {Check.FRESHNESS, Check.BINDING}},
        {"parts": GPUS * 9},
        {"expect": replace(EXPECT, parts=PARTS)},
    ],
)
def test_parts_that_nothing_would_bind_are_a_wrong_use(changes: dict[str, Any]):
    with pytest.raises(ValueError, match=r"composite|commits to"):
        judged(**changes)
