"""EFI programs (PE/COFF files): their sections, and the Authenticode digest that firmware extends before it starts one.

The digest is of all bytes but the checksum, the directory entry of the signatures and the signatures themselves, with
sections in the order of their place in the file. It is the same for a program with and without signatures. Sources:
Microsoft, "Windows Authenticode Portable Executable Signature Format", section "Calculating the PE Image Hash"; the
PE format; TCG PC Client platform firmware profile, section 3.3.4. All numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from teelog.errors import MalformedError

Read = Callable[[int, int], bytes]
"""(offset, size) -> exactly that many bytes of the file."""

MAX_SECTIONS = 96
MAX_HEADERS = 1 << 16  # bytes
PIECE = 1 << 18
"""Bytes that are read at once."""

_SECTION = struct.Struct("<8sIIII16s")  # name, virtual size, address, raw size, raw start, the rest
_DIRECTORIES = {0x10B: 92, 0x20B: 108}  # magic -> offset of their number in the optional header
_SIGNATURES = 4  # which directory
_WHAT = "EFI program"


@dataclass(frozen=True, slots=True)
class Section:
    """start, size: bytes in the file. loaded: bytes in memory, zeros behind those of the file."""

    name: bytes
    start: int
    size: int
    loaded: int


@dataclass(frozen=True, slots=True)
class Program:
    """checksum, directory: offsets of what is not hashed; no directory where the headers have none for signatures.

    headers: bytes. signatures: bytes at the end of the file. size: of the file.
    """

    read: Read
    size: int
    checksum: int
    directory: int | None
    headers: int
    signatures: int
    sections: tuple[Section, ...]

    def authenticode(self, *algorithms: str) -> tuple[bytes, ...]:
        """The digest by each of the algorithms (names as in hashlib)."""
        states = [hashlib.new(name) for name in algorithms]
        for start, end in self._hashed():
            for piece in pieces(self.read, start, end):
                for state in states:
                    state.update(piece)
        return tuple(state.digest() for state in states)

    def _hashed(self) -> Iterator[tuple[int, int]]:
        yield 0, self.checksum
        behind = self.checksum + 4
        if self.directory is not None:
            yield behind, self.directory
            behind = self.directory + 8
        yield behind, self.headers
        done = self.headers
        for section in sorted((each for each in self.sections if each.size), key=lambda each: each.start):
            yield section.start, section.start + section.size
            done += section.size
        yield done, self.size - self.signatures

    def content(self, section: Section) -> Iterator[bytes]:
        """As it is loaded: cut at its size in memory, or with zeros up to it."""
        kept = min(section.size, section.loaded)
        yield from pieces(self.read, section.start, section.start + kept)
        for place in range(kept, section.loaded, PIECE):
            yield bytes(min(PIECE, section.loaded - place))


def pieces(read: Read, start: int, end: int) -> Iterator[bytes]:
    for place in range(start, end, PIECE):
        yield read(place, min(PIECE, end - place))


def parse(read: Read, size: int) -> Program:
    """size: bytes of the file. Raises MalformedError."""
    head = read(0, min(size, 64))
    if len(head) < 64 or head[:2] != b"MZ":
        raise MalformedError(f"not an {_WHAT}", expected="MZ")
    place = _number(head, 60, 4)
    if not 64 <= place <= MAX_HEADERS or place + 24 > size:
        raise MalformedError(f"{_WHAT}: its header lies outside", actual=place)
    coff = read(place, 24)
    count, optional = _number(coff, 6, 2), _number(coff, 20, 2)
    end = place + 24 + optional + _SECTION.size * count
    if coff[:4] != b"PE\0\0" or not 1 <= count <= MAX_SECTIONS or end > min(size, MAX_HEADERS):
        raise MalformedError(f"not an {_WHAT}", expected=f"PE with 1 to {MAX_SECTIONS} sections", actual=count)
    headers = read(place + 24, end - place - 24)
    directories = _DIRECTORIES.get(_number(headers, 0, 2))
    if directories is None or optional < directories + 4:
        raise MalformedError(f"{_WHAT}: no optional header that is known", actual=headers[:2].hex())
    listed = _number(headers, directories, 4)
    if listed > 16 or optional < directories + 4 + 8 * listed:
        raise MalformedError(f"{_WHAT}: more directories than have room", actual=listed)
    signed = directories + 4 + 8 * _SIGNATURES if listed > _SIGNATURES else None
    program = Program(
        read=read,
        size=size,
        checksum=place + 24 + 64,
        directory=None if signed is None else place + 24 + signed,
        headers=_number(headers, 60, 4),
        signatures=0 if signed is None else _signatures(headers[signed : signed + 8], size),
        sections=tuple(_section(*row[:5]) for row in _SECTION.iter_unpack(headers[optional:])),
    )
    _check(program, end)
    return program


def _signatures(entry: bytes, size: int) -> int:
    """Bytes. Firmware takes them to be the end of the file, so nothing may follow them."""
    start, length = _number(entry, 0, 4), _number(entry, 4, 4)
    if (start or length) and (start + length != size or not length):
        raise MalformedError(f"{_WHAT}: the signatures are not the end of the file", actual=f"{start} + {length}")
    return length


def _section(name: bytes, loaded: int, _address: int, size: int, start: int) -> Section:
    return Section(name.rstrip(b"\0"), start, size, loaded)


def _check(program: Program, end: int) -> None:
    last = program.size - program.signatures
    if not end <= program.headers <= last:
        raise MalformedError(f"{_WHAT}: the headers end where they cannot", actual=program.headers)
    place = program.headers
    for section in sorted((each for each in program.sections if each.size), key=lambda each: each.start):
        if section.start < place or section.start + section.size > last:
            raise MalformedError(f"{_WHAT}: a section overlaps others or the end", actual=section.name)
        place = section.start + section.size


def _number(data: bytes, place: int, size: int) -> int:
    return int.from_bytes(data[place : place + size], "little")
