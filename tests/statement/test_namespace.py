"""Namespaces: keys, roles, thresholds, and the chain that rotates them."""

from __future__ import annotations

from typing import Any

import pytest

from teelog.errors import MalformedError, SignatureError, UntrustedKey, VerificationError
from teelog.keys import Algorithm
from teelog.statement import admit, dsse, namespace
from teelog.statement.namespace import Role
from tests.statement import make
from tests.statement.test_log_policy import low_order_pem

OWNERS = (
    make.held(make.ACME, Role.OWNER),
    make.held(make.SECOND, Role.OWNER),
    make.held(make.key("third"), Role.OWNER),
)
TWO_OF_THREE: dict[str, Any] = {"keys": OWNERS, "thresholds": {Role.OWNER: 2}}


def later(before: namespace.Namespace, *signers: Any, **changes: Any) -> dsse.Envelope:
    members = {"version": before.version + 1, "prev": before.statement_id}
    return dsse.parse(make.namespace_file(*signers, **members | changes))


def test_first_version_is_signed_by_its_own_owner() -> None:
    acme = make.acme()
    assert (acme.name, acme.log, acme.version) == ("acme.example", make.LOG, 0)
    assert set(acme.keys_for(Role.OWNER)) == {make.ACME.public.fingerprint}
    assert set(acme.keys_for(Role.RELEASE)) == {make.ACME.public.fingerprint, make.BUILD.public.fingerprint}
    assert acme.keys_for(Role.RESULT) == {}


@pytest.mark.parametrize("signers", [(make.STRANGER,), (make.ACME, make.STRANGER), (make.BUILD,)])
def test_first_version_without_its_owner_or_with_a_stranger_is_refused(signers: Any) -> None:
    with pytest.raises(UntrustedKey):
        namespace.verify_first(dsse.parse(make.namespace_file(*signers)))


def test_A_40_owners_threshold_counts_distinct_owners() -> None:
    for few in ((make.ACME,), (make.key("third"),)):
        with pytest.raises(UntrustedKey, match="too few"):
            namespace.verify_first(dsse.parse(make.namespace_file(*few, **TWO_OF_THREE)))
    namespace.verify_first(dsse.parse(make.namespace_file(make.ACME, make.SECOND, **TWO_OF_THREE)))


def test_A_27_namespace_for_another_log_is_refused() -> None:
    with pytest.raises(VerificationError):
        admit.check_namespace_v0(admit.classify(make.namespace_file()), "other.example/log")


def test_first_version_is_version_0() -> None:
    with pytest.raises(VerificationError):
        namespace.verify_first(dsse.parse(make.namespace_file(version=1, prev="0" * 64)))


def test_next_version_is_signed_by_owners_of_the_one_before() -> None:
    acme = make.acme()
    heir = {"keys": (make.held(make.SECOND, Role.OWNER),), "thresholds": {Role.OWNER: 1}}
    after = namespace.verify_next(later(acme, make.ACME, **heir), acme)
    assert set(after.keys) == {make.SECOND.public.fingerprint}
    # A new owner may sign beside the old one, yet takes nothing over alone.
    namespace.verify_next(later(acme, make.ACME, make.SECOND, **heir), acme)
    with pytest.raises(UntrustedKey):
        namespace.verify_next(later(acme, make.SECOND, **heir), acme)
    with pytest.raises(UntrustedKey):
        namespace.verify_next(later(acme, make.ACME, make.STRANGER, **heir), acme)


@pytest.mark.parametrize(
    "changes", [{"version": 2}, {"prev": "0" * 64}, {"namespace": "other.example"}, {"log": "other.example/log"}]
)
def test_next_version_that_does_not_follow_is_refused(changes: dict[str, Any]) -> None:
    acme = make.acme()
    with pytest.raises(VerificationError):
        namespace.verify_next(later(acme, **changes), acme)


def test_key_counts_for_entries_before_until() -> None:
    keys = (make.held(make.ACME, *make.OWNER_ROLES), make.held(make.BUILD, Role.RELEASE, until=100))
    acme = make.acme(keys=keys)
    build = make.BUILD.public.fingerprint
    assert build in acme.keys_for(Role.RELEASE, 99)
    assert build not in acme.keys_for(Role.RELEASE, 100)
    assert build not in acme.keys_for(Role.RELEASE)
    acme.require(Role.RELEASE, [build], 99)
    with pytest.raises(UntrustedKey):
        acme.require(Role.RELEASE, [build], 100)


def test_owner_that_went_out_of_force_signs_no_version() -> None:
    third = make.key("third")
    changes: dict[str, Any] = {
        "keys": (make.held(make.ACME, Role.OWNER, until=50), make.held(third, Role.OWNER)),
        "thresholds": {Role.OWNER: 1},
    }
    first = dsse.parse(make.namespace_file(make.ACME, **changes))
    acme = namespace.verify_first(first, index=49)
    namespace.verify_next(later(acme, make.ACME, **changes), acme, index=49)
    for index in (50, None):
        with pytest.raises(UntrustedKey):
            namespace.verify_first(first, index)
        with pytest.raises(UntrustedKey):
            namespace.verify_next(later(acme, make.ACME, **changes), acme, index)


def test_role_that_nobody_holds_is_met_by_nobody() -> None:
    acme = make.acme()
    with pytest.raises(UntrustedKey):
        acme.require(Role.RESULT, [])
    with pytest.raises(UntrustedKey):
        acme.require(Role.RESULT, list(acme.keys))


