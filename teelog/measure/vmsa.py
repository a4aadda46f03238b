"""The first register state of each virtual processor: one page, the VMSA, which is measured.

Offsets: AMD64 Architecture Programmer's Manual volume 2, table B-4. Values: what KVM and QEMU (``target/i386/sev.c``),
Amazon EC2 and Google Compute Engine start a processor with, as virtee's sev-snp-measure 0.0.13 records them.
"""

from __future__ import annotations

import struct
from enum import StrEnum

from teelog.errors import MalformedError
from teelog.measure.ovmf import PAGE

BSP_EIP = 0xFFFFFFF0
"""Where the first processor starts: the reset vector below 4 GiB."""

SVSM_FEATURES = 0x1
MAX_FEATURES = 2**64 - 1


class Vmm(StrEnum):
    QEMU = "qemu"
    EC2 = "ec2"
    GCE = "gce"


_SEGMENT = struct.Struct("<HHIQ")  # selector, attributes, limit, base
_ES, _CS, _SS, _DS, _FS, _GS, _GDTR, _LDTR, _IDTR, _TR = range(0, 0xA0, 0x10)
_EFER, _CR4, _CR0, _DR7, _DR6, _RFLAGS, _RIP = 0xD0, 0x148, 0x158, 0x160, 0x168, 0x170, 0x178
_G_PAT, _RDX, _SEV_FEATURES, _XCR0, _MXCSR, _FCW = 0x268, 0x310, 0x3B0, 0x3E8, 0x408, 0x410


def cpuid_signature(family: int, model: int, stepping: int) -> int:
    """CPUID Fn0000_0001_EAX (AMD publication 25481): 32 bits, families above 15 in their extended form."""
    base, extended = (family, 0) if family <= 0xF else (0xF, family - 0xF)
    return extended << 20 | (model >> 4) << 16 | base << 8 | (model & 0xF) << 4 | stepping


# QEMU target/i386/cpu.c, builtin_x86_defs: the versions of a model share family, model and stepping.
_MODELS = {
    cpuid_signature(23, 1, 2): ("EPYC", "EPYC-IBPB", "EPYC-v1", "EPYC-v2", "EPYC-v3", "EPYC-v4", "EPYC-v5"),
    cpuid_signature(23, 49, 0): (
        "EPYC-Rome", "EPYC-Rome-v1", "EPYC-Rome-v2", "EPYC-Rome-v3", "EPYC-Rome-v4", "EPYC-Rome-v5",
    ),
    cpuid_signature(25, 1, 1): ("EPYC-Milan", "EPYC-Milan-v1", "EPYC-Milan-v2", "EPYC-Milan-v3"),
    cpuid_signature(25, 17, 0): ("EPYC-Genoa", "EPYC-Genoa-v1", "EPYC-Genoa-v2"),
    cpuid_signature(26, 0, 0): ("EPYC-Turin", "EPYC-Turin-v1"),
}  # fmt: skip
CPU_TYPES = {name: signature for signature, names in _MODELS.items() for name in names}
"""QEMU's name of a CPU type -> its CPUID signature."""


def cpu_signature(name: str) -> int:
    """The CPUID signature of QEMU's CPU type ``name``; raises MalformedError."""
    try:
        return CPU_TYPES[name]
    except KeyError as error:
        raise MalformedError("unknown CPU type", expected=", ".join(CPU_TYPES), actual=name) from error


def reset_page(eip: int, signature: int, features: int, vmm: Vmm = Vmm.QEMU) -> bytes:
    """The VMSA of a processor in real mode at ``eip`` (32 bits).

    signature: CPUID signature, which QEMU leaves in RDX. features: SEV_FEATURES, 64 bits.
    """
    page = bytearray(PAGE)
    _segments(page, 0, 0x93, 0xFFFF, _ES, _SS, _DS, _FS, _GS)
    _segments(page, 0, 0, 0xFFFF, _GDTR, _IDTR)
    _segments(page, 0, 0x82, 0xFFFF, _LDTR)
    _segments(page, 0, 0x8B, 0xFFFF, _TR)
    _SEGMENT.pack_into(page, _CS, 0xF000, 0x9B, 0xFFFF, eip & 0xFFFF0000)
    _control(page, cr0=0x10, rip=eip & 0xFFFF, features=features)
    if vmm is Vmm.QEMU:
        _u64(page, _RDX, signature)
        struct.pack_into("<I", page, _MXCSR, 0x1F80)
        struct.pack_into("<H", page, _FCW, 0x37F)
        return bytes(page)
    _u64(page, _RDX, 0x600)
    if vmm is Vmm.GCE:
        _u64(page, _G_PAT, 0x00070106)
        return bytes(page)
    _segments(page, 0, 0x92, 0xFFFF, _SS)
    _segments(page, 0, 0x83, 0xFFFF, _TR)
    if eip == BSP_EIP:
        _SEGMENT.pack_into(page, _CS, 0xF000, 0x9A, 0xFFFF, eip & 0xFFFF0000)
    return bytes(page)


def svsm_page(eip: int, signature: int) -> bytes:
    """The VMSA of a processor that QEMU starts inside Coconut-SVSM, in flat protected mode at ``eip``.

    FCW stays 0 here: so it is in the values that launches on real hardware gave.
    """
    page = bytearray(PAGE)
    _segments(page, 16, 0xC93, 0xFFFFFFFF, _ES, _SS, _DS, _FS)
    _segments(page, 8, 0xC9B, 0xFFFFFFFF, _CS)
    _segments(page, 0, 0x93, 0xFFFF, _GS)
    _segments(page, 0, 0, 0xFFFF, _GDTR, _IDTR)
    _segments(page, 0, 0x82, 0xFFFF, _LDTR)
    _segments(page, 0, 0x8B, 0xFFFF, _TR)
    _control(page, cr0=0x11, rip=eip, features=SVSM_FEATURES)
    _u64(page, _RDX, signature)
    struct.pack_into("<I", page, _MXCSR, 0x1F80)
    return bytes(page)


def _segments(page: bytearray, selector: int, attributes: int, limit: int, *offsets: int) -> None:
    for offset in offsets:
        _SEGMENT.pack_into(page, offset, selector, attributes, limit, 0)


def _control(page: bytearray, cr0: int, rip: int, features: int) -> None:
    _u64(page, _EFER, 0x1000)  # KVM sets EFER.SVME
    _u64(page, _CR4, 0x40)  # and CR4.MCE
    _u64(page, _CR0, cr0)
    _u64(page, _DR7, 0x400)
    _u64(page, _DR6, 0xFFFF0FF0)
    _u64(page, _RFLAGS, 0x2)
    _u64(page, _RIP, rip)
    _u64(page, _G_PAT, 0x0007040600070406)  # the PAT's reset value, APM volume 2 section A.3
    _u64(page, _SEV_FEATURES, features)
    _u64(page, _XCR0, 0x1)


def _u64(page: bytearray, offset: int, value: int) -> None:
    struct.pack_into("<Q", page, offset, value)
