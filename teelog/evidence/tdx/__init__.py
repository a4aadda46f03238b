"""Intel TDX quotes, versions 4 and 5: teelog.evidence.dcap (bytes to fields, signatures to a pinned root, TCB status),
policy.py (fields against a policy), event_log.py (what explains the RTMRs).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from teelog.errors import MalformedError
from teelog.evidence.dcap import quote as quotes
from teelog.evidence.dcap import td_report
from teelog.evidence.dcap.evidence import Quoted
from teelog.evidence.dcap.td_report import Report
from teelog.evidence.platform import NOTHING
from teelog.evidence.tdx import event_log, policy
from teelog.verdict import Check, Finding, failed


@dataclass(slots=True)
class Tdx(Quoted):
    """A quote of a trust domain as `teelog.evidence.platform.Evidence`."""

    KIND: ClassVar[str] = "TDX"

    report: Report

    @property
    def registers(self) -> Mapping[str, bytes]:
        own = self.report
        return {
            "mrtd": own.mrtd,
            **{f"rtmr{number}": value for number, value in enumerate(own.rtmr)},
            "mrconfigid": own.mrconfigid,
            "mrowner": own.mrowner,
            "mrownerconfig": own.mrownerconfig,
        }

    @property
    def facts(self) -> tuple[str, ...]:
        return policy.facts(self.report)

    def fields(self) -> Mapping[str, object]:
        return {**quotes.fields(self.quote), **td_report.fields(self.report)}

    def configuration(self, floor: Mapping[str, object] = NOTHING, require: Mapping[str, object] = NOTHING) -> Finding:
        return policy.configuration(self.report, self.found, floor, require)

    def replay(self, log: bytes) -> Finding:
        """See `teelog.evidence.platform.Logged.replay`: a CCEL event log against the RTMRs."""
        try:
            return event_log.compare(event_log.replay(log), self.report.rtmr)
        except MalformedError as error:
            return failed(Check.MEASUREMENT, error)


def looks_like(raw: bytes) -> bool:
    return quotes.looks_like(raw, quotes.TDX)


def parse(raw: bytes) -> Tdx:
    quote = quotes.parse(raw, quotes.TDX)
    parsed = td_report.parse(quote.body)
    return Tdx(quote, parsed.report_data, parsed)


def check_floor(table: Mapping[str, object]) -> None:
    policy.check_floor(table)
