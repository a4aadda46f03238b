"""Results at scale through real processes; the examples of docs/formats/attestation-result.md run as written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from teelog.cli import keyref
from teelog.statement import admit, ear, ear_token
from teelog.statement.token import Form
from tests.commands import Ran
from tests.project.sources import ROOT
from tests.statement.test_ear import DRAFT
from tests.story import ORIGIN, POLICY, STREAM, World, world

PAGE = (ROOT / "docs" / "formats" / "attestation-result.md").read_text()
COUNT = 40
INSTALLED = (Path(sys.executable).parent / "teelog").exists()


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A log with a release, and a verifier that has judged it COUNT times. Release 1.0.1 is entry 2."""
    with world(tmp_path_factory.mktemp("results")) as made:
        made.file("head.json", made.publish(made.release("release.json"), "--json").stdout)
        (made.folder / "results").mkdir()
        for number in range(COUNT):
            made.file(f"results/{number:03}.jwt", result(made, number))
        yield made


def result(made: World, number: int, form: Form = Form.JWT, **judged: Any) -> bytes:
    """One that names what is on the log, but for what is given."""
    head = json.loads(made.read("head.json"))
    claim = DRAFT[ear.CLAIM] | {
        "stream": STREAM,
        "release": admit.classify(made.read("release.json")).statement_id,
        "namespaces": [admit.classify(made.read("ns.json")).statement_id],
        "checkpoint": {"origin": ORIGIN, "size": head["size"], "root": head["root"]},
    }
    signer = keyref.load_signer(str(made.folder / "verifier.key"))
    return ear_token.sign(DRAFT | {"jti": f"{number}", ear.CLAIM: claim | judged}, signer, form).file


def block(language: str) -> str:
    """The page's one example in this language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)
    return str(found)


def run(made: World, *command: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=made.folder,
        env={**os.environ, "PATH": path, "TEELOG_STATE": str(made.folder / "state"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@pytest.mark.skipif(not INSTALLED, reason="the command is not installed")
def test_the_shell_example_publishes_all_and_finds_them(acme: World):
    done = run(acme, "sh", "-euc", block("sh"))
    published = json.loads(acme.read("published.json"))
    assert (published["published"] + published["before"], published["failed"]) == (COUNT, 0)
    assert re.search(rf": ({COUNT}|{COUNT + 1}) entries, and no others", done.stdout)
    assert "results       20 verified" in done.stdout
    for number in range(0, COUNT, 7):
        files = (f"results/{number:03}.jwt", "--proof", f"proofs/{number:03}.jwt.tlog-proof")
        acme.run("proof", "verify", *files, *POLICY)


def test_the_python_example_publishes_all(acme: World):
    done = run(acme, sys.executable, "-c", block("python"))
    assert done.stdout == ""
    for number in range(COUNT):
        assert (acme.folder / f"results/{number:03}.tlog-proof").exists()
    acme.run("proof", "verify", "results/000.jwt", "--proof", "results/000.tlog-proof", *POLICY)


def publish(made: World, *files: str, code: int = 0) -> Ran:
    return made.run("result", "publish", *files, *POLICY, "--json", code=code)


def test_what_the_log_does_not_hold_is_refused_and_the_others_are_published(acme: World):
    acme.file("good.cwt", result(acme, 900, Form.CWT))
    acme.file("release.jwt", result(acme, 901, release="ab" * 32))
    acme.file("fork.jwt", result(acme, 902, checkpoint={"origin": ORIGIN, "size": 2, "root": "cd" * 32}))
    acme.file("other.jwt", result(acme, 903, checkpoint={"origin": "other.example/log", "size": 2, "root": "cd" * 32}))
    ran = publish(acme, "good.cwt", "release.jwt", "fork.jwt", "other.jwt", code=1)
    good, release, fork, other = ran.json["results"]
    assert good["published"]
    assert (release["actual"], fork["actual"], other["actual"]) == (
        "ab" * 32,
        f"size 2, root {'cd' * 32}",
        "other.example/log",
    )
    acme.run("proof", "verify", "good.cwt", "--proof", "good.cwt.tlog-proof", *POLICY)
    shown = acme.run("lookup", "about", f"{STREAM}@1.0.1", *POLICY, "--json").json["shown"]
    assert good["index"] in [each["index"] for each in shown]
