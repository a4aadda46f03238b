"""What is allowed now, with real processes: a release is allowed, another withdrawn, and nobody can keep that back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from teelog import bundle as bundles
from teelog.appraisal.lifetime import fresh_until
from teelog.cli import demo_hiding
from teelog.cli import trust as trusts
from teelog.cli.demo_machine import Machine
from tests.commands import Ran
from tests.story import INDEX, POLICY, SEMANTIC, STREAM, World, world

MAX_AGE = 4  # seconds, of the trust file "short"
BY = ("--key", "acme.key", *POLICY, *INDEX)


class Vendor:
    """One telling. moments: when each step had taken effect."""

    def __init__(self, made: World) -> None:
        self.world = made
        self.moments: dict[str, datetime] = {}
        self.machine = Machine(made.folder, None)
        self.report = self.machine.put_reports(made.folder / "regs.json")["report"]
        for name, age in (("trust.toml", "1h"), ("short.toml", f"{MAX_AGE}s")):
            new = ("--policy", "policy.txt", "--index-policy", "index.txt", "--stream", STREAM, "--max-age", age)
            made.run("trust", "new", *new, "--out", name)
            made.run("trust", "pin", name, "ns.json")
            roots = self.machine.roots()
            assert roots is not None
            made.file(name, made.read(name) + roots.encode())

    def publish(self, version: str, svn: int) -> None:
        file = f"{version}.json"
        what = ("--stream", STREAM, "--version", version, "--svn", svn, "--registers", "regs.json")
        self.world.run("release", "new", *what, "--out", file)
        self.world.run("release", "sign", file, "--key", "acme.key")
        self.world.publish(file)

    def mark(self, name: str) -> None:
        """A moment at which the last step had surely taken effect, and the next one surely had not."""
        time.sleep(1.1)  # cosignatures and --at count in seconds
        self.moments[name] = datetime.now(UTC).replace(microsecond=0)
        time.sleep(1.1)

    def get(self, version: str, *more: object, out: str | None = None, code: int = 0) -> str:
        name = out or f"{version}.teelog"
        words = ("--release", version, "--trust", "trust.toml", "--out", name, *more)
        self.world.run("bundle", "get", STREAM, *words, code=code)
        return name

    def verify(self, bundle: str, *more: object, trust: str = "trust.toml", code: int = 0) -> Ran:
        report = self.report
        evidence = ("--evidence", f"{report.name}.bin", "--endorsement", report.certificates)
        words = ("--bundle", bundle, "--trust", trust, "--stream", STREAM, "--report-data", report.report_data)
        return self.world.run("verify", *evidence, *words, "--without", "binding", *more, code=code)

    def holds_until(self, bundle: str) -> int:
        """The last second at which a verifier with short.toml takes it."""
        found = fresh_until(bundles.parse(self.world.read(bundle)), trusts.load(str(self.world.folder / "short.toml")))
        assert found is not None
        return found

    def verify_fresh(self, bundle: str) -> None:
        """That short.toml takes it as long as it holds: at that second, not by the time that this machine needs."""
        at = datetime.fromtimestamp(self.holds_until(bundle), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.verify(bundle, "--at", at, "--historical", trust="short.toml")

    def listed(self, *more: object) -> list[str]:
        found = self.world.run("release", "list", STREAM, *POLICY, *INDEX, "--json", *more).json
        return [] if found["status"] is None else sorted(each["version"] for each in found["status"]["allowed"])


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    settings = {"republish_s": "1", "checkpoint_ms": "200", "batch_ms": "50"}
    with world(tmp_path_factory.mktemp("allowed").resolve(), index=True, settings=settings) as made:
        yield Vendor(made)


@pytest.fixture(scope="module")
def told(acme: Vendor) -> dict[str, Any]:
    """1.4.2 is allowed; 1.4.3 beside it; 1.4.2 is withdrawn."""
    acme.mark("nothing")
    acme.publish("1.4.2", 3)
    acme.world.run("release", "allow", "1.4.2.json", *BY, "--yes")
    acme.mark("1.4.2")
    acme.publish("1.4.3", 4)
    acme.world.run("release", "allow", "1.4.3.json", *BY, "--yes", "--max-age", "1h")
    acme.mark("both")
    acme.get("1.4.2", out="old.teelog")
    acme.verify("old.teelog")
    ran = acme.world.run("release", "withdraw", f"{STREAM}@1.4.2", "--cause", "CVE-2026-1234", *BY)
    acme.mark("1.4.3")
    return {"withdrawn": ran}


def test_the_withdrawal_says_when_it_binds(acme: Vendor, told: dict[str, Any]):
    text = told["withdrawn"].text
    by = next(line for line in text.splitlines() if line.startswith("binding for every verifier by "))
    moment = datetime.fromisoformat(by.rpartition(" ")[2]).timestamp()
    # The status before asks for an hour. The one before that, for a day, allows what is withdrawn as well: a bundle of
    # it is believed for a day from when the next one was seen, whatever came after.
    first, second = (acme.moments[name].timestamp() for name in ("1.4.2", "both"))
    assert first + 86_400 <= moment <= second + 86_400


def test_the_old_bundle_is_refused_once_stale_and_the_new_one_says_why(acme: Vendor, told: dict[str, Any]):
    while time.time() < acme.holds_until("old.teelog") + 1:
        time.sleep(0.2)
    assert "error: fresh: " in acme.verify("old.teelog", trust="short.toml", code=1).stderr
    new = acme.get("1.4.2", "--withdrawn", out="new.teelog", code=1)
    assert "allowed-now: the release is withdrawn: CVE-2026-1234" in acme.verify(new, code=1).stderr
    acme.verify_fresh(acme.get("1.4.3"))


def test_the_list_answers_for_each_moment_and_each_size(acme: Vendor, told: dict[str, Any]):
    expected = {"nothing": [], "1.4.2": ["1.4.2"], "both": ["1.4.2", "1.4.3"], "1.4.3": ["1.4.3"]}
    assert acme.listed() == ["1.4.3"]
    for name, versions in expected.items():
        assert acme.listed("--at", acme.moments[name].strftime("%Y-%m-%dT%H:%M:%SZ")) == versions, name


def test_an_idle_log_stays_fresh_for_three_max_ages(acme: Vendor, told: dict[str, Any]):
    acme.get("1.4.3", out="idle.teelog")
    end = acme.holds_until("idle.teelog") + 3 * MAX_AGE
    acme.world.servers.start(
        "REFRESH", ["bundle", "refresh", "idle.teelog", "--trust", "short.toml", "--every", "1s", "--timeout", "1s"]
    )
    try:
        deadline = time.monotonic() + 120
        while acme.holds_until("idle.teelog") < end:
            assert time.monotonic() < deadline, acme.world.read("REFRESH.log").decode()
            time.sleep(0.3)
        acme.verify_fresh("idle.teelog")
    finally:
        acme.world.servers.stop("REFRESH")


def test_without_the_log_its_witnesses_keep_a_bundle_fresh(acme: Vendor, told: dict[str, Any]):
    bundle = acme.get("1.4.3", out="down.teelog")
    acme.world.servers.stop("LOG")
    try:
        acme.verify_fresh(bundle)
        end = acme.holds_until(bundle)
        while time.time() < end + 1:
            time.sleep(0.2)
        acme.verify(bundle, trust="short.toml", code=1)
        refresh = ("bundle", "refresh", bundle, "--trust", "short.toml", "--timeout", "500ms", "--json")
        assert acme.world.run(*refresh).json["by_witnesses"] is True
        assert acme.holds_until(bundle) > end
        acme.verify_fresh(bundle)
    finally:
        acme.world.start("LOG")


def test_a_status_key_is_rotated_and_no_stream_is_left_without_a_status(acme: Vendor, told: dict[str, Any]):
    run = acme.world.run
    for name in ("g-owner", "g-old", "g-new"):
        run("key", "generate", "--name", "globex.example", "--out", f"{name}.key")
    roles = ("--owner", "g-owner.key", "--release", "g-owner.key", "--status", "g-old.key")
    run("namespace", "new", "--namespace", "globex.example", "--log", "log.example/tee", *roles, "--out", "g.json")
    run("log", "allow", "LOG", "g.json")
    stream = "globex.example/a/b"
    what = ("--stream", stream, "--version", "1", "--svn", 0, "--registers", "regs.json", "--out", "g-release.json")
    run("release", "new", *what)
    run("release", "sign", "g-release.json", "--key", "g-owner.key")
    acme.world.publish("g-release.json")
    run("release", "allow", "g-release.json", "--key", "g-old.key", *POLICY, *INDEX, "--yes")
    change = ("--add", "status=g-new.key.pub", "--remove", "g-old.key.pub", "--key", "g-owner.key", "--out", "g2.json")
    ran = run("namespace", "rotate", "g.json", *change, "--publish", "--status-key", "g-new.key", *POLICY, *INDEX)
    assert "is published, with 1 statuses" in ran.text
    shown = run("namespace", "show", "globex.example", *POLICY, *INDEX, "--json").json
    assert [each["version"] for each in shown["versions"]] == [0, 1]
    listed = run("release", "list", stream, *POLICY, *INDEX, "--json").json["status"]
    assert (listed["seq"], [each["version"] for each in listed["allowed"]]) == (1, ["1"])
    new = ("--policy", "policy.txt", "--index-policy", "index.txt", "--stream", stream, "--out", "g-trust.toml")
    run("trust", "new", *new)
    run("trust", "pin", "g-trust.toml", "g.json")
    run("bundle", "get", stream, "--trust", "g-trust.toml", "--out", "g.teelog")
    shown = run("bundle", "show", "g.teelog", "--trust", "g-trust.toml", "--json").json
    assert shown["verified"] is True
    assert len(shown["namespaces"]) == 2
    old = run("release", "renew", stream, "--key", "g-old.key", *POLICY, *INDEX, code=1)
    assert "error: " in old.stderr
    assert acme.world.run("release", "list", stream, *POLICY, *INDEX, "--json").json["status"]["seq"] == 1


def test_a_log_that_hides_a_withdrawal_gets_no_semantic_quorum_and_is_caught(acme: Vendor, told: dict[str, Any]):
    world = acme.world
    log = world.ports["LOG"]
    world.servers.stop("LOG")
    world.servers.start("LOG", ["log", "serve", "LOG", "--listen", f"127.0.0.1:{log}", *POLICY])
    world.servers.wait("LOG")
    withdraw = ("release", "withdraw", f"{STREAM}@1.4.3", "--cause", "CVE-2026-2345", "--key", "acme.key", *POLICY)
    world.run(*withdraw, "--no-wait")
    world.servers.stop("LOG")
    request = demo_hiding.hide(world.folder / "LOG", world.folder / "LIAR")
    found = demo_hiding.answers(request, world.folder / "LIAR", log, {name: world.ports[name] for name in SEMANTIC})
    assert [answer.partition(":")[0] for answer in found.values()] == ["422 map-root"] * 3
    world.run("checkpoint", "verify", "LIAR/index/checkpoint", "--policy", "index.txt", code=1)
    # Another client: who has seen the lie finds a second tree in every honest index that follows.
    other = {"TEELOG_STATE": str(world.folder / "monitor-state")}
    ran = world.run("monitor", "once", "LIAR", *POLICY, *INDEX, code=5, env=other)
    proof = ran.stderr.rpartition("next: teelog fork verify ")[2].strip()
    assert (world.folder / proof).is_file()
    world.run("monitor", "once", "LOG", *POLICY, *INDEX)
    world.start("LOG")
    world.run(*withdraw, *INDEX)  # published already: it waits until the honest index covers it
    assert acme.listed() == []
