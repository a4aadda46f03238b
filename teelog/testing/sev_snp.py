"""Fake AMD machines: ARK, ASK, ASVK, VCEK, VLEK and reports, exact in structure, byte for byte the same every time."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from teelog.evidence import der
from teelog.evidence.platform import Roots
from teelog.evidence.sev_snp.report import SIGNED, SIZE, VCEK, VLEK, ZEN5, Tcb
from teelog.testing import x509
from teelog.testing.known_keys import rsa_key

NOW = 1_790_000_000
"""POSIX seconds (2026-09-21) at which the certificates of good machines are valid; they are until 2046."""
NOT_BEFORE, NOT_AFTER = NOW - 90 * 86_400, NOW + 20 * 365 * 86_400

PRODUCTS = ("Milan", "Genoa", "Turin")
CPUID = {"Milan": b"\x19\x01\x01", "Genoa": b"\x19\x11\x01", "Turin": b"\x1a\x02\x01"}
TCBS = {"Milan": Tcb(4, 0, 24, 219), "Genoa": Tcb(10, 0, 23, 84), "Turin": Tcb(3, 2, 5, 97, fmc=1)}
CSP_ID = "CN=cloud.example"
POLICY = 0x30000
"""Guest policy: SMT may be on; no debugging, no migration."""
PLATFORM_INFO = 0x25
"""SMT and ECC on, memory alias check complete."""

_ARC = "1.3.6.1.4.1.3704.1."


@cache
def authority(kind: str, product: str, key: str | None = None) -> bytes:
    """DER of a fake ``ark``, ``ask`` or ``asvk``. key: one of the known keys, in place of the usual one."""
    root, own = ("rogue", "rogue") if key == "rogue" else ("root", "root" if kind == "ark" else "intermediate")
    subject = {"ark": f"ARK-{product}", "ask": f"SEV-{product}", "asvk": f"SEV-VLEK-{product}"}[kind]
    return x509.Draft(
        subject, f"ARK-{product}", x509.rsa_spki(rsa_key(own)), NOT_BEFORE, NOT_AFTER, 0x10000, x509.AUTHORITY
    ).sign(root)


@cache
def roots() -> Roots:
    """The fake roots, for the ``roots`` argument; with the intermediates, so a leaf alone suffices."""
    ders = tuple(authority(kind, product) for product in PRODUCTS for kind in ("ark", "ask", "asvk"))
    return Roots({product: hashlib.sha256(authority("ark", product)).digest() for product in PRODUCTS}, ders)


def revoked(product: str, start: int, end: int, serials: tuple[int, ...] = (), key: str = "root") -> bytes:
    """DER of the root's list of revoked certificates. start, end: POSIX seconds; key: one of the known keys."""
    return x509.revocation_list(f"ARK-{product}", key, start, end, serials)


def tcb_bytes(tcb: Tcb) -> bytes:
    """TCB_VERSION in the layout that the presence of ``fmc`` tells."""
    if tcb.fmc is None:
        return bytes((tcb.bl, tcb.tee, 0, 0, 0, 0, tcb.snp, tcb.ucode))
    return bytes((tcb.fmc, tcb.bl, tcb.tee, tcb.snp, 0, 0, 0, tcb.ucode))


