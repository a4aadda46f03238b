"""A machine against the log, with real processes: what it runs is measured, published and witnessed; it verifies.

Told twice. With AMD's own signed report of a machine whose launch inputs are known, where the shared vectors are at
hand; and in every clone with a forged one, whose roots the trust file names.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from teelog.cli import demo_attacks
from teelog.evidence.sev_snp.report import SIZE
from teelog.statement import ear, jws
from teelog.statement.admit import classify
from teelog.testing.sev_snp import Machine, authority
from tests.commands import Ran, teelog_process
from tests.story import ORIGIN, POLICY, STREAM, World, world
from tests.vectors import vectors

WAIVED = ("allowed-now", "binding")
OTHER_STREAM = "acme.example/inference/beta"
DEBUG_POLICY = 0xB0000
MEASUREMENT = slice(0x90, 0xC0)
REPORT_DATA = slice(0x50, 0x90)


@dataclass(frozen=True)
class Report:
    """Evidence and its endorsement, as files; report_data in hex."""

    evidence: str
    endorsement: str
    report_data: str


@dataclass(frozen=True)
class Told:
    """One telling. kind: names its files. floor: the machine's own firmware, the highest that it satisfies."""

    world: World
    kind: str
    good: Report
    another_program: Report
    debug: Report
    stranger: str
    floor: dict[str, int]

    @property
    def release(self) -> str:
        return f"{self.kind}-release.json"

    @property
    def trust(self) -> str:
        return f"{self.kind}-trust.toml"

    @property
    def namespace_proof(self) -> str:
        return f"{self.kind}-ns.tlog-proof"

    def prove(self) -> None:
        """The proofs of release and namespace, for one checkpoint."""
        outs = "--out", f"{self.release}.tlog-proof", "--out", self.namespace_proof
        self.world.run("proof", "get", self.release, "ns.json", *POLICY, *outs)

    def verify(
        self, *more: str, code: int = 0, report: Report | None = None, without: tuple[str, ...] = WAIVED, **changes: Any
    ) -> Ran:
        """`teelog verify` as a process of its own. changes: of its options, None leaves one out."""
        shown = report or self.good
        options: dict[str, Any] = {
            "evidence": shown.evidence,
            "endorsement": shown.endorsement,
            "statement": self.release,
            "proof": f"{self.release}.tlog-proof",
            "namespace": "ns.json",
            "namespace_proof": self.namespace_proof,
            "trust": self.trust,
            "stream": STREAM,
            "report_data": shown.report_data,
            "state": "client-state",
            **changes,
        }
        words = [w for name, value in options.items() if value for w in (f"--{name.replace('_', '-')}", str(value))]
        waived = [word for name in without for word in ("--without", name)]
        ran = teelog_process("verify", *words, *waived, *more, cwd=self.world.folder)
        assert ran.code == code, ran.text + ran.stderr
        assert "Traceback" not in ran.stderr
        return ran

    def with_trust(self, **changes: str) -> str:
        """A copy of the trust file in which the first line ``name = ...`` is another."""
        lines = (self.world.folder / self.trust).read_text().split("\n")
        for name, value in changes.items():
            place = next(n for n, line in enumerate(lines) if line.startswith(f"{name} = "))
            lines[place] = f"{name} = {value}"
        return self.world.file("changed-trust.toml", "\n".join(lines).encode())


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("machine").resolve()) as made:
        yield made


