"""Fake Arm CCA platforms and realms: keys, attestation tokens; the same bytes every time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from teelog import cbor
from teelog.evidence.cca import token as tokens
from teelog.evidence.platform import Roots
from teelog.testing import x509
from teelog.testing.cose import encode, sign1

LABEL = "fake CCA platform"
SECURED, DEBUG = 0x3000, 0x5000
IMPLEMENTATION, INSTANCE = bytes(range(32)), b"\x01" + bytes(range(32))
SIGNER = hashlib.sha256(b"fake signer of firmware").digest()
FIRMWARE = ("RSE_BL2", "AP_BL31", "RMM")


@dataclass(frozen=True)
class Machine:
    """One fake platform and the realm on it.

    seed: another seed is another platform key. realm: another one is another realm key. p256: the platform signs with
    P-256. raw_key: the realm's key lies in its token as a point, as an older RMM writes it.
    """

    seed: bytes = b"1"
    realm: bytes = b"1"
    p256: bool = False
    raw_key: bool = False

    def endorsement(self) -> bytes:
        """The platform's key as PEM."""
        return self._key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def roots(self) -> Roots:
        """Pins this platform's key."""
        return Roots({LABEL: hashlib.sha256(x509.ecdsa_spki(self._key())).digest()})

    def realm_key(self) -> bytes:
        """As it lies in the realm's token."""
        numbers = self._realm_key().public_key().public_numbers()
        x, y = numbers.x.to_bytes(48), numbers.y.to_bytes(48)
        return b"\x04" + x + y if self.raw_key else encode({1: 2, -1: 2, -2: x, -3: y})

    def token(self, *, challenge: bytes = b"", platform: Any = None, realm: Any = None) -> bytes:
        """A token; ``challenge`` is padded with zeros. platform, realm: claims in place of the usual ones by their
        numbers, DROP to leave one out."""
        return self.join(self.platform_token(platform), self.realm_token(challenge, realm))

    def join(self, platform: bytes, realm: bytes) -> bytes:
        return encode(cbor.Tag(tokens.TAG, {tokens.PLATFORM_TOKEN: platform, tokens.REALM_TOKEN: realm}))

    def platform_token(self, changes: Any = None, **how: Any) -> bytes:
        """how: see `teelog.testing.cose.sign1`."""
        return sign1(encode(_changed(self._platform(), changes)), self._key(), **how)

    def realm_token(self, challenge: bytes = b"", changes: Any = None, **how: Any) -> bytes:
        return sign1(encode(_changed(self._realm(challenge), changes)), self._realm_key(), **how)

    def _platform(self) -> dict[Any, Any]:
        return {
            tokens.PROFILE: tokens.PLATFORM_PROFILES[0],
            tokens.CHALLENGE: hashlib.sha256(self.realm_key()).digest(),
            tokens.IMPLEMENTATION: IMPLEMENTATION,
            tokens.INSTANCE: INSTANCE,
            tokens.CONFIG: b"\xcf" * 4,
            tokens.LIFECYCLE: SECURED,
            tokens.HASH: "sha-256",
            tokens.COMPONENTS: [component(name) for name in FIRMWARE],
        }

    def _realm(self, challenge: bytes) -> dict[Any, Any]:
        return {
            tokens.PROFILE: tokens.REALM_PROFILES[0],
            tokens.CHALLENGE: challenge.ljust(64, b"\0"),
            tokens.PERSONALIZATION: bytes(64),
            tokens.REALM_HASH: "sha-512",
            tokens.REALM_KEY: self.realm_key(),
            tokens.REALM_KEY_HASH: "sha-256",
            tokens.RIM: rim(),
            tokens.REM: [bytes(64)] * 4,
        }

    def _key(self) -> EllipticCurvePrivateKey:
        return (x509.p256_key if self.p256 else x509.p384_key)(b"cca platform " + self.seed)

    def _realm_key(self) -> EllipticCurvePrivateKey:
        return x509.p384_key(b"cca realm " + self.realm)

    def other(self, **changes: Any) -> Machine:
        return replace(self, **changes)


DROP = object()


def component(name: str, **changes: bytes) -> dict[int, Any]:
    """A piece of firmware as it lies in a platform's token. changes: ``measurement``, ``signer``."""
    return {
        tokens.KIND: name,
        tokens.SIGNER: changes.get("signer", SIGNER),
        tokens.MEASUREMENT: changes.get("measurement", measurement(name)),
        tokens.COMPONENT_HASH: "sha-256",
    }


@cache
def measurement(name: str) -> bytes:
    return hashlib.sha256(b"firmware " + name.encode()).digest()


@cache
def rim() -> bytes:
    return hashlib.sha512(b"initial measurement").digest()


def _changed(claims: dict[Any, Any], changes: Any) -> dict[Any, Any]:
    return {name: value for name, value in {**claims, **(changes or {})}.items() if value is not DROP}
