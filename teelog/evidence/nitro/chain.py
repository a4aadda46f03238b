"""Second cut: from a document's signature to the pinned root of AWS.

    leaf (the enclave's, for about three hours) <- instance <- zone <- region <- root (pinned by SHA-256)

Source: AWS, "Nitro Enclaves Attestation Process". The chain is judged at the time at which the hypervisor says that it
made the document, since the leaf outlives it by hours only; how old a document may be is for freshness and policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from cryptography.hazmat.primitives.asymmetric import ec

from teelog.errors import UntrustedKey, VerificationError
from teelog.evidence import certificates, cose
from teelog.evidence.certificates import Certificate, utc
from teelog.evidence.nitro.document import Document
from teelog.evidence.platform import Roots

MAX_AHEAD = 300  # seconds that AWS's clock may be ahead of ours

_WHAT = "the attestation document"


@dataclass(frozen=True, slots=True)
class Chain:
    """age: seconds between the making of the document and the time at which it was judged; at least -MAX_AHEAD."""

    root: Certificate
    leaf: Certificate
    age: int


def verify(document: Document, now: int, roots: Roots) -> Chain:
    """That a genuine Nitro hypervisor made this document. now: POSIX seconds.

    Raises UntrustedKey, SignatureError, VerificationError, MalformedError.
    """
    if document.made_at > now + MAX_AHEAD:
        raise VerificationError(
            "the document was made later than now", expected=f"until {utc(now)}", actual=utc(document.made_at)
        )
    chain = [certificates.load_cert(der) for der in (*document.cabundle, document.certificate)]
    _check_root(chain[0], roots)
    _check_chain(chain, document.made_at)
    leaf = chain[-1]
    key = leaf.public_key
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise VerificationError("the certificate's key is of another kind", expected="P-384")
    cose.verify(document.cose, key, _WHAT)
    return Chain(chain[0], leaf, now - document.made_at)


def _check_root(root: Certificate, roots: Roots) -> None:
    if root.fingerprint not in roots.pins.values():
        raise UntrustedKey(
            "the chain does not begin with a pinned root",
            expected=" or ".join(pin.hex() for pin in roots.pins.values()) or "none is pinned",
            actual=root.fingerprint.hex(),
        )


def _check_chain(chain: list[Certificate], at: int) -> None:
    for each in chain:
        certificates.check_validity(each, at)
    for issuer, certificate in pairwise(chain):
        certificates.check_authority(issuer)
        if certificate.scheme != certificates.ECDSA_SHA384:
            raise VerificationError(f"the certificate {certificate.common_name} is signed in a way not known here")
        certificates.issued(certificate, issuer)
    _check_path_lengths(chain)
    leaf = chain[-1]
    certificates.check_critical(leaf)
    if leaf.authority or not leaf.signer:
        raise VerificationError("the document's certificate is none for signing documents", actual=leaf.common_name)


def _check_path_lengths(chain: Sequence[Certificate]) -> None:
    """That none has more authorities below it than it allows (RFC 5280 section 4.2.1.9)."""
    for place, each in enumerate(chain[:-1]):
        below = len(chain) - place - 2
        if each.path_length is not None and below > each.path_length:
            raise VerificationError(
                f"the certificate {each.common_name} allows fewer authorities below it",
                expected=f"at most {each.path_length}",
                actual=below,
            )