def test_A_40_threshold_counts_a_key_once() -> None:
    keys = (make.held(make.ACME, *make.OWNER_ROLES), make.held(make.SECOND, Role.RELEASE))
    acme = make.acme(keys=keys, thresholds={Role.OWNER: 1, Role.RELEASE: 2, Role.STATUS: 1})
    with pytest.raises(UntrustedKey):
        acme.require(Role.RELEASE, [make.ACME.public.fingerprint] * 2)


P384 = make.key("p384", Algorithm.ECDSA_P384)
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"namespace": "acme"}, "/predicate/namespace"),
    ({"log": ""}, "/predicate/log"),
    ({"version": 1}, "/predicate/prev"),
    ({"prev": "0" * 64}, "/predicate/prev"),
    ({"replaces": "x"}, "/predicate/replaces"),
    ({"version": 1, "prev": "0" * 64, "replaces": "0" * 64}, "/predicate/replaces"),
    ({"keys": ()}, "/predicate/keys"),
    ({"keys": (make.held(make.ACME, Role.OWNER),) * 2}, "/predicate/keys/1/key"),
    ({"keys": (make.held(make.ACME),)}, "/predicate/keys/0/roles"),
    ({"keys": (make.held(make.ACME, Role.OWNER, Role.OWNER),)}, "/predicate/keys/0/roles"),
    ({"keys": (make.held(make.BUILD, Role.OWNER),)}, "/predicate/keys/0/roles"),
    ({"keys": (make.held(P384, Role.RELEASE, Role.STATUS),)}, "/predicate/keys/0/roles"),
    ({"keys": (namespace.Key("-----BEGIN PUBLIC KEY-----", (Role.OWNER,), None),)}, "/predicate/keys/0/key"),
    ({"keys": (namespace.Key(make.ACME.to_pem().decode(), (Role.OWNER,), None),)}, "/predicate/keys/0/key"),
    (
        {"keys": (namespace.Key(make.ACME.public.to_pem().decode() + "\n", (Role.OWNER,), None),)},
        "/predicate/keys/0/key",
    ),
    ({"keys": (namespace.Key(low_order_pem(), (Role.OWNER,), None),)}, "/predicate/keys/0/key"),
    ({"keys": (make.held(make.ACME, Role.OWNER, until=-1),)}, "/predicate/keys/0/until"),
    ({"thresholds": {Role.RELEASE: 1, Role.STATUS: 1}}, "/predicate/thresholds"),
    ({"thresholds": {Role.OWNER: 1, Role.RELEASE: 1}}, "/predicate/thresholds"),
    ({"thresholds": {Role.OWNER: 0, Role.RELEASE: 1, Role.STATUS: 1}}, "/predicate/thresholds/owner"),
    ({"thresholds": {Role.OWNER: 2, Role.RELEASE: 1, Role.STATUS: 1}}, "/predicate/thresholds/owner"),
    ({"thresholds": {Role.OWNER: 1, Role.RELEASE: 3, Role.STATUS: 1}}, "/predicate/thresholds/release"),
    ({"thresholds": {Role.OWNER: 1, Role.RELEASE: 1, Role.STATUS: 1, Role.RESULT: 1}}, "/predicate/thresholds/result"),
]


@pytest.mark.parametrize(("changes", "where"), REFUSED)
def test_AP_04_A_20_malformed_namespace_is_refused_with_its_place(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(MalformedError) as caught:
        namespace.payload(make.namespace_predicate(**changes))
    assert caught.value.where == where


def test_owner_on_its_way_out_does_not_carry_the_threshold() -> None:
    """A chain whose last owner expires would end without anybody noticing."""
    keys = (make.held(make.ACME, *make.OWNER_ROLES, until=10),)
    with pytest.raises(MalformedError) as caught:
        namespace.payload(make.namespace_predicate(keys=keys))
    assert caught.value.where == "/predicate/thresholds/owner"


PAYLOAD = namespace.payload(make.namespace_predicate())


@pytest.mark.parametrize("place", [b'"_type":', b'"name":', b'"sha256":', b'"namespace":', b'"roles":'])
def test_unknown_member_is_refused(place: bytes) -> None:
    with pytest.raises(MalformedError):
        namespace.read(PAYLOAD.replace(place, b'"x":"00",' + place, 1))


@pytest.mark.parametrize(
    ("before", "after", "where"),
    [
        (b'"owner","release"', b'"owner","admin"', "/predicate/keys/0/roles/1"),
        (b'"thresholds":{"owner"', b'"thresholds":{"admin"', "/predicate/thresholds"),
        (b"in-toto.io/Statement/v1", b"in-toto.io/Statement/v0.1", "/_type"),
        (b'"version":0', b'"version":"0"', "/predicate/version"),
        (b'"version":0', b'"version":null', "/predicate/version"),
        (b'"version":0,', b"", "/predicate"),
        (b'"prev":null,', b"", "/predicate"),
        (b'"name":"acme.example"', b'"name":"acme.examplf"', "/subject"),
    ],
)
def test_AP_04_wrong_member_is_refused_with_its_place(before: bytes, after: bytes, where: str) -> None:
    assert before in PAYLOAD
    with pytest.raises(MalformedError) as caught:
        namespace.read(PAYLOAD.replace(before, after, 1))
    assert caught.value.where == where


def test_signature_over_other_bytes_fails() -> None:
    envelope = dsse.encode(dsse.PAYLOAD_TYPE, PAYLOAD, make.sign(b"{}").signatures)
    with pytest.raises(SignatureError):
        namespace.verify_first(envelope)


def test_white_space_in_the_payload_is_the_signers_choice() -> None:
    """The signature covers the exact bytes; another spelling is another statement."""
    spaced = PAYLOAD.replace(b",", b", ")
    assert namespace.read(spaced) == namespace.read(PAYLOAD)
    assert dsse.statement_id(spaced) != dsse.statement_id(PAYLOAD)
