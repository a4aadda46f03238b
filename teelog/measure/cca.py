"""Arm CCA: what a host does to build a realm -> RIM, the realm's initial measurement.

    RIM = H(RealmParams), and for each step RIM = H(descriptor), which holds the RIM before it

A step is RMI_DATA_CREATE of one granule, RMI_RTT_INIT_RIPAS of one entry of the translation table, or RMI_REC_CREATE.
All numbers are little-endian. Source: Arm, "Realm Management Monitor specification" (DEN0137) 1.0-rel0, sections
A7.1.1, B4.3.9.4, B4.3.12.4 and C1. The order of the steps is the host's: it is measured as it is given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from teelog.errors import MalformedError

GRANULE = 4096  # bytes
REGISTER = 64  # bytes; a shorter digest is padded with zeros
GPRS = 8
MIN_IPA_BITS, MAX_IPA_BITS = 20, 52

_PARAMS = 4096  # bytes of RmiRealmParams, and of RmiRecParams
_DESCRIPTOR = 0x100
_DATA, _REC, _RIPAS = 0, 1, 2
_LPA2, _SVE, _PMU = 1, 2, 4
_RUNNABLE = _MEASURE = 1
_ENTRY_BITS = 9  # of one level of the translation table
_CONCATENATED = 4
"""So many bits that the first level would decode are decoded by joined tables of the level below it."""


class Hash(Enum):
    """value: name in tokens. number: in RealmParams."""

    SHA_256 = "sha-256"
    SHA_512 = "sha-512"

    @property
    def number(self) -> int:
        return 0 if self is Hash.SHA_256 else 1

    def digest(self, data: bytes) -> bytes:
        return (hashlib.sha256 if self is Hash.SHA_256 else hashlib.sha512)(data).digest()


@dataclass(frozen=True, slots=True)
class Params:
    """How the realm is created. ipa_bits: size of its address space. num_bps, num_wps: breakpoints and watchpoints, 2
    to 64. sve_vl: bits of a vector, a multiple of 128 up to 2,048; 0: no SVE. pmu_counters: None: no PMU.
    """

    hash: Hash
    ipa_bits: int
    num_bps: int
    num_wps: int
    sve_vl: int = 0
    pmu_counters: int | None = None
    lpa2: bool = False


@dataclass(frozen=True, slots=True)
class Ripas:
    """An area that begins as RAM. base, top: addresses, top not included, multiples of GRANULE."""

    base: int
    top: int


@dataclass(frozen=True, slots=True)
class Data:
    """Content that the host loads. ipa: address of its first byte. pieces: the content, each piece but the last one a
    multiple of GRANULE. measured: whether the content counts, or its place alone.
    """

    ipa: int
    pieces: Iterable[bytes]
    measured: bool = True


@dataclass(frozen=True, slots=True)
class Rec:
    """A runnable virtual processor. pc: where it begins. gprs: its first registers, eight of them."""

    pc: int
    gprs: tuple[int, ...] = (0,) * GPRS


Step = Ripas | Data | Rec


def rim(params: Params, steps: Iterable[Step]) -> bytes:
    """32 or 64 bytes, as the hash has them. Raises MalformedError."""
    realm = _Realm(params)
    for step in steps:
        realm.take(step)
    return realm.rim


def block_sizes(ipa_bits: int) -> tuple[int, ...]:
    """What one entry of the translation table covers at each level, in bytes, largest first.

    The host joins tables at the first level wherever it can, as KVM does.
    """
    bits = ipa_bits - (GRANULE.bit_length() - 1)
    levels = -(-bits // _ENTRY_BITS)
    if levels > 1 and bits - _ENTRY_BITS * (levels - 1) <= _CONCATENATED:
        levels -= 1
    return tuple(GRANULE << _ENTRY_BITS * level for level in reversed(range(levels)))


class _Realm:
    def __init__(self, params: Params) -> None:
        _check(params)
        self._hash, self._limit = params.hash, 1 << params.ipa_bits
        self._blocks = block_sizes(params.ipa_bits)
        self._loaded: list[range] = []
        self.rim = self._hash.digest(_params(params))

    def take(self, step: Step) -> None:
        if isinstance(step, Ripas):
            self._ripas(step)
        elif isinstance(step, Data):
            self._data(step)
        else:
            self._rec(step)

    def _extend(self, kind: int, *fields: bytes) -> None:
        head = kind.to_bytes(8, "little") + _DESCRIPTOR.to_bytes(8, "little") + self._padded(self.rim)
        self.rim = self._hash.digest((head + b"".join(fields)).ljust(_DESCRIPTOR, b"\0"))

    def _padded(self, digest: bytes) -> bytes:
        return digest.ljust(REGISTER, b"\0")

    def _ripas(self, step: Ripas) -> None:
        if step.base % GRANULE or step.top % GRANULE or not 0 <= step.base < step.top <= self._limit:
            raise MalformedError(
                "not an area of the realm",
                expected=f"whole granules of {GRANULE} bytes below {self._limit:#x}",
                actual=f"{step.base:#x} to {step.top:#x}",
            )
        place = step.base
        while place < step.top:
            size = next(size for size in self._blocks if place % size == 0 and place + size <= step.top)
            self._extend(_RIPAS, _u64(place), _u64(place + size))
            place += size

    def _data(self, step: Data) -> None:
        first = ipa = step.ipa - step.ipa % GRANULE
        for page in _pages(step):
            if ipa + GRANULE > self._limit:
                raise MalformedError("data lies outside of the realm", expected=f"below {self._limit:#x}")
            content = self._hash.digest(page) if step.measured else b""
            self._extend(_DATA, _u64(ipa), _u64(_MEASURE if step.measured else 0), self._padded(content))
            ipa += GRANULE
        own = range(first, ipa)
        if any(own.start < each.stop and each.start < own.stop for each in self._loaded):
            raise MalformedError("two pieces of data lie in one granule", actual=f"{own.start:#x} to {own.stop:#x}")
        self._loaded.append(own)

    def _rec(self, step: Rec) -> None:
        if len(step.gprs) != GPRS:
            raise MalformedError("not the registers of a processor", expected=GPRS, actual=len(step.gprs))
        raw = bytearray(_PARAMS)
        raw[:8], raw[0x200:0x208] = _u64(_RUNNABLE), _u64(step.pc)
        raw[0x300 : 0x300 + 8 * GPRS] = b"".join(map(_u64, step.gprs))
        self._extend(_REC, self._padded(self._hash.digest(bytes(raw))))


def _pages(step: Data) -> Iterator[bytes]:
    """GRANULE bytes each, in ascending order, zeros before the first byte and behind the last one."""
    rest = bytes(step.ipa % GRANULE)
    for piece in step.pieces:
        rest += piece
        whole = len(rest) - len(rest) % GRANULE
        for start in range(0, whole, GRANULE):
            yield rest[start : start + GRANULE]
        rest = rest[whole:]
    if rest:
        yield rest.ljust(GRANULE, b"\0")


def _params(params: Params) -> bytes:
    """RmiRealmParams, with what is measured of it."""
    flags = _LPA2 * params.lpa2 + _SVE * bool(params.sve_vl) + _PMU * (params.pmu_counters is not None)
    raw = bytearray(_PARAMS)
    raw[:8] = _u64(flags)
    vector = params.sve_vl // 128 - 1 if params.sve_vl else 0
    counts = (params.ipa_bits, vector, params.num_bps - 1, params.num_wps - 1, params.pmu_counters or 0)
    for place, value in zip((8, 16, 24, 32, 40, 48), (*counts, params.hash.number), strict=True):
        raw[place] = value
    return bytes(raw)


def _check(params: Params) -> None:
    for what, value, least, most in (
        ("ipa_bits", params.ipa_bits, MIN_IPA_BITS, MAX_IPA_BITS),
        ("num_bps", params.num_bps, 2, 64),
        ("num_wps", params.num_wps, 2, 64),
        ("sve_vl", params.sve_vl, 0, 2048),
        ("pmu_counters", params.pmu_counters or 0, 0, 31),
    ):
        if not least <= value <= most:
            raise MalformedError(f"{what} is out of range", expected=f"{least} to {most}", actual=value)
    if params.sve_vl % 128:
        raise MalformedError("sve_vl is no length of a vector", expected="a multiple of 128", actual=params.sve_vl)


def _u64(value: int) -> bytes:
    if not 0 <= value < 1 << 64:
        raise MalformedError("not a 64-bit number", actual=value)
    return value.to_bytes(8, "little")
