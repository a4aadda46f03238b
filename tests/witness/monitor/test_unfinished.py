"""A log that begins a tree and does not finish it, or shows the monitor less than others, hides nothing by it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from teelog.testing.ledger import cosigned
from teelog.tlog.policy_lint import Operator, write_policy
from teelog.witness.monitor.finding import Finding, Kind
from teelog.witness.monitor.standing import Waiting
from tests.client.peers import Peer, Reply, peer
from tests.witness.harness import NOW
from tests.witness.indexed_log import IndexedLog, served
from tests.witness.monitor.watching import Watching, show


@pytest.fixture
def log() -> Iterator[IndexedLog]:
    with served() as made:
        yield made


def begun_and_left(tmp_path: Path, log: IndexedLog, other: IndexedLog) -> Watching:
    """A monitor that has followed 4 entries of ``log``, and hashed 256 of another branch of 300, never finished."""
    log.grow(*(b"entry %d" % number for number in range(4)))
    other.grow(*(b"entry %d" % number for number in range(4)), *(b"other %d" % number for number in range(296)))
    show(log)
    show(other)
    watching = Watching.of(tmp_path / "M", log)
    watching.look()
    for number in range(1, 3):
        other.lies[f"tile/entries/{number:03}.p/44"] = Reply(status=503)
    watching.change(place=other.url)
    watching.look()
    assert (watching.followed().size, watching.followed().signed) == (256, 4)
    watching.change(place=log.url)
    return watching


def test_entries_are_read_although_a_longer_tree_was_begun_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teelog.witness.monitor.portion.PORTION", 1)
    with served() as log, served() as other:
        watching = begun_and_left(tmp_path, log, other)
        log.grow(*(b"entry %d" % number for number in range(4, 100)))
        show(log)
        watching.look()
        followed = watching.followed()
        assert (followed.size, followed.signed, followed.root) == (100, 100, log.checkpoint().root)
        # It is not forgotten that more was signed.
        assert watching.kinds() == [("rollback", "earlier checkpoint", None)]


def test_a_tree_that_was_begun_and_left_is_proven_another_once_the_log_is_as_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teelog.witness.monitor.portion.PORTION", 1)
    with served() as log, served() as other:
        watching = begun_and_left(tmp_path, log, other)
        log.grow(*(b"entry %d" % number for number in range(4, 400)))
        show(log)
        watching.look()
        assert watching.followed().signed == 400
        assert watching.kinds() == [("fork", "earlier checkpoint", None)]
        assert watching.forks(log) == 1
        watching.look()
        assert watching.followed().aims == b""


def test_a_tree_that_was_begun_and_is_the_same_is_gone_on_with_and_forgotten(
    tmp_path: Path, log: IndexedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teelog.witness.monitor.portion.PORTION", 1)
    log.grow(*(b"entry %d" % number for number in range(600)))
    show(log)
    smaller = Reply(cosigned(log.checkpoint(200), log.log, log.witnesses, NOW))
    watching = Watching.of(tmp_path / "M", log)
    log.lies["tile/entries/001"] = Reply(status=503)
    watching.look()
    assert (watching.followed().size, watching.followed().signed) == (256, 0)
    whole, log.lies["checkpoint"] = log.lies["checkpoint"], smaller
    watching.look()
    assert (watching.followed().size, watching.followed().signed) == (256, 200)
    log.lies["checkpoint"] = whole
    del log.lies["tile/entries/001"]
    watching.look()
    assert (watching.followed().signed, watching.followed().aims) == (600, b"")
    assert watching.kinds() == []


def test_a_log_that_grows_for_others_only_is_told_within_minutes(tmp_path: Path, log: IndexedLog) -> None:
    log.grow(*(b"entry %d" % number for number in range(4)))
    show(log)
    with peer() as witness, served() as longer:
        longer.grow(*(b"entry %d" % number for number in range(4)))
        operators = [Operator((each.signers[0].verifier,), witness.url) for each in log.witnesses[:1]]
        watching = Watching.of(tmp_path / "M", log)
        watching.change(policy=write_policy([(log.log[0].verifier, None)], operators, 1).decode())
        for minute in range(7):
            longer.grow(b"entry %d" % (4 + minute))
            _seen(witness, longer, watching.now)
            watching.look()
            found = [each[0] for each in watching.kinds() if each[0] == "rollback"]
            assert found == ([] if minute < 6 else ["rollback"])
            watching.now += 60
        log.grow(*(b"entry %d" % (4 + minute) for minute in range(7)))
        show(log, watching.now)
        watching.look()
        assert [each for each in watching.kinds() if each[0] == "rollback"] == []


def _seen(witness: Peer, log: IndexedLog, now: int) -> None:
    path = hashlib.sha256(log.origin.encode()).hexdigest()
    witness.answers[f"/{path}/checkpoint"] = cosigned(log.checkpoint(), log.log, log.witnesses[:1], now)


def test_what_stands_in_the_place_of_an_entry_that_was_dropped_is_a_new_alert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-alike that its owner has dealt with does not hide what comes at the same index."""
    monkeypatch.setattr("teelog.witness.monitor.portion.PORTION", 1)
    with served() as log, served() as other:
        watching = begun_and_left(tmp_path, log, other)
        watching.change(watched=(("all", ""),))
        with watching.folder.locked() as state:
            before = state.followed()
            lookalike = Finding(Kind.UNEXPECTED, log.origin, "acme.example", "a look-alike", 50)
            state.advance(before, before, NOW, [lookalike])
            state.ledger.settle(100, NOW)
        log.grow(*(b"entry %d" % number for number in range(4, 100)))
        show(log)
        watching.look()
        with watching.folder.locked() as state:
            now = state.followed()
            state.advance(now, now, NOW, [lookalike])
            newest = state.ledger.newest(1)[0]
        assert (newest.finding.id, newest.open) == (lookalike.id, True)


