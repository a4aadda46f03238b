"""Certificates byte by byte: serial number 0, vendor extensions and the same bytes every time, which no library writes.

Signatures are made with a fixed salt (RSASSA-PSS) and RFC 6979 nonces (ECDSA): fakes only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from teelog.evidence import der
from teelog.testing.known_keys import rsa_key

_SHA384 = bytes.fromhex("300d06096086480165030402020500")
_MGF1 = bytes.fromhex("301a06092a864886f70d010108300d06096086480165030402020500")
_PSS_OID = bytes.fromhex("06092a864886f70d01010a")
_HASH, _SALT = 48, 48


def tlv(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size) + content


def integer(value: int) -> bytes:
    return tlv(der.INTEGER, value.to_bytes(value.bit_length() // 8 + 1))


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    encoded = b"".join(_arc(arc) for arc in (40 * first + second, *rest))
    return tlv(der.OID, encoded)


def _arc(value: int) -> bytes:
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))


def name(common_name: str) -> bytes:
    parts = (("2.5.4.11", der.UTF8, "Engineering"), ("2.5.4.10", der.UTF8, "teelog fakes"))
    return tlv(
        der.SEQUENCE,
        *(
            tlv(der.SET, tlv(der.SEQUENCE, oid(kind), tlv(tag, text.encode())))
            for kind, tag, text in (*parts, ("2.5.4.3", der.UTF8, common_name))
        ),
    )


def time(seconds: int) -> bytes:
    at = datetime.fromtimestamp(seconds, UTC)
    if at.year < 2050:
        return tlv(der.UTC_TIME, at.strftime("%y%m%d%H%M%SZ").encode())
    return tlv(der.GENERALIZED_TIME, at.strftime("%Y%m%d%H%M%SZ").encode())


def pss_algorithm(explicit_trailer: bool = False) -> bytes:
    """RSASSA-PSS with SHA-384 and a salt of 48 bytes, with or without the trailer field that AMD once wrote out."""
    fields = tlv(0xA0, _SHA384) + tlv(0xA1, _MGF1) + tlv(0xA2, integer(_SALT))
    return tlv(der.SEQUENCE, _PSS_OID, tlv(der.SEQUENCE, fields, tlv(0xA3, integer(1)) if explicit_trailer else b""))


def pss_sign(key: rsa.RSAPrivateNumbers, message: bytes) -> bytes:
    """RFC 8017 section 8.1.1 with a salt made from the message."""
    n = key.public_numbers.n
    bits = n.bit_length() - 1
    size = (bits + 7) // 8
    digest = hashlib.sha384(message).digest()
    salt = hashlib.sha384(b"salt" + message).digest()
    h = hashlib.sha384(bytes(8) + digest + salt).digest()
    block = b"\x01".rjust(size - _SALT - _HASH - 1, b"\0") + salt
    mask = b"".join(hashlib.sha384(h + n_.to_bytes(4)).digest() for n_ in range(len(block) // _HASH + 1))
    masked = bytearray(a ^ b for a, b in zip(block, mask, strict=False))
    masked[0] &= 0xFF >> (8 * size - bits)
    m = int.from_bytes(bytes(masked) + h + b"\xbc")
    # Chinese remainders: a fifth of the time.
    m1, m2 = pow(m, key.dmp1, key.p), pow(m, key.dmq1, key.q)
    return (m2 + key.iqmp * (m1 - m2) % key.p * key.q).to_bytes((n.bit_length() + 7) // 8)


def rsa_spki(key: rsa.RSAPrivateNumbers) -> bytes:
    public = key.public_numbers.public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def p384_key(seed: bytes) -> ec.EllipticCurvePrivateKey:
    """The P-384 key that belongs to a seed."""
    digest = hashlib.sha384(b"teelog fake" + seed).digest()
    return ec.derive_private_key(int.from_bytes(digest) >> 1 | 1, ec.SECP384R1())


def p384_sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """DER of (r, s)."""
    return key.sign(message, ec.ECDSA(hashes.SHA384(), deterministic_signing=True))


def p384_spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def p256_key(seed: bytes) -> ec.EllipticCurvePrivateKey:
    """The P-256 key that belongs to a seed."""
    digest = hashlib.sha256(b"teelog fake" + seed).digest()
    return ec.derive_private_key(int.from_bytes(digest) >> 1 | 1, ec.SECP256R1())


def ecdsa_algorithm(key: ec.EllipticCurvePrivateKey) -> bytes:
    return tlv(der.SEQUENCE, oid("1.2.840.10045.4.3.2" if _is_p256(key) else "1.2.840.10045.4.3.3"))


def ecdsa_sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """DER of (r, s): P-256 with SHA-256, P-384 with SHA-384."""
    digest = hashes.SHA256() if _is_p256(key) else hashes.SHA384()
    return key.sign(message, ec.ECDSA(digest, deterministic_signing=True))


def ecdsa_spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _is_p256(key: ec.EllipticCurvePrivateKey) -> bool:
    return isinstance(key.curve, ec.SECP256R1)


@dataclass(frozen=True, slots=True)
class Draft:
    """A certificate to be signed. extensions: (identifier, critical, value). not_before, not_after: POSIX seconds."""

    subject: str
    issuer: str
    spki: bytes
    not_before: int
    not_after: int
    serial: int = 0
    extensions: tuple[tuple[str, bool, bytes], ...] = field(default=())
    explicit_trailer: bool = False

    def sign(self, authority: str) -> bytes:
        """DER, signed by one of the known RSA keys."""
        algorithm = pss_algorithm(self.explicit_trailer)
        tbs = self._tbs(algorithm)
        return _signed(tbs, algorithm, pss_sign(rsa_key(authority), tbs))

    def sign_ecdsa(self, authority: ec.EllipticCurvePrivateKey) -> bytes:
        """DER, signed with ECDSA by a P-256 key (SHA-256) or a P-384 key (SHA-384)."""
        algorithm = ecdsa_algorithm(authority)
        tbs = self._tbs(algorithm)
        return _signed(tbs, algorithm, ecdsa_sign(authority, tbs))

    def _tbs(self, algorithm: bytes) -> bytes:
        return tlv(
            der.SEQUENCE,
            tlv(0xA0, integer(2)),
            integer(self.serial),
            algorithm,
            name(self.issuer),
            tlv(der.SEQUENCE, time(self.not_before), time(self.not_after)),
            name(self.subject),
            self.spki,
            tlv(0xA3, tlv(der.SEQUENCE, *_extensions(self.extensions))),
        )


def _signed(tbs: bytes, algorithm: bytes, signature: bytes) -> bytes:
    return tlv(der.SEQUENCE, tbs, algorithm, tlv(der.BIT_STRING, b"\0", signature))


def revocation_list(
    issuer: str, authority: ec.EllipticCurvePrivateKey | str, start: int, end: int, serials: Iterable[int] = ()
) -> bytes:
    """DER of an RFC 5280 list. issuer: common name. authority: an ECDSA key, or one of the known RSA keys. start, end:
    POSIX seconds. serials: of revoked certificates.
    """
    if isinstance(authority, str):
        algorithm, spki = pss_algorithm(explicit_trailer=True), rsa_spki(rsa_key(authority))
    else:
        algorithm, spki = ecdsa_algorithm(authority), ecdsa_spki(authority)
    entries = [tlv(der.SEQUENCE, integer(serial), time(start)) for serial in serials]
    key_id = hashlib.sha1(spki, usedforsecurity=False).digest()
    extensions = (
        ("2.5.29.35", False, tlv(der.SEQUENCE, tlv(0x80, key_id))),
        ("2.5.29.20", False, integer(1)),
    )
    tbs = tlv(
        der.SEQUENCE,
        integer(1),
        algorithm,
        name(issuer),
        time(start),
        time(end),
        tlv(der.SEQUENCE, *entries) if entries else b"",
        tlv(0xA0, tlv(der.SEQUENCE, *_extensions(extensions))),
    )
    if isinstance(authority, str):
        return _signed(tbs, algorithm, pss_sign(rsa_key(authority), tbs))
    return _signed(tbs, algorithm, ecdsa_sign(authority, tbs))


def _extensions(extensions: Iterable[tuple[str, bool, bytes]]) -> Iterable[bytes]:
    for identifier, critical, value in extensions:
        flag = tlv(der.BOOLEAN, b"\xff") if critical else b""
        yield tlv(der.SEQUENCE, oid(identifier), flag, tlv(der.OCTET_STRING, value))


AUTHORITY = (
    ("2.5.29.19", True, tlv(der.SEQUENCE, tlv(der.BOOLEAN, b"\xff"))),
    ("2.5.29.15", True, tlv(der.BIT_STRING, b"\x02\x04")),
)
"""The extensions of a certificate that may sign certificates."""
