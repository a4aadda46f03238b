"""JSON files in which attestation agents hand over evidence: objects whose members are bytes, read strictly.

No member twice (A-46), no number that is not an integer, no member left over, one spelling of every value.
"""

from __future__ import annotations

import json
from typing import NoReturn

from teelog import strict
from teelog.errors import MalformedError, NotEstablished

MAX_ITEMS = 1 << 16
"""Items of one list."""


def load(raw: bytes, what: str, limit: int) -> Object:
    """One object. limit: bytes. Raises MalformedError."""
    if len(raw) > limit:
        raise MalformedError(f"{what}: too long", expected=f"at most {limit} bytes", actual=len(raw))
    try:
        text = raw.decode("utf-8")
        tree = json.loads(text, object_pairs_hook=_unique, parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"{what}: not JSON of the strict kind", actual=str(error)[:80]) from error
    return Object(tree, what)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is repeated")
    return found


def _refuse(token: str) -> NoReturn:
    raise ValueError(f"a number is not an integer: {token[:20]}")


class Object:
    """Takes members out of an object one after another; every method raises MalformedError."""

    __slots__ = ("_members", "_what")

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise MalformedError(f"{what}: not a JSON object")
        self._members: dict[str, object] = dict(value)
        self._what = what

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def take(self, name: str) -> object:
        if name not in self._members:
            raise MalformedError(f"{self._what}: a member is missing", expected=name)
        return self._members.pop(name)

    def inside(self, name: str) -> Object:
        return Object(self.take(name), f"{self._what}, {name}")

    def items(self, name: str, least: int, most: int) -> list[object]:
        value = self.take(name)
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise self.error(name, f"a list of {least} to {most}")
        return value

    def text(self, name: str, most: int) -> str:
        """At most ``most`` printable characters of ASCII."""
        value = self.take(name)
        if not isinstance(value, str) or len(value) > most or not (value.isascii() and value.isprintable()):
            raise self.error(name, f"text of at most {most} characters")
        return value

    def flag(self, name: str) -> bool:
        value = self.take(name)
        if not isinstance(value, bool):
            raise self.error(name, "true or false")
        return value

    def number(self, name: str) -> int:
        value = self.take(name)
        if type(value) is not int:
            raise self.error(name, "a number")
        return value

    def hex(self, name: str) -> bytes:
        return self.octets(name, "hex")

    def octets(self, name: str, form: str) -> bytes:
        """form: ``hex``, ``base64``, ``base64url`` (both padded), or ``numbers``, a list of bytes."""
        return octets(self.take(name), form, f"{self._what}, {name}")

    def finish(self) -> None:
        """Raises NotEstablished for a member that nobody took: it may say what this version cannot judge."""
        if self._members:
            name = next(iter(self._members))
            raise NotEstablished(f"{self._what}: a member is not known here", actual=ascii(name)[:40])

    def error(self, name: str, expected: str) -> MalformedError:
        return MalformedError(f"{self._what}: {name} is something else", expected=expected)


def octets(value: object, form: str, what: str) -> bytes:
    """See `Object.octets`. Raises MalformedError."""
    if form == "numbers":
        if isinstance(value, list) and len(value) <= MAX_ITEMS and all(_is_byte(each) for each in value):
            return bytes(value)
        raise MalformedError(f"{what}: something else", expected="a list of bytes")
    if not isinstance(value, str) or not value.isascii():
        raise MalformedError(f"{what}: something else", expected=form)
    if form == "hex":
        return strict.unhex(value, what)
    if form == "base64":
        return strict.b64(value.encode(), what)
    if set(value) & set("+/"):
        raise MalformedError(f"{what} is not base64url")
    return strict.b64(value.translate(_FROM_URL).encode(), what)


_FROM_URL = str.maketrans("-_", "+/")


def _is_byte(value: object) -> bool:
    return type(value) is int and 0 <= value <= 255
