"""First cut: the 1,184 bytes of an attestation report to fields. Nothing is trusted after it.

Source: AMD publication 56860 (SEV-SNP firmware ABI), ATTESTATION_REPORT, POLICY, PLATFORM_INFO, TCB_VERSION; report
versions 2 to 5. All numbers are little-endian. The signature covers bytes 0 to 0x29F; what lies behind it and is not
R or S must be zero, else one report would have many encodings.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from teelog.errors import MalformedError

SIZE = 0x4A0
SIGNED = 0x2A0
VERSIONS = (2, 3, 4, 5)
ECDSA_P384_SHA384 = 1

VCEK, VLEK, NONE = 0, 1, 7
"""SIGNING_KEY: the chip's own key, a cloud's loaded key, not signed."""

BY_HYPERVISOR = 0xFFFFFFFF
"""VMPL of a report that the hypervisor asked for: its report data is not the guest's."""

GUEST_POLICY = {
    16: "smt", 18: "migrate_ma", 19: "debug", 20: "single_socket", 21: "cxl_allow", 22: "mem_aes_256_xts",
    23: "rapl_dis", 24: "ciphertext_hiding", 25: "page_swap_disable",
}  # fmt: skip
_POLICY_MUST_BE_ONE = 1 << 17
_POLICY_KNOWN = 0xFFFF | _POLICY_MUST_BE_ONE | sum(1 << bit for bit in GUEST_POLICY)

PLATFORM_INFO = {
    0: "smt", 1: "tsme", 2: "ecc", 3: "rapl_dis", 4: "ciphertext_hiding", 5: "alias_check_complete", 7: "tio",
}  # fmt: skip
_PLATFORM_KNOWN = sum(1 << bit for bit in PLATFORM_INFO)

ZEN3_ZEN4, ZEN5 = 0x19, 0x1A  # CPUID families
# (family, first model, last model) -> the name of the processor generation, which picks the root.
_PRODUCTS = (
    (ZEN3_ZEN4, 0x00, 0x0F, "Milan"),
    (ZEN3_ZEN4, 0x10, 0x1F, "Genoa"),
    (ZEN3_ZEN4, 0xA0, 0xAF, "Genoa"),  # Bergamo and Siena are certified by Genoa's root
    (ZEN5, 0x00, 0x11, "Turin"),
    (ZEN5, 0x50, 0x57, "Venice"),
    (ZEN5, 0x90, 0xAF, "Venice"),
    (ZEN5, 0xC0, 0xC7, "Venice"),
)

_LAYOUT = struct.Struct(
    "<II8s16s16sII8sQII64s48s32s48s48s32s32s8s3s21s64s8s3sB3sB8s8s8s152s"  # signed
    "48s24s48s24s368s"
)
assert _LAYOUT.size == SIZE


@dataclass(frozen=True, slots=True)
class Tcb:
    """Security versions of the processor's firmware, 0 to 255 each; ``fmc`` from Turin on, else None."""

    bl: int
    tee: int
    snp: int
    ucode: int
    fmc: int | None = None

    @classmethod
    def read(cls, raw: bytes, family: int, where: str) -> Tcb:
        """TCB_VERSION, whose layout depends on the CPUID family; the bytes without a meaning must be zero."""
        if family == ZEN5:
            fmc, bl, tee, snp, reserved, ucode = raw[0], raw[1], raw[2], raw[3], raw[4:7], raw[7]
            tcb = cls(bl, tee, snp, ucode, fmc)
        else:
            bl, tee, reserved, snp, ucode = raw[0], raw[1], raw[2:6], raw[6], raw[7]
            tcb = cls(bl, tee, snp, ucode)
        _zero(reserved, where)
        return tcb

    def parts(self) -> dict[str, int]:
        named = {} if self.fmc is None else {"fmc": self.fmc}
        return {**named, "bl": self.bl, "tee": self.tee, "snp": self.snp, "ucode": self.ucode}

    def covers(self, floor: Mapping[str, int]) -> bool:
        """Whether every component is at least as in ``floor``; one that is not here counts as below."""
        own = self.parts()
        return all(name in own and own[name] >= least for name, least in floor.items())

    def __str__(self) -> str:
        return " ".join(f"{name} {value}" for name, value in self.parts().items())


