"""Third cut: authentic evidence of an Azure confidential VM against what the verifier and the release ask for.

Two tables in one form: the trust file's ``[platform.azure]`` and the ``require`` block of a release's variant. Both
apply, which is the stricter of the two. Members of sev-snp's and tdx's own tables stand among Azure's, and hold for the
machines that have such hardware.

The vTPM is software in the paravisor: its quotes are worth what the paravisor is worth, and what that is only the
hardware's launch measurement tells. So which paravisors are good must be said, or, by the word "any", that it is not
asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import msgspec

from teelog.errors import ConfigError
from teelog.evidence import tables
from teelog.evidence.azure.hcl import VmConfiguration
from teelog.evidence.platform import Evidence
from teelog.evidence.sev_snp import policy as snp
from teelog.evidence.tdx import policy as tdx
from teelog.verdict import Check, Finding, Outcome, not_established, verified

ANY = "any"

_Digest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{96}\Z")]
_Some = msgspec.Meta(min_length=1, max_length=256)


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """paravisor: launch measurements (SNP) or MRTDs (TDX) accepted; the trust file may say ``any``. tee: accepted kinds
    of hardware. secure_boot true: demanded of the guest's firmware. console false: the VM must have none.
    """

    paravisor: Annotated[list[_Digest], _Some] | Literal["any"] | None = None
    tee: Annotated[list[Literal["sev-snp", "tdx"]], _Some] | None = None
    secure_boot: bool | None = None
    console: bool | None = None


_OWN = Policy.__struct_fields__
_POLICIES: Mapping[str, type[msgspec.Struct]] = {"sev-snp": snp.Policy, "tdx": tdx.Policy}
_HARDWARE = {name: kind.__struct_fields__ for name, kind in _POLICIES.items()}
_FLOORS = {"sev-snp": snp.check_floor, "tdx": tdx.check_floor}
# No Azure TD has it, and the vTPM needs it off.
_DEFAULTS: Mapping[str, Mapping[str, object]] = {"sev-snp": {}, "tdx": {"sept_ve_disable": False}}


def check_floor(table: Mapping[str, object]) -> None:
    """Raises ConfigError for a member that means nothing here, or that would allow a debuggable machine."""
    unknown = [name for name in table if name not in _OWN and not any(name in names for names in _HARDWARE.values())]
    if unknown:
        raise ConfigError(
            f"[platform.azure] {unknown[0]} is not understood",
            expected=", ".join((*_OWN, "and the members of sev-snp and tdx")),
        )
    tables.check_floor("azure", _only(table, _OWN), Policy)
    for tee, names in _HARDWARE.items():
        _FLOORS[tee](_only(table, names))


def _only(table: Mapping[str, object], names: tuple[str, ...]) -> dict[str, object]:
    return {name: value for name, value in table.items() if name in names}


def configuration(
    hardware: Evidence,
    paravisor: bytes,
    vm: VmConfiguration,
    floor: Mapping[str, object],
    require: Mapping[str, object],
) -> Finding:
    """See `teelog.evidence.platform.Evidence.configuration`. hardware: the report or quote of the machine itself.

    paravisor: its launch measurement. Raises ConfigError for a floor that is not understood.
    """
    check_floor(floor)
    trust, _ = tables.read(_only(floor, _OWN), Policy)
    foreign = [name for tee, names in _HARDWARE.items() if tee != hardware.platform for name in names]
    names = _HARDWARE[hardware.platform]
    rest = {name: value for name, value in require.items() if name in names or name not in foreign}
    release, unknown = tables.read(_only(rest, _OWN), Policy)
    unknown += _meaningless(hardware.platform, require)
    below = hardware.configuration(
        {**_DEFAULTS[hardware.platform], **_only(floor, names)},
        {name: value for name, value in rest.items() if name not in _OWN},
    )
    if below.outcome is Outcome.FAILED:
        return below
    for finding in _breaches(hardware.platform, paravisor, vm, trust, release):
        return finding
    if below.outcome is not Outcome.VERIFIED:
        return below
    if unknown:
        return tables.unchecked(unknown)
    # A release can narrow the paravisors; that none at all is asked for is for the verifier to say.
    if trust.paravisor is None and not isinstance(release.paravisor, list):
        return not_established(
            Check.CONFIGURATION,
            f"nothing says which paravisors are good ([platform.azure] paravisor): this one is {paravisor.hex()}",
        )
    compared = isinstance(trust.paravisor, list) or isinstance(release.paravisor, list)
    return verified(Check.CONFIGURATION, *facts(hardware, paravisor, vm, compared=compared))


def _meaningless(tee: str, require: Mapping[str, object]) -> tuple[str, ...]:
    """Of the members that are for other hardware than ``tee``, those that would mean nothing there either."""
    others = ((name, kind) for name, kind in _POLICIES.items() if name != tee)
    own = _HARDWARE[tee]
    return tuple(
        member
        for _, kind in others
        for member in tables.read(_only(require, tuple(set(kind.__struct_fields__) - set(own))), kind)[1]
    )


def _breaches(tee: str, paravisor: bytes, vm: VmConfiguration, *policies: Policy) -> Iterator[Finding]:
    for policy in policies:
        if policy.tee is not None and tee not in policy.tee:
            yield tables.breach("the hardware is of another kind", " or ".join(policy.tee), tee)
        if isinstance(policy.paravisor, list) and paravisor.hex() not in policy.paravisor:
            yield tables.breach("the paravisor is another", " or ".join(policy.paravisor), paravisor.hex())
        if policy.secure_boot and not vm.secure_boot:
            yield tables.breach(
                "the guest's firmware starts what nobody signed", "secure boot on", _said(vm.secure_boot)
            )
        if policy.console is False and vm.console is not False:
            yield tables.breach("the machine has a console, which its host sees", "console off", _said(vm.console))


def _said(value: bool | None) -> str:
    return "not said" if value is None else "on" if value else "off"


def facts(hardware: Evidence, paravisor: bytes, vm: VmConfiguration, *, compared: bool = False) -> tuple[str, ...]:
    """What the evidence says about isolation, in plain words."""
    return (
        f"hardware: {hardware.platform}, with Azure's paravisor between the host and the guest",
        f"paravisor: {paravisor.hex()}" + ("" if compared else ", NOT compared with anything"),
        f"secure boot: {_said(vm.secure_boot)}, says the paravisor",
        f"console: {_said(vm.console)}, says the paravisor",
        f"state of the vTPM kept over restarts: {_said(vm.tpm_persisted)}",
        *hardware.facts,
    )
