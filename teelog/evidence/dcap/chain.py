"""The chain of a quote by this project's own code: for genuine quotes that dcap-qvl refuses for their configuration.

    quote <- attestation key <- QE report <- PCK certificate <- PCK CA <- Intel SGX Root CA (pinned)
    TCB info, QE identity    <- Intel SGX TCB Signing                  <- Intel SGX Root CA
    revocation lists         <- PCK CA, Intel SGX Root CA

The order and the rules are those of Intel's quote verification library: Intel TDX DCAP quote verification, PCS API
version 4. Every check raises its own error; none is skipped.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from teelog.errors import MalformedError, SignatureError, VerificationError
from teelog.evidence import certificates
from teelog.evidence.certificates import ECDSA_SHA256, Certificate, utc
from teelog.evidence.dcap import crl, pck, tcb
from teelog.evidence.dcap.collateral import Chain, Collateral, QeIdentity, TcbInfo, unhex
from teelog.evidence.dcap.pck import Pck
from teelog.evidence.dcap.quote import SGX, Quote

ROOT_NAME, TCB_SIGNER = "Intel SGX Root CA", "Intel SGX TCB Signing"
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_ECDSA = ec.ECDSA(hashes.SHA256())


def verify(
    quote: Quote,
    platform: Pck,
    issuer: Certificate,
    root: Certificate,
    collateral: Collateral,
    now: int,
) -> tuple[str, tuple[str, ...]]:
    """(TCB status, advisory ids); the status is never Revoked. root: the pinned one. now: POSIX seconds.

    That the collateral is for this platform's FMSPC and PCE is the caller's check.

    Raises UntrustedKey, SignatureError, VerificationError, MalformedError.
    """
    check_collateral(platform, issuer, root, collateral, now)
    _check_quote(quote, platform)
    return tcb.status(quote, platform, collateral.info, collateral.identity)


def check_collateral(platform: Pck, issuer: Certificate, root: Certificate, collateral: Collateral, now: int) -> None:
    """That collateral is signed to the pinned root and in force, and revokes nothing of the platform's chain.

    Arguments and errors as of `verify`.
    """
    _check_root(root, now)
    root_crl = crl.read(unhex(collateral.root_ca_crl, "root_ca_crl"))
    crl.check(root_crl, root, now)
    _check_pck(platform.certificate, issuer, root, collateral, now)
    for text, signature, issuers, dated in (
        (collateral.tcb_info, collateral.tcb_info_signature, collateral.tcb_info_issuers, collateral.info),
        (collateral.qe_identity, collateral.qe_identity_signature, collateral.qe_identity_issuers, collateral.identity),
    ):
        _check_statement(text, signature, issuers, dated, root, collateral, now)


def _check_root(root: Certificate, now: int) -> None:
    if root.common_name != ROOT_NAME:
        raise VerificationError("the root has another name", expected=ROOT_NAME, actual=root.common_name[:80])
    _check_issued(root, root)
    certificates.check_authority(root)
    certificates.check_validity(root, now)


def _check_pck(leaf: Certificate, issuer: Certificate, root: Certificate, collateral: Collateral, now: int) -> None:
    root_crl = crl.read(unhex(collateral.root_ca_crl, "root_ca_crl"))
    list_issuer = _two(collateral.pck_crl_issuers, root, "pck_crl_issuer_chain")
    for authority in {each.der: each for each in (issuer, list_issuer)}.values():
        if authority.common_name not in pck.ISSUERS:
            raise VerificationError("not an authority for platforms", expected=" or ".join(pck.ISSUERS))
        _check_issued(authority, root)
        certificates.check_authority(authority)
        certificates.check_validity(authority, now)
        crl.check_not_in(root_crl, authority)
    if list_issuer.subject != leaf.issuer:
        raise VerificationError("the revocation list is not that of the platform's issuer", expected=issuer.common_name)
    revoked = crl.read(unhex(collateral.pck_crl, "pck_crl"))
    crl.check(revoked, list_issuer, now)
    _check_issued(leaf, issuer)
    certificates.check_critical(leaf)
    certificates.check_validity(leaf, now)
    crl.check_not_in(revoked, leaf)


def _check_statement(
    text: str,
    signature: str,
    issuers: Chain,
    dated: TcbInfo | QeIdentity,
    root: Certificate,
    collateral: Collateral,
    now: int,
) -> None:
    signer = _two(issuers, root, "issuer chain")
    if signer.common_name != TCB_SIGNER:
        raise VerificationError("the collateral is signed by another", expected=TCB_SIGNER, actual=signer.common_name)
    _check_issued(signer, root)
    certificates.check_critical(signer)
    certificates.check_validity(signer, now)
    crl.check_not_in(crl.read(unhex(collateral.root_ca_crl, "root_ca_crl")), signer)
    # The signature is over these very bytes, not over a JSON text that means the same.
    _check_signature(signer.public_key, unhex(signature, "signature", 64), text.encode(), f"{dated.id[:8]} statement")
    if not dated.issued() <= now <= dated.expires():
        expected = f"a time from {utc(dated.issued())} to {utc(dated.expires())}"
        raise VerificationError(f"the {dated.id[:8]} statement is not in force", expected=expected, actual=utc(now))


def _two(chain: Chain, root: Certificate, where: str) -> Certificate:
    """The certificate that the pinned root issued."""
    if len(chain) != 2 or chain[1].der != root.der:
        raise MalformedError("not a certificate and the pinned root", where=where, actual=f"{len(chain)} certificates")
    return chain[0]


def _check_issued(certificate: Certificate, issuer: Certificate) -> None:
    _p256(issuer.public_key)
    if certificate.scheme != ECDSA_SHA256:
        raise VerificationError(f"the certificate {certificate.common_name} is signed in a way not known here")
    certificates.issued(certificate, issuer)


def _check_quote(quote: Quote, platform: Pck) -> None:
    _check_signature(platform.certificate.public_key, quote.qe_signature, quote.qe_report, "quoting enclave's report")
    bound = hashlib.sha256(quote.attestation_key + quote.qe_auth).digest()
    if not hmac.compare_digest(quote.qe_report[-64:], bound.ljust(64, b"\0")):
        raise VerificationError("the quoting enclave did not make the key that signed the quote", expected=bound.hex())
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + quote.attestation_key)
    except ValueError as error:
        raise MalformedError("the attestation key is no point of the curve") from error
    kind = "enclave" if quote.header.tee_type == SGX else "TD"
    _check_signature(key, quote.signature, quote.signed, f"{kind}'s report")


def _check_signature(key: object, signature: bytes, message: bytes, what: str) -> None:
    """ECDSA P-256, SHA-256, r and s of 32 bytes each."""
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    if not (0 < r < _P256_ORDER and 0 < s < _P256_ORDER):
        raise SignatureError(f"the signature of the {what} is out of range")
    try:
        _p256(key).verify(encode_dss_signature(r, s), message, _ECDSA)
    except InvalidSignature as error:
        raise SignatureError(f"the {what} is not signed by its certified key") from error


def _p256(key: object) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise VerificationError("a key of the chain is of another kind", expected="P-256")
    return key
