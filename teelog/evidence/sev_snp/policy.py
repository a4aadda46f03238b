"""Third cut: the fields of an authentic report against what the verifier and the release ask for.

Two tables in one form: the trust file's ``[platform.sev-snp]`` and the ``require`` block of a release's variant. Both
apply, which is the stricter of the two, on top of what always holds: debug off, no migration agent unless the trust
file allows one, and a report that the guest itself asked for.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from typing import Annotated

import msgspec

from teelog import strict
from teelog.errors import ConfigError
from teelog.evidence import tables
from teelog.evidence.sev_snp import report
from teelog.evidence.sev_snp.report import Report
from teelog.verdict import Check, Finding, not_established, verified

# A set bit of these lets the host or another guest do more; a set bit of the others makes the platform do more.
_PERMISSIONS = ("smt", "migrate_ma", "debug", "cxl_allow")
_DEMANDS = tuple(name for name in report.GUEST_POLICY.values() if name not in _PERMISSIONS)
_ABI = ("abi_major", "abi_minor")
NESTED = ("guest_policy", "platform_info")

_Byte = Annotated[int, msgspec.Meta(ge=0, le=255)]
_HostData = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Digest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{96}\Z")]


class MinTcb(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bl: _Byte
    tee: _Byte
    snp: _Byte
    ucode: _Byte
    fmc: _Byte | None = None

    def floor(self) -> dict[str, int]:
        named = {"bl": self.bl, "tee": self.tee, "snp": self.snp, "ucode": self.ucode}
        return named if self.fmc is None else {"fmc": self.fmc, **named}


class GuestPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The most permissive policy that passes. smt, migrate_ma, debug, cxl_allow: false forbids it. The other flags:
    true demands it. abi_major, abi_minor: the least ABI version that the guest must ask for.
    """

    abi_major: _Byte = 0
    abi_minor: _Byte = 0
    smt: bool = True
    migrate_ma: bool | None = None
    debug: bool = False
    single_socket: bool = False
    cxl_allow: bool = True
    mem_aes_256_xts: bool = False
    rapl_dis: bool = False
    ciphertext_hiding: bool = False
    page_swap_disable: bool = False


class PlatformInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How bits of PLATFORM_INFO must be; None: either way."""

    smt: bool | None = None
    tsme: bool | None = None
    ecc: bool | None = None
    rapl_dis: bool | None = None
    ciphertext_hiding: bool | None = None
    alias_check_complete: bool | None = None
    tio: bool | None = None


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """min_tcb: of REPORTED_TCB; min_launch_tcb: of LAUNCH_TCB. vmpl: exact. host_data, id_key_digest,
    author_key_digest: hex, exact. provisional_firmware false: what runs must be committed (no way back to older).
    """

    debug: bool | None = None
    min_tcb: MinTcb | None = None
    min_launch_tcb: MinTcb | None = None
    guest_policy: GuestPolicy = GuestPolicy()
    platform_info: PlatformInfo = PlatformInfo()
    host_data: _HostData | None = None
    id_key_digest: _Digest | None = None
    author_key_digest: _Digest | None = None
    vmpl: Annotated[int, msgspec.Meta(ge=0, le=3)] | None = None
    provisional_firmware: bool | None = None


def check_floor(table: Mapping[str, object]) -> None:
    """Raises ConfigError for a member that means nothing here, or that would allow a debuggable guest."""
    policy = tables.check_floor("sev-snp", table, Policy, NESTED)
    if policy.debug or policy.guest_policy.debug:
        raise ConfigError(
            "no trust file allows a debuggable guest: its host reads its memory",
            expected="debug = false",
            hint="to accept one nevertheless, switch the check off by name: configuration",
        )


def configuration(parsed: Report, floor: Mapping[str, object], require: Mapping[str, object]) -> Finding:
    """See `teelog.evidence.platform.Evidence.configuration`. Raises ConfigError for a floor that is not understood."""
    check_floor(floor)
    trust, _ = tables.read(floor, Policy, NESTED)
    release, unknown = tables.read(require, Policy, NESTED)
    migration = bool(trust.guest_policy.migrate_ma)
    for finding in _breaches(parsed, migration, trust, release):
        return finding
    if unknown:
        return tables.unchecked(unknown)
    if parsed.unknown_policy_bits():
        bits = ", ".join(map(str, parsed.unknown_policy_bits()))
        return not_established(Check.CONFIGURATION, f"the guest policy has bits set whose meaning is not known: {bits}")
    return verified(Check.CONFIGURATION, *facts(parsed))


def _breaches(parsed: Report, migration: bool, *policies: Policy) -> Iterator[Finding]:
    if parsed.debug:
        yield tables.breach("the guest can be debugged: its host reads its memory", "debug off", "debug on")
    if parsed.migrate_ma and not migration:
        yield tables.breach("a migration agent may move the guest elsewhere", "migrate_ma off", "migrate_ma on")
    if parsed.vmpl == report.BY_HYPERVISOR:
        yield tables.breach("the hypervisor asked for this report, not the guest", "VMPL 0 to 3", "hypervisor")
    for policy in policies:
        yield from _tcb_breaches(parsed, policy)
        yield from _guest_policy_breaches(parsed, policy.guest_policy)
        yield from _platform_breaches(parsed, policy.platform_info)
        yield from _exact_breaches(parsed, policy)


def _tcb_breaches(parsed: Report, policy: Policy) -> Iterator[Finding]:
    for name, own, least in (
        ("reported", parsed.reported_tcb, policy.min_tcb),
        ("launch", parsed.launch_tcb, policy.min_launch_tcb),
    ):
        if least is not None and not own.covers(least.floor()):
            wanted = " ".join(f"{part} {value}" for part, value in least.floor().items())
            yield tables.breach(f"the {name} firmware is too old", f"at least {wanted}", own)
    if policy.provisional_firmware is False and parsed.committed_tcb != parsed.current_tcb:
        yield tables.breach(
            "the firmware is provisional: it can be rolled back", parsed.current_tcb, parsed.committed_tcb
        )


def _guest_policy_breaches(parsed: Report, most: GuestPolicy) -> Iterator[Finding]:
    flags = parsed.policy_flags()
    for name in _PERMISSIONS:
        if flags[name] and getattr(most, name) is False:
            yield tables.breach(f"the guest policy permits {name}", f"{name} off", f"{name} on")
    for name in _DEMANDS:
        if getattr(most, name) and not flags[name]:
            yield tables.breach(f"the guest policy does not demand {name}", f"{name} on", f"{name} off")
    if parsed.abi < (most.abi_major, most.abi_minor):
        wanted, actual = f"at least {most.abi_major}.{most.abi_minor}", ".".join(map(str, parsed.abi))
        yield tables.breach("the guest policy allows firmware with an older ABI", wanted, actual)


def _platform_breaches(parsed: Report, wanted: PlatformInfo) -> Iterator[Finding]:
    flags = parsed.platform_flags()
    for name in report.PLATFORM_INFO.values():
        must = getattr(wanted, name)
        if must is not None and flags[name] != must:
            yield tables.breach(
                f"the platform has {name} the other way", f"{name} {_on(must)}", f"{name} {_on(not must)}"
            )


def _on(value: bool) -> str:
    return "on" if value else "off"


def _exact_breaches(parsed: Report, policy: Policy) -> Iterator[Finding]:
    for name in ("host_data", "id_key_digest", "author_key_digest"):
        wanted, own = getattr(policy, name), getattr(parsed, name)
        if wanted is not None and not hmac.compare_digest(own, strict.unhex(wanted)):
            yield tables.breach(f"{name} is another", wanted, own.hex())
    if policy.vmpl is not None and parsed.vmpl != policy.vmpl:
        yield tables.breach("the report was asked for at another VMPL", policy.vmpl, parsed.vmpl)


def facts(parsed: Report) -> tuple[str, ...]:
    """What the report says about isolation, in plain words."""
    return tuple(_facts(parsed))


def _facts(parsed: Report) -> Iterator[str]:
    guest, platform = parsed.policy_flags(), parsed.platform_flags()
    yield (
        "debug: ON, the host can read and change the guest's memory"
        if guest["debug"]
        else "debug: off, the host cannot read the guest's memory"
    )
    yield (
        "migration: a migration agent may move the guest to another machine"
        if guest["migrate_ma"]
        else "migration: off, the guest stays on this machine"
    )
    yield _smt(guest["smt"], platform["smt"])
    if parsed.vmpl == report.BY_HYPERVISOR:
        yield "asked for by: the hypervisor, so the report data is not the guest's"
    else:
        level = "the most privileged level" if parsed.vmpl == 0 else "below a more privileged module in the guest"
        yield f"asked for by: the guest at VMPL {parsed.vmpl}, {level}"
    yield (
        "memory alias check: complete (against manipulated memory modules)"
        if platform["alias_check_complete"]
        else "memory alias check: NOT reported, memory modules could lie about their size (BadRAM)"
    )
    if guest["single_socket"]:
        yield "sockets: the guest runs on one socket only"
    if guest["cxl_allow"]:
        yield "CXL: the guest's memory may lie on CXL devices"
    if parsed.unknown_platform_bits():
        bits = ", ".join(map(str, parsed.unknown_platform_bits()))
        yield f"platform: bits set whose meaning is not known here: {bits}"


def _smt(allowed: bool, on: bool) -> str:
    if not allowed:
        return "SMT: off, the guest refuses machines where two threads share a core"
    return "SMT: on, two threads share a core" if on else "SMT: allowed by the guest, off on this machine"
