"""`--mirror`: commands that read go on when the log is gone, and take nobody's word for anything."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from teelog.statement import dsse
from teelog.testing.ledger import ORIGIN, Ledger
from teelog.tlog.rfc6962 import leaf_hash
from tests.cli.growing import Growing, growing
from tests.commands import Ran
from tests.statement import make

STREAM = "acme.example/inference/stable"
RELEASE = make.release_file()
RELEASE_ID = dsse.parse(RELEASE).statement_id
STATUS = make.status_file(allowed=make.allowed(RELEASE_ID), next_update="2040-01-01T00:00:00Z")
ENTRIES = [make.log_policy_file(), make.namespace_file(), RELEASE, STATUS]
GONE = "http://127.0.0.1:1"  # nobody listens there
POLICY = ("--policy", "policy.txt")
INDEX = (*POLICY, "--index-policy", "index.policy")
BELOW = hashlib.sha256(ORIGIN.encode()).hexdigest()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Growing]:
    folder = tmp_path_factory.mktemp("mirror")
    with growing(folder, ENTRIES) as found:
        found.write("release.json", RELEASE)
        copy(found, folder / "mirror" / BELOW)
        yield found


def copy(log: Growing, folder: Path) -> None:
    """A mirror's copy: what C2SP says it holds, no index."""
    for path, data in log.ledger.files().items():
        if not path.startswith("index/"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
    (folder / "checkpoint").write_bytes(log.checkpoint)


@pytest.fixture(autouse=True)
def here(log: Growing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEELOG_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(log.folder)


READS = {
    "entry": ("entry", 2, *POLICY),
    "leaf": ("entry", leaf_hash(RELEASE).hex(), *POLICY),
    "proof": ("proof", "get", "release.json", "--out", "proof", *POLICY),
    "lookup": ("lookup", "release", STREAM, *POLICY),
    "lookup by index": ("lookup", "release", STREAM, *INDEX),
    "prefix by index": ("lookup", "status", "acme.example", "--prefix", *INDEX),
    "list": ("release", "list", STREAM, *POLICY),
    "list by index": ("release", "list", STREAM, *INDEX),
    "namespace": ("namespace", "show", "acme.example", *INDEX),
    "checkpoint": ("checkpoint", "verify", GONE, *POLICY),
}


def run(log: Growing, which: str, *more: object, code: int = 0) -> Ran:
    url = () if which == "checkpoint" else ("--url", GONE)
    timeout = ("--timeout", "1s") if which not in ("entry", "leaf", "checkpoint") else ()
    return log.run(*READS[which], *url, *timeout, *more, code=code)


@pytest.mark.parametrize("which", READS)
def test_what_a_command_reads_is_read_from_the_mirror_once_the_log_is_gone(log: Growing, which: str):
    run(log, which, code=4)
    ran = run(log, which, "--mirror", "mirror", "--json")
    there = [word if word != GONE else log.peer.url for word in READS[which]]
    there += ["--from", log.peer.url] if which == "proof" else []
    by_log = log.run(*there, "--json").json
    different = ("by_index",) if "index" in which else ()
    assert {**ran.json, **dict.fromkeys(different)} == {**by_log, **dict.fromkeys(different)}
    assert "read from mirror" in ran.stderr
    assert "warning: " in ran.stderr


def test_the_environment_names_mirrors(log: Growing, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEELOG_MIRROR", f"{GONE} mirror/{BELOW}")
    assert "entry 2 of 4" in run(log, "entry").text


def test_a_policy_without_a_url_needs_none_where_a_mirror_is_named(log: Growing, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TEELOG_LOG")
    log.run(*READS["entry"], code=6)
    log.run(*READS["entry"], "--mirror", "mirror")
    log.run(*READS["list"], "--mirror", "mirror")
    log.run(*READS["list by index"], "--mirror", "mirror")


def test_a_mirror_that_lies_behind_changes_nothing_while_the_log_answers(log: Growing, tmp_path: Path):
    before = Ledger()
    for entry in ENTRIES[:2]:
        before.append(entry)
    view = before.publish(1_790_000_000)
    for path, data in before.files().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    (tmp_path / "checkpoint").write_bytes(view.main)
    ran = log.run(*READS["entry"], "--mirror", tmp_path)
    assert "entry 2 of 4" in ran.text
    assert "warning" not in ran.stderr


def test_CP_13_a_mirror_that_shows_another_tree_signed_by_the_log_convicts_it(log: Growing, tmp_path: Path):
    other = Ledger()
    for entry in [*ENTRIES[:3], make.status_file(next_update="2039-01-01T00:00:00Z")]:
        other.append(entry)
    (tmp_path / "checkpoint").write_bytes(other.publish(1_790_000_000).main)
    ran = log.run(*READS["entry"], "--mirror", tmp_path, code=5)
    proof = next((tmp_path / "state" / "forks").iterdir())
    assert f"next: teelog fork verify {proof}" in ran.stderr
    log.run("fork", "verify", proof, *POLICY)


def test_a_mirror_of_flipped_bits_is_refused_where_nobody_else_has_them(log: Growing, tmp_path: Path):
    shutil.copytree("mirror", tmp_path / "flipped")
    path = next((tmp_path / "flipped" / BELOW / "tile/entries").rglob("4"))
    path.write_bytes(path.read_bytes().replace(b"payload", b"paylaod", 1))
    run(log, "entry", "--mirror", tmp_path / "flipped", code=1)
    both = ("--mirror", tmp_path / "flipped", "--mirror", "mirror")
    assert "entry 2 of 4" in run(log, "entry", *both).text


def test_what_has_no_mirror_option_says_so(log: Growing):
    assert "No such option" in log.run("release", "renew", STREAM, *POLICY, "--mirror", "mirror", code=2).stderr
