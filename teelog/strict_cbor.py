"""CBOR from outside: maps of consecutive small integers, read strictly, in their one deterministic encoding.

RFC 8949 section 4.2.1. cbor2 takes repeated keys, any order, long forms, tags and trailing bytes: ``load`` accepts only
what ``dump`` writes, which shows all of these. cbor2 is imported where it is used, so that only who reads CBOR pays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from teelog import strict
from teelog.errors import MalformedError
from teelog.tlog.rfc6962 import HASH_LENGTH, MAX_HASHES

_T = TypeVar("_T")
_KEYS = [list(range(count)) for count in range(16)]


def dump(fields: Iterable[Any]) -> bytes:
    """A map whose keys are 0, 1, ... and whose values are ``fields``, nested likewise by ``numbered``."""
    from cbor2 import dumps

    return dumps(numbered(*fields))


def numbered(*fields: Any) -> dict[int, Any]:
    """``fields`` as a map with the keys 0, 1, ...: ascending, as deterministic encoding wants them."""
    return dict(enumerate(fields))


def load(data: bytes, limit: int, what: str, read: Callable[[Any], _T], encode: Callable[[_T], bytes]) -> _T:
    """What ``read`` makes of the decoded tree, if ``encode`` gives ``data`` back.

    limit: bytes. what: for messages. Raises MalformedError, and whatever ``read`` raises.
    """
    from cbor2 import CBORError, loads

    if len(data) > limit:
        raise MalformedError(f"{what} is too long", expected=f"at most {limit} bytes", actual=len(data))
    try:
        tree = loads(data)
    except (CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise MalformedError(f"{what} is not CBOR", actual=str(error)[:80] or None) from error
    value = read(tree)
    if encode(value) != data:
        raise MalformedError(
            f"{what} is not in its one encoding", expected="deterministic CBOR (RFC 8949 section 4.2.1)"
        )
    return value


def fields(tree: Any, count: int, where: str) -> list[Any]:
    """The values of a map with the keys 0 to count - 1, in order. Raises MalformedError, as all below."""
    # Booleans and floats equal integers; written again, they do not.
    if type(tree) is not dict or list(tree) != _KEYS[count]:
        raise MalformedError("not a map of the fields", where=where, expected=f"the keys 0 to {count - 1}, in order")
    return list(tree.values())


def items(value: Any, where: str, least: int, most: int) -> list[Any]:
    """A list of that many items."""
    if type(value) is not list or not least <= len(value) <= most:
        raise MalformedError("not a list", where=where, expected=f"{least} to {most} items")
    return value


def text(value: Any, where: str, limit: int) -> str:
    if type(value) is not str or len(value) > limit:
        raise MalformedError("not a text string", where=where, expected=f"at most {limit} characters")
    return value


def octets(value: Any, where: str, limit: int, least: int = 0) -> bytes:
    """A byte string of that length."""
    if type(value) is not bytes or not least <= len(value) <= limit:
        raise MalformedError("not a byte string", where=where, expected=f"{least} to {limit} bytes")
    return value


def number(value: Any, where: str) -> int:
    """0 to 2**63 - 1."""
    if type(value) is not int or not 0 <= value <= strict.MAX_INT:
        raise MalformedError("not a number", where=where, expected=f"0 to {strict.MAX_INT}")
    return value


def hashes(value: Any, where: str) -> tuple[bytes, ...]:
    """A path: one byte string, its hashes of 32 bytes one after the other, at most 63."""
    joined = octets(value, where, MAX_HASHES * HASH_LENGTH)
    if len(joined) % HASH_LENGTH:
        raise MalformedError("not whole hashes", where=where, expected=f"a multiple of {HASH_LENGTH} bytes")
    return tuple([joined[start : start + HASH_LENGTH] for start in range(0, len(joined), HASH_LENGTH)])
