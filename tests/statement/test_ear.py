"""Attestation results: both dialects are read, the draft's is written, and what is private does not get out."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teelog.errors import MalformedError, SignatureError, UntrustedKey
from teelog.statement import admit, dsse, ear, ear_verdict, jws
from teelog.statement.admit import Kind
from teelog.statement.namespace import Namespace, Role
from teelog.verdict import Check, Finding, Judged, Outcome, Verdict
from tests.statement import make

NOW = 1_790_000_000
STREAM = "acme.example/inference/stable"
ROOT = bytes(range(32))
JUDGED = Judged(STREAM, NOW, "sev-snp", "ab" * 32, "1.4.2", 3, True, ("cd" * 32,), "log.example/tee", 7, ROOT)
VERIFIER = make.key("verifier")


def verdict(judged: Judged | None = JUDGED, as_of: int | None = None, **outcomes: Outcome) -> Verdict:
    """Everything verified, but for the checks that are named (with _ for -)."""
    found = {Check(name.replace("_", "-")): outcome for name, outcome in outcomes.items()}
    return Verdict.of([Finding(check, found.get(check, Outcome.VERIFIED)) for check in Check], as_of, judged)


def payload(of: Verdict) -> bytes:
    return ear.encode(ear_verdict.claims(of, issuer="acme.example", issued_at=NOW, build="teelog 0.1.0"))


def test_a_result_says_what_was_judged_against_what_in_the_drafts_names():
    claims = json.loads(payload(verdict()))
    assert claims == {
        "eat_profile": "tag:ietf.org,2026:rats/ear#03",
        "iss": "acme.example",
        "sub": STREAM,
        "iat": NOW,
        "ear_verifier_id": {"developer": "urn:teelog", "build": "teelog 0.1.0"},
        "ear_status": "affirming",
        "submods": {
            "sev-snp": {
                "ear_status": "affirming",
                "ear_trustworthiness_vector": {"configuration": 2, "executables": 3, "hardware": 2},
            }
        },
        "urn:teelog:appraisal:v1": {
            "verdict": "verified",
            "stream": STREAM,
            "release": "ab" * 32,
            "namespaces": ["cd" * 32],
            "checkpoint": {"origin": "log.example/tee", "size": 7, "root": ROOT.hex()},
            "checks": dict.fromkeys(Check, "verified"),
            "as_of": None,
        },
    }
    read = ear.read(payload(verdict()))
    assert read.dialect == "draft"
    assert read.judged is not None
    assert read.judged.checkpoint == ear.JudgedCheckpoint("log.example/tee", 7, ROOT.hex())
    assert read.private == ()


@pytest.mark.parametrize(
    ("found", "status", "vector"),
    [
        (verdict(), "affirming", {"configuration": 2, "executables": 3, "hardware": 2}),
        # Approved is what the stream's current set says; without it nothing is claimed about the program.
        (verdict(allowed_now=Outcome.OFF), "warning", {"configuration": 2, "hardware": 2}),
        (verdict(allowed_now=Outcome.NOT_ESTABLISHED), "none", {"configuration": 2, "hardware": 2}),
        (verdict(as_of=NOW - 9), "warning", {"configuration": 2, "executables": 3, "hardware": 2}),
        (verdict(hardware=Outcome.FAILED), "contraindicated", {"configuration": 2, "executables": 3, "hardware": 97}),
        (
            verdict(configuration=Outcome.FAILED),
            "contraindicated",
            {"configuration": 96, "executables": 3, "hardware": 2},
        ),
        (
            verdict(measurement=Outcome.FAILED),
            "contraindicated",
            {"configuration": 2, "executables": 96, "hardware": 2},
        ),
        (
            verdict(Judged(STREAM, NOW, "sev-snp"), measurement=Outcome.FAILED),
            "contraindicated",
            {"configuration": 2, "executables": 33, "hardware": 2},
        ),
        (verdict(freshness=Outcome.FAILED), "contraindicated", {"configuration": 2, "executables": 3, "hardware": 2}),
    ],
)
def test_what_a_verdict_amounts_to(found: Verdict, status: str, vector: dict[str, int]):
    read = ear.read(payload(found))
    assert read.status == status
    assert read.submodules[0].vector == vector


def test_a_result_needs_a_verdict_that_says_what_it_judged():
    with pytest.raises(ValueError, match="appraise"):
        payload(verdict(None))
    with pytest.raises(MalformedError, match="namespace"):
        ear_verdict.claims(verdict(), issuer="Me", issued_at=NOW, build="x")


# -- other verifiers' ----------------------------------------------------------------------------------------------

VERAISON: dict[str, Any] = {
    "ear.verifier-id": {"build": "rrtrap-v1.0.0", "developer": "Acme Inc."},
    "eat_profile": "tag:github.com,2023:veraison/ear",
    "iat": 1_666_529_184,
    "iss": "acme.example",
    "submods": {
        "PSA_IOT": {
            "ear.status": "affirming",
            "ear.trustworthiness-vector": {"instance-identity": 2, "executables": 3, "hardware": 2},
            "ear.appraisal-policy-id": "policy://0123",
        }
    },
}
TRUSTEE = VERAISON | {
    "eat_profile": "tag:github.com,2024:confidential-containers/Trustee",
    "exp": 1_666_529_484,
    "submods": {
        "cpu0": {
            "ear.status": "contraindicated",
            "ear.trustworthiness-vector": {"executables": 33, "configuration": 36, "hardware": 97},
        },
        "gpu0": {"ear.status": 32, "ear.trustworthiness-vector": {"executables": -33}},
    },
}


def test_the_deployed_dialect_is_read():
    read = ear.read(json.dumps(VERAISON).encode())
    assert (read.dialect, read.developer, read.build) == ("deployed", "Acme Inc.", "rrtrap-v1.0.0")
    (only,) = read.submodules
    assert (only.name, only.status, only.policies) == ("PSA_IOT", "affirming", ("policy://0123",))
    both = ear.read(json.dumps(TRUSTEE).encode())
    assert [each.status for each in both.submodules] == ["contraindicated", "warning"]
    assert both.expires == 1_666_529_484


DRAFT = json.loads(payload(verdict()))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"eat_profile": None}, "/eat_profile"),
        ({"eat_profile": 1}, "/eat_profile"),
        ({"iat": None}, "/iat"),
        ({"iat": "1790000000"}, "/iat"),
        ({"iat": True}, "/iat"),
        ({"iat": -1}, "/iat"),
        ({"iat": 2**53}, "/iat"),
        ({"exp": "never"}, "/exp"),
        ({"exp": 1.5}, "/exp"),
        ({"iss": ""}, "/iss"),
        ({"iss": ["acme.example", "other.example"]}, "/iss"),
        ({"ear_verifier_id": None}, "/ear_verifier_id"),
        ({"ear_status": "excellent"}, "/ear_status"),
        ({"submods": {}}, "/submods"),
        ({"submods": [1]}, "/submods"),
        ({"submods": {"a": 1}}, "/submods/a"),
        ({"submods": {"a": {}}}, "/submods/a/ear_status"),
        ({"submods": {"a": {"ear_status": 3}}}, "/submods/a/ear_status"),
        ({"submods": {"a": {"ear_status": "none", "ear_trustworthiness_vector": {"hardware": 128}}}}, "/hardware"),
        ({"submods": {"a": {"ear_status": "none", "ear_trustworthiness_vector": {"hardware": "2"}}}}, "/hardware"),
        ({"submods": {"a": {"ear_status": "none", "ear_trustworthiness_vector": []}}}, "/submods/a"),
        (
            {"submods": {"a": {"ear_status": "affirming", "ear_trustworthiness_vector": {"hardware": 97}}}},
            "/submods/a/ear_status",
        ),
        ({"submods": {"a": {"ear_status": "warning"}}}, "/ear_status"),
        ({ear.CLAIM: {}}, "/urn:teelog:appraisal:v1"),
        ({ear.CLAIM: DRAFT[ear.CLAIM] | {"release": "x"}}, "/urn:teelog:appraisal:v1"),
        ({ear.CLAIM: DRAFT[ear.CLAIM] | {"stream": "x"}}, "/urn:teelog:appraisal:v1/stream"),
    ],
)
def test_A_43_a_claim_of_the_wrong_kind_is_refused_with_its_place(change: dict[str, Any], where: str):
    claims = {name: value for name, value in (DRAFT | change).items() if value is not None}
    with pytest.raises(MalformedError) as caught:
        ear.read(json.dumps(claims).encode())
    assert where in str(caught.value.where)


@pytest.mark.parametrize(
    "text", [b'{"iat":1,"iat":2}', b'{"exp":1e400}', b'{"exp":NaN}', b"[]", b"", b"\xff", b'{"a":' * 99]
)
def test_A_43_ambiguous_claims_are_refused(text: bytes):
    with pytest.raises(MalformedError):
        ear.read(text)


def test_claims_without_a_meaning_here_are_ignored():
    assert ear.read(json.dumps(DRAFT | {"later": {"x": [1]}, "jti": "x"}).encode()).judged is not None


@given(st.integers(-128, 127))
def test_every_value_has_one_tier(value: int):
    # AR4SI section 2.3.2: the ranges are symmetric but for their ends.
    distance = value if value >= 0 else -value - (1 if value < -1 else 0)
    expected = "none" if distance <= 1 and value in (-1, 0, 1) else None
    if expected is None:
        expected = "affirming" if distance <= 31 else "warning" if distance <= 95 else "contraindicated"
    assert ear.tier(value) == expected


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(DRAFT)), _json_values, st.sampled_from([DRAFT, VERAISON]))
def test_any_claim_may_be_anything_and_is_read_or_malformed(name: str, value: Any, base: dict[str, Any]):
    try:
        ear.read(json.dumps(base | {name: value}).encode())
    except MalformedError:
        return


# -- as entries of a log ----------------------------------------------------------------------------------------------

PRIVATE_CLAIMS: list[dict[str, Any]] = [
    {"eat_nonce": "0123456789abcdef"},
    {"ear_raw_evidence": "AAAA"},
    {"ear.raw-evidence": "AAAA"},
    {"ueid": "AQ"},
    {"submods": {"a": DRAFT["submods"]["sev-snp"] | {"eat_nonce": "0123456789abcdef"}}},
    {"submods": {"a": DRAFT["submods"]["sev-snp"] | {"ear_veraison_annotated_evidence": {"chip": "x"}}}},
    {"extra": [{"deep": {"chip_id": "AQ"}}]},
]


def entry(claims: dict[str, Any] | None = None, signer: Any = VERIFIER) -> bytes:
    body = payload(verdict()) if claims is None else json.dumps(claims).encode()
    return jws.sign(body, signer, "eat+jwt").file


KEYS = (make.held(make.ACME, *make.OWNER_ROLES), make.held(VERIFIER, Role.RESULT))
THRESHOLDS = {Role.OWNER: 1, Role.RELEASE: 1, Role.STATUS: 1, Role.RESULT: 1}
NAMESPACE = make.namespace_file(keys=KEYS, thresholds=THRESHOLDS)


def acme(**changes: Any) -> Namespace:
    return make.acme(**{"keys": KEYS, "thresholds": THRESHOLDS} | changes)


def test_a_result_is_an_entry_named_by_its_signing_input():
    parsed = admit.classify(entry())
    assert (parsed.kind, parsed.namespace, parsed.stream) == (Kind.RESULT, "acme.example", None)
    assert parsed.statement_id == jws.parse(entry()).statement_id
    assert admit.check_result(parsed, acme()).result.subject == STREAM


def test_a_result_takes_a_key_with_the_role_result():
    by_owner = admit.classify(entry(signer=make.ACME))
    with pytest.raises(SignatureError):
        admit.check_result(by_owner, acme())
    with pytest.raises(UntrustedKey):
        admit.check_result(admit.classify(entry()), make.acme())


def test_a_result_may_be_signed_by_P256():
    signer = make.BUILD
    keys = (make.held(make.ACME, *make.OWNER_ROLES), make.held(signer, Role.RELEASE, Role.RESULT))
    thresholds = {Role.OWNER: 1, Role.RELEASE: 1, Role.STATUS: 1, Role.RESULT: 1}
    assert admit.check_result(admit.classify(entry(signer=signer)), acme(keys=keys, thresholds=thresholds))


def test_a_result_key_counts_until_its_index():
    keys = (make.held(make.ACME, *make.OWNER_ROLES), make.held(VERIFIER, Role.RESULT, until=5))
    bounded = acme(keys=keys)
    assert admit.check_result(admit.classify(entry()), bounded, 4)
    for index in (5, None):
        with pytest.raises(UntrustedKey):
            admit.check_result(admit.classify(entry()), bounded, index)


@pytest.mark.parametrize("more", PRIVATE_CLAIMS)
def test_evidence_nonces_and_identities_are_found_at_any_depth(more: dict[str, Any]):
    parsed = admit.classify(entry(DRAFT | more))
    result = admit.check_result(parsed, acme()).result
    with pytest.raises(MalformedError) as caught:
        admit.check_private(result)
    assert str(caught.value.where).startswith("/")


def test_our_own_results_hold_nothing_private():
    admit.check_private(admit.check_result(admit.classify(entry()), acme()).result)


@pytest.mark.parametrize("issuer", [None, "https://verifier.example", "Acme.example", "acme"])
def test_an_issuer_that_is_no_namespace_is_refused(issuer: str | None):
    claims = {name: value for name, value in (DRAFT | {"iss": issuer}).items() if value is not None}
    with pytest.raises(MalformedError, match="/iss"):
        admit.classify(entry(claims))


def test_a_result_is_not_taken_for_another_kind():
    parsed = admit.classify(entry())
    for check in (
        lambda: admit.check_release(parsed, acme()),
        lambda: admit.check_namespace_v0(parsed, make.LOG),
        lambda: admit.check_log_policy_v0(parsed, make.LOG),
    ):
        with pytest.raises(ValueError, match="result"):
            check()
    with pytest.raises(ValueError, match="not a result"):
        admit.check_result(admit.classify(make.release_file()), acme())
    with pytest.raises(ValueError, match=r"other\.example"):
        admit.check_result(admit.classify(entry(DRAFT | {"iss": "other.example"})), acme())


def test_a_token_inside_of_an_envelope_is_no_statement():
    wrapped = dsse.sign(dsse.PAYLOAD_TYPE, payload(verdict()), [VERIFIER]).file
    with pytest.raises(MalformedError):
        admit.classify(wrapped)


FIRST_USE = """
import sys, threading
from teelog.statement import ear, require
text, start = sys.stdin.buffer.read(), threading.Barrier(8)
def use():
    start.wait()
    for _ in range(20):
        assert ear.read(text).judged is not None
        require.read({"debug": False})
sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_threads_that_begin_at_once_read_whole_types():
    """A log's first batch of results is judged by several threads, in a process that has read none before."""
    command = [sys.executable, "-c", FIRST_USE]
    done = subprocess.run(command, input=json.dumps(DRAFT).encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
