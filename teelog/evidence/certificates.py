"""X.509 certificates of hardware vendors: one place where bytes become a certificate.

`load_cert` reads through the cryptography library, except for certificates with serial number 0: every VCEK and VLEK
of AMD has it, RFC 5280 forbids it, and cryptography warns that it is going to refuse it. Those are read by `by_hand`,
strict DER and the same fields, so the outcome depends neither on the library's version nor on the process's warning
filters. Tests read every certificate both ways.

Nothing here trusts a certificate. Web PKI rules (names, revocation by URL) have no meaning for these chains.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.oid import NameOID

from teelog import strict
from teelog.errors import MalformedError, SignatureError, VerificationError
from teelog.evidence import der as asn1

MAX_CERTIFICATE = 16384
"""Bytes of one certificate's DER; AMD's have up to 1,683, vendors of TPMs sign with larger keys."""
MAX_CERTIFICATES = 8
"""Certificates in all endorsements of one piece of evidence together (A-49)."""
MAX_RSA_BITS = 4096

PSS_SHA384 = "rsassa-pss-sha384-mgf1-sha384-salt48"
ECDSA_SHA256, ECDSA_SHA384 = "ecdsa-sha256", "ecdsa-sha384"
RSA_SHA256 = "rsassa-pkcs1-sha256"

_COMMON_NAME = "2.5.4.3"
_BASIC_CONSTRAINTS, _KEY_USAGE = "2.5.29.19", "2.5.29.15"
_KEY_CERT_SIGN = 0x04  # bit 5 of the first byte
_DIGITAL_SIGNATURE = 0x80  # bit 0
_CRITICAL_UNDERSTOOD = frozenset({_BASIC_CONSTRAINTS, _KEY_USAGE})
_STANDARD = ("2.5.29.", "1.3.6.1.5.5.7.")  # RFC 5280's own arcs

_SHA384 = bytes.fromhex("300d06096086480165030402020500")
_MGF1 = bytes.fromhex("301a06092a864886f70d010108300d06096086480165030402020500")
_PSS_OID = bytes.fromhex("06092a864886f70d01010a")
# AMD writes the default trailer field in some certificates, which DER forbids, and leaves it out in others.
_PSS_FIELDS = b"\xa0\x0f" + _SHA384 + b"\xa1\x1c" + _MGF1 + b"\xa2\x03\x02\x01\x30"
_ALGORITHMS = {
    _PSS_OID + b"\x30\x34" + _PSS_FIELDS: PSS_SHA384,
    _PSS_OID + b"\x30\x39" + _PSS_FIELDS + b"\xa3\x03\x02\x01\x01": PSS_SHA384,
    bytes.fromhex("06092a864886f70d01010b0500"): RSA_SHA256,
    bytes.fromhex("06082a8648ce3d040302"): ECDSA_SHA256,
    bytes.fromhex("06082a8648ce3d040303"): ECDSA_SHA384,
}
_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----[ \t]*\r?\n([A-Za-z0-9+/=\r\n]{1,%d}?)-----END CERTIFICATE-----"
    % (2 * MAX_CERTIFICATE)
)


class Certificate(msgspec.Struct, frozen=True, dict=True):
    """der: the whole. tbs: the part that is signed. scheme: one of the names above, None for any other algorithm.

    issuer, subject: DER of the names; the common names beside them are empty where there is none. not_before,
    not_after: POSIX seconds, inclusive. spki: DER of the public key. authority: may sign certificates (basic
    constraints and key usage). extensions: the values of those that are the vendor's own, by dotted object identifier.
    critical: the identifiers of all that are marked so. path_length: how many authorities may stand below this one,
    None: any number. signer: its key may sign things other than certificates (digitalSignature).
    """

    der: bytes
    tbs: bytes
    signature: bytes
    scheme: str | None
    serial: int
    issuer: bytes
    issuer_common_name: str
    subject: bytes
    common_name: str
    not_before: int
    not_after: int
    spki: bytes
    authority: bool
    extensions: Mapping[str, bytes]
    critical: frozenset[str]
    path_length: int | None = None
    signer: bool = False

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of the DER."""
        return hashlib.sha256(self.der).digest()

    @cached_property
    def public_key(self) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
        """RSA up to 4,096 bits, or P-256 or P-384. Raises MalformedError."""
        try:
            key = load_der_public_key(self.spki)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise MalformedError("the public key of a certificate cannot be read") from error
        # a huge key is a denial of service.
        if isinstance(key, rsa.RSAPublicKey) and key.key_size <= MAX_RSA_BITS:
            return key
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            return key
        raise MalformedError("a certificate has a key of another kind", expected="RSA up to 4096 bits, P-256 or P-384")


