"""Third cut: the fields of an authentic TD report against what the verifier and the release ask for.

Two tables in one form: the trust file's ``[platform.tdx]`` and the ``require`` block of a release's variant. Both
apply, which is the stricter of the two, on top of what always holds: no debugging or profiling; and, unless the trust
file says otherwise, SEPT_VE_DISABLE set, not migratable, no service TD, and a TCB status of ACCEPTED.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from typing import Annotated

import msgspec

from teelog import strict
from teelog.evidence import tables
from teelog.evidence.dcap import policy as dcap
from teelog.evidence.dcap.policy import TcbPolicy
from teelog.evidence.dcap.td_report import Report
from teelog.evidence.dcap.verify import Platform
from teelog.verdict import Check, Finding, not_established, verified

_Digest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{96}\Z")]
_TcbSvn = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
_EXACT = ("mrconfigid", "mrowner", "mrownerconfig")


class Policy(TcbPolicy, frozen=True, forbid_unknown_fields=True):
    """sept_ve_disable: whether it is demanded; only a trust file can say no. migratable true in a trust file: allowed.

    service_td: values of MRSERVICETD that may be bound; a trust file's list allows, a release's restricts. mrseam: the
    TDX modules accepted. min_tee_tcb_svn: 16 bytes, each a minimum. mrconfigid and the like: exact.
    """

    sept_ve_disable: bool | None = None
    migratable: bool | None = None
    service_td: list[_Digest] | None = None
    mrseam: Annotated[list[_Digest], msgspec.Meta(min_length=1)] | None = None
    min_tee_tcb_svn: _TcbSvn | None = None
    mrconfigid: _Digest | None = None
    mrowner: _Digest | None = None
    mrownerconfig: _Digest | None = None


def check_floor(table: Mapping[str, object]) -> None:
    """Raises ConfigError for a member that means nothing here, or that would allow a debuggable TD."""
    dcap.check_debug("tdx", tables.check_floor("tdx", table, Policy))


def configuration(
    report: Report, platform: Platform | None, floor: Mapping[str, object], require: Mapping[str, object]
) -> Finding:
    """See `teelog.evidence.platform.Evidence.configuration`. Raises ConfigError for a floor that is not understood."""
    check_floor(floor)
    trust, _ = tables.read(floor, Policy)
    release, unknown = tables.read(require, Policy)
    for finding in _breaches(report, platform, trust, release):
        return finding
    if unknown:
        return tables.unchecked(unknown)
    if report.unknown_attributes():
        bits = ", ".join(map(str, report.unknown_attributes()))
        return not_established(Check.CONFIGURATION, f"attributes of the TD are set whose meaning is not known: {bits}")
    assert platform is not None
    return verified(Check.CONFIGURATION, *dcap.state(platform), *facts(report))


def _breaches(report: Report, platform: Platform | None, trust: Policy, release: Policy) -> Iterator[Finding]:
    if report.under_debug:
        named = ", ".join(report.under_debug)
        yield tables.breach("the TD can be debugged or profiled: its host looks into it", "debug off", named)
    flags = report.attribute_flags()
    if not flags["sept_ve_disable"] and (trust.sept_ve_disable is not False or release.sept_ve_disable):
        yield tables.breach(
            "the host can make the TD handle faults of its memory (SEPT_VE_DISABLE)",
            "sept_ve_disable on",
            "sept_ve_disable off",
        )
    if flags["migratable"] and (not trust.migratable or release.migratable is False):
        yield tables.breach("the TD may be moved to another machine", "migratable off", "migratable on")
    yield from _service_td_breaches(report, trust, release)
    for policy in (trust, release):
        yield from _exact_breaches(report, policy)
    yield from dcap.breaches(platform, trust, release)


def _service_td_breaches(report: Report, trust: Policy, release: Policy) -> Iterator[Finding]:
    if not report.service_td:
        return
    assert report.mrservicetd is not None
    actual = report.mrservicetd.hex()
    for allowed in (trust.service_td or [], release.service_td):
        if allowed is not None and actual not in allowed:
            yield tables.breach("a service TD is bound to the TD", " or ".join(allowed) or "none", actual)


def _exact_breaches(report: Report, policy: Policy) -> Iterator[Finding]:
    if policy.mrseam is not None and report.mrseam.hex() not in policy.mrseam:
        yield tables.breach("the TDX module is another", " or ".join(policy.mrseam), report.mrseam.hex())
    if policy.min_tee_tcb_svn is not None:
        least = strict.unhex(policy.min_tee_tcb_svn)
        if any(own < floor for own, floor in zip(report.tee_tcb_svn, least, strict=True)):
            yield tables.breach("the TDX module is too old", f"at least {least.hex()}", report.tee_tcb_svn.hex())
    for name in _EXACT:
        wanted, own = getattr(policy, name), getattr(report, name)
        if wanted is not None and not hmac.compare_digest(own, strict.unhex(wanted)):
            yield tables.breach(f"{name} is another", wanted, own.hex())


def facts(report: Report) -> tuple[str, ...]:
    """What the report says about isolation, in plain words."""
    return tuple(_facts(report))


def _facts(report: Report) -> Iterator[str]:
    if report.under_debug:
        yield f"debug: ON ({', '.join(report.under_debug)}), the host looks into the TD"
    else:
        yield "debug: off, the host cannot read the TD's memory"
    flags = report.attribute_flags()
    yield (
        "memory faults: never handed to the TD (SEPT_VE_DISABLE)"
        if flags["sept_ve_disable"]
        else "memory faults: the host can make the TD handle them (SEPT_VE_DISABLE is off)"
    )
    yield "migration: the TD may be moved" if flags["migratable"] else "migration: off, the TD stays on this machine"
    if report.service_td:
        yield "service TD: one is bound, and may act on this TD"
    elif report.mrservicetd is not None:
        yield "service TD: none is bound"
    version = report.tee_tcb_svn
    yield f"TDX module: version {version[1]}, security version {version[0]}, {report.mrseam.hex()[:16]}..."
    others = [name for name in ("icssd", "lass", "pks", "kl", "tpa", "perfmon") if flags[name]]
    if others:
        yield f"attributes: {', '.join(others)}"
    if report.unknown_attributes():
        bits = ", ".join(map(str, report.unknown_attributes()))
        yield f"attributes: bits set whose meaning is not known here: {bits}"