@pytest.fixture(scope="module", params=["amd", "forged"])
def told(acme: World, request: pytest.FixtureRequest) -> Told:
    made = _amd(acme) if request.param == "amd" else _forged(acme)
    acme.release(made.release, registers=f"{made.kind}-regs.json")
    acme.publish(made.release)
    made.prove()
    streams = ("--stream", STREAM, "--stream", OTHER_STREAM)
    acme.run("trust", "new", *POLICY, *streams, "--out", made.trust)
    acme.run("trust", "pin", made.trust, "ns.json")
    text = acme.read(made.trust).decode()
    floor = ", ".join(f"{name} = {value}" for name, value in made.floor.items())
    text = text.replace("min_svn = 0", "min_svn = 0\ndeny = []", 1)
    text += f"\n[platform.sev-snp]\nmin_tcb = {{ {floor} }}\n"
    if made.kind == "forged":
        text += f'roots = {{ Milan = "{hashlib.sha256(authority("ark", "Milan")).hexdigest()}" }}\n'
    acme.file(made.trust, text.encode())
    return made


def _amd(acme: World) -> Told:
    """AMD's signature over a real machine; its launch inputs are known, so what it runs is measured from them."""
    known = json.loads(vectors("measure/sev-snp/dstack-expected.json").read_bytes())
    acme.file("launch.json", json.dumps(known["inputs"]).encode())
    acme.run("measure", "sev-snp", "--launch", "launch.json", "--json", to="amd-regs.json")

    def real(name: str, evidence: str, endorsement: str) -> Report:
        report = vectors(f"evidence/{evidence}").read_bytes()
        acme.file(f"amd-{name}.bin", report)
        acme.file(f"amd-{name}.der", vectors(f"evidence/{endorsement}").read_bytes())
        return Report(f"amd-{name}.bin", f"amd-{name}.der", report[REPORT_DATA].hex())

    derived = "derived/snp/{}.report.bin", "derived/snp/{}.vcek.der"
    good = real("report", *(path.format("milan-v3-dstack") for path in derived))
    assert acme.read(good.evidence)[MEASUREMENT].hex() == known["expected"]
    another = real("another", *(path.format("az-evidence-v1") for path in derived))
    debug = real("debug", "snp/go-sev-guest/attestation.bin", "snp/go-sev-guest/vcek.testcer")
    floor = {"bl": 4, "tee": 0, "snp": 23, "ucode": 213}
    return Told(acme, "amd", good, another, debug, another.endorsement, floor)


def _forged(acme: World) -> Told:
    acme.file("forged-regs.json", acme.read("regs.json"))
    machine = Machine()
    runs = bytes.fromhex(json.loads(acme.read("regs.json"))["variants"][1]["registers"]["measurement"])
    acme.file("forged.pem", machine.chain())
    acme.file("forged-stranger.pem", Machine(seed=b"2").chain())

    def forge(name: str, **fields: Any) -> Report:
        data = hashlib.sha256(name.encode()).digest()
        acme.file(f"forged-{name}.bin", machine.report(report_data=data, **{"measurement": runs, **fields}))
        return Report(f"forged-{name}.bin", "forged.pem", data.hex())

    another = forge("another", measurement=bytes(48))
    debug = forge("debug", guest_policy=DEBUG_POLICY)
    floor = {"bl": 4, "tee": 0, "snp": 24, "ucode": 219}
    return Told(acme, "forged", forge("report"), another, debug, "forged-stranger.pem", floor)


def outcomes(ran: Ran) -> dict[str, str]:
    return {name: check["outcome"] for name, check in ran.json["checks"].items()}


# -- the promise ------------------------------------------------------------------------------------------------------


def test_the_machines_report_verifies_against_what_was_measured_published_and_witnessed(told: Told):
    ran = told.verify("--json")
    assert ran.json["verdict"] == "verified-with-waivers"
    assert sorted(ran.json["waived"]) == sorted(WAIVED)
    assert {name: outcome for name, outcome in outcomes(ran).items() if outcome != "verified"} == {
        "allowed-now": "off",
        "binding": "off",
    }
    assert ran.json["release"] == classify(told.world.read(told.release)).statement_id
    assert (ran.json["log"], ran.json["platform"]) == (ORIGIN, "sev-snp")
    said = told.verify()
    assert "VERIFIED-WITH-WAIVERS: binding, allowed-now waived" in said.text
    assert ("own roots, not by the vendor's" in said.stderr) == (told.kind == "forged")


