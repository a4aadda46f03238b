"""Intel SGX quotes, version 3: teelog.evidence.dcap (bytes to fields, signatures to a pinned root, TCB status),
policy.py (fields against a policy).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from teelog.evidence.dcap import enclave_report
from teelog.evidence.dcap import quote as quotes
from teelog.evidence.dcap.enclave_report import Report
from teelog.evidence.dcap.evidence import Quoted
from teelog.evidence.platform import NOTHING
from teelog.evidence.sgx import policy
from teelog.verdict import Finding


@dataclass(slots=True)
class Sgx(Quoted):
    """A quote of an enclave as `teelog.evidence.platform.Evidence`."""

    KIND: ClassVar[str] = "SGX"

    report: Report

    @property
    def registers(self) -> Mapping[str, bytes]:
        own = self.report
        return {
            "mrenclave": own.mrenclave,
            "mrsigner": own.mrsigner,
            "isvprodid": own.isv_prod_id.to_bytes(2),
            "isvsvn": own.isv_svn.to_bytes(2),
        }

    @property
    def facts(self) -> tuple[str, ...]:
        return policy.facts(self.report)

    def fields(self) -> Mapping[str, object]:
        return {**quotes.fields(self.quote), **enclave_report.fields(self.report)}

    def configuration(self, floor: Mapping[str, object] = NOTHING, require: Mapping[str, object] = NOTHING) -> Finding:
        return policy.configuration(self.report, self.found, floor, require)


def looks_like(raw: bytes) -> bool:
    return quotes.looks_like(raw, quotes.SGX)


def parse(raw: bytes) -> Sgx:
    quote = quotes.parse(raw, quotes.SGX)
    parsed = enclave_report.parse(quote.body)
    return Sgx(quote, parsed.report_data, parsed)


def check_floor(table: Mapping[str, object]) -> None:
    policy.check_floor(table)
