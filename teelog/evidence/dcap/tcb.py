"""The state of the platform, the quoting enclave and the TDX module by the collateral, and all of it in one word.

Source: Intel PCS API version 4, "Determining the TCB status"; Intel's quote verification library for how the statuses
of the parts become one. Used for quotes that dcap-qvl refuses; tests hold both against each other.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from teelog.errors import VerificationError
from teelog.evidence.dcap import enclave_report, td_report
from teelog.evidence.dcap.collateral import MAX_LEVELS, IsvLevel, Module, QeIdentity, SvnComponent, TcbInfo, unhex
from teelog.evidence.dcap.pck import Pck
from teelog.evidence.dcap.quote import SGX, Quote

REVOKED, OUT_OF_DATE = "Revoked", "OutOfDate"
_COMPONENTS = 16
_AGED = {
    "UpToDate": OUT_OF_DATE,
    "SWHardeningNeeded": OUT_OF_DATE,
    "ConfigurationNeeded": "OutOfDateConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded": "OutOfDateConfigurationNeeded",
}
"""What a platform's status becomes when its quoting enclave or TDX module is out of date."""


def status(quote: Quote, platform: Pck, info: TcbInfo, identity: QeIdentity) -> tuple[str, tuple[str, ...]]:
    """(status, advisory ids). Raises VerificationError: no level matches, an identity is another, or revoked."""
    parts = [_enclave(quote, identity)]
    svn: bytes | None = None
    if quote.header.tee_type != SGX:
        report = td_report.parse(quote.body)
        svn = report.tee_tcb_svn
        parts += _module(report, info)
    own, advisories = _platform(platform, svn, info)
    for each, ids in parts:
        advisories += tuple(one for one in ids if one not in advisories)
        if each == REVOKED:
            own = REVOKED
        elif each == OUT_OF_DATE and own != REVOKED:
            own = _AGED.get(own, own)
        elif each != "UpToDate":
            raise VerificationError("a status of the quoting enclave or module is not known here", actual=each[:60])
    if own == REVOKED:
        raise VerificationError("TCB status is Revoked: keys of this platform are known to others")
    return own, advisories


def _platform(platform: Pck, svn: bytes | None, info: TcbInfo) -> tuple[str, tuple[str, ...]]:
    for level in info.tcb_levels[:MAX_LEVELS]:
        if platform.pcesvn < level.tcb.pcesvn or not _covers(platform.components, level.tcb.sgx):
            continue
        # Modules of version 1 and up are judged by their identity: components 0 and 1 are theirs.
        if svn is not None and not _covers(svn, level.tcb.tdx, 2 if svn[1] > 0 else 0):
            continue
        return level.tcb_status, tuple(level.advisory_ids)
    raise VerificationError("No matching TCB level found")


def _covers(own: Sequence[int], level: Sequence[SvnComponent], start: int = 0) -> bool:
    if len(level) != _COMPONENTS:
        raise VerificationError("a TCB level has another number of components", expected=_COMPONENTS, actual=len(level))
    return all(mine >= least.svn for mine, least in zip(own[start:], level[start:], strict=True))


def _enclave(quote: Quote, identity: QeIdentity) -> tuple[str, Sequence[str]]:
    report = enclave_report.parse(quote.qe_report)
    wanted = "QE" if quote.header.tee_type == SGX else "TD_QE"
    if identity.id != wanted:
        raise VerificationError("the identity is another enclave's", expected=wanted, actual=identity.id[:20])
    misc = report.misc_select.to_bytes(4, "little")
    for what, own, must, mask in (
        ("miscselect", misc[::-1], identity.miscselect, identity.miscselect_mask),
        ("attributes", report.attributes, identity.attributes, identity.attributes_mask),
    ):
        _masked(f"the quoting enclave's {what}", own, must, mask)
    signer = unhex(identity.mrsigner, "mrsigner", 32)
    if not hmac.compare_digest(report.mrsigner, signer) or report.isv_prod_id != identity.isvprodid:
        raise VerificationError(
            "the quote is by another quoting enclave",
            expected=f"{signer.hex()} {identity.isvprodid}",
            actual=f"{report.mrsigner.hex()} {report.isv_prod_id}",
        )
    return _level(identity.tcb_levels, report.isv_svn, "quoting enclave")


def _module(report: td_report.Report, info: TcbInfo) -> list[tuple[str, Sequence[str]]]:
    """The module's own level, none for modules of version 0: their state is in the platform's."""
    svn, version = report.tee_tcb_svn[0], report.tee_tcb_svn[1]
    if version == 0:
        if info.tdx_module is None:
            raise VerificationError("the collateral does not describe the TDX module")
        _check_module(report, info.tdx_module)
        return []
    name = f"TDX_{version:02X}"
    found = next((each for each in info.tdx_module_identities if each.id.upper() == name), None)
    if found is None:
        raise VerificationError("the collateral does not know this TDX module", actual=name)
    _check_module(report, found)
    return [_level(found.tcb_levels, svn, "TDX module")]


def _check_module(report: td_report.Report, module: Module) -> None:
    signer = unhex(module.mrsigner, "mrsigner", 48)
    if not hmac.compare_digest(report.mrsignerseam, signer):
        raise VerificationError(
            "the TDX module is signed by another", expected=signer.hex(), actual=report.mrsignerseam.hex()
        )
    _masked("the TDX module's attributes", report.seam_attributes, module.attributes, module.attributes_mask)


def _level(levels: Sequence[IsvLevel], svn: int, what: str) -> tuple[str, Sequence[str]]:
    for level in levels[:MAX_LEVELS]:
        if level.tcb.isvsvn <= svn:
            return level.tcb_status, level.advisory_ids
    raise VerificationError(f"no level of the {what} matches", actual=f"security version {svn}")


def _masked(what: str, own: bytes, must: str, mask: str) -> None:
    wanted, bits = unhex(must, "attributes", len(own)), unhex(mask, "mask", len(own))
    if bytes(a & b for a, b in zip(own, bits, strict=True)) != bytes(a & b for a, b in zip(wanted, bits, strict=True)):
        raise VerificationError(f"{what} are others", expected=wanted.hex(), actual=own.hex())
