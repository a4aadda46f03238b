"""COSE_Sign1 (RFC 9052 section 4.2) with ECDSA, as AWS Nitro and Arm CCA write it: tagged or bare, empty unprotected
header, payload inside. ECDSA lets anyone turn S into the group order minus S: two encodings are one document if their
payloads are equal.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from teelog import cbor
from teelog.errors import MalformedError, NotEstablished, SignatureError, VerificationError

TAG = 18
ES256, ES384 = -7, -35

_ALGORITHM = 1  # in a protected header
_KEY_TYPE, _KEY_ID, _KEY_ALGORITHM, _CURVE, _X, _Y = 1, 2, 3, -1, -2, -3  # in a COSE_Key (RFC 9053 section 7.1.1)
_EC2 = 2

Key = ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class _Scheme:
    name: str
    curve: type[ec.EllipticCurve]
    algorithm: ec.ECDSA
    size: int  # bytes of r, and of s


_SCHEMES = {
    ES256: _Scheme("P-256", ec.SECP256R1, ec.ECDSA(hashes.SHA256()), 32),
    ES384: _Scheme("P-384", ec.SECP384R1, ec.ECDSA(hashes.SHA384()), 48),
}
_CURVES = {1: _SCHEMES[ES256], 2: _SCHEMES[ES384]}


@dataclass(frozen=True, slots=True)
class Sign1:
    """protected: the header's bytes, as signed. algorithm: ES256 or ES384. signature: r and s, big-endian."""

    protected: bytes
    algorithm: int
    payload: bytes
    signature: bytes

    @property
    def signed(self) -> bytes:
        """Sig_structure with an empty external_aad."""
        parts = (self.protected, b"", self.payload)
        return b"\x84\x6aSignature1" + b"".join(map(cbor.byte_string, parts))


def parse(data: bytes, what: str) -> Sign1:
    """Raises MalformedError; NotEstablished for an algorithm that is not known here."""
    tree = cbor.load(data, what)
    if isinstance(tree, cbor.Tag) and tree.number == TAG:
        tree = tree.value
    if type(tree) is not list or len(tree) != 4:
        raise MalformedError(f"{what}: not a COSE_Sign1", expected="an array of four")
    protected, unprotected, payload, signature = tree
    if type(protected) is not bytes or type(payload) is not bytes or type(signature) is not bytes:
        raise MalformedError(f"{what}: not a COSE_Sign1", expected="byte strings")
    # Nobody signs the unprotected header: anything in it would be another encoding of the same document.
    if unprotected != {}:
        raise MalformedError(f"{what}: the unprotected header is not empty")
    algorithm = _algorithm(protected, what)
    size = 2 * _SCHEMES[algorithm].size
    if len(signature) != size:
        raise MalformedError(f"{what}: the signature has another length", expected=size, actual=len(signature))
    return Sign1(protected, algorithm, payload, signature)


def _algorithm(protected: bytes, what: str) -> int:
    header = cbor.load(protected, f"{what}, protected header")
    if type(header) is not dict or list(header) != [_ALGORITHM]:
        raise MalformedError(f"{what}: the protected header is not the algorithm alone")
    algorithm = header[_ALGORITHM]
    if type(algorithm) not in (int, str):
        raise MalformedError(f"{what}: the algorithm is neither a number nor text")
    if algorithm not in _SCHEMES:
        raise NotEstablished(
            f"{what}: the signature's algorithm is not known here", expected="ES256, ES384", actual=str(algorithm)[:40]
        )
    return int(algorithm)


def verify(message: Sign1, key: Key, what: str) -> None:
    """That ``key`` signed it; raises SignatureError, VerificationError (a key of another kind)."""
    scheme = _SCHEMES[message.algorithm]
    if not isinstance(key.curve, scheme.curve):
        raise VerificationError(f"{what}: the key is of another kind", expected=scheme.name, actual=key.curve.name)
    r, s = message.signature[: scheme.size], message.signature[scheme.size :]
    der = encode_dss_signature(int.from_bytes(r), int.from_bytes(s))
    try:
        key.verify(der, message.signed, scheme.algorithm)
    except InvalidSignature as error:
        raise SignatureError(f"{what} is not signed by this key") from error


def public_key(data: bytes, what: str) -> Key:
    """A COSE_Key of type EC2, or an uncompressed P-384 point (97 bytes). Raises MalformedError."""
    if len(data) == 97 and data[0] == 0x04:
        return point(ec.SECP384R1, data, what)
    fields = cbor.Fields(cbor.load(data, what), what)
    kind, curve = fields.number(_KEY_TYPE, 1 << 16), _CURVES.get(fields.number(_CURVE, 1 << 16))
    if kind != _EC2 or curve is None:
        raise MalformedError(f"{what}: a key of another kind", expected="P-256 or P-384")
    x, y = fields.octets(_X, curve.size, curve.size), fields.octets(_Y, curve.size, curve.size)
    # What a key is called and used for says nothing about who signed.
    unknown = set(fields.left()) - {_KEY_ID, _KEY_ALGORITHM}
    if unknown:
        raise MalformedError(f"{what}: the key has a member that is not known here", actual=str(min(map(str, unknown))))
    return point(curve.curve, b"\x04" + x + y, what)


def point(curve: type[ec.EllipticCurve], encoded: bytes, what: str) -> Key:
    """A key from its point; raises MalformedError for one that is not on the curve."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve(), encoded)
    except ValueError as error:
        raise MalformedError(f"{what}: not a point of the curve") from error
