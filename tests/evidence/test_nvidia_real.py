"""Every real report and golden RIM of NVIDIA in the shared vectors yields what is stated; mutations never pass."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

import pytest

from teelog.errors import MalformedError, NotEstablished, SignatureError, TeelogError, UntrustedKey, VerificationError
from teelog.evidence import certificates, nvidia, platform
from teelog.evidence.nvidia import chain, policy, rim, roots
from teelog.evidence.platform import Expected, Roots
from teelog.verdict import Outcome
from tests.evidence.real import seconds
from tests.vectors import vectors

GENUINE = (
    "nvidia/trustee/hopperAttestationReport.txt",
    "nvidia/trustee/hopper_coco_report1.txt",
    "nvidia/attestation-sdk/hopperAttestationReport.txt",
    "nvidia/attestation-sdk/sample_attestation_data_gpu_hopperAttestationReport.txt",
    "nvidia/attestation-sdk/sample_attestation_data_gpu_hopperAttestationReportExpired.txt",
    "nvidia/go-nvattest-tools/test_raw_gpu_attestation_report.dat",
)
FORGED = "nvidia/attestation-sdk/sample_attestation_data_gpu_hopperAttestationReportInvalidSignature.txt"
ALL = (*GENUINE, FORGED)
SDK = ("evidence-hopper_evidence.json", "evidence-hopper_evidence_cert_hold.json", "evidence_hopper_590_12.json")
MUTATIONS = 1000

THEN = seconds("2025-06-01T00:00:00Z")  # when the signers of the golden RIMs of driver 550.90.07 were valid
NOW = seconds("2026-11-01T00:00:00Z")
PINS = roots.rim(roots.shipped())

DRIVER = "nvidia/go-nvattest-tools/NV_GPU_DRIVER_GH100_550.90.07.xml"
VBIOS = "nvidia/go-nvattest-tools/NV_GPU_VBIOS_1010_0200_882_96009F0001.xml"


@dataclass(frozen=True, slots=True)
class Real:
    raw: bytes
    chain: bytes
    expect: dict[str, Any]


def stated() -> dict[str, dict[str, Any]]:
    entries = json.loads(vectors("evidence/expected.json").read_bytes())
    return {entry["evidence"]: entry for entry in entries if entry["platform"] == "nvidia-gpu"}


def read(name: str) -> bytes:
    return vectors(f"evidence/{name}").read_bytes()


def load(name: str) -> Real:
    entry = stated()[name]
    return Real(read(name), read(entry["chain"]), entry["expect"])


def compared(name: str, *rims: bytes, now: int = THEN) -> nvidia.Nvidia:
    case = load(name)
    evidence = nvidia.parse(case.raw)
    assert evidence.hardware([case.chain, *rims], now).outcome is Outcome.VERIFIED
    return evidence


def test_every_stated_case_is_tested():
    assert set(stated()) == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_fields_are_as_stated(name: str):
    case = load(name)
    evidence = platform.parse(case.raw)
    assert isinstance(evidence, nvidia.Nvidia)
    report = evidence.report
    assert report.nonce.hex() == case.expect["request_nonce"]
    assert len(report.measurements) == case.expect["blocks"]
    assert report.driver == case.expect["driver"]
    assert report.opaque[6].hex() == case.expect["vbios_raw"]


@pytest.mark.parametrize("name", ALL)
def test_chain_and_signature_are_as_stated(name: str):
    case = load(name)
    finding = platform.parse(case.raw).hardware([case.chain], NOW)
    leaf_first = [certificates.load_cert(der) for der in certificates.load_pem(case.chain)]
    assert case.expect["chain"] is True
    chain.check(leaf_first, NOW, roots.device(roots.shipped()))
    if case.expect["signature"]:
        assert finding.outcome is Outcome.VERIFIED
        assert not any("NOT NVIDIA's" in each for each in finding.details)
    else:
        assert finding.outcome is Outcome.FAILED
        assert "not signed by the key" in str(finding.cause)


@pytest.mark.parametrize("name", GENUINE)
def test_nonce_is_answered_exactly(name: str):
    case = load(name)
    nonce = bytes.fromhex(case.expect["request_nonce"])
    evidence = platform.parse(case.raw)
    assert evidence.freshness(Expected(nonce=nonce)).outcome is Outcome.VERIFIED
    assert evidence.freshness(Expected(nonce=nonce[:-1])).outcome is Outcome.FAILED
    assert evidence.freshness(Expected(nonce=bytes(32))).outcome is Outcome.FAILED


@pytest.mark.parametrize("name", GENUINE)
def test_without_golden_rims_configuration_is_not_established(name: str):
    finding = compared(name).configuration()
    assert finding.outcome is Outcome.NOT_ESTABLISHED
    assert "golden RIM" in str(finding.cause)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("hopper_cert_chain_case2.txt", "end with a GPU's certificate"),
        ("hopper_cert_chain_case3.txt", "another issuer"),
        ("hopper_cert_chain_case4.txt", "end with a GPU's certificate"),
    ],
)
def test_a_chain_that_lacks_a_certificate_fails(name: str, cause: str):
    evidence = platform.parse(load(GENUINE[0]).raw)
    finding = evidence.hardware([read(f"nvidia/trustee/{name}")], NOW)
    assert finding.outcome is Outcome.FAILED
    assert cause in str(finding.cause)


def test_another_gpus_chain_fails():
    finding = platform.parse(load(GENUINE[0]).raw).hardware([load(GENUINE[1]).chain], NOW)
    assert finding.outcome is Outcome.FAILED


def test_a_root_that_is_pinned_for_golden_rims_only_makes_no_gpu():
    case = load(GENUINE[0])
    pin = roots.PINS["device"]
    evidence = platform.parse(case.raw)
    assert evidence.hardware([case.chain], NOW, Roots({"rim": pin})).outcome is Outcome.FAILED
    assert evidence.hardware([case.chain], NOW, Roots({"device": pin})).outcome is Outcome.VERIFIED
    assert evidence.hardware([case.chain], NOW, Roots({"device": roots.PINS["rim"]})).outcome is Outcome.FAILED


@pytest.mark.parametrize("name", SDK)
def test_the_files_of_nvidias_sdk_bring_their_chain_along(name: str):
    evidence = platform.parse(read(f"nvidia/attestation-sdk/{name}"))
    assert evidence.platform == "nvidia"
    assert evidence.hardware([], NOW).outcome is Outcome.VERIFIED


def test_all_33_golden_values_of_driver_and_vbios_are_equal():
    evidence = compared(GENUINE[0], read(DRIVER), read(VBIOS))
    assert evidence.configuration().outcome is Outcome.VERIFIED
    found = evidence.golden
    assert isinstance(found, policy.Golden)
    assert (len(found.compared), found.skipped) == (33, ())
    allowed = {"driver": ["550.90.07"], "vbios": ["96.00.9F.00.01"]}
    assert evidence.configuration(allowed).outcome is Outcome.VERIFIED
    assert evidence.configuration({"driver": ["580.95.05"]}).outcome is Outcome.FAILED


@pytest.mark.parametrize("given", [(DRIVER,), (VBIOS,)])
def test_one_golden_rim_of_two_is_not_established(given: tuple[str, ...]):
    finding = compared(GENUINE[0], *map(read, given)).configuration()
    assert finding.outcome is Outcome.NOT_ESTABLISHED
    assert "no golden RIM of the" in str(finding.cause)


def test_a_golden_rim_whose_signers_certificate_has_expired_is_told():
    finding = compared(GENUINE[0], read(DRIVER), read(VBIOS), now=NOW).configuration()
    assert finding.outcome is Outcome.FAILED
    assert "has expired" in str(finding.cause)
    assert "2026-06-01" in str(finding.expected)


_SDK_RIM = "nvidia/attestation-sdk/"


@pytest.mark.parametrize(
    ("name", "now", "error", "cause"),
    [
        ("incorrect_signature_driver_rim.xml", NOW, SignatureError, "signature"),
        ("incorrect_cert_chain_driver_rim.xml", NOW, UntrustedKey, "pinned root"),
        ("sample_rims_NV_GPU_DRIVER_GH100_570.124.03_expired.xml", NOW, VerificationError, "has expired"),
        ("sample_rims_NV_GPU_DRIVER_GH100_535.86.09_measurement_mismatch.xml", NOW, SignatureError, "signature"),
        ("sample_rims_NV_SWITCH_BIOS_5612_0002_890_9610550001_invalid_signature.xml", THEN, SignatureError, ""),
        ("sample_rims_NV_SWITCH_BIOS_5612_0002_890_9610550001_measurement_mismatch.xml", THEN, SignatureError, ""),
    ],
)
def test_bad_golden_rims_are_refused(name: str, now: int, error: type[TeelogError], cause: str):
    with pytest.raises(error) as caught:
        rim.verify(read(_SDK_RIM + name), now, PINS)
    assert cause in caught.value.message


def test_golden_values_of_another_kind_of_gpu_are_told_by_their_index():
    raw = read(_SDK_RIM + "sample_rims_NV_GPU_VBIOS_1010_0200_882_96005E0001_measurement_mismatch.xml")
    golden = rim.verify(raw, THEN, PINS)
    assert (golden.edition, golden.version, len(golden.golden)) == ("GPU", "96.00.5E.00.01", 12)
    own = nvidia.parse(load(GENUINE[0]).raw).report
    assert any(own.measurements[index] not in values for index, values in golden.golden.items())


def test_the_golden_rim_of_a_switch_among_the_measurements_is_read():
    found = rim.verify(vectors("measure/nvidia/NV_SWITCH_BIOS_5612_0002_890_9610550001.xml").read_bytes(), NOW, PINS)
    assert (found.edition, found.product, found.version) == ("SWITCH", "LS10", "96.10.55.00.01")
    assert len(found.golden) == 31


def test_the_damaged_golden_rim_of_a_driver_among_the_measurements_is_refused_at_every_time():
    raw = vectors("measure/nvidia/NV_GPU_DRIVER_GH100_570.124.03.xml").read_bytes()
    for now, error in ((NOW, VerificationError), (seconds("2025-01-01T12:00:00Z"), SignatureError)):
        with pytest.raises(error):
            rim.verify(raw, now, PINS)


def bad(raw: bytes, number: int, chance: random.Random) -> bytes:
    changed = bytearray(raw)
    if number % 5 == 0:
        del changed[chance.randrange(len(changed)) :]
    else:
        place = chance.randrange(8 * len(changed))
        changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


@pytest.mark.parametrize("name", GENUINE[:-1])  # the last one is the first one's bytes
def test_A_48_flipped_bits_and_truncations_never_pass(name: str):
    case = load(name)
    raw = nvidia.parse(case.raw).raw
    chance = random.Random(name)
    for number in range(MUTATIONS):
        try:
            evidence = platform.parse(bad(raw, number, chance), "nvidia")
        except (MalformedError, NotEstablished):
            continue
        assert evidence.hardware([case.chain], NOW).outcome is Outcome.FAILED


@pytest.mark.parametrize("name", [DRIVER, VBIOS])
def test_A_48_a_damaged_golden_rim_is_refused_or_says_the_same(name: str):
    raw = read(name)
    whole = rim.verify(raw, THEN, PINS)
    chance = random.Random(name)
    for number in range(MUTATIONS // 10):
        try:
            # Where a flipped bit passes, it lay outside of what is signed, and what is read is the same.
            assert rim.verify(bad(raw, number, chance), THEN, PINS) == whole
        except TeelogError:
            continue