def test_proofs_that_were_fetched_one_after_the_other_are_not_known_to_be_of_one_log(told: Told):
    acme, later = told.world, f"{told.kind}-later.tlog-proof"
    acme.publish(acme.release(f"{told.kind}-later.json"))
    acme.run("proof", "get", "ns.json", *POLICY, "--out", later)
    ran = told.verify("--json", code=3, namespace_proof=later)
    assert {name for name, outcome in outcomes(ran).items() if outcome == "not established"} == {"logged"}
    next_step = ran.stderr.splitlines()[-1]
    assert next_step.startswith("next: ")
    assert "teelog proof get" in next_step
    assert "--out" in next_step


def test_nothing_is_waived_unasked(told: Told):
    ran = told.verify("--json", code=3, without=())
    assert ran.json["verdict"] == "not established"
    # `fresh` asks for the index as well, as long as `allowed-now` is asked.
    assert {name for name, outcome in outcomes(ran).items() if outcome != "verified"} == {*WAIVED, "fresh"}
    for waived in WAIVED:
        told.verify(code=3, without=(waived,))


def test_it_takes_no_server(told: Told):
    """The command opens no socket: it is told the same while it cannot."""
    code = "import socket, sys\ndef refuse(*a, **k): raise SystemExit('a socket')\nsocket.socket = refuse\n"
    code += "from teelog.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    words = ("verify", "--evidence", told.good.evidence, "--endorsement", told.good.endorsement)
    words += ("--statement", told.release, "--proof", f"{told.release}.tlog-proof", "--namespace", "ns.json")
    words += ("--namespace-proof", told.namespace_proof, "--trust", told.trust, "--stream", STREAM)
    words += ("--report-data", told.good.report_data, *(word for name in WAIVED for word in ("--without", name)))
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=told.world.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_verdict_is_published_and_its_proof_verifies(told: Told):
    acme, result = told.world, f"{told.kind}-result.jwt"
    told.verify("--result-key", "verifier.key", "--result-out", result)
    ran = teelog_process("result", "publish", result, *POLICY, "--out", f"{result}.tlog-proof", cwd=acme.folder)
    assert ran.code == 0, ran.stderr
    ran = teelog_process("proof", "verify", result, "--proof", f"{result}.tlog-proof", *POLICY, cwd=acme.folder)
    assert ran.code == 0, ran.stderr
    shown = acme.run("result", "show", result, "--key", "verifier.key.pub", "--json").json
    assert shown["judged"]["release"] == classify(acme.read(told.release)).statement_id
    assert shown["judged"]["checks"]["hardware"] == "verified"
    assert shown["judged"]["checks"]["allowed-now"] == "off"
    claimed = jws.parse(acme.read(result)).claimed()
    assert ear.read(claimed).private == ()
    assert told.good.report_data.rstrip("0").encode() not in claimed


def test_a_verdict_by_a_key_without_the_role_is_not_admitted(told: Told):
    acme, result = told.world, f"{told.kind}-unauthorised.jwt"
    told.verify("--result-key", "acme.key", "--result-out", result)
    refused = acme.run("result", "publish", result, *POLICY, "--out", "no.tlog-proof", code=1)
    assert "403" in refused.stderr
    assert not (acme.folder / "no.tlog-proof").exists()


# -- the attacks ------------------------------------------------------------------------------------------------------


def flipped(told: Told, place: int) -> Report:
    data = bytearray(told.world.read(told.good.evidence))
    data[place] ^= 1
    name = told.world.file(f"{told.kind}-flipped.bin", bytes(data))
    return Report(name, told.good.endorsement, told.good.report_data)


