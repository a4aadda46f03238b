"""The map function is total and deterministic, knows earlier entries only, and junk does not wedge it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import ConfigError
from teelog.index import keys
from teelog.keys import Algorithm
from teelog.statement import dsse, index_map, jws, log_policy
from teelog.statement.index_map import Mapped, MemoryState
from teelog.statement.namespace import Role
from teelog.statement.status import Revoked
from tests.statement import make
from tests.statement.replay import STREAM, Replay
from tests.statement.test_index_map import (
    FIRST,
    KEEPERS,
    OPERATOR,
    OWNER,
    POLICY,
    RELEASE,
    RELEASER,
    identity,
    later,
    logged_release,
    result,
    state,
)

SECOND = logged_release("2")
ONE = state(allow=(RELEASE,))
TWO = state(after=ONE, allow=(RELEASE, SECOND))
THREE = state(after=TWO, allow=(SECOND,), revoked=(Revoked(identity(RELEASE), "CVE-2026-1"),))
ROTATED = later()
CHAIN = (POLICY, FIRST, RELEASE, ONE, SECOND, TWO, ROTATED, THREE)
"""Each takes effect after those before it."""

FROZEN = log_policy.Frozen(None)
JUNK = (
    b"",
    b"junk",
    b"{" * 70_000,
    RELEASE[:-1],
    logged_release("3", make.STRANGER),
    logged_release("4", KEEPERS[0]),
    logged_release("5", stream="other.example/inference/stable"),
    state(make.STRANGER),
    state(KEEPERS[0]),
    state(RELEASER, OWNER),
    state(KEEPERS[0], after=ONE),
    state(KEEPERS[0], after=TWO),
    state(prev="ab" * 32, seq=1),
    state(prev="ab" * 32, seq=2),
    state(after=ONE, seq=7),
    state(log="log.example/tee2"),
    state(after=ONE, log="log.example/tee2"),
    state(allow=(logged_release("99"),)),
    later(make.STRANGER),
    later(KEEPERS[0], KEEPERS[1]),
    later(log="log.example/tee2"),
    make.namespace_file(make.STRANGER, keys=(make.held(make.STRANGER, Role.OWNER),), thresholds={Role.OWNER: 1},
                        replaces=identity(FIRST)),
    make.log_policy_file(make.STRANGER, version=1, prev=identity(POLICY), frozen=FROZEN),
    make.log_policy_file(make.STRANGER, operators=(make.STRANGER.public.to_pem().decode(),), frozen=FROZEN),
    make.log_policy_file(OPERATOR, log="log.example/tee2", version=1, prev=identity(POLICY), frozen=FROZEN),
    result(RELEASER),
    result(make.STRANGER),
)  # fmt: skip
"""None takes effect, wherever it stands among CHAIN after the namespace."""


def apply_all(entries: tuple[bytes, ...]) -> MemoryState:
    return Replay(entries).state


AFTER_CHAIN = apply_all(CHAIN)
FRESH = apply_all(CHAIN[:2])


def mapped(entry: bytes, index: int = 8, state_: MemoryState = AFTER_CHAIN) -> Mapped:
    """What the entry maps to, with what holds for whatever it is."""
    found = index_map.map_entry(entry, index, state_)
    assert len(found.keys) <= 256
    assert list(found.keys) == sorted(set(found.keys))
    listed = {key for key in found.keys if keys.parse(key)[0] in keys.EFFECTIVE}
    assert listed == (set() if found.effect is None else {found.effect.key})
    assert found == index_map.map_entry(entry, index, state_)
    return found


# -- total ------------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=400), st.integers(0, 2**53))
def test_any_bytes_map_to_something(entry: bytes, index: int) -> None:
    mapped(entry, index)


@given(st.sampled_from([*CHAIN, *JUNK]), st.data())
def test_any_change_of_an_entry_maps_to_something(entry: bytes, data: st.DataObject) -> None:
    changed = bytearray(entry[:65_535] or b"x")
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(changed)))
        gone = data.draw(st.integers(0, 4))
        changed[place : place + gone] = data.draw(st.binary(max_size=4))
    mapped(bytes(changed), state_=data.draw(st.sampled_from([FRESH, AFTER_CHAIN])))


VALUES: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=70)
    | st.sampled_from(["any", STREAM, make.LOG, "ab" * 32, "2026-01-01T00:00:00Z", "current", "grace", "owner"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything in a JSON value."""
    for key in range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else ():
        yield value, key
        yield from places(value[key])


SIGNERS = (OWNER, OPERATOR, RELEASER, *KEEPERS)
PAYLOADS = [dsse.parse(entry).claimed() for entry in CHAIN]


