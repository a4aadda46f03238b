"""OVMF images: the GUIDed table at their end and the SEV metadata that it points to.

Sources: edk2 ``OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm`` (the table, which ends 32 bytes before the image does and
is read backwards) and ``OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm`` (the sections that are measured apart from the
image). Coconut-SVSM images carry the same table. Images come from outside: every offset and size is checked, and
anything that QEMU would not launch raises MalformedError.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from teelog.errors import MalformedError
from teelog.measure import guid

PAGE = 4096
FOUR_GIB = 1 << 32
MAX_IMAGE = 64 << 20  # bytes; firmware in use has 2 to 4 MiB
MAX_SECTIONS = 128
MAX_SECTION_BYTES = 256 << 20  # all sections of an image together, so that measuring them stays below a second

AFTER_TABLE = 32  # bytes between the table's end and the image's end: the reset vector
ENTRY_HEADER = 2 + guid.SIZE

TABLE_FOOTER = guid.guid("96b582de-1fb2-45f7-baea-a366c55a082d")
SEV_METADATA = guid.guid("dc886566-984a-4798-a75e-5585a7bf67cc")
SEV_HASH_TABLE = guid.guid("7255371f-3a3b-4b04-927b-1da6efa8d454")
SEV_ES_RESET_BLOCK = guid.guid("00f771de-1a7e-4fcb-890e-68c77e2fb44e")
SVSM_INFO = guid.guid("a789a612-0597-4c4b-a49f-cbb1fe9d1ddd")

_METADATA_HEADER = struct.Struct("<4sIII")  # signature, size with this header, version, number of sections
_METADATA_SECTION = struct.Struct("<III")  # guest physical address, size, type


class SectionType(IntEnum):
    SEC_MEM = 1
    SECRETS = 2
    CPUID = 3
    SVSM_CAA = 4
    KERNEL_HASHES = 0x10


_ONE_PAGE = (SectionType.SECRETS, SectionType.CPUID, SectionType.KERNEL_HASHES)


@dataclass(frozen=True, slots=True)
class Section:
    """Guest memory that is measured by what it is for. gpa and size in bytes, both multiples of a page."""

    gpa: int
    size: int
    type: SectionType


@dataclass(frozen=True, slots=True)
class Layout:
    """What a launch digest needs to know of a firmware beside its pages.

    reset_eip: where application processors start, or None.
    hashes_table_gpa: where the firmware looks for the hashes of kernel, initrd and command line, or None.
    """

    sections: tuple[Section, ...]
    reset_eip: int | None
    hashes_table_gpa: int | None

    def ap_eip(self) -> int:
        # QEMU refuses a reset block that says 0 (target/i386/sev.c, sev_es_find_reset_vector).
        if not self.reset_eip:
            raise MalformedError("firmware names no address at which further processors start")
        return self.reset_eip


@dataclass(frozen=True, slots=True)
class Firmware:
    """A parsed image. svsm_entry: offset of an SVSM's first instruction from the image's start, or None."""

    image: bytes
    layout: Layout
    svsm_entry: int | None

    def gpa(self, end: int = FOUR_GIB) -> int:
        """The guest physical address of the first byte when the image ends at ``end``."""
        start = end - len(self.image)
        if start < 0 or start % PAGE:
            raise MalformedError("image does not fit below its end address", expected=f"<= {end} bytes", actual=start)
        return start


def parse(image: bytes) -> Firmware:
    """Read an image of at most MAX_IMAGE bytes; raises MalformedError."""
    found = entries(image)
    layout = Layout(
        sections=_sections(image, found),
        reset_eip=_u32(found, SEV_ES_RESET_BLOCK, "SEV-ES reset block"),
        hashes_table_gpa=_u32(found, SEV_HASH_TABLE, "SEV hash table block"),
    )
    return Firmware(image, layout, _u32(found, SVSM_INFO, "SVSM info"))


def section(gpa: int, size: int, number: int) -> Section:
    """A checked section; raises MalformedError. ``number`` is the type's."""
    try:
        kind = SectionType(number)
    except ValueError as error:
        raise MalformedError("unknown type of SEV metadata section", actual=number) from error
    if gpa % PAGE or size % PAGE or gpa < 0 or size <= 0 or gpa + size > FOUR_GIB:
        raise MalformedError(
            "SEV metadata section is not made of whole pages below 4 GiB", actual=f"{gpa:#x}+{size:#x}"
        )
    if kind in _ONE_PAGE and size != PAGE:
        raise MalformedError(f"SEV metadata section {kind.name} is not one page", expected=PAGE, actual=size)
    return Section(gpa, size, kind)


