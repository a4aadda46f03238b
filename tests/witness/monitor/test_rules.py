"""What rules find in a log's entries, and that junk hides nothing of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from teelog.errors import MalformedError
from teelog.keys import PrivateKey
from teelog.statement import admit, log_policy
from teelog.statement.index_map import MemoryState, map_entry
from teelog.statement.namespace import NamespacePredicate, Role
from teelog.statement.status import Closed, StatusPredicate
from teelog.witness.monitor import budget, rules
from teelog.witness.monitor.finding import MAX_ABOUT, MAX_TEXT, Finding, Kind, cut
from teelog.witness.monitor.rules import Rules
from teelog.witness.monitor.watches import parse
from tests.statement import make
from tests.witness.monitor.judging import (
    NAMESPACE,
    NOW,
    OTHER_STREAM,
    OURS,
    SPARE,
    STREAM,
    Judging,
    identity,
    result,
    told,
)

RELEASE = make.release_file()


def renewed(before: bytes, *signers: PrivateKey, **changes: object) -> bytes:
    """The status after ``before``."""
    parsed = admit.classify(before)
    assert isinstance(parsed.predicate, StatusPredicate)
    return make.status_file(*signers, seq=parsed.predicate.seq + 1, prev=parsed.statement_id, **changes)


def rotated(before: bytes, **changes: object) -> bytes:
    """The namespace's version after ``before``."""
    parsed = admit.classify(before)
    assert isinstance(parsed.predicate, NamespacePredicate)
    return make.namespace_file(version=parsed.predicate.version + 1, prev=parsed.statement_id, **changes)


# -- a watched namespace ----------------------------------------------------------------------------------------------


def test_what_an_owner_does_every_day_is_no_news() -> None:
    judging = Judging(OURS).begin()
    judging.add(RELEASE, make.status_file(allowed=make.allowed(identity(RELEASE))), make.release_file(version="1.5.0"))
    assert judging.found == []
    assert judging.standing() == []


def test_whatever_is_not_in_the_list_is_told_whoever_signed_it() -> None:
    forged = make.release_file(version="6.6.6")
    judging = Judging(OURS, known={identity(NAMESPACE), identity(RELEASE)}).begin()
    assert told(judging.add(RELEASE)) == []
    assert told(judging.add(forged)) == [f"unexpected {STREAM} 4"]
    status = make.status_file(allowed=make.allowed(identity(forged)))
    assert told(judging.add(status)) == [f"unexpected {STREAM} 5"]
    assert told(judging.add(rotated(NAMESPACE))) == ["unexpected acme.example 6", "key-change acme.example 6"]


def test_without_effect_is_told_with_the_reason() -> None:
    (finding,) = Judging(OURS).begin().add(make.release_file(make.STRANGER))
    assert told([finding]) == [f"inert {STREAM} 3"]
    assert finding.text.startswith("a release that has no effect: ")


def test_a_later_version_of_the_namespace_is_a_key_change_unless_it_is_expected() -> None:
    version = rotated(NAMESPACE)
    assert told(Judging(OURS).begin().add(version)) == ["key-change acme.example 3"]
    assert told(Judging(OURS, known={identity(NAMESPACE), identity(version)}).begin().add(version)) == []


def test_a_key_that_has_never_signed_here_is_told_once() -> None:
    judging = Judging(OURS).begin()
    assert told(judging.add(make.release_file(make.ACME, version="1.0.0"))) == []
    first = judging.add(make.release_file(SPARE, version="1.1.0"))
    assert told(first) == [f"new-signer {STREAM} 4"]
    assert SPARE.public.fingerprint in first[0].text
    assert told(judging.add(make.release_file(SPARE, version="1.2.0"))) == []


def test_a_new_key_behind_an_expected_statement_is_no_news() -> None:
    expected = make.release_file(SPARE, version="1.1.0")
    judging = Judging(OURS, known=set(map(identity, (NAMESPACE, RELEASE, expected)))).begin()
    judging.add(RELEASE, expected)
    assert judging.found == []


def test_a_signature_that_does_not_count_makes_no_key_known() -> None:
    judging = Judging(OURS).begin()
    judging.add(make.release_file(make.STRANGER))
    assert told(judging.add(RELEASE)) == []


def test_a_closed_stream_is_told_and_goes_stale_no_more() -> None:
    judging = Judging(OURS).begin()
    status = make.status_file()
    judging.add(status)
    closed = renewed(status, closed=Closed("log.example/next"), allowed=msgspec.UNSET)
    (finding,) = judging.add(closed)
    assert told([finding]) == [f"closed {STREAM} 4"]
    assert finding.text == f"{STREAM} is closed on this log, it goes on at log.example/next"
    assert judging.standing(datetime(2030, 1, 1, tzinfo=UTC)) == []


