"""A key's list: value, elements, pages."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import MalformedError, ProofError
from teelog.index.lists import List, Value, list_leaf, page_range, verify_element, verify_page
from teelog.tlog.rfc6962 import root_of_leaves


def _list(count: int) -> List:
    return List([3 * at + 1 for at in range(count)])


def test_leaf_and_value_are_as_the_protocol_says():
    assert list_leaf(258) == hashlib.sha256(b"\x00" + b"\x00" * 6 + b"\x01\x02").digest()
    one, two = list_leaf(5), list_leaf(9)
    value = List([5, 9]).value()
    assert value == Value(2, hashlib.sha256(b"\x01" + one + two).digest())
    assert value.encode() == b"\x00" * 7 + b"\x02" + value.root
    assert Value.parse(value.encode()) == value


@pytest.mark.parametrize("data", [b"", bytes(39), bytes(41), bytes(40), b"\x80" + bytes(39), b"\xff" * 40])
def test_a_value_of_another_length_or_an_impossible_count_is_refused(data: bytes):
    with pytest.raises(MalformedError):
        Value.parse(data)


@pytest.mark.parametrize("count", [1, 2, 3, 31, 255, 256, 257, 511, 512, 513, 700, 900, 1_024, 1_300])
def test_every_element_and_page_is_proven(count: int):
    made = _list(count)
    value = made.value()
    for position in {0, 1, count // 2, count - 1} & set(range(count)):
        verify_element(value, position, made.indices[position], made.prove(position))
    listed: list[int] = []
    for number in range((count + 255) // 256):
        indices, path = made.page(number)
        verify_page(value, number, indices, path)
        listed += indices
    assert tuple(listed) == made.indices
    assert value.root == root_of_leaves([list_leaf(index) for index in listed])
    with pytest.raises(ValueError):
        page_range(count, (count + 255) // 256)


@settings(deadline=None)
@given(st.integers(2, 600), st.data())
def test_no_element_is_proven_at_another_place_or_with_another_index(count: int, data: st.DataObject):
    made = _list(count)
    value = made.value()
    position = data.draw(st.integers(0, count - 1))
    other = data.draw(st.integers(0, count - 1).filter(lambda at: at != position))
    path = made.prove(position)
    for lie in ((other, made.indices[position]), (position, made.indices[other]), (position, 0), (position, -1)):
        with pytest.raises(ProofError):
            verify_element(value, *lie, path)
    for lie in ((count, made.indices[-1]), (-1, made.indices[-1]), (position, 2**63)):
        with pytest.raises(ProofError):
            verify_element(value, *lie, path)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_page_is_complete_in_order_and_in_its_place(number: int):
    made = _list(700)
    value = made.value()
    indices, path = made.page(number)
    short = indices[1:]
    swapped = [indices[1], indices[0], *indices[2:]]
    doubled = [indices[0], indices[0], *indices[2:]]
    longer = [*indices, indices[-1] + 1]
    for lie in (short, indices[:-1], swapped, doubled, longer, [], [0, *indices[1:]], [-1, *indices[1:]]):
        with pytest.raises(ProofError):
            verify_page(value, number, lie, path)
    for lie_number in {0, 1, 2, 3, -1} - {number}:
        with pytest.raises(ProofError):
            verify_page(value, lie_number, indices, path)
    for lie_path in (path[:-1], [*path, bytes(32)], path[::-1] if len(path) > 1 else []):
        with pytest.raises(ProofError):
            verify_page(value, number, indices, lie_path)


def test_an_omission_shows_as_two_neighbours():
    """A list without one entry proves itself: positions p and p + 1 hold indices on either side of the entry's."""
    hidden = 10
    lie = List([1, 4, 7, 13, 16])
    value = lie.value()
    verify_element(value, 2, 7, lie.prove(2))
    verify_element(value, 3, 13, lie.prove(3))
    assert 7 < hidden < 13


@pytest.mark.parametrize("indices", [[1, 1], [2, 1], [-1]])
def test_a_list_only_rises(indices: list[int]):
    with pytest.raises(ValueError):
        List(indices)
