"""The endorsement of a CCA platform: its attestation key (CPAK), as SPKI in PEM or DER, or as a JWK.

There is no public root of Arm for production platforms, so such a key is believed only if the trust file, or
``--root``, pins the SHA-256 of its SPKI DER; docs/formats/evidence-cca.md says how to get it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from teelog.errors import MalformedError
from teelog.evidence import cose, report_data
from teelog.evidence.cose import Key

MAX_KEYS = 8
MAX_FILE = 16_384  # bytes

_CURVES: dict[str, type[ec.EllipticCurve]] = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1}
_SIZES = {"P-256": 32, "P-384": 48}
_WHAT = "platform key"


@dataclass(frozen=True, slots=True)
class PlatformKey:
    """fingerprint: SHA-256 of the key's SPKI DER."""

    key: Key
    fingerprint: bytes


class _Jwk(msgspec.Struct):
    kty: str
    crv: str
    x: str
    y: str


def read(files: Sequence[bytes]) -> list[PlatformKey]:
    """Raises MalformedError."""
    if len(files) > MAX_KEYS:
        raise MalformedError("too many platform keys", expected=f"at most {MAX_KEYS}", actual=len(files))
    return [_read(each) for each in files]


def _read(file: bytes) -> PlatformKey:
    if len(file) > MAX_FILE:
        raise MalformedError("a platform key is too long", expected=f"at most {MAX_FILE} bytes", actual=len(file))
    key = _from_jwk(file) if file.lstrip()[:1] == b"{" else _from_spki(report_data.bound_bytes(file))
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PlatformKey(key, hashlib.sha256(spki).digest())


def _from_spki(der: bytes) -> Key:
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedError("a platform key cannot be read", expected="SPKI as PEM or DER, or a JWK") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        raise MalformedError("a platform key is of another kind", expected="P-256 or P-384")
    return key


def _from_jwk(file: bytes) -> Key:
    """RFC 7518 section 6.2.1. Any one encoding will do: the key is compared with a pin afterwards."""
    try:
        jwk = msgspec.json.decode(file, type=_Jwk)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("a platform key is no JWK", actual=str(error)[:80]) from error
    curve = _CURVES.get(jwk.crv) if jwk.kty == "EC" else None
    if curve is None:
        raise MalformedError("a platform key is of another kind", expected="P-256 or P-384", actual=jwk.crv[:40])
    x, y = (_coordinate(each, _SIZES[jwk.crv]) for each in (jwk.x, jwk.y))
    return cose.point(curve, b"\x04" + x + y, _WHAT)


def _coordinate(text: str, size: int) -> bytes:
    try:
        value = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise MalformedError("a platform key is no JWK", expected="base64url", actual=text[:80]) from error
    if len(value) != size:
        raise MalformedError("a platform key is no JWK", expected=f"{size} bytes", actual=f"{len(value)} bytes")
    return value
