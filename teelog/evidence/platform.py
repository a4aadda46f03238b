"""What every TEE's evidence can be asked, whatever the platform (design section 7, protocol section 7 steps 0, 1, 8).

    evidence = platform.parse(raw)                      # structure only: nothing in it is trusted yet
    evidence.hardware(endorsements, now)                # chain to a pinned root, signature, TCB: a Finding
    evidence.configuration(floor, require)              # the stricter of the trust file and the release
    evidence.freshness(expected)                        # answers this caller's nonce or report data
    evidence.binding(expected)                          # commits to this channel's key, or to this output
    evidence.registers                                  # what a release's variant is compared with

The four questions answer with a Finding and never raise for what the evidence or an endorsement holds. Until
``hardware`` is verified, everything else here is only what some bytes claim.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, cast, runtime_checkable

from teelog.errors import ConfigError, MalformedError
from teelog.verdict import Finding

MAX_NONCE = 64  # bytes

_EVENT_LOG = b"Spec ID Event03\0"  # how a log of events begins, see event_log
_HCL = b"HCLA"

NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Roots:
    """Whom to believe that hardware is genuine.

    pins: label -> SHA-256 of a root certificate's DER. For SEV-SNP the label is the processor generation (``Milan``).
    certificates: DER of roots and intermediates that endorsements need not bring along; believed only as far as they
    chain to a pin.
    """

    pins: Mapping[str, bytes]
    certificates: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Expected:
    """What the caller expects the evidence to answer; all None: nothing, so both checks are not established.

    nonce: the challenge, 1 to 64 bytes. report_data: the platform's whole field. Not both.
    binds: the bytes that were bound, not none: a public key as SPKI DER, or an output (see report_data.bound_bytes).
    parts: the parts of composite evidence that this evidence commits to, in order.
    """

    nonce: bytes | None = None
    report_data: bytes | None = None
    binds: bytes | None = None
    parts: tuple[bytes, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.nonce is not None and self.report_data is not None:
            raise ValueError("a nonce or the report data, not both")
        # An empty challenge is answered by evidence of any age, and nothing at all is bound by everybody.
        if self.nonce is not None and not 1 <= len(self.nonce) <= MAX_NONCE:
            raise ValueError(f"a nonce has 1 to {MAX_NONCE} bytes, this one {len(self.nonce)}")
        if self.report_data is not None and not self.report_data:
            raise ValueError("the report data is empty")
        if self.binds is not None and not self.binds:
            raise ValueError("what the evidence should bind is empty")


class Evidence(Protocol):
    """One platform's evidence, parsed strictly; made by `parse`.

    platform: one of PLATFORMS. raw: exactly the bytes that are evidence, without padding that a transport added behind
    them. registers: name -> value, by the names of statements (SEV-SNP: ``measurement``).
    """

    @property
    def platform(self) -> str: ...

    @property
    def raw(self) -> bytes: ...

    @property
    def registers(self) -> Mapping[str, bytes]: ...

    @property
    def facts(self) -> tuple[str, ...]:
        """What the evidence claims about isolation, in plain words, a line each."""

    def fields(self) -> Mapping[str, object]:
        """Every field by name, for show: values are str, int, bool, bytes, or such mappings."""

    def hardware(self, endorsements: Sequence[bytes], now: int, roots: Roots | None = None) -> Finding:
        """Whether a genuine TEE signed it: chain to a pinned root, report signature, TCB and chip as certified.

        endorsements: files as given (DER, PEM, or the platform's own table). now: POSIX seconds. roots: in place of
        the shipped ones. What the endorsements say about the firmware's state (a TCB status) is kept for
        `configuration`; it is for that and not for this check to decide whether that state is good enough.
        """

    def configuration(self, floor: Mapping[str, object] = NOTHING, require: Mapping[str, object] = NOTHING) -> Finding:
        """Whether it is safely configured: the defaults of the platform, and the stricter of two tables.

        floor: the trust file's ``[platform.NAME]`` table, checked with `check_floor`. require: the ``require`` block
        of the release's variant, as it lies there; a member without a meaning here makes it ``not established``.
        Where the platform's endorsements state a TCB status, it is that of the last `hardware`; before one it is
        ``not established``.
        """

    def freshness(self, expected: Expected) -> Finding:
        """Whether it answers the expected nonce or report data."""

    def binding(self, expected: Expected) -> Finding:
        """Whether it commits to ``expected.binds`` (and the nonce, if there is one)."""


@runtime_checkable
class Logged(Protocol):
    """Evidence whose registers a log of events explains."""

    def replay(self, event_log: bytes) -> Finding:
        """Whether the log's events, extended in order, give the registers; the finding is ``measurement``'s."""


@runtime_checkable
class Device(Protocol):
    """Evidence of a device of which a machine can have several."""

    @property
    def device(self) -> bytes | None:
        """What tells it from others of its kind, by the last `hardware`; None where that was not verified."""


class Platform(Protocol):
    """What the module of one platform offers; MODULES names it.

    It loads fast: a library that only this platform needs is imported inside the functions that use it, since
    `detect` loads the modules one after another until one knows the evidence.
    """

    def looks_like(self, raw: bytes) -> bool:
        """Whether ``raw`` has this platform's outer form, versions that are not known here included. Never raises."""

    def parse(self, raw: bytes) -> Evidence:
        """Raises MalformedError; NotEstablished for a version or type that is not known here."""

    def check_floor(self, table: Mapping[str, object]) -> None:
        """Raises ConfigError for a member that means nothing here, or that would allow what must never be."""


MODULES: Mapping[str, str] = MappingProxyType(
    {
        "sev-snp": "teelog.evidence.sev_snp",
        "tdx": "teelog.evidence.tdx",
        "sgx": "teelog.evidence.sgx",
        "nitro": "teelog.evidence.nitro",
        "cca": "teelog.evidence.cca",
        "azure": "teelog.evidence.azure",
        "tpm": "teelog.evidence.tpm",
        "nvidia": "teelog.evidence.nvidia",
    }
)
"""The platforms that this version appraises: the names of statements and of the trust file -> the module of each."""

PLATFORMS = tuple(MODULES)


def module(name: str) -> Platform:
    """The module of one of PLATFORMS, loaded now. Raises MalformedError for any other name."""
    path = MODULES.get(name)
    if path is None:
        raise MalformedError("platform is not known", expected=", ".join(PLATFORMS), actual=name[:80])
    return cast(Platform, importlib.import_module(path))


def detect(evidence: bytes) -> str:
    """The platform whose structure ``evidence`` has; raises MalformedError if none has."""
    for name in PLATFORMS:
        if module(name).looks_like(evidence):
            return name
    raise MalformedError(
        "this is no evidence of a platform that is known here",
        expected="evidence of " + ", ".join(PLATFORMS),
        actual=f"{len(evidence)} bytes",
        hint=_instead(evidence),
    )


def _instead(raw: bytes) -> str | None:
    """What to do with a file that is often taken for evidence; None for any other."""
    if raw and not raw.removeprefix(b"0x").strip(b"0123456789abcdefABCDEF \r\n"):
        return "it is text in hex: decode it first, such as with xxd -r -p"
    if _EVENT_LOG in raw[:128]:
        return "it is an event log: teelog measure event-log FILE; next to a quote: teelog evidence verify --event-log"
    if raw.startswith(_HCL):
        return "an HCL report alone has no quote of the vTPM: docs/formats/evidence-azure.md says what goes with it"
    return None


def parse(evidence: bytes, platform: str | None = None) -> Evidence:
    """Parses strictly; detects the platform unless it is given.

    Raises MalformedError; NotEstablished for a version or type that is not known here.
    """
    return module(detect(evidence) if platform is None else platform).parse(evidence)


def check_floor(platform: str, table: Mapping[str, object]) -> None:
    """Whether every member of a trust file's ``[platform.NAME]`` table means something; raises ConfigError."""
    if platform not in MODULES:
        raise ConfigError("platform is not known", expected=", ".join(PLATFORMS), actual=platform[:80])
    module(platform).check_floor(table)
