"""The strict JSON reader: what it refuses, where it says so, and that its fast way accepts nothing more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from teelog.errors import MalformedError
from teelog.statement import dsse, log_policy, namespace, release, status, strict_json
from tests.statement import make

REFUSED = {
    "A_46_repeated_member": (b'{"a":{"b":1,"b":2}}', "/a"),
    "A_46_repeated_member_by_escape": (b'{"a":1,"\\u0061":2}', "/"),
    "A_46_nan": (b'{"a":NaN}', "/a"),
    "A_46_infinity": (b"[1,-Infinity]", "/1"),
    "A_46_float": (b'{"a":[1,1.0]}', "/a/1"),
    "A_46_exponent": (b'{"a":1e400}', "/a"),
    "A_46_5000_digits": (b'{"a":' + b"9" * 5000 + b"}", "/a"),
    "A_46_beyond_53_bits": (b'{"a":9007199254740992}', "/a"),
    "A_46_below_53_bits": (b'{"a":-9007199254740992}', "/a"),
    "A_46_minus_zero": (b'{"a":-0}', "/a"),
    "A_46_lone_surrogate": (b'{"a":"x\\ud800y"}', "/a"),
    "A_46_lone_surrogate_in_name": (b'{"\\udc00":1}', None),
    "A_46_byte_order_mark": (b"\xef\xbb\xbf{}", None),
    "A_46_utf_16": ("{}".encode("utf-16-le"), None),
    "A_46_utf_16_bom": ("{}".encode("utf-16"), None),
    "A_46_invalid_utf_8": (b'{"a":"\xff"}', None),
    "A_46_overlong_utf_8": (b'{"a":"\xc0\xaf"}', None),
    "A_46_control_character": (b'{"a":"\x01"}', None),
    "A_46_trailing_bytes": (b"{} {}", None),
    "A_46_trailing_comma": (b"[1,]", None),
    "A_46_leading_zero": (b"[01]", None),
    "A_46_plus": (b"[+1]", None),
    "A_46_comment": (b"[1]//x", None),
    "A_46_single_quotes": (b"['a']", None),
    "A_46_empty": (b"", None),
    "A_07_depth": (b"[" * 33 + b"]" * 33, None),
    "A_07_depth_100000": (b"[" * 30_000 + b"]" * 30_000, None),
    "A_07_members": (json.dumps({"a": dict.fromkeys(map(str, range(257)), 0)}).encode(), "/a"),
    "A_07_size": (b'"' + b"x" * 65_536 + b'"', None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_A_46_A_07_refused_with_its_place(name: str) -> None:
    text, where = REFUSED[name]
    with pytest.raises(MalformedError) as caught:
        strict_json.load(text)
    if where is not None:
        assert caught.value.where == where


@pytest.mark.parametrize(
    "text",
    [b"[" * 32 + b"]" * 32, b'{"a":"\\ud83d\\ude00"}', b' {"a" : [ 1 ,\n-9007199254740991 ] }\r\n', b'"[[[[{{{{"'],
)
def test_A_46_bounds_themselves_are_accepted(text: bytes) -> None:
    assert strict_json.load(text) == json.loads(text)


def test_A_07_256_members_are_accepted() -> None:
    assert len(strict_json.load(json.dumps(dict.fromkeys(map(str, range(256)), 0)).encode())) == 256  # type: ignore[arg-type]


def test_A_07_string_that_nothing_ends_is_looked_at_once() -> None:
    """Not once for each quote that it holds, which would be seconds of work for one entry."""
    for text in ('"' + '\\"' * 50, '"' + '\\"' * 50 + "\\", '["' + "\\\\" * 50):
        found = list(strict_json._STRING_OR_BRACKET.finditer(text))
        assert found[-1].end() == len(text)
        assert len(found) <= 2
        with pytest.raises(MalformedError):
            strict_json.load(text.encode())


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab~/é", max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_round_trip(value: Any) -> None:
    assert strict_json.load(json.dumps(value, ensure_ascii=False).encode(), limit=1 << 20) == value
    assert strict_json.load(json.dumps(value, indent=2).encode(), limit=1 << 20) == value


@given(st.binary(max_size=60))
@example(b'{"a":"\\"}')
def test_any_bytes_give_a_value_or_a_malformed_error(data: bytes) -> None:
    try:
        value = strict_json.load(data)
    except MalformedError:
        return
    assert json.loads(data) == value


STATEMENTS = {"log-policy": log_policy, "namespace": namespace, "release": release, "status": status}
DECODERS = {name: module._decoder for name, module in STATEMENTS.items()}


def _types(kind: Any) -> Iterator[Any]:
    """Every type inside a msgspec type description."""
    yield kind
    for attribute in ("item_type", "key_type", "value_type"):
        if hasattr(kind, attribute):
            yield from _types(getattr(kind, attribute))
    for attribute in ("types", "item_types"):
        for inner in getattr(kind, attribute, ()):
            yield from _types(inner)
    for field in getattr(kind, "fields", ()):
        yield from _types(field.type)


@pytest.mark.parametrize("decoder", [*DECODERS.values(), dsse._decoder])
def test_fast_way_is_sound_types_hold_no_any_no_float_and_bounds(decoder: msgspec.json.Decoder[Any]) -> None:
    """What survives decode and encode must be within the reader's bounds without a further look."""
    for kind in _types(msgspec.inspect.type_info(decoder.type)):
        assert not isinstance(kind, msgspec.inspect.AnyType | msgspec.inspect.FloatType | msgspec.inspect.RawType)
        if isinstance(kind, msgspec.inspect.IntType):
            assert kind.ge is not None
            assert kind.ge >= -(2**53) + 1
            assert kind.le == 2**53 - 1
        if isinstance(kind, msgspec.inspect.DictType):
            assert kind.max_length == 256


