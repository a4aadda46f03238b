"""Enclave image files (EIF) of AWS Nitro Enclaves -> PCR0, PCR1, PCR2, and PCR8 where the image is signed.

    PCR0 = ext(kernel || command line || all ramdisks)      PCR1 = ext(kernel || command line || first ramdisk)
    PCR2 = ext(the other ramdisks)                          ext(data) = SHA-384(48 zero bytes || SHA-384(data))
    PCR8 = ext(DER of the certificate that signed)

All numbers of the file are big-endian. Section headers, the metadata section (build time, tools) and the signature
are not measured, so one measurement has many files; nor does PCR0 alone fix where kernel, command line and ramdisks
begin. Source: AWS, aws-nitro-enclaves-image-format, compared with files that its own tool wrote.

The image may be larger than memory: it is read in pieces, by independent jobs that the caller may run side by side.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from teelog.errors import MalformedError, NotEstablished
from teelog.evidence.nitro import pcr
from teelog.measure import eif_signature

Read = Callable[[int, int], bytes]
"""(offset, size) -> exactly that many bytes of the image. It may be called from several threads at once."""
Job = Callable[[], tuple[bytes, ...]]
Run = Callable[[Sequence[Job]], Sequence[tuple[bytes, ...]]]

HEADER, SECTION_HEADER = 548, 12  # bytes
VERSIONS = (2, 3, 4)
MAX_SECTIONS = 32
PIECE = 1 << 18
"""Bytes that are read at once."""

KERNEL, CMDLINE, RAMDISK, SIGNATURE, METADATA = 1, 2, 3, 4, 5

_NAMES = {KERNEL: "kernel", CMDLINE: "cmdline", RAMDISK: "ramdisk", SIGNATURE: "signature", METADATA: "metadata"}
_ONCE = (KERNEL, CMDLINE, SIGNATURE, METADATA)
_MAGIC = b".eif"
_AARCH64 = 0x1
_OFFSETS, _SIZES, _CRC = 28, 284, 544
_WHAT = "enclave image"


@dataclass(frozen=True, slots=True)
class Section:
    """kind: KERNEL and so on. start: offset of its content. size: bytes of it."""

    kind: int
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class Layout:
    """sections: in the order of the file, which is the order of measuring. size: bytes of the file. crc: as stated."""

    aarch64: bool
    sections: tuple[Section, ...]
    size: int
    crc: bytes

    def of(self, *kinds: int) -> list[Section]:
        return [each for each in self.sections if each.kind in kinds]

    @property
    def architecture(self) -> str:
        return "aarch64" if self.aarch64 else "x86_64"


@dataclass(frozen=True, slots=True)
class Measurement:
    """pcrs: name -> 48 bytes: pcr0, pcr1, pcr2, and pcr8 for a signed image."""

    architecture: str
    pcrs: dict[str, bytes]


def one_by_one(jobs: Sequence[Job]) -> list[tuple[bytes, ...]]:
    return [job() for job in jobs]


def measure(read: Read, size: int, run: Run = one_by_one) -> Measurement:
    """size: bytes of the image. run: runs the jobs, in any order, and gives their results in theirs.

    Raises MalformedError, NotEstablished (a version that is not known), SignatureError, VerificationError (the image is
    signed, but not with the certificate in it, or over another PCR0).
    """
    layout = parse(read, size)
    measured, rest = layout.of(KERNEL, CMDLINE, RAMDISK), layout.of(RAMDISK)[1:]
    boot = len(measured) - len(rest)
    (image, first), (others,), (crc,) = run(
        [
            lambda: _digests(read, measured, boot),
            lambda: _digests(read, rest, len(rest))[:1],
            lambda: (_checksum(read, size),),
        ]
    )
    if crc != layout.crc:
        raise MalformedError(f"{_WHAT}: damaged, its checksum differs", expected=layout.crc.hex(), actual=crc.hex())
    pcrs = {f"pcr{index}": pcr.of_image(digest) for index, digest in enumerate((image, first, others))}
    for section in layout.of(SIGNATURE):
        if section.size > eif_signature.MAX_SECTION:
            raise MalformedError(f"{_WHAT}: the signature section is too long", actual=section.size)
        certificate = eif_signature.verify(read(section.start, section.size), pcrs["pcr0"])
        pcrs["pcr8"] = pcr.of_signer(certificate)
    return Measurement(layout.architecture, pcrs)


def parse(read: Read, size: int) -> Layout:
    """The header's tables and the sections' own headers must say the same, and leave no byte out."""
    if size < HEADER:
        raise MalformedError(f"{_WHAT}: too short", expected=f"at least {HEADER} bytes", actual=size)
    header = read(0, HEADER)
    if header[:4] != _MAGIC:
        raise MalformedError(f"not an {_WHAT}", expected="an EIF file")
    version, flags = _number(header, 4, 2), _number(header, 6, 2)
    if version not in VERSIONS:
        raise NotEstablished(
            f"{_WHAT}: its version is not known here", expected=" or ".join(map(str, VERSIONS)), actual=version
        )
    if flags & ~_AARCH64:
        raise NotEstablished(f"{_WHAT}: a flag is set that is not known here", actual=f"{flags:#06x}")
    sections = tuple(_sections(read, header, size))
    _check_order(sections)
    return Layout(bool(flags & _AARCH64), sections, size, header[_CRC:HEADER])


def _sections(read: Read, header: bytes, size: int) -> Iterator[Section]:
    count = _number(header, 26, 2)
    if not 1 <= count <= MAX_SECTIONS:
        raise MalformedError(f"{_WHAT}: no such number of sections", expected=f"1 to {MAX_SECTIONS}", actual=count)
    offsets = [_number(header, _OFFSETS + 8 * place, 8) for place in range(MAX_SECTIONS)]
    sizes = [_number(header, _SIZES + 8 * place, 8) for place in range(MAX_SECTIONS)]
    if any(offsets[count:]) or any(sizes[count:]):
        raise MalformedError(f"{_WHAT}: the header has sections behind its last one")
    place = HEADER
    for index in range(count):
        if offsets[index] != place or sizes[index] > size - place - SECTION_HEADER:
            raise MalformedError(f"{_WHAT}: section {index} is not where it should be", actual=offsets[index])
        own = read(place, SECTION_HEADER)
        kind, flags, length = _number(own, 0, 2), _number(own, 2, 2), _number(own, 4, 8)
        if length != sizes[index]:
            raise MalformedError(f"{_WHAT}: section {index} has two sizes", expected=sizes[index], actual=length)
        if kind not in _NAMES:
            raise NotEstablished(f"{_WHAT}: section {index} is of a kind that is not known here", actual=kind)
        if flags:
            raise NotEstablished(f"{_WHAT}: section {index} has flags that are not known here", actual=flags)
        yield Section(kind, place + SECTION_HEADER, length)
        place += SECTION_HEADER + length
    if place != size:
        raise MalformedError(f"{_WHAT}: bytes behind the last section", actual=f"{size - place} bytes")


def _check_order(sections: Sequence[Section]) -> None:
    """The order of AWS's tool; what another order measures, and whether it starts, nothing states."""
    kinds = [each.kind for each in sections]
    for kind in _ONCE:
        if kinds.count(kind) > 1:
            raise MalformedError(f"{_WHAT}: more than one {_NAMES[kind]}")
    if kinds[:2] != [KERNEL, CMDLINE] or RAMDISK not in kinds:
        raise MalformedError(
            f"{_WHAT}: sections are missing or out of order",
            expected="kernel, cmdline, metadata, ramdisks, signature",
            actual=", ".join(_NAMES[kind] for kind in kinds),
        )
    if SIGNATURE in kinds[:-1] or any(pair == (RAMDISK, METADATA) for pair in pairwise(kinds)):
        raise MalformedError(f"{_WHAT}: sections are out of order", actual=", ".join(_NAMES[kind] for kind in kinds))


def _number(data: bytes, place: int, size: int) -> int:
    return int.from_bytes(data[place : place + size])


def _digests(read: Read, sections: Sequence[Section], first: int) -> tuple[bytes, bytes]:
    """SHA-384 of all the sections, and of the ``first`` ones alone, in one pass."""
    state = hashlib.sha384()
    until = state.copy()
    for place, section in enumerate(sections, 1):
        for piece in _pieces(read, section.start, section.end):
            state.update(piece)
        if place == first:
            until = state.copy()
    return state.digest(), until.digest()


def _checksum(read: Read, size: int) -> bytes:
    """CRC-32 of everything but the checksum itself."""
    crc = 0
    for start, end in ((0, _CRC), (HEADER, size)):
        crc = _crc(_pieces(read, start, end), crc)
    return crc.to_bytes(4)


def _crc(pieces: Iterable[bytes], crc: int) -> int:
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    return crc


def _pieces(read: Read, start: int, end: int) -> Iterator[bytes]:
    for place in range(start, end, PIECE):
        yield read(place, min(PIECE, end - place))
