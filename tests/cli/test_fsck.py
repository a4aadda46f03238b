"""`teelog log fsck`: whole, or told what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.client import logs
from tests.client.peers import peer
from tests.commands import Ran, teelog

ENTRIES = logs.entries(600)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEELOG_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("TEELOG_POLICY", raising=False)
    logs.write(tmp_path / "log", ENTRIES)
    (tmp_path / "policy.txt").write_bytes(logs.policy_text())
    return tmp_path


def fsck(place: object, *more: object) -> Ran:
    return teelog("log", "fsck", str(place), *map(str, more))


def test_a_whole_log_is_0_with_a_policy_or_a_key(folder: Path):
    for how in (("--policy", folder / "policy.txt"), ("--vkey", logs.LOG.verifier)):
        ran = fsck(folder / "log", *how)
        assert ran.code == 0, ran.stderr
        assert ran.text.startswith("ok      log.example/tee is whole\nentries     600 of 600\n")


def test_the_key_beside_the_log_is_the_default(folder: Path):
    assert fsck(folder / "log").code == 6
    (folder / "log/log.vkey").write_text(f"{logs.LOG.verifier}\n")
    assert fsck(folder / "log", "--json").json["ok"] is True


def test_over_http_it_is_the_same(folder: Path):
    with peer() as log:
        log.serve({**logs.files(ENTRIES), "checkpoint": logs.sign(logs.head(ENTRIES))})
        assert fsck(log.url, "--policy", folder / "policy.txt").code == 0
        log.serve({"tile/0/001": bytes(8192)})
        ran = fsck(log.url, "--policy", folder / "policy.txt")
        assert ran.code == 1
        assert "FAILED  tile/0/001: not the tile that follows from the entries: expected" in ran.text


def test_what_differs_is_named_and_the_code_is_1(folder: Path):
    path = folder / "log/tile/0/002.p/88"
    path.write_bytes(bytes(88 * 32))
    (folder / "log/tile/1/000.p/2").unlink()
    ran = fsck(folder / "log", "--vkey", logs.LOG.verifier, "--json")
    assert ran.code == 1
    assert [problem["path"] for problem in ran.json["problems"]] == ["tile/0/002.p/88", "tile/1/000.p/2"]


def test_a_checkpoint_by_another_key_is_1_and_without_a_quorum_too(folder: Path):
    assert fsck(folder / "log", "--vkey", logs.OTHER_LOG.verifier).code == 1
    (folder / "log/checkpoint").write_bytes(logs.sign(logs.head(ENTRIES), logs.WITNESSES[:2]))
    assert fsck(folder / "log", "--policy", folder / "policy.txt").code == 1
    assert fsck(folder / "log", "--vkey", logs.WITNESSES[0].verifier).code == 6


def test_CP_13_a_log_that_forked_since_the_last_time_is_5(folder: Path):
    state = "--state", folder / "state", "--policy", folder / "policy.txt"
    assert fsck(folder / "log", *state).code == 0
    logs.write(folder / "log", logs.entries(600, "other"))
    assert fsck(folder / "log", *state).code == 5


def test_an_empty_log_is_whole(folder: Path):
    logs.write(folder / "empty", [])
    assert fsck(folder / "empty", "--policy", folder / "policy.txt").code == 0


def test_a_missing_log_is_told(folder: Path):
    ran = fsck(folder / "none", "--vkey", logs.LOG.verifier)
    assert ran.code == 1
    assert "has no checkpoint" in ran.stderr
