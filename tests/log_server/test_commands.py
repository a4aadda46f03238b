"""`teelog log init`, `allow` and `status`: as typed, without a running server."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from teelog.log_server.clock import SystemClock
from teelog.log_server.directory import LogDirectory
from teelog.statement import admit
from teelog.tlog import tiles
from teelog.tlog.checkpoint import open_checkpoint
from tests.commands import Ran, teelog
from tests.log_server.rig import ManualClock, Rig, check
from tests.statement import make


@pytest.fixture
def log(tmp_path: Path) -> Path:
    assert teelog("log", "init", tmp_path / "LOG", "--origin", make.LOG).code == 0
    return tmp_path / "LOG"


def error_of(ran: Ran) -> str:
    """A failure has one cause."""
    causes = [line for line in ran.stderr.splitlines() if line.startswith("error:")]
    assert len(causes) == 1, ran.stderr
    assert "Traceback" not in ran.stderr
    return causes[0]


def allow(log: Path, tmp_path: Path, file: bytes, *more: str) -> Ran:
    (tmp_path / "ns.json").write_bytes(file)
    return teelog("log", "allow", log, tmp_path / "ns.json", *more)


def test_init_prints_the_vkeys_and_makes_a_log_whose_entry_0_is_its_policy(tmp_path: Path) -> None:
    ran = teelog("log", "init", tmp_path / "LOG", "--origin", make.LOG, "--json")
    assert ran.code == 0
    told = ran.json
    vkeys = (tmp_path / "LOG/log.vkey").read_text().splitlines()
    assert told["vkeys"] == vkeys
    assert [vkey.split("+")[0] for vkey in vkeys] == [make.LOG, make.LOG]
    directory = LogDirectory(tmp_path / "LOG")
    head = open_checkpoint((tmp_path / "LOG/public/checkpoint").read_bytes(), directory.signer(make.LOG).vkeys)
    assert (head.checkpoint.origin, head.checkpoint.size) == (make.LOG, 0)
    assert len(head.note.signatures) == 2  # CP-11: Ed25519 and ML-DSA-44
    assert check(directory).size == 0
    made = Rig(tmp_path / "LOG", create=False).open()
    made.drop()
    assert check(directory).size == 1
    (first,) = tiles.parse_bundle((tmp_path / "LOG/public/tile/entries/000.p/1").read_bytes(), 1)
    policy = admit.check_log_policy_v0(admit.classify(first), make.LOG)
    assert policy.statement_id == told["log_policy"]
    assert list(policy.operators) == [told["operator"]]
    assert policy.predicate.admission.raw is False
    checkpoint_keys = {key.public.fingerprint for key in directory.signer(make.LOG).vkeys}
    assert told["operator"] not in checkpoint_keys


def test_raw_is_stated_in_entry_0(tmp_path: Path) -> None:
    assert teelog("log", "init", tmp_path / "LOG", "--origin", make.LOG, "--raw").code == 0
    made = Rig(tmp_path / "LOG", create=False).open()
    made.drop()
    (first,) = tiles.parse_bundle((tmp_path / "LOG/public/tile/entries/000.p/1").read_bytes(), 1)
    assert admit.check_log_policy_v0(admit.classify(first), make.LOG).predicate.admission.raw is True


def test_keys_are_closed_to_others_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert teelog("log", "init", tmp_path / "LOG", "--origin", make.LOG).code == 0
    finally:
        os.umask(before)
    for name in ("ed25519.key", "ml-dsa-44.key", "operator.key"):
        assert stat.S_IMODE((tmp_path / "LOG" / name).stat().st_mode) == 0o600


def test_an_existing_log_is_never_touched(log: Path) -> None:
    before = {path: path.read_bytes() for path in log.rglob("*") if path.is_file()}
    ran = teelog("log", "init", log, "--origin", "other.example/log")
    assert ran.code == 6
    assert "exists already" in error_of(ran)
    assert {path: path.read_bytes() for path in log.rglob("*") if path.is_file()} == before


def test_an_empty_directory_may_become_a_log_and_any_other_may_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert teelog("log", "init", tmp_path / "empty", "--origin", make.LOG).code == 0
    (tmp_path / "used").mkdir()
    (tmp_path / "used/file").write_text("mine")
    assert teelog("log", "init", tmp_path / "used", "--origin", make.LOG).code == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "used"]


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "x" * 256, "log.example/ü", "log\nexample"])
def test_a_bad_origin_is_refused_and_nothing_is_left(tmp_path: Path, origin: str) -> None:
    assert teelog("log", "init", tmp_path / "LOG", "--origin", origin).code == 6
    assert list(tmp_path.iterdir()) == []


def test_allow_without_a_server_commits_and_the_next_start_publishes(log: Path, tmp_path: Path) -> None:
    ran = allow(log, tmp_path, make.namespace_file(), "--json")
    assert ran.code == 0
    assert (ran.json["index"], ran.json["fresh"], ran.json["published"]) == (1, True, False)
    again = allow(log, tmp_path, make.namespace_file(), "--json")
    assert (again.json["index"], again.json["fresh"]) == (1, False)
    shown = teelog("log", "status", log, "--json").json
    assert (shown["size"], shown["published"]["size"], shown["unpublished_batches"]) == (2, 0, 2)
    assert shown["namespaces"] == [{"namespace": "acme.example", "version": 0, "index": 1}]
    made = Rig(log, ManualClock(SystemClock().now_ms()), create=False).open()
    assert made.intake.namespaces(0) == [(1, make.namespace_file())]
    made.drop()
    assert check(LogDirectory(log)).size == 2
    assert allow(log, tmp_path, make.namespace_file(), "--json").json["published"] is True


def test_allow_refuses_what_is_no_first_version_by_its_owners_for_this_log(log: Path, tmp_path: Path) -> None:
    cases = {
        b"not a statement": 1,
        make.namespace_file(make.STRANGER): 1,
        make.namespace_file(log="other.example/log"): 1,
        make.namespace_file() + b" ": 1,
        b"x" * 65_536: 1,
    }
    for file, code in cases.items():
        ran = allow(log, tmp_path, file)
        assert ran.code == code, ran.stderr
        error_of(ran)
    assert teelog("log", "status", log, "--json").json["size"] == 1
    assert allow(log, tmp_path, make.namespace_file()).code == 0
    other = make.namespace_file(make.SECOND, keys=(make.held(make.SECOND, *make.OWNER_ROLES),))
    taken = allow(log, tmp_path, other)
    assert taken.code == 1
    assert "the namespace exists already" in error_of(taken)


@pytest.mark.parametrize("command", [["status"], ["allow"]])
def test_a_URL_is_no_directory_of_a_log(command: list[str], tmp_path: Path) -> None:
    file = tmp_path / "ns.json"
    ran = teelog("log", *command, "http://127.0.0.1:6960", *([str(file)] if command == ["allow"] else []))
    assert (ran.code, "teelog checkpoint verify" in ran.stderr) == (2, True)


def test_status_shows_a_log_that_another_process_holds(log: Path) -> None:
    made = Rig(log, create=False).open()
    made.logged([*map(_raw, range(5))])
    ran = teelog("log", "status", log)
    assert ran.code == 0
    assert "size 6" in ran.text
    assert made.logged([_raw(9)])[0].index == 6
    made.drop()


def _raw(number: int):  # type: ignore[no-untyped-def]
    from tests.log_server.rig import raw

    return raw(f"{number}")


@pytest.mark.parametrize("command", ["status", "allow"])
def test_a_directory_that_is_no_log_is_one_cause(tmp_path: Path, command: str) -> None:
    (tmp_path / "ns.json").write_bytes(make.namespace_file())
    ran = teelog("log", command, tmp_path, *([tmp_path / "ns.json"] if command == "allow" else []))
    assert ran.code == 6
    assert "is no log" in error_of(ran)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("unknown = 1", "unknown"),
        ("[intervals]\nbatch_ms = 0", "batch_ms"),
        ("[intervals]\nbatch_ms = '250'", "batch_ms"),
        ("[intervals]\nbatch_seconds = 1", "batch_seconds"),
        ("[pool]\nmax_bytes = 100", "max_bytes"),
        ("[limits]\nbatch_entry = 1", "batch_entry"),
        ("[limits]\nbatch_entries = 0", "batch_entries"),
        ("[retention]\nmin_index = 5", "retention"),
        ("[witnesses]\nmin_interval_s = -1.0", "min_interval_s"),
        ("origin = 'twice'", "log.toml"),
        ("[", "log.toml"),
    ],
)
def test_a_setting_that_is_wrong_or_unknown_is_named(log: Path, setting: str, words: str) -> None:
    (log / "log.toml").write_text(f'origin = "{make.LOG}"\n{setting}\n')
    ran = teelog("log", "status", log)
    assert ran.code == 6
    error_of(ran)
    assert words in ran.stderr
