"""Requests of many logs share a transaction; a fault with one of them is not the others'."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from teelog.errors import TeelogError
from teelog.witness import decide, directory
from teelog.witness.decide import Answer, Cosign, Head
from teelog.witness.engine import REPAIR_SECONDS, Engine
from teelog.witness.state import LogEntry
from tests.witness.harness import Desk, Log

ORIGINS = [f"log.example/{number}" for number in range(5)]
BAD = ORIGINS[2]


@pytest.fixture
def logs() -> list[Log]:
    return [Log(origin) for origin in ORIGINS]


@pytest.fixture
def desk(tmp_path: Path, logs: list[Log]) -> Iterator[Desk]:
    with Desk(tmp_path / "W1", *logs) as desk:
        for log in logs:
            desk.cosign(log, 0, 3)
        yield desk


def engine_of(desk: Desk) -> Engine:
    assert desk.engine is not None
    return desk.engine


def together(desk: Desk, bodies: list[bytes]) -> list[Answer]:
    """The answers to requests that wait for the engine at once."""
    engine = engine_of(desk)
    begun, go = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        begun.set()
        go.wait(60)

    held = engine.call(hold)
    assert begun.wait(60)
    answers: list[Future[Answer]] = []
    for body in bodies:
        request = decide.read(body)
        assert isinstance(request, decide.Request)
        answers.append(engine.submit(request))
    go.set()
    held.result(60)
    return [answer.result(60) for answer in answers]


def statuses(desk: Desk, logs: list[Log], old: int, new: int) -> list[int]:
    return [answer.status for answer in together(desk, [log.request(old, new) for log in logs])]


def value(desk: Desk, name: str) -> float:
    found = desk.metrics.registry.get_sample_value(name)
    assert found is not None
    return found


def forbid(path: Path, table: str, event: str) -> None:
    """Writes of BAD's row fail from now on."""
    db = sqlite3.connect(path)
    db.execute(
        f"CREATE TRIGGER no BEFORE {event} ON {table} WHEN NEW.origin = '{BAD}' BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    db.close()


def allow(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("DROP TRIGGER no")
    db.close()


def test_requests_that_wait_share_a_transaction(desk: Desk, logs: list[Log]) -> None:
    before = value(desk, "witness_batch_heads_count")
    assert statuses(desk, logs, 3, 5) == [200] * 5
    assert value(desk, "witness_batch_heads_count") == before + 1


def test_a_request_that_cannot_be_judged_fails_alone(desk: Desk, logs: list[Log]) -> None:
    def gate(move: Cosign) -> Answer | None:
        if move.origin == BAD:
            raise RuntimeError("on purpose")
        return None

    engine_of(desk)._gate = gate
    assert statuses(desk, logs, 3, 5) == [200, 200, 500, 200, 200]
    assert desk.size(BAD) == 3
    assert value(desk, "witness_request_errors_total") == 1
    engine_of(desk)._gate = lambda _: None
    assert statuses(desk, logs, 5, 6) == [200, 200, 409, 200, 200]


def test_a_head_that_cannot_be_read_fails_alone(
    desk: Desk, logs: list[Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = engine_of(desk)._store
    read: Callable[[str], Head | None] = store.head

    def head(origin: str) -> Head | None:
        if origin == BAD:
            raise sqlite3.DatabaseError("database disk image is malformed")
        return read(origin)

    monkeypatch.setattr(store, "head", head)
    assert statuses(desk, logs, 3, 5) == [200, 200, 503, 200, 200]
    monkeypatch.undo()
    assert statuses(desk, logs, 5, 6) == [200, 200, 409, 200, 200]


def test_W_37_a_head_that_cannot_be_stored_fails_alone(desk: Desk, logs: list[Log]) -> None:
    state = desk.path / directory.STATE
    forbid(state, "state", "UPDATE")
    assert statuses(desk, logs, 3, 5) == [200, 200, 503, 200, 200]
    assert [desk.size(log.origin) for log in logs] == [5, 5, 3, 5, 5]
    allow(state)
    assert statuses(desk, logs, 5, 6) == [200, 200, 409, 200, 200]
    assert desk.cosign(logs[2], 3, 6)


def test_W_37_where_nothing_can_be_stored_each_is_refused_and_few_are_tried(desk: Desk, logs: list[Log]) -> None:
    rival = sqlite3.connect(desk.path / directory.STATE, isolation_level=None)
    rival.execute("BEGIN IMMEDIATE")
    before = value(desk, "witness_storage_errors_total")
    assert statuses(desk, logs, 3, 5) == [503] * 5
    assert value(desk, "witness_storage_errors_total") == before + 4  # together, and three by themselves
    rival.execute("ROLLBACK")
    rival.close()
    assert statuses(desk, logs, 3, 5) == [200] * 5


def test_a_head_that_cannot_be_signed_fails_alone_and_is_published_later(desk: Desk, logs: list[Log]) -> None:
    engine = engine_of(desk)
    sign = engine._sign

    def fail(body: bytes, timestamp: int) -> list[object]:
        if body.startswith(BAD.encode()):
            raise RuntimeError("on purpose")
        return list(sign(body, timestamp))

    engine._sign = fail  # type: ignore[assignment,method-assign]
    assert statuses(desk, logs, 3, 5) == [200, 200, 500, 200, 200]
    assert desk.size(BAD) == 5
    engine._sign = sign  # type: ignore[method-assign]
    engine.call(lambda _: engine._repair()).result(60)
    with contextlib.closing(directory.open_published(desk.path)) as published:
        assert {head.origin: head.size for head in published.heads()} == dict.fromkeys(ORIGINS, 5)


def test_WM_05_a_busy_witness_publishes_what_it_could_not_publish_before(desk: Desk, logs: list[Log]) -> None:
    published = desk.path / directory.PUBLISHED
    forbid(published, "published", "INSERT")
    assert statuses(desk, logs, 3, 5) == [200, 200, 503, 200, 200]
    allow(published)
    engine = engine_of(desk)
    assert engine.trouble() == "storage failed"
    # Work comes all the time, and half a minute goes by.
    engine._monotonic = lambda: REPAIR_SECONDS
    assert statuses(desk, [logs[0]], 5, 6) == [200]
    assert engine.call(lambda _: engine.unpublished_seconds()).result(60) == 0.0
    assert engine.trouble() is None


def test_the_log_list_in_memory_follows_each_change_and_is_whole_for_readers(desk: Desk) -> None:
    engine = engine_of(desk)
    entry = engine.registry.entry(BAD)
    assert entry is not None
    before = engine.registry.first(10)
    more = LogEntry("a.example/first", entry.vkeys, per_day=7)
    engine.call(lambda store: store.add_logs([more])).result(60)
    assert engine.registry.entry("a.example/first") == more
    assert [one.origin for one in engine.registry.first(2)] == ["a.example/first", ORIGINS[0]]
    assert len(engine.registry.first(10)) == len(before) + 1
    assert value(desk, "witness_logs") == 6


def test_a_change_that_fails_leaves_the_log_list_as_it_is_stored(desk: Desk) -> None:
    engine = engine_of(desk)
    entry = engine.registry.entry(BAD)
    assert entry is not None

    new = LogEntry("new.example/log", entry.vkeys)
    with pytest.raises(TeelogError):
        engine.call(lambda store: store.add_logs([new, entry])).result(60)
    assert engine.registry.entry("new.example/log") is None
    engine.call(lambda store: store.add_logs([new])).result(60)
    assert engine.registry.entry("new.example/log") == new
