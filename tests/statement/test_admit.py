"""Classifying an entry's bytes, and what may be asked of each kind."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teelog.errors import MalformedError
from teelog.statement import admit
from teelog.statement.admit import Kind
from tests.statement import make


def test_each_kind_is_told_with_whose_keys_to_look_for() -> None:
    found = [admit.classify(file) for file in (make.log_policy_file(), make.namespace_file(), make.release_file())]
    assert [(parsed.kind, parsed.namespace, parsed.stream and str(parsed.stream)) for parsed in found] == [
        (Kind.LOG_POLICY, None, None),
        (Kind.NAMESPACE, "acme.example", None),
        (Kind.RELEASE, "acme.example", "acme.example/inference/stable"),
    ]


@pytest.mark.parametrize(
    "predicate_type",
    ["urn:teelog:release:v2", "urn:teelog:Release:v1", "https://slsa.dev/provenance/v1", "", "urn:teelog:status:v2"],
)
def test_A_51_unknown_predicate_is_refused(predicate_type: str) -> None:
    document = json.loads(make.release_payload())
    document["predicateType"] = predicate_type
    with pytest.raises(MalformedError) as caught:
        admit.classify(make.sign(json.dumps(document).encode()).file)
    assert caught.value.where == "/predicateType"


@pytest.mark.parametrize("other", ["urn:teelog:namespace:v1", "urn:teelog:log-policy:v1"])
def test_A_51_one_kind_is_never_read_as_another(other: str) -> None:
    document = json.loads(make.release_payload())
    document["predicateType"] = other
    with pytest.raises(MalformedError):
        admit.classify(make.sign(json.dumps(document).encode()).file)


def test_A_46_second_predicate_type_is_refused() -> None:
    payload = make.release_payload()
    twice = payload.replace(b'"predicateType":', b'"predicateType":"urn:teelog:namespace:v1","predicateType":')
    with pytest.raises(MalformedError, match="repeated"):
        admit.classify(make.sign(twice).file)


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b"{}", b'{"predicateType":1}', b"\xff", b"[" * 5000])
def test_payload_that_is_no_statement_is_refused(payload: bytes) -> None:
    with pytest.raises(MalformedError):
        admit.classify(make.sign(payload).file)


@given(st.binary(max_size=100))
def test_any_bytes_are_classified_or_refused(entry: bytes) -> None:
    with pytest.raises(MalformedError):
        admit.classify(entry)
    with pytest.raises(MalformedError):
        admit.classify(make.sign(entry).file)


def test_check_of_the_wrong_kind_is_the_callers_mistake() -> None:
    acme, policy = make.acme(), admit.classify(make.log_policy_file())
    for check in (
        lambda: admit.check_release(policy, acme),
        lambda: admit.check_namespace_v0(policy, make.LOG),
        lambda: admit.check_namespace_next(policy, acme),
        lambda: admit.check_log_policy_v0(admit.classify(make.release_file()), make.LOG),
    ):
        with pytest.raises(ValueError, match="not a"):
            check()


def test_release_and_next_namespace_are_checked_against_the_namespace() -> None:
    acme = make.acme()
    assert admit.check_release(admit.classify(make.release_file()), acme).claim.predicate.version == "1.4.2"
    next_file = make.namespace_file(version=1, prev=acme.statement_id)
    assert admit.check_namespace_next(admit.classify(next_file), acme).version == 1
