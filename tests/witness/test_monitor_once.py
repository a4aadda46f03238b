"""`teelog monitor once` against honest and lying logs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from teelog.index import fault, keys
from teelog.statement.index_map import Mapped
from teelog.testing.ledger import INDEX_POLICY, MAIN_POLICY, Cosigner, cosigned, hiding
from teelog.tlog import fork as forks
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.policy import parse_policy
from teelog.witness import index_look, monitor_once
from tests.client import logs
from tests.client.peers import Reply, peer
from tests.commands import Ran, teelog
from tests.statement import make
from tests.witness.harness import NOW
from tests.witness.indexed_log import IndexedLog, served, statement_id


@pytest.fixture
def log() -> Iterator[IndexedLog]:
    with served() as made:
        yield made


STATUS = keys.status_key("acme.example/inference/stable")


class Look:
    """The command against a log whose two checkpoints are cosigned as a test wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def policies(self, log: IndexedLog) -> list[str | Path]:
        for name, data in log.policies().items():
            (self.folder / name).write_bytes(data)
        return ["--policy", self.folder / "main.policy", "--index-policy", self.folder / "index.policy"]

    def publish(self, log: IndexedLog, *, semantic: bool = True, size: int | None = None) -> None:
        by = log.semantic if semantic else ()
        log.lies["checkpoint"] = Reply(cosigned(log.checkpoint(), log.log, log.witnesses, NOW))
        log.lies["index/checkpoint"] = Reply(cosigned(log.index_checkpoint(size), log.index_log, by, NOW))

    def __call__(self, log: IndexedLog, *more: str | Path, publish: bool = True) -> Ran:
        if publish:
            self.publish(log)
        state = self.folder / "state"
        return teelog("monitor", "once", log.url, *self.policies(log), "--state", state, *more)

    def proofs(self, suffix: str) -> list[bytes]:
        return [path.read_bytes() for path in (self.folder / "state" / "forks").glob(f"*{suffix}")]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    return Look(tmp_path)


def alerts(ran: Ran) -> list[tuple[str, Any]]:
    return [(alert["alert"], alert["index"]) for alert in ran.json["alerts"]]


FAR = "2099-01-01T00:00:00Z"


def begin(log: IndexedLog) -> bytes:
    """A release that is allowed for a long time."""
    release = make.release_file()
    allowed = make.allowed(statement_id(release))
    status = make.status_file(allowed=allowed, next_update=FAR)
    log.grow(make.log_policy_file(), make.namespace_file(), release, status)
    return release


# -- honest logs ------------------------------------------------------------------------------------------------------


def test_honest_log_is_whole(look: Look, log: IndexedLog) -> None:
    begin(log)
    log.grow(b"junk")
    ran = look(log, "--namespace", "acme.example", "--json")
    assert ran.code == 0, ran
    found = ran.json
    assert (found["size"], found["entries"], found["mapped"], found["ok"]) == (5, 5, 5, True)
    assert found["index"] == {
        "log": "log.example/tee/index/v1", "size": 2, "leaves": 2, "input_size": 5, "cosigned": NOW,
    }  # fmt: skip
    assert found["alerts"] == found["failures"] == found["misbehaviour"] == found["troubles"] == []


def test_it_says_how_far_it_looked(look: Look, log: IndexedLog) -> None:
    begin(log)
    ran = look(log)
    assert ran.text.splitlines() == [
        "ok      log.example/tee is whole, as far as was looked",
        "entries     4 of 4, 1 tiles compared",
        f"root        {log.checkpoint().root.hex()}",
        "cosigned    2027-01-15T08:00:00Z",
        "index       1 of 1 leaves right, the last of 4 entries",
        "mapped      4 entries",
    ]


def test_policies_in_each_others_place_accuse_nobody(look: Look, log: IndexedLog) -> None:
    begin(log)
    look.publish(log)
    main, index = (look.policies(log)[place] for place in (1, 3))
    for policy, index_policy in ((main, main), (index, main), (index, index)):
        assert teelog("monitor", "once", log.url, "--policy", policy, "--index-policy", index_policy).code == 6


