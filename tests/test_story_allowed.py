"""What is allowed now, with real processes: a release is allowed, another withdrawn, and nobody can keep that back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from teelog.cli.demo_machine import Machine
from tests.commands import Ran
from tests.story import INDEX, POLICY, STREAM, World, world

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
    return {"withdrawn": ran, "at": time.time()}


def test_the_withdrawal_says_when_it_binds(acme: Vendor, told: dict[str, Any]):
    text = told["withdrawn"].text
    by = next(line for line in text.splitlines() if line.startswith("binding for every verifier by "))
    moment = datetime.fromisoformat(by.rpartition(" ")[2]).timestamp()
    assert told["at"] + 3600 - 60 < moment <= told["at"] + 3600


def test_the_old_bundle_is_refused_once_stale_and_the_new_one_says_why(acme: Vendor, told: dict[str, Any]):
    while time.time() < told["at"] + MAX_AGE + 1:
        time.sleep(0.2)
    assert "error: fresh: " in acme.verify("old.teelog", trust="short.toml", code=1).stderr
    new = acme.get("1.4.2", "--withdrawn", out="new.teelog", code=1)
    assert "allowed-now: the release is withdrawn: CVE-2026-1234" in acme.verify(new, code=1).stderr
    other = acme.get("1.4.3")
    acme.verify(other, trust="short.toml")


def test_the_list_answers_for_each_moment_and_each_size(acme: Vendor, told: dict[str, Any]):
    expected = {"nothing": [], "1.4.2": ["1.4.2"], "both": ["1.4.2", "1.4.3"], "1.4.3": ["1.4.3"]}
    assert acme.listed() == ["1.4.3"]
    for name, versions in expected.items():
        assert acme.listed("--at", acme.moments[name].strftime("%Y-%m-%dT%H:%M:%SZ")) == versions, name


def test_an_idle_log_stays_fresh_for_three_max_ages(acme: Vendor, told: dict[str, Any]):
    start = time.time()
    acme.get("1.4.3", out="idle.teelog")
    acme.world.servers.start(
        "REFRESH", ["bundle", "refresh", "idle.teelog", "--trust", "short.toml", "--every", "1s", "--timeout", "1s"]
    )
    try:
        while time.time() < start + 3 * MAX_AGE:
            acme.verify("idle.teelog", trust="short.toml")
            time.sleep(0.3)
    finally:
        acme.world.servers.stop("REFRESH")


def test_without_the_log_its_witnesses_keep_a_bundle_fresh(acme: Vendor, told: dict[str, Any]):
    bundle = acme.get("1.4.3", out="down.teelog")
    acme.world.servers.stop("LOG")
    try:
        while time.time() < told["at"] + MAX_AGE + 1:
            time.sleep(0.2)
        acme.verify(bundle, trust="short.toml")
        time.sleep(MAX_AGE + 1)
        acme.verify(bundle, trust="short.toml", code=1)
        refresh = ("bundle", "refresh", bundle, "--trust", "short.toml", "--timeout", "500ms", "--json")
        assert acme.world.run(*refresh).json["by_witnesses"] is True
        acme.verify(bundle, trust="short.toml")
    finally:
        acme.world.start("LOG")
