"""What TDX and SGX quotes answer in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from teelog.errors import NotEstablished, TeelogError
from teelog.evidence import report_data
from teelog.evidence.dcap import policy, verify
from teelog.evidence.dcap import roots as intel
from teelog.evidence.dcap.quote import Quote
from teelog.evidence.platform import Expected, Roots
from teelog.verdict import Check, Finding, failed, not_established, verified


@dataclass(slots=True)
class Quoted:
    """A quote as `teelog.evidence.platform.Evidence`, but for what its body says.

    answer: REPORTDATA, 64 bytes. found: what the last `hardware` established, for `configuration`; None before.
    """

    KIND: ClassVar[str]

    quote: Quote
    answer: bytes
    found: verify.Platform | None = field(default=None, init=False, compare=False)

    @property
    def platform(self) -> str:
        return self.KIND.lower()

    @property
    def raw(self) -> bytes:
        return self.quote.raw

    def hardware(self, endorsements: Sequence[bytes], now: int, roots: Roots | None = None) -> Finding:
        self.found = None
        try:
            found = verify.verify(self.quote, endorsements, now, roots or intel.shipped())
        except NotEstablished as error:
            return not_established(Check.HARDWARE, error.message)
        except TeelogError as error:
            return failed(Check.HARDWARE, error)
        self.found = found
        return verified(Check.HARDWARE, *policy.established(self.KIND, found, intel.shipped()))

    def freshness(self, expected: Expected) -> Finding:
        return report_data.freshness(self.answer, expected)

    def binding(self, expected: Expected) -> Finding:
        return report_data.binding(self.answer, expected)