def test_a_log_that_shows_a_checkpoint_and_no_entries_was_not_read(tmp_path: Path, log: IndexedLog) -> None:
    log.grow(b"one", b"two")
    show(log)
    watching = Watching.of(tmp_path / "M", log)
    log.lies["tile/entries/000.p/2"] = Reply(status=404)
    watching.look()
    assert (watching.followed().looked_at, watching.followed().read_at) == (NOW, 0)
    del log.lies["tile/entries/000.p/2"]
    watching.look()
    assert watching.followed().read_at == NOW


def test_a_checkpoint_that_was_begun_first_hides_no_other_that_is_begun_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teelog.witness.monitor.portion.PORTION", 1)
    with served() as log, served() as other:
        log.grow(*(b"entry %d" % number for number in range(700)))
        other.grow(*(b"other %d" % number for number in range(900)))
        show(log)
        show(other)
        watching = Watching.of(tmp_path / "M", log)
        for place, rest in ((log, "tile/entries/001"), (other, "tile/entries/001")):
            place.lies[rest] = Reply(status=503)
            watching.change(place=place.url)
            watching.look()
            assert (watching.followed().signed, watching.followed().size) == (0, 256)
        watching.change(place=log.url)
        del log.lies["tile/entries/001"]
        watching.look()
        assert watching.followed().signed == 700
        assert watching.kinds() == [("rollback", "earlier checkpoint", None)]
        log.grow(*(b"entry %d" % number for number in range(700, 1_200)))
        show(log)
        watching.look()
        assert watching.kinds() == [("fork", "earlier checkpoint", None)]
        assert watching.forks(log) == 1


def test_a_look_ends_in_time_and_the_next_goes_on(tmp_path: Path, log: IndexedLog) -> None:
    """A log that drips puts off neither what holds now nor who is told."""
    log.grow(*(b"entry %d" % number for number in range(700)))
    show(log)
    watching = Watching.of(tmp_path / "M", log)
    for size in (256, 512):
        watching.look(enough=lambda: True)
        assert (watching.followed().size, watching.followed().signed) == (size, 0)
        assert (watching.followed().looked_at, watching.kinds()) == (NOW, [])
    watching.look(enough=lambda: True)
    assert (watching.followed().size, watching.followed().signed) == (700, 700)


def test_a_mirrors_bare_checkpoint_takes_no_cosignature_from_what_was_seen(tmp_path: Path, log: IndexedLog) -> None:
    """A tlog-mirror shows the log's line and its own: the log is gone, and has stalled all the same."""
    log.grow(b"one", b"two")
    show(log)
    watching = Watching.of(tmp_path / "M", log)
    watching.look()
    with peer() as mirror:
        bare = cosigned(log.checkpoint(), log.log, (), NOW)
        path = hashlib.sha256(log.origin.encode()).hexdigest()
        mirror.answers[f"/mirror/{path}/checkpoint"] = bare
        watching.change(mirrors=(f"{mirror.url}/mirror",))
        log.lies["checkpoint"] = Reply(status=503)
        watching.now += 86_401
        watching.look()
        assert sorted(watching.kinds()) == [("stalled", "", None), ("unreachable", "log", None)]
        watching.look()
        assert ("stalled", "", None) in watching.kinds()


def test_a_witness_of_log_and_index_is_waited_for_by_each() -> None:
    waiting = Waiting()
    assert waiting.since("log.example/tee witness w1", 9, 4, NOW) == NOW
    assert waiting.since("log.example/tee/index/v1 witness w1", 2, 2, NOW) is None
    assert Waiting(waiting.encode()).since("log.example/tee witness w1", 12, 4, NOW + 600) == NOW
    assert waiting.since("log.example/tee witness w1", 12, 9, NOW + 600) == NOW + 600


def test_a_log_that_shows_older_cosignatures_or_none_of_what_it_had_is_told(tmp_path: Path, log: IndexedLog) -> None:
    log.grow(b"one", b"two")
    show(log)
    watching = Watching.of(tmp_path / "M", log)
    watching.look()
    show(log, NOW - 7_200)
    watching.look()
    assert watching.kinds() == [("rollback", "log", None)]
    log.lies["checkpoint"] = Reply(cosigned(log.checkpoint(), log.log, (), NOW))
    watching.look()
    assert sorted(watching.kinds()) == [("not-witnessed", "", None), ("rollback", "log", None)]
    show(log, NOW + 60)
    watching.look()
    assert watching.kinds() == []