def load_cert(der: bytes) -> Certificate:
    """One certificate in DER, at most MAX_CERTIFICATE bytes, nothing behind it. Raises MalformedError."""
    if len(der) > MAX_CERTIFICATE:
        expected = f"at most {MAX_CERTIFICATE} bytes"
        raise MalformedError("a certificate is too long", expected=expected, actual=f"{len(der)} bytes")
    return by_hand(der) if _serial(der) <= 0 else through_cryptography(der)


def _serial(der: bytes) -> int:
    tbs = asn1.Reader(asn1.only(der, asn1.SEQUENCE, "certificate"), "certificate").inside(asn1.SEQUENCE)
    _version(tbs)
    return tbs.integer()


def _version(tbs: asn1.Reader) -> None:
    version = asn1.only(tbs.content(0xA0), asn1.INTEGER, "certificate")
    if version != b"\x02":
        raise MalformedError("not an X.509 certificate of version 3", actual=version[:8].hex())


def by_hand(der: bytes) -> Certificate:
    """RFC 5280 section 4.1 by this project's own reader. Raises MalformedError."""
    whole = asn1.Reader(asn1.only(der, asn1.SEQUENCE, "certificate"), "certificate")
    tbs_der = whole.element(asn1.SEQUENCE)
    algorithm = whole.content(asn1.SEQUENCE)
    signature = asn1.bits(whole.content(asn1.BIT_STRING), "certificate")
    whole.finish()
    tbs = asn1.Reader(tbs_der, "certificate").inside(asn1.SEQUENCE)
    _version(tbs)
    serial = tbs.integer()
    if tbs.content(asn1.SEQUENCE) != algorithm:
        raise MalformedError("a certificate names two signature algorithms")
    issuer = tbs.element(asn1.SEQUENCE)
    validity = tbs.inside(asn1.SEQUENCE)
    not_before, not_after = asn1.time(validity), asn1.time(validity)
    validity.finish()
    subject = tbs.element(asn1.SEQUENCE)
    spki = tbs.element(asn1.SEQUENCE)
    extensions, critical = _extensions(tbs.inside(0xA3)) if tbs.peek() == 0xA3 else ({}, frozenset[str]())
    tbs.finish()
    return Certificate(
        der, tbs_der, signature, _ALGORITHMS.get(algorithm), serial, issuer, _common_name(issuer), subject,
        _common_name(subject), not_before, not_after, spki, _is_authority(extensions), _own(extensions), critical,
        _path_length(extensions), _is_signer(extensions),
    )  # fmt: skip


def _extensions(explicit: asn1.Reader) -> tuple[dict[str, bytes], frozenset[str]]:
    """Values by identifier, and which are critical."""
    found: dict[str, bytes] = {}
    critical = set()
    sequence = explicit.inside(asn1.SEQUENCE)
    explicit.finish()
    while not sequence.at_end():
        one = sequence.inside(asn1.SEQUENCE)
        name = one.oid()
        if name in found:
            raise MalformedError("a certificate has an extension twice", where=name)
        if one.peek() == asn1.BOOLEAN:
            if one.content(asn1.BOOLEAN) != b"\xff":
                raise MalformedError("an extension is not critical in a way that DER does not know", where=name)
            critical.add(name)
        found[name] = one.content(asn1.OCTET_STRING)
        one.finish()
    return found, frozenset(critical)


def _own(extensions: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: value for name, value in extensions.items() if not name.startswith(_STANDARD)}


