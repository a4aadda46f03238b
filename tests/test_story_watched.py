"""A watched log, with real processes: a stolen key shows, a fork is proven three times, a mirror outlives the log.

Nothing here waits for a time to pass: the monitor is driven look by look, and verdicts are asked for as of a moment.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from teelog import bundle as bundles
from teelog.appraisal.lifetime import fresh_until
from teelog.cli import demo_attacks, demo_hiding
from teelog.cli import trust as trusts
from teelog.cli.demo_machine import Machine, Report
from teelog.log_server.directory import LogDirectory
from teelog.statement import dsse
from teelog.tlog import note, rfc6962, witness
from teelog.witness import directory as witnesses
from teelog.witness.monitor.notify import webhook
from tests.client import logs
from tests.client.peers import Peer, Reply, peer
from tests.commands import Ran
from tests.story import INDEX, ORIGIN, POLICY, WITNESSES, World, world

NAMESPACE = "vault.example"
VAULT = f"{NAMESPACE}/inference/stable"
BY = ("--key", "build.key", *POLICY, *INDEX)


class Told:
    """The vendor, a verifier, a thief, a monitor and who is told by it."""

    def __init__(self, made: World, receiver: Peer) -> None:
        self.world = made
        self.receiver = receiver
        self.key = b""
        self.known: list[str] = []
        self.reports: dict[str, Report] = {}
        receiver.answers["/hook"] = Reply(status=204)

    def run(self, *words: object, code: int = 0, **more: Any) -> Ran:
        return self.world.run(*words, code=code, **more)

    # -- the vendor ---------------------------------------------------------------------------------------------------

    def set_up(self) -> None:
        """The owner's key is in a safe; the build has one that signs releases and says which are allowed."""
        for name in ("owner", "build"):
            self.run("key", "generate", "--name", NAMESPACE, "--out", f"{name}.key")
        roles = ("--owner", "owner.key", "--release", "build.key", "--status", "build.key", "--result", "verifier.key")
        self.run("namespace", "new", "--namespace", NAMESPACE, "--log", ORIGIN, *roles, "--out", "vault.json")
        self.run("log", "allow", "LOG", "vault.json")
        machine = Machine(self.world.folder, None)
        self.reports = dict(machine.put_reports(self.world.folder / "regs.json"))
        self.run("trust", "new", *POLICY, *INDEX, "--stream", VAULT, "--max-age", "1h", "--out", "trust.toml")
        self.run("trust", "pin", "trust.toml", "vault.json")
        roots = machine.roots()
        assert roots is not None
        self.world.file("trust.toml", self.world.read("trust.toml") + roots.encode())
        self.know("vault.json")

    def know(self, *files: str) -> None:
        """The vendor's own list of what its keys have signed."""
        self.known += [dsse.parse(self.world.read(file)).statement_id for file in files]
        self.world.file("known.txt", "\n".join(self.known).encode() + b"\n")

    def release(self, file: str, registers: str = "regs.json") -> None:
        self.world.publish(self.world.release(file, key="build.key", stream=VAULT, registers=registers))
        self.run("release", "allow", file, *BY, "--yes", "--out", f"status-{file}")

    # -- verifiers ----------------------------------------------------------------------------------------------------

    def verify(self, report: str, bundle: str, *more: object, code: int = 0) -> Ran:
        shown = self.reports[report]
        evidence = ("--evidence", f"{shown.name}.bin", "--endorsement", shown.certificates)
        words = ("--bundle", bundle, "--trust", "trust.toml", "--stream", VAULT, "--report-data", shown.report_data)
        return self.run("verify", *evidence, *words, "--without", "binding", *more, code=code)

    def bundle(self, release: str, *more: object, code: int = 0) -> str:
        name = f"{release}.teelog"
        wanted = dsse.parse(self.world.read(release)).statement_id
        self.run("bundle", "get", VAULT, "--release", wanted, "--trust", "trust.toml", "--out", name, *more, code=code)
        return name

    def holds_until(self, bundle: str) -> int:
        trust = trusts.load(str(self.world.folder / "trust.toml"))
        found = fresh_until(bundles.parse(self.world.read(bundle)), trust)
        assert found is not None
        return found

    # -- the monitor --------------------------------------------------------------------------------------------------

    def look(self, code: int) -> Any:
        return self.run("monitor", "run", "M", "--polls", "1", "--json", code=code).json

    def told(self) -> list[dict[str, Any]]:
        """What the webhook has had, each verified as a receiver does, and once."""
        found = {}
        for asked in self.receiver.asked:
            webhook.verify(self.key, asked.headers, asked.body, int(time.time()))
            alert = json.loads(asked.body)
            found[asked.headers["Teelog-Alert"]] = alert
        return list(found.values())

    def kinds(self) -> list[tuple[str, int | None]]:
        return [(alert["kind"], alert["index"]) for alert in self.told()]


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    settings = {"republish_s": "1", "checkpoint_ms": "200", "batch_ms": "50"}
    with world(tmp_path.resolve(), index=True, settings=settings) as made, peer() as receiver:
        yield Told(made, receiver)


