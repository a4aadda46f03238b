"""Second cut: from a report's signature to the pinned root of NVIDIA's devices.

    leaf (the GPU's firmware) <- GPU <- provisioner <- kind of GPU <- root (pinned by SHA-256)

The leaf's key lives in the GPU's firmware, whose digest (FWID) the leaf holds in a DICE extension and the report among
its opaque fields. The extension has the identifier of TCG's TcbInfo and the form of RIoT's composite device identity:
version 1, the device's key, the FWID.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from teelog.errors import MalformedError, SignatureError, UntrustedKey, VerificationError
from teelog.evidence import certificates
from teelog.evidence import der as asn1
from teelog.evidence.certificates import Certificate
from teelog.evidence.nvidia.report import DIGEST, SIGNATURE, Report

IDENTITY = "2.23.133.5.4.1"
_SHA384 = "2.16.840.1.101.3.4.2.2"


@dataclass(frozen=True, slots=True)
class Chain:
    """fwid: digest of the firmware that holds the leaf's key, as certified."""

    root: Certificate
    leaf: Certificate
    fwid: bytes


def verify(report: Report, chain: Sequence[Certificate], now: int, pins: Mapping[str, bytes]) -> Chain:
    """That a genuine GPU made this report. chain: leaf first. now: POSIX seconds. pins: label -> root's SHA-256.

    Raises UntrustedKey, SignatureError, VerificationError, MalformedError.
    """
    check(chain, now, pins)
    leaf = chain[0]
    if leaf.authority or not leaf.signer or IDENTITY not in leaf.extensions:
        raise VerificationError("the chain does not end with a GPU's certificate", actual=leaf.common_name)
    fwid = certified_fwid(leaf)
    _check_signature(report, leaf)
    if report.fwid is not None and not hmac.compare_digest(report.fwid, fwid):
        raise VerificationError(
            "the report names other firmware than its certificate (FWID)",
            expected=fwid.hex(),
            actual=report.fwid.hex(),
        )
    return Chain(chain[-1], leaf, fwid)


def check(chain: Sequence[Certificate], now: int, pins: Mapping[str, bytes]) -> None:
    """That each certificate (leaf first) is signed by the next, the last is pinned, and all are valid ``now``."""
    if chain[-1].fingerprint not in pins.values():
        raise UntrustedKey(
            "the chain does not begin with a pinned root",
            expected=" or ".join(pin.hex() for pin in pins.values()) or "none is pinned",
            actual=chain[-1].fingerprint.hex(),
        )
    for each in chain:
        certificates.check_validity(each, now)
    for below, (certificate, issuer) in enumerate(pairwise(chain)):
        certificates.check_authority(issuer)
        if issuer.path_length is not None and below > issuer.path_length:
            raise VerificationError(f"the certificate {issuer.common_name} allows fewer authorities below it")
        if certificate.scheme != certificates.ECDSA_SHA384:
            raise VerificationError(f"the certificate {certificate.common_name} is signed in a way not known here")
        certificates.issued(certificate, issuer)
    certificates.check_critical(chain[0])


def certified_fwid(leaf: Certificate) -> bytes:
    """The SHA-384 digest of firmware that the certificate holds. Raises MalformedError."""
    what = "DICE composite device identity"
    reader = asn1.Reader(asn1.only(leaf.extensions[IDENTITY], asn1.SEQUENCE, what), what)
    version = reader.integer()
    reader.element(asn1.SEQUENCE)  # the GPU's own key, which its certificate above holds as well
    fwid = reader.inside(asn1.SEQUENCE)
    reader.finish()
    algorithm, digest = fwid.oid(), fwid.content(asn1.OCTET_STRING)
    fwid.finish()
    if (version, algorithm, len(digest)) != (1, _SHA384, DIGEST):
        raise MalformedError("a GPU's certificate does not name its firmware", expected="a FWID of SHA-384")
    return digest


def _check_signature(report: Report, leaf: Certificate) -> None:
    key = leaf.public_key
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise VerificationError("the GPU's key is of another kind", expected="P-384")
    half = SIGNATURE // 2
    r, s = (int.from_bytes(each) for each in (report.signature[:half], report.signature[half:]))
    try:
        key.verify(encode_dss_signature(r, s), report.signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature as error:
        raise SignatureError("the report is not signed by the key of the GPU's certificate") from error
