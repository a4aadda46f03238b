"""Bundles that are right: every check holds, and what they say is told and remembered."""

from __future__ import annotations

from dataclasses import replace

import pytest

import teelog
from teelog import Check, Outcome, Overall
from teelog.appraisal.inputs import LoggedFile
from teelog.keys import Algorithm
from teelog.statement.namespace import Role
from teelog.testing.ledger import Cosigner
from tests.appraisal.story import (
    EXPECT,
    LATER,
    LOG_CHECKS,
    NAMESPACE,
    NOW,
    PIN,
    STREAM,
    Story,
    current,
    grace,
    judge,
    told,
)
from tests.statement import make


def test_a_bundle_alone_establishes_every_check():
    story, release = told()
    verdict = judge(story.bundle(release), story.trust())
    assert {finding.outcome for finding in verdict.findings} == {Outcome.VERIFIED}, verdict
    assert verdict.overall is Overall.VERIFIED
    assert verdict.judged is not None
    assert (verdict.judged.release, verdict.judged.size, verdict.judged.namespaces) == (release, 4, (PIN,))


def test_verify_takes_a_bundle():
    story, release = told()
    arguments = {"evidence": None, "trust": story.trust(), "expect": EXPECT, "now": NOW + LATER}
    with pytest.raises(teelog.NotVerified) as caught:
        teelog.verify(bundle=story.bundle(release).encode(), **arguments)
    assert {caught.value.verdict[check].outcome for check in LOG_CHECKS} == {Outcome.VERIFIED}


def test_a_bundle_beside_files_is_the_callers_mistake():
    story, release = told()
    with pytest.raises(ValueError, match="one or the other"):
        judge(story.bundle(release), story.trust(), release=LoggedFile(NAMESPACE))


def test_ml_dsa_witnesses_and_logs_count_like_the_others():
    both = (Algorithm.ED25519, Algorithm.ML_DSA_44)
    story = Story(
        witnesses=[Cosigner.of(f"witness.example/w{n}", both) for n in range(1, 5)],
        semantic=[Cosigner.of(f"semantic.example/s{n}", both) for n in range(1, 4)],
        log_algorithms=both,
    )
    release = story.release("1.4.2")
    story.status(current(release))
    assert judge(story.bundle(release), story.trust()).overall is Overall.VERIFIED


def test_at_another_time_the_verdict_is_as_of_then():
    story, release = told()
    verdict = judge(story.bundle(release), story.trust(), historical=True)
    assert verdict.overall is Overall.VERIFIED_AS_OF
    assert verdict.as_of == NOW + LATER


# -- what is allowed --------------------------------------------------------------------------------------------------


def test_a_second_release_is_allowed_beside_the_first_and_the_first_withdrawn():
    story, first = told()
    second = story.release("1.4.3")
    story.status(current(second, first))
    for release in (first, second):
        assert judge(story.bundle(release), story.trust()).overall is Overall.VERIFIED
    story.status(current(second), revoked=(make.status.Revoked(first, "CVE-2026-1234"),))
    assert judge(story.bundle(second), story.trust()).overall is Overall.VERIFIED
    verdict = judge(story.bundle(first), story.trust())
    assert verdict[Check.ALLOWED_NOW].outcome is Outcome.FAILED
    assert "the release is withdrawn: CVE-2026-1234" in str(verdict[Check.ALLOWED_NOW].cause)
    assert [f.check for f in verdict.findings if f.outcome is not Outcome.VERIFIED] == [Check.ALLOWED_NOW]


def test_A_15_the_old_bundle_of_a_withdrawn_release_is_refused_once_stale():
    story, release = told()
    old = story.bundle(release)
    story.status(())
    age = 86_400
    assert judge(old, story.trust(), NOW + age).overall is Overall.VERIFIED
    verdict = judge(old, story.trust(), NOW + age + 1)
    assert verdict[Check.FRESH].outcome is Outcome.FAILED
    assert verdict.overall is Overall.FAILED


def test_the_smaller_of_the_two_max_ages_counts():
    story = Story()
    release = story.release("1.4.2")
    story.status(current(release), max_age_s=3_600)
    bundle = story.bundle(release)
    assert judge(bundle, story.trust(), NOW + 3_600).overall is Overall.VERIFIED
    assert judge(bundle, story.trust(), NOW + 3_601)[Check.FRESH].outcome is Outcome.FAILED
    assert judge(bundle, story.trust(max_age="30m"), NOW + 1_801)[Check.FRESH].outcome is Outcome.FAILED