def _is_authority(extensions: Mapping[str, bytes]) -> bool:
    """RFC 5280 sections 4.2.1.3 and 4.2.1.9."""
    basic, usage = extensions.get(_BASIC_CONSTRAINTS), extensions.get(_KEY_USAGE)
    if basic is None or usage is None:
        return False
    bits = asn1.only(usage, asn1.BIT_STRING, "key usage")
    signs = len(bits) >= 2 and bool(bits[1] & _KEY_CERT_SIGN)
    return signs and asn1.only(basic, asn1.SEQUENCE, "basic constraints").startswith(b"\x01\x01\xff")


def _path_length(extensions: Mapping[str, bytes]) -> int | None:
    if _BASIC_CONSTRAINTS not in extensions:
        return None
    what = "basic constraints"
    reader = asn1.Reader(asn1.only(extensions[_BASIC_CONSTRAINTS], asn1.SEQUENCE, what), what)
    if reader.peek() == asn1.BOOLEAN:
        reader.content(asn1.BOOLEAN)
    return reader.integer() if reader.peek() == asn1.INTEGER else None


def _is_signer(extensions: Mapping[str, bytes]) -> bool:
    usage = extensions.get(_KEY_USAGE)
    bits = b"" if usage is None else asn1.only(usage, asn1.BIT_STRING, "key usage")
    return len(bits) >= 2 and bool(bits[1] & _DIGITAL_SIGNATURE)


@lru_cache(maxsize=256)
def _common_name(name: bytes) -> str:
    """The common name in the DER of a name; empty where there is none. Raises MalformedError for several.

    The same names occur in every certificate of a vendor.
    """
    found = []
    sequence = asn1.Reader(asn1.only(name, asn1.SEQUENCE, "name"), "name")
    while not sequence.at_end():
        relative = sequence.inside(asn1.SET)
        while not relative.at_end():
            attribute = relative.inside(asn1.SEQUENCE)
            kind, tag = attribute.oid(), attribute.peek()
            text = attribute.content(tag if tag is not None else asn1.UTF8)
            attribute.finish()
            if kind == _COMMON_NAME:
                found.append(_text(tag, text))
    return _one(found)


def _text(tag: int | None, content: bytes) -> str:
    try:
        return content.decode("utf-8" if tag == asn1.UTF8 else "ascii")
    except UnicodeDecodeError as error:
        raise MalformedError("a common name is not text") from error


def _one(names: Sequence[str]) -> str:
    if len(names) > 1:
        raise MalformedError("a name has several common names")
    return names[0] if names else ""


def through_cryptography(der: bytes) -> Certificate:
    """The same by the cryptography library. Raises MalformedError."""
    try:
        cert = x509.load_der_x509_certificate(der)
        return Certificate(
            der,
            cert.tbs_certificate_bytes,
            cert.signature,
            _scheme(cert),
            cert.serial_number,
            cert.issuer.public_bytes(),
            _name(cert.issuer),
            cert.subject.public_bytes(),
            _name(cert.subject),
            int(cert.not_valid_before_utc.timestamp()),
            int(cert.not_valid_after_utc.timestamp()),
            _spki(cert),
            _has_authority(cert.extensions),
            _own({each.oid.dotted_string: each.value.public_bytes() for each in cert.extensions}),
            frozenset(each.oid.dotted_string for each in cert.extensions if each.critical),
            *_constraints(cert.extensions),
        )
    except _UNREADABLE as error:
        raise MalformedError("not a certificate", actual=str(error)[:200]) from error


_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    NotImplementedError,
    Warning,  # where the process turns them into errors, as for a name's attribute of a wrong length
)


def _has_authority(extensions: x509.Extensions) -> bool:
    try:
        basic = extensions.get_extension_for_class(x509.BasicConstraints).value
        return basic.ca and extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return False


def _constraints(extensions: x509.Extensions) -> tuple[int | None, bool]:
    """(path length, whether it is a signer)."""
    values = [each.value for each in extensions]
    lengths = [each.path_length for each in values if isinstance(each, x509.BasicConstraints)]
    signers = [each.digital_signature for each in values if isinstance(each, x509.KeyUsage)]
    return lengths[0] if lengths else None, any(signers)


def _spki(cert: x509.Certificate) -> bytes:
    return cert.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _name(name: x509.Name) -> str:
    return _one([str(each.value) for each in name.get_attributes_for_oid(NameOID.COMMON_NAME)])


