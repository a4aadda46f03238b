"""Good and bad evidence of Azure confidential VMs, each with the check that decides and what it must find.

A user's own verifier can be run over `cases()`: the good ones must pass, every other must not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from teelog.testing import azure, intel_cases, sev_snp, tpm
from teelog.testing.azure import PARAVISOR, Vm

NONCE = b"fake challenge"
SNP, TDX = Vm(), Vm("tdx")
FLOOR: Mapping[str, object] = {"paravisor": [PARAVISOR.hex()]}
"""The trust file's table of most cases."""


@dataclass(frozen=True, slots=True)
class Case:
    """One file for judgement at `sev_snp.NOW` with ``vm``'s endorsements and roots, the nonce NONCE and a trust file's
    table floor.

    check: ``parse`` (refused as malformed or not known), ``hardware``, ``configuration`` or ``freshness``: the first
    that does not find ``verified``; None where all do. outcome: what that check finds. cause: words of its cause.
    """

    name: str
    vm: Vm
    evidence: bytes
    check: str | None = None
    cause: str = ""
    outcome: str = "failed"
    floor: Mapping[str, object] = field(default_factory=lambda: FLOOR)


def cases() -> tuple[Case, ...]:
    """All of them, in a fixed order with unique names, the same bytes every time."""
    made = (*_good(), *_malformed(), *_wrong(), *_misconfigured(), *_unfresh())
    assert len({case.name for case in made}) == len(made)
    return made


def _good() -> Iterator[Case]:
    for vm in (SNP, TDX):
        yield Case(f"good-{vm.tee}", vm, vm.evidence(NONCE))
        yield Case(f"good-{vm.tee}-numbers", vm, vm.evidence(NONCE, numbers=True))
        yield Case(f"good-{vm.tee}-version-2", vm, vm.evidence(NONCE, members={"version": 2}))
        yield Case(f"good-{vm.tee}-any-paravisor", vm, vm.evidence(NONCE), floor={"paravisor": "any"})
        wanted = {**FLOOR, "secure_boot": True, "console": False, "tee": [vm.tee], "debug": False}
        yield Case(f"good-{vm.tee}-as-demanded", vm, vm.evidence(NONCE), floor=wanted)
    # Demands of the other hardware's table do not concern this one.
    yield Case("good-other-table", TDX, TDX.evidence(NONCE), floor={**FLOOR, "guest_policy": {"smt": False}})


def _malformed() -> Iterator[Case]:
    def parse(name: str, cause: str, vm: Vm = SNP, **changes: object) -> Case:
        return Case(name, vm, vm.evidence(NONCE, **changes), "parse", cause)  # type: ignore[arg-type]

    yield Case("truncated", SNP, SNP.evidence(NONCE)[:-1], "parse", "not JSON")
    yield parse("version-3", "version 3", members={"version": 3})
    yield parse("unknown-member", "not known here", members={"note": "1"})
    yield parse("td-quote-beside-snp", "not known here", members={"td_quote": ""})
    yield parse("no-td-quote", "missing", TDX, members={"td_quote": None})
    yield parse("no-quote", "missing", members={"tpm_quote": None})
    yield parse("no-hcl", "HCL report: not one", patch={0: b"HCLB"})
    yield parse("hcl-version-3", "version 3", patch={4: b"\3"})
    yield parse("hcl-status", "with an error", patch={16: b"\1"})
    yield parse("hcl-size", "sizes disagree", patch={8: b"\0"})
    yield parse("runtime-size", "sizes disagree", patch={1232: b"\1\2"})
    yield parse("runtime-hash-sha384", "hash 2", patch={1228: b"\2"})
    yield parse("hcl-kind", "report 3", patch={1224: b"\3"})
    yield parse("behind-runtime-data", "follows the runtime data", patch={2599: b"\1"})
    yield parse("behind-tdreport", "no TDREPORT", TDX, patch={1215: b"\1"})
    yield parse("no-ak", "not one key", runtime=azure.runtime_data(keys=[{"kid": "HCLEkPub"}]))
    twice = [{"kid": "HCLAkPub"}, {"kid": "HCLAkPub"}]
    yield parse("two-aks", "not one key", runtime=azure.runtime_data(keys=twice))
    weak = [{"kid": "HCLAkPub", "kty": "RSA", "e": "AQAB", "n": "gQAB"}]
    yield parse("weak-ak", "", runtime=azure.runtime_data(keys=weak))
    yield parse("runtime-data-no-json", "not JSON", runtime=b"{")
    yield parse("tdreport-of-another-td", "two machines", TDX, patch={32 + 512 + 16: b"\1"})


