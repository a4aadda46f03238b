"""PR-19: what a verifier imports and needs: no network, no clock, no database."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tlog.make_golden import ENTRY, GOLDEN, INDEX

ROOT = Path(__file__).resolve().parents[2]
NEVER = [
    *("aiohttp", "sqlite3", "_sqlite3", "socket", "_socket", "ssl", "_ssl", "asyncio", "http.client", "urllib.request"),
    *("select", "selectors", "click", "rich", "logging", "subprocess"),
    *("teelog.client", "teelog.cli", "teelog.log_server", "teelog.witness", "teelog.statement"),
]

VERIFY = """
import sys, time
from pathlib import Path
clock = {clock}
if clock is not None:
    time.time, time.time_ns = (lambda: clock), (lambda: clock * 10**9)
from teelog.tlog import policy, proof, rfc6962
folder = Path({folder!r})
found = proof.verify_proof(
    proof.parse_proof((folder / "entry.tlog-proof").read_bytes()),
    rfc6962.leaf_hash({entry!r}),
    policy.parse_policy((folder / "policy.txt").read_bytes()),
)
print(found.index, found.witnessed.checkpoint.root.hex(), len(found.witnessed.cosignatures))
"""


def run(code: str, *before: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )


def script(clock: int | None = None) -> str:
    return VERIFY.format(folder=str(GOLDEN), entry=ENTRY, clock=clock)


def test_PR_19_verifying_needs_no_network():
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let us leave the network")
    # The control: in there, no socket leads anywhere.
    dial = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
    assert "unreachable" in run(dial, unshare, "-rn").stderr
    here, there = run(script()), run(script(), unshare, "-rn")
    assert here.stdout == there.stdout
    assert there.stdout.startswith(f"{INDEX} ")
    assert there.returncode == 0


@pytest.mark.parametrize("clock", [0, 4_102_444_800])
def test_PR_19_verifying_gives_the_same_answer_in_1970_and_2100(clock: int):
    found = run(script(clock))
    assert (found.returncode, found.stdout) == (0, run(script()).stdout)


@pytest.mark.parametrize(
    "module",
    ["proof", "policy", "policy_lint", "fork", "witness", "tile_tree", "vkey", "note", "checkpoint", "cosignature"],
)
def test_PR_19_importing_the_core_brings_no_network_and_no_database(module: str):
    found = run(f"import sys, json, teelog.tlog.{module}; print(json.dumps(sorted(sys.modules)))")
    loaded = set(json.loads(found.stdout))
    assert f"teelog.tlog.{module}" in loaded
    assert loaded.isdisjoint(NEVER), sorted(loaded.intersection(NEVER))


def test_PR_19_control_the_list_would_be_noticed():
    loaded = set(json.loads(run("import sys, json, socket, sqlite3; print(json.dumps(sorted(sys.modules)))").stdout))
    assert {"socket", "sqlite3"} <= loaded.intersection(NEVER)
