"""Third cut, the part that TDX and SGX share: the TCB status against what the verifier and the release accept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from teelog.errors import ConfigError
from teelog.evidence.certificates import utc
from teelog.evidence.dcap.verify import Platform
from teelog.evidence.platform import Roots
from teelog.verdict import Check, Finding, failed, not_established

ACCEPTED = ("UpToDate", "SWHardeningNeeded")
"""The TCB statuses that pass where the trust file names none. SWHardeningNeeded: the program must be hardened against a
known attack on the processor, which no firmware can do for it."""

Status = Literal[
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "TDRelaunchAdvised",
    "TDRelaunchAdvisedConfigurationNeeded",
]
"""Those that a trust file may accept. Revoked is none of them: such a quote is not genuine."""

Svn = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
_Advisory = Annotated[str, msgspec.Meta(pattern=r"\A[A-Z0-9][A-Z0-9-]{1,39}\Z")]


class TcbPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """tcb_status: those accepted; None in a trust file: ACCEPTED. deny_advisories: ids that must not apply.

    min_tcb_evaluation_data_number: of the collateral, so that nobody brings an old one that is still in force.
    """

    debug: bool | None = None
    tcb_status: Annotated[list[Status], msgspec.Meta(min_length=1)] | None = None
    deny_advisories: list[_Advisory] = []
    min_tcb_evaluation_data_number: Annotated[int, msgspec.Meta(ge=0, le=1 << 32)] = 0


def check_debug(name: str, policy: TcbPolicy) -> None:
    """Raises ConfigError for a trust file that would allow what must never be."""
    if policy.debug:
        raise ConfigError(
            f"[platform.{name}] no trust file allows debugging: the host reads the memory",
            expected="debug = false",
            hint="to accept it nevertheless, switch the check off by name: configuration",
        )


def breaches(platform: Platform | None, trust: TcbPolicy, release: TcbPolicy) -> Iterator[Finding]:
    """Of the platform's state; platform None: nothing established it."""
    if platform is None:
        yield not_established(
            Check.CONFIGURATION, "the TCB status is not known: it is established together with hardware"
        )
        return
    for accepted in (trust.tcb_status or ACCEPTED, release.tcb_status):
        if accepted is not None and platform.status not in accepted:
            yield failed(
                Check.CONFIGURATION,
                "the platform's TCB status is not accepted",
                expected=" or ".join(accepted),
                actual=" ".join((platform.status, *platform.advisories)),
            )
    for policy in (trust, release):
        denied = [each for each in platform.advisories if each in policy.deny_advisories]
        if denied:
            yield failed(Check.CONFIGURATION, "an advisory applies that is denied", actual=" ".join(denied))
        least = policy.min_tcb_evaluation_data_number
        if platform.evaluation < least:
            expected = f"at least {least}"
            yield failed(
                Check.CONFIGURATION, "the collateral is too old", expected=expected, actual=platform.evaluation
            )


def state(platform: Platform) -> tuple[str, ...]:
    """The TCB status and the advisories, a line each."""
    named = ", ".join(platform.advisories) or "none"
    return f"TCB status: {platform.status}", f"advisories that apply: {named}"


def established(kind: str, platform: Platform, shipped: Roots) -> Iterator[str]:
    """What `verify` found out, in plain words."""
    yield f"Intel {kind}, chain to the pinned root {platform.root.common_name}"
    if platform.root.fingerprint not in shipped.pins.values():
        yield f"this root is NOT Intel's: it was given in place of it ({platform.root.fingerprint.hex()})"
    yield f"platform: FMSPC {platform.pck.fmspc.hex()}, by {platform.pck.certificate.issuer_common_name}"
    yield from state(platform)
    yield f"collateral: evaluation data number {platform.evaluation}, usable until {utc(platform.valid_until)}"
    yield "revocation: checked against the lists of the collateral"
    if platform.refusal is not None:
        yield f"judged by this project's own code: dcap-qvl does not judge such a quote ({platform.refusal})"
