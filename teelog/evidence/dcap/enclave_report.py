"""First cut: the 384 bytes of an SGX enclave report to fields; the quoting enclave of every quote has one too.

Source: Intel 64 and IA-32 architectures software developer's manual, volume 3D, REPORT structure; sgx_report.h. All
numbers are little-endian. Every byte is signed, so that reserved ones need no rule; they are shown by nobody.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import msgspec

from teelog.errors import MalformedError

SIZE = 384
ATTRIBUTES = {
    0: "init", 1: "debug", 2: "mode64", 4: "provision_key", 5: "einittoken_key", 6: "cet", 7: "kss", 10: "aex_notify",
}  # fmt: skip
"""Bits of the flags, the first 8 bytes of ATTRIBUTES."""
_KNOWN = sum(1 << bit for bit in ATTRIBUTES)

_LAYOUT = struct.Struct("<16sI12s16sQQ32s32s32s32s64sHHH42s16s64s")
assert _LAYOUT.size == SIZE


class Report(msgspec.Struct, frozen=True):
    """flags, xfrm: the two halves of ATTRIBUTES. mrenclave: hash of the enclave; mrsigner: of its signer's key."""

    cpu_svn: bytes
    misc_select: int
    isv_ext_prod_id: bytes
    flags: int
    xfrm: int
    mrenclave: bytes
    mrsigner: bytes
    config_id: bytes
    isv_prod_id: int
    isv_svn: int
    config_svn: int
    isv_family_id: bytes
    report_data: bytes

    @property
    def attributes(self) -> bytes:
        """ATTRIBUTES as they lie in the report, 16 bytes."""
        return self.flags.to_bytes(8, "little") + self.xfrm.to_bytes(8, "little")

    @property
    def debug(self) -> bool:
        return bool(self.flags >> 1 & 1)

    def attribute_flags(self) -> dict[str, bool]:
        return {name: bool(self.flags >> bit & 1) for bit, name in ATTRIBUTES.items()}

    def unknown_attributes(self) -> tuple[int, ...]:
        return tuple(bit for bit in range(64) if self.flags & ~_KNOWN & 1 << bit)


def parse(raw: bytes) -> Report:
    """Raises MalformedError."""
    if len(raw) != SIZE:
        raise MalformedError("not an enclave report", expected=f"{SIZE} bytes", actual=f"{len(raw)} bytes")
    (
        cpu_svn, misc_select, _, ext_prod_id, flags, xfrm, mrenclave, _, mrsigner, _, config_id, prod_id, svn,
        config_svn, _, family_id, report_data,
    ) = _LAYOUT.unpack(raw)  # fmt: skip
    return Report(
        cpu_svn, misc_select, ext_prod_id, flags, xfrm, mrenclave, mrsigner, config_id, prod_id, svn, config_svn,
        family_id, report_data,
    )  # fmt: skip


def fields(report: Report) -> Mapping[str, object]:
    """Every field by name, for show."""
    return {
        "cpu_svn": report.cpu_svn,
        "misc_select": report.misc_select,
        "isv_ext_prod_id": report.isv_ext_prod_id,
        "attributes": report.attribute_flags(),
        "xfrm": f"{report.xfrm:#x}",
        "mrenclave": report.mrenclave,
        "mrsigner": report.mrsigner,
        "config_id": report.config_id,
        "isv_prod_id": report.isv_prod_id,
        "isv_svn": report.isv_svn,
        "config_svn": report.config_svn,
        "isv_family_id": report.isv_family_id,
        "report_data": report.report_data,
    }
