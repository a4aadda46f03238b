"""Reports of NVIDIA GPUs, in three cuts: report.py (bytes to fields), chain.py (signatures to the pinned root),
policy.py (measurements against golden ones, which rim.py reads). container.py: the file. answers.py: freshness and
binding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from teelog.errors import MalformedError, NotEstablished, TeelogError
from teelog.evidence import certificates
from teelog.evidence.certificates import Certificate
from teelog.evidence.nvidia import answers, chain, container, policy, rim
from teelog.evidence.nvidia import report as reports
from teelog.evidence.nvidia import roots as nvidia_roots
from teelog.evidence.nvidia.chain import Chain
from teelog.evidence.nvidia.policy import Golden
from teelog.evidence.nvidia.report import Report
from teelog.evidence.platform import NOTHING, Expected, Roots
from teelog.verdict import Check, Finding, failed, not_established, verified

PLATFORM = "nvidia"
MAX_RIMS = 4


@dataclass(slots=True)
class Nvidia:
    """A GPU's report as `teelog.evidence.platform.Evidence`.

    certificates: PEM that came with the report, or nothing. golden: what the last `hardware` found of the golden
    measurements, for `configuration`; None before. device: see `teelog.evidence.platform.Device`, SHA-256 of the key
    that signed, which is derived from the GPU's own.
    """

    report: Report
    certificates: bytes
    golden: Golden | TeelogError | None = field(default=None, init=False, compare=False)
    device: bytes | None = field(default=None, init=False, compare=False)

    @property
    def platform(self) -> str:
        return PLATFORM

    @property
    def raw(self) -> bytes:
        return self.report.raw

    @property
    def registers(self) -> Mapping[str, bytes]:
        return {f"measurement{index}": value for index, value in sorted(self.report.measurements.items())}

    @property
    def facts(self) -> tuple[str, ...]:
        return policy.facts(self.report)

    def fields(self) -> Mapping[str, object]:
        found = reports.fields(self.report)
        return {**found, "certificates": self.certificates.count(b"-----BEGIN CERTIFICATE-----")}

    def hardware(self, endorsements: Sequence[bytes], now: int, roots: Roots | None = None) -> Finding:
        """endorsements: the chain, leaf first, unless it came with the report; golden RIMs (XML), for configuration."""
        self.golden = self.device = None
        trusted = roots or nvidia_roots.shipped()
        try:
            golden = [each for each in endorsements if rim.looks_like(each)]
            others = [each for each in endorsements if not rim.looks_like(each)]
            shown = _chain([self.certificates] if self.certificates else others)
            found = chain.verify(self.report, shown, now, nvidia_roots.device(trusted))
            self.golden = self._compare(golden, now, nvidia_roots.rim(trusted))
        except NotEstablished as error:
            return not_established(Check.HARDWARE, error.message)
        except TeelogError as error:
            return failed(Check.HARDWARE, error)
        self.device = hashlib.sha256(found.leaf.spki).digest()
        return verified(Check.HARDWARE, *_established(self.report, found))

    def _compare(self, files: Sequence[bytes], now: int, pins: Mapping[str, bytes]) -> Golden | TeelogError:
        """What is wrong with the golden measurements is for `configuration` to say."""
        if len(files) > MAX_RIMS:
            return MalformedError("too many golden RIMs", expected=f"at most {MAX_RIMS}", actual=len(files))
        try:
            return policy.golden(self.report, files, now, pins)
        except TeelogError as error:
            return error

    def configuration(self, floor: Mapping[str, object] = NOTHING, require: Mapping[str, object] = NOTHING) -> Finding:
        return policy.configuration(self.report, self.golden, floor, require)

    def freshness(self, expected: Expected) -> Finding:
        return answers.freshness(self.report.nonce, expected)

    def binding(self, expected: Expected) -> Finding:
        return answers.binding(self.report.nonce, expected)


def _chain(files: Sequence[bytes]) -> list[Certificate]:
    """Leaf first. Raises MalformedError; NotEstablished where there are none."""
    ders: list[bytes] = []
    for each in files:
        ders += [each] if each[:1] == b"\x30" else certificates.load_pem(each)
        if len(ders) > certificates.MAX_CERTIFICATES:
            raise MalformedError("too many certificates", expected=f"at most {certificates.MAX_CERTIFICATES}")
    if not ders:
        raise NotEstablished("the GPU's certificates were not given, and the report came without them")
    return [certificates.load_cert(each) for each in ders]


def _established(parsed: Report, found: Chain) -> Iterator[str]:
    yield f"NVIDIA GPU {found.leaf.common_name}, chain to the pinned root {found.root.common_name}"
    if found.root.fingerprint not in nvidia_roots.PINS.values():
        yield f"this root is NOT NVIDIA's: it was given in place of it ({found.root.fingerprint.hex()})"
    yield f"firmware that holds the key (FWID): {found.fwid.hex()}"
    if parsed.fwid is None:
        yield "the report names no FWID itself, as those of older drivers do"
    yield "revocation: not checked"
    yield "which machine the GPU is attached to: not in this report; the CPU's must commit to it"


def looks_like(raw: bytes) -> bool:
    return container.looks_like(raw)


def parse(raw: bytes) -> Nvidia:
    found, shown = container.open_(raw)
    return Nvidia(reports.parse(found), shown)


def check_floor(table: Mapping[str, object]) -> None:
    policy.check_floor(table)