def another_vendors(told: Told) -> dict[str, Any]:
    """The same registers, logged by somebody else with every right to do so."""
    acme = told.world
    if not (acme.folder / "globex-ns.json").exists():
        acme.run("key", "generate", "--name", "globex.example", "--out", "globex.key")
        roles = ["--log", ORIGIN]
        roles += [word for role in ("owner", "release", "status") for word in (f"--{role}", "globex.key")]
        acme.run("namespace", "new", "--namespace", "globex.example", *roles, "--out", "globex-ns.json")
        acme.run("log", "allow", "LOG", "globex-ns.json")
        acme.run("proof", "get", "globex-ns.json", *POLICY, "--out", "globex-ns.tlog-proof")
    file = f"{told.kind}-globex.json"
    if not (acme.folder / file).exists():
        stream = "globex.example/inference/stable"
        acme.release(file, key="globex.key", stream=stream, registers=f"{told.kind}-regs.json")
        acme.publish(file)
    return {"statement": file, "proof": f"{file}.tlog-proof"}


def stripped(told: Told) -> str:
    name = f"{told.kind}-few.tlog-proof"
    demo_attacks.strip(told.world.folder / f"{told.release}.tlog-proof", told.world.folder / name, keep=2)
    return name


def tampered(told: Told) -> str:
    import base64

    file = told.world.read(told.release)
    payload = file.split(b'"', 4)[3]
    changed = base64.b64encode(base64.b64decode(payload).replace(b'"version":"1', b'"version":"9', 1))
    assert changed != payload
    return told.world.file(f"{told.kind}-tampered.json", file.replace(payload, changed, 1))


def denied(told: Told) -> str:
    return told.with_trust(deny=f'["{classify(told.world.read(told.release)).statement_id}"]')


def higher_floor(told: Told) -> str:
    floor = ", ".join(f"{name} = {value + (name == 'snp')}" for name, value in told.floor.items())
    return told.with_trust(min_tcb=f"{{ {floor} }}")


