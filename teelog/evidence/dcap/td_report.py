"""First cut: the report of a trust domain, 584 bytes (TDX 1.0) or 648 (TDX 1.5), to fields.

Source: Intel TDX DCAP quoting library API, appendix A.3; Intel TDX module specification, TDATTRIBUTES, XFAM. All
numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import msgspec

from teelog.errors import MalformedError

SIZE_10, SIZE_15 = 584, 648
TD_ATTRIBUTES = {
    0: "debug", 4: "hgs_plus_prof", 5: "perf_prof", 6: "pmt_prof", 16: "icssd", 27: "lass", 28: "sept_ve_disable",
    29: "migratable", 30: "pks", 31: "kl", 62: "tpa", 63: "perfmon",
}  # fmt: skip
_UNDER_DEBUG = 0xFF
"""Bits 0 to 7 (TUD): the TD runs under debugging or profiling, whichever bit it is."""
_KNOWN = _UNDER_DEBUG | sum(1 << bit for bit in TD_ATTRIBUTES)

_LAYOUT = struct.Struct("<16s48s48s8sQQ48s48s48s48s48s48s48s48s64s")
_LAYOUT_15 = struct.Struct("<16s48s")
assert _LAYOUT.size == SIZE_10
assert _LAYOUT.size + _LAYOUT_15.size == SIZE_15


class Report(msgspec.Struct, frozen=True):
    """td_attributes, xfam: the raw 64 bits. rtmr: the four. tee_tcb_svn_2, mrservicetd: None in TDX 1.0."""

    tee_tcb_svn: bytes
    mrseam: bytes
    mrsignerseam: bytes
    seam_attributes: bytes
    td_attributes: int
    xfam: int
    mrtd: bytes
    mrconfigid: bytes
    mrowner: bytes
    mrownerconfig: bytes
    rtmr: tuple[bytes, bytes, bytes, bytes]
    report_data: bytes
    tee_tcb_svn_2: bytes | None
    mrservicetd: bytes | None

    @property
    def under_debug(self) -> tuple[str, ...]:
        """The attributes set by which the host looks into the TD, by name or ``bit N``; empty: none."""
        bits = [bit for bit in range(8) if self.td_attributes >> bit & 1]
        return tuple(TD_ATTRIBUTES.get(bit, f"bit {bit}") for bit in bits)

    def attribute_flags(self) -> dict[str, bool]:
        return {name: bool(self.td_attributes >> bit & 1) for bit, name in TD_ATTRIBUTES.items()}

    def unknown_attributes(self) -> tuple[int, ...]:
        return tuple(bit for bit in range(64) if self.td_attributes & ~_KNOWN & 1 << bit)

    @property
    def service_td(self) -> bool:
        """Whether a service TD is bound to it, which may for one move it to another machine."""
        return self.mrservicetd is not None and any(self.mrservicetd)


def parse(raw: bytes) -> Report:
    """Raises MalformedError."""
    if len(raw) not in (SIZE_10, SIZE_15):
        raise MalformedError("not a TD report", expected=f"{SIZE_10} or {SIZE_15} bytes", actual=f"{len(raw)} bytes")
    (
        svn, mrseam, mrsignerseam, seam_attributes, attributes, xfam, mrtd, mrconfigid, mrowner, mrownerconfig,
        rtmr0, rtmr1, rtmr2, rtmr3, report_data,
    ) = _LAYOUT.unpack_from(raw)  # fmt: skip
    svn_2, mrservicetd = _LAYOUT_15.unpack_from(raw, SIZE_10) if len(raw) == SIZE_15 else (None, None)
    return Report(
        svn, mrseam, mrsignerseam, seam_attributes, attributes, xfam, mrtd, mrconfigid, mrowner, mrownerconfig,
        (rtmr0, rtmr1, rtmr2, rtmr3), report_data, svn_2, mrservicetd,
    )  # fmt: skip


def fields(report: Report) -> Mapping[str, object]:
    """Every field by name, for show."""
    later = {"tee_tcb_svn_2": report.tee_tcb_svn_2, "mrservicetd": report.mrservicetd}
    return {
        "tee_tcb_svn": report.tee_tcb_svn,
        "mrseam": report.mrseam,
        "mrsignerseam": report.mrsignerseam,
        "seam_attributes": report.seam_attributes,
        "td_attributes": report.attribute_flags(),
        "xfam": f"{report.xfam:#x}",
        "mrtd": report.mrtd,
        "mrconfigid": report.mrconfigid,
        "mrowner": report.mrowner,
        "mrownerconfig": report.mrownerconfig,
        **{f"rtmr{number}": value for number, value in enumerate(report.rtmr)},
        "report_data": report.report_data,
        **{name: value for name, value in later.items() if value is not None},
    }