def test_the_end_of_the_log_is_told_to_everyone() -> None:
    judging = Judging().begin()
    first = identity(make.log_policy_file())
    frozen = log_policy.Frozen("log.example/next")
    ends = make.log_policy_file(version=1, prev=first, frozen=frozen)
    assert told(judging.add(ends)) == ["frozen  3"]


def test_other_names_concern_nobody_here() -> None:
    judging = Judging(("namespace", "other.example")).begin()
    judging.add(RELEASE, make.release_file(make.STRANGER), rotated(NAMESPACE), b"junk")
    assert judging.found == []


# -- one stream -------------------------------------------------------------------------------------------------------


def test_of_a_stream_its_statements_and_its_owners_keys_are_watched() -> None:
    judging = Judging(("stream", STREAM), known=()).begin()
    assert told(judging.add(make.release_file(stream=OTHER_STREAM))) == []
    assert told(judging.add(RELEASE)) == [f"unexpected {STREAM} 4"]
    assert told(judging.add(rotated(NAMESPACE))) == ["unexpected acme.example 5", "key-change acme.example 5"]
    assert judging.standing() == []


# -- registers, keys, everything --------------------------------------------------------------------------------------


def test_a_watched_value_is_told_where_a_release_states_it() -> None:
    value = f"sev-snp:measurement={make.MEASUREMENT}"
    judging = Judging(("register", value)).begin()
    assert told(judging.add(RELEASE)) == [f"register-seen {value} 3"]
    other = make.release_file(version="2.0.0", variants=(make.variant(registers={"measurement": "0f" * 48}),))
    assert told(judging.add(other)) == []


def test_whatever_a_watched_key_has_signed_is_told() -> None:
    keyid = make.ACME.public.fingerprint
    judging = Judging(("signer", keyid)).begin()
    assert told(judging.add(RELEASE)) == [f"signer-seen {keyid} 3"]
    assert told(judging.add(make.release_file(SPARE, version="2.0.0"))) == []


def test_all_is_every_entry() -> None:
    judging = Judging(("all", "")).begin()
    assert [told(judging.add(entry)) for entry in (RELEASE, b"junk", make.release_file(make.STRANGER))] == [
        ["entry acme.example 3"],
        ["entry  4"],
        ["entry acme.example 5"],
    ]


def test_of_another_kind_of_log_all_is_every_leaf() -> None:
    seen = Rules("go.example", [parse("all", "")]).observe(7, b"an entry", None, None)
    assert told(seen) == ["entry  7"]
    assert Rules("go.example", [parse(*OURS)]).observe(7, b"an entry", None, None) == []


# -- what holds now ---------------------------------------------------------------------------------------------------


def test_a_status_about_to_end_is_told_until_it_is_renewed() -> None:
    judging = Judging(OURS).begin()
    status = make.status_file(next_update="2026-06-20T00:00:00Z")
    judging.add(status)
    end, stale = datetime(2026, 6, 20, tzinfo=UTC), [f"stale {STREAM} 3"]
    day, moment = timedelta(days=1), timedelta(microseconds=1)
    assert judging.standing(end - day) == []
    assert judging.standing(end - day + moment) == stale
    (before,) = judging.rules().standing(end, day)
    (after,) = judging.rules().standing(end + moment, day)
    assert (before.text, after.text) == (
        "the last status ends at 2026-06-20T00:00:00Z",
        "the last status ended at 2026-06-20T00:00:00Z",
    )
    judging.add(renewed(status, next_update="2026-07-20T00:00:00Z"))
    assert judging.standing(end + moment) == []


def test_a_strangers_status_renews_nothing() -> None:
    judging = Judging(OURS).begin()
    status = make.status_file(next_update="2026-06-20T00:00:00Z")
    judging.add(status, renewed(status, make.STRANGER, next_update="2099-01-01T00:00:00Z"))
    assert judging.standing(datetime(2026, 7, 1, tzinfo=UTC)) == [f"stale {STREAM} 3"]


def test_a_name_that_is_not_on_the_log_is_told_once_the_log_was_read() -> None:
    judging = Judging(OURS, ("stream", "other.example/a/b")).begin()
    assert judging.standing(whole=False) == []
    assert judging.standing() == ["no-namespace other.example"]


