"""Why to believe that an attestation key is a TPM's: its fingerprint is pinned, or a certificate for it chains to a
pinned root.

Certificates come as endorsements, DER or PEM, root included. There is no root that all TPMs chain to, and none is built
in; a cloud publishes its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from teelog.errors import MalformedError, UntrustedKey, VerificationError
from teelog.evidence import certificates
from teelog.evidence.certificates import MAX_CERTIFICATES, Certificate
from teelog.evidence.platform import Roots

MAX_FILE = 1 << 16
"""Bytes of one endorsement."""
_ATTESTATION, _ANY_PURPOSE = "2.23.133.8.3", "2.5.29.37.0"  # tcg-kp-AIKCertificate, anyExtendedKeyUsage


@dataclass(frozen=True, slots=True)
class Believed:
    """label: of the pin. certificate: for the key, None where the key itself is pinned."""

    label: str
    certificate: Certificate | None


def verify(spki: bytes, endorsements: Sequence[bytes], now: int, roots: Roots) -> Believed:
    """spki: DER of the attestation key. now: POSIX seconds. roots.pins: SHA-256 of such a DER, or of a root's.

    Raises UntrustedKey, SignatureError, VerificationError, MalformedError.
    """
    labels = {pin: label for label, pin in roots.pins.items()}
    fingerprint = hashlib.sha256(spki).digest()
    if fingerprint in labels:
        return Believed(labels[fingerprint], None)
    given = _load(endorsements)
    leaf = next((each for each in given if each.spki == spki), None)
    if leaf is None:
        raise UntrustedKey(
            "the attestation key is not a pinned one, and no certificate for it was given",
            expected=" or ".join(pin.hex() for pin in roots.pins.values()),
            actual=fingerprint.hex(),
        )
    _check_leaf(leaf, now)
    return Believed(_climb(leaf, given, now, labels), leaf)


def _load(files: Sequence[bytes]) -> list[Certificate]:
    if any(len(file) > MAX_FILE for file in files):
        raise MalformedError("an endorsement file is too long", expected=f"at most {MAX_FILE} bytes")
    ders = [der for file in files for der in ((file,) if file[:1] == b"\x30" else certificates.load_pem(file))]
    if len(ders) > MAX_CERTIFICATES:
        raise MalformedError("too many certificates", expected=f"at most {MAX_CERTIFICATES}", actual=len(ders))
    return [certificates.load_cert(der) for der in ders]


def _check_leaf(leaf: Certificate, now: int) -> None:
    certificates.check_validity(leaf, now)
    certificates.check_critical(leaf)
    # An endorsement key decrypts, and its certificates come from the same authorities.
    if leaf.authority or not leaf.signer:
        raise VerificationError("the certificate is none for a key that signs quotes", actual=leaf.common_name)
    # RFC 5280 section 4.2.1.12: one that names purposes is for these alone, such as a web server's.
    purposes = _purposes(leaf)
    if purposes is not None and not purposes & {_ATTESTATION, _ANY_PURPOSE}:
        raise VerificationError(
            "the certificate is for other purposes than attestation",
            expected=_ATTESTATION,
            actual=" ".join(sorted(purposes)) or "none",
        )


def _purposes(leaf: Certificate) -> frozenset[str] | None:
    """Object identifiers of its extended key usage; None where it has none."""
    try:
        found = x509.load_der_x509_certificate(leaf.der).extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return None
    except (ValueError, Warning) as error:
        raise MalformedError("the certificate of the attestation key cannot be read") from error
    return frozenset(each.dotted_string for each in found.value)


def _climb(leaf: Certificate, given: Sequence[Certificate], now: int, labels: dict[bytes, str]) -> str:
    """The label of the pinned root above ``leaf``."""
    current = leaf
    for below in range(MAX_CERTIFICATES):
        issuer = next((each for each in given if each.subject == current.issuer and each is not current), None)
        if issuer is None:
            raise UntrustedKey(
                "the certificate of the attestation key does not chain to a pinned root",
                expected=" or ".join(pin.hex() for pin in labels) or "none is pinned",
                actual=current.fingerprint.hex(),
            )
        certificates.check_authority(issuer)
        certificates.check_validity(issuer, now)
        if issuer.path_length is not None and below > issuer.path_length:
            raise VerificationError(
                f"the certificate {issuer.common_name} allows fewer authorities below it",
                expected=f"at most {issuer.path_length}",
                actual=below,
            )
        certificates.issued(current, issuer)
        if issuer.fingerprint in labels:
            return labels[issuer.fingerprint]
        current = issuer
    raise VerificationError("the chain of certificates has no end")
