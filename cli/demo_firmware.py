"""A made-up firmware image with what an SEV-SNP launch needs to find in one, so that the demo needs no download.

The layout is edk2's (``teelog.measure.ovmf`` names the sources): SEV metadata, then a table of GUIDed entries that ends
32 bytes before the image does and is read backwards. It measures as real firmware does, and boots nothing.
"""

from __future__ import annotations

import hashlib
import struct

from teelog.measure import ovmf
from teelog.measure.ovmf import PAGE, SectionType

PAGES = 16
METADATA_FROM_END = 1024  # bytes
HASHES_TABLE = 0x80EC00  # guest physical address, inside the page for kernel hashes
RESET_EIP = 0x80B004

_SECTIONS = (
    (0x800000, 9 * PAGE, SectionType.SEC_MEM),
    (0x80B000, PAGE, SectionType.SECRETS),
    (0x80C000, PAGE, SectionType.CPUID),
    (0x80E000, PAGE, SectionType.KERNEL_HASHES),
    (0x80F000, 2 * PAGE, SectionType.SEC_MEM),
)


def image() -> bytes:
    """The image; the same bytes every time."""
    rows = b"".join(struct.pack("<III", *section) for section in _SECTIONS)
    metadata = struct.pack("<4sIII", b"ASEV", 16 + len(rows), 1, len(_SECTIONS)) + rows
    table = _entry(ovmf.SEV_METADATA, struct.pack("<I", METADATA_FROM_END))
    table += _entry(ovmf.SEV_HASH_TABLE, struct.pack("<II", HASHES_TABLE, 0x400))
    table += _entry(ovmf.SEV_ES_RESET_BLOCK, struct.pack("<I", RESET_EIP))
    table += struct.pack("<H", len(table) + ovmf.ENTRY_HEADER) + ovmf.TABLE_FOOTER
    data = bytearray(hashlib.shake_128(b"teelog demo firmware").digest(PAGES * PAGE))
    at = len(data) - METADATA_FROM_END
    data[at : at + len(metadata)] = metadata
    end = len(data) - ovmf.AFTER_TABLE
    data[end - len(table) : end] = table
    return bytes(data)


def part(name: str, length: int) -> bytes:
    """Stand-in for a kernel or an initrd: bytes that depend on the name alone."""
    return hashlib.shake_128(f"teelog demo {name}".encode()).digest(length)


def _entry(guid: bytes, data: bytes) -> bytes:
    return data + struct.pack("<H", len(data) + ovmf.ENTRY_HEADER) + guid
