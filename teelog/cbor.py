"""Strict CBOR (RFC 8949), as far as TEEs and verifiers write it: one item, shortest heads, no key twice, no leftovers.

A map's keys are integers or text. Floats, undefined and simple values but false, true and null are refused, as is
anything that nests deeper than MAX_DEPTH. Strings of indefinite length are refused; maps and arrays of indefinite
length only where ``indefinite`` allows them, for documents that are signed in that form.

It is not `teelog.strict_cbor`, which takes deterministic encoding alone and knows its fields beforehand: what others
sign is neither sorted nor always of definite length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from teelog.errors import MalformedError

MAX_DEPTH = 8

_BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = 2, 3, 4, 5, 6, 7
_CONSTANTS: Mapping[int, bool | None] = {20: False, 21: True, 22: None}
_BREAK = b"\xff"
_INDEFINITE = 31


@dataclass(frozen=True, slots=True)
class Tag:
    """A tagged item. number: as in the IANA registry."""

    number: int
    value: Any


def load(data: bytes, what: str, *, indefinite: bool = False, depth: int = MAX_DEPTH) -> Any:
    """int, bytes, str, list, dict, Tag, bool or None. what: for messages. depth: levels. Raises MalformedError."""
    reader = _Reader(data, what, indefinite, depth)
    value = reader.item(0)
    if reader.place != len(data):
        raise reader.error("bytes are left over", actual=f"{len(data) - reader.place} bytes")
    return value


def head(major: int, value: int) -> bytes:
    """The shortest head of an item. value: 0 to 2**64 - 1."""
    if value < 24:
        return bytes((major << 5 | value,))
    size = next(size for size in (1, 2, 4, 8) if value < 1 << 8 * size)
    return bytes((major << 5 | 23 + size.bit_length(),)) + value.to_bytes(size)


def byte_string(content: bytes) -> bytes:
    return head(_BYTES, len(content)) + content


def encode(value: Any) -> bytes:
    """The deterministic encoding (RFC 8949 section 4.2.1) of int, bytes, str, list, dict, bool, None and Tag."""
    if value is None or isinstance(value, bool):
        return b"\xf6" if value is None else bytes((0xF4 + value,))
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return byte_string(value)
    if isinstance(value, str):
        content = value.encode()
        return head(_TEXT, len(content)) + content
    if isinstance(value, list | tuple):
        return head(_ARRAY, len(value)) + b"".join(map(encode, value))
    if isinstance(value, dict):
        members = sorted((encode(key), encode(item)) for key, item in value.items())
        return head(_MAP, len(members)) + b"".join(key + item for key, item in members)
    if isinstance(value, Tag):
        return head(_TAG, value.number) + encode(value.value)
    raise TypeError(type(value))


class _Reader:
    __slots__ = ("_data", "_depth", "_indefinite", "_what", "place")

    def __init__(self, data: bytes, what: str, indefinite: bool, depth: int) -> None:
        self._data, self._what, self._indefinite, self._depth, self.place = data, what, indefinite, depth, 0

    def error(self, message: str, *, expected: object = None, actual: object = None) -> MalformedError:
        return MalformedError(f"{self._what}: {message}", expected=expected, actual=actual)

    def item(self, depth: int) -> Any:
        if depth > self._depth:
            raise self.error("CBOR nests too deeply", expected=f"at most {self._depth} levels")
        major, value = self._head()
        if major == 0:
            return value
        if major in (_TEXT, _BYTES):
            return self._string(major, value)
        if major == 1 and value is not None:
            return -1 - value
        if major == _ARRAY:
            return self._array(value, depth)
        if major == _MAP:
            return self._map(value, depth)
        if major == _TAG and value is not None:
            return Tag(value, self.item(depth + 1))
        if major == _SIMPLE and value is not None and value in _CONSTANTS:
            return _CONSTANTS[value]
        raise self.error("CBOR of a kind that is not expected here")

    def _head(self) -> tuple[int, int | None]:
        """(major type, its argument or None for an indefinite length)."""
        place = self.place
        if place >= len(self._data):
            raise self.error("CBOR ends too early")
        self.place = place + 1
        first = self._data[place]
        major, short = first >> 5, first & 31
        if short < 24:
            return major, short
        if short == _INDEFINITE and major in (_ARRAY, _MAP) and self._indefinite:
            return major, None
        if short > 27 or major == _SIMPLE:
            raise self.error("CBOR with a length that is not expected here", actual=f"{first:#04x}")
        size = 1 << short - 24
        value = int.from_bytes(self._take(size))
        if value < (24 if size == 1 else 1 << 4 * size):
            raise self.error("CBOR is not in its one short form")
        return major, value

    def _take(self, size: int) -> bytes:
        end = self.place + size
        if end > len(self._data):
            raise self.error("CBOR ends too early")
        taken = self._data[self.place : end]
        self.place = end
        return taken

    def _string(self, major: int, size: int | None) -> bytes | str:
        assert size is not None
        content = self._take(size)
        if major == _BYTES:
            return content
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise self.error("CBOR text is not UTF-8") from error

    def _more(self, count: int | None, done: int) -> bool:
        if count is not None:
            return done < count
        if self._data[self.place : self.place + 1] == _BREAK:
            self.place += 1
            return False
        return True

    def _array(self, count: int | None, depth: int) -> list[Any]:
        found: list[Any] = []
        while self._more(count, len(found)):
            found.append(self.item(depth + 1))
        return found

    def _map(self, count: int | None, depth: int) -> dict[int | str, Any]:
        found: dict[int | str, Any] = {}
        while self._more(count, len(found)):
            key = self.item(depth + 1)
            # True equals 1 as a key, so the type is compared, not its kin.
            if type(key) not in (int, str):
                raise self.error("a CBOR map has a key that is neither a number nor text")
            if key in found:
                raise self.error("a CBOR map has a key twice", actual=str(key)[:40])
            found[key] = self.item(depth + 1)
        return found


class Fields:
    """The members of one map, taken by name and type; every method raises MalformedError."""

    __slots__ = ("_left", "_what")

    def __init__(self, tree: Any, what: str) -> None:
        if type(tree) is not dict:
            raise MalformedError(f"{what}: not a map")
        self._left, self._what = dict(tree), what

    def left(self) -> list[int | str]:
        """The keys of what was not taken."""
        return list(self._left)

    def has(self, key: int | str) -> bool:
        return key in self._left

    def octets(self, key: int | str, least: int, most: int) -> bytes:
        value = self._take(key)
        if type(value) is not bytes or not least <= len(value) <= most:
            raise self._wrong(key, f"{least} to {most} bytes")
        return value

    def maybe_octets(self, key: int | str, least: int, most: int) -> bytes | None:
        """None where it is null or missing."""
        if self._left.get(key) is None:
            self._left.pop(key, None)
            return None
        return self.octets(key, least, most)

    def text(self, key: int | str, most: int) -> str:
        """Printable ASCII, not empty."""
        value = self._take(key)
        if type(value) is not str or not 1 <= len(value) <= most or not (value.isascii() and value.isprintable()):
            raise self._wrong(key, f"text of 1 to {most} characters")
        return value

    def number(self, key: int | str, most: int) -> int:
        value = self._take(key)
        if type(value) is not int or not 0 <= value <= most:
            raise self._wrong(key, f"0 to {most}")
        return value

    def items(self, key: int | str, least: int, most: int) -> list[Any]:
        value = self._take(key)
        if type(value) is not list or not least <= len(value) <= most:
            raise self._wrong(key, f"{least} to {most} items")
        return value

    def mapping(self, key: int | str) -> dict[int | str, Any]:
        value = self._take(key)
        if type(value) is not dict:
            raise self._wrong(key, "a map")
        return value

    def _take(self, key: int | str) -> Any:
        if key not in self._left:
            raise MalformedError(f"{self._what}: {key} is missing")
        return self._left.pop(key)

    def _wrong(self, key: int | str, expected: str) -> MalformedError:
        return MalformedError(f"{self._what}: {key} is not as it should be", expected=expected)
