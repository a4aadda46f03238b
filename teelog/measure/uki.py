"""EFI programs that firmware starts directly, unified kernel images (UKI) among them -> PCR 4 and PCR 11 of a TPM.

    extend(PCR, data) = H(PCR || H(data)), from zeros
    PCR 4  = "Calling EFI Application from Boot Option", a separator (4 zero bytes), the Authenticode digest of the
             program, and of the kernel in it where the stub starts that through the firmware
    PCR 11 = of each measured section its name with a zero byte, then its content; then the phases that were reached

Which sections count depends on the version of systemd-stub, which the image names. Sources: TCG PC Client platform
firmware profile, section 3.3.4; systemd-stub(7), systemd-pcrphase.service(8), systemd-measure(1).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from teelog.errors import MalformedError, NotEstablished
from teelog.measure import pe
from teelog.measure.pe import Program, Read, Section

BANKS = ("sha256", "sha384")
PHASES = ("enter-initrd", "leave-initrd", "sysinit", "ready")
OLDEST = 252
"""Of the versions of systemd-stub: older ones measure in other ways."""

_ORDER = (
    b".linux", b".osrel", b".cmdline", b".initrd", b".ucode", b".splash", b".dtb", b".uname", b".sbat", b".pcrpkey",
    b".hwids",
)  # fmt: skip
_SINCE_257 = (b".ucode", b".uname", b".sbat", b".hwids")  # at the latest; 252 does not know them
_ONE_OF_SEVERAL = (b".profile", b".dtbauto", b".efifw")
"""Sections that the stub chooses among at boot."""
_STUB = re.compile(rb"#### LoaderInfo: systemd-stub ([0-9]{3})")
_CALLING = b"Calling EFI Application from Boot Option"
_SEPARATOR = bytes(4)
_MAX_ZEROS = 1 << 24  # bytes of a section that are in memory and not in the file
_MAX_STUB = 4096  # bytes of the section that names the stub


@dataclass(frozen=True, slots=True)
class Boot:
    """One way the program can boot. when: labels. pcrs: ``pcr4``, and ``pcr11`` of a UKI -> value."""

    when: Mapping[str, str]
    pcrs: Mapping[str, bytes]


def measure(read: Read, size: int, bank: str, stub: int | None = None) -> tuple[Boot, ...]:
    """Every way to boot that the program leaves open. stub: version, where the image does not name it.

    Raises MalformedError, NotEstablished (a stub, or a section, of which it is not known how it is measured).
    """
    program = pe.parse(read, size)
    sections = _sections(program)
    if b".linux" not in sections:
        return (Boot({"bank": bank}, {"pcr4": pcr4(bank, program.authenticode(bank))}),)
    named = _named(program, sections)
    version = named or stub
    if version is None or version < OLDEST or (stub is not None and stub != version):
        raise NotEstablished(
            "which version of systemd-stub the image has decides what is measured",
            expected=f"{OLDEST} or later" if named is None else str(named),
            actual="not named" if version is None else version if stub is None else stub,
            hint="say it with --stub VERSION" if version is None else None,
        )
    chosen = sorted(name.decode() for name in sections if name in _ONE_OF_SEVERAL)
    if chosen:
        raise NotEstablished("the stub chooses among sections at boot, by what nothing here knows", actual=chosen[0])
    return tuple(_boots(program, sections, version, bank))


def pcr4(bank: str, programs: Iterable[bytes]) -> bytes:
    """programs: Authenticode digests, in the order of starting."""
    data = (hashlib.new(bank, each).digest() for each in (_CALLING, _SEPARATOR))
    return extend(bank, [*data, *programs])


def pcr11(bank: str, sections: Mapping[bytes, bytes], phases: Iterable[str] = ()) -> bytes:
    """sections: name -> digest of its content, those that are measured. phases: that were entered, in order."""
    digests: list[bytes] = []
    for name in (each for each in _ORDER if each in sections):
        digests += [hashlib.new(bank, name + b"\0").digest(), sections[name]]
    return extend(bank, [*digests, *(hashlib.new(bank, phase.encode()).digest() for phase in phases)])


def extend(bank: str, digests: Iterable[bytes]) -> bytes:
    """A register after these events, from zeros."""
    value = bytes(hashlib.new(bank).digest_size)
    for digest in digests:
        value = hashlib.new(bank, value + digest).digest()
    return value


def _sections(program: Program) -> dict[bytes, Section]:
    found: dict[bytes, Section] = {}
    for section in program.sections:
        known = section.name in _ORDER or section.name in _ONE_OF_SEVERAL
        if known and (section.name in found or section.loaded - section.size > _MAX_ZEROS):
            raise NotEstablished("a section is there twice, or has no likely size", actual=section.name)
        found[section.name] = section
    return found


def _named(program: Program, sections: Mapping[bytes, Section]) -> int | None:
    """The version that the image names."""
    section = sections.get(b".sdmagic")
    if section is None:
        return None
    if section.size > _MAX_STUB:
        raise MalformedError("the name of the stub is too long", actual=section.size)
    found = _STUB.match(program.read(section.start, section.size))
    return int(found[1]) if found else None


def _boots(program: Program, sections: Mapping[bytes, Section], version: int, bank: str) -> Iterator[Boot]:
    digests = {name: _digest(program, sections[name], bank) for name in _ORDER if name in sections}
    for label, names in _measured(version, digests):
        measured = {name: digests[name] for name in names}
        for secure, programs in _started(program, sections[b".linux"], version, bank):
            for reached in range(1, len(PHASES) + 1):
                when = {"bank": bank, "stub": str(version), **label, **secure, "phase": ":".join(PHASES[:reached])}
                after = pcr11(bank, measured, PHASES[:reached])
                yield Boot(when, {"pcr4": pcr4(bank, programs), "pcr11": after})


def _measured(version: int, present: Mapping[bytes, bytes]) -> Iterator[tuple[dict[str, str], list[bytes]]]:
    """Which sections count, with a label where more than one answer is possible."""
    everything, old = list(present), [name for name in present if name not in _SINCE_257]
    if version >= 257 or old == everything:
        yield {}, everything
    elif version == OLDEST:
        yield {}, old
    else:  # from which version on each counts is not known here
        yield {"sections": "as stub 257"}, everything
        yield {"sections": "as stub 252"}, old


def _started(program: Program, linux: Section, version: int, bank: str) -> Iterator[tuple[dict[str, str], list[bytes]]]:
    """Which programs firmware starts: since 258 the stub starts the kernel itself, before that under Secure Boot."""
    (own,) = program.authenticode(bank)
    if version >= 258:
        yield {}, [own]
        return
    yield {"secure_boot": "on"}, [own]
    size = min(linux.size, linux.loaded)
    try:
        inner = pe.parse(lambda offset, count: program.read(linux.start + offset, count), size)
    except MalformedError:
        return  # what is no program does not start without Secure Boot either
    yield {"secure_boot": "off"}, [own, *inner.authenticode(bank)]


def _digest(program: Program, section: Section, bank: str) -> bytes:
    state = hashlib.new(bank)
    for piece in program.content(section):
        state.update(piece)
    return state.digest()
