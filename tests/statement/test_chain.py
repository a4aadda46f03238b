"""The next statement from the last one: what stays, what changes, and that verifiers take it as the next."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from teelog.errors import ConfigError, MalformedError, UntrustedKey
from teelog.statement import admit, chain, dsse, log_policy, names, namespace, status
from teelog.statement.chain import Last, Terms
from teelog.statement.namespace import Role
from teelog.statement.status import Allowed, Revoked, State, StatusPredicate
from tests.statement import make

ONE, TWO, THREE = "11" * 32, "22" * 32, "33" * 32
TERMS = Terms("because", 3_600, datetime(2026, 6, 20, tzinfo=UTC))
EMPTY = Last(names.stream("acme.example/inference/stable"), make.LOG)
SOON = datetime(2026, 6, 1, tzinfo=UTC)


def signed(predicate: StatusPredicate) -> Last:
    return Last.of(status.verify(make.sign(status.payload(predicate)), make.acme()))


def ids(predicate: StatusPredicate) -> list[str]:
    return [item.release for item in predicate.allowed_now]


def test_first_status_allows() -> None:
    first = chain.allow(EMPTY, [ONE], TERMS)
    assert (first.seq, first.prev, first.allowed_now) == (0, None, make.allowed(ONE))
    assert (first.reason, first.max_age_s, first.next_update) == ("because", 3_600, "2026-06-20T00:00:00Z")
    status.check_follows(first, None)


def test_allow_keeps_what_was_allowed_unless_only() -> None:
    last = signed(chain.allow(EMPTY, [ONE], TERMS))
    beside = chain.allow(last, [TWO, TWO], TERMS)
    assert ids(beside) == [TWO, ONE]
    assert last.statement_id is not None
    status.check_follows(beside, status.StatusHead(last.statement_id, 0, closed=False))
    assert ids(chain.allow(last, [TWO], TERMS, only=True)) == [TWO]


def test_grace_ends_at_its_moment_and_is_for_what_was_allowed() -> None:
    last = signed(chain.allow(EMPTY, [ONE], TERMS))
    for only in (False, True):
        after = chain.allow(last, [TWO], TERMS, only=only, grace={ONE: SOON})
        assert after.allowed_now == (*make.allowed(TWO), Allowed(ONE, State.GRACE, "2026-06-01T00:00:00Z"))
    for stray in (TWO, THREE):
        with pytest.raises(ConfigError):
            chain.allow(last, [TWO], TERMS, grace={stray: SOON})


def test_release_in_grace_can_be_current_again() -> None:
    last = signed(chain.allow(EMPTY, [ONE], TERMS))
    last = signed(chain.allow(last, [TWO], TERMS, grace={ONE: SOON}))
    assert chain.allow(last, [ONE], TERMS).allowed_now == make.allowed(ONE, TWO)


def test_withdrawn_release_stays_revoked_until_it_is_allowed_again() -> None:
    last = signed(chain.allow(EMPTY, [ONE, TWO], TERMS))
    last = signed(chain.withdraw(last, {ONE: "CVE-2026-1234", THREE: "never was"}, TERMS))
    assert last.predicate is not None
    assert ids(last.predicate) == [TWO]
    assert last.predicate.revoked == (Revoked(ONE, "CVE-2026-1234"), Revoked(THREE, "never was"))
    renewed = chain.renew(last, TERMS)
    assert (ids(renewed), renewed.revoked) == ([TWO], last.predicate.revoked)
    again = chain.allow(last, [ONE], TERMS)
    assert (ids(again), again.revoked) == ([ONE, TWO], (Revoked(THREE, "never was"),))


def test_newest_200_revocations_are_kept() -> None:
    last = signed(chain.withdraw(EMPTY, {f"{n:064x}": "old" for n in range(200)}, TERMS))
    after = chain.withdraw(last, {ONE: "new", f"{5:064x}": "again"}, TERMS)
    assert len(after.revoked) == 200
    assert after.revoked[-2:] == (Revoked(ONE, "new"), Revoked(f"{5:064x}", "again"))
    assert after.revoked[0].release == f"{1:064x}"


def test_closed_stream_has_no_next_status() -> None:
    closed = chain.close(signed(chain.allow(EMPTY, [ONE], TERMS)), "log.example/tee2", TERMS)
    assert (closed.seq, closed.successor, closed.allowed_now) == (1, "log.example/tee2", ())
    last = signed(closed)
    with pytest.raises(ConfigError, match="closed"):
        chain.allow(last, [ONE], TERMS)
    with pytest.raises(ConfigError, match="closed"):
        chain.renew(last, TERMS)
    with pytest.raises(ConfigError, match="closed"):
        chain.close(last, None, TERMS)


def test_nothing_to_renew() -> None:
    with pytest.raises(ConfigError):
        chain.renew(EMPTY, TERMS)


# -- namespaces -------------------------------------------------------------------------------------------------------


def rotated(**changes: Any) -> namespace.NamespacePredicate:
    before = make.namespace_predicate()
    return chain.rotate(before, make.acme().statement_id, **changes)


def follows(predicate: namespace.NamespacePredicate, *signers: Any) -> namespace.Namespace:
    return namespace.verify_next(dsse.parse(make.sign(namespace.payload(predicate), *signers).file), make.acme())


def test_rotation_adds_and_removes_keys_and_verifies_as_the_next_version() -> None:
    made = rotated(add=[make.held(make.SECOND, Role.STATUS)], remove=[make.BUILD.public.fingerprint])
    after = follows(made)
    assert (after.version, set(after.keys)) == (1, {make.ACME.public.fingerprint, make.SECOND.public.fingerprint})
    assert set(after.keys_for(Role.STATUS)) == set(after.keys)
    assert after.thresholds == {Role.OWNER: 1, Role.RELEASE: 1, Role.STATUS: 1}


def test_added_role_stands_beside_those_that_the_key_has() -> None:
    assert rotated(add=[make.held(make.BUILD, Role.RESULT)]).keys[1].roles == (Role.RELEASE, Role.RESULT)


def test_removed_key_can_stay_until_an_index() -> None:
    after = follows(rotated(remove=[make.BUILD.public.fingerprint], until=70))
    keyid = make.BUILD.public.fingerprint
    assert keyid in after.keys_for(Role.RELEASE, 69)
    assert keyid not in after.keys_for(Role.RELEASE, 70)


def test_rotation_that_leaves_no_owner_is_refused() -> None:
    with pytest.raises(MalformedError):
        rotated(remove=[make.ACME.public.fingerprint])


def test_threshold_is_never_lowered_on_the_quiet() -> None:
    two = make.namespace_predicate(
        keys=(make.held(make.ACME, Role.OWNER, Role.STATUS), make.held(make.SECOND, Role.STATUS)),
        thresholds={Role.OWNER: 1, Role.STATUS: 2},
    )
    with pytest.raises(MalformedError):
        chain.rotate(two, ONE, remove=[make.SECOND.public.fingerprint])
    assert chain.rotate(two, ONE, remove=[make.SECOND.public.fingerprint], thresholds={Role.STATUS: 1}).thresholds == {
        Role.OWNER: 1,
        Role.STATUS: 1,
    }


def test_role_that_nobody_holds_loses_its_threshold() -> None:
    before = make.namespace_predicate(
        keys=(make.held(make.ACME, Role.OWNER), make.held(make.SECOND, Role.STATUS)),
        thresholds={Role.OWNER: 1, Role.STATUS: 1},
    )
    assert chain.rotate(before, ONE, remove=[make.SECOND.public.fingerprint]).thresholds == {Role.OWNER: 1}


def test_removing_an_unlisted_key_is_refused() -> None:
    with pytest.raises(ConfigError):
        rotated(remove=[make.STRANGER.public.fingerprint])


def test_freeze_is_the_last_policy_of_the_log() -> None:
    first = admit.check_log_policy_v0(admit.classify(make.log_policy_file()), make.LOG)
    file = make.sign(log_policy.payload(chain.freeze(first, "log.example/tee2"))).file
    frozen = admit.check_log_policy_next(admit.classify(file), first)
    assert frozen.predicate.frozen == log_policy.Frozen("log.example/tee2")
    with pytest.raises(ConfigError):
        chain.freeze(frozen, None)
    stranger = make.sign(log_policy.payload(chain.freeze(first, None)), make.STRANGER).file
    with pytest.raises(UntrustedKey):
        admit.check_log_policy_next(admit.classify(stranger), first)