def test_the_index_policy_of_the_environment_is_used(look: Look, log: IndexedLog) -> None:
    begin(log)
    look.publish(log)
    options = look.policies(log)
    ran = teelog(
        *("monitor", "once", log.url, *options[:2], "--state", look.folder / "state", "--json"),
        env={"TEELOG_INDEX_POLICY": str(options[3])},
    )
    assert ran.json["index"]["leaves"] == 1


def test_what_watches_nothing_is_wrong_usage(look: Look, log: IndexedLog, tmp_path: Path) -> None:
    (tmp_path / "known").write_text("ab" * 32)
    assert look(log, "--namespace", "Acme").code == 2
    assert look(log, "--known", tmp_path / "known", publish=False).code == 2


def test_any_tiled_log_is_hashed_again(tmp_path: Path) -> None:
    logs.write(tmp_path / "log", logs.entries(700))
    (tmp_path / "policy").write_bytes(logs.policy_text())
    ran = teelog(
        "monitor", "once", tmp_path / "log", "--policy", tmp_path / "policy", "--state", tmp_path / "s", "--json"
    )
    assert ran.code == 0
    assert (ran.json["entries"], ran.json["mapped"], ran.json["index"]) == (700, 0, None)


def test_a_tile_that_does_not_follow_is_1(tmp_path: Path) -> None:
    logs.write(tmp_path / "log", logs.entries(700))
    tile = tmp_path / "log" / "tile" / "0" / "001"
    tile.write_bytes(b"\x00" * 32 + tile.read_bytes()[32:])
    (tmp_path / "policy").write_bytes(logs.policy_text())
    ran = teelog(
        "monitor", "once", tmp_path / "log", "--policy", tmp_path / "policy", "--state", tmp_path / "s", "--json"
    )
    assert ran.code == 1
    assert ran.json["failures"] == ["tile/0/001: not the tile that follows from the entries"]


# -- logs that lie ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colluding", [False, True])
def test_hidden_withdrawal_is_5_with_a_file(look: Look, colluding: bool) -> None:
    with served(rewrite=hiding(4)) as log:
        begin(log)
        log.grow(log.withdraw())
        look.publish(log, semantic=colluding)
        ran = look(log, "--json", publish=False)
        assert ran.code == 5
        crime, explained = ran.json["misbehaviour"]
        assert crime["text"].startswith("map-root: index leaf 1: map root is not that of the log's first 5 entries")
        left_out = "the index leaves out entry 4 under: "
        assert explained["text"] == left_out + "status acme.example inference stable"
        found = [fault.verify(fault.parse(data)) for data in look.proofs(".teelog-index-fault")]
        assert [(each.cause, each.number) for each in found] == [("map-root", 1)] * 2
        assert {(each.proven, each.omitted) for each in found} == {(False, None), (True, (4, STATUS))}
        # Witnesses that rebuild do not sign it.
        assert bool(ran.json["failures"]) != colluding
        # The log's own entries are looked at to the end.
        assert ran.json["mapped"] == 5


async def test_what_is_known_is_told_though_the_log_takes_its_time_to_say_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_look, "EXPLAIN_SECONDS", 0.2)

    async def remember(*_: object) -> None:
        return None

    with served(rewrite=hiding(4)) as log:
        begin(log)
        size = log.grow(log.withdraw())
        log.lies[f"index/v1/{size}/lookup/{STATUS.hex()}"] = Reply(hang=True)
        log.lies["checkpoint"] = Reply(cosigned(log.checkpoint(), log.log, log.witnesses, NOW))
        log.lies["index/checkpoint"] = Reply(cosigned(log.index_checkpoint(), log.index_log, log.semantic, NOW))
        main, index = (parse_policy(log.policies()[name]) for name in (MAIN_POLICY, INDEX_POLICY))
        report = await monitor_once.look(monitor_once.Question(log.url, main, index, now=NOW), remember)
        (crime,) = report.crimes
        assert crime.text.startswith("map-root: ")
        assert any("/lookup/" in asked.path for asked in log.server.asked)
        assert report.mapped == 5


