"""The namespace's chain: followed from its pin, in the order of the log, and whose keys count for a release."""

from __future__ import annotations

from dataclasses import replace

import pytest

from teelog.appraisal.inputs import LoggedFile, Seen
from teelog.keys import PrivateKey
from teelog.statement.namespace import Role
from teelog.tlog.proof import parse_proof
from teelog.verdict import Check, Finding, Outcome
from tests.appraisal.case import NAMESPACE, PIN, RELEASE, Case, trusting
from tests.statement import make

GOOD = Case()
FAILED, OPEN, HELD = Outcome.FAILED, Outcome.NOT_ESTABLISHED, Outcome.VERIFIED
POLICY = b"log policy"


def version(number: int, prev: str, *keys: object, signer: PrivateKey = make.ACME) -> bytes:
    owner = make.held(make.ACME, Role.OWNER, Role.STATUS)
    predicate = make.namespace_predicate(version=number, prev=prev, keys=(owner, *keys))
    return make.sign(make.namespace.payload(predicate), signer).file


def id_of(file: bytes) -> str:
    return make.admit.classify(file).statement_id


# Version 0 has ACME and BUILD for releases, version 1 only a new key, version 2 that one and BUILD again.
FIRST = version(1, PIN, make.held(make.STRANGER, Role.RELEASE))
SECOND = version(2, id_of(FIRST), make.held(make.STRANGER, Role.RELEASE), make.held(make.BUILD, Role.RELEASE))
BY_NEW = make.release_file(make.STRANGER)


def logged(*entries: bytes, pin: str = PIN, given: tuple[bytes, ...] | None = None, **changes: object) -> Case:
    """A log of these entries. given: the namespace's versions that the verifier has; by default all in the log."""
    (release,) = {RELEASE, BY_NEW, *OTHERS} & set(entries)
    namespaces = given if given is not None else tuple(each for each in entries if each in (NAMESPACE, FIRST, SECOND))
    case = replace(GOOD, entries=(POLICY, *entries), release=release, trust=trusting(pin), **changes)
    return replace(case, more={"namespaces": tuple(LoggedFile(file, case.proof(file)) for file in namespaces)})


def finding(case: Case, check: Check) -> Finding:
    return case.appraise()[check]


BY_BUILD = make.release_file(make.BUILD)
OTHERS = {BY_BUILD}


def test_the_chain_is_followed_from_its_pin_to_the_last_version_given():
    verdict = logged(NAMESPACE, FIRST, BY_NEW).appraise()
    assert verdict[Check.SIGNER].outcome is HELD
    assert verdict.judged is not None
    assert verdict.judged.namespaces == (PIN, id_of(FIRST))


def test_a_release_counts_by_the_keys_of_the_version_that_was_current_when_it_was_logged():
    early = logged(NAMESPACE, BY_NEW, FIRST)
    assert finding(early, Check.SIGNER).outcome is FAILED
    assert "counted when it was logged: version 0's" in str(finding(early, Check.SIGNER).cause)
    # BUILD had its say in 0 and has it in 2, and not while 1 was current.
    assert finding(logged(NAMESPACE, BY_BUILD, FIRST, SECOND), Check.SIGNER).outcome is HELD
    assert finding(logged(NAMESPACE, FIRST, BY_BUILD, SECOND), Check.SIGNER).outcome is FAILED
    assert finding(logged(NAMESPACE, FIRST, SECOND, BY_BUILD), Check.SIGNER).outcome is HELD


def test_the_current_owners_have_the_last_word():
    assert finding(logged(NAMESPACE, RELEASE), Check.SIGNER).outcome is HELD
    gone = finding(logged(NAMESPACE, RELEASE, FIRST), Check.SIGNER)
    assert gone.outcome is FAILED
    only_old = finding(logged(NAMESPACE, BY_BUILD, FIRST), Check.SIGNER)
    assert only_old.outcome is FAILED
    assert "too few signatures by release keys" in str(only_old.cause)


def test_a_later_version_may_be_pinned_by_itself_for_what_was_logged_after_it():
    after = logged(NAMESPACE, FIRST, BY_NEW, pin=id_of(FIRST), given=(FIRST,)).appraise()
    assert after[Check.SIGNER].outcome is HELD
    assert after.judged is not None
    assert after.judged.namespaces == (id_of(FIRST),)
    before = logged(NAMESPACE, BY_BUILD, FIRST, SECOND, pin=id_of(FIRST), given=(FIRST, SECOND))
    assert finding(before, Check.SIGNER).outcome is OPEN
    assert "takes version 0, with its proof" in str(finding(before, Check.SIGNER).cause)


def test_what_came_before_the_pinned_version_counts_as_far_as_it_leads_back():
    back = logged(NAMESPACE, BY_BUILD, FIRST, SECOND, pin=id_of(SECOND)).appraise()
    assert back[Check.SIGNER].outcome is HELD, back
    assert back.judged is not None
    assert back.judged.namespaces == (id_of(SECOND),)


