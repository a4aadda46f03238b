"""Public and private keys of the four signature algorithms in use, as values.

A key is identified by its bytes (SPKI DER), never by what verifies under it. Vendors' keys are SPKI PEM
(protocol section 2); logs and witnesses name theirs by vkey (``teelog.tlog.note``). Pure: reading files and drawing
random bytes is the caller's business.

Valid Ed25519 means RFC 8032 as OpenSSL checks it, minus the low-order and non-canonical public keys (SN-26, A-20):
those are refused wherever a key enters.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from teelog.errors import ConfigError, MalformedError, SignatureError


class Algorithm(enum.StrEnum):
    """Names as users type them."""

    ED25519 = "ed25519"
    ML_DSA_44 = "ml-dsa-44"
    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"


ED25519_LENGTH = 32
ML_DSA_44_LENGTH = 1312
ML_DSA_44_SIGNATURE_LENGTH = 2420
MAX_PEM_LENGTH = 16_384  # bytes; an ML-DSA-44 SPKI in PEM is about 1.9 kB

_P = 2**255 - 19
# y coordinates of the points whose order divides 8. With both sign bits, and with the encodings of y + p that still
# fit 255 bits, these are the 14 encodings that make one signature valid for many messages.
_LOW_ORDER_Y = frozenset(
    {
        0,
        1,
        _P - 1,
        int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
        int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"),
    }
)

# Group orders, for the low-s rule.
_ORDER = {
    Algorithm.ECDSA_P256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    Algorithm.ECDSA_P384: int(
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16
    ),
}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A verified-to-be-usable public key.

    algorithm: one of Algorithm.
    raw: Ed25519 32 bytes; ML-DSA-44 1,312 bytes; ECDSA the uncompressed point (65 or 97 bytes).
    spki: SubjectPublicKeyInfo, DER.
    """

    algorithm: Algorithm
    raw: bytes
    spki: bytes = field(repr=False)
    _key: Any = field(repr=False, compare=False)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the SPKI, lower-case hex: the ``keyid`` of DSSE signatures and the ``signer`` index key."""
        return hashlib.sha256(self.spki).hexdigest()

    def verify(self, message: bytes, signature: bytes) -> None:
        """Raises SignatureError unless ``signature`` is this key's over ``message`` in its one accepted encoding."""
        try:
            if self.algorithm is Algorithm.ED25519 or self.algorithm is Algorithm.ML_DSA_44:
                self._key.verify(signature, message)
            else:
                self._verify_ecdsa(message, signature)
        except (InvalidSignature, ValueError) as error:
            actual = f"key {self.fingerprint}"
            raise SignatureError(f"{self.algorithm} signature does not verify", actual=actual) from error

    def _verify_ecdsa(self, message: bytes, signature: bytes) -> None:
        # Imported here: a verifier that meets Ed25519 only does not pay for it.
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        r, s = utils.decode_dss_signature(signature)
        # Strict DER and low s (protocol section 2): one signature, one encoding.
        if utils.encode_dss_signature(r, s) != signature or not 0 < s <= _ORDER[self.algorithm] // 2:
            raise InvalidSignature
        digest = hashes.SHA256() if self.algorithm is Algorithm.ECDSA_P256 else hashes.SHA384()
        self._key.verify(signature, message, ec.ECDSA(digest))

    def to_pem(self) -> bytes:
        """SPKI PEM, as ``from_pem`` accepts it."""
        pem: bytes = self._key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return pem


def check_ed25519_point(raw: bytes) -> None:
    """Refuses the low-order and the non-canonical encodings of Ed25519 public keys (SN-26, A-20).

    raw: 32 bytes. Raises MalformedError.
    """
    y = int.from_bytes(raw, "little") & ((1 << 255) - 1)
    if y >= _P:
        raise MalformedError("Ed25519 public key is not canonical", actual=raw.hex())
    if y in _LOW_ORDER_Y:
        raise MalformedError("Ed25519 public key has low order", actual=raw.hex())


def public_key(algorithm: Algorithm, raw: bytes) -> PublicKey:
    """A public key from its raw bytes (Ed25519 and ML-DSA-44 only, as in vkeys). Raises MalformedError."""
    if algorithm is Algorithm.ED25519:
        if len(raw) != ED25519_LENGTH:
            raise MalformedError("Ed25519 public key has the wrong length", expected=32, actual=len(raw))
        return _wrap(Ed25519PublicKey.from_public_bytes(raw))
    if algorithm is Algorithm.ML_DSA_44:
        if len(raw) != ML_DSA_44_LENGTH:
            raise MalformedError("ML-DSA-44 public key has the wrong length", expected=1312, actual=len(raw))
        return _wrap(_mldsa().MLDSA44PublicKey.from_public_bytes(raw))
    raise ValueError(f"{algorithm} has no raw form here")


def public_key_from_spki(spki: bytes) -> PublicKey:
    """A public key from SubjectPublicKeyInfo DER, which must re-encode to itself. Raises MalformedError."""
    if len(spki) > MAX_PEM_LENGTH:
        raise MalformedError("public key is too long", expected=f"at most {MAX_PEM_LENGTH} bytes", actual=len(spki))
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise MalformedError("not a public key in SPKI form") from error
    result = _wrap(key)
    if result.spki != spki:
        raise MalformedError("public key is not in its canonical DER encoding")
    return result


