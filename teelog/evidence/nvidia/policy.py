"""Third cut: an authentic report against the golden measurements and the trust file.

A GPU's report holds no configuration of its own that could be trusted by name: what it runs, and whether it runs in the
mode for confidential computing rather than in one for development, shows in its measurements alone. So they are
compared with the golden values of the driver and of the VBIOS, index by index.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from teelog.errors import NotEstablished, TeelogError, VerificationError
from teelog.evidence import tables
from teelog.evidence.certificates import utc
from teelog.evidence.nvidia import rim as rims
from teelog.evidence.nvidia.report import Report
from teelog.evidence.nvidia.rim import Rim
from teelog.verdict import Check, Finding, failed, not_established, verified

NVDEC0_INDEX = 35
"""Of the video decoder, which has a value only where it is on (NVIDIA, nvtrust)."""

_Version = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Z.]{1,32}\Z")]
_Versions = Annotated[tuple[_Version, ...], msgspec.Meta(min_length=1, max_length=64)]


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """driver, vbios: the versions that may run, as reports name them; without them, all that NVIDIA signed."""

    driver: _Versions | None = None
    vbios: _Versions | None = None


@dataclass(frozen=True, slots=True)
class Golden:
    """The result of comparing. compared: indexes that have a golden value, which the report's equals.

    open: indexes of the report without one. skipped: indexes that have one and no meaning on this GPU.
    """

    driver: Rim
    vbios: Rim
    compared: tuple[int, ...]
    open: tuple[int, ...]
    skipped: tuple[int, ...]


def golden(report: Report, files: Sequence[bytes], now: int, pins: Mapping[str, bytes]) -> Golden:
    """Compares with the golden RIMs among ``files``. now: POSIX seconds.

    Raises NotEstablished where one is missing; VerificationError and its kinds, MalformedError.
    """
    if not files:
        raise NotEstablished("no golden RIM was given: the measurements are compared with nothing")
    found = [rims.verify(each, now, pins) for each in files]
    driver = rims.of_version(found, report.driver, "driver")
    vbios = rims.of_version(found, report.vbios, "VBIOS")
    # One version of the driver is made for several kinds of GPU, with a RIM each; a VBIOS is of one kind.
    if driver.product != vbios.product:
        raise VerificationError(
            "the golden RIM of the driver is for another kind of GPU", expected=vbios.product, actual=driver.product
        )
    both = sorted(driver.golden.keys() & vbios.golden.keys())
    if both:
        raise VerificationError("driver and VBIOS have golden values for one index", actual=both[0])
    wanted = {**driver.golden, **vbios.golden}
    compared, skipped = [], []
    for index in sorted(wanted):
        own = report.measurements.get(index, b"")
        if sum(hmac.compare_digest(own, value) for value in wanted[index]):
            compared.append(index)
        elif index == NVDEC0_INDEX and report.nvdec_disabled:
            skipped.append(index)
        else:
            raise VerificationError(
                f"measurement {index} is none of the golden values",
                expected=" or ".join(value.hex() for value in wanted[index][:4]),
                actual=own.hex() or "missing",
            )
    without = tuple(sorted(report.measurements.keys() - wanted.keys()))
    return Golden(driver, vbios, tuple(compared), without, tuple(skipped))


def check_floor(table: Mapping[str, object]) -> None:
    """Raises ConfigError for a member that means nothing here."""
    tables.check_floor("nvidia", table, Policy)


def configuration(
    report: Report, found: Golden | TeelogError | None, floor: Mapping[str, object], require: Mapping[str, object]
) -> Finding:
    """See `teelog.evidence.platform.Evidence.configuration`. found: by the last `hardware`; None before.

    Raises ConfigError for a floor that is not understood.
    """
    check_floor(floor)
    trust, _ = tables.read(floor, Policy)
    release, unknown = tables.read(require, Policy)
    for cause in _breaches(report, trust, release):
        return cause
    if found is None:
        return not_established(Check.CONFIGURATION, "the measurements are compared together with hardware")
    if isinstance(found, NotEstablished):
        return not_established(Check.CONFIGURATION, str(found))
    if isinstance(found, TeelogError):
        return failed(Check.CONFIGURATION, found)
    if unknown:
        return tables.unchecked(unknown)
    return verified(Check.CONFIGURATION, *_established(found), *facts(report))


def _breaches(report: Report, *policies: Policy) -> Iterator[Finding]:
    for policy in policies:
        for what, own, allowed in (("driver", report.driver, policy.driver), ("VBIOS", report.vbios, policy.vbios)):
            if allowed is not None and own not in allowed:
                yield failed(
                    Check.CONFIGURATION,
                    f"the {what} is of another version",
                    expected=" or ".join(allowed),
                    actual=own or "none",
                )


def _established(found: Golden) -> Iterator[str]:
    yield f"{len(found.compared)} of {len(found.compared) + len(found.skipped)} golden measurements are equal"
    if found.skipped:
        yield f"not equal: {_list(found.skipped)}, of the video decoder, which is off and so has no value"
    yield f"without a golden value, so they may be anything: {_list(found.open) or 'none'}"
    for what, rim in (("driver", found.driver), ("VBIOS", found.vbios)):
        yield f"golden RIM of {what} {rim.version} ({rim.product}), signer's certificate until {utc(rim.not_after)}"
    yield "revocation of the RIMs' signers: not checked"


def _list(indexes: Sequence[int]) -> str:
    return ", ".join(map(str, indexes))


def facts(report: Report) -> tuple[str, ...]:
    """What the report says about isolation, in plain words."""
    return (
        f"driver: {report.driver or 'not named'}",
        f"VBIOS: {report.vbios or 'not named'}",
        "mode (confidential computing, or for development): shows in the measurements alone",
        f"video decoder: {'off' if report.nvdec_disabled else 'not off'}",
    )