class Report(msgspec.Struct, frozen=True):
    """family, model, stepping: CPUID, None in version 2, which does not say. signature: (r, s).

    guest_policy, platform_info: the raw 64 bits; see `policy_flags`, `platform_flags`. signing_key: VCEK, VLEK or NONE.
    vmpl: 0 (most privileged) to 3, or BY_HYPERVISOR. current_version, committed_version: (major, minor, build).
    """

    raw: bytes
    version: int
    guest_svn: int
    guest_policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    current_tcb: Tcb
    platform_info: int
    author_key_en: bool
    mask_chip_key: bool
    signing_key: int
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: Tcb
    family: int | None
    model: int | None
    stepping: int | None
    chip_id: bytes
    committed_tcb: Tcb
    current_version: tuple[int, int, int]
    committed_version: tuple[int, int, int]
    launch_tcb: Tcb
    launch_mit_vector: int
    current_mit_vector: int
    signature: tuple[int, int]

    @property
    def signed(self) -> bytes:
        return self.raw[:SIGNED]

    @property
    def product(self) -> str | None:
        """``Milan``, ``Genoa``, ``Turin``, ``Venice``; None in version 2 and for a model that is not known."""
        for family, first, last, name in _PRODUCTS:
            if self.family == family and self.model is not None and first <= self.model <= last:
                return name
        return None

    @property
    def debug(self) -> bool:
        return bool(self.guest_policy >> 19 & 1)

    @property
    def migrate_ma(self) -> bool:
        return bool(self.guest_policy >> 18 & 1)

    @property
    def abi(self) -> tuple[int, int]:
        """(major, minor) of the least firmware ABI that the guest's policy asks for."""
        return self.guest_policy >> 8 & 0xFF, self.guest_policy & 0xFF

    def policy_flags(self) -> dict[str, bool]:
        return _flags(self.guest_policy, GUEST_POLICY)

    def platform_flags(self) -> dict[str, bool]:
        return _flags(self.platform_info, PLATFORM_INFO)

    def unknown_policy_bits(self) -> tuple[int, ...]:
        return _bits(self.guest_policy & ~_POLICY_KNOWN)

    def unknown_platform_bits(self) -> tuple[int, ...]:
        return _bits(self.platform_info & ~_PLATFORM_KNOWN)


def _flags(value: int, names: Mapping[int, str]) -> dict[str, bool]:
    return {name: bool(value >> bit & 1) for bit, name in names.items()}


def _bits(value: int) -> tuple[int, ...]:
    return tuple(bit for bit in range(64) if value >> bit & 1)


def looks_like(raw: bytes) -> bool:
    """Whether ``raw`` has the size of a report and names its signature algorithm: enough to tell platforms apart."""
    return len(raw) == SIZE and raw[0x34:0x38] == ECDSA_P384_SHA384.to_bytes(4, "little")


def parse(raw: bytes) -> Report:
    """Exactly one report. Raises MalformedError: size, version, algorithm, reserved bits and padding."""
    if len(raw) != SIZE:
        expected, actual = f"{SIZE} bytes", f"{len(raw)} bytes"
        raise MalformedError("not an SEV-SNP attestation report", expected=expected, actual=actual)
    (
        version, guest_svn, policy, family_id, image_id, vmpl, algorithm, current_tcb, platform_info, keys,
        reserved_4c, report_data, measurement, host_data, id_key, author_key, report_id, report_id_ma, reported_tcb,
        cpuid, reserved_18b, chip_id, committed_tcb, current_version, reserved_1eb, committed_version, reserved_1ef,
        launch_tcb, launch_mit, current_mit, reserved_208, r, r_padding, s, s_padding, reserved_330,
    ) = _LAYOUT.unpack(raw)  # fmt: skip
    if version not in VERSIONS:
        expected = ", ".join(map(str, VERSIONS))
        raise MalformedError("report version is not known", expected=expected, actual=version)
    if algorithm != ECDSA_P384_SHA384:
        raise MalformedError("signature algorithm is not known", expected="1 (ECDSA P-384, SHA-384)", actual=algorithm)
    # reserved fields. Those behind 0x2A0 are not even covered by the signature.
    for value, where in (
        (reserved_4c, "0x4c"), (reserved_18b, "0x18b"), (reserved_1eb, "0x1eb"), (reserved_1ef, "0x1ef"),
        (reserved_208, "0x208"), (r_padding, "padding of R"), (s_padding, "padding of S"),
        (reserved_330, "behind the signature"), (keys >> 5, "0x48"),
    ):  # fmt: skip
        _zero(value, where)
    if version == 2:
        _zero(cpuid, "0x188")
    if version < 5:
        _zero(launch_mit + current_mit, "0x1f8")
    return Report(
        raw=raw,
        version=version,
        guest_svn=guest_svn,
        guest_policy=_guest_policy(policy),
        family_id=family_id,
        image_id=image_id,
        vmpl=_vmpl(vmpl),
        **_tcbs(version, cpuid, current_tcb, reported_tcb, committed_tcb, launch_tcb),
        platform_info=platform_info,
        author_key_en=bool(keys & 1),
        mask_chip_key=bool(keys & 2),
        signing_key=_signing_key(keys >> 2 & 7),
        report_data=report_data,
        measurement=measurement,
        host_data=host_data,
        id_key_digest=id_key,
        author_key_digest=author_key,
        report_id=report_id,
        report_id_ma=report_id_ma,
        family=None if version == 2 else cpuid[0],
        model=None if version == 2 else cpuid[1],
        stepping=None if version == 2 else cpuid[2],
        chip_id=chip_id,
        current_version=(current_version[2], current_version[1], current_version[0]),
        committed_version=(committed_version[2], committed_version[1], committed_version[0]),
        launch_mit_vector=int.from_bytes(launch_mit, "little"),
        current_mit_vector=int.from_bytes(current_mit, "little"),
        signature=(int.from_bytes(r, "little"), int.from_bytes(s, "little")),
    )