def bounded(sections: tuple[Section, ...]) -> tuple[Section, ...]:
    """The same sections, if there are few enough of them; raises MalformedError."""
    total = sum(part.size for part in sections)
    if len(sections) > MAX_SECTIONS or total > MAX_SECTION_BYTES:
        raise MalformedError(
            "SEV metadata is too large",
            expected=f"<= {MAX_SECTIONS} sections, <= {MAX_SECTION_BYTES} bytes",
            actual=f"{len(sections)} sections, {total} bytes",
        )
    return sections


def entries(image: bytes) -> Mapping[bytes, bytes]:
    """GUID -> data of each entry of the table of an image of at most MAX_IMAGE bytes. Raises MalformedError.

    An entry is: data, u16 length with this header, GUID.
    """
    if not PAGE <= len(image) <= MAX_IMAGE or len(image) % PAGE:
        raise MalformedError(
            "firmware image has an impossible size",
            expected=f"a multiple of {PAGE} up to {MAX_IMAGE} bytes",
            actual=f"{len(image)} bytes",
        )
    end = len(image) - AFTER_TABLE
    length, footer = _entry_header(image, end)
    if footer != TABLE_FOOTER:
        raise MalformedError("image does not end in an OVMF GUIDed table", actual=footer.hex())
    start = end - length
    if length < ENTRY_HEADER or start < 0:
        raise MalformedError("OVMF GUIDed table has an impossible length", actual=length)
    found: dict[bytes, bytes] = {}
    position = end - ENTRY_HEADER
    while position > start:
        if position - start < ENTRY_HEADER:
            raise MalformedError("OVMF GUIDed table begins inside an entry", actual=position - start)
        size, name = _entry_header(image, position)
        if not ENTRY_HEADER <= size <= position - start:
            raise MalformedError("entry of the OVMF GUIDed table has an impossible length", actual=size)
        # Readers differ on which of two entries counts, so two are one too many.
        if name in found or name == TABLE_FOOTER:
            raise MalformedError("OVMF GUIDed table has an entry twice", actual=name.hex())
        found[name] = image[position - size : position - ENTRY_HEADER]
        position -= size
    return found


def _entry_header(image: bytes, end: int) -> tuple[int, bytes]:
    header = image[end - ENTRY_HEADER : end]
    return int.from_bytes(header[:2], "little"), header[2:]


def _u32(entries: Mapping[bytes, bytes], name: bytes, what: str) -> int | None:
    data = entries.get(name)
    if data is None:
        return None
    if len(data) < 4:
        raise MalformedError(f"{what} of the firmware is too short", expected=">= 4 bytes", actual=f"{len(data)} bytes")
    return int.from_bytes(data[:4], "little")


def _sections(image: bytes, entries: Mapping[bytes, bytes]) -> tuple[Section, ...]:
    from_end = _u32(entries, SEV_METADATA, "SEV metadata offset")
    if from_end is None:
        return ()
    start = len(image) - from_end
    if start < 0 or from_end < _METADATA_HEADER.size:
        raise MalformedError("SEV metadata lies outside of the image", actual=from_end)
    signature, size, version, count = _METADATA_HEADER.unpack_from(image, start)
    if signature != b"ASEV" or version != 1:
        raise MalformedError("SEV metadata is not ASEV version 1", actual=f"{signature.hex()} version {version}")
    if count > MAX_SECTIONS:
        raise MalformedError("SEV metadata has too many sections", expected=f"<= {MAX_SECTIONS}", actual=count)
    needed = _METADATA_HEADER.size + count * _METADATA_SECTION.size
    if size != needed or needed > from_end:
        raise MalformedError("SEV metadata's length does not fit its sections", expected=needed, actual=size)
    rows = _METADATA_SECTION.iter_unpack(image[start + _METADATA_HEADER.size : start + needed])
    return bounded(tuple(section(gpa, length, number) for gpa, length, number in rows))
