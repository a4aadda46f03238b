"""An enclave and a realm against the log, with real processes: what they run is measured, published and witnessed; they
verify. Their hypervisor and platform are forged, and the trust file names their root and key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from teelog.statement.admit import classify
from teelog.testing import cca, eif, nitro
from teelog.testing.nitro_cases import HYPERVISOR
from tests.commands import Ran, teelog_process
from tests.story import POLICY, STREAM, World, world

WAIVED = ("--without", "allowed-now", "--without", "binding")
NONCE = b"a challenge"
MACHINE = cca.Machine()
RAM = {"base": "0x40000000", "top": "0x80000000"}
STEPS = [{"ripas": RAM}, {"data": {"ipa": "0x40200000", "file": "Image"}}, {"rec": {"pc": "0x40200000"}}]


@dataclass(frozen=True)
class Told:
    """platform, and the evidence of the program that was measured, of another one, and of one in debug."""

    world: World
    platform: str
    good: str
    another: str
    debug: str

    def verify(self, evidence: str, *more: str, code: int = 0) -> Ran:
        name = self.platform
        words = [
            *("verify", "--evidence", evidence, "--statement", f"{name}.json", "--proof", f"{name}.json.tlog-proof"),
            *("--namespace", "ns.json", "--namespace-proof", f"{name}-ns.tlog-proof", "--trust", f"{name}.toml"),
            *("--stream", STREAM, "--nonce", NONCE.hex(), *WAIVED),
        ]
        words += ["--endorsement", "cpak.pem"] if name == "cca" else []
        ran = teelog_process(*words, *more, cwd=self.world.folder)
        assert ran.code == code, ran.text + ran.stderr
        assert "Traceback" not in ran.stderr
        return ran


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("enclaves").resolve()) as made:
        yield made


@pytest.fixture(scope="module", params=["nitro", "cca"])
def told(acme: World, request: pytest.FixtureRequest) -> Told:
    made = _enclave(acme) if request.param == "nitro" else _realm(acme)
    name = made.platform
    acme.release(f"{name}.json", registers=f"{name}-regs.json")
    acme.publish(f"{name}.json")
    outs = ("--out", f"{name}.json.tlog-proof", "--out", f"{name}-ns.tlog-proof")
    acme.run("proof", "get", f"{name}.json", "ns.json", *POLICY, *outs)
    acme.run("trust", "new", *POLICY, "--stream", STREAM, "--out", f"{name}.toml")
    acme.run("trust", "pin", f"{name}.toml", "ns.json")
    pins = nitro.roots().pins if name == "nitro" else MACHINE.roots().pins
    (pin,) = pins.values()
    table = f'\n[platform.{name}]\nroots = {{ fake = "{pin.hex()}" }}\n'
    acme.file(f"{name}.toml", acme.read(f"{name}.toml") + table.encode())
    return made


def _enclave(acme: World) -> Told:
    acme.file("app.eif", eif.Image(signed=True).build())
    acme.run("measure", "nitro", "app.eif", "--json", to="nitro-regs.json")
    stated = json.loads(acme.read("nitro-regs.json"))["variants"][0]["registers"]
    runs = {int(name[3:]): bytes.fromhex(value) for name, value in stated.items()}

    def made(name: str, pcrs: dict[int, bytes]) -> str:
        return acme.file(f"{name}.cose", HYPERVISOR.document(nonce=NONCE, pcrs=pcrs))

    debug = made("debug", nitro.pcrs({8: runs[8]}, debug=True))
    return Told(acme, "nitro", made("good", nitro.pcrs(runs)), made("another", nitro.pcrs({8: runs[8]})), debug)


def _realm(acme: World) -> Told:
    acme.file("Image", b"kernel" * 1000)
    described = {"schema": "teelog-realm/v1", "hash_algorithm": "sha-512", "ipa_bits": 48, "num_bps": 6, "num_wps": 6}
    acme.file("realm.json", json.dumps({**described, "steps": STEPS}).encode())
    acme.run("measure", "cca", "realm.json", "--json", to="cca-regs.json")
    rim = bytes.fromhex(json.loads(acme.read("cca-regs.json"))["variants"][0]["registers"]["rim"])
    acme.file("cpak.pem", MACHINE.endorsement())

    def made(name: str, rim: bytes, lifecycle: int = cca.SECURED) -> str:
        token = MACHINE.token(challenge=NONCE, realm={44238: rim}, platform={2395: lifecycle})
        return acme.file(f"{name}.cbor", token)

    return Told(acme, "cca", made("good", rim), made("another", cca.rim()), made("debug", rim, cca.DEBUG))


def test_what_was_measured_published_and_witnessed_verifies(told: Told):
    ran = told.verify(told.good, "--json")
    assert ran.json["verdict"] == "verified-with-waivers"
    assert {name for name, check in ran.json["checks"].items() if check["outcome"] != "verified"} == {
        "allowed-now",
        "binding",
    }
    assert ran.json["platform"] == told.platform
    assert ran.json["release"] == classify(told.world.read(f"{told.platform}.json")).statement_id


def test_another_program_and_debug_fail_each_at_its_check(told: Told):
    for evidence, check in ((told.another, "measurement"), (told.debug, "configuration")):
        ran = told.verify(evidence, "--json", code=1)
        assert ran.json["checks"][check]["outcome"] == "failed"
        assert ran.json["checks"]["hardware"]["outcome"] == "verified"


def test_a_flipped_bit_fails(told: Told):
    raw = bytearray(told.world.read(told.good))
    raw[-1] ^= 1
    ran = told.verify(told.world.file("flipped.bin", bytes(raw)), "--json", code=1)
    assert ran.json["checks"]["hardware"]["outcome"] == "failed"


def test_the_release_states_what_was_measured(told: Told):
    artifact = {"nitro": "app.eif", "cca": "realm.json"}[told.platform]
    ran = told.world.run("measure", told.platform, artifact, "--expect", f"{told.platform}.json")
    assert "equal to" in ran.stderr
    nitro_, cca_ = eif.Image(kernel=b"x", signed=True).build(), told.world.read(artifact).replace(b"0x80", b"0x70")
    told.world.file("other", nitro_ if told.platform == "nitro" else cca_)
    ran = told.world.run("measure", told.platform, "other", "--expect", f"{told.platform}.json", code=1)
    assert "differs" in ran.stderr