def _guest_policy(raw: bytes) -> int:
    policy = int.from_bytes(raw, "little")
    if not policy & _POLICY_MUST_BE_ONE:
        raise MalformedError("bit 17 of the guest policy must be 1", actual=f"{policy:#x}")
    return policy


def _vmpl(vmpl: int) -> int:
    if vmpl > 3 and vmpl != BY_HYPERVISOR:
        raise MalformedError("no such VMPL", expected="0 to 3", actual=vmpl)
    return vmpl


def _signing_key(value: int) -> int:
    if value not in (VCEK, VLEK, NONE):
        raise MalformedError("kind of signing key is not known", expected="0 (VCEK), 1 (VLEK), 7 (none)", actual=value)
    return value


def _tcbs(version: int, cpuid: bytes, *raws: bytes) -> dict[str, Tcb]:
    # Version 2 does not name the processor; Milan and Genoa alone have firmware that writes it.
    family = ZEN3_ZEN4 if version == 2 else cpuid[0]
    if family not in (ZEN3_ZEN4, ZEN5):
        raise MalformedError("processor family is not known", expected="0x19, 0x1a", actual=f"{family:#x}")
    names = ("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb")
    return {name: Tcb.read(raw, family, name) for name, raw in zip(names, raws, strict=True)}


def _zero(value: bytes | int, where: str) -> None:
    if any(value) if isinstance(value, bytes) else value:
        raise MalformedError("reserved bits are not zero", where=where)


def fields(report: Report) -> Iterator[tuple[str, object]]:
    """Every field in the order of the report; the CPUID triple stands with the product it means."""
    yield "version", report.version
    yield "guest_svn", report.guest_svn
    major, minor = report.abi
    unknown = {"unknown_bits": list(report.unknown_policy_bits())} if report.unknown_policy_bits() else {}
    policy = {"raw": f"{report.guest_policy:#x}", "abi_major": major, "abi_minor": minor, **report.policy_flags()}
    yield "guest_policy", {**policy, **unknown}
    yield "family_id", report.family_id
    yield "image_id", report.image_id
    yield "vmpl", "hypervisor" if report.vmpl == BY_HYPERVISOR else report.vmpl
    yield "current_tcb", report.current_tcb.parts()
    unknown = {"unknown_bits": list(report.unknown_platform_bits())} if report.unknown_platform_bits() else {}
    yield "platform_info", {"raw": f"{report.platform_info:#x}", **report.platform_flags(), **unknown}
    yield "author_key_en", report.author_key_en
    yield "mask_chip_key", report.mask_chip_key
    yield "signing_key", {VCEK: "VCEK", VLEK: "VLEK", NONE: "none"}[report.signing_key]
    for name in ("report_data", "measurement", "host_data", "id_key_digest", "author_key_digest"):
        yield name, getattr(report, name)
    yield "report_id", report.report_id
    yield "report_id_ma", report.report_id_ma
    yield "reported_tcb", report.reported_tcb.parts()
    if report.family is not None:
        cpuid = {"family": report.family, "model": report.model, "stepping": report.stepping}
        yield "cpuid", {**cpuid, "product": report.product or "not known"}
    yield "chip_id", report.chip_id
    yield "committed_tcb", report.committed_tcb.parts()
    yield "current_version", ".".join(map(str, report.current_version))
    yield "committed_version", ".".join(map(str, report.committed_version))
    yield "launch_tcb", report.launch_tcb.parts()
    if report.version >= 5:
        yield "launch_mit_vector", f"{report.launch_mit_vector:#x}"
        yield "current_mit_vector", f"{report.current_mit_vector:#x}"
    yield "signature", {"r": f"{report.signature[0]:096x}", "s": f"{report.signature[1]:096x}"}