@dataclass(frozen=True)
class Machine:
    """One fake machine.

    seed: another seed is another chip with another key. vlek: reports are signed by a key lent to a cloud. tcb: what
    its certificate says. rogue: its chain ends in a root that `roots` does not pin. not_before, not_after: of the leaf,
    POSIX seconds.
    """

    product: str = "Milan"
    seed: bytes = b"1"
    vlek: bool = False
    tcb: Tcb | None = None
    rogue: bool = False
    not_before: int = NOT_BEFORE
    not_after: int = NOT_AFTER

    @property
    def certified_tcb(self) -> Tcb:
        return self.tcb or TCBS[self.product]

    @property
    def is_turin(self) -> bool:
        return CPUID[self.product][0] == ZEN5

    @property
    def chip_id(self) -> bytes:
        """64 bytes; on Turin 8 and zeros; zeros where a VLEK signs."""
        if self.vlek:
            return bytes(64)
        return hashlib.sha512(b"chip" + self.seed).digest()[: 8 if self.is_turin else 64].ljust(64, b"\0")

    def endorsement(self, changes: Mapping[str, bytes | None] | None = None) -> bytes:
        """DER of the VCEK or VLEK. changes: identifier behind 1.3.6.1.4.1.3704.1. -> another value, None to drop it."""
        return _leaf(self, tuple(sorted((changes or {}).items())))

    def chain(self) -> bytes:
        """PEM of leaf, intermediate and root."""
        key = "rogue" if self.rogue else None
        kind = "asvk" if self.vlek else "ask"
        ders = (self.endorsement(), authority(kind, self.product, key), authority("ark", self.product, key))
        return b"".join(map(pem, ders))

    def table(self) -> bytes:
        """Leaf alone as the certificate table of an extended guest request."""
        leaf = self.endorsement()
        guid = "a8074bc2a25a483eaae639c045a0b8a1" if self.vlek else "63da758de6644564adc5f4b93be8accd"
        entry = bytes.fromhex(guid) + (48).to_bytes(4, "little") + len(leaf).to_bytes(4, "little")
        return entry + bytes(24) + leaf

    def report(self, *, report_data: bytes = b"", patch: Mapping[int, bytes] | None = None, **fields: object) -> bytes:
        """A signed report; ``report_data`` is padded with zeros. See `report_body` for ``fields`` and ``patch``."""
        return self.sign(self.report_body(report_data=report_data, patch=patch, **fields))

    def report_body(
        self, *, report_data: bytes = b"", patch: Mapping[int, bytes] | None = None, **fields: object
    ) -> bytes:
        """The signed part. fields: any field of `teelog.evidence.sev_snp.report.Report` as int, bytes or Tcb. patch:
        offset -> bytes, written last.
        """
        body = bytearray(SIGNED)
        for name, value in {**self._defaults(), "report_data": report_data, **fields}.items():
            offset, size = _FIELDS[name]
            body[offset : offset + size] = _encode(value, size)
        for offset, raw in (patch or {}).items():
            body[offset : offset + len(raw)] = raw
        return bytes(body)

    def _defaults(self) -> dict[str, object]:
        tcb = self.certified_tcb
        cpuid = CPUID[self.product]
        return {
            "version": 5 if self.is_turin else 3,
            "guest_policy": POLICY,
            "signature_algorithm": 1,
            "current_tcb": tcb,
            "platform_info": PLATFORM_INFO,
            "keys": (VLEK if self.vlek else VCEK) << 2,
            "measurement": hashlib.sha384(b"measurement").digest(),
            "report_id": hashlib.sha256(b"report" + self.seed).digest(),
            "report_id_ma": b"\xff" * 32,
            "reported_tcb": tcb,
            "cpuid": cpuid,
            "chip_id": self.chip_id,
            "committed_tcb": tcb,
            "current_version": b"\x1d\x37\x01",
            "committed_version": b"\x1d\x37\x01",
            "launch_tcb": tcb,
        }

    def sign(self, body: bytes) -> bytes:
        """The whole report of 1,184 bytes."""
        r, s = decode_dss_signature(x509.p384_sign(self._key(), body))
        signature = r.to_bytes(72, "little") + s.to_bytes(72, "little")
        return (body + signature).ljust(SIZE, b"\0")

    def _key(self) -> EllipticCurvePrivateKey:
        return x509.p384_key(f"{self.product} {self.vlek} ".encode() + self.seed)

    def other(self, **changes: object) -> Machine:
        return replace(self, **changes)  # type: ignore[arg-type]


@cache
def _leaf(machine: Machine, changes: tuple[tuple[str, bytes | None], ...]) -> bytes:
    values = {**_extensions(machine), **dict(changes)}
    product = machine.product
    return x509.Draft(
        "SEV-VLEK" if machine.vlek else "SEV-VCEK",
        f"SEV-VLEK-{product}" if machine.vlek else f"SEV-{product}",
        x509.p384_spki(machine._key()),
        machine.not_before,
        machine.not_after,
        0,
        tuple((_ARC + name, False, value) for name, value in values.items() if value is not None),
        explicit_trailer=product == "Milan",
    ).sign("rogue" if machine.rogue else "intermediate")


def _extensions(machine: Machine) -> dict[str, bytes]:
    tcb = machine.certified_tcb
    name = "Milan-B0" if machine.product == "Milan" and not machine.vlek else machine.product
    found = {"1": x509.integer(int(machine.is_turin)), "2": x509.tlv(der.IA5, name.encode())}
    versions = {"3.1": tcb.bl, "3.2": tcb.tee, "3.3": tcb.snp, "3.8": tcb.ucode, "3.5": 0, "3.6": 0, "3.7": 0}
    versions["3.4" if tcb.fmc is None else "3.9"] = tcb.fmc or 0
    found |= {number: x509.integer(value) for number, value in versions.items()}
    if machine.vlek:
        found["5"] = x509.tlv(der.IA5, CSP_ID.encode())
    else:
        found["4"] = machine.chip_id[: 8 if machine.is_turin else 64]
    return found


_FIELDS = {
    "version": (0x000, 4), "guest_svn": (0x004, 4), "guest_policy": (0x008, 8), "family_id": (0x010, 16),
    "image_id": (0x020, 16), "vmpl": (0x030, 4), "signature_algorithm": (0x034, 4), "current_tcb": (0x038, 8),
    "platform_info": (0x040, 8), "keys": (0x048, 4), "report_data": (0x050, 64), "measurement": (0x090, 48),
    "host_data": (0x0C0, 32), "id_key_digest": (0x0E0, 48), "author_key_digest": (0x110, 48), "report_id": (0x140, 32),
    "report_id_ma": (0x160, 32), "reported_tcb": (0x180, 8), "cpuid": (0x188, 3), "chip_id": (0x1A0, 64),
    "committed_tcb": (0x1E0, 8), "current_version": (0x1E8, 3), "committed_version": (0x1EC, 3),
    "launch_tcb": (0x1F0, 8), "launch_mit_vector": (0x1F8, 8), "current_mit_vector": (0x200, 8),
}  # fmt: skip


def _encode(value: object, size: int) -> bytes:
    if isinstance(value, Tcb):
        return tcb_bytes(value)
    if isinstance(value, int):
        return value.to_bytes(size, "little")
    assert isinstance(value, bytes)
    if len(value) > size:
        raise ValueError(f"longer than its field of {size} bytes")
    return value.ljust(size, b"\0")


def pem(certificate: bytes) -> bytes:
    """PEM of a certificate in DER."""
    text = base64.b64encode(certificate)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join((b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""))
