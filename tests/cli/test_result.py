"""`teelog result`: show anybody's results, publish one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest

from teelog.keys import Algorithm
from teelog.statement import jws
from tests.client import logs
from tests.client.peers import Peer, Reply, peer
from tests.commands import teelog
from tests.statement import make
from tests.statement.test_ear import TRUSTEE, VERIFIER, entry

RESULT = entry()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "result.jwt").write_bytes(RESULT)
    (tmp_path / "verifier.pub").write_bytes(VERIFIER.public.to_pem())
    return tmp_path


def test_show_says_that_nothing_is_verified_and_what_the_result_claims(folder: Path):
    ran = teelog("result", "show", folder / "result.jwt")
    assert ran.code == 0, ran.stderr
    assert "nothing of this is verified" in ran.stderr
    for part in ("draft", "affirming", "hardware 2 (affirming)", "size 7", "measurement verified", "ab" * 32):
        assert part in ran.text
    assert "verified: key" in teelog("result", "show", folder / "result.jwt", "--key", folder / "verifier.pub").text


def test_show_reads_another_verifiers_token(folder: Path):
    signer = make.key("trustee", Algorithm.ECDSA_P256)
    theirs = jwt.encode(TRUSTEE | {"eat_nonce": "0123456789"}, signer.to_pem().decode(), algorithm="ES256")
    (folder / "theirs.jwt").write_text(theirs + "\n")
    (folder / "theirs.pub").write_bytes(signer.public.to_pem())
    ran = teelog("result", "show", folder / "theirs.jwt", "--key", folder / "theirs.pub", "--json")
    assert ran.code == 0, ran.stderr
    assert ran.json["dialect"] == "deployed"
    assert ran.json["submods"]["cpu0"]["vector"] == {"executables": 33, "configuration": 36, "hardware": 97}
    assert ran.json["private"] == ["/eat_nonce"]
    assert ran.json["judged"] is None


@pytest.mark.parametrize("content", [b"", b"x", RESULT[:-2], b"{}", make.release_file(), b"e.e.e"])
def test_what_is_no_result_is_1(folder: Path, content: bytes):
    (folder / "bad.jwt").write_bytes(content)
    assert teelog("result", "show", folder / "bad.jwt").code == 1


def test_A_74_a_hostile_result_cannot_steer_the_terminal(folder: Path):
    claims = json.loads(jws.parse(RESULT).claimed()) | {"sub": "\x1b[2J\u202eok VERIFIED"}
    (folder / "bad.jwt").write_bytes(jws.sign(json.dumps(claims).encode(), VERIFIER, "eat+jwt").file)
    ran = teelog("result", "show", folder / "bad.jwt")
    assert not set("\x1b\u202e") & set(ran.text)


# -- publishing -------------------------------------------------------------------------------------------------------

ENTRIES = [*logs.entries(4), RESULT]


@pytest.fixture
def log(folder: Path) -> Iterator[Peer]:
    with peer() as found:
        found.serve(logs.files(ENTRIES))
        (folder / "policy.txt").write_bytes(logs.policy_text(found.url))
        yield found


def publish(folder: Path, file: str = "result.jwt"):
    return teelog(
        *("result", "publish", folder / file, "--policy", folder / "policy.txt"),
        *("--out", folder / "result.tlog-proof", "--state", folder / "state", "--timeout", "120s"),
    )


def test_a_result_is_published_as_it_is_and_its_proof_verifies(folder: Path, log: Peer):
    log.answers["/entries"] = Reply(logs.proof(ENTRIES, 4), 201)
    ran = publish(folder)
    assert ran.code == 0, ran.stderr
    (posted,) = [asked for asked in log.asked if asked.method == "POST"]
    assert (posted.path, posted.body, posted.headers["Content-Type"]) == ("/entries", RESULT, "application/eat+jwt")
    verified = teelog(
        *("proof", "verify", folder / "result.jwt", "--proof", folder / "result.tlog-proof"),
        *("--policy", folder / "policy.txt"),
    )
    assert verified.code == 0, verified.stderr
    assert "attestation result of acme.example" in verified.text


def test_another_tools_spelling_is_re_encoded_and_kept(folder: Path, log: Peer):
    (folder / "loose.jwt").write_bytes(RESULT + b"\n")
    log.answers["/entries"] = Reply(logs.proof(ENTRIES, 4), 201)
    ran = publish(folder, "loose.jwt")
    assert ran.code == 0, ran.stderr
    assert (folder / "loose.jwt.jws").read_bytes() == RESULT


@pytest.mark.parametrize("content", [make.release_file(), make.release_payload(), b"{}", RESULT[:-9]])
def test_what_is_no_result_is_not_sent(folder: Path, log: Peer, content: bytes):
    (folder / "bad").write_bytes(content)
    assert publish(folder, "bad").code == 1
    assert log.asked == []


def test_a_result_is_never_signed_again(folder: Path):
    (folder / "verifier.key").write_bytes(VERIFIER.to_pem())
    (folder / "verifier.key").chmod(0o600)
    ran = teelog("sign", folder / "result.jwt", "--key", folder / "verifier.key")
    assert ran.code == 6
    assert (folder / "result.jwt").read_bytes() == RESULT
