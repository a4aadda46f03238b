"""`teelog log mirror` and `teelog witness serve --mirror` as they are: a log in many requests, and what is new."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from teelog.cli import demo_processes
from tests.client import logs
from tests.commands import Ran, teelog

_RANDOM = random.Random(7)
ENTRIES = [_RANDOM.randbytes(300) for _ in range(9_000)]  # more than one request has room for, and not compressible
POLICY = ("--policy", "policy.txt")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEELOG_STATE", str(tmp_path / "state"))
    Path("policy.txt").write_bytes(logs.policy_text())
    Path("log.vkey").write_text(f"{logs.LOG.verifier}\n")
    return tmp_path


def run(*words: object) -> Ran:
    ran = teelog(*map(str, words))
    assert ran.code == 0, (words, ran.text, ran.stderr)
    return ran


def test_MI_39_a_log_of_many_packages_is_pushed_and_read_again(folder: Path):
    run("witness", "init", "W", "--name", "witness.example/w")
    run("witness", "add-log", "W", "log.vkey")
    (port,) = demo_processes.free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with demo_processes.servers(folder) as servers:
        servers.start("W", ["witness", "serve", "W", "--listen", f"127.0.0.1:{port}", "--mirror", "M"])
        servers.wait("W")
        keys = [word for key in Path("M/mirror.vkeys").read_text().split() for word in ("--vkey", key)]
        sent = 0
        for size in (8_700, 9_000):
            logs.write(Path("log"), ENTRIES[:size])
            found = run("log", "mirror", "log", url, *POLICY, *keys, "--json").json
            assert (found["size"], found["sent"]) == (size, size - sent)
            sent = size
        below = f"{url}/mirror/{hashlib.sha256(logs.ORIGIN.encode()).hexdigest()}"
        assert "9000 of 9000" in run("log", "fsck", below, "--vkey", "log.vkey").text
