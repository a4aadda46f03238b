"""Second cut: from a report's signature to a pinned AMD root, and that certificate and report speak of one machine.

    VCEK (the chip's key)        <- ASK  (SEV-<product>)       <- ARK (pinned by SHA-256)
    VLEK (a key lent to a cloud) <- ASVK (SEV-VLEK-<product>)  <- ARK

Source: AMD publications 57230 and 56860. Every check raises its own error; none is skipped.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from teelog.errors import MalformedError, NotEstablished, SignatureError, UntrustedKey, VerificationError
from teelog.evidence import certificates
from teelog.evidence.certificates import Certificate
from teelog.evidence.platform import Roots
from teelog.evidence.sev_snp import endorsement, report
from teelog.evidence.sev_snp.endorsement import VCEK_NAME, VLEK_NAME, Endorsement
from teelog.evidence.sev_snp.report import Report

_MAX_CANDIDATES = 3
_P384_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
_OTHER_ROOT = "the chain does not end in the pinned root of {}"
_ECDSA = ec.ECDSA(hashes.SHA384())


@dataclass(frozen=True, slots=True)
class Chain:
    """product: the processor generation, whose root is the trust. masked: the report hides the chip's identity."""

    endorsement: Endorsement
    intermediate: Certificate
    root: Certificate
    product: str
    masked: bool


def verify(parsed: Report, files: Sequence[bytes], now: int, roots: Roots) -> Chain:
    """That a genuine AMD processor made this report.

    files: endorsements, see `endorsement.certificates_in`. now: POSIX seconds; every certificate must be valid then.
    Raises NotEstablished (no certificate for this report's kind of key), UntrustedKey, SignatureError,
    VerificationError, MalformedError.
    """
    given = endorsement.certificates_in(files)
    leaf = endorsement.read(_leaf(parsed, given))
    product = _product(parsed, leaf)
    _check_leaf(leaf)
    root = _root(product, roots, given)
    intermediate = _intermediate(leaf, product, given, root, roots)
    for each in (root, intermediate, leaf.certificate):
        certificates.check_validity(each, now)
    # Before the signature, which they would break as well: they say why.
    masked = _check_chip(parsed, leaf)
    _check_tcb(parsed, leaf)
    _check_signature(parsed, leaf.certificate)
    return Chain(leaf, intermediate, root, product, masked)


def _leaf(parsed: Report, given: Iterable[Certificate]) -> Certificate:
    if parsed.signing_key == report.NONE:
        raise VerificationError("the report is not signed: the guest was started without attestation")
    name = VLEK_NAME if parsed.signing_key == report.VLEK else VCEK_NAME
    leaves = [each for each in given if each.common_name in (VCEK_NAME, VLEK_NAME)]
    right = [each for each in leaves if each.common_name == name]
    if len(right) == 1:
        return right[0]
    if right:
        raise MalformedError(f"more than one {name} certificate", expected="one")
    if leaves:
        # SIGNING_KEY against the certificate's kind.
        actual = leaves[0].common_name
        raise VerificationError("the certificate is for another kind of key", expected=name, actual=actual)
    raise NotEstablished(f"no {name} certificate was given", hint="--endorsement FILE: AMD's KDS or the cloud has it")


def _product(parsed: Report, leaf: Endorsement) -> str:
    if parsed.family is None:
        # Version 2 does not name the processor. Its firmware ran on Milan and Genoa only.
        if leaf.struct_version != 0:
            raise VerificationError("a report of version 2 cannot come from this processor", actual=leaf.product)
        return leaf.product
    if (leaf.struct_version == 1) != (parsed.family == report.ZEN5):
        raise VerificationError(
            "report and certificate are of different processor families",
            expected=f"structVersion {int(parsed.family == report.ZEN5)}",
            actual=leaf.struct_version,
        )
    product = parsed.product
    if product is None:
        cpuid = f"family {parsed.family:#x}, model {parsed.model:#x}"
        raise VerificationError("processor model is not known", actual=cpuid)
    if leaf.product != product:
        raise VerificationError(
            "report and certificate are of different processors", expected=product, actual=leaf.product
        )
    return product


def _check_leaf(leaf: Endorsement) -> None:
    certificates.check_critical(leaf.certificate)
    if leaf.is_vlek and (leaf.hwid is not None or leaf.csp_id is None):
        raise VerificationError("a VLEK certificate names a provider and no chip")
    if not leaf.is_vlek and (leaf.hwid is None or leaf.csp_id is not None):
        raise VerificationError("a VCEK certificate names a chip and no provider")


