"""Verifier keys (c2sp.org/signed-note, "Verifier keys") and signers of the three note signature types in use.

    0x01  Ed25519 over the note text                     logs
    0x04  timestamped Ed25519 cosignature                witnesses
    0x06  timestamped ML-DSA-44 (sub)tree cosignature    logs and witnesses

SN-29: a log slot takes 0x01 and 0x06, a witness slot 0x04 and 0x06; SN-24: any other type is an error, never ignored.
"""

from __future__ import annotations

import base64
import enum
import hashlib
from dataclasses import dataclass

from teelog import keys, strict
from teelog.errors import ConfigError, MalformedError, SignatureError
from teelog.keys import Algorithm, PrivateKey, PublicKey
from teelog.tlog import checkpoint, cosignature, note

MAX_LENGTH = 4096  # characters; an ML-DSA-44 vkey has about 1,800


class SignatureType(enum.IntEnum):
    """The signature type byte of key IDs and vkeys."""

    ED25519 = 0x01
    COSIGNATURE_ED25519 = 0x04
    COSIGNATURE_ML_DSA_44 = 0x06


LOG_TYPES = frozenset({SignatureType.ED25519, SignatureType.COSIGNATURE_ML_DSA_44})
WITNESS_TYPES = frozenset({SignatureType.COSIGNATURE_ED25519, SignatureType.COSIGNATURE_ML_DSA_44})

_ALGORITHM = {
    SignatureType.ED25519: Algorithm.ED25519,
    SignatureType.COSIGNATURE_ED25519: Algorithm.ED25519,
    SignatureType.COSIGNATURE_ML_DSA_44: Algorithm.ML_DSA_44,
}


def key_id(name: str, kind: int, public: bytes) -> bytes:
    """SN-20, CS-01: SHA-256(name || 0x0A || type || public key)[:4]."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A named key for one signature type; a ``note.Verifier``. ``str()`` gives the vkey text."""

    name: str
    type: SignatureType
    public: PublicKey
    key_id: bytes

    @classmethod
    def of(cls, name: str, kind: SignatureType, public: PublicKey) -> VerifierKey:
        """The verifier key of ``public``. Raises MalformedError for a bad name, ValueError for another algorithm."""
        note.check_name(name)
        if kind is not SignatureType.ED25519 and len(name.encode()) > 255:
            raise MalformedError("cosigner name is too long", expected="at most 255 bytes", actual=len(name.encode()))
        if public.algorithm is not _ALGORITHM[kind]:
            raise ValueError(f"signature type {kind:#04x} does not use {public.algorithm}")
        return cls(name, kind, public, key_id(name, kind, public.raw))

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([self.type]) + self.public.raw).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @property
    def covers_extensions(self) -> bool:
        """Whether a signature of this type covers a checkpoint's extension lines (CS-06, CS-13)."""
        return self.type is not SignatureType.COSIGNATURE_ML_DSA_44

    def verify(self, text: bytes, blob: bytes) -> int | None:
        """See ``note.Verifier``. For a cosignature ``text`` must be a checkpoint's. Raises SignatureError."""
        try:
            if self.type is SignatureType.ED25519:
                self.public.verify(text, blob)
                return None
            if self.type is SignatureType.COSIGNATURE_ED25519:
                timestamp, signature = cosignature.parse_blob(blob, cosignature.ED25519_BLOB)
                message = cosignature.ed25519_message(timestamp, text)
            else:
                timestamp, signature = cosignature.parse_blob(blob, cosignature.ML_DSA_44_BLOB)
                head = checkpoint.parse_body(text)
                # CS-10: a checkpoint is the subtree from 0 to its size.
                message = cosignature.ml_dsa_44_message(self.name, timestamp, head.origin, 0, head.size, head.root)
            self.public.verify(message, signature)
        except (SignatureError, MalformedError) as error:
            raise SignatureError(
                "signature does not verify", actual=f"{self.name}+{self.key_id.hex()}: {error.message}"
            ) from error
        return timestamp


def parse(text: str) -> VerifierKey:
    """SN-21: ``name+hex key ID+base64(type || key)``, in its one spelling. Raises ConfigError."""
    try:
        return _parse(text)
    except MalformedError as error:
        raise ConfigError(f"bad vkey: {error.message}", expected=error.expected, actual=error.actual) from error


def _parse(text: str) -> VerifierKey:
    if len(text) > MAX_LENGTH:
        raise MalformedError("vkey is too long", expected=f"at most {MAX_LENGTH} characters", actual=len(text))
    # The name has no plus (SN-10); base64 may have some.
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise MalformedError("vkey is not name+id+key", actual=text[:80])
    name, hex_id, encoded = parts
    note.check_name(name)
    claimed = strict.unhex(hex_id, "key ID", 4)
    try:
        material = strict.b64(encoded.encode("ascii"), "vkey material")
    except UnicodeEncodeError as error:
        raise MalformedError("vkey material is not base64") from error
    try:
        kind = SignatureType(material[0]) if material else None
    except ValueError:
        kind = None
    if kind is None:
        raise MalformedError(
            "vkey signature type is not supported",
            expected="0x01 Ed25519, 0x04 or 0x06 cosignature",
            actual=f"{material[0]:#04x}" if material else "none",
        )
    # SN-22, CS-17: the exact key length; SN-26: no low-order key.
    public = keys.public_key(_ALGORITHM[kind], material[1:])
    result = VerifierKey.of(name, kind, public)
    if result.key_id != claimed:  # SN-20
        raise MalformedError(
            "vkey's key ID does not belong to its name and key", expected=result.key_id.hex(), actual=hex_id
        )
    return result


def parse_for(text: str, allowed: frozenset[SignatureType], slot: str) -> VerifierKey:
    """A vkey for a ``slot`` that takes only ``allowed`` types (SN-29, PL-16). Raises ConfigError."""
    key = parse(text)
    if key.type not in allowed:
        raise ConfigError(
            f"a {slot} key cannot have signature type {key.type:#04x}",
            expected=", ".join(f"{kind:#04x}" for kind in sorted(allowed)),
            actual=f"{key.name}+{key.key_id.hex()}",
        )
    return key


@dataclass(frozen=True, slots=True)
class NoteSigner:
    """Signs checkpoints with one key: the seam behind which keys in files, agents and hardware look alike.

    private: ``teelog.keys.PrivateKey``, or anything with its ``public`` and ``sign``.
    """

    verifier: VerifierKey
    private: PrivateKey

    @classmethod
    def of(cls, name: str, kind: SignatureType, private: PrivateKey) -> NoteSigner:
        return cls(VerifierKey.of(name, kind, private.public), private)

    def sign(self, text: bytes, timestamp: int) -> note.Signature:
        """A signature line over checkpoint text. timestamp: POSIX seconds > 0; unused by type 0x01 (W-34)."""
        note.check_text(text)
        key = self.verifier
        if key.type is SignatureType.ED25519:
            return note.Signature(key.name, key.key_id, self.private.sign(text))
        if key.type is SignatureType.COSIGNATURE_ED25519:
            message = cosignature.ed25519_message(timestamp, text)
        else:
            head = checkpoint.parse_body(text)
            message = cosignature.ml_dsa_44_message(key.name, timestamp, head.origin, 0, head.size, head.root)
        return note.Signature(key.name, key.key_id, cosignature.encode_blob(timestamp, self.private.sign(message)))
