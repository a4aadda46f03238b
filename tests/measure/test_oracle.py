"""virtee's sev-snp-measure gives the same digests, over images that are made up here (decision 0004)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from teelog.measure import kernel_hashes, ovmf, sev, sev_snp, vmsa
from teelog.measure.kernel_hashes import KernelHashes
from teelog.measure.sev_snp import Vcpus
from teelog.measure.vmsa import Vmm
from tests.measure.images import CAA, CPUID, SEC_MEM, SECRETS, image, metadata

pytest.importorskip("sevsnpmeasure")

from sevsnpmeasure import guest, vcpu_types
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vmm_types import VMMType

THEIRS = {Vmm.QEMU: VMMType.QEMU, Vmm.EC2: VMMType.ec2, Vmm.GCE: VMMType.gce}
KERNEL, INITRD, CMDLINE = b"a kernel", b"an initrd", "console=ttyS0 quiet"
SIGNATURE = vmsa.cpu_signature("EPYC-v4")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ovmf").write_bytes(image(pages=9))
    (tmp_path / "kernel").write_bytes(KERNEL)
    (tmp_path / "initrd").write_bytes(INITRD)
    return tmp_path


def hashes(initrd: bytes = INITRD, cmdline: str = CMDLINE) -> KernelHashes:
    digests = (hashlib.sha256(data).digest() for data in (KERNEL, initrd))
    return KernelHashes(*digests, kernel_hashes.cmdline_digest(cmdline.encode()))


def ours(folder: Path, vcpus: Vcpus, kernel: KernelHashes | None) -> str:
    firmware = ovmf.parse((folder / "ovmf").read_bytes())
    return sev_snp.launch_digest(sev_snp.firmware_digest(firmware), firmware.layout, kernel, vcpus).hex()


def theirs(folder: Path, mode: SevMode, vcpus: Vcpus, *boot: str | None, seed: str = "") -> str:
    kernel, initrd, cmdline = boot or (None, None, None)
    files = [str(folder / name) if name else None for name in (kernel, initrd)]
    return guest.calc_launch_digest(  # type: ignore[no-any-return]
        mode,
        vcpus.count,
        vcpus.signature,
        str(folder / "ovmf"),
        *files,
        cmdline,
        vcpus.features,
        seed,
        THEIRS[vcpus.vmm],
    ).hex()


@pytest.mark.parametrize("vmm", list(Vmm))
@pytest.mark.parametrize("features", [0x1, 0x21])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_snp(folder: Path, vmm: Vmm, features: int, count: int):
    vcpus = Vcpus(count, SIGNATURE, features, vmm)
    assert ours(folder, vcpus, None) == theirs(folder, SevMode.SEV_SNP, vcpus)
    assert ours(folder, vcpus, hashes()) == theirs(folder, SevMode.SEV_SNP, vcpus, "kernel", "initrd", CMDLINE)


def test_snp_kernel_alone(folder: Path):
    vcpus = Vcpus(1, SIGNATURE)
    assert ours(folder, vcpus, hashes(b"", "")) == theirs(folder, SevMode.SEV_SNP, vcpus, "kernel", None, None)


def test_snp_from_the_digest_of_the_firmware(folder: Path):
    seed = guest.calc_snp_ovmf_hash(str(folder / "ovmf"))
    assert sev_snp.firmware_digest(ovmf.parse((folder / "ovmf").read_bytes())) == seed
    vcpus = Vcpus(2, SIGNATURE)
    assert ours(folder, vcpus, None) == theirs(folder, SevMode.SEV_SNP, vcpus, seed=seed.hex())


def test_svsm(folder: Path):
    sections = [(0x8000, 0x1000, SECRETS), (0x9000, 0x1000, CPUID), (0xA000, 0x1000, CAA), (0xB000, 0x3000, SEC_MEM)]
    (folder / "svsm").write_bytes(image(pages=3, block=metadata(sections), svsm_entry=0x1230))
    vcpus = Vcpus(3, SIGNATURE)
    firmware, svsm = (ovmf.parse((folder / name).read_bytes()) for name in ("ovmf", "svsm"))
    expected = guest.svsm_calc_launch_digest(3, SIGNATURE, str(folder / "ovmf"), 0x20000, str(folder / "svsm"), False)
    assert sev_snp.svsm_launch_digest(firmware, svsm, 0x20000, vcpus) == expected


@pytest.mark.parametrize("count", [1, 4])
def test_sev_and_sev_es(folder: Path, count: int):
    vcpus = Vcpus(count, SIGNATURE)
    firmware = ovmf.parse((folder / "ovmf").read_bytes())
    boot = ("kernel", "initrd", CMDLINE)
    assert sev.sev_digest(firmware, None).hex() == theirs(folder, SevMode.SEV, vcpus)
    assert sev.sev_digest(firmware, hashes()).hex() == theirs(folder, SevMode.SEV, vcpus, *boot)
    assert sev.sev_es_digest(firmware, None, vcpus).hex() == theirs(folder, SevMode.SEV_ES, vcpus)
    assert sev.sev_es_digest(firmware, hashes(), vcpus).hex() == theirs(folder, SevMode.SEV_ES, vcpus, *boot)


def test_cpu_types():
    assert {name: vmsa.CPU_TYPES.get(name) for name in vcpu_types.CPU_SIGS} == vcpu_types.CPU_SIGS
