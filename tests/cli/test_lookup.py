"""`teelog lookup`: every kind of key, what is there and what is not, by the index and by reading the log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from teelog.statement import dsse
from tests.cli.growing import Growing, growing
from tests.client.peers import Reply
from tests.statement import make

STREAM = "acme.example/inference/stable"
RELEASE = make.release_file()
RELEASE_ID = dsse.parse(RELEASE).statement_id
STATUS = make.status_file(
    allowed=(), revoked=(make.status.Revoked(RELEASE_ID, "CVE-2026-1234"),), next_update="2040-01-01T00:00:00Z"
)
ENTRIES = [make.log_policy_file(), make.namespace_file(), RELEASE, STATUS, make.release_file(make.STRANGER)]
WAYS = {"index": ("--policy", "policy.txt", "--index-policy", "index.policy"), "log": ("--policy", "policy.txt")}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Growing]:
    folder = tmp_path_factory.mktemp("lookup")
    with growing(folder, ENTRIES) as found:
        found.key("acme.key", make.ACME)
        found.write("release.json", RELEASE)
        yield found


@pytest.fixture(autouse=True)
def here(log: Growing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEELOG_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(log.folder)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("kind", "key", "entries"),
    [
        ("namespace", "acme.example", [1]),
        ("release", STREAM, [2]),
        ("status", STREAM, [3]),
        ("register", f"sev-snp/measurement/{make.MEASUREMENT}", [2, 4]),
        ("subject", f"sha256:{make.SUBJECT.digest['sha256']}", [2, 4]),
        ("about", RELEASE_ID, [3]),
        ("about", "release.json", [3]),
        ("signer", make.ACME.public.fingerprint, [1, 2, 3]),
        ("signer", "acme.key.pub", [1, 2, 3]),
        ("evidence", f"sha256:{'ab' * 32}", []),
        ("namespace", "globex.example", []),
        ("status", "acme.example/inference/beta", []),
    ],
)
def test_entries_under_a_key_or_none_proven(log: Growing, way: str, kind: str, key: str, entries: list[int]):
    found = log.run("lookup", kind, key, *WAYS[way], "--json").json
    assert found["schema"] == "teelog-index-lookup/v1"
    if kind == "signer":
        entries = [0, *entries]  # the log's policy: its operator is the same key here
    assert (found["entries"], found["count"]) == (entries, len(entries))
    assert found["by_index"] is (way == "index")


@pytest.mark.parametrize("way", WAYS)
def test_keys_with_a_prefix_and_no_others(log: Growing, way: str):
    found = log.run("lookup", "status", "acme.example", "--prefix", *WAYS[way], "--json").json
    assert [each["components"] for each in found["keys"]] == [STREAM.split("/")]
    assert log.run("lookup", "status", "globex.example", "--prefix", *WAYS[way], "--json").json["keys"] == []
    assert log.run("lookup", "register", "sev-snp/measurement", "--prefix", *WAYS[way], "--json").json["count"] == 2


def test_people_read_what_the_entries_are(log: Growing):
    ran = log.run("lookup", "release", STREAM, *WAYS["index"])
    assert ran.text.startswith(f"ok      release {STREAM.replace('/', ' ')}: 1 entry, and no others")
    assert f"entry         2  release {STREAM} 1.4.2" in ran.text
    nothing = log.run("lookup", "namespace", "globex.example", *WAYS["index"])
    assert "nothing, and the index proves it" in nothing.text


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("namespace", "Acme"),
        ("status", "acme.example/inference"),
        ("register", "sev-snp/measurement"),
        ("register", "pdp11/measurement/ab"),
        ("subject", "sha256"),
        ("evidence", "sha256:AB"),
        ("subject", "sha256:ab"),
        ("signer", "ab"),
        ("about", "no-such-file"),
        ("colour", "red"),
    ],
)
def test_what_is_no_key_is_wrong_usage(log: Growing, kind: str, key: str):
    log.run("lookup", kind, key, *WAYS["index"], code=2)


def test_a_policy_of_the_index_proves_nothing_absent(log: Growing):
    ran = log.run("lookup", "namespace", "acme.example", "--policy", "index.policy", code=6)
    assert "next: --policy FILE of the log; the index's is for --index-policy" in ran.stderr


@pytest.mark.parametrize(
    ("kind", "key", "told"),
    [
        ("status", "acme.example", "--prefix finds all that begin so"),
        ("about", "none.json", "a statement's file that exists"),
        ("signer", "none.pub", "a key file that exists"),
        ("subject", "sha256:ab", "sha256 has 64 hex digits, not 2"),
    ],
)
def test_what_would_be_a_key_is_told(log: Growing, kind: str, key: str, told: str):
    assert told in log.run("lookup", kind, key, *WAYS["index"], code=2).stderr


def test_an_index_that_has_yet_to_begin_is_waited_for_within_bounds(log: Growing, monkeypatch: pytest.MonkeyPatch):
    words = ("lookup", "namespace", "acme.example", *WAYS["index"])
    begun = Reply(status=503, headers={"Retry-After": "5"})
    first = iter([begun, begun, log.peer.answers["/index/checkpoint"]])
    with monkeypatch.context() as patched:
        patched.setitem(log.peer.answers, "/index/checkpoint", lambda _: next(first))
        assert "1 entry, and no others" in log.run(*words).text
        patched.setitem(log.peer.answers, "/index/checkpoint", begun)
        assert "the log's index has published nothing yet" in log.run(*words, "--timeout", "1s", code=4).stderr
