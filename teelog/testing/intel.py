"""Fake Intel platforms: root, PCK, quoting enclave, quotes of TDX and SGX, collateral; the same bytes every time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from teelog.evidence import der
from teelog.evidence.dcap.quote import ECDSA_P256, INTEL_QE, PCK_CHAIN, QE_REPORT, SGX, TD_REPORT_10, TDX
from teelog.evidence.platform import Roots
from teelog.testing import x509
from teelog.testing.sev_snp import NOT_AFTER, NOT_BEFORE, NOW, pem

ROOT, PLATFORM_CA, SIGNER, PCK = (
    "Intel SGX Root CA",
    "Intel SGX PCK Platform CA",
    "Intel SGX TCB Signing",
    "Intel SGX PCK Certificate",
)
ISSUED, NEXT_UPDATE = NOW - 86_400, NOW + 29 * 86_400
"""POSIX seconds between which collateral is in force."""
COMPONENTS = (3, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0)
PCESVN = 11
TEE_TCB_SVN = bytes((6, 1, 3)).ljust(16, b"\0")
"""TDX module of version 1, security version 6."""
EVALUATION = 17
QE_SIGNER = hashlib.sha256(b"fake quoting enclave").digest()
SEPT_VE_DISABLE = 1 << 28

_AUTHORITY = (x509.AUTHORITY[0], ("2.5.29.15", True, x509.tlv(der.BIT_STRING, b"\x01\x06")))
"""May sign certificates and revocation lists."""
_ARC = "1.2.840.113741.1.13.1"


def _key(name: str) -> EllipticCurvePrivateKey:
    return x509.p256_key(b"intel " + name.encode())


def _raw(key: EllipticCurvePrivateKey, message: bytes) -> bytes:
    """r and s, 32 bytes each."""
    r, s = decode_dss_signature(x509.ecdsa_sign(key, message))
    return r.to_bytes(32) + s.to_bytes(32)


@cache
def authority(name: str, rogue: bool = False, not_after: int = NOT_AFTER) -> bytes:
    """DER of the root, of the authority for platforms, or of the signer of collateral."""
    kind = "rogue " if rogue else ""
    own, issuer = _key(kind + name), _key(kind + ROOT)
    extensions = () if name == SIGNER else _AUTHORITY
    serial = 1 + (ROOT, PLATFORM_CA, SIGNER).index(name)
    return x509.Draft(name, ROOT, x509.ecdsa_spki(own), NOT_BEFORE, not_after, serial, extensions).sign_ecdsa(issuer)


@cache
def roots() -> Roots:
    """The fake root, for the ``roots`` argument."""
    return Roots({ROOT: hashlib.sha256(authority(ROOT)).digest()})


@dataclass(frozen=True)
class Platform:
    """One fake platform.

    seed: another seed is another platform. components, pcesvn: what its certificate says. rogue: its chain ends in a
    root that `roots` does not pin.
    """

    seed: bytes = b"1"
    fmspc: bytes = bytes.fromhex("b0c06f000000")
    components: tuple[int, ...] = COMPONENTS
    pcesvn: int = PCESVN
    rogue: bool = False
    not_before: int = NOT_BEFORE
    not_after: int = NOT_AFTER

    @property
    def serial(self) -> int:
        return int.from_bytes(hashlib.sha256(b"pck" + self.seed).digest()[:8])

    def pck(self) -> bytes:
        """DER of the PCK certificate."""
        return _pck(self)

    def other(self, **changes: object) -> Platform:
        return replace(self, **changes)  # type: ignore[arg-type]

    def chain(self) -> bytes:
        """PEM of PCK certificate, its authority, root."""
        return b"".join(map(pem, (self.pck(), authority(PLATFORM_CA, self.rogue), authority(ROOT, self.rogue))))

    def tdx(self, *, report_data: bytes = b"", service_td: bytes | None = None, **fields: object) -> bytes:
        """A quote of version 4, or with a service TD (48 bytes, zeros: none) of version 5, TDX 1.5.

        fields: of the TD report, int or bytes, see `td_report`.
        """
        body = td_report(report_data=report_data, **fields)
        if service_td is None:
            return self.quote(4, TDX, body)
        return self.quote(5, TDX, body + TEE_TCB_SVN + service_td.ljust(48, b"\0"))

    def sgx(self, *, report_data: bytes = b"", **fields: object) -> bytes:
        """A quote of version 3. fields: of the enclave report, see `enclave_report`."""
        return self.quote(3, SGX, enclave_report(report_data=report_data, **fields))

    def quote(
        self, version: int, tee_type: int, body: bytes, *, qe: Mapping[str, object] | None = None, kind: int = PCK_CHAIN
    ) -> bytes:
        """qe: other fields of the quoting enclave's report. kind: of certification data."""
        header = version.to_bytes(2, "little") + ECDSA_P256.to_bytes(2, "little") + tee_type.to_bytes(4, "little")
        header += bytes(4) + INTEL_QE + bytes(20)
        typed = b""
        if version == 5:
            typed = (2 if len(body) == TD_REPORT_10 else 3).to_bytes(2, "little") + len(body).to_bytes(4, "little")
        signed = header + typed + body
        attestation = x509.p256_key(b"attestation key" + self.seed)
        point = attestation.public_key().public_numbers()
        key = point.x.to_bytes(32) + point.y.to_bytes(32)
        auth = bytes(range(32))
        bound = hashlib.sha256(key + auth).digest()
        fields = {**_QE, "report_data": bound, "isv_prod_id": 1 if tee_type == SGX else 2, **(qe or {})}
        report = enclave_report(**fields)
        certified = report + _raw(self._key(), report) + len(auth).to_bytes(2, "little") + auth
        chain = self.chain()
        certified += kind.to_bytes(2, "little") + len(chain).to_bytes(4, "little") + chain
        if version > 3:
            certified = QE_REPORT.to_bytes(2, "little") + len(certified).to_bytes(4, "little") + certified
        signature = _raw(attestation, signed) + key + certified
        return signed + len(signature).to_bytes(4, "little") + signature

    def collateral(self, kind: str = "TDX", status: str = "UpToDate", **changes: object) -> bytes:
        """In force at NOW. kind: ``TDX`` or ``SGX``. status: of this platform. changes: see `collateral`."""
        return collateral(self, kind, status, **changes)  # type: ignore[arg-type]

    def _key(self) -> EllipticCurvePrivateKey:
        return x509.p256_key(b"pck key" + self.seed)