def test_a_statement_that_no_version_leads_back_to_is_passed_over():
    foreign = make.namespace_file(make.STRANGER, keys=(make.held(make.STRANGER, *make.OWNER_ROLES),))
    case = replace(GOOD, entries=(POLICY, foreign, FIRST, BY_NEW), release=BY_NEW, trust=trusting(id_of(FIRST)))
    case = replace(case, namespace=foreign)
    files = tuple(LoggedFile(file, case.proof(file)) for file in (foreign, FIRST))
    assert finding(replace(case, more={"namespaces": files}), Check.SIGNER).outcome is HELD
    early = replace(case, entries=(POLICY, foreign, BY_NEW, FIRST))
    files = tuple(LoggedFile(file, early.proof(file)) for file in (foreign, FIRST))
    assert finding(replace(early, more={"namespaces": files}), Check.SIGNER).outcome is OPEN


def test_a_version_that_does_not_follow_the_pinned_one_is_refused():
    verdict = logged(NAMESPACE, FIRST, BY_NEW, given=(FIRST,)).appraise()
    assert "the pinned one" in str(verdict[Check.SIGNER].cause)
    stolen = version(1, "ab" * 32, make.held(make.BUILD, Role.RELEASE))
    case = replace(GOOD, entries=(POLICY, NAMESPACE, RELEASE, stolen))
    files = tuple(LoggedFile(file, case.proof(file)) for file in (NAMESPACE, stolen))
    assert "does not follow" in str(replace(case, more={"namespaces": files}).appraise()[Check.SIGNER].cause)


def test_versions_that_were_not_logged_one_after_the_other_are_refused():
    case = logged(FIRST, NAMESPACE, BY_NEW, given=(NAMESPACE, FIRST))
    verdict = case.appraise()
    assert verdict[Check.LOGGED].outcome is FAILED
    assert verdict[Check.LOGGED].actual == "version 0 at 2, version 1 at 1"
    assert parse_proof(case.proof(FIRST)).index == 1


def test_the_release_must_come_after_version_0_of_its_namespace():
    assert finding(logged(RELEASE, NAMESPACE), Check.LOGGED).outcome is FAILED
    # Also where a later version is the pinned one and leads back to it.
    assert finding(logged(BY_NEW, NAMESPACE, FIRST, pin=id_of(FIRST)), Check.LOGGED).outcome is FAILED


def bounded_at(until: int, *before: bytes) -> Case:
    keys = (make.held(make.ACME, Role.OWNER), make.held(make.BUILD, Role.RELEASE, until=until))
    bounded = make.namespace_file(keys=keys, thresholds={Role.OWNER: 1, Role.RELEASE: 1})
    entries = (POLICY, bounded, *before, BY_BUILD)
    return replace(GOOD, entries=entries, namespace=bounded, release=BY_BUILD, trust=trusting(id_of(bounded)))


def test_a_release_key_counts_for_entries_before_its_end_only():
    assert finding(bounded_at(3), Check.SIGNER).outcome is HELD  # index 2
    assert finding(bounded_at(3, b"other"), Check.SIGNER).outcome is FAILED  # index 3


def test_whether_a_key_still_counted_takes_the_log():
    case = bounded_at(3)
    unproven = replace(case, more={"release": LoggedFile(BY_BUILD, None)})
    assert finding(unproven, Check.SIGNER).outcome is OPEN
    assert "see logged" in str(finding(unproven, Check.SIGNER).cause)
    waived = replace(case, without=frozenset({Check.ALLOWED_NOW, Check.LOGGED}))
    assert finding(waived, Check.SIGNER).outcome is OPEN
    assert finding(replace(bounded_at(0), more=unproven.more), Check.SIGNER).outcome is FAILED


# -- what was seen ----------------------------------------------------------------------------------------------------


def seen(number: int, statement_id: str) -> Seen:
    return Seen(namespaces={"acme.example": (number, statement_id)})


def test_a_namespace_older_than_one_seen_is_refused():
    found = finding(replace(GOOD, seen=seen(1, id_of(FIRST))), Check.SIGNER)
    assert "not as new" in str(found.cause)


@pytest.mark.parametrize("number", [0, 1])
def test_a_version_seen_must_be_the_one_in_the_chain(number: int):
    ids = (PIN, id_of(FIRST))
    assert finding(logged(NAMESPACE, FIRST, BY_NEW, seen=seen(number, ids[number])), Check.SIGNER).outcome is HELD
    found = finding(logged(NAMESPACE, FIRST, BY_NEW, seen=seen(number, "ab" * 32)), Check.SIGNER)
    assert found.outcome is FAILED
    assert f"version {number} of the namespace is not the one that was seen before" in str(found.cause)


def test_the_latest_version_is_seen_only_once_it_is_logged():
    held = logged(NAMESPACE, FIRST, BY_NEW).appraise()
    assert held.seen is not None
    assert held.seen.namespaces == {"acme.example": (1, id_of(FIRST))}
    unproven = replace(GOOD, more={"namespaces": (LoggedFile(NAMESPACE, None),)}).appraise()
    assert unproven.seen is not None
    assert unproven.seen.namespaces == {}
