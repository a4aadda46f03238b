"""What the manual says about moving and retiring a witness, typed as it stands there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request

from teelog.errors import ConfigError
from teelog.witness import directory
from teelog.witness.mirror import directory as mirrors
from teelog.witness.serve import _operations
from tests.commands import teelog
from tests.project.sources import ROOT
from tests.witness.harness import ORIGIN, Desk, Log

OpenDesk = Callable[..., Desk]
BIN = Path(sys.executable).parent

needs_command = pytest.mark.skipif(not (BIN / "teelog").exists(), reason="the command is not installed")


def block(heading: str, number: int = 0) -> str:
    """A block of shell lines below a heading of the manual."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", (ROOT / "docs/witness.md").read_text(), re.M | re.S)
    assert found is not None
    blocks: list[str] = re.findall(r"^```\n(.*?)^```$", found[1], re.M | re.S)
    return blocks[number]


def run(text: str, folder: Path) -> None:
    done = subprocess.run(
        ["bash", "-ec", text],
        cwd=folder,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_command
@pytest.mark.timeout(300)
def test_a_witness_moves_with_its_state_and_cannot_be_started_where_it_was(
    open_desk: OpenDesk, log: Log, tmp_path: Path
) -> None:
    desk = open_desk(log)
    desk.cosign(log, 0, 5)
    desk.stop()
    run(block("Moving to another machine"), tmp_path)
    with pytest.raises(ConfigError):
        directory.load(tmp_path / "W1")
    moved = open_desk(path=tmp_path / "new" / "W1")
    assert moved.post(log.request(4, 6)).body == b"5\n"
    moved.cosign(log, 5, 6)


def test_a_mirror_moves_with_its_witness_and_cannot_be_started_where_it_was(tmp_path: Path) -> None:
    mirrors.init(tmp_path / "W1-mirror", "mirror.example/w1")
    (tmp_path / "new").mkdir()
    before = mirrors.load(tmp_path / "W1-mirror", "witness.example/w1")
    run(block("Moving to another machine", 1), tmp_path)
    with pytest.raises(ConfigError):
        mirrors.load(tmp_path / "W1-mirror", "witness.example/w1")
    after = mirrors.load(tmp_path / "new" / "W1-mirror", "witness.example/w1")
    assert [str(each.verifier) for each in after.signers] == [str(each.verifier) for each in before.signers]


@needs_command
@pytest.mark.timeout(300)
def test_a_retired_witness_signs_nothing_more_and_leaves_what_it_cosigned_last(
    open_desk: OpenDesk, log: Log, tmp_path: Path
) -> None:
    desk = open_desk(log)
    desk.cosign(log, 0, 5)
    desk.stop()
    run(block("Retiring"), tmp_path)
    (last,) = json.loads((tmp_path / "last.json").read_text())["logs"]
    assert (last["log"], last["disabled"], last["cosigned"]["size"]) == (ORIGIN, True, 5)
    assert (tmp_path / "proofs").is_dir()
    done = teelog("witness", "serve", tmp_path / "W1", "--listen", "127.0.0.1:0")
    assert done.code != 0
    assert "pem" in done.stderr


def test_ready_says_that_storage_has_failed_and_health_only_that_it_has_stopped(
    open_desk: OpenDesk, log: Log
) -> None:
    desk = open_desk(log)
    engine = desk.engine
    assert engine is not None
    handle = _operations(engine, desk.metrics)

    def ask(path: str) -> int:
        return int(asyncio.run(handle(make_mocked_request("GET", path))).status)

    assert (ask("/readyz"), ask("/healthz")) == (200, 200)
    rival = sqlite3.connect(desk.path / directory.STATE, isolation_level=None)
    rival.execute("BEGIN IMMEDIATE")
    assert desk.post(log.request(0, 1)).status == 503
    assert (ask("/readyz"), ask("/healthz")) == (503, 200)
    rival.execute("ROLLBACK")
    rival.close()
    desk.cosign(log, 0, 1)
    assert (ask("/readyz"), ask("/healthz")) == (200, 200)
    desk.stop()
    assert ask("/readyz") == 503
