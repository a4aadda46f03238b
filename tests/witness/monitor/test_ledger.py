"""Alerts: numbered once, cleared when they are over, bounded without losing what matters."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace

import pytest

from teelog.witness.monitor import ledger as ledgers
from teelog.witness.monitor.finding import Finding, Kind
from teelog.witness.monitor.ledger import TABLES, Ledger
from tests.statement import make

EVENT = Finding(Kind.UNEXPECTED, make.LOG, "acme.example", "not expected", 7)
STALE = Finding(Kind.STALE, make.LOG, "acme.example/a/b", "ends soon", 3, standing=True)
CRIME = Finding(Kind.FORK, make.LOG, "log", "two trees", evidence="0123.teelog-fork")


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript(TABLES)
    yield Ledger(db)
    db.close()


def shown(ledger: Ledger, *, only_open: bool = False) -> list[tuple[int, Kind, int, int, int | None]]:
    """(number, kind, first, last, cleared) of each alert."""
    return [
        (each.number, each.finding.kind, each.first_at, each.last_at, each.cleared_at)
        for each in ledger.alerts(only_open=only_open)
    ]


def test_an_id_is_of_what_was_found_not_of_its_words() -> None:
    assert EVENT.id == replace(EVENT, text="in other words", evidence="a file", over=True).id
    others = [
        replace(EVENT, kind=Kind.INERT),
        replace(EVENT, log="log.example/other"),
        replace(EVENT, about="acme.example/"),
        replace(EVENT, index=8),
        replace(EVENT, index=None),
        replace(EVENT, log=make.LOG + "a", about="cme.example"),
    ]
    assert len({EVENT.id, *(each.id for each in others)}) == 7


def test_the_same_thing_found_again_is_the_same_alert_with_its_newest_words(ledger: Ledger) -> None:
    ledger.record([EVENT], None, 100)
    ledger.record([replace(EVENT, text="still not expected")], None, 200)
    assert shown(ledger) == [(1, Kind.UNEXPECTED, 100, 200, None)]
    assert next(ledger.alerts()).finding == replace(EVENT, text="still not expected")


def test_a_proof_that_was_kept_stays_with_its_alert(ledger: Ledger) -> None:
    ledger.record([CRIME], None, 100)
    ledger.record([replace(CRIME, evidence=None)], None, 200)
    assert next(ledger.alerts()).finding.evidence == CRIME.evidence


def test_a_condition_is_cleared_by_the_look_that_finds_it_no_more_and_comes_back_as_another(ledger: Ledger) -> None:
    ledger.record([EVENT], [STALE], 100)
    ledger.record([], None, 150)  # nothing was judged: nothing is over
    assert shown(ledger, only_open=True) == [(1, Kind.UNEXPECTED, 100, 100, None), (2, Kind.STALE, 100, 100, None)]
    ledger.record([], [], 200)
    assert shown(ledger, only_open=True) == [(1, Kind.UNEXPECTED, 100, 100, None)]
    ledger.record([], [STALE], 300)
    assert shown(ledger)[1:] == [(2, Kind.STALE, 100, 100, 200), (3, Kind.STALE, 300, 300, None)]


def test_what_another_entry_explains_is_over_and_not_found_anew(ledger: Ledger) -> None:
    explained = replace(EVENT, text="", over=True)
    ledger.record([explained], None, 50)  # of what was never told
    assert shown(ledger) == []
    ledger.record([EVENT, explained], None, 100)
    ledger.record([EVENT], None, 200)  # the log judged once more
    assert shown(ledger) == [(1, Kind.UNEXPECTED, 100, 200, 100)]
    ledger.record([explained], None, 300)
    assert shown(ledger) == [(1, Kind.UNEXPECTED, 100, 200, 100)]
    assert next(ledger.alerts()).finding.text == EVENT.text


def test_a_settled_event_stays_settled_and_a_crime_that_goes_on_does_not(ledger: Ledger) -> None:
    ledger.record([EVENT, CRIME], [STALE], 100)
    ledger.settle(3, 150)
    assert shown(ledger, only_open=True) == [(3, Kind.STALE, 100, 100, None)]
    ledger.record([EVENT, CRIME], [STALE], 200)
    assert shown(ledger, only_open=True) == [(3, Kind.STALE, 100, 200, None), (4, Kind.FORK, 200, 200, None)]


def test_numbers_rise_whatever_is_dropped(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "MAX_NOTICES", 2)
    notices = [Finding(Kind.ENTRY, make.LOG, "", "an entry", index) for index in range(5)]
    ledger.record([notices[0], EVENT, CRIME, *notices[1:]], [], 100)
    assert [each.number for each in ledger.alerts()] == [2, 3, 6, 7]
    ledger.record([Finding(Kind.ENTRY, make.LOG, "", "an entry", 9)], None, 200)
    assert [each.number for each in ledger.alerts()] == [2, 3, 7, 8]


def test_conditions_that_come_and_go_fill_no_disk(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "MAX_CLEARED", 3)
    ledger.record([EVENT, CRIME], None, 0)
    ledger.settle(2, 1)
    for now in range(2, 20, 2):
        ledger.record([], [STALE], now)
        ledger.record([], [], now + 1)
    ledger.record([], [STALE], 20)
    kinds = [each.finding.kind for each in ledger.alerts()]
    assert kinds == [Kind.UNEXPECTED, Kind.FORK, *[Kind.STALE] * 4]


def test_what_is_asked_for_is_bounded_and_in_order(ledger: Ledger) -> None:
    events = [replace(EVENT, index=index) for index in range(10)]
    ledger.record(events, None, 100)
    assert [each.number for each in ledger.alerts(after=3, limit=4)] == [4, 5, 6, 7]
    assert [each.number for each in ledger.newest(3)] == [10, 9, 8]
    assert ledger.counts() == {("unexpected", True): 10}
    assert ledger.known(EVENT.id)
    assert not ledger.known(CRIME.id)


def test_the_worst_open_alerts_come_first_whatever_notices_there_are(ledger: Ledger) -> None:
    notices = [Finding(Kind.ENTRY, make.LOG, "", "an entry", number) for number in range(50)]
    ledger.record([*notices, EVENT, CRIME], None, 100)
    assert [each.finding.kind for each in ledger.worst_open(3)] == [Kind.FORK, Kind.UNEXPECTED, Kind.ENTRY]
