"""Releases: strict where it matters, tolerant where the protocol says so, signed by release keys only."""

from __future__ import annotations

from typing import Any

import pytest

from teelog.errors import MalformedError, SignatureError, UntrustedKey
from teelog.statement import admit, dsse, release
from teelog.statement.intoto import Subject
from teelog.statement.namespace import Role
from teelog.statement.release import Coverage, Validity
from tests.statement import make

ACME = make.acme()
PAYLOAD = make.release_payload()


def test_release_by_a_release_key_is_verified() -> None:
    found = release.verify(dsse.parse(make.release_file()), ACME, index=7)
    assert str(found.claim.stream) == "acme.example/inference/stable"
    assert found.signers == (make.ACME.public.fingerprint,)
    assert found.index == 7
    assert found.claim.not_after.isoformat() == "2027-01-01T00:00:00+00:00"


def test_ecdsa_key_signs_releases() -> None:
    assert release.verify(dsse.parse(make.release_file(make.BUILD)), ACME).signers == (make.BUILD.public.fingerprint,)


def test_release_of_another_namespace_is_refused() -> None:
    file = make.release_file(stream="other.example/inference/stable")
    with pytest.raises(UntrustedKey, match="another namespace"):
        release.verify(dsse.parse(file), ACME)


def test_release_by_a_stranger_or_decorated_by_one_is_refused() -> None:
    for signers in ((make.STRANGER,), (make.ACME, make.STRANGER)):
        with pytest.raises(UntrustedKey):
            release.verify(dsse.parse(make.release_file(*signers)), ACME)


def test_key_of_another_role_does_not_count() -> None:
    keys = (make.held(make.ACME, Role.OWNER), make.held(make.SECOND, Role.RELEASE))
    acme = make.acme(keys=keys, thresholds={Role.OWNER: 1, Role.RELEASE: 1})
    with pytest.raises(UntrustedKey, match="too few"):
        release.verify(dsse.parse(make.release_file(make.ACME)), acme)
    release.verify(dsse.parse(make.release_file(make.ACME, make.SECOND)), acme)


def test_threshold_of_release_keys_is_asked_for() -> None:
    acme = make.acme(thresholds={Role.OWNER: 1, Role.RELEASE: 2, Role.STATUS: 1})
    with pytest.raises(UntrustedKey, match="too few"):
        release.verify(dsse.parse(make.release_file(make.ACME)), acme)
    release.verify(dsse.parse(make.release_file(make.ACME, make.BUILD)), acme)


def test_release_key_counts_before_its_until() -> None:
    acme = make.acme(keys=(make.held(make.ACME, *make.OWNER_ROLES), make.held(make.BUILD, Role.RELEASE, until=100)))
    envelope = dsse.parse(make.release_file(make.BUILD))
    release.verify(envelope, acme, index=99)
    for index in (100, None):
        with pytest.raises(UntrustedKey):
            release.verify(envelope, acme, index=index)


def test_signature_over_other_bytes_fails() -> None:
    with pytest.raises(SignatureError):
        release.verify(dsse.encode(dsse.PAYLOAD_TYPE, PAYLOAD, make.sign(b"{}").signatures), ACME)


def test_same_input_gives_the_same_bytes() -> None:
    assert make.release_payload() == PAYLOAD


def test_unknown_members_are_ignored_outside_variants() -> None:
    for place in (b'"_type":', b'"name":"disk', b'"stream":', b'"notBefore":', b'"measured":', b'"uri":'):
        assert place in PAYLOAD
        changed = PAYLOAD.replace(place, b'"x":{"y":[]},' + place, 1)
        assert release.read(changed).predicate == release.read(PAYLOAD).predicate


