"""Published launch inputs: the same digest as from the files, or a refusal that says where."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teelog.errors import MalformedError
from teelog.measure import kernel_hashes, launch_inputs, ovmf, sev_snp, vmsa
from teelog.measure.kernel_hashes import KernelHashes
from teelog.measure.sev_snp import Vcpus
from teelog.measure.vmsa import Vmm
from tests.measure import images

FIRMWARE = ovmf.parse(images.image())
SEED = sev_snp.firmware_digest(FIRMWARE)
KERNEL, INITRD = (hashlib.sha256(name).digest() for name in (b"kernel", b"initrd"))

INPUTS: dict[str, Any] = {
    "version": 3,
    "cmdline": "console=ttyS0",
    "ovmf_hash": SEED.hex(),
    "kernel_hash": KERNEL.hex(),
    "initrd_hash": INITRD.hex(),
    "hashes_table_gpa": images.TABLE_GPA,
    "reset_eip": images.RESET_EIP,
    "ovmf_sections": [{"gpa": gpa, "size": size, "type": kind} for gpa, size, kind in images.SECTIONS],
    "vcpus": 2,
    "vcpu_type": "EPYC-v4",
    "guest_features": 1,
}
WITHOUT_KERNEL = {key: INPUTS[key] for key in INPUTS if key not in ("kernel_hash", "initrd_hash", "cmdline")}


def measure(inputs: object) -> bytes:
    return launch_inputs.launch_digest(launch_inputs.decode(json.dumps(inputs).encode()))


def from_files(hashes: KernelHashes | None, vcpus: Vcpus) -> bytes:
    return sev_snp.launch_digest(SEED, FIRMWARE.layout, hashes, vcpus)


def test_digests_in_place_of_files_give_the_same_digest():
    hashes = KernelHashes(KERNEL, INITRD, kernel_hashes.cmdline_digest(b"console=ttyS0"))
    vcpus = Vcpus(2, vmsa.cpu_signature("EPYC-v4"))
    assert measure(INPUTS) == from_files(hashes, vcpus)
    assert measure({"note": "text", "inputs": INPUTS, "expected": "00"}) == from_files(hashes, vcpus)
    assert measure(WITHOUT_KERNEL) == from_files(None, vcpus)
    assert measure({**INPUTS, "vcpu_type": None, "vcpu_sig": 0x800F12}) == from_files(hashes, vcpus)


def test_absent_initrd_and_command_line_are_empty_ones():
    hashes = KernelHashes(KERNEL, hashlib.sha256().digest(), kernel_hashes.cmdline_digest(b""))
    absent = {**WITHOUT_KERNEL, "kernel_hash": KERNEL.hex()}
    assert measure(absent) == from_files(hashes, Vcpus(2, 0x800F12))


def test_other_launchers_need_no_cpu_type():
    bare = {key: value for key, value in INPUTS.items() if key != "vcpu_type"}
    hashes = KernelHashes(KERNEL, INITRD, kernel_hashes.cmdline_digest(b"console=ttyS0"))
    assert measure({**bare, "vmm": "ec2"}) == from_files(hashes, Vcpus(2, vmm=Vmm.EC2))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 4},
        {"surprise": 1},
        {"vcpus": 0},
        {"vcpus": "2"},
        {"vcpus": 1 << 40},
        {"vcpu_type": "EPYC-v99"},
        {"vcpu_type": None},
        {"vcpu_sig": 0x800F12},
        {"vmm": "xen"},
        {"guest_features": -1},
        {"guest_features": True},
        {"ovmf_hash": SEED.hex().upper()},
        {"ovmf_hash": SEED.hex()[2:]},
        {"kernel_hash": KERNEL.hex() + "00"},
        {"kernel_hash": None},
        {"initrd_hash": " " * 64},
        {"cmdline": "a\0b"},
        {"reset_eip": 0},
        {"reset_eip": 1 << 32},
        {"reset_eip": -1},
        {"hashes_table_gpa": None},
        {"hashes_table_gpa": 1 << 32},
    ],
    ids=lambda change: json.dumps(change)[:60],
)
def test_inputs_with_a_fault_are_refused(change: dict[str, object]):
    with pytest.raises(MalformedError):
        measure({**INPUTS, **change})


@pytest.mark.parametrize(
    "sections",
    [
        [],
        [{"gpa": 1, "size": 4096, "type": 1}],
        [{"gpa": -4096, "size": 4096, "type": 1}],
        [{"gpa": 0, "size": 4096, "type": 7}],
        [{"gpa": 0, "size": 4096, "type": 1, "extra": 0}],
        [{"gpa": 0, "size": ovmf.MAX_SECTION_BYTES + 4096, "type": 1}],
        [{"gpa": 0, "size": 4096, "type": 2}] * (ovmf.MAX_SECTIONS + 1),
    ],
    ids=["none", "crooked", "negative", "unknown", "extra", "large", "many"],
)
def test_sections_with_a_fault_are_refused(sections: list[dict[str, int]]):
    assert len(measure({**WITHOUT_KERNEL, "ovmf_sections": [{"gpa": 0, "size": 4096, "type": 1}]})) == 48
    with pytest.raises(MalformedError):
        measure({**WITHOUT_KERNEL, "ovmf_sections": sections})


@pytest.mark.parametrize("key", [key for key in WITHOUT_KERNEL if key not in ("version", "guest_features")])
def test_inputs_that_miss_a_part_are_refused(key: str):
    with pytest.raises(MalformedError):
        measure({other: value for other, value in INPUTS.items() if other != key})


def test_a_repeated_member_is_refused():
    text = json.dumps(INPUTS).replace('"vcpus": 2', '"vcpus": 2, "vcpus": 4')
    with pytest.raises(MalformedError, match="repeated"):
        launch_inputs.decode(text.encode())


def test_the_size_is_bounded():
    with pytest.raises(MalformedError, match="too long"):
        launch_inputs.decode(b" " * (launch_inputs.MAX_BYTES + 1))


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@images.UNHURRIED
@given(st.dictionaries(st.sampled_from([*INPUTS, "vcpu_sig", "vmm"]), _json, max_size=4))
def test_strange_values_are_no_surprise(change: dict[str, object]):
    try:
        assert len(measure({**INPUTS, **change})) == 48
    except MalformedError:
        return