def test_index_that_leaves_out_a_subject_is_proven_by_the_file_alone(look: Look) -> None:
    def subject_only(entry: bytes, index: int, mapped: Mapped) -> Mapped:
        if index not in (5, 300):
            return mapped
        return replace(mapped, keys=tuple(key for key in mapped.keys if not key.startswith(b"subject\n")))

    with served(rewrite=subject_only) as log:
        begin(log)
        log.grow(*(make.release_file(version=f"1.{number}.0") for number in range(600)))
        ran = look(log, "--json")
        assert ran.code == 5
        found = [fault.verify(fault.parse(data)) for data in look.proofs(".teelog-index-fault")]
        (proven,) = [each for each in found if each.omitted is not None]
        assert proven.proven
        assert proven.omitted is not None
        index, key = proven.omitted
        assert (index, key.startswith(b"subject\nsha256\n")) == (5, True)
        (path,) = [crime["proof"] for crime in ran.json["misbehaviour"] if "leaves out" in crime["text"]]
        assert teelog("fork", "verify", path).code == 0


def test_malformed_leaf_is_5(look: Look, log: IndexedLog) -> None:
    begin(log)
    log.leaf(b"nonsense")
    assert look(log).code == 5
    (data,) = look.proofs(".teelog-index-fault")
    assert fault.verify(fault.parse(data)).proven


def test_input_of_another_tree_is_5_with_a_fork_proof(look: Look, log: IndexedLog) -> None:
    begin(log)
    log.lying_leaf(head=Checkpoint(log.origin, 4, b"\x05" * 32))
    assert look(log).code == 5
    (data,) = look.proofs(".teelog-fork")
    forks.verify_fork(forks.parse_fork(data), [signer.verifier for signer in log.log])


def test_checkpoint_of_another_tree_than_the_index_input_is_5(look: Look, log: IndexedLog) -> None:
    begin(log)
    log.rewrite_entry(3, log.withdraw())
    assert look(log).code == 5
    assert len(look.proofs(".teelog-fork")) == 1


def test_log_seen_before_with_another_tree_is_5(look: Look, log: IndexedLog) -> None:
    begin(log)
    assert look(log).code == 0
    with served() as other:
        other.grow(b"another", b"history", b"of", b"the", b"log")
        ran = look(other, "--json")
        assert ran.code == 5
    assert len(look.proofs(".teelog-fork")) >= 1


def test_witness_that_saw_another_tree_is_5(look: Look, log: IndexedLog) -> None:
    begin(log)
    with peer() as witness, served() as other:
        import hashlib

        from teelog.tlog.policy_lint import Operator, write_policy

        other.grow(b"another", b"history")
        path = hashlib.sha256(log.origin.encode()).hexdigest()
        witness.answers[f"/{path}/checkpoint"] = cosigned(other.checkpoint(), other.log, other.witnesses[:1], NOW)
        look.publish(log)
        operators = [Operator((each.signers[0].verifier,), witness.url) for each in log.witnesses[:1]]
        policy = look.folder / "with-url.policy"
        policy.write_bytes(write_policy([(log.log[0].verifier, None)], operators, 1))
        ran = teelog("monitor", "once", log.url, "--policy", policy, "--state", look.folder / "state", "--json")
        assert ran.code == 5, ran
        assert ran.json["witnesses"] == [{"witness": "witness.example/w1", "size": 2, "said": "ANOTHER LOG"}]


def test_missing_quorum_is_1(look: Look, log: IndexedLog) -> None:
    begin(log)
    look.publish(log, semantic=False)
    ran = look(log, "--json", publish=False)
    assert ran.code == 1
    assert [text.startswith("index log: ") for text in ran.json["failures"]] == [True]


def test_old_cosignatures_are_1_where_an_age_is_asked_for(look: Look, log: IndexedLog) -> None:
    begin(log)
    log.lies["checkpoint"] = Reply(cosigned(log.checkpoint(), log.log, log.witnesses, 1_700_000_000))
    log.lies["index/checkpoint"] = Reply(cosigned(log.index_checkpoint(), log.index_log, log.semantic, 1_700_000_000))
    assert look(log, publish=False).code == 0
    ran = look(log, "--max-age", "24h", "--json", publish=False)
    assert ran.code == 1
    assert [text.split(":")[0] for text in ran.json["failures"]] == ["log", "index log"]
    now = int(time.time())
    log.lies["checkpoint"] = Reply(cosigned(log.checkpoint(), log.log, log.witnesses, now))
    log.lies["index/checkpoint"] = Reply(cosigned(log.index_checkpoint(), log.index_log, log.semantic, now))
    assert look(log, "--max-age", "24h", publish=False).code == 0