@pytest.mark.parametrize("place", [b'"platform":', b'"when":'])
def test_unknown_member_of_a_variant_is_refused(place: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        release.read(PAYLOAD.replace(place, b'"x":1,' + place, 1))
    assert caught.value.where == "/predicate/variants/0"


def test_A_46_float_in_an_ignored_member_is_refused() -> None:
    with pytest.raises(MalformedError) as caught:
        release.read(PAYLOAD.replace(b'"stream":', b'"x":1.5,"stream":', 1))
    assert caught.value.where == "/predicate/x"


def _registers(count: int) -> tuple[release.Variant, ...]:
    return tuple(make.variant(when={}, registers={"measurement": f"{n:096x}"}, require={}) for n in range(count))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"stream": "acme.example/inference"}, "/predicate/stream"),
    ({"version": "1 2"}, "/predicate/version"),
    ({"svn": -1}, "/predicate/svn"),
    ({"svn": 2**53}, "/predicate/svn"),
    ({"validity": Validity("2026-01-01T00:00:00Z", "2025-12-31T23:59:59Z")}, "/predicate/validity/notAfter"),
    ({"validity": Validity("2026-02-30T00:00:00Z", "2027-01-01T00:00:00Z")}, "/predicate/validity/notBefore"),
    ({"variants": ()}, "/predicate/variants"),
    ({"variants": _registers(201)}, "/predicate/variants"),
    ({"variants": (make.variant(), make.variant(platform="x"))}, "/predicate/variants/1/platform"),
    ({"variants": (make.variant(registers={}),)}, "/predicate/variants/0/registers"),
    ({"variants": (make.variant(registers={"measurement": "00"}),)}, "/predicate/variants/0/registers/measurement"),
    ({"variants": (make.variant(registers={"measurement": [make.MEASUREMENT]}),)}, "/predicate/variants/0/registers/*"),
    ({"variants": (make.variant(when={"ratio": 1.5}),)}, "/predicate/variants/0/when/ratio"),
    ({"coverage": Coverage((1,), ())}, "/predicate/coverage/measured/0"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("changes", "where"), REFUSED)
def test_AP_04_malformed_release_is_refused_with_its_place(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(MalformedError) as caught:
        make.release_payload(**changes)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("subjects", "where"),
    [
        ((Subject("a", {}),), "/subject/0/digest"),
        ((make.SUBJECT, Subject("a", {"sha256": "00"})), "/subject/1/digest/sha256"),
        ((Subject("a", {"sha256": "AB" * 32}),), "/subject/0/digest/sha256"),
        ((Subject("a", {"sha/256": "ab" * 32}),), "/subject/0/digest/sha~1256"),
        ((Subject("a", {"sha384": "ab" * 32}),), "/subject/0/digest/sha384"),
        ((Subject("a" * 513, {"sha256": "ab" * 32}),), "/subject/0/name"),
        ((make.SUBJECT,) * 201, "/subject"),
    ],
)
def test_AP_04_malformed_subject_is_refused_with_its_place(subjects: tuple[Subject, ...], where: str) -> None:
    with pytest.raises(MalformedError) as caught:
        make.release_payload(*subjects)
    assert caught.value.where == where


def test_release_without_a_subject_is_refused() -> None:
    with pytest.raises(MalformedError):
        release.payload(make.release_predicate(), ())


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00+00:00",
        "2026-01-01T00:00:00z",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00.0Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T24:00:00Z",
        "2026-1-1T00:00:00Z",
        "２026-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z\n",
        "",
    ],
)
def test_time_has_one_spelling(text: str) -> None:
    with pytest.raises(MalformedError):
        release.time(text)


def test_time_round_trips() -> None:
    for text in ("2026-01-31T23:59:59Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        assert release.format_time(release.time(text)).rjust(20, "0") == text


def test_entry_has_at_most_256_index_keys() -> None:
    """Protocol section 4: at most 256 keys an entry, 422 above."""
    subjects = [Subject(str(n), {"sha256": f"{n:064x}"}) for n in range(54)]
    fits = make.release_payload(*subjects, variants=_registers(200))
    admit.classify(make.sign(fits).file)  # 200 + 54 + one signer + the stream
    with pytest.raises(MalformedError, match="too many distinct values"):
        admit.classify(make.sign(fits, make.ACME, make.STRANGER).file)


def test_repeated_and_open_registers_take_no_index_key() -> None:
    tdx = {"mrtd": "00" * 48, "rtmr0": "any", "rtmr1": "any", "rtmr2": "any"}
    variants = (make.variant(platform="tdx", when={}, registers=tdx, require={}),) * 150
    admit.classify(make.sign(make.release_payload(variants=variants)).file)