def forge(told: Told) -> dict[str, str]:
    """A copy of the stopped log with another last entry, signed by its own key and by those of three witnesses.

    Returns what the running witnesses answer who are asked to cosign that themselves.
    """
    folder, forged = told.world.folder, told.world.folder / "FORGED"
    directory = LogDirectory(folder / "LOG")
    shutil.copytree(directory.public, forged)
    entries = [*demo_hiding.read_entries(forged)[:-1], b"nothing was ever withdrawn"]
    for path, data in logs.files(entries).items():
        (forged / path).write_bytes(data)
    now = int(time.time())
    root = rfc6962.root_of_leaves(map(rfc6962.leaf_hash, entries))
    body, lines = directory.signer(ORIGIN).sign(len(entries), root, now)
    stolen = [signer for name in WITNESSES[:3] for signer in witnesses.load(folder / name).signers]
    cosigned = [*lines, *(signer.sign(body, now) for signer in stolen)]
    (forged / "checkpoint").write_bytes(note.encode(body, cosigned))
    request = witness.AddCheckpoint(len(entries), (), note.encode(body, lines)).encode()
    return asyncio.run(demo_attacks.ask(request, {name: told.world.ports[name] for name in WITNESSES}))


def test_a_stolen_key_shows_a_fork_is_proven_and_a_mirror_outlives_the_log(told: Told):
    folder, run = told.world.folder, told.run
    told.set_up()

    # A vendor publishes, verifiers' results arrive, and nobody has to be told of anything.
    told.release("good.json")
    told.know("good.json", "status-good.json")
    good = told.bundle("good.json")
    for report, code in (("report", 0), ("debug", 1)):
        out = ("--result-key", "verifier.key", "--result-out", f"{report}.jwt")
        told.verify(report, good, *out, code=code)
    run("result", "publish", "report.jwt", "debug.jwt", *POLICY)
    assert run("lookup", "signer", "verifier.key.pub", *POLICY, *INDEX, "--json").json["count"] == 2
    mirror = ("log", "mirror", told.world.url(), "MIRROR", *POLICY)
    run(*mirror)
    run("monitor", "init", "M", *POLICY, *INDEX, "--mirror", "MIRROR")
    run("monitor", "watch", "M", "namespace", NAMESPACE, "--known", "known.txt")
    hook = f"{told.receiver.url}/hook"
    told.key = bytes.fromhex(run("monitor", "notify", "M", "webhook", hook, "--local", "--json").json["key"])
    told.look(0)
    assert told.kinds() == []

    # The build's key is stolen and used: verifiers take the thief's program, until the vendor is told of it.
    measured = json.loads(told.world.read("regs.json"))
    shown = run("evidence", "show", "another.bin", "--json").json
    measured["variants"] = measured["variants"][:1]
    measured["variants"][0]["registers"] = {"measurement": shown["registers"]["measurement"]}
    told.world.file("evil-regs.json", json.dumps(measured).encode())
    told.release("evil.json", registers="evil-regs.json")
    evil = told.bundle("evil.json")
    told.verify("another", evil)
    told.look(1)
    told.look(1)
    assert sorted(told.kinds()) == [("unexpected", 7), ("unexpected", 8)]
    assert told.told()[0]["about"] == VAULT

    # The vendor takes the key out of use and withdraws, and verifiers refuse.
    run("key", "generate", "--name", NAMESPACE, "--out", "new.key")
    roles = ("--add", "status=new.key.pub", "--add", "release=new.key.pub", "--retire", "build.key.pub")
    rotate = ("namespace", "rotate", "vault.json", *roles, "--key", "owner.key", "--out", "vault2.json")
    run(*rotate, "--publish", "--status-key", "new.key", *POLICY, *INDEX)
    new = ("--key", "new.key", *POLICY, *INDEX)
    withdrawn = dsse.parse(told.world.read("evil.json")).statement_id
    withdraw = ("release", "withdraw", withdrawn, "--stream", VAULT, "--cause", "stolen key", "--out", "withdraw.json")
    run(*withdraw, *new)
    told.known.append(run("entry", 10, *POLICY, "--json").json["statement"]["statement_id"])
    told.know("vault2.json", "withdraw.json")
    told.bundle("evil.json", "--withdrawn", code=1)
    assert "allowed-now: the release is withdrawn: stolen key" in told.verify("another", evil, code=1).stderr
    told.verify("report", told.bundle("good.json"))
    run(*mirror)
    told.look(1)
    assert sorted(told.kinds()) == [("unexpected", 7), ("unexpected", 8)]  # the rest the vendor has signed itself
    told.world.servers.stop("LOG")

    # The log is replaced by a forked copy, and three of its witnesses' keys are stolen as well.
    answers = forge(told)
    assert list(answers.values()) == ["422 same size, another root: the log has forked"] * 4
    with demo_hiding.served(folder / "FORGED", told.world.ports["LOG"]):
        told.look(5)
        run("entry", 1, *POLICY, code=5)
    assert [alert["severity"] for alert in told.told() if alert["kind"] == "fork"] == ["crime"]
    run("witness", "forks", "W4", "--out", "forks")
    proofs = [next((folder / place).glob("*.teelog-fork")) for place in ("M/evidence", "client-state/forks", "forks")]

    # The log is gone for good. The proofs need nobody.
    for proof in proofs:
        run("fork", "verify", proof, *POLICY)
    # What it said is read from the mirror; its witnesses, as long as there are any, say that nothing newer was seen.
    mirrored = {"env": {"TEELOG_MIRROR": "MIRROR"}}
    run("entry", 11, *POLICY, **mirrored)
    listed = run("release", "list", VAULT, *POLICY, "--json", **mirrored).json["status"]
    assert ([each["version"] for each in listed["allowed"]], listed["revoked"][0]["cause"]) == (["1.0.1"], "stolen key")
    before = told.holds_until("good.json.teelog")
    refresh = ("bundle", "refresh", "good.json.teelog", "--trust", "trust.toml", "--timeout", "1s", "--json")
    assert run(*refresh, **mirrored).json["by_witnesses"] is True
    told.verify("report", "good.json.teelog")
    # Without them verifiers go on until the max age, and no longer.
    told.world.servers.stop()
    end = told.holds_until("good.json.teelog")
    assert end >= before
    for moment, code in ((end, 0), (end + 1, 1)):
        at = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ran = told.verify("report", "good.json.teelog", "--at", at, "--historical", code=code)
        assert ("error: fresh: " in ran.stderr) is (code == 1)
    # The monitor says that it sees the log no more, how far it has looked, and what it holds against it.
    seen = told.look(5)
    assert [view["role"] for view in seen["views"] if view["trouble"] is None] == ["mirror"]
    assert seen["looked"]["size"] == 12
