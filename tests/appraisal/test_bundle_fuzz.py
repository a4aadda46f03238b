"""Nothing but a good bundle verifies, and nothing but a typed result comes out, whatever the bytes are."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from functools import cache

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog import Check, Outcome, Overall, Trust
from teelog import bundle as bundles
from teelog.bundle import Bundle
from teelog.errors import MalformedError
from tests.appraisal import malformed
from tests.appraisal.story import LOG_CHECKS, NOW, Story, current, judge, told
from tests.statement import make

SETTINGS = settings(max_examples=300, deadline=None)


@cache
def good() -> tuple[bytes, Trust]:
    """A bundle, and a trust file that asks for every cosigner: a line less is a quorum less."""
    story, release = told()
    return story.bundle(release).encode(), story.trust(quorum=4, semantic=3)


def verifies(data: bytes) -> bool:
    verdict = judge(data, good()[1])
    return verdict.overall in (Overall.VERIFIED, Overall.VERIFIED_WITH_WAIVERS)


def test_the_good_one_verifies():
    assert verifies(good()[0])


@SETTINGS
@given(st.data())
def test_no_flipped_bit_verifies(data: st.DataObject):
    raw = bytearray(good()[0])
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[bit >> 3] ^= 1 << (bit & 7)
    assert not verifies(bytes(raw))


@pytest.mark.slow
def test_no_flipped_bit_of_all_verifies():
    raw = good()[0]
    for bit in range(8 * len(raw)):
        flipped = bytearray(raw)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        assert not verifies(bytes(flipped)), bit


def test_no_truncation_verifies():
    raw = good()[0]
    for length in range(len(raw)):
        with pytest.raises(MalformedError):
            bundles.parse(raw[:length])
    assert not verifies(raw[:-1])


@SETTINGS
@given(st.binary(min_size=1, max_size=40), st.integers(0, 10_000))
def test_no_insertion_verifies(inserted: bytes, place: int):
    raw = good()[0]
    at = place % (len(raw) + 1)
    assert not verifies(raw[:at] + inserted + raw[at:])


@SETTINGS
@given(st.binary(max_size=300))
def test_garbage_is_malformed_and_one_check_says_so(data: bytes):
    verdict = judge(data, good()[1])
    failed = [finding.check for finding in verdict.findings if finding.outcome is Outcome.FAILED]
    assert failed == [Check.LOGGED]
    assert all(verdict[check].outcome is not Outcome.VERIFIED for check in LOG_CHECKS)


def test_an_unreadable_bundle_fails_whatever_is_waived():
    for count in range(len(LOG_CHECKS)):
        for waived in itertools.combinations(LOG_CHECKS, count):
            assert judge(b"\xa0", good()[1], without=waived).overall is Overall.FAILED


def test_parts_of_two_bundles_verify_together_only_if_they_are_of_one():
    story = Story()
    release = story.release("1.4.2")
    story.status(current(release))
    first = story.bundle(release)
    story.release("1.4.3")
    story.status(current(release))
    second = story.bundle(release)
    trust = story.trust()
    names = [each.name for each in fields(Bundle)]
    assert all(getattr(first, name) != getattr(second, name) for name in names)
    for chosen in itertools.product((first, second), repeat=len(names)):
        mixed = replace(first, **{name: getattr(source, name) for name, source in zip(names, chosen, strict=True)})
        holds = judge(mixed, trust).overall is Overall.VERIFIED
        assert holds is (len(set(map(id, chosen))) == 1), [source is first for source in chosen]


def test_an_entry_of_any_kind_in_any_place_is_refused_and_raises_nothing():
    story, release = told()
    story.append(make.release_file(stream="acme.example/inference/beta"))
    story.append(make.namespace_file(version=1, prev=story.namespaces[0]))
    story.ledger.append(b"no statement")
    bundle, view, trust = story.bundle(release), story.publish(), story.trust()
    genuine = (bundle.namespaces[0].index, bundle.status.index, bundle.release.index)
    for places in itertools.product(range(len(story.ledger.entries)), repeat=3):
        first, status, released = map(view.include, places)
        mixed = replace(bundle, namespaces=(first, *bundle.namespaces[1:]), status=status, release=released)
        for without in ((), (Check.LOGGED, Check.SIGNER)):
            verdict = judge(mixed, trust, without=without)
            assert (verdict[Check.ALLOWED_NOW].outcome is Outcome.VERIFIED) is (places == genuine), places


# -- the encoding ------------------------------------------------------------------------------------------------------


def test_cbor2_reads_and_writes_the_same_bytes():
    raw = good()[0]
    tree = cbor2.loads(raw)
    assert cbor2.dumps(tree, canonical=True) == raw
    assert list(tree) == list(range(10))
    assert bundles.parse(raw).encode() == raw


@pytest.mark.parametrize("data", malformed.BUNDLES.values(), ids=malformed.BUNDLES.keys())
def test_a_bundle_has_one_encoding_and_its_ten_fields(data: bytes):
    with pytest.raises(MalformedError):
        bundles.parse(data)


BOMBS = {
    "maps in maps": b"\xa1\x00" * 400_000,
    "tags on tags": b"\xc1" * 1_000_000,
    "an array of 2^62": b"\x9b" + (1 << 62).to_bytes(8, "big"),
    "arrays of 2^20 in one another": b"\x9a\x00\x0f\xff\xff" * 40_000,
    "a string of 2^40": b"\x5b" + (1 << 40).to_bytes(8, "big"),
    "a bignum": b"\xc2\x5a" + (900_000).to_bytes(4, "big") + b"\xff" * 900_000,
    "a bigfloat": b"\xc5\x82\x1a\x05\xf5\xe1\x00\x19\xff\xff",
    "a list that holds itself": b"\xd8\x1c\x81\xd8\x1d\x00",
    "a map of itself": b"\xd8\x1c\xaa" + b"".join(bytes([key]) + b"\xd8\x1d\x00" for key in range(10)),
    "a regular expression": b"\xd8\x23" + cbor2.dumps("(a+)+" * 1_000 + "$"),
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS.keys())
def test_A_45_a_bomb_is_malformed(data: bytes):
    with pytest.raises(MalformedError):
        bundles.parse(data)


def test_what_would_be_refused_is_not_written():
    found = bundles.parse(malformed.RAW)
    with pytest.raises(MalformedError):
        replace(found, namespaces=()).encode()
    assert judge(found, good()[1], NOW + 1).overall is Overall.VERIFIED
