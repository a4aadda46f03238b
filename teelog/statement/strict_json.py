"""JSON from outside: one reading of every text, or a refusal that says where (protocol section 2, A-07, A-46).

Two ways lead to a typed value and both accept exactly the same texts:

fast   msgspec decodes into a type, and encoding the value again gives the input. A repeated member, an unknown member,
       a float, an escape or a space cannot survive that round trip, so equality proves there was none. The types carry
       the remaining bounds themselves (``Int53``, ``Members``; none of them holds ``Any`` or ``float``).
slow   anything else is read once more by ``load``, which checks every rule and names the place. It, too, first tries
       whether the text is that of the plain values in it, in which case only bounds are left to be looked at.

Pure. Errors are MalformedError whose ``where`` is a JSON pointer (RFC 6901); ``/*`` stands for a member whose name the
decoder did not keep.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, NoReturn, TypeVar

import msgspec

from teelog.errors import MalformedError

MAX_BYTES = 65_535
"""Bytes of one text, unless the caller gives another bound."""
MAX_DEPTH = 32
MAX_MEMBERS = 256
"""Members of one object."""
MAX_SAFE_INT = 2**53 - 1

Int53 = Annotated[int, msgspec.Meta(ge=-MAX_SAFE_INT, le=MAX_SAFE_INT)]
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INT)]
Scalar = str | bool | Int53 | None
Members = msgspec.Meta(max_length=MAX_MEMBERS)
"""Annotates a ``dict`` in a typed statement."""

Value = None | bool | int | str | list[Any] | dict[str, Any]

_T = TypeVar("_T")

_encoder = msgspec.json.Encoder()
_plain = msgspec.json.Decoder()
encode = _encoder.encode
"""The compact form of a typed value: what the fast way compares with, and what is written."""

# A string that nothing ends runs to the end of the text: tried again at each of its quotes, it would cost their square.
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,15}")
_AT = re.compile(r"(?s)(.*?)(?: - at (?:`key` in )?`\$(.*)`)?")
_SURROGATE = re.compile("[\ud800-\udfff]")
_STEP = re.compile(r"\.([^.\[]+)|\[([^\]]*)\]")


class _Refused:
    """What the JSON reader met and must not become a value; the walk over the tree finds it and knows the place."""

    __slots__ = ("actual", "message")

    def __init__(self, message: str, actual: str) -> None:
        self.message = message
        self.actual = actual[:40]


def decode(data: bytes, decoder: msgspec.json.Decoder[_T], limit: int = MAX_BYTES) -> _T:
    """``data`` as the decoder's type. Raises MalformedError."""
    if len(data) > limit:
        raise MalformedError("JSON text is too long", expected=f"at most {limit} bytes", actual=len(data))
    try:
        value = decoder.decode(data)
        if encode(value) == data:
            return value
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        load(data, limit)  # what is wrong with the text comes before what is wrong with its content
        raise_located(error)
    load(data, limit)
    return value


def load(data: bytes, limit: int = MAX_BYTES, depth: int = MAX_DEPTH, members: int = MAX_MEMBERS) -> Value:
    """``data`` as plain values: None, bool, int, str, list, dict.

    limit: bytes; depth: nested arrays and objects; members: of one object. Raises MalformedError.
    """
    if len(data) > limit:
        raise MalformedError("JSON text is too long", expected=f"at most {limit} bytes", actual=len(data))
    plain = _plainly(data, depth, members)
    if plain is not None:
        return plain
    if data.startswith(b"\xef\xbb\xbf"):
        raise MalformedError("JSON text starts with a byte order mark", expected="UTF-8 without one")
    try:
        # json.loads(bytes) would guess UTF-16 and UTF-32.
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError("JSON text is not UTF-8", where=f"byte {error.start}") from error
    _check_depth(text, depth)
    try:
        tree = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=lambda token: _Refused("number is not an integer", token),
            parse_constant=lambda token: _Refused("not a JSON value", token),
        )
    except (ValueError, RecursionError) as error:
        where = f"byte {len(text[: error.pos].encode())}" if isinstance(error, json.JSONDecodeError) else None
        raise MalformedError("not JSON", where=where, actual=getattr(error, "msg", None)) from error
    if not _sound(tree, members):
        _check_tree(tree, "", members)
    return tree  # type: ignore[no-any-return]


