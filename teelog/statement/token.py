"""A signed token: what a JWT (``jws``) and a CWT (``cwt``) are alike once they are read.

What is signed names the token (its statement id); the algorithm is the key's, and the header's word only has to agree
(A-42). Nothing in a header leads to a key. ECDSA signatures are the two numbers side by side, with the low s, so that
nobody can make a second file of one signature.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping

import msgspec

from teelog.errors import ConfigError, MalformedError, SignatureError, UntrustedKey
from teelog.keys import Algorithm, PublicKey, low_s
from teelog.statement.dsse import Signer

SIGNATURE_LENGTH: Mapping[Algorithm, int] = {
    Algorithm.ED25519: 64,
    Algorithm.ECDSA_P256: 64,
    Algorithm.ECDSA_P384: 96,
}
"""Bytes of a token's signature; keys of other algorithms sign none."""
MAX_HEADER = 16_384
"""Bytes of a header, decoded."""
REENCODE = "teelog result publish re-encodes what other tools wrote"


class Form(enum.StrEnum):
    JWT = "jwt"
    CWT = "cwt"


class VerifiedToken(msgspec.Struct, frozen=True):
    """What ``Token.verify`` gives. payload: the signed bytes. signer: keyid. file: an entry of the log."""

    payload: bytes
    signer: str
    statement_id: str
    file: bytes


class Token(msgspec.Struct, frozen=True):
    """A well-formed token of which nothing is verified.

    file: its exact bytes. alg: the algorithm's name as in JOSE and COSE. kid, typ: as the header says, hints.
    signed: what the signature is over; its SHA-256 is the statement id. _held: a key under which the signature held
    when it was checked before; for it, it is not checked again.
    """

    file: bytes
    form: Form
    alg: str
    algorithm: Algorithm
    kid: str | None
    typ: str | None
    statement_id: str
    _signed: bytes
    _payload: bytes
    _signature: bytes
    _held: PublicKey | None = None

    @property
    def keyids(self) -> tuple[str, ...]:
        """Who the header says has signed it: a hint, until ``verify``."""
        return () if self.kid is None else (self.kid,)

    def claimed(self) -> bytes:
        """The payload, unverified: to find out whose keys to verify with, or to show it as a claim."""
        return self._payload

    def verify(self, keys: Mapping[str, PublicKey]) -> VerifiedToken:
        """Verifies the signature under the key that ``kid`` names, or, where it names none, under any of ``keys``.

        keys: by keyid. Raises UntrustedKey (no key fits), SignatureError.
        """
        kid = self.kid or ""
        # the key decides the algorithm; the header's word only has to agree.
        named = {keyid: keys[keyid] for keyid in ((kid,) if kid in keys else keys) if self._fits(keys[keyid])}
        if kid in keys and not named:
            raise UntrustedKey("the header's algorithm is not the key's", expected=keys[kid].algorithm, actual=self.alg)
        if not named:
            raise UntrustedKey(
                "no key that may sign this has the header's algorithm",
                expected=", ".join(sorted(keys)[:4]) or "no key at all",
                actual=f"{self.alg}, kid {self.kid}",
            )
        signature = self._signature if self.algorithm is Algorithm.ED25519 else _der(self._signature)
        failure: SignatureError | None = None
        for keyid, key in named.items():
            try:
                if key != self._held:
                    key.verify(self._signed, signature)
            except SignatureError as error:
                failure = error
            else:
                return VerifiedToken(self._payload, keyid, self.statement_id, self.file)
        assert failure is not None
        raise failure

    def checked(self, keys: Mapping[str, PublicKey]) -> Token:
        """The same, knowing whether it holds under ``keys``: as ``dsse.Envelope.checked``."""
        try:
            return msgspec.structs.replace(self, _held=keys[self.verify(keys).signer])
        except (SignatureError, UntrustedKey):
            return self

    def _fits(self, key: PublicKey) -> bool:
        return key.algorithm is self.algorithm


def make(
    file: bytes,
    form: Form,
    alg: tuple[str, Algorithm],
    hints: tuple[str | None, str | None],
    signed: bytes,
    payload: bytes,
    signature: bytes,
) -> Token:
    """A token from its parts. alg: name and algorithm. hints: kid and typ. Raises MalformedError (/signature)."""
    name, algorithm = alg
    length = SIGNATURE_LENGTH[algorithm]
    if len(signature) != length:
        raise MalformedError(
            "signature has the wrong length",
            where="/signature",
            expected=f"{length} bytes",
            actual=f"{len(signature)} bytes",
        )
    if algorithm is not Algorithm.ED25519 and signature != low(algorithm, signature):
        raise MalformedError("ECDSA signature does not have the low s", where="/signature", hint=REENCODE)
    return Token(
        file, form, name, algorithm, *hints, hashlib.sha256(signed).hexdigest(), signed, payload, signature
    )


def check_may_sign(public: PublicKey) -> None:
    """Raises ConfigError for a key whose algorithm has no name in a token."""
    if public.algorithm not in SIGNATURE_LENGTH:
        raise ConfigError(
            "this key cannot sign a token", expected="ed25519, ecdsa-p256 or ecdsa-p384", actual=public.algorithm
        )


def sign(signed: bytes, signer: Signer) -> bytes:
    """The signature over ``signed`` as a token carries it. Raises SignatureError."""
    public = signer.public
    signature = signer.sign(signed)
    public.verify(signed, signature)
    if public.algorithm is Algorithm.ED25519:
        return signature
    return _raw(signature, SIGNATURE_LENGTH[public.algorithm])


def low(algorithm: Algorithm, signature: bytes) -> bytes:
    """An ECDSA signature with its s made low; anything else, or of another length, as it is. Raises MalformedError."""
    if algorithm is Algorithm.ED25519 or len(signature) != SIGNATURE_LENGTH[algorithm]:
        return signature
    try:
        return _raw(low_s(algorithm, _der(signature)), len(signature))
    except MalformedError as error:
        raise MalformedError(error.message, where="/signature") from error


def _der(raw: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import utils

    half = len(raw) // 2
    encoded: bytes = utils.encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))
    return encoded


def _raw(der: bytes, length: int) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import utils

    return b"".join(number.to_bytes(length // 2) for number in utils.decode_dss_signature(der))