def test_checkpoint_by_another_key_is_1(look: Look, log: IndexedLog) -> None:
    begin(log)
    stranger = Cosigner.of("stranger.example/x").signers
    log.lies["checkpoint"] = Reply(cosigned(log.checkpoint(), stranger, log.witnesses, NOW))
    log.lies["index/checkpoint"] = Reply(cosigned(log.index_checkpoint(), log.index_log, log.semantic, NOW))
    assert look(log, publish=False).code == 1


def test_log_that_is_not_there_is_4(look: Look, log: IndexedLog) -> None:
    begin(log)
    look.publish(log)
    log.lies["checkpoint"] = Reply(status=503)
    assert look(log, publish=False).code == 4


def test_directory_that_is_no_logs_is_4(tmp_path: Path) -> None:
    (tmp_path / "policy").write_bytes(logs.policy_text())
    for place in (tmp_path / "nowhere", tmp_path):
        ran = teelog("monitor", "once", place, "--policy", tmp_path / "policy", "--state", tmp_path / "s")
        assert ran.code == 4
        assert "is no log's directory" in ran.stderr


def test_entries_that_are_not_served_are_no_success(look: Look, log: IndexedLog) -> None:
    begin(log)
    log.lies["tile/entries/000.p/4"] = Reply(status=500)
    assert look(log).code == 4
    log.lies["tile/entries/000.p/4"] = Reply(status=404)
    assert look(log).code == 1


# -- alerts for a namespace -------------------------------------------------------------------------------------------


def test_alerts_of_a_watched_namespace_are_1(look: Look, log: IndexedLog) -> None:
    begin(log)
    log.grow(make.release_file(make.STRANGER, version="6.6.6"))
    assert look(log, "--json").code == 0
    ran = look(log, "--namespace", "acme.example", "--json")
    assert (ran.code, alerts(ran)) == (1, [("inert", 4)])
    ran = look(log, "--namespace", "other.example", "--json")
    assert (ran.code, alerts(ran)) == (1, [("no-namespace", None)])


def test_unexpected_statements_are_alerts(look: Look, log: IndexedLog) -> None:
    release = begin(log)
    known = look.folder / "known"
    known.write_text("".join(f"{statement_id(entry)}\n" for entry in log.entries))
    assert look(log, "--namespace", "acme.example", "--known", known).code == 0
    known.write_text("".join(f"{statement_id(entry)}\n" for entry in log.entries if entry != release))
    ran = look(log, "--namespace", "acme.example", "--known", known, "--json")
    assert (ran.code, alerts(ran)) == (1, [("unexpected", 2)])
    known.write_text("not an id\n")
    assert look(log, "--namespace", "acme.example", "--known", known).code == 6


def test_changed_keys_are_an_alert(look: Look, log: IndexedLog) -> None:
    begin(log)
    first = statement_id(log.entries[1])
    log.grow(make.namespace_file(version=1, prev=first, keys=(make.held(make.ACME, *make.OWNER_ROLES),)))
    ran = look(log, "--namespace", "acme.example", "--json")
    assert (ran.code, alerts(ran)) == (1, [("key-change", 4)])


def test_stale_status_is_an_alert(look: Look, log: IndexedLog) -> None:
    log.begin()
    ran = look(log, "--namespace", "acme.example", "--json")
    assert (ran.code, alerts(ran)) == (1, [("stale", 3)])


def test_index_that_stalls_is_an_alert(look: Look, log: IndexedLog) -> None:
    begin(log)
    log.append(make.status_file(seq=1, prev=statement_id(log.entries[3]), reason="a flaw", next_update=FAR))
    look.publish(log)
    main = cosigned(log.checkpoint(), log.log, log.witnesses, 1_700_000_000)
    log.lies["checkpoint"] = Reply(main)
    ran = look(log, "--namespace", "acme.example", "--json", publish=False)
    assert (ran.code, alerts(ran)) == (1, [("not-indexed", 4)])


def test_end_of_the_log_is_an_alert_for_who_watches(look: Look, log: IndexedLog) -> None:
    begin(log)
    log.grow(log.freeze())
    assert look(log, "--json").code == 0
    ran = look(log, "--namespace", "acme.example", "--json")
    assert (ran.code, alerts(ran)) == (1, [("frozen", 4)])
