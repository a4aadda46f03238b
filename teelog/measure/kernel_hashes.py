"""The table of hashes through which OVMF checks a kernel that QEMU loads (``-kernel``).

Source: QEMU ``target/i386/sev.c`` (build_kernel_loader_hashes); edk2 ``OvmfPkg/AmdSev/BlobVerifierLibSevHashes``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from teelog.errors import MalformedError
from teelog.measure.guid import guid
from teelog.measure.ovmf import PAGE, Layout

TABLE = guid("9438d606-4f22-4cc9-b479-a793d411fd21")
CMDLINE = guid("97d02dd8-bd20-4c94-aa78-e7714d36ab2a")
INITRD = guid("44baf731-3a2f-4bd7-9af1-41e29169781d")
KERNEL = guid("4de79437-abd2-427f-b835-d5b172d2045b")

ENTRY_SIZE = 16 + 2 + 32
TABLE_SIZE = 16 + 2 + 3 * ENTRY_SIZE  # 168
PADDED_SIZE = -(-TABLE_SIZE // 16) * 16  # 176: SEV encrypts in blocks of 16
NOTHING = hashlib.sha256().digest()


@dataclass(frozen=True, slots=True)
class KernelHashes:
    """SHA-256 (32 bytes each) of the kernel file as given to QEMU, the initrd, and the command line with a NUL."""

    kernel: bytes
    initrd: bytes
    cmdline: bytes

    def table(self) -> bytes:
        """The table as QEMU writes it, 176 bytes."""
        entries = ((CMDLINE, self.cmdline), (INITRD, self.initrd), (KERNEL, self.kernel))
        rows = b"".join(name + ENTRY_SIZE.to_bytes(2, "little") + digest for name, digest in entries)
        return (TABLE + TABLE_SIZE.to_bytes(2, "little") + rows).ljust(PADDED_SIZE, b"\0")

    def page(self, table_gpa: int) -> bytes:
        """The page that holds the table at ``table_gpa``; raises MalformedError if it would cross the page's end."""
        offset = table_gpa % PAGE
        if offset + PADDED_SIZE > PAGE:
            raise MalformedError("hash table of the firmware crosses a page", actual=f"{table_gpa:#x}")
        return (bytes(offset) + self.table()).ljust(PAGE, b"\0")


def cmdline_digest(cmdline: bytes) -> bytes:
    """SHA-256 of the command line as QEMU hands it over; raises MalformedError on a NUL inside."""
    if b"\0" in cmdline:
        raise MalformedError("kernel command line has a NUL in it")
    return hashlib.sha256(cmdline + b"\0").digest()


def table_gpa(layout: Layout) -> int:
    """Where the firmware reads the table; raises MalformedError if it does not (edk2 writes 0 then)."""
    if not layout.hashes_table_gpa:
        raise MalformedError(
            "firmware has no place for kernel hashes, so a kernel would go unmeasured",
            hint="build OVMF from OvmfPkg/AmdSev/AmdSevX64.dsc, or leave --kernel out",
        )
    return layout.hashes_table_gpa