def _scheme(cert: x509.Certificate) -> str | None:
    parameters = cert.signature_algorithm_parameters
    if isinstance(parameters, padding.PSS):
        algorithm = cert.signature_hash_algorithm
        mask = parameters.mgf._algorithm
        sha384 = isinstance(algorithm, hashes.SHA384) and isinstance(mask, hashes.SHA384)
        return PSS_SHA384 if sha384 and parameters._salt_length == 48 else None
    if isinstance(parameters, padding.PKCS1v15):
        return RSA_SHA256 if isinstance(cert.signature_hash_algorithm, hashes.SHA256) else None
    if isinstance(parameters, ec.ECDSA):
        algorithm = cert.signature_hash_algorithm
        if isinstance(algorithm, hashes.SHA256 | hashes.SHA384):
            return ECDSA_SHA256 if isinstance(algorithm, hashes.SHA256) else ECDSA_SHA384
    return None


def load_pem(data: bytes) -> list[bytes]:
    """The DER of every certificate in a PEM file, in its order; other text is skipped. Raises MalformedError."""
    blocks = _PEM.findall(data)
    if len(blocks) != data.count(b"-----BEGIN CERTIFICATE-----") or not blocks:
        raise MalformedError("not a PEM file of certificates")
    if len(blocks) > MAX_CERTIFICATES:
        raise MalformedError("too many certificates", expected=f"at most {MAX_CERTIFICATES}", actual=len(blocks))
    return [strict.b64(block.replace(b"\r", b"").replace(b"\n", b""), "certificate") for block in blocks]


def issued(certificate: Certificate, issuer: Certificate) -> None:
    """That ``issuer``'s name and key are those that signed; raises SignatureError, VerificationError."""
    if certificate.issuer != issuer.subject:
        raise VerificationError(
            f"the certificate {certificate.common_name} names another issuer",
            expected=issuer.common_name,
            actual=certificate.issuer_common_name,
        )
    key = issuer.public_key
    try:
        if certificate.scheme == PSS_SHA384 and isinstance(key, rsa.RSAPublicKey):
            pss = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
            key.verify(certificate.signature, certificate.tbs, pss, hashes.SHA384())
        elif certificate.scheme == RSA_SHA256 and isinstance(key, rsa.RSAPublicKey):
            key.verify(certificate.signature, certificate.tbs, padding.PKCS1v15(), hashes.SHA256())
        elif certificate.scheme in (ECDSA_SHA256, ECDSA_SHA384) and isinstance(key, ec.EllipticCurvePublicKey):
            digest = hashes.SHA256() if certificate.scheme == ECDSA_SHA256 else hashes.SHA384()
            key.verify(certificate.signature, certificate.tbs, ec.ECDSA(digest))
        else:
            raise VerificationError(f"the certificate {certificate.common_name} is signed in a way not known here")
    except InvalidSignature as error:
        raise SignatureError(
            f"the certificate {certificate.common_name} is not signed by the key of {issuer.common_name}"
        ) from error


def check_authority(certificate: Certificate) -> None:
    """That it may sign certificates, and nothing critical in it is unknown here. Raises VerificationError."""
    if not certificate.authority:
        raise VerificationError(f"the certificate {certificate.common_name} is none of an authority")
    check_critical(certificate)


def check_critical(certificate: Certificate) -> None:
    """That no extension is critical that is not understood here (RFC 5280 section 4.2). Raises VerificationError."""
    unknown = sorted(certificate.critical - _CRITICAL_UNDERSTOOD)
    if unknown:
        raise VerificationError(
            f"the certificate {certificate.common_name} has a critical extension that is unknown here",
            actual=unknown[0],
        )


def check_validity(certificate: Certificate, now: int) -> None:
    """That ``now`` (POSIX seconds) lies within its validity, both ends included. Raises VerificationError."""
    if not certificate.not_before <= now <= certificate.not_after:
        late = now > certificate.not_after
        raise VerificationError(
            f"the certificate {certificate.common_name} {'has expired' if late else 'is not valid yet'}",
            expected=f"a time from {utc(certificate.not_before)} to {utc(certificate.not_after)}",
            actual=utc(now),
        )


def utc(seconds: int) -> str:
    """POSIX seconds as RFC 3339 in UTC; the number itself where there is no such date."""
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(seconds)
