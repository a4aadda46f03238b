"""The AMD SEV-SNP launch digest: the 48-byte MEASUREMENT of an attestation report.

Source: AMD publication 56860 (SEV-SNP firmware ABI), section 8.17.2, table PAGE_INFO: each page given to the guest at
launch extends the digest by SHA-384 over (digest, contents, page type, address). Which pages, and in which order, is
the launcher's choice: QEMU ``target/i386/sev.c``; EC2 and GCE as sev-snp-measure 0.0.13 records them.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from teelog.errors import MalformedError
from teelog.measure import kernel_hashes, vmsa
from teelog.measure.kernel_hashes import KernelHashes
from teelog.measure.ovmf import FOUR_GIB, PAGE, Firmware, Layout, Section, SectionType
from teelog.measure.vmsa import Vmm

DIGEST_SIZE = 48
MAX_VCPUS = 4096
ZERO = bytes(DIGEST_SIZE)
"""The digest before the first page, and the contents of a page that is not hashed."""

_NORMAL, _VMSA, _ZERO, _UNMEASURED, _SECRETS, _CPUID = range(1, 7)
_VMSA_GPA = 0xFFFFFFFFF000  # the RMP table records a VMSA at -1: page-aligned, bits above 51 cleared
_PAGE_INFO = struct.Struct("<48s48sHBBBBBBQ")


@dataclass(frozen=True, slots=True)
class Vcpus:
    """The virtual processors of a launch.

    count: 1..MAX_VCPUS. signature: CPUID signature, 32 bits (used with QEMU only). features: SEV_FEATURES, 64 bits;
    0x1 since Linux 6.8, 0x21 around 6.6.
    """

    count: int
    signature: int = 0
    features: int = 0x1
    vmm: Vmm = Vmm.QEMU

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_VCPUS:
            raise MalformedError("impossible number of vcpus", expected=f"1..{MAX_VCPUS}", actual=self.count)
        if not 0 <= self.signature < 1 << 32:
            raise MalformedError("CPUID signature is not a 32-bit number", actual=self.signature)
        if not 0 <= self.features <= vmsa.MAX_FEATURES:
            raise MalformedError("guest features are not a 64-bit number", actual=self.features)


def firmware_digest(firmware: Firmware) -> bytes:
    """The digest after the firmware's own pages: what others publish as the OVMF hash. 48 bytes."""
    return _pages(ZERO, firmware.gpa(), firmware.image)


def launch_digest(seed: bytes, layout: Layout, hashes: KernelHashes | None, vcpus: Vcpus) -> bytes:
    """The launch digest, 48 bytes.

    seed: ``firmware_digest``, 48 bytes. layout: of that firmware. hashes: None when no kernel is given to the VMM.
    Raises MalformedError if the VMM would refuse such a launch.
    """
    digest = _sections(seed, layout, hashes, vcpus.vmm)
    first = vmsa.reset_page(vmsa.BSP_EIP, vcpus.signature, vcpus.features, vcpus.vmm)
    other = vmsa.reset_page(layout.ap_eip(), vcpus.signature, vcpus.features, vcpus.vmm)
    digest = _extend(digest, _VMSA, _VMSA_GPA, _sha384(first))
    for _ in range(vcpus.count - 1):
        digest = _extend(digest, _VMSA, _VMSA_GPA, _sha384(other))
    return digest


def svsm_launch_digest(ovmf: Firmware, svsm: Firmware, vars_size: int, vcpus: Vcpus) -> bytes:
    """The launch digest of QEMU with Coconut-SVSM, 48 bytes; raises MalformedError.

    The SVSM lies right below the variable store of ``vars_size`` bytes, which lies right below the OVMF image; the
    metadata and the start address are the SVSM's, the features always 0x1.
    """
    if vcpus.vmm is not Vmm.QEMU or vcpus.features != vmsa.SVSM_FEATURES:
        raise MalformedError("an SVSM runs under QEMU and with guest features 0x1", actual=f"{vcpus.vmm}")
    if svsm.svsm_entry is None:
        raise MalformedError("image has no SVSM info, so it is no SVSM")
    if not 0 <= vars_size < FOUR_GIB:
        raise MalformedError("variable store has an impossible size", actual=vars_size)
    start = svsm.gpa(end=ovmf.gpa() - vars_size)
    eip = start + svsm.svsm_entry
    digest = _pages(firmware_digest(ovmf), start, svsm.image)
    digest = _sections(digest, svsm.layout, None, Vmm.QEMU)
    page = _sha384(vmsa.svsm_page(eip, vcpus.signature))
    for _ in range(vcpus.count):
        digest = _extend(digest, _VMSA, _VMSA_GPA, page)
    return digest


def _sections(digest: bytes, layout: Layout, hashes: KernelHashes | None, vmm: Vmm) -> bytes:
    if not layout.sections:
        raise MalformedError("firmware has no SEV-SNP metadata", hint="use an OVMF that is built for SEV-SNP")
    if hashes is not None and not any(part.type is SectionType.KERNEL_HASHES for part in layout.sections):
        raise MalformedError(
            "firmware has no SNP_KERNEL_HASHES section, so a kernel would go unmeasured",
            hint="build OVMF from OvmfPkg/AmdSev/AmdSevX64.dsc, or leave --kernel out",
        )
    cpuid_last = vmm is Vmm.EC2  # EC2 measures CPUID pages after all the others
    late = [part for part in layout.sections if cpuid_last and part.type is SectionType.CPUID]
    for part in [part for part in layout.sections if part not in late] + late:
        digest = _section(digest, part, layout, hashes, vmm)
    return digest


def _section(digest: bytes, part: Section, layout: Layout, hashes: KernelHashes | None, vmm: Vmm) -> bytes:
    match part.type:
        case SectionType.SECRETS:
            return _extend(digest, _SECRETS, part.gpa, ZERO)
        case SectionType.CPUID:
            return _extend(digest, _CPUID, part.gpa, ZERO)
        case SectionType.KERNEL_HASHES if hashes is not None:
            return _pages(digest, part.gpa, hashes.page(_table_gpa(layout, part)))
        case SectionType.SEC_MEM if vmm is Vmm.GCE:
            return _unhashed(digest, part, _UNMEASURED)
        case _:
            return _unhashed(digest, part, _ZERO)


def _table_gpa(layout: Layout, part: Section) -> int:
    gpa = kernel_hashes.table_gpa(layout)
    # The VMM writes the table into this section, the firmware reads it from that address: apart, nothing is checked.
    if not part.gpa <= gpa < part.gpa + part.size:
        raise MalformedError(
            "hash table lies outside of the section for it", expected=f"{part.gpa:#x}", actual=f"{gpa:#x}"
        )
    return gpa


def _pages(digest: bytes, gpa: int, data: bytes) -> bytes:
    view = memoryview(data)
    for offset in range(0, len(data), PAGE):
        digest = _extend(digest, _NORMAL, gpa + offset, _sha384(view[offset : offset + PAGE]))
    return digest


def _unhashed(digest: bytes, part: Section, page_type: int) -> bytes:
    for gpa in range(part.gpa, part.gpa + part.size, PAGE):
        digest = _extend(digest, page_type, gpa, ZERO)
    return digest


def _extend(digest: bytes, page_type: int, gpa: int, contents: bytes) -> bytes:
    # No page is part of an initial migration image, and no VMPL below 0 has rights on it: the zeros.
    return _sha384(_PAGE_INFO.pack(digest, contents, _PAGE_INFO.size, page_type, 0, 0, 0, 0, 0, gpa))


def _sha384(data: bytes | memoryview) -> bytes:
    return hashlib.sha384(data).digest()
