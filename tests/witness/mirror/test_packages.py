"""The parts of an upload that need no I/O: header, packages, tickets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teelog.errors import MalformedError
from teelog.tlog.mirror import Header, encode_header, encode_package, packages, parse_header
from teelog.witness.mirror import ticket
from teelog.witness.mirror.packages import Package, Packages

KEY = b"k" * 32
HASHES = st.lists(st.binary(min_size=32, max_size=32), max_size=63).map(tuple)


@given(st.text(min_size=1, max_size=50), st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.binary(max_size=90))
def test_MI_11_a_header_is_read_as_it_was_written_and_not_from_less(
    origin: str, one: int, other: int, held: bytes
) -> None:
    start, end = sorted((one, other))
    header = encode_header(origin, start, end, held)
    assert parse_header(header + b"more") == (Header(origin, start, end, held), len(header))
    for cut in range(len(header)):
        assert parse_header(header[:cut]) is None


@given(st.data())
def test_MI_20_packages_are_the_same_however_the_body_is_cut(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, 600))
    end = start + data.draw(st.integers(0, 600))
    wanted = [
        Package(first, low, high, tuple(b"%d" % index for index in range(low, high)), data.draw(HASHES))
        for first, low, high in packages(start, end)
    ]
    body = b"".join(encode_package(each.entries, each.proof) for each in wanted)
    reader, found = Packages(start, end), []
    at = 0
    while at < len(body):
        step = data.draw(st.integers(1, 5_000))
        found += reader.feed(body[at : at + step])
        at += step
    found += reader.feed(b"")
    assert (found, reader.complete) == (wanted, True)


def test_MI_20_the_sequence_is_aligned_at_multiples_of_256() -> None:
    assert list(packages(300, 800)) == [(256, 300, 512), (512, 512, 768), (768, 768, 800)]
    assert list(packages(5, 5)) == []
    assert list(packages(0, 256)) == [(0, 0, 256)]


def test_MI_20_a_log_of_any_size_that_can_be_signed_costs_a_header_nothing() -> None:
    assert next(packages(0, 2**62)) == (0, 0, 256)
    assert not Packages(0, 2**62).complete


@given(st.integers(64, 255))
def test_MI_20_more_than_63_hashes_are_refused(count: int) -> None:
    with pytest.raises(MalformedError, match="too many hashes"):
        list(Packages(0, 1).feed(b"\x00\x01x" + bytes([count])))


@given(st.binary(max_size=2_000))
def test_MI_27_junk_is_a_package_refused_or_not_whole_and_never_an_accident(junk: bytes) -> None:
    try:
        for package in Packages(0, 3).feed(junk):
            assert encode_package(package.entries, package.proof) == junk
    except MalformedError:
        pass


@given(st.binary(max_size=500), st.binary(max_size=200))
def test_MI_30_only_our_own_ticket_for_this_log_is_read(note: bytes, junk: bytes) -> None:
    made = ticket.issue(KEY, "log.example/tee", note)
    assert ticket.read(KEY, "log.example/tee", made) == note
    assert ticket.read(b"o" * 32, "log.example/tee", made) is None
    assert ticket.read(KEY, "log.example/te", made) is None
    assert ticket.read(KEY, "log.example/tee", junk) is None
    assert ticket.read(KEY, "log.example/tee", made + b"x") is None
    assert ticket.read(KEY, "log.example/tee", made[:-1]) is None


def test_MI_28_a_note_without_room_in_a_ticket_has_none() -> None:
    assert ticket.issue(KEY, "log.example/tee", bytes(65_535)) == b""
