"""AWS Nitro Enclaves attestation documents, in three cuts: document.py (bytes to fields), chain.py (signatures to the
pinned root), policy.py (fields against a policy). answers.py: freshness and binding. pcr.py: rules of the registers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from teelog.errors import TeelogError
from teelog.evidence.certificates import utc
from teelog.evidence.nitro import answers, chain, document, policy
from teelog.evidence.nitro import roots as aws_roots
from teelog.evidence.nitro.chain import Chain
from teelog.evidence.nitro.document import Document
from teelog.evidence.platform import NOTHING, Expected, Roots
from teelog.verdict import Check, Finding, failed, verified

PLATFORM = "nitro"

_STATED = 16  # registers that a release can name
_DAY = 86_400  # seconds


@dataclass(slots=True)
class Nitro:
    """An attestation document as `teelog.evidence.platform.Evidence`.

    age: seconds, as the last `hardware` found it, for `configuration`; None before.
    """

    document: Document
    age: int | None = field(default=None, init=False, compare=False)

    @property
    def platform(self) -> str:
        return PLATFORM

    @property
    def raw(self) -> bytes:
        return self.document.raw

    @property
    def registers(self) -> Mapping[str, bytes]:
        return {f"pcr{index}": value for index, value in sorted(self.document.pcrs.items()) if index < _STATED}

    @property
    def facts(self) -> tuple[str, ...]:
        return policy.facts(self.document)

    def fields(self) -> Mapping[str, object]:
        return document.fields(self.document)

    def hardware(self, endorsements: Sequence[bytes], now: int, roots: Roots | None = None) -> Finding:
        """The document brings its chain along: endorsements are not needed and not looked at."""
        del endorsements
        self.age = None
        try:
            found = chain.verify(self.document, now, roots or aws_roots.shipped())
        except TeelogError as error:
            return failed(Check.HARDWARE, error)
        self.age = found.age
        return verified(Check.HARDWARE, *_established(self.document, found))

    def configuration(self, floor: Mapping[str, object] = NOTHING, require: Mapping[str, object] = NOTHING) -> Finding:
        return policy.configuration(self.document, self.age, floor, require)

    def freshness(self, expected: Expected) -> Finding:
        return answers.freshness(self.document, expected)

    def binding(self, expected: Expected) -> Finding:
        return answers.binding(self.document, expected)


def _established(parsed: Document, found: Chain) -> Iterator[str]:
    yield f"AWS Nitro enclave {parsed.module_id}, chain to the pinned root {found.root.common_name}"
    if found.root.fingerprint not in aws_roots.PINS.values():
        yield f"this root is NOT AWS's: it was given in place of it ({found.root.fingerprint.hex()})"
    ago = f"{max(found.age, 0)} s" if found.age < 2 * _DAY else f"{found.age // _DAY} days"
    yield f"certificates judged at {utc(parsed.made_at)}, when the document was made: {ago} ago"
    yield "revocation: not checked, the enclave's certificate lives for hours only"


def looks_like(raw: bytes) -> bool:
    return document.looks_like(raw)


def parse(raw: bytes) -> Nitro:
    return Nitro(document.parse(raw))


def check_floor(table: Mapping[str, object]) -> None:
    policy.check_floor(table)
