"""A TD that QEMU boots directly (-kernel) with OVMF -> RTMR0, RTMR1, RTMR2.

RTMR0 is what the platform is: memory, variables, ACPI tables. RTMR1 is the kernel, RTMR2 its command line and initrd.
Older pairs of QEMU and OVMF (before edk2-stable202505) measure the kernel after QEMU has written its boot parameters
into it; newer ones measure the file. Sources: edk2 OvmfPkg and SecurityPkg, QEMU hw/i386/x86.c; compared with logs and
quotes of real TDs.
"""

from __future__ import annotations

import hashlib
import struct

from teelog.errors import MalformedError
from teelog.measure import acpi, guid, pe, tdvf
from teelog.measure.tdvf import Tdvf
from teelog.measure.uki import extend

BANK = "sha384"
MAX_KERNEL = 256 << 20  # bytes
CALLING = b"Calling EFI Application from Boot Option"

_GLOBAL = guid.guid("8be4df61-93ca-11d2-aa0d-00e098032b8c")
_SECURITY = guid.guid("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
_VARIABLES = ((_GLOBAL, "SecureBoot"), (_GLOBAL, "PK"), (_GLOBAL, "KEK"), (_SECURITY, "db"), (_SECURITY, "dbx"))
_SEPARATOR = bytes(4)
_BOOT_ORDER = bytes(2)
# Of the load option Boot0000 that OVMF makes for its own menu (UiApp).
_MENU = bytes.fromhex(
    "23ada07f5261f12f34a0bd8e46760962d6b4d576a416f1fea1c64bc656b1d28eacf7047ae6e967c58fd2a98bfa74c298"
)
_EXITS = (b"Exit Boot Services Invocation", b"Exit Boot Services Returned with Success")

_ACPI_DATA = 0x28000  # bytes that QEMU keeps free below the end of low memory
_MIN_KERNEL = 0x260  # bytes of the boot parameters


def rtmr0(firmware: Tdvf, ram: int, tables: bytes) -> bytes:
    """Of firmware with an empty variable store, Secure Boot off. ram: bytes. tables: see `teelog.measure.acpi`."""
    variables = [_variable(owner, name) for owner, name in _VARIABLES]
    before = [_digest(firmware.hob(ram)), _digest(firmware.variables()), *variables, _digest(_SEPARATOR)]
    blobs = (acpi.loader(tables), acpi.rsdp(tables), tables)
    return extend(BANK, [*before, *map(_digest, blobs), _digest(_BOOT_ORDER), _MENU])


def rtmr1(kernel: bytes) -> bytes:
    """kernel: its Authenticode digest, 48 bytes, of the bytes that the firmware started."""
    return extend(BANK, [kernel, _digest(CALLING), _digest(_SEPARATOR), *map(_digest, _EXITS)])


def rtmr2(cmdline: bytes, initrd: bytes) -> bytes:
    """Digests of both, 48 bytes each; that of the command line as `cmdline_digest` gives it."""
    return extend(BANK, [cmdline, initrd])


def cmdline_digest(cmdline: str) -> bytes:
    """As the firmware hands it to the kernel: with the name of the initrd, in UTF-16, with a zero."""
    return _digest((cmdline + " initrd=initrd").encode("utf-16-le") + bytes(2))


def kernel_digest(kernel: bytes) -> bytes:
    """Raises MalformedError: not an EFI program."""
    (digest,) = pe.parse(lambda offset, size: kernel[offset : offset + size], len(kernel)).authenticode(BANK)
    return digest


def patched(kernel: bytes, initrd: int, ram: int) -> bytes:
    """The kernel with what QEMU writes into it. initrd, ram: bytes. Raises MalformedError."""
    if len(kernel) < _MIN_KERNEL or kernel[0x202:0x206] != b"HdrS":
        raise MalformedError("not a Linux kernel", expected="a bzImage")
    if not kernel[0x211] & 1:
        raise MalformedError("not a kernel that is loaded high", expected="a bzImage")
    end = tdvf.LOW_RAM if ram >= tdvf.LOW_END else ram
    highest = 0xFFFF_FFFF if kernel[0x236] & 0x40 else int.from_bytes(kernel[0x22C:0x230], "little") or 0x37FF_FFFF
    address = (min(highest, end - _ACPI_DATA - 1) - initrd) & ~4095
    if address < 0:
        raise MalformedError("the initrd does not fit into memory", actual=initrd)
    raw = bytearray(kernel)
    raw[0x210] = 0xB0
    raw[0x211] |= 0x80
    raw[0x218:0x220] = struct.pack("<II", address, initrd)
    raw[0x224:0x22C] = struct.pack("<II", 0xFE00, 0x20000)
    return bytes(raw)


def _variable(owner: bytes, name: str, data: bytes = b"") -> bytes:
    return _digest(owner + struct.pack("<QQ", len(name), len(data)) + name.encode("utf-16-le") + data)


def _digest(data: bytes) -> bytes:
    return hashlib.sha384(data).digest()
