"""Why to believe that an attestation key is a TPM's: its fingerprint is pinned, or a certificate for it chains to a
pinned root.

Certificates come as endorsements, DER or PEM, root included. There is no root that all TPMs chain to, and none is built
in; a cloud publishes its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from teelog.errors import MalformedError, UntrustedKey, VerificationError
from teelog.evidence import certificates
from teelog.evidence.certificates import MAX_CERTIFICATES, Certificate
from teelog.evidence.platform import Roots

MAX_FILE = 1 << 16
"""Bytes of one endorsement."""


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
