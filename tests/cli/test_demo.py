"""`teelog demo`: the whole story, with real processes, of which none is left however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from teelog.cli import demo_attacks, demo_firmware
from teelog.errors import ProofError
from teelog.measure import ovmf
from teelog.statement import dsse
from tests.client import logs
from tests.commands import Ran, teelog, teelog_process
from tests.statement import make


def left_in(folder: Path) -> list[str]:
    """The processes that work in ``folder``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").readlink() == folder:
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue  # it has just ended, or is not ours
    return found


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    folder = tmp_path_factory.mktemp("demo") / "story"
    return folder, teelog_process("demo", "--dir", folder, "--json", timeout=110)


def test_the_demo_tells_the_whole_story(told: tuple[Path, Ran]):
    folder, ran = told
    assert ran.code == 0, ran.stderr
    assert ran.json["schema"] == "teelog-demo/v1"
    assert ran.json["directory"] == str(folder)
    codes = [(step["command"][1:3], step["exit"]) for step in ran.json["steps"]]
    assert [code for words, code in codes if words == ["proof", "verify"]] == [0, 1, 1]
    assert [code for words, code in codes if words == ["release", "publish"]] == [0, 0, 1]
    assert codes[-1] == (["fork", "verify"], 0)
    assert all(f"W{n} answers 422" in ran.stderr for n in (1, 2, 3))


def test_the_demo_leaves_no_process(told: tuple[Path, Ran]):
    assert left_in(told[0]) == []


def test_the_files_that_it_names_can_be_looked_at(told: tuple[Path, Ran], monkeypatch: pytest.MonkeyPatch):
    folder, ran = told
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TEELOG_STATE", str(folder / "client-state"))
    policy = "--policy", "policy.txt"
    assert teelog("release", "show", "release.json").code == 0
    assert (
        teelog("proof", "verify", "release.json", "--proof", "release.tlog-proof", *policy, "--max-age", "24h").code
        == 0
    )
    assert teelog("entry", 2, *policy, "--from", "LOG").code == 0
    assert teelog("log", "fsck", "LOG").code == 0
    assert teelog("fork", "verify", ran.json["fork_proof"], *policy).code == 0
    compared = teelog("checkpoint", "compare", "second-view.checkpoint", "LOG", *policy, "--out", "mine.teelog-fork")
    assert compared.code == 5
    assert teelog("fork", "verify", "mine.teelog-fork", *policy).code == 0


def test_a_folder_in_use_is_refused(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    ran = teelog("demo", "--dir", tmp_path)
    assert ran.code == 6
    assert "is not empty" in ran.stderr


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_an_interrupted_demo_leaves_no_process(tmp_path: Path, number: signal.Signals, code: int):
    folder = tmp_path / "story"
    command = [sys.executable, "-m", "teelog.cli.main", "demo", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as demo:
        wait_until(lambda: (folder / "LOG.log").is_file())  # all witnesses are up by then
        assert len(left_in(folder)) >= 4
        os.kill(demo.pid, number)
        assert demo.wait(60) == code
        assert "Traceback" not in demo.stderr.read()
    wait_until(lambda: left_in(folder) == [])


def test_the_made_up_firmware_is_one_that_can_be_measured():
    firmware = ovmf.parse(demo_firmware.image())
    assert len(firmware.layout.sections) == 5
    assert demo_firmware.image() == demo_firmware.image()


def test_the_tampered_statement_is_well_formed_and_badly_signed(tmp_path: Path):
    (tmp_path / "release.json").write_bytes(make.release_file())
    demo_attacks.tamper(tmp_path / "release.json", tmp_path / "tampered.json")
    tampered = dsse.parse((tmp_path / "tampered.json").read_bytes())
    assert json.loads(tampered.claimed())["predicate"]["svn"] == 9


def test_the_stripped_proof_lacks_nothing_but_cosignatures(tmp_path: Path):
    from teelog.tlog.proof import parse_proof, verify_proof
    from teelog.tlog.rfc6962 import leaf_hash

    entries = logs.entries(5)
    (tmp_path / "good").write_bytes(logs.proof(entries, 1))
    demo_attacks.strip(tmp_path / "good", tmp_path / "few", keep=2)
    few = parse_proof((tmp_path / "few").read_bytes())
    assert len(verify_proof(few, leaf_hash(entries[1]), logs.policy(quorum=2)).witnessed.cosignatures) == 2
    with pytest.raises(ProofError):
        verify_proof(few, leaf_hash(entries[2]), logs.policy(quorum=2))
