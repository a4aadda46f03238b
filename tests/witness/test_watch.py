"""What a namespace's owner is told of a log's entries that are seen in one go."""

from __future__ import annotations

from datetime import timedelta

import pytest

from teelog.statement.index_map import MemoryState, map_entry
from teelog.statement.log_policy import Frozen
from teelog.witness import watch
from teelog.witness.watch import Watched
from tests.statement import make
from tests.witness.monitor.judging import NAMESPACE, NOW, STREAM, identity, told

RELEASE = make.release_file()


def seen(watched: Watched, *entries: bytes) -> list[str]:
    """What is told after these entries, of which the published index covers two."""
    state = MemoryState(make.LOG)
    for index, entry in enumerate(entries):
        mapped = map_entry(entry, index, state)
        watched.observe(index, entry, mapped, state)
        if mapped.effect is not None:
            state.apply(mapped.effect)
    return told(watched.close(NOW, timedelta(0), 2))


def test_what_was_found_and_what_the_index_does_not_cover_yet_is_told() -> None:
    known = {identity(NAMESPACE)}
    entries = (make.log_policy_file(), NAMESPACE, RELEASE, b"junk", make.release_file(make.STRANGER, version="2.0.0"))
    assert seen(Watched(make.LOG, {"acme.example"}, known), *entries) == [
        f"unexpected {STREAM} 2",
        f"inert {STREAM} 4",
        f"unexpected {STREAM} 4",
        "not-indexed acme.example 2",
        "not-indexed acme.example 4",
    ]


def test_a_log_that_ends_is_told_to_those_who_watch_nothing() -> None:
    first = make.log_policy_file()
    ends = make.log_policy_file(version=1, prev=identity(first), frozen=Frozen(None))
    assert seen(Watched(make.LOG, frozenset()), first, NAMESPACE, RELEASE, ends) == ["frozen  3"]


def test_of_any_number_of_statements_the_newest_are_looked_for_in_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MAX_LATE", 2)
    releases = [make.release_file(version=f"1.{number}.0") for number in range(5)]
    found = seen(Watched(make.LOG, {"acme.example"}), make.log_policy_file(), NAMESPACE, *releases)
    assert found == ["not-indexed acme.example 5", "not-indexed acme.example 6"]
