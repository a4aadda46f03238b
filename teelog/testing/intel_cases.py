"""Good and bad quotes of Intel TDX and SGX, each with the check that decides and what it must find.

A user's own verifier can be run over `cases()`: the good ones must pass, every other must not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from teelog.testing import intel
from teelog.testing.intel import COMPONENTS, NOW, SEPT_VE_DISABLE, TEE_TCB_SVN, Platform

NONCE = b"fake challenge"
SERVICE_TD = b"\x5e" * 48
MIGRATABLE, DEBUG, PERF_PROF, UNKNOWN_BIT = 1 << 29, 1 << 0, 1 << 5, 1 << 40
SGX_INIT, SGX_DEBUG, SGX_PROVISION_KEY = 0x01, 0x02, 0x10


@dataclass(frozen=True, slots=True)
class Case:
    """One quote for judgement at `intel.NOW` with `intel.roots`, the nonce NONCE and a trust file's table floor.

    check: ``parse`` (refused as malformed or not known), ``hardware``, ``configuration`` or ``freshness``: the first
    that does not find ``verified``; None where all do. outcome: what that check finds. cause: words of its cause.
    """

    name: str
    evidence: bytes
    endorsements: tuple[bytes, ...]
    check: str | None = None
    outcome: str = "failed"
    cause: str = ""
    floor: Mapping[str, object] = field(default_factory=dict)


def cases() -> tuple[Case, ...]:
    """All of them, in a fixed order with unique names, the same bytes every time."""
    made = (*_good(), *_malformed(), *_wrong_chains(), *_wrong_collateral(), *_misconfigured(), *_unfresh())
    assert len({case.name for case in made}) == len(made)
    return made


PLATFORM = Platform()


def _tdx(**fields: object) -> bytes:
    return PLATFORM.tdx(report_data=NONCE, **fields)  # type: ignore[arg-type]


def _good() -> Iterator[Case]:
    ours = (PLATFORM.collateral(),)
    yield Case("good-tdx-1.0", _tdx(), ours)
    yield Case("good-tdx-1.5", _tdx(service_td=b""), ours)
    yield Case("good-padded", _tdx() + bytes(64), ours)
    yield Case("good-sgx", PLATFORM.sgx(report_data=NONCE), (PLATFORM.collateral("SGX"),))
    other = Platform(b"2", fmspc=b"\1" * 6)
    yield Case("good-collateral-of-several-platforms", _tdx(), (other.collateral(), *ours))
    yield Case("good-hardening-needed", _tdx(), (PLATFORM.collateral(status="SWHardeningNeeded"),))
    newer = Platform(components=tuple(svn + 1 for svn in COMPONENTS), pcesvn=12)
    yield Case("good-newer-platform", newer.tdx(report_data=NONCE), (newer.collateral(),))
    # Genuine, and configured in a way that the trust file has to allow.
    yield Case("good-azure", _tdx(td_attributes=0), ours, floor={"sept_ve_disable": False})
    allowed = {"service_td": [SERVICE_TD.hex()]}
    yield Case("good-service-td", _tdx(service_td=SERVICE_TD), ours, floor=allowed)
    migratable = SEPT_VE_DISABLE | MIGRATABLE
    yield Case("good-migratable", _tdx(td_attributes=migratable), ours, floor={"migratable": True})
    old = (PLATFORM.collateral(status="OutOfDate"),)
    yield Case("good-out-of-date-allowed", _tdx(), old, floor={"tcb_status": ["UpToDate", "OutOfDate"]})


def _malformed() -> Iterator[Case]:
    good, ours = _tdx(), (PLATFORM.collateral(),)

    def refused(name: str, raw: bytes, cause: str) -> Case:
        return Case(name, raw, ours, "parse", cause=cause)

    yield refused("truncated", good[:-1], "ends too early")
    yield refused("trailing-byte", good + b"\1", "not zeros")
    yield refused("version-6", b"\6" + good[1:], "version 6")
    yield refused("key-type-3", good[:2] + b"\3" + good[3:], "key of type 3")
    five = _tdx(service_td=b"")
    yield refused("body-type-4", five[:48] + b"\4" + five[49:], "body of type 4")
    yield refused("body-type-and-size-differ", five[:48] + b"\2" + five[49:], "another size")
    yield refused("sgx-version-4", PLATFORM.quote(4, 0, intel.enclave_report()), "version 4")
    yield refused("other-vendor", good[:12] + b"\0" + good[13:], "no evidence")


def _wrong_chains() -> Iterator[Case]:
    ours = (PLATFORM.collateral(),)
    good = _tdx()

    def wrong(
        name: str, raw: bytes, cause: str, endorsements: tuple[bytes, ...] = ours, outcome: str = "failed"
    ) -> Case:
        return Case(name, raw, endorsements, "hardware", outcome, cause)

    rogue = Platform(rogue=True)
    yield wrong("rogue-quote", rogue.tdx(report_data=NONCE), "pinned root")
    yield wrong("rogue-collateral", good, "pinned root", (rogue.collateral(),))
    yield wrong("rogue-both", rogue.tdx(report_data=NONCE), "pinned root", (rogue.collateral(),))
    changed = bytearray(good)
    changed[48 + 136] ^= 1
    yield wrong("changed-mrtd", bytes(changed), "signature")
    azure = bytearray(_tdx(td_attributes=0))
    azure[48 + 136] ^= 1
    yield wrong("changed-mrtd-of-azure", bytes(azure), "signature")
    late = Platform(not_before=NOW + 1)
    yield wrong("not-valid-yet", late.tdx(report_data=NONCE), "not valid yet", (late.collateral(),))
    early = Platform(not_after=NOW - 1)
    yield wrong("expired", early.tdx(report_data=NONCE), "expired", (early.collateral(),))
    by_id = PLATFORM.quote(4, 0x81, intel.td_report(report_data=NONCE), kind=3)
    yield wrong("certificate-by-identifier", by_id, "identifier of kind 3", outcome="not established")
    other_qe = PLATFORM.quote(4, 0x81, intel.td_report(report_data=NONCE), qe={"mrsigner": bytes(32)})
    yield wrong("other-quoting-enclave", other_qe, "MRSIGNER")
    unbound = PLATFORM.quote(4, 0x81, intel.td_report(report_data=NONCE), qe={"report_data": bytes(64)})
    yield wrong("key-of-another-enclave", unbound, "QE report")
    old_qe = PLATFORM.quote(4, 0x81, intel.td_report(report_data=NONCE), qe={"isv_svn": 3})
    yield wrong("too-old-quoting-enclave", old_qe, "below minimum")


def _wrong_collateral() -> Iterator[Case]:
    good = _tdx()

    def wrong(name: str, cause: str, kind: str = "TDX", outcome: str = "failed", **changes: object) -> Case:
        return Case(name, good, (PLATFORM.collateral(kind, **changes),), "hardware", outcome, cause)  # type: ignore[arg-type]

    yield Case("no-collateral", good, (), "hardware", "not established", "no collateral")
    yield Case("a-certificate-only", good, (PLATFORM.chain(),), "hardware", "not established", "no collateral")
    twice = (PLATFORM.collateral(), PLATFORM.collateral(status="OutOfDate"))
    yield Case("two-collaterals", good, twice, "hardware", cause="not one collateral")
    yield wrong("revoked-status", "Revoked", status="Revoked")
    yield wrong("revoked-platform", "certificate chain", revoked=[PLATFORM.serial])
    yield wrong("revoked-authority", "certificate chain", revoked_authorities=[2])
    yield wrong("revoked-signer", "certificate chain", revoked_authorities=[3])
    yield wrong("collateral-expired", "expired", next_update=NOW - 1)
    yield wrong("collateral-of-the-future", "future", issued=NOW + 1)
    yield wrong("other-kind-of-platform", "another kind of platform", tcb_info={"fmspc": "00" * 6})
    yield wrong("other-pce", "another PCE", tcb_info={"pceId": "0001"})
    yield wrong("collateral-of-sgx", "another kind of TEE", "SGX")
    yield wrong("tcb-info-version-4", "version 4", "TDX", "not established", tcb_info={"version": 4})
    yield wrong("identity-version-9", "version 9", "TDX", "not established", qe_identity={"version": 9})
    yield wrong("no-tcb-level", "No matching TCB level", tcb_info={"tcbLevels": []})
    weak = Platform(components=(0,) * 16)
    yield Case(
        "below-all-levels", weak.tdx(report_data=NONCE), (weak.collateral(),), "hardware", cause="No matching TCB"
    )
    old = PLATFORM.tdx(report_data=NONCE, tee_tcb_svn=bytes((3, 1, 3)).ljust(16, b"\0"))
    yield Case("module-below-all-levels", old, (PLATFORM.collateral(),), "hardware", cause="module")


def _misconfigured() -> Iterator[Case]:
    ours, sgx = (PLATFORM.collateral(),), (PLATFORM.collateral("SGX"),)

    def wrong(
        name: str,
        raw: bytes,
        cause: str,
        endorsements: tuple[bytes, ...] = ours,
        outcome: str = "failed",
        **floor: object,
    ) -> Case:
        return Case(name, raw, endorsements, "configuration", outcome, cause, floor)

    yield wrong("debug-tdx", _tdx(td_attributes=SEPT_VE_DISABLE | DEBUG), "debugged")
    yield wrong("profiled", _tdx(td_attributes=SEPT_VE_DISABLE | PERF_PROF), "debugged or profiled")
    yield wrong("azure", _tdx(td_attributes=0), "SEPT_VE_DISABLE")
    yield wrong("service-td", _tdx(service_td=SERVICE_TD), "service TD")
    yield wrong("other-service-td", _tdx(service_td=SERVICE_TD), "service TD", service_td=["00" * 48])
    yield wrong("migratable", _tdx(td_attributes=SEPT_VE_DISABLE | MIGRATABLE), "another machine")
    unknown = _tdx(td_attributes=SEPT_VE_DISABLE | UNKNOWN_BIT)
    yield wrong("unknown-attribute", unknown, "not known: 40", outcome="not established")
    yield wrong("out-of-date", _tdx(), "TCB status", (PLATFORM.collateral(status="OutOfDate"),))
    aged = (PLATFORM.collateral(qe_status="OutOfDate"),)
    yield wrong("quoting-enclave-out-of-date", _tdx(), "TCB status", aged)
    module = (PLATFORM.collateral(module_status="OutOfDate"),)
    yield wrong("module-out-of-date", _tdx(), "TCB status", module)
    advised = (PLATFORM.collateral(status="SWHardeningNeeded", advisories=["INTEL-SA-00001"]),)
    yield wrong("advisory-denied", _tdx(), "advisory", advised, deny_advisories=["INTEL-SA-00001"])
    older = (PLATFORM.collateral(qe_identity={"tcbEvaluationDataNumber": 3}),)
    yield wrong("old-identity", _tdx(), "too old", older, min_tcb_evaluation_data_number=intel.EVALUATION)
    yield wrong("old-collateral", _tdx(), "too old", min_tcb_evaluation_data_number=intel.EVALUATION + 1)
    yield wrong("other-module", _tdx(), "TDX module is another", mrseam=["00" * 48])
    least = bytes((TEE_TCB_SVN[0] + 1, *TEE_TCB_SVN[1:])).hex()
    yield wrong("module-too-old", _tdx(), "TDX module is too old", min_tee_tcb_svn=least)
    yield wrong("other-owner", _tdx(), "mrowner", mrowner="01" * 48)
    debug = PLATFORM.sgx(report_data=NONCE, attributes=bytes((SGX_INIT | SGX_DEBUG,)))
    yield wrong("debug-sgx", debug, "debugged", sgx)
    yield wrong("not-initialised", PLATFORM.sgx(report_data=NONCE, attributes=b"\4"), "not initialised", sgx)
    provision = PLATFORM.sgx(report_data=NONCE, attributes=bytes((SGX_INIT | SGX_PROVISION_KEY,)))
    yield wrong("provisioning-key", provision, "provisioning key", sgx, provision_key=False)
    enclave = PLATFORM.sgx(report_data=NONCE)
    yield wrong("other-configuration", enclave, "config_id", sgx, config_id="01" * 64)
    unknown = PLATFORM.sgx(report_data=NONCE, attributes=b"\x01\x80")
    yield wrong("unknown-attribute-of-sgx", unknown, "not known: 15", sgx, "not established")


def _unfresh() -> Iterator[Case]:
    for name, raw, kind in (("tdx", PLATFORM.tdx(), "TDX"), ("sgx", PLATFORM.sgx(), "SGX")):
        collateral = (PLATFORM.collateral(kind),)
        yield Case(f"other-nonce-{name}", raw, collateral, "freshness", cause="another request")
