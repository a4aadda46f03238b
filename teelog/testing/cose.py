"""COSE_Sign1 and CBOR byte by byte, right and wrong, in whatever order a fake wants its members."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from teelog import cbor
from teelog.evidence import cose
from teelog.evidence.cose import Sign1
from teelog.testing import x509


@dataclass(frozen=True, slots=True)
class Indefinite:
    """A map that is written without its length."""

    members: dict[Any, Any]


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes that are written as they are, whether CBOR or not."""

    encoded: bytes


def encode(value: Any) -> bytes:
    """Shortest heads, members in the order in which they stand; see also Indefinite, Raw and `cbor.Tag`."""
    match value:
        case None | True | False:
            return b"\xf6" if value is None else bytes((0xF4 + value,))
        case int():
            return cbor.head(0, value) if value >= 0 else cbor.head(1, -1 - value)
        case bytes():
            return cbor.byte_string(value)
        case str():
            return cbor.head(3, len(value.encode())) + value.encode()
        case list():
            return cbor.head(4, len(value)) + b"".join(map(encode, value))
        case dict():
            return cbor.head(5, len(value)) + _members(value)
        case Indefinite(members):
            return b"\xbf" + _members(members) + b"\xff"
        case cbor.Tag(number, inner):
            return cbor.head(6, number) + encode(inner)
        case Raw(encoded):
            return encoded
    raise TypeError(type(value))


def _members(members: dict[Any, Any]) -> bytes:
    return b"".join(encode(key) + encode(value) for key, value in members.items())


def sign1(
    payload: bytes,
    key: ec.EllipticCurvePrivateKey,
    *,
    tagged: bool = True,
    protected: Any = None,
    unprotected: Any = None,
    signature: bytes | None = None,
) -> bytes:
    """A COSE_Sign1: ES256 by a P-256 key, ES384 by a P-384 key.

    protected, unprotected: headers in place of the usual ones. signature: in place of the right one.
    """
    p256 = isinstance(key.curve, ec.SECP256R1)
    algorithm = cose.ES256 if p256 else cose.ES384
    header = encode({1: algorithm} if protected is None else protected)
    if signature is None:
        signed = Sign1(header, algorithm, payload, b"").signed
        size = 32 if p256 else 48
        r, s = decode_dss_signature(x509.ecdsa_sign(key, signed))
        signature = r.to_bytes(size) + s.to_bytes(size)
    whole = [header, {} if unprotected is None else unprotected, payload, signature]
    return encode(cbor.Tag(cose.TAG, whole) if tagged else whole)
