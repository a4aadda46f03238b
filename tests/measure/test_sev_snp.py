"""What the launch digest covers, and which launches are refused."""

from __future__ import annotations

import hashlib

import pytest

from teelog.errors import MalformedError
from teelog.measure import kernel_hashes, ovmf, sev, sev_snp, vmsa
from teelog.measure.kernel_hashes import KernelHashes
from teelog.measure.ovmf import Layout, Section, SectionType
from teelog.measure.sev_snp import Vcpus
from teelog.measure.vmsa import Vmm
from tests.measure import images
from tests.measure.images import image, metadata

FIRMWARE = ovmf.parse(image())
SEED = sev_snp.firmware_digest(FIRMWARE)
HASHES = KernelHashes(*(hashlib.sha256(name).digest() for name in (b"kernel", b"initrd", b"cmdline\0")))
VCPUS = Vcpus(2, vmsa.cpu_signature("EPYC-v4"))


def digest(layout: Layout = FIRMWARE.layout, hashes: KernelHashes | None = HASHES, vcpus: Vcpus = VCPUS) -> bytes:
    return sev_snp.launch_digest(SEED, layout, hashes, vcpus)


def test_one_page_extends_the_digest_by_its_page_info():
    # AMD publication 56860, table PAGE_INFO, spelt out for a secrets page.
    part = Section(0x80B000, 4096, SectionType.SECRETS)
    info = bytes(48) + bytes(48) + b"\x70\0" + b"\x05" + b"\0" + bytes(4) + (0x80B000).to_bytes(8, "little")
    assert len(info) == 0x70
    page = vmsa.reset_page(vmsa.BSP_EIP, 0, 1)
    vmsa_info = hashlib.sha384(info).digest() + hashlib.sha384(page).digest()
    vmsa_info += b"\x70\0\x02\0" + bytes(4) + (0xFFFFFFFFF000).to_bytes(8, "little")
    measured = sev_snp.launch_digest(bytes(48), Layout((part,), 1, None), None, Vcpus(1))
    assert measured == hashlib.sha384(vmsa_info).digest()


def test_every_input_enters_the_digest():
    signature = VCPUS.signature
    others = {
        digest(),
        digest(hashes=None),
        digest(hashes=KernelHashes(HASHES.initrd, HASHES.initrd, HASHES.cmdline)),
        digest(hashes=KernelHashes(HASHES.kernel, HASHES.kernel, HASHES.cmdline)),
        digest(hashes=KernelHashes(HASHES.kernel, HASHES.initrd, HASHES.kernel)),
        digest(vcpus=Vcpus(1, signature)),
        digest(vcpus=Vcpus(3, signature)),
        digest(vcpus=Vcpus(2, vmsa.cpu_signature("EPYC-Milan"))),
        digest(vcpus=Vcpus(2, signature, features=0x21)),
        digest(vcpus=Vcpus(2, signature, vmm=Vmm.EC2)),
        digest(vcpus=Vcpus(2, signature, vmm=Vmm.GCE)),
        digest(Layout(FIRMWARE.layout.sections[::-1], images.RESET_EIP, images.TABLE_GPA)),
        digest(Layout(FIRMWARE.layout.sections, images.RESET_EIP + 1, images.TABLE_GPA)),
        digest(Layout(FIRMWARE.layout.sections, images.RESET_EIP, images.TABLE_GPA + 16)),
        sev_snp.launch_digest(bytes(48), FIRMWARE.layout, HASHES, VCPUS),
    }
    assert len(others) == 15


def test_every_byte_of_the_firmware_enters_the_seed():
    data = bytearray(image())
    data[0] ^= 1
    assert sev_snp.firmware_digest(ovmf.parse(bytes(data))) != SEED
    assert sev_snp.firmware_digest(ovmf.parse(image(pages=5))) != SEED


def test_the_cpu_type_is_not_measured_outside_qemu():
    for vmm in (Vmm.EC2, Vmm.GCE):
        assert digest(vcpus=Vcpus(2, 1, vmm=vmm)) == digest(vcpus=Vcpus(2, 2, vmm=vmm))


