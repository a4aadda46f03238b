"""Strict DER (ITU-T X.690), as far as certificates need it: minimal lengths, single-byte tags, no leftovers."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

from teelog.errors import MalformedError

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
UTF8, PRINTABLE, IA5, UTC_TIME, GENERALIZED_TIME = 0x0C, 0x13, 0x16, 0x17, 0x18
SEQUENCE, SET = 0x30, 0x31

_UTC = re.compile(rb"([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})Z")
_GENERALIZED = re.compile(rb"([0-9]{4})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})Z")
_MAX_OID_ARC = 1 << 64


class Reader:
    """Reads elements one after another; every method raises MalformedError."""

    __slots__ = ("_data", "_end", "_place", "_what")

    def __init__(self, data: bytes, what: str) -> None:
        self._data, self._place, self._end, self._what = data, 0, len(data), what

    def at_end(self) -> bool:
        return self._place == self._end

    def peek(self) -> int | None:
        """The next element's tag, None at the end."""
        return None if self.at_end() else self._data[self._place]

    def element(self, tag: int) -> bytes:
        """The next element with its tag and length."""
        start = self._place
        self.content(tag)
        return self._data[start : self._place]

    def content(self, tag: int) -> bytes:
        """The content of the next element, which must have ``tag``."""
        data, place = self._data, self._place
        if place + 1 < self._end and data[place] == tag and data[place + 1] < 0x80:  # the usual case, said first
            stop = place + 2 + data[place + 1]
            if stop <= self._end:
                self._place = stop
                return data[place + 2 : stop]
        if self.peek() != tag:
            found = "the end" if self.at_end() else f"tag {self._data[self._place]:#04x}"
            raise self.error("not the element expected", expected=f"tag {tag:#04x}", actual=found)
        start, length = self._length(place + 1)
        if length > self._end - start:
            raise self.error("an element is longer than what holds it")
        self._place = start + length
        return self._data[start : self._place]

    def _length(self, place: int) -> tuple[int, int]:
        """(where the content starts, its length), minimal form only."""
        if place >= self._end:
            raise self.error("ends inside an element")
        first = self._data[place]
        if first < 0x80:
            return place + 1, first
        size = first - 0x80
        raw = self._data[place + 1 : place + 1 + size]
        if not 1 <= size <= 3 or len(raw) != size or raw[0] == 0 or (size == 1 and raw[0] < 0x80):
            raise self.error("a length is not in its one short form")
        return place + 1 + size, int.from_bytes(raw)

    def inside(self, tag: int) -> Reader:
        return Reader(self.content(tag), self._what)

    def integer(self) -> int:
        return integer(self.content(INTEGER), self._what)

    def oid(self) -> str:
        return oid(self.content(OID), self._what)

    def finish(self) -> None:
        """There must be nothing more."""
        if not self.at_end():
            raise self.error("bytes left over", actual=f"{self._end - self._place} bytes")

    def error(self, message: str, **rest: object) -> MalformedError:
        return MalformedError(message, where=self._what, **rest)


def only(data: bytes, tag: int, what: str) -> bytes:
    """The content of the one element that ``data`` is."""
    reader = Reader(data, what)
    content = reader.content(tag)
    reader.finish()
    return content


def integer(content: bytes, what: str) -> int:
    """Two's complement, in as few bytes as it takes."""
    padded = len(content) > 1 and (content[0], content[1] >> 7) in ((0x00, 0), (0xFF, 1))
    if not content or padded:
        raise MalformedError("an integer is not in its one short form", where=what)
    return int.from_bytes(content, signed=True)


def bits(content: bytes, what: str) -> bytes:
    """A bit string that is made of whole bytes."""
    if not content or content[0] != 0:
        raise MalformedError("a bit string is not made of whole bytes", where=what)
    return content[1:]


@lru_cache(maxsize=256)
def oid(content: bytes, what: str) -> str:
    """Dotted decimal. The same few occur in every certificate."""
    arcs: list[int] = []
    value, fresh = 0, True
    for byte in content:
        if fresh and byte == 0x80:
            raise MalformedError("an object identifier has a padded arc", where=what)
        value, fresh = value << 7 | byte & 0x7F, byte < 0x80
        if value >= _MAX_OID_ARC:
            raise MalformedError("an object identifier has an arc of more than 64 bits", where=what)
        if fresh:
            arcs.append(value)
            value = 0
    if not arcs or not fresh:
        raise MalformedError("an object identifier is not complete", where=what)
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def time(reader: Reader) -> int:
    """UTCTime or GeneralizedTime with seconds and Z (RFC 5280 section 4.1.2.5), as POSIX seconds."""
    tag = reader.peek()
    utc = tag == UTC_TIME
    content = reader.content(UTC_TIME if utc else GENERALIZED_TIME)
    match = (_UTC if utc else _GENERALIZED).fullmatch(content)
    if match is None:
        raise reader.error("not a time of RFC 5280", actual=content[:20])
    year, *rest = map(int, match.groups())
    if utc:
        year += 1900 if year >= 50 else 2000
    elif year < 2050:
        raise reader.error("a time before 2050 is written as UTCTime", actual=content)
    try:
        return int(datetime(year, *rest, tzinfo=UTC).timestamp())  # type: ignore[misc, arg-type]
    except ValueError as error:
        raise reader.error("no such time", actual=content) from error