def test_grace_holds_until_its_last_second_for_those_who_accept_it():
    story = Story()
    release, other = story.release("1.4.2"), story.release("1.4.3")
    story.status((*current(other), grace(release, "2026-09-21T14:30:00Z")))
    end = 1_790_001_000
    bundle = story.bundle(release)
    verdict = judge(bundle, story.trust(), end)
    assert verdict.overall is Overall.VERIFIED
    assert any("grace" in line for line in verdict[Check.ALLOWED_NOW].details)
    over = judge(bundle, story.trust(), end + 1)
    assert "grace is over" in str(over[Check.ALLOWED_NOW].cause)
    strict = judge(bundle, story.trust(more="grace = false"), end)
    assert "does not accept" in str(strict[Check.ALLOWED_NOW].cause)


def test_a_status_holds_until_its_next_update():
    story = Story()
    release = story.release("1.4.2")
    story.status(current(release), next_update="2026-09-21T14:30:00Z")
    end = 1_790_001_000
    assert judge(story.bundle(release), story.trust(), end).overall is Overall.VERIFIED
    verdict = judge(story.bundle(release), story.trust(), end + 1)
    assert "overdue" in str(verdict[Check.ALLOWED_NOW].cause)


def test_how_far_ahead_a_status_may_promise_is_the_trust_files_choice():
    story = Story()
    release = story.release("1.4.2")
    story.status(current(release), next_update="2026-12-01T00:00:00Z")
    bundle = story.bundle(release)
    verdict = judge(bundle, story.trust())
    assert "for longer than" in str(verdict[Check.ALLOWED_NOW].cause)
    assert judge(bundle, story.trust(max_age='24h"\nmax_next_update = "90d')).overall is Overall.VERIFIED


# -- namespaces -------------------------------------------------------------------------------------------------------

OWNER, STATUS_1, STATUS_2, STATUS_3 = (make.key(name) for name in ("owner", "status 1", "status 2", "status 3"))


def two_of_three(**changes: object) -> bytes:
    keys = (
        make.held(OWNER, Role.OWNER, Role.RELEASE),
        *(make.held(key, Role.STATUS) for key in (STATUS_1, STATUS_2, STATUS_3)),
    )
    thresholds = {Role.OWNER: 1, Role.RELEASE: 1, Role.STATUS: 2}
    return make.namespace_file(OWNER, **{"keys": keys, "thresholds": thresholds} | changes)


def test_two_of_three_status_keys_allow_and_one_stolen_key_does_not():
    namespace = two_of_three()
    story = Story(namespace)
    pin = story.namespaces[0]
    release = story.release("1.4.2", OWNER)
    # By the one stolen key: inert, and no part of the chain.
    story.append(make.status_file(STATUS_1, allowed=current(release), next_update="2026-10-15T00:00:00Z"))
    story.status(current(release), STATUS_1, STATUS_3)
    verdict = judge(story.bundle(release), story.trust(pin))
    assert verdict.overall is Overall.VERIFIED, verdict


def rotated(story: Story, *signers: object, **changes: object) -> str:
    version = len(story.namespaces)
    members = {"version": version, "prev": story.namespaces[-1]}
    made = story.append(make.namespace_file(*signers, **members | changes))  # type: ignore[arg-type]
    story.namespaces.append(made)
    return made


def test_a_rotation_is_followed_from_the_pin_and_from_any_later_pin():
    story, release = told()
    second = rotated(story)
    story.status(current(release))
    bundle = story.bundle(release)
    assert len(bundle.namespaces) == 2
    assert judge(bundle, story.trust()).overall is Overall.VERIFIED
    verdict = judge(bundle, story.trust(second))
    assert verdict.overall is Overall.VERIFIED
    assert verdict.judged is not None
    assert verdict.judged.namespaces == (second,)


def test_a_bundle_may_begin_at_the_clients_pin_as_the_index_shows_what_came_into_effect_before_it():
    story, release = told()
    second = rotated(story)
    story.status(current(release))
    bundle = story.bundle(release)
    from_pin = replace(bundle, namespaces=bundle.namespaces[1:])
    verdict = judge(from_pin, story.trust(second))
    assert verdict.overall is Overall.VERIFIED, verdict
    waived = judge(from_pin, story.trust(second), without={Check.ALLOWED_NOW})
    assert waived[Check.SIGNER].outcome is Outcome.NOT_ESTABLISHED


