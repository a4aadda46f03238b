"""Event logs of measured boot in the crypto-agile format: what was extended into which register, in order.

Source: TCG PC Client platform firmware profile, section 10 (TCG_PCR_EVENT2, TCG_EfiSpecIDEvent); UEFI 2.10 section 38
uses the same for confidential computing (CCEL). All numbers are little-endian. Nothing in a log is signed: it explains
registers only as far as its replay gives their values. What an event's data says is no part of that: only its digest.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from teelog.errors import MalformedError

MAX_LOG = 1 << 22
"""Bytes."""
MAX_EVENTS = 1 << 16
SHA1, SHA256, SHA384, SHA512 = 0x0004, 0x000B, 0x000C, 0x000D
"""TPM_ALG_ID of hash algorithms."""
NAMES = {SHA1: "sha1", SHA256: "sha256", SHA384: "sha384", SHA512: "sha512"}

EV_NO_ACTION = 3
_END = 0xFFFFFFFF  # the rest of the area that firmware reserved for the log
_MAX_ALGORITHMS = 8
_SPEC_ID = b"Spec ID Event03\0"
_WHERE = "event log"


class Event(msgspec.Struct, frozen=True):
    """index: of the register, as the log counts. kind: event type. digests: by TPM_ALG_ID. data: whatever it is."""

    index: int
    kind: int
    digests: Mapping[int, bytes]
    data: bytes


def parse(raw: bytes) -> tuple[Event, ...]:
    """All events, the one that heads the log left out. Raises MalformedError.

    Behind the last one there may be the unused rest of the log's area: nothing but 0xff or nothing but zeros.
    """
    if len(raw) > MAX_LOG:
        raise MalformedError("too long", where=_WHERE, expected=f"at most {MAX_LOG} bytes", actual=len(raw))
    reader = _Reader(raw)
    sizes = _header(reader)
    events: list[Event] = []
    while not reader.at_rest():
        if len(events) == MAX_EVENTS:
            raise MalformedError("too many events", where=_WHERE, expected=f"at most {MAX_EVENTS}")
        events.append(_event(reader, sizes))
    return tuple(events)


def replay(events: Iterable[Event], algorithm: int, begin: Mapping[int, bytes] | None = None) -> dict[int, bytes]:
    """Register index -> value after all events. Raises MalformedError: an event without such a digest.

    begin: values before the first event, of registers that do not begin with zeros.
    """
    name = NAMES[algorithm]
    zeros = bytes(hashlib.new(name).digest_size)
    begin = begin or {}
    registers: dict[int, bytes] = {}
    for event in events:
        if event.kind == EV_NO_ACTION:  # informs, and extends nothing
            continue
        digest = event.digests.get(algorithm)
        if digest is None:
            raise MalformedError(f"an event has no {name} digest", where=_WHERE)
        before = registers.get(event.index) or begin.get(event.index, zeros)
        registers[event.index] = hashlib.new(name, before + digest).digest()
    return registers


def _header(reader: _Reader) -> dict[int, int]:
    """Algorithm -> size of its digests."""
    index, kind = reader.number(4), reader.number(4)
    reader.take(20)
    body = _Reader(reader.take(reader.number(4)))
    # Firmware writes 0 here for a TPM's log and 1 for a CCEL.
    if index not in (0, 1) or kind != EV_NO_ACTION or body.take(16) != _SPEC_ID:
        raise MalformedError("not a crypto-agile event log", where=_WHERE, expected="Spec ID Event03")
    body.take(8)
    count = body.number(4)
    if not 1 <= count <= _MAX_ALGORITHMS:
        raise MalformedError("an unlikely number of hash algorithms", where=_WHERE, actual=count)
    sizes: dict[int, int] = {}
    for algorithm, size in struct.iter_unpack("<HH", body.take(4 * count)):
        if algorithm in sizes or (algorithm in NAMES and size != hashlib.new(NAMES[algorithm]).digest_size):
            raise MalformedError("an algorithm twice or with another size", where=_WHERE, actual=f"{algorithm:#x}")
        sizes[algorithm] = size
    body.take(body.number(1))
    if body.place != len(body.data):
        raise MalformedError("bytes left over in the heading event", where=_WHERE)
    return sizes


def _event(reader: _Reader, sizes: Mapping[int, int]) -> Event:
    index, kind, count = reader.number(4), reader.number(4), reader.number(4)
    if count > len(sizes):
        raise MalformedError("an event has more digests than the log has algorithms", where=_WHERE, actual=count)
    digests = dict(_digests(reader, sizes, count))
    if len(digests) != count:
        raise MalformedError("an event has two digests of one algorithm", where=_WHERE)
    return Event(index, kind, digests, reader.take(reader.number(4)))


def _digests(reader: _Reader, sizes: Mapping[int, int], count: int) -> Iterator[tuple[int, bytes]]:
    for _ in range(count):
        algorithm = reader.number(2)
        if algorithm not in sizes:
            raise MalformedError("an event has a digest of an undeclared algorithm", where=_WHERE)
        yield algorithm, reader.take(sizes[algorithm])


class _Reader:
    __slots__ = ("data", "place", "used")

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0
        # Where zeros, or 0xff, begin that last to the end: found once, not at every event.
        self.used = min(len(data.rstrip(b"\0")), len(data.rstrip(b"\xff")))

    def take(self, size: int) -> bytes:
        part = self.data[self.place : self.place + size]
        if len(part) != size:
            raise MalformedError("ends inside an event", where=_WHERE)
        self.place += size
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def at_rest(self) -> bool:
        """At the end, or where nothing but the unused rest follows."""
        if self.place >= self.used:
            return True
        if self.data[self.place : self.place + 4] == _END.to_bytes(4):
            raise MalformedError("something follows the end of the log", where=_WHERE)
        return False