def _wrong() -> Iterator[Case]:
    for vm in (SNP, TDX):

        def hardware(name: str, cause: str, vm: Vm = vm, **changes: object) -> Case:
            raw = vm.evidence(NONCE, **changes)  # type: ignore[arg-type]
            return Case(f"{vm.tee}-{name}", vm, raw, "hardware", cause)

        yield hardware("rogue-root", "", vm.other(rogue=True))
        yield hardware("other-ak", "not signed by the attestation key", signer="rogue")
        yield hardware("own-runtime-data", "does not commit", committed=azure.commits(b"another"))
        tail = azure.commits(azure.runtime_data())[:32].ljust(64, b"\1")
        yield hardware("report-data-tail", "does not commit", committed=tail)
        shown = tpm.pcrs({4: hashlib.sha256(b"another program").digest()})
        yield hardware("other-registers", "not the ones that were quoted", shown=shown)
    yield Case("guest-report", SNP, SNP.evidence(NONCE, machine={"vmpl": 2}), "hardware", "asked for by the paravisor")
    bare = SNP.evidence(NONCE, members={"vcek": None})
    yield Case("no-vcek", SNP, bare, "hardware", "no endorsement", "not established")


def _misconfigured() -> Iterator[Case]:
    def case(name: str, cause: str, evidence: bytes, vm: Vm, outcome: str = "failed", **floor: object) -> Case:
        return Case(name, vm, evidence, "configuration", cause, outcome, {**FLOOR, **floor})

    for vm in (SNP, TDX):
        good = vm.evidence(NONCE)
        yield Case(f"{vm.tee}-unnamed-paravisor", vm, good, "configuration", "which paravisors", "not established", {})
        yield case(f"{vm.tee}-other-paravisor", "paravisor is another", good, vm, paravisor=["00" * 48])
        kind = "tdx" if vm is SNP else "sev-snp"
        yield case(f"{vm.tee}-other-tee", "another kind", good, vm, tee=[kind])
        console = vm.evidence(NONCE, runtime=azure.runtime_data(vm={"console-enabled": True}))
        yield case(f"{vm.tee}-console", "has a console", console, vm, console=False)
        unsigned = vm.evidence(NONCE, runtime=azure.runtime_data(vm={"secure-boot": False}))
        yield case(f"{vm.tee}-secure-boot-off", "nobody signed", unsigned, vm, secure_boot=True)
    debug = SNP.evidence(NONCE, machine={"guest_policy": sev_snp.POLICY | 1 << 19})
    yield case("sev-snp-debug", "can be debugged", debug, SNP)
    debug = TDX.evidence(NONCE, machine={"td_attributes": intel_cases.DEBUG})
    yield case("tdx-debug", "debugged or profiled", debug, TDX)
    yield case("sev-snp-smt", "permits smt", SNP.evidence(NONCE), SNP, guest_policy={"smt": False})
    yield case("tdx-sept-ve-disable", "SEPT_VE_DISABLE", TDX.evidence(NONCE), TDX, sept_ve_disable=True)


def _unfresh() -> Iterator[Case]:
    for vm in (SNP, TDX):
        yield Case(f"{vm.tee}-replayed", vm, vm.evidence(b"an older challenge"), "freshness", "another request")
    yield Case("no-extra-data", SNP, SNP.evidence(), "freshness", "another request")
