"""`teelog verify`: the whole promise but the index, on a fake machine; every attack with its cause and exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from teelog.keys import Algorithm
from teelog.statement import ear, jws
from teelog.testing.sev_snp import Machine
from tests.cli.machine import MACHINE, MEASUREMENT, NONCE, STREAM, VERIFIER, World, namespace, release, world
from tests.client import logs
from tests.commands import Ran, teelog, teelog_process
from tests.statement import make


@pytest.fixture
def made(tmp_path: Path) -> World:
    return world(tmp_path)


def verify(of: World, *more: str, **changes: Any) -> Ran:
    return teelog(*of.arguments(*more, **changes))


def outcomes(ran: Ran) -> dict[str, str]:
    return {name: check["outcome"] for name, check in ran.json["checks"].items()}


def test_a_machine_that_runs_a_logged_release_verifies_with_the_waivers_named(made: World):
    ran = verify(made)
    assert ran.code == 0, ran.text + ran.stderr
    assert f"ok      {STREAM} 1.4.2 (sev-snp)  VERIFIED-WITH-WAIVERS: binding, allowed-now waived" in ran.text
    ran = verify(made, "--json")
    assert ran.json["schema"] == "teelog-verdict/v1"
    assert ran.json["verdict"] == "verified-with-waivers"
    assert ran.json["waived"] == ["binding", "allowed-now"]
    assert {name for name, outcome in outcomes(ran).items() if outcome != "verified"} == {"binding", "allowed-now"}
    assert ran.json["release"] == make.admit.classify(release()).statement_id


def test_without_waivers_it_is_not_established_and_says_what_is_missing(made: World):
    ran = verify(made, without=())
    assert ran.code == 3
    assert "not established" in ran.text
    assert ran.stderr.splitlines()[-1].startswith("next: --binds FILE")


def test_an_output_that_the_report_binds_needs_one_waiver_less(made: World):
    from teelog.evidence.report_data import commitment

    output = made.write("output.json", b'{"answer": 42}')
    made.write("report.bin", MACHINE.report(report_data=commitment(NONCE, output.read_bytes())))
    ran = verify(made, "--binds", str(output), "--json", without=("allowed-now",))
    assert ran.code == 0, ran.stderr
    assert ran.json["waived"] == ["allowed-now"]
    other = made.write("other.json", b'{"answer": 43}')
    ran = verify(made, "--binds", str(other), without=("allowed-now",))
    assert ran.code == 1


def test_an_empty_output_is_refused_before_anything_is_judged(made: World):
    ran = verify(made, "--binds", str(made.write("empty", b"")))
    assert ran.code == 1
    assert "should bind is empty" in ran.stderr
    assert ran.text == ""


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


ATTACKS: dict[str, tuple[Callable[[World], object], str, str]] = {
    "another program": (
        lambda w: w.write("report.bin", MACHINE.report(report_data=NONCE, measurement=b"\xab" * 48)),
        "measurement",
        "another program runs there",
    ),
    "a flipped bit": (
        lambda w: w.write("report.bin", flip(MACHINE.report(report_data=NONCE), 0x90)),
        "hardware",
        "",
    ),
    "a debug report": (
        lambda w: w.write("report.bin", MACHINE.report(report_data=NONCE, guest_policy=0xB0000)),
        "configuration",
        "debug",
    ),
    "a replayed nonce": (
        lambda w: w.write("report.bin", MACHINE.report(report_data=b"yesterday's challenge")),
        "freshness",
        "answers another request",
    ),
    "an old processor firmware": (
        lambda w: (
            w.write("report.bin", (old := Machine(tcb=_tcb(ucode=100))).report(report_data=NONCE))
            and w.write("chain.pem", old.chain())
        ),
        "configuration",
        "",
    ),
    "another chip's certificate": (lambda w: w.write("chain.pem", Machine(seed=b"2").chain()), "hardware", ""),
    "a release by a stranger": (lambda w: relog(w, _by_stranger()), "signer", "none of the keys"),
    "a release that was not logged": (
        lambda w: w.write("release.json", release(version="1.4.3")),
        "logged",
        "not for this release",
    ),
    "an old release": (lambda w: relog(w, release(svn=2)), "measurement", "security version is too low"),
    "a proof without its quorum": (lambda w: relog(w, release(), logs.WITNESSES[:2]), "witnessed", "quorum"),
}


def _tcb(**changes: int) -> Any:
    from dataclasses import replace

    from teelog.testing.sev_snp import TCBS

    return replace(TCBS["Milan"], **changes)


def _by_stranger() -> bytes:
    return make.dsse.sign(make.dsse.PAYLOAD_TYPE, make.dsse.parse(release()).claimed(), [make.STRANGER]).file


def relog(of: World, entry: bytes, witnesses: Any = logs.WITNESSES) -> None:
    ns = (of.folder / "ns.json").read_bytes()
    _, ns_proof, proof = of.log(b"policy", ns, entry, witnesses=witnesses)
    of.write("release.json", entry)
    of.write("release.tlog-proof", proof)
    of.write("ns.tlog-proof", ns_proof)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_has_its_own_cause(made: World, name: str):
    attack, check, cause = ATTACKS[name]
    attack(made)
    ran = verify(made, "--json")
    assert ran.code == 1, ran.text
    assert [found for found, outcome in outcomes(ran).items() if outcome == "failed"] == [check]
    assert cause in ran.json["checks"][check]["cause"]
    assert f"error: {check}: " in ran.stderr


@pytest.mark.parametrize(
    ("missing", "check", "hint"),
    [
        ("evidence", "hardware", "--evidence FILE"),
        ("endorsement", "hardware", "--endorsement"),
        ("nonce", "freshness", "--nonce HEX or --report-data HEX"),
        ("namespace_proof", "logged", "--namespace-proof"),
        ("proof", "logged", "--proof"),
    ],
)
def test_what_is_not_given_is_not_established(made: World, missing: str, check: str, hint: str):
    ran = verify(made, "--json", **{missing: None})
    assert ran.code == 3
    assert outcomes(ran)[check] == "not established"
    assert hint in ran.stderr.splitlines()[-1]
    assert "failed" not in outcomes(ran).values()


def test_the_first_cause_is_told_not_one_that_follows_from_it(made: World):
    ran = verify(made, statement=None, proof=None, namespace=None, namespace_proof=None)
    assert ran.code == 3
    assert "error: signer: no release was given" in ran.stderr
    assert ran.stderr.splitlines()[-1].startswith("next: --statement, --namespace")
    assert ran.text.startswith("open ")


def test_a_wrong_file_is_told_for_what_it_is(made: World):
    for changes, cause in (
        ({"statement": made.folder / "ns.json"}, "signer: the statement is no release"),
        ({"proof": made.folder / "release.json"}, "logged: the release's proof: not a tlog-proof"),
        ({"endorsement": made.folder / "ns.json"}, "hardware: an endorsement holds no certificate"),
    ):
        ran = verify(made, **changes)
        assert ran.code == 1
        assert f"error: {cause}" in ran.stderr


def test_a_trust_file_of_the_real_vendor_refuses_a_fake_machine(made: World):
    text = (made.folder / "trust.toml").read_text()
    made.write("trust.toml", "\n".join(line for line in text.split("\n") if not line.startswith("roots")))
    ran = verify(made, "--json")
    assert ran.code == 1
    assert outcomes(ran)["hardware"] == "failed"


def test_a_chain_to_another_root_is_no_hardware(made: World):
    rogue = Machine(rogue=True)
    made.write("report.bin", rogue.report(report_data=NONCE))
    made.write("chain.pem", rogue.chain())
    ran = verify(made, "--json")
    assert ran.code == 1
    assert outcomes(ran)["hardware"] == "failed"
    assert "does not end in the pinned root of Milan" in ran.json["checks"]["hardware"]["cause"]


def test_another_time_is_not_now(made: World):
    at = "2026-10-01"
    ran = verify(made, "--at", at, without=("allowed-now", "binding", "fresh"))
    assert ran.code == 3
    assert "VERIFIED AS OF 2026-10-01T00:00:00Z" in ran.text
    ran = verify(made, "--at", at, "--historical", "--json", without=("allowed-now", "binding", "fresh"))
    assert ran.code == 0
    assert ran.json["verdict"] == "verified-as-of"
    assert ran.json["as_of"] == 1_790_812_800


@pytest.mark.parametrize(
    "wrong",
    [
        ["--nonce", "00", "--report-data", "00"],
        ["--historical"],
        ["--result-key", "k"],
        ["--result-out", "f"],
        ["--without", "everything"],
        ["--without", "all"],
        ["--stream", "acme"],
        ["--nonce", "zz"],
        ["--nonce", "00" * 65],
        ["--nonce", ""],
        ["--at", "yesterday"],
    ],
)
def test_wrong_use_is_2(made: World, wrong: list[str]):
    assert verify(made, *wrong).code == 2


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda w: (w.folder / "report.bin").unlink(), 4),
        (lambda w: (w.folder / "trust.toml").unlink(), 4),
        (lambda w: (w.folder / "policy.txt").unlink(), 4),
        (lambda w: w.write("trust.toml", "main = 1"), 6),
        (lambda w: w.write("policy.txt", "quorum"), 6),
        (lambda w: w.write("release.json", bytes(65_536)), 1),
        (lambda w: w.write("release.tlog-proof", b"x"), 1),
        (lambda w: w.write("report.bin", b""), 1),
        (lambda w: w.write("report.bin", bytes((1 << 20) + 1)), 1),
        (lambda w: w.write("chain.pem", b"garbage"), 1),
    ],
)
def test_bad_files_are_told_apart(made: World, change: Callable[[World], object], code: int):
    change(made)
    assert verify(made).code == code


def test_A_74_hostile_text_never_reaches_the_terminal(made: World):
    relog(made, release(coverage=make.Coverage((), ("\x1b[2J\u202eok VERIFIED",))))
    ran = verify(made)
    assert ran.code == 0, ran.stderr
    assert not set("\x1b\u202e") & set(ran.text)
    assert "\\u{1b}[2J\\u{202e}" in ran.text


# -- what was seen ----------------------------------------------------------------------------------------------------


def test_two_trees_of_one_size_are_5_with_a_fork_proof(made: World):
    assert verify(made).code == 0
    _, ns_proof, proof = made.log(b"another policy", made.folder.joinpath("ns.json").read_bytes(), release())
    made.write("ns.tlog-proof", ns_proof)
    made.write("release.tlog-proof", proof)
    ran = verify(made, "--json")
    assert ran.code == 5
    assert ran.json["exit"] == 5
    (kept,) = (made.folder / "state" / "forks").iterdir()
    assert teelog("fork", "verify", kept, "--policy", made.folder / "policy.txt").code == 0


def rotated(of: World) -> tuple[str, ...]:
    """Logs version 1 of the namespace between version 0 and the release; the options that give it too."""
    ns = (of.folder / "ns.json").read_bytes()
    pin = make.admit.classify(ns).statement_id
    later = namespace(version=1, prev=pin)
    _, ns_proof, later_proof, proof = of.log(b"policy", ns, later, release())
    of.write("ns.tlog-proof", ns_proof)
    of.write("release.tlog-proof", proof)
    of.write("later.json", later)
    of.write("later.tlog-proof", later_proof)
    return "--namespace", str(of.folder / "later.json"), "--namespace-proof", str(of.folder / "later.tlog-proof")


def test_a_namespace_that_was_rotated_cannot_be_replayed(made: World):
    both = rotated(made)
    assert verify(made).code == 0  # nobody has shown this verifier version 1 yet
    assert verify(made, *both).code == 0
    ran = verify(made, "--json")
    assert ran.code == 1
    assert "not as new as one that was seen before" in ran.json["checks"]["signer"]["cause"]
    # A chain that was pinned anew after a recovery of the name is told the way out.
    path = ran.stderr.splitlines()[-1].split("delete ")[1]
    Path(path).unlink()
    assert verify(made).code == 0


def test_what_was_followed_stays_known_where_a_checkpoint_cannot_be_compared(made: World):
    assert verify(made).code == 0  # size 3; the next one is of size 4, and nothing shows how they fit
    ran = verify(made, *rotated(made))
    assert ran.code == 0
    assert "not remembered" in ran.stderr
    assert verify(made).code == 1


def test_a_state_that_was_asked_for_and_cannot_be_kept_is_4(made: World):
    made.write("file", b"")
    assert verify(made, state=made.folder / "file" / "state").code == 4


def test_where_no_state_was_asked_for_none_is_missed(made: World):
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "TEELOG_STATE")}
    environment = {name: value for name, value in environment.items() if not name.startswith("XDG")}
    ran = teelog_process(*made.arguments(state=None), env=environment)
    assert ran.code == 0, ran.stderr
    assert "nothing is remembered" in ran.stderr


# -- the attestation result -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [Algorithm.ED25519, Algorithm.ECDSA_P256])
def test_the_verdict_is_signed_as_a_result(made: World, algorithm: Algorithm):
    key = make.key("verifier", algorithm)
    private = made.write("verifier.key", key.to_pem())
    private.chmod(0o600)
    public = made.write("verifier.pub", key.public.to_pem())
    out = made.folder / "result.jwt"
    ran = verify(made, "--result-key", str(private), "--result-out", str(out))
    assert ran.code == 0, ran.stderr
    token = jws.parse(out.read_bytes())
    result = ear.read(token.verify({key.public.fingerprint: key.public}).payload)
    assert (result.issuer, result.subject, result.status) == ("acme.example", STREAM, "warning")
    assert result.submodules[0].vector == {"configuration": 2, "hardware": 2}
    assert result.judged is not None
    assert result.judged.checkpoint is not None
    assert result.judged.checkpoint.size == 3
    for secret in (NONCE.hex(), MACHINE.chip_id.hex()[:16], MEASUREMENT):
        assert secret not in token.claimed().decode()
    shown = teelog("result", "show", out, "--key", public, "--json")
    assert shown.code == 0, shown.stderr
    assert shown.json["verified_by"] == key.public.fingerprint
    assert shown.json["judged"]["checks"]["allowed-now"] == "off"
    assert shown.json["private"] == []
    other = made.write(
        "other.pub", VERIFIER.public.to_pem() if algorithm is not VERIFIER.algorithm else make.ACME.public.to_pem()
    )
    assert teelog("result", "show", out, "--key", other).code == 1


def test_a_bad_verdict_is_signed_too(made: World):
    private = made.write("verifier.key", VERIFIER.to_pem())
    private.chmod(0o600)
    out = made.folder / "result.jwt"
    made.write("report.bin", MACHINE.report(report_data=NONCE, measurement=b"\xab" * 48))
    ran = verify(made, "--result-key", str(private), "--result-out", str(out))
    assert ran.code == 1
    result = ear.read(jws.parse(out.read_bytes()).claimed())
    assert result.status == "contraindicated"
    assert result.submodules[0].vector["executables"] == 33


# -- what it loads ----------------------------------------------------------------------------------------------------


def test_it_opens_no_socket_and_loads_no_server(made: World):
    code = (
        "import sys, socket\n"
        "def refuse(*a, **k): raise SystemExit('a socket')\n"
        "socket.socket = refuse\n"
        "from teelog.cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        "import json; print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
        "sys.exit(code)"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", code, *made.arguments()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules = set(json.loads(done.stderr.splitlines()[-1]))
    assert not {"aiohttp", "sqlite3", "asyncio", "ssl", "rich", "teelog.client.http", "teelog.log_server"} & modules


def test_a_file_in_hex_is_no_evidence_and_the_next_step_says_so(made: World):
    path = made.folder / "report.bin"
    made.write("report.bin", path.read_bytes().hex().encode())
    ran = verify(made)
    assert ran.code == 1
    assert "next: it is text in hex" in ran.stderr
