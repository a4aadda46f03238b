"""The signature section of an enclave image file: whose certificate PCR8 stands for.

CBOR: one map {signing_certificate, signature}, both arrays of byte values. The certificate is PEM, the signature is a
COSE_Sign1, whose payload is the CBOR map {register_index: 0, register_value: PCR0}. A hypervisor that starts the
image has checked it, so what does not verify here does not start there.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from teelog import cbor
from teelog.errors import MalformedError, VerificationError
from teelog.evidence import certificates, cose

MAX_SECTION = 65_536  # bytes

_WHAT = "signature of the enclave image"


def verify(section: bytes, pcr0: bytes) -> bytes:
    """The certificate's DER, if its key signed this PCR0. Whether it is valid now is not asked: PCR8 is its hash.

    Raises MalformedError, NotEstablished (an algorithm that is not known), SignatureError, VerificationError.
    """
    signed = _only(cbor.load(section, _WHAT))
    fields = cbor.Fields(signed, _WHAT)
    ders = certificates.load_pem(_bytes(fields.items("signing_certificate", 1, MAX_SECTION)))
    message = cose.parse(_bytes(fields.items("signature", 1, MAX_SECTION)), _WHAT)
    _finish(fields)
    if len(ders) != 1:
        raise MalformedError(f"{_WHAT}: more than one certificate")
    key = certificates.load_cert(ders[0]).public_key
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise VerificationError(f"{_WHAT}: the certificate's key is of another kind", expected="P-256 or P-384")
    cose.verify(message, key, "the enclave image")
    _check_payload(message.payload, pcr0)
    return ders[0]


def _only(tree: Any) -> Any:
    if type(tree) is not list or len(tree) != 1:
        raise MalformedError(f"{_WHAT}: not one signature", expected="an array of one")
    return tree[0]


def _check_payload(payload: bytes, pcr0: bytes) -> None:
    fields = cbor.Fields(cbor.load(payload, _WHAT), _WHAT)
    index = fields.number("register_index", 1 << 16)
    value = _bytes(fields.items("register_value", 1, 64))
    _finish(fields)
    if index != 0 or value != pcr0:
        raise VerificationError(
            "the enclave image's signature is for another image",
            expected=f"PCR0 {pcr0.hex()}",
            actual=f"PCR{index} {value.hex()}",
        )


def _bytes(values: list[Any]) -> bytes:
    if any(type(each) is not int or not 0 <= each <= 0xFF for each in values):
        raise MalformedError(f"{_WHAT}: not an array of byte values")
    return bytes(values)


def _finish(fields: cbor.Fields) -> None:
    if fields.left():
        raise MalformedError(f"{_WHAT}: a member is not known here", actual=str(fields.left()[0])[:40])