def _root(product: str, roots: Roots, given: Iterable[Certificate]) -> Certificate:
    """The pinned root of this product, from the endorsements or from what ships."""
    pin = roots.pins.get(product)
    if pin is None:
        pinned = ", ".join(sorted(roots.pins)) or "none"
        raise UntrustedKey(f"no root is pinned for {product}", expected=pinned, actual=product)
    root = next((each for each in (*_known(roots, f"ARK-{product}"), *given) if each.fingerprint == pin), None)
    if root is None:
        _refuse_other_root(product, given, pin)
        raise NotEstablished(f"the pinned root certificate of {product} is not at hand", hint="give the whole chain")
    certificates.check_authority(root)
    return root


def _refuse_other_root(product: str, given: Iterable[Certificate], pin: bytes) -> None:
    """A root that came along and is not the pinned one is a wrong one, whatever else is missing."""
    for each in given:
        if each.common_name == f"ARK-{product}" and each.fingerprint != pin:
            raise UntrustedKey(_OTHER_ROOT.format(product), expected=pin.hex(), actual=each.fingerprint.hex())


def _known(roots: Roots, name: str) -> tuple[Certificate, ...]:
    return _parsed(roots.certificates, name)


@lru_cache(maxsize=64)
def _parsed(ders: tuple[bytes, ...], name: str) -> tuple[Certificate, ...]:
    """Those whose subject could be ``name``; the others are not even parsed.

    Kept, since roots and intermediates are the same every time: parsing them costs as much as a signature check.
    """
    marker = name.encode()
    return tuple(certificates.load_cert(der) for der in ders if marker in der)


def _intermediate(
    leaf: Endorsement, product: str, given: Sequence[Certificate], root: Certificate, roots: Roots
) -> Certificate:
    """The ASK or ASVK that signed the leaf, signed by the pinned root."""
    name = f"SEV-VLEK-{product}" if leaf.is_vlek else f"SEV-{product}"
    known = [each for each in _known(roots, name) if each.common_name == name]
    candidates = list({each.der: each for each in (*given, *known) if each.common_name == name}.values())
    if not candidates:
        raise NotEstablished(f"the certificate {name} is not at hand", hint="give the whole chain")
    refusal: VerificationError | None = None
    for candidate in candidates[:_MAX_CANDIDATES]:
        try:
            certificates.issued(leaf.certificate, candidate)
        except VerificationError as error:
            refusal = refusal or error
            continue
        _check_intermediate(candidate, product, given, root)
        return candidate
    assert refusal is not None
    raise refusal


def _check_intermediate(candidate: Certificate, product: str, given: Iterable[Certificate], root: Certificate) -> None:
    try:
        certificates.issued(candidate, root)
    except VerificationError as error:
        _refuse_other_root(product, given, root.fingerprint)
        raise UntrustedKey(
            _OTHER_ROOT.format(product), expected=root.fingerprint.hex(), actual="another root"
        ) from error
    certificates.check_authority(candidate)


def _check_signature(parsed: Report, leaf: Certificate) -> None:
    key = leaf.public_key
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise VerificationError("the certificate's key is of another kind", expected="P-384")
    r, s = parsed.signature
    if not (0 < r < _P384_ORDER and 0 < s < _P384_ORDER):
        raise SignatureError("the report's signature is out of range")
    try:
        key.verify(encode_dss_signature(r, s), parsed.signed, _ECDSA)
    except InvalidSignature as error:
        raise SignatureError(f"the report is not signed by the certified {leaf.common_name}") from error


def _check_tcb(parsed: Report, leaf: Endorsement) -> None:
    """The key is derived from the security versions it vouches for, so certificate and report name the same."""
    reported = parsed.reported_tcb
    if leaf.tcb != reported:
        raise VerificationError(
            "the certificate is for other firmware than reported", expected=reported, actual=leaf.tcb
        )
    if not parsed.current_tcb.covers(reported.parts()):
        raise VerificationError(
            "reported firmware is newer than what runs", expected=f"at most {parsed.current_tcb}", actual=reported
        )
    if not parsed.current_tcb.covers(parsed.committed_tcb.parts()):
        raise VerificationError(
            "committed firmware is newer than what runs",
            expected=f"at most {parsed.current_tcb}",
            actual=parsed.committed_tcb,
        )


def _check_chip(parsed: Report, leaf: Endorsement) -> bool:
    """Whether the report hides the chip (all zero: masked by the host, or always with a VLEK)."""
    if not any(parsed.chip_id):
        return True
    if leaf.hwid is None:
        # A VLEK says nothing about the chip: the report's signature alone vouches for the id.
        return False
    own, rest = parsed.chip_id[: len(leaf.hwid)], parsed.chip_id[len(leaf.hwid) :]
    if any(rest) or not hmac.compare_digest(own, leaf.hwid):
        raise VerificationError(
            "the certificate is for another chip", expected=leaf.hwid.hex(), actual=parsed.chip_id.hex()
        )
    return False
