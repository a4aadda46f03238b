"""Azure confidential VMs, whose guests are attested by a vTPM in a paravisor that the hardware measured.

    pinned root of AMD or Intel -> report or quote of the machine, launched with a paravisor
        REPORT_DATA -> runtime data -> the vTPM's attestation key -> quote -> the guest's PCRs

container.py: the file; hcl.py: the paravisor's report; policy.py: fields against a policy; the rest is that of
teelog.evidence.sev_snp, teelog.evidence.tdx and teelog.evidence.tpm.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from teelog.errors import MalformedError, TeelogError, VerificationError
from teelog.evidence import sev_snp, tdx
from teelog.evidence.azure import container, hcl, policy
from teelog.evidence.azure.container import Container
from teelog.evidence.platform import NOTHING, Expected, Roots
from teelog.evidence.sev_snp import SevSnp
from teelog.evidence.tdx import Tdx
from teelog.evidence.tpm import answers, event_log
from teelog.evidence.tpm import quote as quotes
from teelog.verdict import Check, Finding, Outcome, failed, verified

PLATFORM = "azure"

_PARAVISOR_LEVEL = 0


@dataclass(frozen=True, slots=True)
class Azure:
    """Report, runtime data and quote as `teelog.evidence.platform.Evidence`.

    machine: the hardware's own evidence, which keeps what its last `hardware` found.
    """

    raw: bytes
    parsed: Container
    machine: SevSnp | Tdx

    @property
    def platform(self) -> str:
        return PLATFORM

    @property
    def registers(self) -> Mapping[str, bytes]:
        return self.parsed.quoted.registers

    @property
    def paravisor(self) -> bytes:
        """Its launch measurement, 48 bytes."""
        return self.machine.registers["measurement" if isinstance(self.machine, SevSnp) else "mrtd"]

    @property
    def facts(self) -> tuple[str, ...]:
        return policy.facts(self.machine, self.paravisor, self.parsed.report.vm)

    def fields(self) -> Mapping[str, object]:
        return {
            **hcl.fields(self.parsed.report),
            "hardware": self.machine.platform,
            **{f"hardware_{name}": value for name, value in self.machine.fields().items()},
            "quote": quotes.fields(self.parsed.quoted.quote),
            **self.registers,
        }

    def hardware(self, endorsements: Sequence[bytes], now: int, roots: Roots | None = None) -> Finding:
        """endorsements: as for the machine; an SNP machine's certificate may stand in the evidence itself."""
        given = list(endorsements)
        if self.parsed.vcek is not None and self.parsed.vcek not in given:
            given.insert(0, self.parsed.vcek)
        below = self.machine.hardware(given, now, roots)
        if below.outcome is Outcome.FAILED:
            return below
        try:
            self._check()
        except TeelogError as error:
            return failed(Check.HARDWARE, error)
        if below.outcome is not Outcome.VERIFIED:
            return below
        return verified(
            Check.HARDWARE,
            *below.details,
            f"the machine was launched with the paravisor {self.paravisor.hex()[:16]}...: see configuration",
            "its report commits to the vTPM's attestation key, and that key signed the quote of the PCRs",
        )

    def _check(self) -> None:
        """From REPORT_DATA to the PCRs. Raises VerificationError, SignatureError."""
        report, quoted = self.parsed.report, self.parsed.quoted
        if isinstance(self.machine, SevSnp):
            answer, level = self.machine.report.report_data, self.machine.report.vmpl
            # A guest below the paravisor can have a report of its own, for runtime data of its own making.
            if level != _PARAVISOR_LEVEL:
                raise VerificationError(
                    "the report was not asked for by the paravisor", expected=f"VMPL {_PARAVISOR_LEVEL}", actual=level
                )
        else:
            answer = self.machine.answer
        if not hmac.compare_digest(answer, report.report_data):
            raise VerificationError(
                "the hardware's report does not commit to the runtime data",
                expected=report.report_data.hex(),
                actual=answer.hex(),
            )
        quotes.verify(quoted.quote, quoted.signature, report.ak)
        quotes.check_registers(quoted.quote, quoted.signature, quoted.values)

    def configuration(self, floor: Mapping[str, object] = NOTHING, require: Mapping[str, object] = NOTHING) -> Finding:
        return policy.configuration(self.machine, self.paravisor, self.parsed.report.vm, floor, require)

    def freshness(self, expected: Expected) -> Finding:
        return answers.freshness(self.parsed.quoted.quote.extra_data, expected)

    def binding(self, expected: Expected) -> Finding:
        return answers.binding(self.parsed.quoted.quote.extra_data, expected)

    def replay(self, log: bytes) -> Finding:
        """See `teelog.evidence.platform.Logged.replay`: a TCG event log against the PCRs."""
        return event_log.compare(log, self.registers)


def looks_like(raw: bytes) -> bool:
    return container.looks_like(raw)


def parse(raw: bytes) -> Azure:
    found = container.parse(raw)
    report = found.report
    if report.snp is not None:
        return Azure(raw, found, sev_snp.parse(report.snp))
    assert found.td_quote is not None
    assert report.td is not None
    machine = tdx.parse(found.td_quote)
    # The TDREPORT's own MAC cannot be checked elsewhere; it must not say anything but what the quote says.
    if report.td.tee != machine.quote.body[120:520] or report.td.report_data != machine.answer:
        raise MalformedError("Azure evidence: the HCL report and the TD quote are of two machines")
    return Azure(raw, found, machine)


def check_floor(table: Mapping[str, object]) -> None:
    policy.check_floor(table)
