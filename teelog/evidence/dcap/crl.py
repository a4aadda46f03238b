"""Lists of revoked certificates, which come with Intel's collateral, or from AMD's root (RFC 5280 section 5)."""

from __future__ import annotations

from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from teelog.errors import MalformedError, SignatureError, VerificationError
from teelog.evidence.certificates import Certificate, utc

MAX_CRL = 1 << 19  # bytes


@lru_cache(maxsize=8)
def read(der: bytes) -> x509.CertificateRevocationList:
    """Raises MalformedError. Kept: it is the same for all platforms of a kind."""
    if len(der) > MAX_CRL:
        raise MalformedError("a revocation list is too long", expected=f"at most {MAX_CRL} bytes")
    try:
        return x509.load_der_x509_crl(der)
    except (ValueError, TypeError, x509.InvalidVersion, Warning) as error:
        raise MalformedError("not a revocation list", actual=str(error)[:120]) from error


def expires(found: x509.CertificateRevocationList) -> int:
    """POSIX seconds until which it is in force. Raises MalformedError."""
    try:
        end = found.next_update_utc
    except ValueError as error:
        raise MalformedError("a revocation list cannot be read", actual=str(error)[:120]) from error
    if end is None:
        raise MalformedError("a revocation list does not say until when it is in force")
    return int(end.timestamp())


def check(found: x509.CertificateRevocationList, issuer: Certificate, now: int) -> None:
    """That ``issuer`` signed it and that it is in force at ``now``. Raises VerificationError, SignatureError."""
    name = issuer.common_name
    key = issuer.public_key
    try:
        if found.issuer.public_bytes() != issuer.subject:
            raise VerificationError("a revocation list is another issuer's", expected=name)
        if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey) or not found.is_signature_valid(key):
            raise SignatureError(f"a revocation list is not signed by the key of {name}")
        start = int(found.last_update_utc.timestamp())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise MalformedError("a revocation list cannot be read", actual=str(error)[:120]) from error
    if not start <= now <= expires(found):
        expected = f"a time from {utc(start)} to {utc(expires(found))}"
        raise VerificationError(f"the revocation list of {name} is not in force", expected=expected, actual=utc(now))


def check_not_in(found: x509.CertificateRevocationList, certificate: Certificate) -> None:
    """Raises VerificationError for a certificate that the list names."""
    if found.get_revoked_certificate_by_serial_number(certificate.serial) is not None:
        raise VerificationError(f"the certificate {certificate.common_name} is revoked")