def test_streams_beyond_those_that_are_remembered_are_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_STREAMS", 2)
    judging = Judging(OURS).begin()
    for name in ("a", "b", "c", "d"):
        judging.add(make.status_file(stream=f"acme.example/x/{name}"))
    assert told(judging.found) == ["more stale *", "more stale *"]
    assert len({each.id for each in judging.found}) == 1
    late = datetime(2030, 1, 1, tzinfo=UTC)
    assert judging.standing(late) == ["stale acme.example/x/a 3", "stale acme.example/x/b 4"]


# -- hostile ----------------------------------------------------------------------------------------------------------


def test_junk_is_told_up_to_a_bound_and_then_counted_and_hides_nothing() -> None:
    watcher = Rules(make.LOG, [parse(*OURS)], known=())
    state = MemoryState(make.LOG)
    found = []
    # Of streams made up one by one, too: the name that is watched pays for all.
    for index in range(budget.MAX_TOLD + 7):
        junk = make.release_file(make.STRANGER, stream=f"acme.example/made-up/{index}")
        found += watcher.observe(index, junk, map_entry(junk, index, state), state)
    assert [sum(each.kind is kind for each in found) for kind in (Kind.INERT, Kind.UNEXPECTED)] == [budget.MAX_TOLD] * 2
    rest = watcher.standing(NOW, timedelta(0), whole=False)
    assert told(rest) == ["more inert acme.example", "more unexpected acme.example"]
    assert rest[0].text == "7 more of the kind inert of acme.example than are told one by one"
    mapped = map_entry(NAMESPACE, budget.MAX_TOLD + 7, state)
    assert told(watcher.observe(budget.MAX_TOLD + 7, NAMESPACE, mapped, state)) == [
        f"unexpected acme.example {budget.MAX_TOLD + 7}"
    ]
    assert len(watcher.dump()) < 1_000


def test_strangers_names_share_what_is_left_and_take_nothing_from_those_that_are_watched() -> None:
    spent = budget.Budget({}, {"acme.example"})
    for number in range(2 * budget.MAX_NAMES):
        assert spent.spend(Kind.ENTRY, f"n{number}.example") == (number < budget.MAX_NAMES + budget.MAX_TOLD)
    assert len(spent.counts) == budget.MAX_NAMES + 1
    assert spent.spend(Kind.INERT, "acme.example")
    assert told([*spent.rest(make.LOG)]) == ["more entry *"]


def test_texts_are_bounded_and_can_be_encoded() -> None:
    many = {f"{'x' * 28}{number:04}": "0e" * 64 for number in range(16)}
    judging = Judging(OURS, ("all", ""), known=()).begin()
    found = judging.add(result(evidence=many))
    assert [each.kind for each in found] == [Kind.MEASURED, Kind.ENTRY]
    for each in (*found, Finding(Kind.TEST, make.LOG, cut("\ud800" * 1_000, MAX_ABOUT), cut("\ud800" + "x" * 1_000))):
        assert len(each.text) <= MAX_TEXT
        assert len(each.about) <= MAX_ABOUT
        assert each.text.encode()
        assert len(each.id) == 32
    assert len(judging.kept) < 2_000


@pytest.mark.parametrize("state", [b"{", b"[]", b'{"statuses": 1}', b'{"counts": {"inert x": "1"}}', b"\xff"])
def test_another_state_is_refused(state: bytes) -> None:
    with pytest.raises(MalformedError, match="state of the rules"):
        Rules(make.LOG, [], None, state)


def test_entries_judged_one_after_the_other_or_with_a_stop_between_come_to_the_same() -> None:
    later = make.release_file(SPARE, version="2.0.0")
    entries = [make.log_policy_file(), NAMESPACE, RELEASE, make.status_file(), later]
    stopped = Judging(OURS, ("all", ""))
    stopped.add(*entries)
    running, state, found = Rules(make.LOG, stopped.watches), MemoryState(make.LOG), []
    for index, entry in enumerate(entries):
        mapped = map_entry(entry, index, state)
        found += running.observe(index, entry, mapped, state)
        if mapped.effect is not None:
            state.apply(mapped.effect)
    assert (found, running.dump()) == (stopped.found, stopped.kept)


def test_roles_of_the_example_hold() -> None:
    """The thief's key of these tests may sign releases, and nothing else."""
    judging = Judging(OURS).begin()
    owned = judging.state.namespace("acme.example")
    assert owned is not None
    assert SPARE.public.fingerprint in owned.keys_for(Role.RELEASE, 3)
    assert SPARE.public.fingerprint not in owned.keys_for(Role.STATUS, 3)
