"""Firmware images made up here, so that the algorithm is tested where no real firmware is at hand."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from uuid import UUID

from hypothesis import HealthCheck, settings

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For properties: a busy machine is no failure."""

PAGE = 4096
FOOTER = "96b582de-1fb2-45f7-baea-a366c55a082d"
METADATA = "dc886566-984a-4798-a75e-5585a7bf67cc"
HASH_TABLE = "7255371f-3a3b-4b04-927b-1da6efa8d454"
RESET_BLOCK = "00f771de-1a7e-4fcb-890e-68c77e2fb44e"
SVSM_INFO = "a789a612-0597-4c4b-a49f-cbb1fe9d1ddd"

SEC_MEM, SECRETS, CPUID, CAA, KERNEL_HASHES = 1, 2, 3, 4, 0x10

# As edk2's AmdSev build lays it out: CPUID is not last, so that EC2's order differs from QEMU's.
SECTIONS = (
    (0x800000, 0x9000, SEC_MEM),
    (0x80B000, 0x1000, SECRETS),
    (0x80C000, 0x1000, CPUID),
    (0x80D000, 0x1000, CAA),
    (0x80E000, 0x1000, KERNEL_HASHES),
    (0x80F000, 0x2000, SEC_MEM),
)
TABLE_GPA = 0x80EC00
RESET_EIP = 0x80B004


def entry(guid: str, data: bytes, length: int | None = None) -> bytes:
    size = len(data) + 18 if length is None else length
    return data + struct.pack("<H", size) + UUID(guid).bytes_le


def metadata(
    sections: Sequence[tuple[int, int, int]] = SECTIONS,
    *,
    magic: bytes = b"ASEV",
    version: int = 1,
    size: int | None = None,
    count: int | None = None,
) -> bytes:
    rows = b"".join(struct.pack("<III", *row) for row in sections)
    length = 16 + len(rows) if size is None else size
    return struct.pack("<4sIII", magic, length, version, len(sections) if count is None else count) + rows


def image(
    *,
    pages: int = 4,
    block: bytes | None = None,
    metadata_from_end: int | None = None,
    entries: Sequence[tuple[str, bytes]] | None = None,
    table_length: int | None = None,
    svsm_entry: int | None = None,
) -> bytes:
    """An image of ``pages`` pages: noise, then ``block`` (the metadata), 1 KiB before the end, then the table.

    entries: (GUID, data) in file order, in place of the usual three.
    """
    block = metadata() if block is None else block
    from_end = 1024 if metadata_from_end is None else metadata_from_end
    if entries is None:
        entries = [
            (METADATA, struct.pack("<I", from_end)),
            (HASH_TABLE, struct.pack("<II", TABLE_GPA, 0x400)),
            (RESET_BLOCK, struct.pack("<I", RESET_EIP)),
        ]
        if svsm_entry is not None:
            entries = [*entries, (SVSM_INFO, struct.pack("<I", svsm_entry))]
    table = b"".join(entry(guid, data) for guid, data in entries)
    table = entry(FOOTER, table, len(table) + 18 if table_length is None else table_length)
    data = bytearray(hashlib.shake_128(b"firmware").digest(pages * PAGE))
    data[-1024 : -1024 + len(block)] = block
    data[-32 - len(table) : -32] = table
    return bytes(data)