def _plainly(data: bytes, depth: int, members: int) -> Value:
    """What ``load`` gives, if the text is the compact one of plain values within the bounds; None if it must look."""
    try:
        tree = _plain.decode(data)
        if encode(tree) != data:
            return None
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return None
    level: list[Any] = [tree]
    while level:
        inner: list[Any] = []
        for value in level:
            kind = type(value)
            if kind is dict or kind is list:
                if depth <= 0 or (kind is dict and len(value) > members):
                    return None
                inner += value.values() if kind is dict else value
            elif kind is float or (kind is int and not -MAX_SAFE_INT <= value <= MAX_SAFE_INT):
                return None
        depth -= 1
        level = inner
    return tree  # type: ignore[no-any-return]


def raise_located(error: Exception) -> NoReturn:
    """Raises MalformedError for an error of msgspec, with its path as a JSON pointer."""
    match = _AT.fullmatch(str(error))
    text, path = (match[1], match[2] or "") if match else (str(error), "")
    raise MalformedError(text[:1].lower() + text[1:200], where=pointer_of(path)) from error


def pointer_of(path: str) -> str:
    """The JSON pointer of a msgspec path such as ``.predicate.keys[0]``; ``/`` for the whole text."""
    steps = (name or (index if index.isdigit() else "*") for name, index in _STEP.findall(path))
    return "/" + "/".join(steps)


def pointer_step(name: str) -> str:
    """One member name as a JSON pointer component, printable ASCII only (RFC 6901 section 3 escapes)."""
    plain = name[:64].replace("~", "~0").replace("/", "~1")
    if plain.isascii() and plain.isprintable():
        return plain
    return "".join(c if " " <= c <= "~" else f"\\u{{{ord(c):x}}}" for c in plain)


def _object(pairs: list[tuple[str, Any]]) -> Any:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        # Python keeps the last of two, others the first.
        repeated = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        return _Refused("member is repeated", pointer_step(repeated))
    return value


def _integer(token: str) -> Any:
    if (
        len(token) < 16 and token.isascii() and token.isdigit()
    ):  # most, and within the bounds: the reader has seen to the form
        return int(token)
    # The pattern bounds the digits before int() sees them, and leaves "-0" out: other readers make it a float.
    if _INTEGER.fullmatch(token) and abs(value := int(token)) <= MAX_SAFE_INT:
        return value
    return _Refused("integer is outside +-(2^53-1)", token)


def _check_depth(text: str, limit: int) -> None:
    depth = 0
    for token in _STRING_OR_BRACKET.findall(text):
        if token in ("[", "{"):
            depth += 1
            if depth > limit:
                raise MalformedError("JSON is nested too deeply", expected=f"at most {limit} levels")
        elif token in ("]", "}"):
            depth -= 1


def _sound(tree: Any, members: int) -> bool:
    """Whether ``_check_tree`` finds nothing: the same rules, without the place, which costs most of the time."""
    todo = [tree]
    while todo:
        value = todo.pop()
        if isinstance(value, str):
            if not value.isascii() and _SURROGATE.search(value):
                return False
        elif isinstance(value, list):
            todo += value
        elif isinstance(value, dict):
            if len(value) > members:
                return False
            todo += value
            todo += value.values()
        elif isinstance(value, _Refused):
            return False
    return True


def _check_tree(value: Any, where: str, members: int) -> None:
    if isinstance(value, _Refused):
        raise MalformedError(value.message, where=where or "/", actual=value.actual)
    if isinstance(value, str):
        _check_text(value, where)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_tree(item, f"{where}/{index}", members)
    elif isinstance(value, dict):
        if len(value) > members:
            raise MalformedError("object has too many members", where=where or "/", expected=members, actual=len(value))
        for name, item in value.items():
            place = f"{where}/{pointer_step(name)}"
            _check_text(name, place)
            _check_tree(item, place, members)


def _check_text(text: str, where: str) -> None:
    if not text.isascii() and _SURROGATE.search(text):
        raise MalformedError("string holds half a surrogate pair", where=where or "/")
