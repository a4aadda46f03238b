"""A log that is followed, and what verifiers saw: told, and over once it is explained; read from files of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from teelog.errors import ConfigError
from tests.statement import make
from tests.witness.harness import NOW
from tests.witness.indexed_log import IndexedLog, served
from tests.witness.monitor.judging import CHECKERS, NAMESPACE, OURS, STREAM, identity, result
from tests.witness.monitor.watching import Watching, show

GOOD: dict[str, Any] = {"verdict": "verified", "checks": {"hardware": "verified", "measurement": "verified"}}
RELEASE = make.release_file()


@pytest.fixture
def log() -> Iterator[IndexedLog]:
    with served() as made:
        made.grow(make.log_policy_file(), NAMESPACE, CHECKERS)
        show(made)
        yield made


@pytest.mark.parametrize("together", [False, True], ids=["another-look", "one-look"])
def test_what_was_deployed_before_it_was_published_is_over_once_it_is(
    tmp_path: Path, log: IndexedLog, together: bool
) -> None:
    watching = Watching.of(tmp_path / "M", log, OURS)
    log.grow(result(release=identity(RELEASE), **GOOD))
    if not together:
        show(log)
        watching.look()
        assert watching.kinds() == [("measured-not-released", STREAM, 3)]
    log.grow(RELEASE)
    show(log)
    watching.now += 60
    seen = watching.look()
    assert not any(each.over for each in seen.events)
    assert watching.kinds() == []
    (alert,) = watching.alerts()
    assert (alert.finding.kind, alert.cleared_at) == ("measured-not-released", NOW + 60)


def test_other_watches_judge_the_log_anew_and_find_nothing_twice(tmp_path: Path, log: IndexedLog) -> None:
    watching = Watching.of(tmp_path / "M", log, OURS)
    log.grow(result(), result(release=identity(RELEASE), **GOOD), RELEASE)
    show(log)
    watching.look()
    found = watching.alerts()
    watching.change(watched=(OURS, ("stream", STREAM)))
    watching.look()
    assert watching.kinds()[0] == ("measured-not-released", STREAM, 3)
    assert [each.cleared_at is None for each in watching.alerts()][:2] == [True, False]
    assert [each.finding.id for each in watching.alerts()][: len(found)] == [each.finding.id for each in found]


def test_nothing_is_said_to_be_missing_before_the_log_was_read(tmp_path: Path, log: IndexedLog) -> None:
    watching = Watching.of(tmp_path / "M", log, ("namespace", "other.example"))
    watching.change(place="http://127.0.0.1:1/nobody")
    watching.look()
    assert [kind for kind, _, _ in watching.kinds()] == ["unreachable"]
    watching.change(place=log.url)
    watching.look()
    assert watching.kinds() == [("no-namespace", "other.example", None)]


def test_a_watch_that_is_none_is_a_mistake_in_the_settings(tmp_path: Path, log: IndexedLog) -> None:
    watching = Watching.of(tmp_path / "M", log, OURS)
    watching.change(watched=(("namespace", "no such name"),))
    with pytest.raises(ConfigError, match=r"settings\.json: "):
        watching.look()
