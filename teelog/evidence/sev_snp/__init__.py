"""AMD SEV-SNP attestation reports, in three cuts: report.py (bytes to fields), chain.py (signatures to a pinned root),
policy.py (fields against a policy).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from teelog.errors import NotEstablished, TeelogError
from teelog.evidence import report_data
from teelog.evidence.certificates import utc
from teelog.evidence.platform import NOTHING, Expected, Roots
from teelog.evidence.sev_snp import chain, policy, report
from teelog.evidence.sev_snp import roots as amd_roots
from teelog.evidence.sev_snp.chain import Chain
from teelog.evidence.sev_snp.report import Report
from teelog.verdict import Check, Finding, failed, not_established, verified

PLATFORM = "sev-snp"


@dataclass(frozen=True, slots=True)
class SevSnp:
    """An attestation report as `teelog.evidence.platform.Evidence`."""

    report: Report

    @classmethod
    def parse(cls, raw: bytes) -> SevSnp:
        """Raises MalformedError."""
        return cls(report.parse(raw))

    @property
    def platform(self) -> str:
        return PLATFORM

    @property
    def raw(self) -> bytes:
        return self.report.raw

    @property
    def registers(self) -> Mapping[str, bytes]:
        return {"measurement": self.report.measurement}

    @property
    def facts(self) -> tuple[str, ...]:
        return policy.facts(self.report)

    def fields(self) -> Mapping[str, object]:
        return dict(report.fields(self.report))

    def hardware(self, endorsements: Sequence[bytes], now: int, roots: Roots | None = None) -> Finding:
        if not endorsements:
            return not_established(Check.HARDWARE, "no endorsement: the certificate of the chip's key is missing")
        try:
            found = chain.verify(self.report, endorsements, now, roots or amd_roots.shipped())
        except NotEstablished as error:
            return not_established(Check.HARDWARE, error.message)
        except TeelogError as error:
            return failed(Check.HARDWARE, error)
        return verified(Check.HARDWARE, *_established(self.report, found))

    def configuration(self, floor: Mapping[str, object] = NOTHING, require: Mapping[str, object] = NOTHING) -> Finding:
        return policy.configuration(self.report, floor, require)

    def freshness(self, expected: Expected) -> Finding:
        return report_data.freshness(self.report.report_data, expected)

    def binding(self, expected: Expected) -> Finding:
        return report_data.binding(self.report.report_data, expected)


def _established(parsed: Report, found: Chain) -> Iterator[str]:
    leaf = found.endorsement
    yield f"AMD {found.product} processor, chain to the pinned root {found.root.common_name}"
    if found.root.fingerprint not in amd_roots.PINS.values():
        yield f"this root is NOT AMD's: it was given in place of it ({found.root.fingerprint.hex()})"
    if leaf.csp_id is not None:
        yield f"signed by a key that AMD lent to {leaf.csp_id}: it shows the provider, not the chip"
    elif found.masked:
        yield "signed by the chip's own key; the host hides which chip"
    else:
        yield "signed by the key of the chip that the certificate names"
    yield f"firmware: {parsed.reported_tcb} (as certified)"
    yield f"certificates valid until {utc(min(leaf.certificate.not_after, found.intermediate.not_after))}"
    yield "revocation: not checked, no list was given"


def looks_like(raw: bytes) -> bool:
    return report.looks_like(raw)


def parse(raw: bytes) -> SevSnp:
    return SevSnp.parse(raw)


def check_floor(table: Mapping[str, object]) -> None:
    policy.check_floor(table)
