"""A machine's evidence against a running log: measured, published, witnessed, verified offline; the verdict published.

With the vectors at hand the machine is a real one, and AMD's own signature is what holds; else it is a fake one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from teelog.testing.sev_snp import Machine, authority
from tests.story import POLICY, STREAM, World, world
from tests.vectors import vectors

FAKE = Machine()
REAL = "evidence/derived/snp/milan-v3-dstack"
REPORT_DATA = 0x50


@dataclass
class Deployed:
    """A world whose release is what a machine runs, and that machine's files."""

    world: World
    report: bytes
    report_data: str

    def verify(self, *more: object, code: int, report: bytes | None = None, **options: object):
        self.world.file("report.bin", self.report if report is None else report)
        given = {
            "evidence": "report.bin",
            "endorsement": "endorsement",
            "statement": "machine.json",
            "proof": "machine.json.tlog-proof",
            "namespace": "ns.json",
            "namespace-proof": "ns.tlog-proof",
            "trust": "trust.toml",
            "stream": STREAM,
            "report-data": self.report_data,
            **options,
        }
        return self.world.run(
            "verify", *(word for name in given for word in (f"--{name}", given[name])), *more, code=code
        )


WAIVED = ("--without", "allowed-now", "--without", "binding")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("machine").resolve()) as made:
        made.run("proof", "get", "ns.json", *POLICY, "--out", "ns.tlog-proof")
        made.run("trust", "new", *POLICY, "--stream", STREAM, to="trust.toml")
        made.run("trust", "pin", "trust.toml", "ns.json")
        yield made


def deploy(running: World, launch: Path | None, registers: str | None) -> None:
    """A release with what the launch measures to, or with these registers."""
    if launch is not None:
        running.run("measure", "sev-snp", "--launch", launch, "--json", to="machine-regs.json")
        measured = json.loads(running.read("machine-regs.json"))
        assert measured is not None
    else:
        measured = json.loads(running.read("regs.json"))
        variants = measured["variants"][:1]
        variants[0]["registers"] = {"measurement": registers}
        running.file("machine-regs.json", json.dumps(measured | {"variants": variants}).encode())
    running.versions += 1
    what = ("--stream", STREAM, "--version", f"2.0.{running.versions}", "--svn", running.versions)
    running.run("release", "new", *what, "--registers", "machine-regs.json", "--out", "machine.json")
    running.run("release", "sign", "machine.json", "--key", "acme.key")
    running.publish("machine.json")


def trust_roots(running: World, root: bytes | None) -> None:
    """The trust file with the vendor's own roots, or with this one in their place."""
    text = running.read("trust.toml").decode().partition("\n[platform")[0]
    if root is not None:
        text += f'\n[platform.sev-snp]\nroots = {{ Milan = "{hashlib.sha256(root).hexdigest()}" }}\n'
    running.file("trust.toml", text.encode())


@pytest.fixture(params=["real", "fake"])
def deployed(request: pytest.FixtureRequest, running: World) -> Deployed:
    if request.param == "real":
        report = vectors(f"{REAL}.report.bin").read_bytes()
        deploy(running, vectors("measure/sev-snp/dstack-expected.json"), None)
        running.file("endorsement", vectors(f"{REAL}.vcek.der").read_bytes())
        trust_roots(running, None)
        return Deployed(running, report, report[REPORT_DATA : REPORT_DATA + 64].hex())
    deploy(running, None, hashlib.sha384(b"measurement").hexdigest())
    running.file("endorsement", FAKE.chain())
    trust_roots(running, authority("ark", "Milan"))
    return Deployed(running, FAKE.report(report_data=b"challenge"), b"challenge".hex())


def test_the_machine_verifies_with_the_two_waivers_named(deployed: Deployed):
    shown = deployed.verify(*WAIVED, "--json", code=0).json
    assert shown["verdict"] == "verified-with-waivers"
    assert shown["waived"] == ["binding", "allowed-now"]
    others = {name: check["outcome"] for name, check in shown["checks"].items() if name not in shown["waived"]}
    assert set(others.values()) == {"verified"}, others


def test_without_waivers_it_is_not_established(deployed: Deployed):
    shown = deployed.verify("--json", code=3).json
    assert shown["verdict"] == "not established"
    open_ = [name for name, check in shown["checks"].items() if check["outcome"] != "verified"]
    assert open_ == ["binding", "allowed-now", "fresh"]


def test_every_attack_is_refused_with_its_cause(deployed: Deployed):
    def decisive(code: int, *more: object, **changes: object) -> str:
        ran = deployed.verify(*(more or WAIVED), "--json", code=code, **changes)  # type: ignore[arg-type]
        checks = ran.json["checks"]
        return next(
            name for name, check in checks.items() if check["outcome"] == ("failed" if code == 1 else "not established")
        )

    flipped = bytearray(deployed.report)
    flipped[0x90] ^= 1
    assert decisive(1, report=bytes(flipped)) == "hardware"
    assert decisive(1, **{"report-data": "00" * 64}) == "freshness"
    deployed.world.file("output.json", b"an output that nobody bound")
    assert decisive(1, "--without", "allowed-now", "--binds", "output.json") == "binding"
    # The release that the other tests published: another program's.
    other = deployed.world.release("another-program.json")
    deployed.world.publish(other)
    assert decisive(1, statement=other, proof=f"{other}.tlog-proof") == "measurement"
    assert decisive(1, proof=f"{other}.tlog-proof") == "logged"


def test_a_debug_report_of_the_fake_machine_is_refused(running: World, request: pytest.FixtureRequest):
    deploy(running, None, hashlib.sha384(b"measurement").hexdigest())
    trust_roots(running, authority("ark", "Milan"))
    running.file("endorsement", FAKE.chain())
    debug = FAKE.report(report_data=b"challenge", guest_policy=0xB0000)
    shown = Deployed(running, debug, b"challenge".hex()).verify(*WAIVED, "--json", code=1).json
    assert shown["checks"]["configuration"]["outcome"] == "failed"
    assert shown["checks"]["hardware"]["outcome"] == "verified"


def test_the_verdict_is_on_the_log_and_its_proof_verifies(deployed: Deployed):
    running = deployed.world
    deployed.verify(*WAIVED, "--result-key", "verifier.key", "--result-out", "result.jwt", code=0)
    running.run("result", "publish", "result.jwt", *POLICY, "--out", "result.tlog-proof")
    again = running.run("result", "publish", "result.jwt", *POLICY, "--out", "result.tlog-proof", "--json")
    assert again.json["new"] is False
    ran = running.run("proof", "verify", "result.jwt", "--proof", "result.tlog-proof", *POLICY)
    assert "attestation result of acme.example" in ran.text
    shown = running.run("result", "show", "result.jwt", "--key", "verifier.key.pub", "--json").json
    assert shown["judged"]["log"] == "log.example/tee"
    found = running.run("entry", again.json["index"], *POLICY, "--json").json
    assert found["statement"]["kind"] == "result"
    assert found["statement"]["statement_id"] == shown["statement_id"]


def test_a_result_by_a_key_without_the_role_is_not_admitted(deployed: Deployed):
    running = deployed.world
    deployed.verify(*WAIVED, "--result-key", "acme.key", "--result-out", "stolen.jwt", code=0)
    ran = running.run("result", "publish", "stolen.jwt", *POLICY, "--out", "stolen.tlog-proof", code=1)
    assert "403" in ran.stderr
