"""Every platform once through the real log and its witnesses: a release is published and allowed, a machine verified.

One log for all of them; each platform has its own stream and its own forged hardware, whose root the trust file names.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from teelog.evidence.report_data import commitment
from teelog.testing import azure, intel, tpm
from tests.commands import Ran
from tests.story import INDEX, POLICY, World, world

NONCE = b"\x5a" * 32
OUTPUT = b"approved results"
ANSWER = commitment(NONCE, OUTPUT)
DAY = 86_400


@dataclass(frozen=True)
class Tee:
    """One platform's machine, and one that runs another program. Both answer NONCE and commit to OUTPUT.

    registers: of the release, hex. require: its demands. trust: lines of the trust file. when: of judging, None: now.
    """

    registers: dict[str, str]
    evidence: bytes
    another_program: bytes
    endorsements: tuple[bytes, ...]
    trust: str
    require: dict[str, object] = field(default_factory=dict)


def _collateral(kind: str) -> bytes:
    now = int(time.time())
    return intel.Platform().collateral(kind, issued=now - DAY, next_update=now + DAY)


def _roots(platform: str) -> str:
    return f'[platform.{platform}.roots]\n"{intel.ROOT}" = "{intel.roots().pins[intel.ROOT].hex()}"\n'


def _tdx() -> Tee:
    from teelog.evidence import platform

    machine = intel.Platform()
    quote = machine.tdx(report_data=ANSWER)
    named = ("mrtd", "rtmr0", "rtmr1", "rtmr2")
    registers = {name: platform.parse(quote).registers[name].hex() for name in named}
    other = machine.tdx(report_data=ANSWER, rtmr2=b"\1" * 48)
    require: dict[str, object] = {"debug": False, "sept_ve_disable": True, "tcb_status": ["UpToDate"]}
    return Tee(registers, quote, other, (_collateral("TDX"),), _roots("tdx"), require)


def _sgx() -> Tee:
    """By signer: security version 3 or above."""
    machine = intel.Platform()
    signer = b"\x51" * 32
    registers = {"mrsigner": signer.hex(), "isvprodid": "0007", "isvsvn": "0003"}
    fields: dict[str, object] = {"report_data": ANSWER, "mrsigner": signer}
    newer, older = (machine.sgx(isv_svn=svn, **fields) for svn in (0x0100, 2))  # type: ignore[arg-type]
    return Tee(registers, newer, older, (_collateral("SGX"),), _roots("sgx"), {"provision_key": False})


def _azure() -> Tee:
    """Its hardware is SEV-SNP's; the guest's registers are those of the vTPM."""
    vm = azure.Vm()
    good, other = tpm.pcrs(), tpm.pcrs({4: b"\1" * 32})
    registers = {f"pcr{number}": good[number].hex() for number in (4, 7, 9)}
    pin = vm.roots().pins["Milan"].hex()
    trust = f'[platform.azure]\nparavisor = ["{azure.PARAVISOR.hex()}"]\n[platform.azure.roots]\nMilan = "{pin}"\n'
    chain = vm.machine().chain()
    require: dict[str, object] = {"debug": False, "secure_boot": True, "console": False}
    return Tee(registers, vm.evidence(ANSWER), vm.evidence(ANSWER, values=other), (chain,), trust, require)


TEES: dict[str, Callable[[], Tee]] = {"tdx": _tdx, "sgx": _sgx, "azure": _azure}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    settings = {"republish_s": "1", "checkpoint_ms": "200", "batch_ms": "50"}
    with world(tmp_path_factory.mktemp("platforms").resolve(), index=True, settings=settings) as made:
        made.file("output", OUTPUT)
        yield made


def _publish(made: World, name: str, tee: Tee) -> str:
    """The stream of a platform's release, allowed."""
    stream = f"acme.example/{name}/stable"
    variant = {"platform": name, "when": {}, "registers": tee.registers, "how": "recomputed"}
    made.file(f"{name}.regs", json.dumps({"schema": "teelog-registers/v1", "variants": [variant]}).encode())
    made.file(f"{name}.require", json.dumps(tee.require).encode())
    what = ("--stream", stream, "--version", "1.0.0", "--svn", 1, "--registers", f"{name}.regs")
    made.run("release", "new", *what, "--require", f"{name}.require", "--out", f"{name}.json")
    made.run("release", "sign", f"{name}.json", "--key", "acme.key")
    made.publish(f"{name}.json")
    made.run("release", "allow", f"{name}.json", "--key", "acme.key", *POLICY, *INDEX, "--yes")
    new = ("--policy", "policy.txt", "--index-policy", "index.txt", "--stream", stream, "--max-age", "1h")
    made.run("trust", "new", *new, "--out", f"{name}.toml")
    made.run("trust", "pin", f"{name}.toml", "ns.json")
    made.file(f"{name}.toml", made.read(f"{name}.toml") + tee.trust.encode())
    made.run("bundle", "get", stream, "--release", "1.0.0", "--trust", f"{name}.toml", "--out", f"{name}.teelog")
    return stream


@pytest.mark.parametrize("name", TEES)
def test_a_release_is_published_and_a_machine_of_this_platform_verified(told: World, name: str):
    tee = TEES[name]()
    stream = _publish(told, name, tee)
    made = [told.file(f"{name}.{n}.endorsement", each) for n, each in enumerate(tee.endorsements)]
    endorsements = [word for each in made for word in ("--endorsement", each)]

    def verify(evidence: bytes, code: int) -> Ran:
        told.file(f"{name}.evidence", evidence)
        words = ("--bundle", f"{name}.teelog", "--trust", f"{name}.toml", "--stream", stream)
        asked = ("--nonce", NONCE.hex(), "--binds", "output")
        return told.run("verify", "--evidence", f"{name}.evidence", *endorsements, *words, *asked, code=code)

    ran = verify(tee.evidence, 0)
    assert f"{stream} 1.0.0 ({name})  VERIFIED\n" in ran.text
    assert "measurement" in verify(tee.another_program, 1).stderr