def public_key_from_pem(pem: bytes) -> PublicKey:
    """A public key from SPKI PEM; exactly what ``to_pem`` writes is accepted. Raises MalformedError."""
    if len(pem) > MAX_PEM_LENGTH:
        raise MalformedError("public key is too long", expected=f"at most {MAX_PEM_LENGTH} bytes", actual=len(pem))
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise MalformedError("not a public key in SPKI PEM form", expected="-----BEGIN PUBLIC KEY-----") from error
    result = _wrap(key)
    if result.to_pem() != pem:
        raise MalformedError("public key PEM is not in its canonical form", hint="openssl pkey -pubin -in FILE")
    return result


def _wrap(key: Any) -> PublicKey:
    algorithm = _algorithm_of(key)
    if algorithm in _ORDER:
        raw = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    else:
        raw = key.public_bytes_raw()
    if algorithm is Algorithm.ED25519:
        check_ed25519_point(raw)
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(algorithm, raw, spki, key)


def _algorithm_of(key: Any) -> Algorithm:
    if isinstance(key, Ed25519PublicKey | Ed25519PrivateKey):
        return Algorithm.ED25519
    curve = getattr(getattr(key, "curve", None), "name", None)
    if curve == "secp256r1":
        return Algorithm.ECDSA_P256
    if curve == "secp384r1":
        return Algorithm.ECDSA_P384
    if type(key).__name__.startswith("MLDSA44"):
        return Algorithm.ML_DSA_44
    raise MalformedError(
        "key algorithm is not supported",
        expected=", ".join(Algorithm),
        actual=getattr(key, "__class__", type(key)).__name__,
    )


def _mldsa() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import mldsa
    except ImportError as error:
        raise ConfigError(
            "this build of cryptography has no ML-DSA", expected="cryptography >= 48 with OpenSSL >= 3.5"
        ) from error
    return mldsa


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A private key; ``sign`` gives the encoding that ``PublicKey.verify`` accepts (ML-DSA-44, ECDSA: randomised)."""

    public: PublicKey
    _key: Any = field(repr=False, compare=False)

    @property
    def algorithm(self) -> Algorithm:
        return self.public.algorithm

    def sign(self, message: bytes) -> bytes:
        """Ed25519 64 bytes; ML-DSA-44 2,420 bytes; ECDSA strict DER with low s."""
        if self.algorithm not in _ORDER:
            signature: bytes = self._key.sign(message)
            return signature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        digest = hashes.SHA256() if self.algorithm is Algorithm.ECDSA_P256 else hashes.SHA384()
        return low_s(self.algorithm, self._key.sign(message, ec.ECDSA(digest)), utils)

    def to_pem(self) -> bytes:
        """PKCS#8 PEM, unencrypted: the file's mode protects it."""
        pem: bytes = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return pem


def low_s(algorithm: Algorithm, signature: bytes, utils: Any = None) -> bytes:
    """The low-s form of a DER ECDSA signature: what an outside signer (KMS, HSM) may need. Raises MalformedError."""
    if utils is None:
        from cryptography.hazmat.primitives.asymmetric import utils
    try:
        r, s = utils.decode_dss_signature(signature)
    except ValueError as error:
        raise MalformedError("not a DER ECDSA signature") from error
    if not (0 < r < _ORDER[algorithm] and 0 < s < _ORDER[algorithm]):
        raise MalformedError("ECDSA signature has a number outside the group")
    encoded: bytes = utils.encode_dss_signature(r, min(s, _ORDER[algorithm] - s))
    return encoded


def private_key_from_seed(algorithm: Algorithm, seed: bytes) -> PrivateKey:
    """A key from 32 (ECDSA P-384: 56) random bytes, which are the caller's to draw."""
    key: Any
    if algorithm is Algorithm.ED25519:
        key = Ed25519PrivateKey.from_private_bytes(seed)
    elif algorithm is Algorithm.ML_DSA_44:
        key = _mldsa().MLDSA44PrivateKey.from_seed_bytes(seed)
    else:
        from cryptography.hazmat.primitives.asymmetric import ec

        curve = ec.SECP256R1() if algorithm is Algorithm.ECDSA_P256 else ec.SECP384R1()
        # Hashing to more bits than the order keeps the modular bias negligible.
        wide = hashlib.shake_256(b"teelog key" + seed).digest(64)
        key = ec.derive_private_key(int.from_bytes(wide) % (_ORDER[algorithm] - 1) + 1, curve)
    return PrivateKey(_wrap(key.public_key()), key)


def private_key_from_pem(pem: bytes) -> PrivateKey:
    """A key from unencrypted PKCS#8 PEM. Raises ConfigError: a key file is the caller's own."""
    try:
        if len(pem) > MAX_PEM_LENGTH:
            raise ValueError("too long")
        key: Any = serialization.load_pem_private_key(pem, password=None)
        public = _wrap(key.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm, MalformedError) as error:
        raise ConfigError(
            "not a usable private key",
            expected="unencrypted PKCS#8 PEM, " + ", ".join(Algorithm),
            hint="teelog key generate --name NAME --out FILE",
        ) from error
    return PrivateKey(public, key)
