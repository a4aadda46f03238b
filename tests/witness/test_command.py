"""`teelog witness ...` as an operator types it, against folders and running processes."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from teelog.tlog import note, vkey
from teelog.tlog.vkey import SignatureType
from teelog.witness import directory
from tests.commands import teelog
from tests.witness.harness import ORIGIN, WITNESS, Desk, Log, signer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "W1"
    directory.init(path, WITNESS)
    return path


@contextlib.contextmanager
def serving(folder: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, int]]]:
    """A witness process and its ports by word: listening, metrics."""
    command = ["-m", "teelog.cli.main", "witness", "serve", str(folder), "--listen", "127.0.0.1:0", *more]
    process = subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True)
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        assert process.stderr is not None
        ports: dict[str, int] = {}
        for line in process.stderr:
            found = re.match(r"(\w+) on http://127\.0\.0\.1:(\d+)", line)
            if found:
                ports[found[1]] = int(found[2])
            if "listening" in ports:
                break
        assert "listening" in ports, "it never listened"
        yield process, ports
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def post(port: int, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", "/add-checkpoint", body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


# -- init -------------------------------------------------------------------------------------------------------------


def test_init_makes_two_keys_of_one_name(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "W1"
    ran = teelog("witness", "init", folder, "--name", WITNESS)
    assert ran.code == 0
    keys = [vkey.parse(line) for line in ran.text.splitlines()]
    assert [key.type for key in keys] == [SignatureType.COSIGNATURE_ED25519, SignatureType.COSIGNATURE_ML_DSA_44]
    assert {key.name for key in keys} == {WITNESS}
    assert (folder / "witness.vkeys").read_text() == ran.text
    for file in ("ed25519.pem", "ml-dsa-44.pem", "state.db", "published.db"):
        assert (folder / file).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_init_json(tmp_path: Path) -> None:
    made = teelog("witness", "init", tmp_path / "W1", "--name", WITNESS, "--json").json
    assert (made["schema"], made["name"], len(made["vkeys"])) == ("teelog-witness/v1", WITNESS, 2)


def test_init_refuses_an_existing_folder(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    ran = teelog("witness", "init", folder, "--name", WITNESS)
    assert (ran.code, ran.text) == (6, "")
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("name", ["", "has space", "has+plus", "new\nline", "n" * 256, "é" * 128])
def test_init_refuses_a_bad_name(tmp_path: Path, name: str) -> None:
    assert teelog("witness", "init", tmp_path / "W1", "--name", name).code == 6
    assert not (tmp_path / "W1").exists()


def test_a_name_with_quotes_survives_the_configuration_file(tmp_path: Path) -> None:
    name = 'w"1"\\x/é'
    assert teelog("witness", "init", tmp_path / "W1", "--name", name).code == 0
    assert directory.load(tmp_path / "W1").config.name == name


# -- the log list -----------------------------------------------------------------------------------------------------


def test_list_of_an_older_version_s_database_says_what_to_do(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "state.db", isolation_level=None)) as db:
        db.execute("ALTER TABLE logs DROP COLUMN main")
        db.execute("DELETE FROM _sqlite_migrations WHERE name = '0002-semantic'")
    ran = teelog("witness", "list-logs", folder)
    assert (ran.code, "witness serve" in ran.stderr) == (4, True)
    with serving(folder):
        assert teelog("witness", "list-logs", folder).code == 0


def test_add_list_disable(folder: Path, tmp_path: Path, log: Log) -> None:
    (tmp_path / "log.vkey").write_text("".join(key + "\n" for key in log.vkeys))
    added = teelog(
        "witness", "add-log", folder, tmp_path / "log.vkey", "--url", "https://log.example/tee", "--contact",
        "ops@log.example", "--per-day", 288,
    )  # fmt: skip
    assert (added.code, added.text.splitlines()[0]) == (0, f"added {ORIGIN}")
    (listed,) = teelog("witness", "list-logs", folder, "--json").json["logs"]
    assert listed == {
        "log": ORIGIN,
        "vkeys": list(log.vkeys),
        "main": [],
        "url": "https://log.example/tee",
        "contact": "ops@log.example",
        "per_day": 288,
        "disabled": False,
        "cosigned": None,
    }
    assert teelog("witness", "disable-log", folder, ORIGIN).code == 0
    assert "disabled" in teelog("witness", "list-logs", folder).text
    again = teelog("witness", "add-log", folder, log.vkeys[0], "--json").json
    assert (again["change"], again["disabled"]) == ("changed", False)
    (listed,) = teelog("witness", "list-logs", folder, "--json").json["logs"]
    assert (listed["per_day"], listed["contact"]) == (288, "ops@log.example")


def test_list_logs_shows_what_was_cosigned(open_desk, log: Log) -> None:  # type: ignore[no-untyped-def]
    desk: Desk = open_desk(log)
    desk.cosign(log, 0, 5)
    (listed,) = teelog("witness", "list-logs", desk.path, "--json").json["logs"]  # beside a running engine
    assert (listed["cosigned"]["size"], listed["cosigned"]["root"]) == (5, log.root(5).hex())
    assert ORIGIN in teelog("witness", "list-logs", desk.path).text


def test_add_log_refusals(folder: Path, tmp_path: Path, log: Log) -> None:
    assert teelog("witness", "add-log", folder, log.vkeys[0]).code == 0
    other = str(signer("other").verifier)
    witness_key = (folder / "witness.vkeys").read_text().splitlines()[0]
    two = tmp_path / "two.vkey"
    two.write_text(f"{log.vkeys[0]}\n{signer('x', 'log.example/x').verifier}\n")
    for arguments, code in (
        ([other], 6),  # W-48
        ([other, "--add-key"], 0),
        ([witness_key], 6),  # a witness's key is no log key, and W-03
        ([str(two)], 6),
        ([log.vkeys[0][:-2]], 6),
        ([str(tmp_path / "missing")], 4),
        ([log.vkeys[0], "--add-key", "--url", "ftp://x"], 6),
        ([log.vkeys[0], "--add-key", "--per-day", "0"], 6),
        ([log.vkeys[0], "--add-key", "--contact", "a\x1bb"], 6),
    ):
        assert teelog("witness", "add-log", folder, *arguments).code == code, arguments
    ran = teelog("witness", "disable-log", folder, "log.example/unknown")
    assert ran.code == 1


def test_add_log_tells_keys_by_name_and_ID(folder: Path, log: Log) -> None:
    told = teelog("witness", "add-log", folder, log.vkeys[0])
    name, key_id, _ = log.vkeys[0].split("+", 2)
    assert f"key {name}+{key_id}  ed25519" in told.text
    assert max(map(len, told.text.splitlines())) < 120


def test_a_folder_that_is_no_witness(tmp_path: Path, log: Log) -> None:
    for command in (["list-logs"], ["forks"], ["serve"], ["add-log", log.vkeys[0]], ["disable-log", ORIGIN]):
        ran = teelog("witness", command[0], tmp_path, *command[1:])
        assert (ran.code, ran.text) == (6, ""), command
        assert "is not a witness" in ran.stderr
    assert list(tmp_path.iterdir()) == []


# -- a running witness ------------------------------------------------------------------------------------------------


def test_a_running_witness_takes_commands_and_leaves_in_good_order(folder: Path, log: Log) -> None:
    with serving(folder, "--admin", "127.0.0.1:0") as (process, ports):
        port = ports["listening"]
        assert post(port, log.request(0, 5))[0] == 404
        assert teelog("witness", "add-log", folder, log.vkeys[0]).code == 0
        status, body = post(port, log.request(0, 5))
        assert status == 200
        own = [vkey.parse(line) for line in (folder / "witness.vkeys").read_text().splitlines()]
        assert len(note.open_note(log.note(5) + body, own).signatures) == 2
        (listed,) = teelog("witness", "list-logs", folder, "--json").json["logs"]
        assert listed["cosigned"]["size"] == 5
        refused = teelog("witness", "add-log", folder, str(signer("thief").verifier))
        assert refused.code == 6
        assert "--add-key" in refused.stderr
        assert teelog("witness", "disable-log", folder, "log.example/unknown").code == 1
        assert teelog("witness", "disable-log", folder, ORIGIN).code == 0
        assert post(port, log.request(5, 6))[0] == 403
        assert get(port, f"/{hashlib.sha256(ORIGIN.encode()).hexdigest()}/checkpoint") == (200, log.note(5) + body)
        assert get(ports["metrics"], "/healthz") == (200, b"ok\n")
        assert b"witness_cosigned_total 1.0" in get(ports["metrics"], "/metrics")[1]
        assert get(port, "/metrics")[0] == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    assert not (folder / "admin.sock").exists()


def test_one_folder_one_process(folder: Path) -> None:
    with serving(folder):
        ran = teelog("witness", "serve", folder, "--listen", "127.0.0.1:0")
    assert (ran.code, ran.text) == (4, "")
    assert "in use by another process" in ran.stderr


def test_MI_05_no_mirror_is_made_that_could_not_be_served(folder: Path, tmp_path: Path) -> None:
    command = ("witness", "serve", folder, "--listen", "127.0.0.1:0", "--mirror", tmp_path / "M")
    named = teelog(*command, "--mirror-name", WITNESS)
    assert (named.code, "another name than its witness" in named.stderr) == (6, True)
    assert teelog("witness", "serve", folder, "--mirror-name", "mirror.example/m").code == 2
    with directory.locked(folder):
        busy = teelog(*command)
    assert (busy.code, "in use by another process" in busy.stderr) == (4, True)
    assert not (tmp_path / "M").exists()


def test_W_35_SIGKILL_after_the_answer_loses_nothing(folder: Path, log: Log) -> None:
    assert teelog("witness", "add-log", folder, log.vkeys[0]).code == 0
    with serving(folder) as (process, ports):
        status, body = post(ports["listening"], log.request(0, 5))
        process.kill()
        assert process.wait(120) == -signal.SIGKILL
    assert status == 200
    with serving(folder) as (_, ports):
        port = ports["listening"]
        assert post(port, log.request(0, 6)) == (409, b"5\n")
        assert get(port, f"/{hashlib.sha256(ORIGIN.encode()).hexdigest()}/checkpoint") == (200, log.note(5) + body)
        assert teelog("witness", "add-log", folder, log.vkeys[0]).code == 0  # the dead one's socket was in the way
        assert post(port, log.request(5, 6))[0] == 200


def test_a_folder_with_a_long_path_can_be_commanded(tmp_path: Path, log: Log) -> None:
    folder = tmp_path / ("long" * 30) / "W1"
    directory.init(folder, WITNESS)
    with serving(folder) as (_, ports):
        assert teelog("witness", "add-log", folder, log.vkeys[0]).code == 0
        assert post(ports["listening"], log.request(0, 5))[0] == 200


def test_a_key_file_open_to_others_is_refused(folder: Path) -> None:
    (folder / "ed25519.pem").chmod(0o640)
    ran = teelog("witness", "serve", folder, "--listen", "127.0.0.1:0")
    assert ran.code == 6
    assert "open to others" in ran.stderr


def test_W_49_serve_refuses_a_rolled_back_state(open_desk, log: Log, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    desk: Desk = open_desk(log)
    desk.cosign(log, 0, 5)
    desk.stop()
    old = (desk.path / "state.db").read_bytes()
    desk.start()
    desk.cosign(log, 5, 6)
    desk.stop()
    (desk.path / "state.db").write_bytes(old)
    ran = teelog("witness", "serve", desk.path, "--listen", "127.0.0.1:0")
    assert ran.code == 6
    assert "rolled back" in ran.stderr


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.0.0.1:", ":80", "127.0.0.1:65536", "127.0.0.1:-1", "::1:80", "x"])
def test_a_bad_address_is_told(folder: Path, listen: str) -> None:
    assert teelog("witness", "serve", folder, "--listen", listen).code in (4, 6)


@pytest.mark.parametrize(
    "text",
    ['name = "x"\nunknown = 1\n', "name = 1\n", "", "name = ", "[limits]\nx = 1\n", 'name = "x"\nextensions = "y"\n'],
)
def test_a_bad_configuration_is_told(folder: Path, text: str) -> None:
    (folder / "witness.toml").write_text(text)
    ran = teelog("witness", "serve", folder, "--listen", "127.0.0.1:0")
    assert (ran.code, ran.text) == (6, "")


# -- pull-logs beside a running witness -------------------------------------------------------------------------------


def test_pull_logs_reaches_a_running_witness_with_a_list_longer_than_one_read(folder: Path, tmp_path: Path) -> None:
    many = [signer("many", f"log-{number}.example/tee") for number in range(800)]
    source = tmp_path / "list"
    source.write_text("logs/v0\n" + "".join(f"vkey {one.verifier}\nqpd 24\n" for one in many))
    log = Log("log-7.example/tee", signers=(many[7],))
    with serving(folder) as (_, ports):
        assert post(ports["listening"], log.request(0, 2))[0] == 404
        found = teelog("witness", "pull-logs", folder, source, "--json").json["lists"][0]
        assert (len(found["added"]), found["known"], found["skipped"]) == (800, 0, [])
        assert post(ports["listening"], log.request(0, 2))[0] == 200
        source.write_text(f"logs/v0\nvkey {signer('other', 'log-7.example/tee').verifier}\nqpd 24\n")
        refused = teelog("witness", "pull-logs", folder, source)
        assert (refused.code, "another key" in refused.stderr) == (6, True)
        assert post(ports["listening"], log.request(2, 3))[0] == 200
