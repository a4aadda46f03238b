"""Published values: of sev-snp-measure's own tests, of real firmware, and of an AMD chip."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from teelog.measure import kernel_hashes, launch_inputs, ovmf, sev, sev_snp, vmsa
from teelog.measure.kernel_hashes import KernelHashes
from teelog.measure.ovmf import Firmware
from teelog.measure.sev_snp import Vcpus
from teelog.measure.vmsa import Vmm
from tests.vectors import ROOT, vectors

FOLDER = "measure/sev-snp"
UPSTREAM = f"{FOLDER}/sev-snp-measure-0.0.13-expected.json"
DEBIAN = f"{FOLDER}/OVMF.amdsev.expected.json"


def _cases(path: str, key: str | None = None) -> list[Any]:
    """The cases of a vector file; one that skips where the collection is not at hand."""
    if not (ROOT / path).exists():
        return [pytest.param(None, id="vectors missing")]
    tree = json.loads((ROOT / path).read_text())
    cases = tree if key is None else tree[key]
    return [pytest.param(case, id=str(case.get("test", index))) for index, case in enumerate(cases)]


def _image(name: str) -> Firmware:
    return ovmf.parse(vectors(f"{FOLDER}/{name}").read_bytes())


def _hashes(case: dict[str, Any]) -> KernelHashes | None:
    if not case.get("kernel"):
        return None
    kernel, initrd = (_bytes(case.get(name)) for name in ("kernel", "initrd"))
    cmdline = kernel_hashes.cmdline_digest((case.get("append") or "").encode())
    return KernelHashes(hashlib.sha256(kernel).digest(), hashlib.sha256(initrd).digest(), cmdline)


def _bytes(name: str | None) -> bytes:
    return vectors(f"{FOLDER}/{name}").read_bytes() if name and name != "/dev/null" else b""


def _upstream(case: dict[str, Any]) -> bytes:
    firmware = _image(case["ovmf_file"])
    vmm = Vmm(case["vmm_type"].lower())
    vcpus = Vcpus(case["vcpus"], case["vcpu_sig"] or 0, case["guest_features"], vmm)
    match case["mode"]:
        case "SEV":
            return sev.sev_digest(firmware, _hashes(case))
        case "SEV_ES":
            return sev.sev_es_digest(firmware, _hashes(case), vcpus)
        case "SEV_SNP":
            seed = bytes.fromhex(case["snp_ovmf_hash_str"]) or sev_snp.firmware_digest(firmware)
            return sev_snp.launch_digest(seed, firmware.layout, _hashes(case), vcpus)
        case "SEV_SNP_SVSM":
            # Upstream ignores guest_features here; an SVSM fixes them.
            inside = Vcpus(vcpus.count, vcpus.signature)
            return sev_snp.svsm_launch_digest(firmware, _image(case["svsm_file"]), case["ovmf_vars_size"], inside)
        case mode:
            raise AssertionError(mode)


@pytest.mark.parametrize("case", _cases(UPSTREAM))
def test_sev_snp_measure_states_the_same(case: dict[str, Any] | None):
    vectors(UPSTREAM)
    assert case is not None
    assert _upstream(case).hex() == case["expected"]


@pytest.mark.parametrize("case", _cases(DEBIAN, "cases"))
def test_debians_firmware_measures_as_stated(case: dict[str, Any] | None):
    vectors(DEBIAN)
    assert case is not None
    firmware = _image("OVMF.amdsev.fd")
    seed = sev_snp.firmware_digest(firmware)
    if case.get("mode") == "snp:ovmf-hash":
        assert seed.hex() == case["expected"]
        return
    signature = vmsa.cpu_signature(case["vcpu_type"]) if "vcpu_type" in case else 0
    vcpus = Vcpus(case["vcpus"], signature, int(case["guest_features"], 16), Vmm(case["vmm"].lower()))
    assert sev_snp.launch_digest(seed, firmware.layout, _hashes(case), vcpus).hex() == case["expected"]


def test_published_launch_inputs_measure_to_what_the_chip_signed():
    published = vectors(f"{FOLDER}/dstack-expected.json").read_bytes()
    report = vectors("evidence/derived/snp/milan-v3-dstack.report.bin").read_bytes()
    digest = launch_inputs.launch_digest(launch_inputs.decode(published))
    # SEV-SNP ABI, ATTESTATION_REPORT: MEASUREMENT lies at 0x90.
    assert digest == report[0x90 : 0x90 + 48]
    assert digest.hex() == json.loads(published)["expected"]
    assert digest.hex().startswith("7f51e17f72a0")
    # The answer that holds the report holds it in hex, MEASUREMENT included.
    answer = json.loads(vectors(f"{FOLDER}/dstack-sev-snp-attestation.json").read_bytes())["attestation"]
    assert report[:0x2A0].hex() in answer


NAMED_BY_CASES = {
    "ovmf_AmdSev_suffix.bin", "ovmf_OvmfX64_suffix.bin", "svsm.bin", "svsm_ovmf.fd", "kernel.bin", "initrd.bin",
}  # fmt: skip
"""Of sev-snp-measure's and Debian's cases, which give a value for each."""


def test_every_file_of_the_collection_has_a_test_that_names_it():
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    cases = "".join(vectors(path).read_text() for path in (UPSTREAM, DEBIAN))
    found = [path for path in vectors("measure").rglob("*") if path.is_file() and path.suffix != ".md"]
    assert len(found) > 50
    unnamed = {path.name for path in found if path.name not in tests and path.name.split(".")[0] not in tests}
    assert unnamed <= NAMED_BY_CASES
    assert all(name in cases for name in NAMED_BY_CASES)


def test_no_case_of_the_collection_is_left_out():
    folder: Path = vectors(FOLDER)
    assert {path.name for path in folder.glob("*expected.json")} == {
        "OVMF.amdsev.expected.json",
        "dstack-expected.json",
        "sev-snp-measure-0.0.13-expected.json",
    }
