"""`teelog bundle`: what is written is what a verifier takes, or says why none does; and it does not go stale."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from teelog import bundle as bundles
from teelog.cli.proof import utc
from teelog.statement import dsse
from teelog.testing.ledger import trust_text
from tests.cli.growing import Growing, growing
from tests.client.peers import Reply
from tests.commands import Ran
from tests.statement import make

STREAM = "acme.example/inference/stable"
RELEASES = [make.release_file(version=version, svn=3) for version in ("1.4.2", "1.4.3")]
IDS = [dsse.parse(file).statement_id for file in RELEASES]
UNTIL = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86_400))
NAMESPACE = make.namespace_file()


def status(*releases: str, seq: int = 0, prev: bytes | None = None, cause: str | None = None) -> bytes:
    revoked = tuple(make.status.Revoked(each, cause) for each in IDS if cause and each not in releases)
    return make.status_file(
        seq=seq,
        prev=None if prev is None else dsse.parse(prev).statement_id,
        allowed=make.allowed(*releases),
        revoked=revoked,
        next_update=UNTIL,
    )


BOTH = status(*IDS)
LATER = status(IDS[1], seq=1, prev=BOTH, cause="CVE-2026-1234")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Growing]:
    monkeypatch.setenv("TEELOG_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    with growing(tmp_path, [make.log_policy_file(), NAMESPACE, *RELEASES, BOTH]) as found:
        found.write("trust.toml", trust_text(STREAM, dsse.parse(NAMESPACE).statement_id, max_age="1h").encode())
        yield found


def get(log: Growing, *more: object, code: int = 0, release: str = "1.4.2") -> Ran:
    words = ("--trust", "trust.toml", "--out", "acme.teelog", "--timeout", "900ms", *more)
    return log.run("bundle", "get", STREAM, "--release", release, *words, code=code)


def held(log: Growing) -> bundles.Bundle:
    return bundles.parse((log.folder / "acme.teelog").read_bytes())


def withdraw(log: Growing) -> None:
    log.entries.append(LATER)
    log.serve()


def test_a_bundle_is_written_once_a_verifier_would_take_it(log: Growing):
    ran = get(log)
    assert ran.text.startswith(f"ok      bundle of release {STREAM} 1.4.2: allowed now")
    assert held(log).release.index == 2
    assert held(log).status.index == 4
    get(log, release=IDS[1])
    assert held(log).release.index == 3
    get(log, release=f"{STREAM}@1.4.2")
    assert held(log).release.index == 2


def test_where_several_are_allowed_one_has_to_be_named(log: Growing):
    words = ("--trust", "trust.toml", "--out", "acme.teelog")
    assert "which release" in log.run("bundle", "get", STREAM, *words, code=1).stderr
    withdraw(log)
    log.run("bundle", "get", STREAM, *words)
    assert held(log).release.index == 3


def test_a_withdrawn_release_gets_no_bundle_unless_it_is_asked_for(log: Growing):
    withdraw(log)
    ran = get(log, code=1)
    assert "the release is withdrawn: CVE-2026-1234" in ran.stderr
    assert not (log.folder / "acme.teelog").exists()
    get(log, "--withdrawn", code=1)
    shown = log.run("bundle", "show", "acme.teelog")
    assert "withdrawn: CVE-2026-1234" in shown.text
    ran = log.run("bundle", "show", "acme.teelog", "--trust", "trust.toml", code=1)
    assert "allowed-now: the release is withdrawn: CVE-2026-1234" in ran.stderr


@pytest.mark.parametrize("stale", ["main", "index"])
def test_a_log_that_is_not_fresh_gives_no_bundle(log: Growing, stale: str):
    view = log.ledger.publish(int(time.time()) - 7_200)
    log.peer.answers["/index/checkpoint" if stale == "index" else "/checkpoint"] = getattr(view, stale)
    if stale == "main":
        log.peer.answers[f"/index/v1/{view.index_size}/main"] = view.main
    ran = get(log, code=1)
    assert "error: fresh: " in ran.stderr
    assert not (log.folder / "acme.teelog").exists()


def test_show_verifies_nothing_and_says_so(log: Growing):
    get(log)
    ran = log.run("bundle", "show", "acme.teelog")
    assert "nothing is verified here" in ran.text
    assert "seq 0, index 4: allows it" in ran.text
    found = log.run("bundle", "show", "acme.teelog", "--json").json
    assert (found["schema"], found["verified"]) == ("teelog-bundle-content/v1", False)
    judged = log.run("bundle", "show", "acme.teelog", "--trust", "trust.toml", "--json").json
    assert judged["verified"] is True
    assert judged["checks"]["allowed-now"]["outcome"] == "verified"


@pytest.mark.parametrize("bad", [b"", b"\xa0", b"x" * 100])
def test_what_is_no_bundle_is_refused(log: Growing, bad: bytes):
    log.write("bad.teelog", bad)
    for words in (("show",), ("refresh", "--trust", "trust.toml")):
        ran = log.run("bundle", *words, "bad.teelog", code=1)
        assert "error: bad.teelog is no bundle: " in ran.stderr
        assert "next: teelog bundle get " in ran.stderr


# -- refresh ----------------------------------------------------------------------------------------------------------

REFRESH = ("bundle", "refresh", "acme.teelog", "--trust", "trust.toml", "--timeout", "600ms")


def test_refresh_takes_the_newest_of_everything(log: Growing):
    get(log)
    log.entries.append(b"more")
    log.serve()
    assert log.run(*REFRESH, "--json").json["written"] == 1
    assert held(log).release.index == 2
    assert b"\n6\n" in held(log).main_checkpoint


def test_refresh_of_a_withdrawn_release_says_so_in_the_file(log: Growing):
    get(log)
    withdraw(log)
    assert "the release is withdrawn: CVE-2026-1234" in log.run(*REFRESH, code=1).stderr
    assert held(log).status.index == 5


def test_a_log_that_is_down_and_no_witness_leaves_the_file(log: Growing):
    """The old bundle is still fresh: it is kept as it was cosigned."""
    get(log)
    before = (log.folder / "acme.teelog").read_bytes()
    log.peer.answers.clear()
    log.peer.fallback = Reply(status=503)
    ran = log.run(*REFRESH, "--json")
    assert ran.json["by_witnesses"] is True
    assert (log.folder / "acme.teelog").read_bytes() == before


def test_a_log_that_answers_nonsense_leaves_the_file_while_it_holds(log: Growing):
    """It is as good as down: its witnesses are asked, who have nothing newer here."""
    get(log)
    before = (log.folder / "acme.teelog").read_bytes()
    log.peer.fallback = Reply(b"{}")
    ran = log.run(*REFRESH)
    assert "as the log does not answer" in ran.stderr
    assert (log.folder / "acme.teelog").read_bytes() == before


def test_it_is_told_until_when_a_bundle_holds(log: Growing):
    found = get(log, "--json").json
    assert time.time() + 3_000 < found["until"] <= time.time() + 3_600
    assert found["ended"] is False
    assert f"holds         until {utc(found['until'])}" in log.run(*REFRESH).text
    withdraw(log)
    assert log.run(*REFRESH, "--json", code=1).json["until"] is None


def test_it_is_told_that_the_log_has_ended(log: Growing):
    get(log)
    frozen = make.log_policy.Frozen("log.example/next")
    prev = dsse.parse(log.entries[0]).statement_id
    log.entries.append(make.log_policy_file(version=1, prev=prev, frozen=frozen))
    log.lag = True
    log.serve()
    for ran in (get(log, "--json"), log.run(*REFRESH, "--json")):
        assert ran.json["ended"] is True
        assert "has ended: it takes nothing any more; its streams go on at log.example/next" in ran.stderr


def test_the_release_is_looked_for_where_the_old_bundle_has_it(log: Growing):
    get(log)
    log.peer.asked.clear()
    log.run(*REFRESH)
    assert not [each.path for each in log.peer.asked if "/list/" in each.path]


def until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail("\n".join(process.communicate()))
        time.sleep(0.02)


@pytest.fixture
def refreshing(log: Growing) -> Iterator[subprocess.Popen[str]]:
    get(log)
    words = [sys.executable, "-m", "teelog.cli.main", *REFRESH, "--every", "100ms"]
    with subprocess.Popen(
        words, cwd=log.folder, env={**os.environ}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def test_refresh_goes_on_until_it_is_told_to_stop(log: Growing, refreshing: subprocess.Popen[str]):
    path = log.folder / "acme.teelog"
    first = path.stat().st_mtime_ns
    until(lambda: path.stat().st_mtime_ns != first, refreshing)
    log.peer.answers, kept = {}, log.peer.answers
    fallback, log.peer.fallback = log.peer.fallback, Reply(status=503)
    asked = len(log.peer.asked)
    until(lambda: len(log.peer.asked) > asked + 3, refreshing)
    log.peer.answers, log.peer.fallback = kept, fallback
    withdraw(log)
    until(lambda: held(log).status.index == 5, refreshing)
    refreshing.send_signal(signal.SIGTERM)
    out, err = refreshing.communicate(timeout=120)
    assert refreshing.returncode == 0, err
    assert out.startswith("bundle        acme.teelog, written ")
    assert "as the log does not answer" in err
    assert "says so from now on: allowed-now: the release is withdrawn: CVE-2026-1234" in err
    assert not list(log.folder.glob(".acme.teelog*"))
