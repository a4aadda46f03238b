"""What a namespace's owner is told of a log's entries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from teelog.statement.index_map import MemoryState, map_entry
from teelog.witness.watch import MAX_ALARMS, Alarm, Alert, Watch
from tests.statement import make


def test_any_number_of_made_up_statements_is_told_as_a_number() -> None:
    """A lying log holds what it likes in anyone's name: neither memory nor the alerts that matter drown in it."""
    watch, state = Watch(frozenset({"acme.example"}), known=()), MemoryState(make.LOG)
    junk = make.release_file(make.STRANGER)
    mapped = map_entry(junk, 0, state)
    for index in range(MAX_ALARMS + 7):
        watch.observe(index, junk, mapped)
    version = make.namespace_file()
    watch.observe(MAX_ALARMS + 7, version, map_entry(version, MAX_ALARMS + 7, state))
    alarms = watch.close(datetime(2026, 1, 1, tzinfo=UTC), timedelta(0), None)
    assert len(alarms) == 2 * (MAX_ALARMS + 1) + 1
    assert alarms[-2:] == [Alarm(kind, None, None, "and 7 more") for kind in (Alert.INERT, Alert.UNEXPECTED)]
    # What took effect is told after whatever number of others.
    assert (alarms[-3].alert, alarms[-3].index) == (Alert.UNEXPECTED, MAX_ALARMS + 7)
