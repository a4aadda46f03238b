"""A copy with the index log: once the log is gone, its index is made again from the copy, and proves the same."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from teelog import bundle as bundles
from teelog.statement import dsse
from teelog.testing.ledger import ORIGIN, Ledger, hiding, trust_text
from tests.cli.growing import Growing, growing
from tests.client.peers import Reply
from tests.client.served import Served
from tests.commands import Ran
from tests.statement import make

STREAM = "acme.example/inference/stable"
RELEASE = make.release_file(svn=3)
RELEASE_ID = dsse.parse(RELEASE).statement_id
UNTIL = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86_400))
NAMESPACE = make.namespace_file()
STATUS = make.status_file(allowed=make.allowed(RELEASE_ID), next_update=UNTIL)
GONE = "http://127.0.0.1:1"  # nobody listens there
POLICIES = ("--policy", "policy.txt", "--index-policy", "index.policy")
READS = {
    "lookup": ("lookup", "release", STREAM, *POLICIES),
    "nothing": ("lookup", "namespace", "globex.example", *POLICIES),
    "many": ("lookup", "signer", make.ACME.public.fingerprint, *POLICIES),
    "prefix": ("lookup", "status", "acme.example", "--prefix", *POLICIES),
    "list": ("release", "list", STREAM, *POLICIES),
    "namespace": ("namespace", "show", "acme.example", *POLICIES),
}


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Growing]:
    monkeypatch.setenv("TEELOG_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    with growing(tmp_path, [make.log_policy_file(), NAMESPACE, RELEASE, STATUS]) as found:
        found.write("trust.toml", trust_text(STREAM, dsse.parse(NAMESPACE).statement_id, max_age="1h").encode())
        yield found


def copy(log: Growing, code: int = 0) -> Ran:
    return log.run("log", "mirror", log.peer.url, "DIR", *POLICIES, "--timeout", "1ms", code=code)


def gone(log: Growing, *words: object, mirror: str = "DIR", code: int = 0) -> Ran:
    return log.run(*words, "--url", GONE, "--timeout", "1s", "--mirror", mirror, code=code)


def get(log: Growing, **how: object) -> Ran:
    words = ("bundle", "get", STREAM, "--release", "1.4.2", "--trust", "trust.toml", "--out", "acme.teelog")
    return gone(log, *words, **how)  # type: ignore[arg-type]


def test_the_index_log_is_copied_and_grows(log: Growing):
    assert "index         1 leaves" in copy(log).text
    assert [path.name for path in Path("DIR/index/v1").iterdir()] == ["1"]
    log.entries.append(make.release_file(version="1.4.3", svn=3))
    log.serve()
    copy(log)
    assert [path.name for path in Path("DIR/index/v1").iterdir()] == ["2"]
    log.run("log", "fsck", "DIR", "--policy", "policy.txt")
    log.run("log", "fsck", "DIR/index", "--policy", "index.policy")


@pytest.mark.parametrize("which", READS)
def test_what_the_index_proves_is_proven_from_the_copy(log: Growing, which: str):
    copy(log)
    by_log = log.run(*READS[which], "--json").json
    ran = gone(log, *READS[which], "--json")
    assert ran.json == by_log
    assert "made again from DIR, up to 4 entries" in ran.stderr


@pytest.mark.parametrize("mirror", ["DIR", "URL"])
def test_a_bundle_is_made_from_the_copy_and_verifiers_take_it(log: Growing, mirror: str):
    copy(log)
    if mirror == "URL":
        # Any static server: the copy's files at their paths, and nothing that answers.
        log.peer.answers.clear()
        log.peer.fallback = lambda asked: _file(asked.path)
        mirror = log.peer.url
    ran = get(log, mirror=mirror)
    assert "allowed now" in ran.text
    held = bundles.parse(Path("acme.teelog").read_bytes())
    assert held.release.index == 2
    log.run("bundle", "show", "acme.teelog", "--trust", "trust.toml")
    gone(log, "bundle", "refresh", "acme.teelog", "--trust", "trust.toml", mirror=mirror)


def _file(path: str) -> bytes | Reply:
    found = Path("DIR" + path)
    return found.read_bytes() if found.is_file() else Reply(b"", 404)


def test_the_copy_is_copied_with_its_index_once_the_log_is_gone(log: Growing):
    copy(log)
    words = ("log", "mirror", GONE, "AGAIN", *POLICIES, "--timeout", "1ms")
    log.run(*words, "--mirror", "NOTHING", code=4)
    ran = log.run(*words, "--mirror", "DIR", "--json")
    assert (ran.json["fetched"], ran.json["index_size"]) == (4, 1)
    log.run("log", "fsck", "AGAIN", "--policy", "policy.txt")
    log.run("log", "fsck", "AGAIN/index", "--policy", "index.policy")
    get(log, mirror="AGAIN")


def test_a_copy_without_the_index_log_gives_no_new_bundle(log: Growing):
    log.run("log", "mirror", log.peer.url, "DIR", "--policy", "policy.txt")
    assert get(log, code=4).stderr.splitlines()[-3].startswith("error: ")


def test_a_copy_that_is_old_gives_no_bundle(log: Growing):
    log.ledger.publish(int(time.time()) - 7_200)
    view = log.ledger.publish(int(time.time()) - 7_200)
    log.peer.answers["/checkpoint"] = view.main
    log.peer.answers["/index/checkpoint"] = view.index
    log.peer.answers[f"/index/v1/{view.index_size}/main"] = view.main
    copy(log)
    assert "error: fresh: " in get(log, code=1).stderr


def test_an_index_of_another_map_is_refused(log: Growing):
    lying = Ledger(rewrite=hiding(3))
    for entry in log.entries:
        lying.append(entry)
    Served(log.peer, lying).show(lying.publish(int(time.time()), collude=True))
    copy(log)
    for words in (READS["list"], READS["lookup"]):
        assert "lead to another index than its last leaf says" in gone(log, *words, code=1).stderr
    assert "lead to another index than its last leaf says" in get(log, code=1).stderr
    alone = (*READS["list"][:3], "--policy", "policy.txt")
    assert "1 release allowed" in gone(log, *alone).text


def test_flipped_bits_in_the_copy_are_refused(log: Growing):
    copy(log)
    for path in ("index/tile/entries/000.p/1", "tile/entries/000.p/4", "index/v1/1/main"):
        shutil.copytree("DIR", "BAD")
        data = bytearray(Path("BAD", path).read_bytes())
        data[len(data) // 2] ^= 1
        Path("BAD", path).write_bytes(data)
        assert get(log, mirror="BAD", code=4).code == 4
        shutil.rmtree("BAD")


def test_the_policies_must_belong_together(log: Growing):
    log.run("log", "mirror", log.peer.url, "DIR", "--policy", "index.policy", code=6)
    words = ("log", "mirror", log.peer.url, "DIR", "--policy", "policy.txt", "--index-policy", "policy.txt")
    log.run(*words, code=6)
    assert ORIGIN == make.LOG