@cache
def _pck(platform: Platform) -> bytes:
    kind = "rogue " if platform.rogue else ""
    tcb = [x509.integer(svn) for svn in (*platform.components, platform.pcesvn)]
    tcb.append(x509.tlv(der.OCTET_STRING, bytes(platform.components)))
    items = (
        (".1", x509.tlv(der.OCTET_STRING, hashlib.sha256(platform.seed).digest()[:16])),
        (".2", x509.tlv(der.SEQUENCE, *(_item(f".2.{number}", value) for number, value in enumerate(tcb, 1)))),
        (".3", x509.tlv(der.OCTET_STRING, bytes(2))),
        (".4", x509.tlv(der.OCTET_STRING, platform.fmspc)),
        (".5", x509.tlv(0x0A, b"\1")),
    )
    extension = x509.tlv(der.SEQUENCE, *(_item(*item) for item in items))
    extensions = (
        ("2.5.29.19", True, x509.tlv(der.SEQUENCE)),
        ("2.5.29.15", True, x509.tlv(der.BIT_STRING, b"\x06\xc0")),
        (_ARC, False, extension),
    )
    return x509.Draft(
        PCK,
        PLATFORM_CA,
        x509.ecdsa_spki(platform._key()),
        platform.not_before,
        platform.not_after,
        platform.serial,
        extensions,
    ).sign_ecdsa(_key(kind + PLATFORM_CA))


