"""A monitor that is killed at every commit loses nothing, doubles nothing, and comes to the same end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from teelog.testing.ledger import cosigned
from tests.client.peers import Reply
from tests.statement import make
from tests.witness.harness import NOW
from tests.witness.indexed_log import served
from tests.witness.monitor.watching import Watching, show


def looks(folder: Path, when: str, kills: int) -> None:
    """Looks, one process after the other: so many are killed, fewer where one comes to its end; the last is not."""
    for each in (*[when] * kills, "never"):
        command = [sys.executable, "-m", "tests.witness.monitor.killed", str(folder), str(NOW), each]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=200)
        if ended.returncode != -signal.SIGKILL:
            assert ended.returncode == 0, ended.stderr
            return
    raise AssertionError("the last was killed, too")


@pytest.mark.long
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_monitor_killed_at_each_commit_finds_each_thing_once(tmp_path: Path, when: str) -> None:
    with served() as log, served() as other:
        log.grow(make.log_policy_file(), make.namespace_file())
        log.grow(*(make.release_file(version=f"1.{number}.0") for number in range(300)))
        show(log)
        (tmp_path / "known").write_text("")
        watching = Watching.of(tmp_path / "M", log, ("namespace", "acme.example"), known=str(tmp_path / "known"))
        looks(watching.path, when, kills=5)
        unexpected = [index for kind, _, index in watching.kinds() if kind == "unexpected"]
        assert unexpected == list(range(1, 302))
        numbers = [alert.number for alert in watching.alerts()]
        assert numbers == list(range(1, len(numbers) + 1))
        assert watching.followed().root == log.checkpoint().root
        # A fork, too, is one finding with one proof, whenever the process ends.
        other.grow(*(b"other %d" % number for number in range(302)))
        log.lies["checkpoint"] = Reply(cosigned(other.checkpoint(), other.log, other.witnesses, NOW))
        looks(watching.path, when, kills=2)
        forks = [alert for alert in watching.alerts() if alert.finding.kind == "fork"]
        assert len(forks) == 1
        assert watching.forks(log) == 1
        assert (watching.folder.evidence / str(forks[0].finding.evidence)).is_file()
