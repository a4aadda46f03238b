"""`teelog demo`: the whole story, with real processes, of which none is left however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from teelog.cli import demo_attacks, demo_firmware, demo_machine
from teelog.errors import ProofError
from teelog.measure import ovmf
from teelog.statement import dsse
from tests.client import logs
from tests.commands import Ran, teelog, teelog_process
from tests.statement import make
from tests.vectors import ROOT, vectors

pytestmark = pytest.mark.timeout(1_600)


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


def wait_until(true: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module", params=[pytest.param("real", marks=pytest.mark.long), "forged"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    """The story of a real machine where the vectors are at hand, and that of a forged one as in every clone."""
    folder = tmp_path_factory.mktemp("demo") / "story"
    found = tmp_path_factory.mktemp("no-vectors")
    if request.param == "real":
        vectors("evidence/derived/snp/milan-v3-dstack.report.bin")
        found = ROOT
    environment = {**os.environ, "TEELOG_VECTORS": str(found)}
    ran = teelog_process("demo", "--dir", folder, "--json", timeout=1_500, env=environment)
    assert ran.code == 0, ran.stderr
    assert ran.json["real_machine"] is (request.param == "real")
    return folder, ran


def test_the_demo_tells_the_whole_story(told: tuple[Path, Ran]):
    folder, ran = told
    assert ran.code == 0, ran.stderr
    assert ran.json["schema"] == "teelog-demo/v1"
    assert ran.json["directory"] == str(folder)
    codes = [(step["command"][1:3], step["exit"]) for step in ran.json["steps"]]
    assert [code for words, code in codes if words == ["proof", "verify"]] == [0, 1, 1]
    assert [step["exit"] for step in ran.json["steps"] if step["command"][1] == "verify"] == [0, *[1] * 7]
    assert [code for words, code in codes if words == ["release", "publish"]] == [0, 0, 1]
    assert [code for words, code in codes if words == ["release", "withdraw"]] == [0, 0]
    assert [code for words, code in codes if words == ["bundle", "get"]] == [0, 0, 1]
    assert [code for words, code in codes if words == ["monitor", "once"]] == [5]
    assert codes[-1] == (["fork", "verify"], 0)
    assert all(f"W{n} answers 422" in ran.stderr for n in (1, 2, 3))
    assert all(f"S{n} answers 422 map-root" in ran.stderr for n in (1, 2))
    assert "binding for every verifier by 20" in ran.stderr


def test_a_machine_is_verified_and_every_attack_on_it_is_refused_with_its_cause(told: tuple[Path, Ran]):
    folder, ran = told
    assert "VERIFIED-WITH-WAIVERS: binding waived" in ran.stderr
    causes = [line.split(": ")[1] for line in ran.stderr.splitlines() if line.startswith("    error: ")][:8]
    assert causes[:5] == ["measurement", "hardware", "configuration", "freshness", "binding"]
    assert causes[5:] == ["fresh", "allowed-now", "allowed-now"]
    assert ("FORGED" in ran.stderr) is (not ran.json["real_machine"])
    assert ("roots" in (folder / "trust.toml").read_text()) is (not ran.json["real_machine"])


def test_the_commands_that_it_shows_are_those_that_it_runs(told: tuple[Path, Ran]):
    """What stands behind a $ is read by a shell, ``$same`` and all, and gives the arguments that ran."""
    lines = iter(told[1].stderr.splitlines())
    shown = []
    for line in lines:
        if line.startswith("  $ "):
            while line.endswith(" \\"):
                line += "\n" + next(lines)
            shown.append(line.removeprefix("  $ ").removesuffix(" &"))
    printer = 'teelog() { printf "%s\\0" teelog "$@" >&3; printf "\\n" >&3; }; cat() { :; }\n'
    lived = [line for line in shown if " serve " not in line]
    with tempfile.TemporaryDirectory() as folder:
        text = printer + "\n".join(lived)
        done = subprocess.run(
            ["bash", "-c", f"exec 3>said; {text}"], cwd=folder, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        said = (Path(folder) / "said").read_bytes().decode().splitlines()
    assert [line.split("\0")[:-1] for line in said] == [step["command"] for step in told[1].json["steps"]]


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
    assert teelog("bundle", "show", "old.teelog").code == 0
    look = ("monitor", "once", "LOG", *policy, "--index-policy", "index.txt", "--state", folder / "other-state")
    assert teelog(*look).code == 0
    assert teelog("evidence", "show", "report.bin").code == 0
    assert teelog("result", "show", "result.jwt", "--key", "verifier.key.pub").code == 0
    assert teelog("proof", "verify", "result.jwt", "--proof", "result.tlog-proof", *policy).code == 0
    assert teelog("fork", "verify", ran.json["fork_proof"], *policy).code == 0
    compared = teelog("checkpoint", "compare", "second-view.checkpoint", "LOG", *policy, "--out", "mine.teelog-fork")
    assert compared.code == 5
    assert teelog("fork", "verify", "mine.teelog-fork", *policy).code == 0


def test_a_folder_in_use_is_refused(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    ran = teelog("demo", "--dir", tmp_path)
    assert ran.code == 6
    assert "is not empty" in ran.stderr


def _as_at_a_terminal() -> None:
    """Whoever runs the tests in the background has its children ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.long),
        (signal.SIGTERM, 130),
        pytest.param(signal.SIGKILL, -signal.SIGKILL, marks=pytest.mark.long),
    ],
)
def test_an_interrupted_demo_leaves_no_process(tmp_path: Path, number: signal.Signals, code: int):
    folder = tmp_path / "story"
    command = [sys.executable, "-m", "teelog.cli.main", "demo", "--dir", str(folder)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=_as_at_a_terminal
    ) as demo:
        wait_until(lambda: (folder / "LOG.log").is_file())  # all witnesses are up by then
        assert len(left_in(folder)) >= 4
        os.kill(demo.pid, number)
        assert demo.wait(120) == code
        assert "Traceback" not in demo.stderr.read()
    wait_until(lambda: left_in(folder) == [])


def test_without_all_vectors_the_machine_is_forged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEELOG_VECTORS", str(tmp_path))
    assert demo_machine.find(tmp_path).vectors is None
    for path in demo_machine.WANTED[1:]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    assert demo_machine.find(tmp_path).vectors is None
    (tmp_path / demo_machine.WANTED[0]).parent.mkdir(parents=True)
    (tmp_path / demo_machine.WANTED[0]).write_bytes(b"")
    assert demo_machine.find(tmp_path).vectors == tmp_path


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
