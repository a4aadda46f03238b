"""`teelog release list --at`: what witnesses had seen by then, whatever the log says about time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from teelog.statement import dsse
from teelog.testing.ledger import INDEX_POLICY, MAIN_POLICY, Ledger, trust_text
from tests.client.peers import peer
from tests.client.served import Served
from tests.commands import Ran, teelog
from tests.statement import make

STREAM = "acme.example/inference/stable"
RELEASES = [make.release_file(version=version) for version in ("1", "2", "3")]
IDS = [dsse.parse(each).statement_id for each in RELEASES]
START = 1_780_000_000
HOUR = 3_600


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Statuses 0 to 4 an hour apart, the first at START + 1 h; status n allows release n % 3."""
    ledger = Ledger()
    with peer() as found:
        monkeypatch.setenv("TEELOG_STATE", str(tmp_path / "state"))
        monkeypatch.setenv("TEELOG_LOG", found.url)
        monkeypatch.chdir(tmp_path)
        for name, data in ledger.policies().items():
            (tmp_path / name).write_bytes(data)
        served = Served(found, ledger)
        for entry in (make.log_policy_file(), make.namespace_file(), *RELEASES):
            ledger.append(entry)
        served.publish(START)
        prev = None
        for seq in range(5):
            entry = make.status_file(seq=seq, prev=prev, allowed=make.allowed(IDS[seq % 3]))
            prev = dsse.parse(entry).statement_id
            ledger.append(entry)
            served.publish(START + (seq + 1) * HOUR)
            served.publish(START + (seq + 1) * HOUR + 60)  # cosigned again: the first one counts
        yield served


def at(seconds: int, code: int = 0, *, index: bool = True) -> Ran:
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    words = ("--policy", MAIN_POLICY, *(("--index-policy", INDEX_POLICY) if index else ()))
    ran = teelog("release", "list", STREAM, *words, "--at", moment, "--json")
    assert ran.code == code, ran.stderr
    return ran


def seq_at(seconds: int) -> int | None:
    status = at(seconds).json["status"]
    return None if status is None else status["seq"]


def test_each_moment_has_its_status(log: Served):
    assert seq_at(START + HOUR - 1) is None
    for seq in range(5):
        assert seq_at(START + (seq + 1) * HOUR) == seq
        assert seq_at(START + (seq + 2) * HOUR - 1) == seq
    assert at(START + 2 * HOUR).json["since"] == START + 2 * HOUR


def test_the_quorum_decides_not_the_first_witness(log: Served):
    view = log.ledger.publish(START + 5 * HOUR, by=log.ledger.witnesses[:2])
    late = log.ledger.publish(START + 5 * HOUR + 30, by=log.ledger.witnesses[2:])
    lines = late.main.decode().split("\n\n")[1]
    log.moments[view.size] = (
        view.main
        + "".join(f"{line}\n" for line in lines.splitlines() if line.split(" ")[1].startswith("witness.")).encode()
    )
    assert seq_at(START + 5 * HOUR + 29) == 3
    assert seq_at(START + 5 * HOUR + 30) == 4


@pytest.mark.parametrize("lie", ["smaller", "another tree", "no quorum", "another log"])
def test_a_checkpoint_that_does_not_fit_is_refused(log: Served, lie: str):
    size = max(log.moments)
    other = Ledger()
    for entry in [*log.ledger.entries[:-1], b"something else"]:
        other.append(entry)
    false = {
        "smaller": log.moments[min(log.moments)],
        "another tree": other.publish(START).main,
        "no quorum": log.ledger.publish(START, by=log.ledger.witnesses[:2]).main,
        "another log": Ledger("other.example/log").publish(START).main,
    }
    log.moments = dict.fromkeys(range(1, size + 1), false[lie])
    at(START + 10 * HOUR, 1)


def test_a_view_that_is_stale_is_told_and_no_answer_about_now(log: Served):
    words = ("release", "list", STREAM, "--policy", MAIN_POLICY, "--index-policy", INDEX_POLICY, "--json")
    ran = teelog(*words)
    assert ran.code == 3
    assert (ran.json["stale"], ran.json["as_of"]) == (True, START + 5 * HOUR + 60)
    assert "this is what was, not what is" in ran.stderr
    assert teelog("lookup", "status", STREAM, *words[3:]).code == 3
    log.publish(int(time.time()), by=log.ledger.witnesses[:3])
    assert teelog(*words).json["stale"] is False
    log.publish(int(time.time()), by=log.ledger.witnesses[:3], index_by=log.ledger.semantic[:2])
    assert teelog("lookup", "status", STREAM, *words[3:]).code == 0


def test_the_trust_file_says_how_old_a_view_may_be(log: Served, tmp_path: Path):
    log.publish(int(time.time()) - HOUR)
    for age, code in (("30m", 3), ("2h", 0)):
        (tmp_path / "trust.toml").write_text(trust_text(STREAM, "ab" * 32, max_age=age))
        assert teelog("release", "list", STREAM, "--trust", "trust.toml").code == code


def test_where_nothing_tells_it_is_not_established(log: Served):
    log.moments.clear()
    assert "--size" in at(START + 10 * HOUR, 3).stderr
    at(START + 10 * HOUR, 3, index=False)
    at(4_000_000_000, 3)
