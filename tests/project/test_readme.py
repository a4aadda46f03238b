"""The README's tutorial runs as written, in an empty folder with an empty home."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from teelog.cli.demo_processes import free_ports
from tests.project.sources import ROOT

README = (ROOT / "README.md").read_text()
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.M | re.S)
_CODE = re.compile(r"  # exit code ([0-9]+)\n\Z")
_PORT = re.compile(r"127\.0\.0\.1:([0-9]+)")


def tutorial(text: str = README) -> list[str]:
    """The shell blocks of the section."""
    section = text.partition("\n## Tutorial\n")[2].partition("\n## ")[0]
    return _BLOCK.findall(section)


def script(blocks: list[str]) -> str:
    """One bash script. A background command is waited for until it listens, as a reader does by reading on."""
    parts = ["set -e"]
    for number, block in enumerate(blocks):
        parts.append(f"echo '--- block {number}' >&2")
        expected = _CODE.search(block)
        if expected:
            parts.append(f"code=0; {block.partition('  # exit code')[0]} || code=$?; test $code = {expected[1]}")
            continue
        for line in block.splitlines():
            if line.endswith(" &"):
                log = f"background{len(parts)}.log"
                ready = f"grep -q 'listening on' {log} || ! kill -0 $!"
                parts.append(f"{line.removesuffix(' &')} 2> {log} &\nuntil {ready}; do sleep 0.1; done\nkill -0 $!")
            else:
                parts.append(line)
    return "\n".join(parts) + "\n"


def on_free_ports(text: str) -> str:
    used = sorted(set(_PORT.findall(text)))
    chosen = dict(zip(used, free_ports(len(used)), strict=True))
    return _PORT.sub(lambda match: f"127.0.0.1:{chosen[match[1]]}", text)


def run(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TEELOG_")}
    path = f"{Path(sys.executable).parent}:{kept['PATH']}"
    trap = "trap 'trap - EXIT; kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n"
    return subprocess.run(
        ["bash", "-c", trap + text],
        cwd=folder,
        env={**kept, "PATH": path, "HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        timeout=1_500,
        check=False,
    )


@pytest.mark.long
@pytest.mark.timeout(1_600)
@pytest.mark.skipif(not (Path(sys.executable).parent / "teelog").exists(), reason="the command is not installed")
def test_the_tutorial_runs_as_written(tmp_path: Path):
    done = run(on_free_ports(script(tutorial())), tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert done.stdout.count("VERIFIED") >= 5
    assert "VERIFIED-WITH-WAIVERS: binding waived" in done.stdout
    assert "binding for every verifier by 20" in done.stdout
    assert "FORK PROVEN" in done.stdout


def test_the_tutorial_shows_each_command_of_the_story():
    told = "\n".join(tutorial())
    for words in (
        *("log init", "log serve", "log allow", "log fsck", "witness init", "witness add-log", "witness serve"),
        *("witness forks", "policy new", "policy check", "key generate", "namespace new", "measure sev-snp"),
        *("trust new", "trust pin", "trust check", "evidence show", "verify", "result show", "proof get"),
        *(
            "release new",
            "release sign",
            "release publish",
            "proof verify",
            "checkpoint verify",
            "entry",
            "fork verify",
        ),
        *("release allow", "release withdraw", "release list", "lookup", "bundle get", "bundle show", "monitor once"),
        *("monitor init", "monitor watch", "monitor notify", "monitor run", "monitor alerts", "log mirror"),
    ):
        assert f"teelog {words} " in told


def test_tutorial_control_must_fail(tmp_path: Path):
    assert run(script(["true\nfalse\n"]), tmp_path).returncode != 0
    assert run(script(["true  # exit code 1\n"]), tmp_path).returncode != 0
    assert run(script(["false  # exit code 1\n"]), tmp_path).returncode == 0
    assert run(script(["false &\n"]), tmp_path).returncode != 0