ATTACKS: dict[str, tuple[Callable[[Told], dict[str, Any]], str, str]] = {
    "another program's report": (lambda t: {"report": t.another_program}, "measurement", "another program runs there"),
    "a flipped bit in the measurement": (lambda t: {"report": flipped(t, 0x90)}, "hardware", "not signed by"),
    "a flipped bit in the signature": (lambda t: {"report": flipped(t, 0x2A0)}, "hardware", "not signed by"),
    "a flipped bit behind the signature": (lambda t: {"report": flipped(t, SIZE - 1)}, "hardware", "reserved"),
    "a debug report": (lambda t: {"report": t.debug}, "configuration", "can be debugged"),
    "a replayed nonce": (lambda t: {"report_data": "00112233"}, "freshness", "answers another request"),
    "an output that the report does not bind": (
        lambda t: {"binds": t.world.file("output.json", b"{}"), "without": ("allowed-now",)},
        "binding",
        "does not commit",
    ),
    "another chip's certificate": (lambda t: {"endorsement": t.stranger}, "hardware", ""),
    "another stream": (lambda t: {"stream": OTHER_STREAM}, "signer", "another stream"),
    "another vendor's release": (another_vendors, "signer", "another stream"),
    "another vendor's namespace": (
        lambda t: another_vendors(t) and {"namespace": "globex-ns.json", "namespace_proof": "globex-ns.tlog-proof"},
        "signer",
        "none of the namespace statements is the pinned one",
    ),
    "a release on the deny list": (lambda t: {"trust": denied(t)}, "measurement", "denies this release"),
    "a release with too low a security version": (
        lambda t: {"trust": t.with_trust(min_svn="1000")},
        "measurement",
        "security version is too low",
    ),
    "firmware below the floor": (lambda t: {"trust": higher_floor(t)}, "configuration", ""),
    "a proof that two witnesses never cosigned": (lambda t: {"proof": stripped(t)}, "witnessed", "quorum"),
    "another entry's proof": (lambda t: {"proof": t.namespace_proof}, "logged", "not for this release"),
    "a tampered release": (lambda t: {"statement": tampered(t)}, "signer", ""),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_is_refused_with_its_own_cause(told: Told, name: str):
    attack, check, cause = ATTACKS[name]
    changes = attack(told)
    ran = told.verify("--json", code=1, **changes)
    assert outcomes(ran)[check] == "failed"
    assert cause in ran.json["checks"][check]["cause"]
    failed = {found for found, outcome in outcomes(ran).items() if outcome == "failed"}
    allowed = {"a debug report": {"measurement"}, "a tampered release": {"logged"}}.get(name, set())
    assert failed - allowed == {check}
    assert ran.stderr.count("error: ") == 1
    assert f"error: {check}: " in ran.stderr or name == "a tampered release"


def test_a_trust_file_that_lists_nothing_of_the_stream_establishes_nothing(told: Told):
    ran = told.verify("--json", code=3, stream="acme.example/other/stable")
    assert outcomes(ran)["signer"] == "not established"


def test_a_namespace_that_is_not_pinned_is_not_believed(told: Told):
    told.world.run("trust", "new", *POLICY, "--stream", STREAM, "--out", "no-pin.toml")
    lines = told.world.read(told.trust).decode().partition("[platform.sev-snp]\nmin_tcb")
    told.world.file("no-pin.toml", told.world.read("no-pin.toml") + "".join(lines[1:]).encode())
    ran = told.verify("--json", code=3, trust="no-pin.toml")
    assert outcomes(ran)["signer"] == "not established"
    assert "trust pin" in ran.json["checks"]["signer"]["cause"]


def test_cosignatures_of_the_day_before_yesterday_are_not_fresh(told: Told):
    from datetime import UTC, datetime, timedelta

    later = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    ran = told.verify("--json", "--at", later, "--historical", code=1)
    assert {name for name, outcome in outcomes(ran).items() if outcome == "failed"} == {"fresh"}


@pytest.mark.parametrize("line", ['everything = "off"\n', "[[log]]\n", '[checks]\nhardware = "maybe"\n'])
def test_a_trust_file_that_is_not_understood_is_refused(told: Told, line: str):
    text = told.world.read(told.trust).decode()
    text = text.replace("[checks]\n", line) if line.startswith("[checks]") else line * (line[0] != "[") + text
    text += line if line.startswith("[[") else ""
    told.verify(code=6, trust=told.world.file("odd.toml", text.encode()))


def test_a_forged_machine_is_no_machine_of_the_vendor(acme: World, told: Told):
    """The roots that the trust file names are believed in place of the vendor's, never beside them, and only there."""
    if told.kind == "amd":
        rogue = Machine()
        acme.file("rogue.pem", rogue.chain())
        data = acme.read(told.good.evidence)
        acme.file("rogue.bin", rogue.report(report_data=data[REPORT_DATA], measurement=data[MEASUREMENT]))
        report = Report("rogue.bin", "rogue.pem", told.good.report_data)
        ran = told.verify("--json", code=1, report=report)
        root = hashlib.sha256(authority("ark", "Milan")).hexdigest()
        acme.file("forgers.toml", acme.read(told.trust) + f'roots = {{ Milan = "{root}" }}\n'.encode())
        beside = told.verify("--json", code=3, trust="forgers.toml")
        assert "pinned root certificate" in beside.json["checks"]["hardware"]["cause"]
    else:
        text = acme.read(told.trust).decode()
        acme.file("real-roots.toml", text[: text.index("roots = ")].encode())
        ran = told.verify("--json", code=1, trust="real-roots.toml")
    assert outcomes(ran)["hardware"] == "failed"
    assert "verified" not in {outcomes(ran)[name] for name in ("measurement", "configuration", "freshness")}


def test_client_state_is_kept_where_it_was_asked_for(told: Told):
    told.verify()
    assert (Path(told.world.folder) / "client-state").is_dir()