def test_an_owner_whose_time_ended_still_counts_for_what_it_signed_before():
    other = make.key("other owner")
    keys = (make.held(make.ACME, *make.OWNER_ROLES), make.held(other, Role.OWNER, until=100))
    namespace = make.namespace_file(keys=keys, thresholds={Role.OWNER: 1, Role.RELEASE: 1, Role.STATUS: 1})
    story = Story(namespace)
    release = story.release("1.4.2")
    rotated(story, other)
    story.status(current(release))
    verdict = judge(story.bundle(release), story.trust(story.namespaces[0]))
    assert verdict.overall is Overall.VERIFIED, verdict


# -- what is remembered -----------------------------------------------------------------------------------------------


def test_what_was_seen_is_remembered_and_agrees_with_what_follows():
    story, release = told()
    first = judge(story.bundle(release), story.trust())
    assert first.seen is not None
    assert set(first.seen.checkpoints) == {story.ledger.origin, story.ledger.index_origin}
    assert first.seen.statuses == {STREAM: (0, story.statuses[STREAM][0])}
    story.status(current(release))
    second = judge(story.bundle(release), story.trust(), seen=first.seen)
    assert second.overall is Overall.VERIFIED
    assert second.seen is not None
    assert second.seen.statuses[STREAM][0] == 1
    again = judge(story.bundle(release), story.trust(), seen=second.seen)
    assert again.overall is Overall.VERIFIED


def test_a_withdrawal_is_remembered_though_the_verdict_fails():
    story, release = told()
    old = story.bundle(release)
    story.status(())
    verdict = judge(story.bundle(release), story.trust())
    assert verdict.overall is Overall.FAILED
    replayed = judge(old, story.trust(), seen=verdict.seen)
    assert "newer status" in str(replayed[Check.ALLOWED_NOW].cause)


def test_waiving_the_index_judges_the_rest_of_the_bundle():
    story, release = told()
    verdict = judge(story.bundle(release), story.trust(index=False), without={Check.ALLOWED_NOW})
    assert verdict.overall is Overall.VERIFIED_WITH_WAIVERS
    assert judge(story.bundle(release), story.trust(index=False))[Check.ALLOWED_NOW].outcome is Outcome.NOT_ESTABLISHED


@pytest.mark.parametrize("check", LOG_CHECKS)
def test_each_check_can_be_waived_by_name_and_hides_no_other(check: Check):
    story, release = told()
    bundle = story.bundle(release)
    verdict = judge(bundle, story.trust(), without={check})
    assert verdict.overall is Overall.VERIFIED_WITH_WAIVERS, verdict
    broken = replace(bundle, release=replace(bundle.release, entry=make.release_file(make.STRANGER)))
    assert judge(broken, story.trust(), without={check}).overall is not Overall.VERIFIED_WITH_WAIVERS


@pytest.mark.parametrize(
    "stream", ["", "acme.example", "acme.example/a/b/c", "acme.example/inference/\n", "ACME.example/a/b"]
)
def test_a_stream_that_is_none_is_told_and_raises_nothing(stream: str):
    story, release = told()
    verdict = judge(story.bundle(release), story.trust(), expect=replace(EXPECT, stream=stream))
    assert verdict[Check.SIGNER].outcome is Outcome.FAILED
    assert verdict[Check.ALLOWED_NOW].outcome is not Outcome.VERIFIED


@pytest.mark.parametrize("check", [Check.LOGGED, Check.SIGNER, Check.WITNESSED])
def test_a_status_that_only_a_waiver_lets_through_is_not_remembered(check: Check):
    story, release = told()
    verdict = judge(story.bundle(release), story.trust(), without={check})
    assert verdict.overall is Overall.VERIFIED_WITH_WAIVERS
    assert verdict.seen is not None
    assert verdict.seen.statuses == {}
    assert len(verdict.seen.views) == 1


def test_a_status_under_a_checkpoint_without_its_quorum_is_not_remembered():
    story, release = told()
    verdict = judge(story.bundle(release, by=()), story.trust())
    assert verdict[Check.WITNESSED].outcome is Outcome.FAILED
    assert verdict[Check.ALLOWED_NOW].outcome is Outcome.VERIFIED
    assert verdict.seen is not None
    assert verdict.seen.statuses == {}
