"""Log policies: entry 0, its successors, the end of a log."""

from __future__ import annotations

from typing import Any

import pytest

from teelog.errors import MalformedError, SignatureError, UntrustedKey, VerificationError
from teelog.statement import admit, dsse, log_policy, strict_json
from teelog.statement.log_policy import Frozen, LogPolicy
from tests.statement import make

PEM = make.ACME.public.to_pem().decode()
SECOND_PEM = make.SECOND.public.to_pem().decode()


def first(**changes: Any) -> LogPolicy:
    return admit.check_log_policy_v0(admit.classify(make.log_policy_file(**changes)), make.LOG)


def test_first_policy_is_signed_by_its_own_operator() -> None:
    policy = first()
    assert policy.predicate.admission.raw is False
    assert set(policy.operators) == {make.ACME.public.fingerprint}


def test_raw_admission_is_stated() -> None:
    assert first(admission=log_policy.Admission(raw=True)).predicate.admission.raw is True


def test_first_policy_signed_by_another_key_is_refused() -> None:
    with pytest.raises(UntrustedKey):
        admit.check_log_policy_v0(admit.classify(make.log_policy_file(make.STRANGER)), make.LOG)


def test_operators_threshold_counts_distinct_operators() -> None:
    both = (PEM, SECOND_PEM)
    with pytest.raises(UntrustedKey):
        first(operators=both, threshold=2)
    file = make.log_policy_file(make.ACME, make.SECOND, operators=both, threshold=2)
    assert len(admit.check_log_policy_v0(admit.classify(file), make.LOG).operators) == 2


def test_A_27_policy_of_another_log_is_refused() -> None:
    with pytest.raises(VerificationError):
        admit.check_log_policy_v0(admit.classify(make.log_policy_file()), "other.example/log")


def test_next_policy_is_signed_by_the_operators_before_it() -> None:
    before = first()
    changes = {"version": 1, "prev": before.statement_id, "operators": (SECOND_PEM,)}
    after = log_policy.verify_next(dsse.parse(make.log_policy_file(**changes)), before)
    assert set(after.operators) == {make.SECOND.public.fingerprint}
    with pytest.raises(UntrustedKey):
        log_policy.verify_next(dsse.parse(make.log_policy_file(make.SECOND, **changes)), before)


@pytest.mark.parametrize(
    "changes", [{"version": 2}, {"prev": "0" * 64}, {"log": "other.example/log"}, {"version": 0, "prev": None}]
)
def test_next_policy_that_does_not_follow_is_refused(changes: dict[str, Any]) -> None:
    before = first()
    file = make.log_policy_file(**{"version": 1, "prev": before.statement_id} | changes)
    with pytest.raises(VerificationError):
        log_policy.verify_next(dsse.parse(file), before)


def test_nothing_follows_a_frozen_policy() -> None:
    before = first(frozen=Frozen(None))
    file = make.log_policy_file(version=1, prev=before.statement_id)
    with pytest.raises(VerificationError, match="frozen"):
        log_policy.verify_next(dsse.parse(file), before)


def test_later_version_is_no_entry_0() -> None:
    with pytest.raises(VerificationError):
        log_policy.verify_first(dsse.parse(make.log_policy_file(version=1, prev="0" * 64)))


def test_signature_over_other_bytes_fails() -> None:
    other = make.sign(b"{}").signatures
    envelope = dsse.encode(dsse.PAYLOAD_TYPE, log_policy.payload(make.log_policy_predicate()), other)
    with pytest.raises(SignatureError):
        log_policy.verify_first(envelope)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"log": "a b"}, "/predicate/log"),
        ({"version": 1}, "/predicate/prev"),
        ({"prev": "0" * 64}, "/predicate/prev"),
        ({"version": 1, "prev": "x"}, "/predicate/prev"),
        ({"operators": ()}, "/predicate/operators"),
        ({"operators": (PEM, PEM)}, "/predicate/operators/1"),
        ({"operators": ("x",)}, "/predicate/operators/0"),
        ({"operators": (make.BUILD.public.to_pem().decode(),)}, "/predicate/operators/0"),
        ({"threshold": 0}, "/predicate/threshold"),
        ({"threshold": 2}, "/predicate/threshold"),
        ({"frozen": Frozen("a b")}, "/predicate/frozen/successor"),
        ({"operators": tuple(make.key(str(n)).public.to_pem().decode() for n in range(65))}, "/predicate/operators"),
    ],
)
def test_AP_04_malformed_policy_is_refused_with_its_place(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(MalformedError) as caught:
        log_policy.payload(make.log_policy_predicate(**changes))
    assert caught.value.where == where


@pytest.mark.parametrize("member", [b'"x":1,', b'"signed":true,'])
def test_unknown_member_is_refused(member: bytes) -> None:
    payload = log_policy.payload(make.log_policy_predicate())
    for place in (b'"log":', b'"raw":', b'"_type":', b'"name":'):
        with pytest.raises(MalformedError, match="unknown field"):
            log_policy.read(payload.replace(place, member + place))


def test_subject_must_be_the_origin() -> None:
    payload = log_policy.payload(make.log_policy_predicate())
    with pytest.raises(MalformedError) as caught:
        log_policy.read(payload.replace(b'"name":"log.example/tee"', b'"name":"log.example/teE"'))
    assert caught.value.where == "/subject"


def test_A_20_low_order_key_is_refused() -> None:
    low = low_order_pem()
    with pytest.raises(MalformedError, match="low order"):
        log_policy.payload(make.log_policy_predicate(operators=(low,)))


def low_order_pem() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    raw = Ed25519PublicKey.from_public_bytes(bytes([1]) + bytes(31))
    return raw.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def test_members_are_encoded_in_the_documented_order() -> None:
    text = strict_json.encode(make.log_policy_predicate())
    assert text.startswith(b'{"log":"log.example/tee","version":0,"prev":null,"operators":["-----BEGIN')
    assert text.endswith(b'"threshold":1,"admission":{"raw":false}}')
