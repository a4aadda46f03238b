"""A measurement that a verifier saw running and that no release explains, or none yet."""

from __future__ import annotations

from typing import Any

import pytest

from teelog.statement.namespace import Role
from teelog.witness.monitor import budget, measured
from teelog.witness.monitor.finding import Kind
from tests.statement import make
from tests.witness.monitor.judging import OTHER_STREAM, OURS, STREAM, VERIFIER, Judging, identity, result, told

EVIDENCE = {"sha256": "0e" * 32}
ABOUT = f"{STREAM} sha256:{'0e' * 32}"
RELEASE = make.release_file()
GOOD: dict[str, Any] = {"verdict": "verified", "checks": {"hardware": "verified", "measurement": "verified"}}


@pytest.fixture
def judging() -> Judging:
    return Judging(OURS).begin()


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"executables": 33, "checks": {}},
        {"release": "ab" * 32},
        {"release": "ab" * 32, **GOOD},
    ],
    ids=["failed", "not-recognised", "release-not-logged", "verified-by-a-release-not-logged"],
)
def test_what_no_release_explains_is_told(judging: Judging, claims: dict[str, Any]) -> None:
    (finding,) = judging.add(result(**claims))
    assert told([finding]) == [f"measured-not-released {STREAM} 3"]
    assert finding.text.startswith("checks.example has seen ")


@pytest.mark.parametrize(
    "checks",
    [
        {},
        {"hardware": "verified"},
        {"hardware": "verified", "measurement": "not established"},
        {"hardware": "failed", "measurement": "failed"},
    ],
    ids=str,
)
def test_a_check_that_did_not_run_or_hardware_that_is_none_has_seen_nothing(
    judging: Judging, checks: dict[str, str]
) -> None:
    assert judging.add(result(checks=checks)) == []


def test_what_a_release_explains_is_no_news(judging: Judging) -> None:
    assert judging.add(RELEASE, result(release=identity(RELEASE), **GOOD)) == []


def test_a_release_of_another_stream_explains_nothing(judging: Judging) -> None:
    other = make.release_file(stream=OTHER_STREAM)
    found = judging.add(other, result(release=identity(other), **GOOD))
    assert told(found) == [f"measured-not-released {STREAM} 4"]


def test_a_release_that_arrives_later_explains_it(judging: Judging) -> None:
    assert told(judging.add(result(release=identity(RELEASE), **GOOD))) == [f"measured-not-released {STREAM} 3"]
    # A stranger's copy has no effect, and explains nothing.
    assert told(judging.add(make.release_file(make.STRANGER))) == [f"inert {STREAM} 4"]
    found = judging.add(RELEASE)
    assert told(found) == [f"measured-not-released {STREAM} 3 over"]
    assert found[0].id == judging.found[0].id
    assert judging.add(make.release_file(version="2.0.0")) == []


def test_another_result_of_the_same_issuer_on_the_same_evidence_explains_it(judging: Judging) -> None:
    assert told(judging.add(result(evidence=EVIDENCE))) == [f"measured-not-released {ABOUT} 3"]
    again = result(evidence=EVIDENCE, release=identity(RELEASE), **GOOD)
    assert told(judging.add(RELEASE, again)) == [f"measured-not-released {ABOUT} 3 over"]
    assert judging.add(again) == []


def test_another_issuer_explains_nothing(judging: Judging) -> None:
    judging.add(result(evidence=EVIDENCE), RELEASE)
    stranger = make.key("another verifier")
    theirs = make.namespace_file(
        namespace="friend.example",
        keys=(make.held(make.ACME, Role.OWNER), make.held(stranger, Role.RESULT)),
        thresholds={Role.OWNER: 1, Role.RESULT: 1},
    )
    again = result(stranger, "friend.example", evidence=EVIDENCE, release=identity(RELEASE), **GOOD)
    assert judging.add(theirs, again) == []


def test_the_same_evidence_judged_again_is_not_told_again(judging: Judging) -> None:
    judging.add(result(evidence=EVIDENCE))
    assert judging.add(result(evidence=EVIDENCE)) == []
    # Without digests nobody can tell whether it is the same machine.
    assert told(judging.add(result())) == [f"measured-not-released {STREAM} 5"]
    assert told(judging.add(result())) == [f"measured-not-released {STREAM} 6"]


@pytest.mark.parametrize(
    ("signer", "issuer"),
    [(make.STRANGER, "checks.example"), (VERIFIER, "nowhere.example"), (make.ACME, "acme.example")],
    ids=["forged", "unknown-issuer", "wrong-role"],
)
def test_a_result_that_its_issuer_has_not_signed_says_nothing_but_that(
    judging: Judging, signer: Any, issuer: str
) -> None:
    (finding,) = judging.add(result(signer, issuer))
    assert told([finding]) == [f"inert {STREAM} 3"]
    assert finding.text.startswith(f"a result that {issuer} has not signed: ")


def test_results_about_others_concern_nobody_here() -> None:
    judging = Judging(("namespace", "other.example"), ("stream", OTHER_STREAM)).begin()
    assert judging.add(result()) == []


def test_one_issuer_cannot_use_up_what_is_left_for_others(monkeypatch: pytest.MonkeyPatch, judging: Judging) -> None:
    monkeypatch.setattr(budget, "MAX_TOLD", 3)
    for _ in range(5):
        judging.add(result())
    assert [each.kind for each in judging.found] == [Kind.MEASURED] * 3
    assert judging.standing() == ["more measured-not-released checks.example"]
    theirs = make.namespace_file(
        namespace="friend.example",
        keys=(make.held(make.ACME, Role.OWNER, Role.RESULT),),
        thresholds={Role.OWNER: 1, Role.RESULT: 1},
    )
    assert told(judging.add(theirs, result(make.ACME, "friend.example"))) == [f"measured-not-released {STREAM} 9"]


def test_what_may_be_explained_is_bounded_and_the_rest_stays_told(
    monkeypatch: pytest.MonkeyPatch, judging: Judging
) -> None:
    monkeypatch.setattr(measured, "MAX_PENDING", 2)
    for number in range(4):
        judging.add(result(release=identity(RELEASE), evidence={"sha256": f"{number:02x}" * 32}, **GOOD))
    assert len(judging.found) == 4
    assert [each.index for each in judging.add(RELEASE)] == [5, 6]


def test_a_release_that_is_named_explains_no_measurement_that_is_not_its_own(judging: Judging) -> None:
    """As a verifier with a bundle says it: judged by the bundle's release, and another program ran."""
    judging.add(RELEASE)
    failed = {"verdict": "failed", "checks": {"hardware": "verified", "measurement": "failed"}, "executables": 33}
    named = result(release=identity(RELEASE), evidence=EVIDENCE, **failed)
    assert told(judging.add(named)) == [f"measured-not-released {ABOUT} 4"]
    again = result(release=identity(RELEASE), evidence=EVIDENCE, as_of=1_800_000_001, **failed)
    assert judging.add(again) == []


def test_a_result_that_did_not_get_to_the_measurement_explains_none(judging: Judging) -> None:
    judging.add(RELEASE)
    assert told(judging.add(result(evidence=EVIDENCE))) == [f"measured-not-released {ABOUT} 4"]
    broken = {"verdict": "failed", "checks": {"hardware": "failed", "measurement": "failed"}}
    assert judging.add(result(release=identity(RELEASE), evidence=EVIDENCE, **broken)) == []
    found = judging.add(result(release=identity(RELEASE), evidence=EVIDENCE, **GOOD))
    assert told(found) == [f"measured-not-released {ABOUT} 4 over"]
