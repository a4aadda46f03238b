"""`teelog log mirror`: a copy that others can read, of a log that nobody has to believe."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import logs
from tests.client.mirror_peer import SIGNER, MirrorPeer
from tests.client.peers import Peer, Reply, peer
from tests.commands import Ran, teelog
from tests.statement import make

ENTRIES = [make.log_policy_file(), make.release_file(), *logs.entries(298)]
HOSTILE = "\x1b[2Jok"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEELOG_STATE", str(tmp_path / "state"))
    with peer() as found:
        serve(found, ENTRIES)
        Path("policy.txt").write_bytes(logs.policy_text(found.url))
        yield found


def serve(log: Peer, entries: list[bytes]) -> None:
    log.serve(logs.files(entries))
    log.answers["/checkpoint"] = logs.sign(logs.head(entries))


def mirror(log: Peer, *more: object, code: int = 0) -> Ran:
    words = ("log", "mirror", log.url, "DIR", "--policy", "policy.txt", "--timeout", "1ms", *more)
    ran = teelog(*map(str, words))
    assert ran.code == code, (ran.code, ran.text, ran.stderr)
    return ran


def test_a_copy_is_read_by_every_command_once_the_log_is_gone(log: Peer):
    ran = mirror(log)
    assert ran.text.startswith("ok      DIR holds log.example/tee up to 300 entries  VERIFIED")
    assert "copied        300 entries; 0 were there" in ran.text
    log.answers.clear()
    policy = ("--policy", "policy.txt")
    assert teelog("log", "fsck", "DIR", *policy).code == 0
    read = teelog("entry", "1", *policy, "--mirror", "DIR")
    assert (read.code, read.text.splitlines()[0]) == (0, "ok      entry 1 of 300 in log.example/tee  VERIFIED")
    Path("release.json").write_bytes(ENTRIES[1])
    made = teelog("proof", "get", "release.json", *policy, "--out", "proof", "--mirror", "DIR")
    assert made.code == 0, made.stderr
    assert teelog("proof", "verify", "release.json", "--proof", "proof", *policy).code == 0


def test_again_copies_what_is_new(log: Peer):
    mirror(log)
    serve(log, [*ENTRIES, *logs.entries(50)])
    found = mirror(log, "--json").json
    assert found["schema"] == "teelog-mirrored/v1"
    assert (found["before"], found["size"], found["behind"]) == (300, 350, False)
    assert mirror(log, "--json").json["fetched"] == 0


def test_a_fork_is_refused_with_its_proof(log: Peer, tmp_path: Path):
    mirror(log)
    serve(log, [*ENTRIES[:2], *logs.entries(400, "forked")])
    ran = mirror(log, code=5)
    proof = next((tmp_path / "state" / "forks").iterdir())
    assert f"next: teelog fork verify {proof}" in ran.stderr
    assert teelog("fork", "verify", str(proof), "--policy", "policy.txt").code == 0
    assert b"\n300\n" in Path("DIR/checkpoint").read_bytes()


def test_a_log_that_was_rolled_back_stays_behind_its_copy(log: Peer):
    mirror(log)
    serve(log, ENTRIES[:200])
    ran = mirror(log)
    assert "lies behind the copy, which stays at 300 entries" in ran.stderr


@pytest.mark.parametrize(
    ("path", "answer", "code"),
    [
        ("/checkpoint", Reply(HOSTILE.encode(), 503, {"Content-Type": "text/plain"}), 4),
        ("/checkpoint", Reply(HOSTILE.encode(), 403, {"Content-Type": "text/plain"}), 1),
        ("/checkpoint", b"<html>", 1),
        ("/tile/0/000", Reply(b"", 302, {"Location": "http://127.0.0.2:1/"}), 1),
        ("/tile/entries/000", bytes(20_000_000), 1),
        ("/tile/entries/000", bytes(200), 1),
    ],
)
def test_what_a_lying_log_gives_is_refused_and_not_shown_raw(log: Peer, path: str, answer: bytes | Reply, code: int):
    log.answers[path] = answer
    ran = mirror(log, code=code)
    assert "\x1b" not in ran.stderr
    assert not Path("DIR/checkpoint").exists()


def test_what_fails_for_a_moment_is_tried_again_from_where_it_was(log: Peer):
    good = log.answers["/tile/entries/001.p/44"]
    refusals = [Reply(b"", 503)] * 2
    log.answers["/tile/entries/001.p/44"] = lambda _: refusals.pop() if refusals else good  # type: ignore[return-value]
    ran = mirror(log, "--timeout", "120s")
    assert "again in" in ran.stderr
    assert log.paths().count("/tile/entries/000") == 1


def test_it_goes_on_until_it_is_told_to_stop(log: Peer, tmp_path: Path):
    words = ("log", "mirror", log.url, "DIR", "--policy", "policy.txt", "--every", "100ms")
    process = subprocess.Popen(
        [sys.executable, "-m", "teelog.cli.main", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        for entries in (ENTRIES, [*ENTRIES, *logs.entries(50)]):
            serve(log, entries)
            said = iter(process.stderr.readline, b"")
            assert any(line == b"%d entries\n" % len(entries) for line in said)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert b"up to 350 entries" in out


def push(log: Peer, to: MirrorPeer, *more: object, code: int = 0, vkey: str = str(SIGNER.verifier)) -> Ran:
    words = ("log", "mirror", log.url, to.peer.url, "--policy", "policy.txt", "--vkey", vkey, *more)
    ran = teelog(*map(str, words))
    assert ran.code == code, (ran.code, ran.text, ran.stderr)
    return ran


def test_a_log_is_pushed_to_a_mirror_by_hand(log: Peer):
    with peer() as found:
        to = MirrorPeer(found)
        ran = push(log, to)
        assert ran.text.startswith(f"ok      {found.url} holds log.example/tee up to 300 entries  COSIGNED")
        assert to.entries == ENTRIES
        assert push(log, to, "--json").json["sent"] == 0
        push(log, to, vkey=str(logs.WITNESSES[0].verifier), code=1)
        push(log, to, vkey=str(logs.LOG.verifier), code=6)
        push(log, to, "--every", "1s", code=2)


def test_a_mirror_that_says_no_in_hostile_words_is_told_safely(log: Peer):
    with peer() as found:
        to = MirrorPeer(found)
        to.answer = lambda _: Reply(HOSTILE.encode(), 403)
        assert "\x1b" not in push(log, to, code=1).stderr
