"""TDX firmware (TDVF, which OVMF is): its metadata -> MRTD, and the list of memory (TD HOB) that RTMR0 begins with.

    MRTD = SHA-384 of 128 bytes for each page that is added, and of 128 bytes and the content for each measured 256

Whether a section's pages are each added and measured in turn, or all added first, is the VMM's choice: both values are
right, each under one VMM (`Order`). All numbers are little-endian. Sources: Intel TDX virtual firmware design guide,
sections 11 (metadata) and 4.2 (TD HOB); Intel TDX module ABI, TDH.MEM.PAGE.ADD and TDH.MR.EXTEND; UEFI PI 1.7
volume 3, HOBs.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from teelog.errors import MalformedError
from teelog.measure import guid, ovmf
from teelog.measure.ovmf import FOUR_GIB, PAGE

CFV, TD_HOB, TEMP_MEM = 1, 2, 3
"""Types of sections: variables, list of memory, memory of the firmware's own."""
MAX_SECTIONS = 64
MAX_BYTES = 256 << 20
"""Of all sections together, so that measuring them stays below some seconds."""
LOW_END, LOW_RAM = 0xB000_0000, 0x8000_0000
"""QEMU's q35: memory up to LOW_END lies in one piece; of more, LOW_RAM bytes lie below 4 GiB."""
MAX_RAM = 1 << 48  # bytes

_METADATA = guid.guid("e47a6535-984a-4798-865e-4685a7bf8ec2")
_HEADER = struct.Struct("<4sIII")  # signature, size, version, number of sections
_SECTION = struct.Struct("<IIQQII")  # place and size in the image, address and size in memory, type, attributes
_TYPES = range(7)
_EXTEND, _AUG = 1, 2
_CHUNK = 256
_OWNED, _UNACCEPTED = 0, 7
_WHAT = "TDX metadata"


class Order(Enum):
    """value: label. SINGLE: QEMU from 9.0 on, GCE. TWO: QEMU's TDX branches of 8.x."""

    SINGLE = "single-pass"
    TWO = "two-pass"


@dataclass(frozen=True, slots=True)
class Section:
    """start, size: bytes in the image. gpa, memory: address and bytes in memory."""

    start: int
    size: int
    gpa: int
    memory: int
    kind: int
    attributes: int


@dataclass(frozen=True, slots=True)
class Tdvf:
    image: bytes
    sections: tuple[Section, ...]

    def mrtd(self, order: Order) -> bytes:
        """48 bytes."""
        state = hashlib.sha384()
        for section in self.sections:
            pages = range(0, section.memory, PAGE)
            passes = [(True, True)] if order is Order.SINGLE else [(True, False), (False, True)]
            for add, extend in passes:
                for page in pages:
                    if add and not section.attributes & _AUG:
                        state.update(_record(b"MEM.PAGE.ADD", section.gpa + page))
                    if extend and section.attributes & _EXTEND:
                        for piece in self._extends(section, page):
                            state.update(piece)
        return state.digest()

    def _extends(self, section: Section, page: int) -> Iterator[bytes]:
        start = section.start + page
        content = self.image[start : min(start + PAGE, section.start + section.size)].ljust(PAGE, b"\0")
        for place in range(0, PAGE, _CHUNK):
            yield _record(b"MR.EXTEND", section.gpa + page + place)
            yield content[place : place + _CHUNK]

    def variables(self) -> bytes:
        """The variable store as it lies in the image."""
        (section,) = self._only(CFV)
        return self.image[section.start : section.start + section.size]

    def hob(self, ram: int) -> bytes:
        """The TD HOB that QEMU makes, as it is measured: without its end mark. ram: bytes. Raises MalformedError."""
        (place,) = self._only(TD_HOB)
        if not 1 << 24 <= ram <= MAX_RAM or ram % PAGE:
            raise MalformedError("not a size of memory", expected="whole pages, 16 MiB and more", actual=ram)
        owned = sorted((each.gpa, each.memory) for each in self.sections if each.kind in (TD_HOB, TEMP_MEM))
        resources = b"".join(_resource(*row) for row in _memory(owned, ram))
        end = place.gpa + 56 + len(resources) + 8
        head = struct.pack("<HHIII4QQ", 1, 56, 0, 9, 0, 0, 0, 0, 0, end)
        return head + resources

    def _only(self, kind: int) -> list[Section]:
        found = [each for each in self.sections if each.kind == kind]
        if len(found) != 1:
            raise MalformedError(f"{_WHAT}: not one section of a kind", expected=kind, actual=len(found))
        return found


def parse(image: bytes) -> Tdvf:
    """image: at most `ovmf.MAX_IMAGE` bytes. Raises MalformedError."""
    entry = ovmf.entries(image).get(_METADATA)
    if entry is None or len(entry) < 4:
        raise MalformedError(f"the firmware has no {_WHAT}: it is not built for TDX")
    start = len(image) - int.from_bytes(entry[:4], "little")
    if not 0 <= start <= len(image) - _HEADER.size:
        raise MalformedError(f"{_WHAT}: outside of the image", actual=start)
    signature, size, version, count = _HEADER.unpack_from(image, start)
    needed = _HEADER.size + count * _SECTION.size
    if signature != b"TDVF" or version != 1 or not 1 <= count <= MAX_SECTIONS:
        raise MalformedError(f"{_WHAT}: not version 1 with sections", actual=signature)
    # Some firmware counts the GUID before the header too.
    if size not in (needed, needed + guid.SIZE) or start + needed > len(image):
        raise MalformedError(f"{_WHAT}: its length does not fit its sections", expected=needed, actual=size)
    rows = _SECTION.iter_unpack(image[start + _HEADER.size : start + needed])
    sections = tuple(_section(Section(*row), len(image)) for row in rows)
    if sum(each.memory for each in sections) > MAX_BYTES:
        raise MalformedError(f"{_WHAT}: too much memory", expected=f"at most {MAX_BYTES} bytes")
    return Tdvf(image, sections)


def _section(section: Section, image: int) -> Section:
    inside = section.start + section.size <= image and section.size <= section.memory
    pages = section.gpa % PAGE == 0 == section.memory % PAGE and section.gpa + section.memory <= FOUR_GIB
    known = section.kind in _TYPES and not section.attributes & ~(_EXTEND | _AUG)
    if not (inside and pages and known):
        raise MalformedError(f"{_WHAT}: no such section", actual=f"type {section.kind} at {section.gpa:#x}")
    return section


def _record(name: bytes, gpa: int) -> bytes:
    return (name.ljust(16, b"\0") + gpa.to_bytes(8, "little")).ljust(128, b"\0")


def _memory(owned: Sequence[tuple[int, int]], ram: int) -> Iterator[tuple[int, int, int]]:
    """Kind, start and bytes of each area."""
    low = ram if ram < LOW_END else LOW_RAM
    place = 0
    for start, size in owned:
        if start < place or start + size > low:
            raise MalformedError(f"{_WHAT}: memory of its own overlaps, or is not there", actual=f"{start:#x}")
        if start > place:
            yield _UNACCEPTED, place, start - place
        yield _OWNED, start, size
        place = start + size
    if place < low:
        yield _UNACCEPTED, place, low - place
    if ram > low:
        yield _UNACCEPTED, FOUR_GIB, ram - low


def _resource(kind: int, start: int, size: int) -> bytes:
    return struct.pack("<HHI16xIIQQ", 3, 48, 0, kind, 7, start, size)