TEXTS = [make.release_payload(), namespace.payload(make.namespace_predicate())]


@given(st.sampled_from(TEXTS), st.data())
def test_fast_way_accepts_nothing_that_the_slow_way_refuses(text: bytes, data: st.DataObject) -> None:
    parts = [b'"a":1,', b",", b"1.0", b'"svn":4,', b"\\ud800", b"\xff", b" ", b"0", b"-0", b"e1", b'\\"', b"{", b"]"]
    place = data.draw(st.integers(0, len(text)))
    changed = text[:place] + data.draw(st.sampled_from(parts)) + text[place + data.draw(st.integers(0, 2)) :]
    for decoder in DECODERS.values():
        try:
            strict_json.decode(changed, decoder)  # type: ignore[misc]
        except MalformedError:
            continue
        strict_json.load(changed)


def test_A_46_repeated_member_within_a_typed_statement_is_refused() -> None:
    text = make.release_payload()
    for member in (b'"svn":3,', b'"debug":false,', b'"vcpus":2,'):
        assert member in text
        with pytest.raises(MalformedError, match="repeated"):
            strict_json.decode(text.replace(member, member + member), release._decoder)


@pytest.mark.parametrize(
    ("path", "pointer"),
    [("", "/"), (".predicate.svn", "/predicate/svn"), (".a[0].b", "/a/0/b"), (".when[...]", "/when/*")],
)
def test_AP_04_msgspec_paths_become_json_pointers(path: str, pointer: str) -> None:
    assert strict_json.pointer_of(path) == pointer


def test_AP_04_pointer_steps_are_escaped_and_printable() -> None:
    assert strict_json.pointer_step("a/b~c") == "a~1b~0c"
    assert strict_json.pointer_step("\x1b[2J") == "\\u{1b}[2J"


@given(
    st.recursive(
        st.sampled_from([None, True, 7, "plain", "\xe9", "\ud800", strict_json._Refused("no", "x")]),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "c", "\udfff"]), inner),
        max_leaves=12,
    )
)
def test_whether_a_tree_holds_and_what_is_wrong_with_it_are_of_one_mind(tree: Any) -> None:
    try:
        strict_json._check_tree(tree, "", 2)
    except MalformedError:
        assert not strict_json._sound(tree, 2)
    else:
        assert strict_json._sound(tree, 2)


ODD = st.recursive(
    VALUES | st.floats() | st.integers() | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=4),
    max_leaves=6,
)


@given(ODD, st.integers(0, 4), st.integers(0, 3))
def test_plain_text_is_read_as_any_other(value: Any, depth: int, members: int) -> None:
    """The short way of ``load`` for compact text and the long one accept and refuse the same."""

    def outcome(text: bytes) -> Any:
        try:
            return repr(strict_json.load(text, 1 << 20, depth, members))
        except MalformedError as error:
            return error.message

    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    assert outcome(compact) == outcome(b" " + compact)


@pytest.mark.parametrize("text", ["-0", "1.0", "1e2", "9007199254740992", "-9007199254740992", "18446744073709551616"])
def test_a_number_that_others_read_otherwise_is_refused_in_plain_text_too(text: str) -> None:
    for around in ("%s", "[%s]", '{"a":%s}'):
        with pytest.raises(MalformedError):
            strict_json.load((around % text).encode())
