"""`teelog witness` of a semantic witness: what its list takes, which role its key has, and the running process."""

from __future__ import annotations

from pathlib import Path

import pytest

from teelog.tlog import note
from teelog.witness import directory
from tests.commands import teelog
from tests.witness.harness import WITNESS, Log
from tests.witness.indexed_log import INDEX, IndexedLog, served
from tests.witness.test_command import get, post, serving


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "S1"
    directory.init(path, "semantic.example/s1")
    return path


def add(folder: Path, log: IndexedLog, *more: str) -> int:
    index, main = (str(signer[0].verifier) for signer in (log.index_log, log.log))
    return teelog("witness", "add-log", folder, index, "--main", main, "--url", log.url, *more).code


def test_semantic_witness_rebuilds_in_a_process_of_its_own(folder: Path) -> None:
    with served() as log:
        assert add(folder, log) == 0
        log.begin()
        with serving(folder, "--semantic", "--admin", "127.0.0.1:0") as (_, ports):
            status, body = post(ports["listening"], log.request(0))
            assert status == 200
            witness = directory.load(folder)
            note.open_note(log.index_note() + body, [one.verifier for one in witness.signers])
            log.lying_leaf(b"\x01" * 32)
            assert post(ports["listening"], log.request(1))[0] == 422
            _, page = get(ports["listening"], "/")
            assert b"only after it has rebuilt the index" in page
            _, metrics = get(ports["metrics"], "/metrics")
            assert b'witness_wrong_indexes_total{cause="map-root"} 1.0' in metrics
            assert b"witness_rebuilt_entries_total 4.0" in metrics


def test_semantic_witness_signs_no_subtrees(folder: Path) -> None:
    with served() as log, serving(folder, "--semantic") as (_, ports):
        assert add(folder, log) == 0
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", ports["listening"], timeout=120)
        connection.request("POST", "/sign-subtree", b"anything")
        assert connection.getresponse().status == 403
        connection.close()


def test_a_log_added_while_it_runs_is_followed(folder: Path) -> None:
    with served() as log, serving(folder, "--semantic") as (_, ports):
        log.begin()
        assert post(ports["listening"], log.request(0))[0] == 404
        assert add(folder, log) == 0
        assert post(ports["listening"], log.request(0))[0] == 200


def test_the_two_roles_do_not_mix(folder: Path, tmp_path: Path, log: Log) -> None:
    plain = tmp_path / "W1"
    directory.init(plain, WITNESS)
    assert teelog("witness", "add-log", plain, log.vkeys[0]).code == 0
    with served() as indexed:
        assert add(plain, indexed) == 6
        assert add(folder, indexed) == 0
        ran = teelog("witness", "add-log", folder, log.vkeys[0], "--url", indexed.url)
        assert (ran.code, "index logs and nothing else" in ran.stderr) == (6, True)
        ran = teelog("witness", "serve", folder, "--listen", "127.0.0.1:0")
        assert (ran.code, "--semantic" in ran.stderr) == (6, True)
        assert teelog("witness", "serve", plain, "--listen", "127.0.0.1:0", "--semantic").code == 6


def test_semantic_from_its_first_start(folder: Path, log: Log) -> None:
    with serving(folder, "--semantic"):
        assert teelog("witness", "add-log", folder, log.vkeys[0], "--url", "http://127.0.0.1:1").code == 6
    assert teelog("witness", "serve", folder, "--listen", "127.0.0.1:0").code == 6


def test_what_an_index_log_is_added_with(folder: Path, log: Log) -> None:
    with served() as indexed, served(origin="other.example/log") as other:
        index, main = (str(signer[0].verifier) for signer in (indexed.index_log, indexed.log))

        def added(vkey: str, *more: str) -> int:
            return teelog("witness", "add-log", folder, vkey, *more).code

        assert added(index, "--main", main) == 6  # no URL
        assert added(index, "--main", main, "--url", "http://log.example/tee") == 6  # neither https nor loopback
        assert added(index, "--main", str(other.log[0].verifier), "--url", indexed.url) == 6
        assert added(index, "--main", index, "--url", indexed.url) == 6
        assert added(main, "--main", main, "--url", indexed.url) == 6
        assert added(index, "--main", main, "--url", indexed.url) == 0
        (row,) = teelog("witness", "list-logs", folder, "--json").json["logs"]
        assert (row["log"], row["main"], row["url"]) == (INDEX, [main], indexed.url)
        # Again without --main: what is not given keeps its value.
        assert added(index, "--url", indexed.url, "--contact", "ops@log.example") == 0
        (row,) = teelog("witness", "list-logs", folder, "--json").json["logs"]
        assert (row["main"], row["contact"]) == ([main], "ops@log.example")


def faults(folder: Path, log: IndexedLog, *leaves: bytes) -> Path:
    """The file that a running semantic witness writes."""
    assert add(folder, log) == 0
    with serving(folder, "--semantic") as (_, ports):
        assert post(ports["listening"], log.request(0))[0] == 422
    (path,) = (folder / "evidence").glob("*.teelog-index-fault")
    return path


def test_fault_that_is_seen_from_the_leaf_is_proven_offline(folder: Path) -> None:
    with served() as log:
        log.begin()
        log.leaf(b"nonsense")
        path = faults(folder, log)
        ran = teelog("fork", "verify", path, "--json")
        assert (ran.code, ran.json["verdict"], ran.json["cause"]) == (0, "index fault proven", "leaf-malformed")
        own = str(log.index_log[0].verifier)
        assert teelog("fork", "verify", path, "--log", own).code == 0
        with served(origin="other.example/log") as other:
            assert teelog("fork", "verify", path, "--log", str(other.index_log[0].verifier)).code == 1


def test_fault_of_a_map_root_says_that_a_replay_decides(folder: Path) -> None:
    with served() as log:
        log.begin()
        log.lying_leaf(b"\x01" * 32)
        path = faults(folder, log)
        ran = teelog("fork", "verify", path, "--json")
        assert (ran.code, ran.json["verdict"], ran.json["map_root"]) == (3, "replay decides", "01" * 32)
        assert ran.json["claimed_map_root"] == log.honest.root().hex()
        copies = folder.parent / "copies"
        listed = teelog("witness", "forks", folder, "--out", copies, "--json").json
        assert listed["forks"] == []
        assert [(one["log"], one["cause"], one["leaf"]) for one in listed["faults"]] == [(INDEX, "map-root", "1")]
        assert (copies / path.name).read_bytes() == path.read_bytes()
        bent = path.read_bytes().replace(b'"index":"1"', b'"index":"0"')
        assert bent != path.read_bytes()
        path.write_bytes(bent)
        assert teelog("fork", "verify", path).code == 1


def test_an_index_log_without_its_main_log_is_told_to_be_cosigned_unread(folder: Path) -> None:
    with served() as log:
        told = teelog("witness", "add-log", folder, str(log.index_log[0].verifier))
        assert told.code == 0
        assert "without --main" in told.stderr
