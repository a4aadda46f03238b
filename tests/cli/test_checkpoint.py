"""`teelog checkpoint`: show, verify, compare; a fork leaves a proof."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.client import logs
from tests.client.peers import Reply, peer
from tests.commands import Ran, teelog

ENTRIES = logs.entries(300)
FORKED = [*ENTRIES[:200], b"instead", *ENTRIES[201:]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEELOG_STATE", str(tmp_path / "state"))
    logs.write(tmp_path / "log", ENTRIES)
    (tmp_path / "policy.txt").write_bytes(logs.policy_text())
    return tmp_path


def keep(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def compare(folder: Path, first: object, second: object, *more: object) -> Ran:
    return teelog("checkpoint", "compare", *map(str, (first, second, "--policy", folder / "policy.txt", *more)))


@pytest.mark.parametrize("by", ["file", "directory", "url", "checkpoint's url"])
def test_a_checkpoint_is_read_from_where_it_lies(folder: Path, by: str):
    with peer() as log:
        log.answers["/checkpoint"] = (folder / "log/checkpoint").read_bytes()
        place = {
            "file": folder / "log/checkpoint",
            "directory": folder / "log",
            "url": log.url,
            "checkpoint's url": f"{log.url}/checkpoint",
        }[by]
        shown = teelog("checkpoint", "show", place, "--json")
        assert shown.code == 0, shown.stderr
        assert shown.json["size"] == 300
        assert shown.json["verified"] is False
        ran = teelog("checkpoint", "verify", place, "--policy", folder / "policy.txt")
    assert ran.code == 0, ran.stderr
    assert ran.text.startswith("ok      checkpoint of log.example/tee  VERIFIED\n")


def test_verify_asks_for_the_quorum(folder: Path):
    few = keep(folder, "few", logs.sign(logs.head(ENTRIES), logs.WITNESSES[:2]))
    ran = teelog("checkpoint", "verify", few, "--policy", folder / "policy.txt")
    assert ran.code == 1
    assert "quorum is not met" in ran.stderr


def test_PL_21_require_witness_has_its_own_code(folder: Path):
    (folder / "policy.txt").write_bytes(f"log {logs.LOG.verifier}\nquorum none\n".encode())
    arguments = ["checkpoint", "verify", folder / "log/checkpoint", "--policy", folder / "policy.txt"]
    assert teelog(*arguments).code == 0
    assert teelog(*arguments, "--require-witness").code == 3


def test_a_web_page_is_no_checkpoint(folder: Path):
    with peer() as log:
        log.answers["/checkpoint"] = Reply(b"<!DOCTYPE html><p>hello", headers={"Content-Type": "text/html"})
        ran = teelog("checkpoint", "show", log.url)
    assert ran.code == 1
    assert "web page" in ran.stderr


@pytest.mark.parametrize("size", [1, 255, 256, 257, 300])
def test_compare_shows_that_the_larger_begins_with_the_smaller(folder: Path, size: int):
    old = keep(folder, "old", logs.sign(logs.head(ENTRIES[:size])))
    for pair in ((old, folder / "log"), (folder / "log", old)):
        ran = compare(folder, *pair, "--url", folder / "log", "--json")
        assert ran.code == 0, ran.stderr
        assert ran.json["smaller"]["size"] == size


def test_compare_reads_the_tiles_where_the_larger_one_was_read(folder: Path):
    old = keep(folder, "old", logs.sign(logs.head(ENTRIES[:5])))
    assert compare(folder, old, folder / "log").code == 0
    assert compare(folder, folder / "log", old).code == 0
    with peer() as log:
        log.serve({**logs.files(ENTRIES), "checkpoint": logs.sign(logs.head(ENTRIES))})
        assert compare(folder, old, log.url).code == 0
        assert compare(folder, f"{log.url}/checkpoint", old).code == 0
    assert compare(folder, old, folder / "log/checkpoint").code == 6


def test_compare_needs_no_witness(folder: Path):
    old = keep(folder, "old", logs.sign(logs.head(ENTRIES[:5]), ()))
    assert compare(folder, old, folder / "log", "--url", folder / "log").code == 0


@pytest.mark.parametrize("size", [201, 256, 299, 300])
def test_CP_13_a_fork_of_any_size_is_proven_and_kept(folder: Path, size: int):
    other = keep(folder, "other", logs.sign(logs.head(FORKED[:size])))
    ran = compare(folder, other, folder / "log", "--url", folder / "log")
    assert ran.code == 5, ran.stderr
    (path,) = (folder / "state" / "forks").iterdir()
    assert teelog("fork", "verify", path, "--policy", folder / "policy.txt").code == 0
    ran = compare(folder, other, folder / "log", "--url", folder / "log", "--out", folder / "fork.teelog-fork")
    assert (folder / "fork.teelog-fork").read_bytes() == path.read_bytes()


def test_a_log_that_hides_its_tiles_is_not_accused(folder: Path):
    other = keep(folder, "other", logs.sign(logs.head(FORKED[:256])))
    with peer() as log:
        ran = compare(folder, other, folder / "log", "--url", log.url)
        assert ran.code == 1
        log.serve(logs.files(FORKED))
        ran = compare(folder, other, folder / "log", "--url", log.url)
        assert ran.code == 1
        assert "does not lead to the signed root" in ran.stderr
    assert not (folder / "state").exists()


def test_checkpoints_of_two_logs_are_not_compared(folder: Path):
    text = logs.policy_text().replace(b"\nwitness", f"\nlog {logs.OTHER_LOG.verifier}\nwitness".encode(), 1)
    (folder / "policy.txt").write_bytes(text)
    other = keep(folder, "other", logs.sign(logs.head(ENTRIES, "other.example/log"), (), logs.OTHER_LOG))
    ran = compare(folder, other, folder / "log")
    assert ran.code == 1
    assert "two logs" in ran.stderr


@pytest.mark.parametrize("data", [b"", b"x", bytes(10), b"a\n1\nAA==\n\n", b"x" * (1 << 20) + b"x"])
def test_what_is_no_checkpoint_is_1(folder: Path, data: bytes):
    bad = keep(folder, "bad", data)
    assert teelog("checkpoint", "show", bad).code == 1
    assert teelog("checkpoint", "verify", bad, "--policy", folder / "policy.txt").code == 1
    assert compare(folder, bad, folder / "log").code == 1


def test_a_missing_one_is_unavailable_or_refused(folder: Path):
    assert teelog("checkpoint", "show", folder / "none").code == 4
    assert teelog("checkpoint", "show", folder).code == 1
    with peer() as log:
        assert teelog("checkpoint", "show", log.url).code == 1
    assert teelog("checkpoint", "show", log.url).code == 4