def _item(arc: str, value: bytes) -> bytes:
    return x509.tlv(der.SEQUENCE, x509.oid(_ARC + arc), value)


def collateral(
    platform: Platform,
    kind: str = "TDX",
    status: str = "UpToDate",
    *,
    advisories: Sequence[str] = (),
    module_status: str = "UpToDate",
    qe_status: str = "UpToDate",
    rogue: bool | None = None,
    issued: int = ISSUED,
    next_update: int = NEXT_UPDATE,
    revoked: Sequence[int] = (),
    revoked_authorities: Sequence[int] = (),
    tcb_info: Mapping[str, object] | None = None,
    qe_identity: Mapping[str, object] | None = None,
    signed_by: Mapping[str, Platform] | None = None,
) -> bytes:
    """JSON. advisories: that apply at status. revoked: serial numbers of PCK certificates; revoked_authorities: those
    of the root's list. tcb_info, qe_identity: members in place of the usual ones, signed like them. signed_by: name of
    a statement -> the platform whose PCK signs it in Intel's place.
    """
    wrong = platform.rogue if rogue is None else rogue
    prefix = "rogue " if wrong else ""
    dates = {"issueDate": _rfc3339(issued), "nextUpdate": _rfc3339(next_update), "tcbEvaluationDataNumber": EVALUATION}
    info = {**_tcb_info(platform, kind, status, advisories, module_status), **dates, **(tcb_info or {})}
    identity = {**_identity(kind, qe_status), **dates, **(qe_identity or {})}
    texts = [json.dumps(each, separators=(",", ":")) for each in (info, identity)]
    signer, root = authority(SIGNER, wrong), authority(ROOT, wrong)
    statements = (pem(signer) + pem(root)).decode()
    ca = (pem(authority(PLATFORM_CA, wrong)) + pem(root)).decode()
    made = {
        "pck_crl_issuer_chain": ca,
        "root_ca_crl": x509.revocation_list(ROOT, _key(prefix + ROOT), issued, next_update, revoked_authorities).hex(),
        "pck_crl": x509.revocation_list(PLATFORM_CA, _key(prefix + PLATFORM_CA), issued, next_update, revoked).hex(),
        "tcb_info_issuer_chain": statements,
        "tcb_info": texts[0],
        "tcb_info_signature": _raw(_key(prefix + SIGNER), texts[0].encode()).hex(),
        "qe_identity_issuer_chain": statements,
        "qe_identity": texts[1],
        "qe_identity_signature": _raw(_key(prefix + SIGNER), texts[1].encode()).hex(),
    }
    for name, forger in (signed_by or {}).items():
        made[f"{name}_issuer_chain"] = forger.chain().decode()
        made[f"{name}_signature"] = _raw(forger._key(), made[name].encode()).hex()
    return json.dumps(made, indent=1).encode()


def _tcb_info(
    platform: Platform, kind: str, status: str, advisories: Sequence[str], module_status: str
) -> dict[str, object]:
    tcb: dict[str, object] = {"sgxtcbcomponents": [{"svn": svn} for svn in COMPONENTS], "pcesvn": PCESVN}
    module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
    found: dict[str, object] = {"id": kind, "version": 3, "fmspc": platform.fmspc.hex().upper(), "pceId": "0000"}
    if kind == "TDX":
        tcb["tdxtcbcomponents"] = [{"svn": svn} for svn in bytes((5, 0, 2)).ljust(16, b"\0")]
        levels = [{"tcb": {"isvsvn": 4}, "tcbDate": _TCB_DATE, "tcbStatus": module_status}]
        found |= {"tdxModule": module, "tdxModuleIdentities": [{"id": "TDX_01", **module, "tcbLevels": levels}]}
    level: dict[str, object] = {"tcb": tcb, "tcbDate": _TCB_DATE, "tcbStatus": status}
    if advisories:
        level["advisoryIDs"] = list(advisories)
    return {**found, "tcbType": 0, "tcbLevels": [level]}