@given(st.sampled_from(PAYLOADS), st.sets(st.sampled_from(SIGNERS), min_size=1), st.data())
def test_any_change_of_a_statement_that_is_signed_maps_to_something(
    payload: bytes, signers: set[Any], data: st.DataObject
) -> None:
    document = json.loads(payload)
    for _ in range(data.draw(st.integers(1, 2))):
        container, key = data.draw(st.sampled_from(list(places(document))))
        how = data.draw(st.sampled_from(["replace", "remove", "add"]))
        if how == "remove":
            del container[key]
        elif how == "add" and isinstance(container, dict):
            container[data.draw(st.text(max_size=8))] = data.draw(VALUES)
        else:
            container[key] = data.draw(VALUES)
    text = json.dumps(document, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass")
    mapped(make.sign(text, *signers).file, state_=data.draw(st.sampled_from([FRESH, AFTER_CHAIN])))


@given(VALUES, st.data())
def test_any_change_of_a_result_that_is_signed_maps_to_something(value: Any, data: st.DataObject) -> None:
    claims = json.loads(jws.parse(result(RELEASER)).claimed())
    container, key = data.draw(st.sampled_from(list(places(claims))))
    container[key] = value
    text = json.dumps(claims).encode()
    mapped(jws.sign(text, RELEASER, "eat+jwt").file)


@given(st.binary(max_size=200), st.lists(st.tuples(st.sampled_from(SIGNERS), st.binary(max_size=80)), max_size=4))
def test_any_signature_bytes_map_to_something(payload: bytes, signed: list[tuple[Any, bytes]]) -> None:
    signatures = {key.public.fingerprint: sig for key, sig in signed} or {OWNER.public.fingerprint: b""}
    for content in (payload, dsse.parse(RELEASE).claimed()):
        envelope = dsse.encode(dsse.PAYLOAD_TYPE, content, [dsse.Signature(*item) for item in signatures.items()])
        assert mapped(envelope.file).effect is None


def _unsigned(payload: bytes) -> bytes:
    signature = b'[{"keyid":"%b","sig":""}]' % (b"ab" * 32)
    encoded = base64.b64encode(payload)
    return b'{"payload":"%b","payloadType":"%b","signatures":%b}' % (encoded, dsse.PAYLOAD_TYPE.encode(), signature)


LARGEST = 49_000  # bytes of a payload whose envelope still fits


@pytest.mark.parametrize(
    "text",
    [
        b"[" * LARGEST,
        b"{" * LARGEST,
        b'{"a":' * (LARGEST // 5),
        b'"' * LARGEST,
        b'{"a":"' + b'\\"' * (LARGEST // 2 - 4),
        b'{"predicateType":"' + b'\\"' * (LARGEST // 2 - 16),
        b'{"predicateType":' + b"9" * (LARGEST - 20),
        b'{"predicateType":1e' + b"9" * (LARGEST - 20),
        b"{" + b'"a":1,' * (LARGEST // 6),
        b'{"' + b"x" * (LARGEST - 10) + b'":{"a":"\\ud800"}}',
        b'{"predicateType":"urn:teelog:release:v1","_type":"' + b"\xc3\xa9" * (LARGEST // 2 - 60) + b'"}',
        b'{"predicateType":"urn:teelog:status:v1","predicate":{"stream":"' + b"a." * (LARGEST // 2 - 60) + b'"}}',
    ],
    ids=lambda text: repr(text[:24]),
)
def test_largest_hostile_entries_take_no_time_to_speak_of(text: bytes) -> None:
    assert mapped(_unsigned(text)).keys == ()
    assert mapped(text).keys == ()
    assert mapped(b"e" + text).keys == ()
    assert mapped(jws.b64url(text) + b"." + jws.b64url(text[:100]) + b".").keys == ()


def test_entry_longer_than_65535_bytes_maps_to_nothing() -> None:
    assert mapped(RELEASE + b" " * 65_536).keys == ()


def test_build_without_an_algorithm_maps_nothing_rather_than_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(algorithm: Algorithm, seed: bytes) -> None:
        raise ConfigError(f"this build of cryptography has no {algorithm}")

    monkeypatch.setattr(index_map, "private_key_from_seed", missing)
    index_map.check_build.cache_clear()
    try:
        with pytest.raises(ConfigError):
            index_map.map_entry(b"", 0, MemoryState(make.LOG))
    finally:
        index_map.check_build.cache_clear()


# -- deterministic, and of earlier entries only -----------------------------------------------------------------------

ANY_ENTRIES = st.lists(st.sampled_from([*CHAIN, *JUNK]), max_size=14)


@given(ANY_ENTRIES, ANY_ENTRIES)
def test_entries_map_alike_whatever_follows(before: list[bytes], after: list[bytes]) -> None:
    assert Replay([*before, *after]).mapped[: len(before)] == Replay(before).mapped


@given(ANY_ENTRIES, ANY_ENTRIES)
def test_rows_are_the_whole_state(before: list[bytes], after: list[bytes]) -> None:
    """Whoever stores the rows and starts again goes on as if it had never stopped."""
    whole, first = Replay([*before, *after]), Replay(before)
    restarted = MemoryState(make.LOG)
    restarted.rows.update(dict(first.state.rows.items()))
    for offset, entry in enumerate(after):
        found = index_map.map_entry(entry, len(before) + offset, restarted)
        assert found == whole.mapped[len(before) + offset]
        if found.effect is not None:
            restarted.apply(found.effect)
    assert restarted.rows == whole.state.rows


# -- junk -------------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(2, len(CHAIN)), st.sampled_from(JUNK)), max_size=25))
def test_junk_never_wedges_a_chain(junk: list[tuple[int, bytes]]) -> None:
    entries: list[bytes] = []
    for place, entry in enumerate(CHAIN):
        entries += [each for at, each in junk if at == place]
        entries.append(entry)
    log = Replay([*entries, *(each for at, each in junk if at == len(CHAIN))])
    assert [entry for entry, found in zip(log.entries, log.mapped, strict=True) if found.effect] == list(CHAIN)
    assert log.state.rows == AFTER_CHAIN.rows
    assert log.effective() == Replay(CHAIN).effective()


def test_many_junk_releases_leave_the_stream_as_it_was() -> None:
    log = Replay(CHAIN)
    for number in range(100):  # each is inert or one element more of the release list, never a change of the set
        log.add(logged_release(f"9.{number}"))
        log.add(logged_release(f"9.{number}", make.STRANGER))
    assert log.state.status(STREAM) == AFTER_CHAIN.status(STREAM)
    following = state(after=THREE, allow=(SECOND,))
    assert log.add(following).effect is not None
