"""Third cut: the fields of an authentic enclave report against what the verifier and the release ask for.

Two tables in one form: the trust file's ``[platform.sgx]`` and the ``require`` block of a release's variant. Both
apply, which is the stricter of the two, on top of what always holds: an initialised enclave without debugging; and,
unless the trust file says otherwise, a TCB status of ACCEPTED.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from typing import Annotated

import msgspec

from teelog import strict
from teelog.evidence import tables
from teelog.evidence.dcap import policy as dcap
from teelog.evidence.dcap.enclave_report import Report
from teelog.evidence.dcap.policy import Svn, TcbPolicy
from teelog.evidence.dcap.verify import Platform
from teelog.verdict import Check, Finding, not_established, verified

_ConfigId = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]
_Id = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
_EXACT = ("config_id", "isv_family_id", "isv_ext_prod_id")


class Policy(TcbPolicy, frozen=True, forbid_unknown_fields=True):
    """provision_key false: the enclave may not have the key that names the platform. config_id and the like: exact."""

    provision_key: bool | None = None
    config_id: _ConfigId | None = None
    min_config_svn: Svn = 0
    isv_family_id: _Id | None = None
    isv_ext_prod_id: _Id | None = None


def check_floor(table: Mapping[str, object]) -> None:
    """Raises ConfigError for a member that means nothing here, or that would allow a debuggable enclave."""
    dcap.check_debug("sgx", tables.check_floor("sgx", table, Policy))


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
        return not_established(
            Check.CONFIGURATION, f"attributes of the enclave are set whose meaning is not known: {bits}"
        )
    assert platform is not None
    return verified(Check.CONFIGURATION, *dcap.state(platform), *facts(report))


def _breaches(report: Report, platform: Platform | None, trust: Policy, release: Policy) -> Iterator[Finding]:
    flags = report.attribute_flags()
    if report.debug:
        yield tables.breach("the enclave can be debugged: its host reads its memory", "debug off", "debug on")
    if not flags["init"]:
        yield tables.breach("the enclave was not initialised", "init on", "init off")
    for policy in (trust, release):
        if flags["provision_key"] and policy.provision_key is False:
            yield tables.breach("the enclave has the provisioning key", "provision_key off", "provision_key on")
        if report.config_svn < policy.min_config_svn:
            yield tables.breach("config_svn is too low", f"at least {policy.min_config_svn}", report.config_svn)
        for name in _EXACT:
            wanted, own = getattr(policy, name), getattr(report, name)
            if wanted is not None and not hmac.compare_digest(own, strict.unhex(wanted)):
                yield tables.breach(f"{name} is another", wanted, own.hex())
    yield from dcap.breaches(platform, trust, release)


def facts(report: Report) -> tuple[str, ...]:
    """What the report says about isolation, in plain words."""
    return tuple(_facts(report))


def _facts(report: Report) -> Iterator[str]:
    flags = report.attribute_flags()
    yield (
        "debug: ON, the host can read and change the enclave's memory"
        if report.debug
        else "debug: off, the host cannot read the enclave's memory"
    )
    if not flags["init"]:
        yield "initialised: NO"
    if flags["provision_key"]:
        yield "provisioning key: the enclave can learn which platform it runs on"
    if flags["kss"]:
        yield f"key separation: on, configuration {report.config_id.hex()[:16]}..., version {report.config_svn}"
    if report.unknown_attributes():
        bits = ", ".join(map(str, report.unknown_attributes()))
        yield f"attributes: bits set whose meaning is not known here: {bits}"
