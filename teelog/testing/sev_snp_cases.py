"""Good and bad SEV-SNP evidence, each with the check that decides and what it must find.

A user's own verifier can be run over `cases()`: the good ones must pass, every other must not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from teelog.evidence.sev_snp.report import BY_HYPERVISOR, NONE, VLEK, Tcb
from teelog.testing import sev_snp, x509
from teelog.testing.sev_snp import POLICY, TCBS, Machine

NONCE = b"fake challenge"
SMT, MIGRATE_MA, DEBUG = 1 << 16, 1 << 18, 1 << 19


@dataclass(frozen=True, slots=True)
class Case:
    """One piece of evidence for judgement at `sev_snp.NOW` with `sev_snp.roots` and the nonce NONCE.

    check: ``parse`` (refused as malformed), ``hardware``, ``configuration`` or ``freshness``: the first that does not
    find ``verified``; None where all three do. outcome: what that check finds. cause: words of its cause.
    """

    name: str
    evidence: bytes
    endorsement: bytes
    check: str | None = None
    outcome: str = "failed"
    cause: str = ""


def cases() -> tuple[Case, ...]:
    """All of them, in a fixed order with unique names, the same bytes every time."""
    made = (*_good(), *_malformed(), *_wrong_certificates(), *_wrong_reports(), *_misconfigured(), *_unfresh())
    assert len({case.name for case in made}) == len(made)
    return made


def _good() -> Iterator[Case]:
    for product in sev_snp.PRODUCTS:
        for vlek in (False, True):
            machine = Machine(product, vlek=vlek)
            name = f"good-{product.lower()}-{'vlek' if vlek else 'vcek'}"
            yield Case(name, machine.report(report_data=NONCE), machine.endorsement())
    machine = Machine()
    report = machine.report(report_data=NONCE)
    yield Case("good-chain-in-pem", report, machine.chain())
    yield Case("good-certificate-table", report, machine.table())
    yield Case("good-masked-chip", machine.report(report_data=NONCE, chip_id=bytes(64)), machine.endorsement())
    unknown = sev_snp.PLATFORM_INFO | 1 << 6
    yield Case(
        "good-unknown-platform-bit", machine.report(report_data=NONCE, platform_info=unknown), machine.endorsement()
    )
    version_2 = machine.report(report_data=NONCE, version=2, cpuid=bytes(3))
    yield Case("good-version-2", version_2, machine.endorsement())
    newer = replace(TCBS["Milan"], snp=25, ucode=222)
    yield Case("good-provisional-firmware", machine.report(report_data=NONCE, current_tcb=newer), machine.endorsement())
    bergamo = Machine("Genoa")
    yield Case("good-bergamo", bergamo.report(report_data=NONCE, cpuid=b"\x19\xa0\x02"), bergamo.endorsement())
    wrapped = machine.endorsement({"4": x509.tlv(0x04, machine.chip_id)})
    yield Case("good-hwid-in-octet-string", report, wrapped)


def _malformed() -> Iterator[Case]:
    machine = Machine()
    leaf = machine.endorsement()
    report = machine.report(report_data=NONCE)

    def signed(name: str, cause: str, **changes: object) -> Case:
        return Case(name, machine.report(report_data=NONCE, **changes), leaf, "parse", cause=cause)  # type: ignore[arg-type]

    yield Case("truncated", report[:-1], leaf, "parse", cause="not an SEV-SNP attestation report")
    yield Case("trailing-byte", report + b"\0", leaf, "parse", cause="not an SEV-SNP attestation report")
    yield signed("version-1", "version is not known", version=1)
    yield signed("version-6", "version is not known", version=6)
    yield signed("algorithm-2", "algorithm is not known", signature_algorithm=2)
    yield signed("policy-bit-17-clear", "bit 17", guest_policy=SMT)
    yield signed("vmpl-4", "no such VMPL", vmpl=4)
    yield signed("signing-key-2", "kind of signing key", keys=2 << 2)
    yield signed("key-flags-reserved", "reserved bits", keys=1 << 5)
    yield signed("reserved-4c", "reserved bits", patch={0x4C: b"\1"})
    yield signed("reserved-18b", "reserved bits", patch={0x19F: b"\1"})
    yield signed("reserved-208", "reserved bits", patch={0x29F: b"\1"})
    yield signed("reserved-tcb", "reserved bits", patch={0x3A: b"\1"})
    yield signed("version-3-with-mitigations", "reserved bits", current_mit_vector=1)
    yield signed("version-2-with-cpuid", "reserved bits", version=2)
    yield signed("unknown-family", "family is not known", cpuid=b"\x1b\0\0")
    # Not covered by the signature: a lenient reader accepts one report in 2^3000 forms.
    for name, offset in (
        ("padding-of-r", 0x2E7),
        ("padding-of-s", 0x318),
        ("behind-signature", 0x330),
        ("last", 0x49F),
    ):
        other = bytearray(report)
        other[offset] ^= 1
        yield Case(name, bytes(other), leaf, "parse", cause="reserved bits")


def _wrong_certificates() -> Iterator[Case]:
    machine = Machine()
    report = machine.report(report_data=NONCE)

    def leaf(name: str, cause: str, endorsement: bytes, outcome: str = "failed") -> Case:
        return Case(name, report, endorsement, "hardware", outcome, cause)

    rogue = machine.other(rogue=True)
    yield leaf("rogue-root", "pinned root", rogue.chain())
    yield leaf("rogue-leaf-alone", "not signed by the key of SEV-Milan", rogue.endorsement())
    yield leaf("expired-leaf", "has expired", machine.other(not_after=sev_snp.NOW - 1).endorsement())
    yield leaf("leaf-not-yet-valid", "not valid yet", machine.other(not_before=sev_snp.NOW + 1).endorsement())
    yield leaf("other-chip", "another chip", machine.other(seed=b"2").endorsement())
    yield leaf("other-tcb", "other firmware", machine.other(tcb=replace(TCBS["Milan"], snp=23)).endorsement())
    yield leaf("other-product", "different processors", Machine("Genoa").endorsement())
    yield leaf("other-family", "different processor families", Machine("Turin").endorsement())
    yield leaf("vlek-for-a-vcek-report", "another kind of key", machine.other(vlek=True).endorsement())
    yield leaf("intermediate-only", "no SEV-VCEK", sev_snp.pem(sev_snp.authority("ask", "Milan")), "not established")
    yield leaf("two-leaves", "more than one", sev_snp.pem(machine.endorsement()) + machine.other(seed=b"2").chain())
    yield leaf("trailing-byte-in-leaf", "left over", machine.endorsement() + b"\0")
    yield leaf("no-chip-in-vcek", "names a chip", machine.endorsement({"4": None}))
    yield leaf("provider-in-vcek", "no provider", machine.endorsement({"5": x509.tlv(0x16, b"CN=cloud.example")}))
    yield leaf("no-ucode-in-leaf", "is missing", machine.endorsement({"3.8": None}))
    yield leaf("padded-integer-in-leaf", "short form", machine.endorsement({"3.8": b"\x02\x03\x00\x00\xdb"}))
    yield leaf("unknown-struct-version", "structVersion", machine.endorsement({"1": x509.integer(2)}))
    yield leaf("fmc-on-milan", "FMC", machine.endorsement({"3.9": x509.integer(1)}))
    vlek = machine.other(vlek=True)
    with_chip = vlek.endorsement({"4": machine.chip_id})
    yield Case("chip-in-vlek", vlek.report(report_data=NONCE), with_chip, "hardware", cause="names a provider")
    no_provider = vlek.endorsement({"5": None})
    yield Case("no-provider-in-vlek", vlek.report(report_data=NONCE), no_provider, "hardware", cause="names a provider")


def _wrong_reports() -> Iterator[Case]:
    machine = Machine()
    leaf = machine.endorsement()
    good = machine.report(report_data=NONCE)

    def hardware(name: str, cause: str, report: bytes) -> Case:
        return Case(name, report, leaf, "hardware", cause=cause)

    for name, offset in (("measurement", 0x90), ("report-data", 0x50), ("host-data", 0xC0), ("r", 0x2A0), ("s", 0x2E8)):
        flipped = bytearray(good)
        flipped[offset] ^= 0x80
        yield hardware(f"flipped-bit-in-{name}", "not signed by", bytes(flipped))
    yield hardware("signature-zero", "out of range", good[:0x2A0] + bytes(0x200))
    yield hardware("other-key", "not signed by", machine.other(seed=b"2").sign(machine.report_body(report_data=NONCE)))
    yield hardware("chip-with-a-long-tail", "another chip", _turin_tail())
    old, new = replace(TCBS["Milan"], ucode=218), replace(TCBS["Milan"], ucode=220)
    yield hardware("reported-above-current", "newer than what runs", machine.report(report_data=NONCE, current_tcb=old))
    committed = machine.report(report_data=NONCE, committed_tcb=new)
    yield hardware("committed-above-current", "newer than what runs", committed)
    yield hardware("unsigned", "not signed", machine.report(report_data=NONCE, keys=NONE << 2))
    yield hardware("claims-a-vlek", "another kind of key", machine.report(report_data=NONCE, keys=VLEK << 2))
    yield hardware("unknown-model", "model is not known", machine.report(report_data=NONCE, cpuid=b"\x19\x20\x01"))


def _turin_tail() -> bytes:
    return Machine().report(report_data=NONCE, chip_id=Machine().chip_id[:8])


def _misconfigured() -> Iterator[Case]:
    machine = Machine()
    leaf = machine.endorsement()

    def configuration(name: str, cause: str, outcome: str = "failed", **fields: object) -> Case:
        report = machine.report(report_data=NONCE, **fields)  # type: ignore[arg-type]
        return Case(name, report, leaf, "configuration", outcome, cause)

    yield configuration("debug", "can be debugged", guest_policy=POLICY | DEBUG)
    yield configuration("migratable", "migration agent", guest_policy=POLICY | MIGRATE_MA)
    yield configuration("asked-for-by-the-hypervisor", "not the guest", vmpl=BY_HYPERVISOR)
    yield configuration("unknown-policy-bit", "meaning is not known", "not established", guest_policy=POLICY | 1 << 40)


def _unfresh() -> Iterator[Case]:
    machine = Machine()
    yield Case(
        "replayed", machine.report(report_data=b"an older challenge"), machine.endorsement(), "freshness",
        cause="another request",
    )  # fmt: skip


OLD_TCB = Tcb(3, 0, 8, 115)
"""For tests of floors: below every good machine's."""