def _identity(kind: str, status: str) -> dict[str, object]:
    return {
        "id": "QE" if kind == "SGX" else "TD_QE",
        "version": 2,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11" + "00" * 15,
        "attributesMask": "FBFFFFFFFFFFFFFF" + "00" * 8,
        "mrsigner": QE_SIGNER.hex().upper(),
        "isvprodid": 1 if kind == "SGX" else 2,
        "tcbLevels": [{"tcb": {"isvsvn": 4}, "tcbDate": _TCB_DATE, "tcbStatus": status}],
    }


_TCB_DATE = "2026-03-11T00:00:00Z"
_QE: Mapping[str, object] = {"mrsigner": QE_SIGNER, "isv_svn": 4, "attributes": b"\x15".ljust(16, b"\0")}


def _rfc3339(seconds: int) -> str:
    from teelog.evidence.certificates import utc

    return utc(seconds)


_TD_FIELDS = {
    "tee_tcb_svn": (0, 16), "mrseam": (16, 48), "mrsignerseam": (64, 48), "seam_attributes": (112, 8),
    "td_attributes": (120, 8), "xfam": (128, 8), "mrtd": (136, 48), "mrconfigid": (184, 48), "mrowner": (232, 48),
    "mrownerconfig": (280, 48), "rtmr0": (328, 48), "rtmr1": (376, 48), "rtmr2": (424, 48), "rtmr3": (472, 48),
    "report_data": (520, 64),
}  # fmt: skip
_ENCLAVE_FIELDS = {
    "cpu_svn": (0, 16), "misc_select": (16, 4), "isv_ext_prod_id": (32, 16), "attributes": (48, 16),
    "mrenclave": (64, 32), "mrsigner": (128, 32), "config_id": (192, 64), "isv_prod_id": (256, 2), "isv_svn": (258, 2),
    "config_svn": (260, 2), "isv_family_id": (304, 16), "report_data": (320, 64),
}  # fmt: skip


def td_report(**fields: object) -> bytes:
    """584 bytes; fields by the names of `teelog.evidence.dcap.td_report.Report`, rtmr0 to rtmr3 apart."""
    usual = {
        "tee_tcb_svn": TEE_TCB_SVN,
        "mrseam": hashlib.sha384(b"module").digest(),
        "td_attributes": SEPT_VE_DISABLE,
        "xfam": 0x3,
        "mrtd": hashlib.sha384(b"mrtd").digest(),
        **{f"rtmr{number}": hashlib.sha384(b"rtmr%d" % number).digest() for number in range(3)},
    }
    return _fill(584, _TD_FIELDS, {**usual, **fields})


def enclave_report(**fields: object) -> bytes:
    """384 bytes; fields by the names of `teelog.evidence.dcap.enclave_report.Report`, attributes as 16 bytes."""
    usual = {
        "attributes": b"\x05".ljust(16, b"\0"),
        "mrenclave": hashlib.sha256(b"mrenclave").digest(),
        "mrsigner": hashlib.sha256(b"mrsigner").digest(),
        "isv_prod_id": 7,
        "isv_svn": 3,
    }
    return _fill(384, _ENCLAVE_FIELDS, {**usual, **fields})


def _fill(size: int, layout: Mapping[str, tuple[int, int]], fields: Mapping[str, object]) -> bytes:
    body = bytearray(size)
    for name, value in fields.items():
        offset, length = layout[name]
        raw = value.to_bytes(length, "little") if isinstance(value, int) else value
        assert isinstance(raw, bytes)
        if len(raw) > length:
            raise ValueError(f"{name} is longer than its field of {length} bytes")
        body[offset : offset + length] = raw.ljust(length, b"\0")
    return bytes(body)


__all__ = ["NOW", "Platform", "authority", "collateral", "enclave_report", "roots", "td_report"]
