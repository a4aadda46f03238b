"""What a VCEK or VLEK certificate says, and the files in which such certificates come.

Source: AMD publication 57230 (VCEK certificate and KDS interface), extensions 1.3.6.1.4.1.3704.1.*; publication 56421
(GHCB) and 56860, extended guest request: the certificate table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from teelog.errors import MalformedError
from teelog.evidence import certificates
from teelog.evidence import der as asn1
from teelog.evidence.certificates import MAX_CERTIFICATES, Certificate
from teelog.evidence.sev_snp.report import Tcb

VCEK_NAME, VLEK_NAME = "SEV-VCEK", "SEV-VLEK"
MAX_FILE = 1 << 16
"""Bytes of one endorsement file."""

_ARC = "1.3.6.1.4.1.3704.1."
_STRUCT_VERSION, _PRODUCT_NAME, _HWID, _CSP_ID = _ARC + "1", _ARC + "2", _ARC + "4", _ARC + "5"
_BL, _TEE, _SNP, _UCODE, _FMC = (_ARC + "3." + last for last in ("1", "2", "3", "8", "9"))
_SPARE = tuple(_ARC + "3." + last for last in ("4", "5", "6", "7"))

_ENTRY = 24
_TABLE_GUIDS = (
    "63da758d-e664-4564-adc5-f4b93be8accd",  # VCEK
    "a8074bc2-a25a-483e-aae6-39c045a0b8a1",  # VLEK
    "4ab7b379-bbac-4fe4-a02f-05aef327c782",  # ASK or ASVK
    "c0b406a4-a803-4952-9743-3fb6014cd0ae",  # ARK
)


def _orders(guid: str) -> tuple[bytes, bytes]:
    """Hosts fill the table in either byte order; what a certificate is, its own content decides."""
    raw = bytes.fromhex(guid.replace("-", ""))
    return raw, raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:]


_KNOWN_ENTRIES = frozenset(raw for guid in _TABLE_GUIDS for raw in _orders(guid))


@dataclass(frozen=True, slots=True)
class Endorsement:
    """struct_version: 0 up to Genoa, 1 from Turin. product: without its stepping. hwid: 64 bytes, 8 from Turin, None
    for a VLEK. csp_id: whom a VLEK was made for, None for a VCEK.
    """

    certificate: Certificate
    struct_version: int
    product: str
    tcb: Tcb
    hwid: bytes | None
    csp_id: str | None

    @property
    def is_vlek(self) -> bool:
        return self.certificate.common_name == VLEK_NAME


def read(certificate: Certificate) -> Endorsement:
    """AMD's extensions of a leaf certificate. Raises MalformedError."""
    version = _integer(certificate, _STRUCT_VERSION)
    if version not in (0, 1):
        raise _error("structVersion is not known", actual=version)
    product = _text(certificate, _PRODUCT_NAME)
    for name in _SPARE:
        if name in certificate.extensions and _integer(certificate, name):
            raise _error(f"the reserved security version {name} is not zero")
    # Turin's layout has FMC where 3.4 was spare before.
    fmc = _integer(certificate, _FMC) if version == 1 else None
    if version == 0 and _FMC in certificate.extensions:
        raise _error("names FMC without structVersion 1")
    bl, tee, snp, ucode = (_integer(certificate, name) for name in (_BL, _TEE, _SNP, _UCODE))
    hwid = certificate.extensions.get(_HWID)
    csp_id = _text(certificate, _CSP_ID) if _CSP_ID in certificate.extensions else None
    tcb = Tcb(bl, tee, snp, ucode, fmc)
    return Endorsement(certificate, version, product.partition("-")[0], tcb, _hwid(hwid, version), csp_id)


def _hwid(value: bytes | None, version: int) -> bytes | None:
    """Raw, or wrapped in an OCTET STRING as AMD's older text has it."""
    if value is None:
        return None
    length = 8 if version == 1 else 64
    if len(value) == length + 2 and value[:2] == bytes((asn1.OCTET_STRING, length)):
        value = value[2:]
    if len(value) != length:
        raise _error("HWID has the wrong length", expected=f"{length} bytes", actual=f"{len(value)} bytes")
    return value


def _integer(certificate: Certificate, name: str) -> int:
    raw = _value(certificate, name)
    if len(raw) == 3 and raw[:2] == b"\x02\x01" and raw[2] < 0x80:  # most of them, said first
        return raw[2]
    value = asn1.integer(asn1.only(raw, asn1.INTEGER, name), name)
    if not 0 <= value <= 255:
        raise _error(f"extension {name} is no security version", expected="0 to 255", actual=value)
    return value


def _text(certificate: Certificate, name: str) -> str:
    raw = asn1.only(_value(certificate, name), asn1.IA5, name)
    if not raw.isascii() or not raw.decode("latin-1").isprintable() or not 1 <= len(raw) <= 128:
        raise _error(f"extension {name} is not a short printable text")
    return raw.decode("ascii")


def _value(certificate: Certificate, name: str) -> bytes:
    value = certificate.extensions.get(name)
    if value is None:
        raise _error(f"extension {name} is missing")
    return value


def _error(message: str, **rest: object) -> MalformedError:
    return MalformedError(message, where="endorsement certificate", **rest)


def certificates_in(files: Sequence[bytes]) -> tuple[Certificate, ...]:
    """The distinct certificates of some files: DER, PEM with one or several, or a table of an extended report.

    Raises MalformedError; at most MAX_CERTIFICATES in all.
    """
    ders = dict.fromkeys(der for file in files for der in _ders(file))
    if len(ders) > MAX_CERTIFICATES:
        raise MalformedError("too many certificates", expected=f"at most {MAX_CERTIFICATES}", actual=len(ders))
    return tuple(map(_load, ders))


# Kept: parsing costs as much as a signature check, and a machine shows the same certificates each time.
@lru_cache(maxsize=64)
def _load(der: bytes) -> Certificate:
    return certificates.load_cert(der)


def forget() -> None:
    """Drops what is kept of earlier files."""
    _load.cache_clear()
    _ders.cache_clear()


@lru_cache(maxsize=64)
def _ders(file: bytes) -> tuple[bytes, ...]:
    if len(file) > MAX_FILE:
        raise MalformedError("an endorsement file is too long", expected=f"at most {MAX_FILE} bytes")
    if file[:1] == b"\x30":
        return (file,)
    if file[:16] in _KNOWN_ENTRIES:
        return tuple(_table(file))
    if b"-----BEGIN CERTIFICATE-----" not in file:
        raise MalformedError("an endorsement holds no certificate", expected="DER, PEM, or the platform's table")
    return tuple(certificates.load_pem(file))


def _table(file: bytes) -> Iterator[bytes]:
    """Entries of GUID, offset and length (u32 each), ended by one of zeros; offsets are from the table's start."""
    for number in range(MAX_CERTIFICATES + 1):
        entry = file[number * _ENTRY : (number + 1) * _ENTRY]
        if len(entry) < _ENTRY:
            break
        if not any(entry):
            return
        offset, length = int.from_bytes(entry[16:20], "little"), int.from_bytes(entry[20:], "little")
        # offsets past the end.
        if offset + length > len(file):
            raise MalformedError("the certificate table points past its end", actual=f"{offset} + {length}")
        if entry[:16] in _KNOWN_ENTRIES:
            yield file[offset : offset + length]
    raise MalformedError("the certificate table has no end", expected=f"at most {MAX_CERTIFICATES} entries")