@pytest.mark.parametrize(
    "layout",
    [
        Layout(tuple(s for s in FIRMWARE.layout.sections if s.type != SectionType.KERNEL_HASHES), 1, images.TABLE_GPA),
        Layout(FIRMWARE.layout.sections, 1, None),
        Layout(FIRMWARE.layout.sections, 1, 0),
        Layout(FIRMWARE.layout.sections, 1, 0x80F000),  # in the page after the section
        Layout(FIRMWARE.layout.sections, 1, 0x80EF51),  # would end in the page after the section
    ],
    ids=["no section", "no address", "address 0", "beside", "across"],
)
def test_a_kernel_that_the_firmware_would_not_check_is_refused(layout: Layout):
    digest(layout, hashes=None)
    with pytest.raises(MalformedError):
        digest(layout)


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0},
        {"count": sev_snp.MAX_VCPUS + 1},
        {"count": 1, "signature": 1 << 32},
        {"count": 1, "signature": -1},
        {"count": 1, "features": 1 << 64},
        {"count": 1, "features": -1},
    ],
)
def test_impossible_processors_are_refused(wrong: dict[str, int]):
    with pytest.raises(MalformedError):
        Vcpus(**wrong)  # type: ignore[arg-type]


def test_cpu_signatures_are_those_of_cpuid():
    # CPUID Fn0000_0001_EAX as the processors answer.
    assert vmsa.cpu_signature("EPYC-v4") == 0x800F12
    assert vmsa.cpu_signature("EPYC-Rome") == 0x830F10
    assert vmsa.cpu_signature("EPYC-Milan") == 0xA00F11
    assert vmsa.cpu_signature("EPYC-Genoa") == 0xA10F10
    assert vmsa.cpu_signature("EPYC-Turin") == 0xB00F00
    assert vmsa.cpuid_signature(6, 0x55, 4) == 0x50654
    with pytest.raises(MalformedError):
        vmsa.cpu_signature("epyc-v4")


def test_a_command_line_ends_at_its_first_nul_so_it_has_none():
    assert kernel_hashes.cmdline_digest(b"") == hashlib.sha256(b"\0").digest()
    with pytest.raises(MalformedError):
        kernel_hashes.cmdline_digest(b"quiet\0init=/bin/sh")


SVSM = ovmf.parse(image(block=metadata([(0x8000, 4096, images.CPUID)]), svsm_entry=0x10))


@pytest.mark.parametrize(
    ("svsm", "vars_size", "vcpus"),
    [
        (FIRMWARE, 4096, Vcpus(1)),  # no SVSM info
        (SVSM, -1, Vcpus(1)),
        (SVSM, 1, Vcpus(1)),  # not whole pages
        (SVSM, (1 << 32) - 4096, Vcpus(1)),  # leaves no room
        (SVSM, 1 << 32, Vcpus(1)),
        (SVSM, 4096, Vcpus(1, vmm=Vmm.GCE)),
        (SVSM, 4096, Vcpus(1, features=0x21)),
    ],
)
def test_an_impossible_svsm_launch_is_refused(svsm: ovmf.Firmware, vars_size: int, vcpus: Vcpus):
    assert len(sev_snp.svsm_launch_digest(FIRMWARE, SVSM, 4096, Vcpus(1))) == 48
    with pytest.raises(MalformedError):
        sev_snp.svsm_launch_digest(FIRMWARE, svsm, vars_size, vcpus)


def test_sev_without_a_kernel_is_the_hash_of_the_firmware():
    assert sev.sev_digest(FIRMWARE, None) == hashlib.sha256(FIRMWARE.image).digest()
    bare = ovmf.parse(image(entries=[]))
    with pytest.raises(MalformedError):
        sev.sev_digest(bare, HASHES)
    with pytest.raises(MalformedError):
        sev.sev_es_digest(bare, None, VCPUS)
