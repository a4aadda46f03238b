"""JWS in compact serialisation, in the one encoding that a log takes (RFC 7515; protocol section 2).

    BASE64URL(header) "." BASE64URL(payload) "." BASE64URL(signature)

Each part is base64url without padding that re-encodes equal. What is signed is the text before the second dot, and the
SHA-256 of it is the **statement id**. The algorithm is the key's: EdDSA for Ed25519, ES256 for P-256, ES384 for P-384
(RFC 8037, RFC 7518); a header that says otherwise is refused (A-42). Nothing in a header leads to a key: ``jwk``,
``jku``, ``x5u`` and ``x5c`` are never looked at; ``crit``, ``b64``, ``enc`` and ``zip`` are refused (A-43). ECDSA
signatures have the low s, so that nobody can make a second file of one signature.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from teelog.errors import ConfigError, MalformedError, SignatureError, UntrustedKey
from teelog.keys import Algorithm, PublicKey, low_s
from teelog.statement import strict_json
from teelog.statement.dsse import MAX_FILE, Signer

ALGORITHMS: Mapping[str, tuple[Algorithm, int]] = {
    "EdDSA": (Algorithm.ED25519, 64),
    "ES256": (Algorithm.ECDSA_P256, 64),
    "ES384": (Algorithm.ECDSA_P384, 96),
}
"""``alg`` -> the key's algorithm and the signature's bytes."""

REFUSED = ("crit", "b64", "enc", "zip")
"""Header members that would change how the rest is read."""
MAX_HEADER = 16_384  # bytes, decoded


@dataclass(frozen=True, slots=True)
class VerifiedJws:
    """What ``Jws.verify`` gives. payload: the signed bytes. signer: keyid. file: an entry of the log."""

    payload: bytes
    signer: str
    statement_id: str
    file: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Jws:
    """A well-formed JWS of which nothing is verified.

    file: its exact bytes. alg: one of ALGORITHMS. kid, typ: as the header says, hints. statement_id: SHA-256 of the
    signing input, lower-case hex.
    """

    file: bytes = field(repr=False)
    alg: str
    kid: str | None
    typ: str | None
    statement_id: str
    _payload: bytes = field(repr=False)
    _signature: bytes = field(repr=False)

    @property
    def keyids(self) -> tuple[str, ...]:
        """Who the header says has signed it: a hint, until ``verify``."""
        return () if self.kid is None else (self.kid,)

    def claimed(self) -> bytes:
        """The payload, unverified: to find out whose keys to verify with, or to show it as a claim."""
        return self._payload

    def verify(self, keys: Mapping[str, PublicKey]) -> VerifiedJws:
        """Verifies the signature under the key that ``kid`` names, or, where it names none, under any of ``keys``.

        keys: by keyid. Raises UntrustedKey (no key fits), SignatureError.
        """
        algorithm = ALGORITHMS[self.alg][0]
        # the key decides the algorithm; the header's word only has to agree.
        fitting = {keyid: key for keyid, key in keys.items() if key.algorithm is algorithm}
        kid = self.kid or ""
        named = {kid: fitting[kid]} if kid in fitting else fitting
        if kid in keys and kid not in fitting:
            raise UntrustedKey("the header's algorithm is not the key's", expected=keys[kid].algorithm, actual=self.alg)
        if not named:
            raise UntrustedKey(
                "no key that may sign this has the header's algorithm",
                expected=", ".join(sorted(keys)[:4]) or "no key at all",
                actual=f"{self.alg}, kid {self.kid}",
            )
        signed = self.file[: self.file.rindex(b".")]
        signature = _der(self._signature) if algorithm is not Algorithm.ED25519 else self._signature
        failure: SignatureError | None = None
        for keyid, key in named.items():
            try:
                key.verify(signed, signature)
            except SignatureError as error:
                failure = error
            else:
                return VerifiedJws(self._payload, keyid, self.statement_id, self.file)
        assert failure is not None
        raise failure


def looks_like(file: bytes) -> bool:
    """Whether these bytes could be a compact JWS and no JSON: its first byte decides."""
    return file[:1] == b"e"  # base64url of a JSON object begins with "ey" or "ew" or "eA", "eQ"


def parse(file: bytes) -> Jws:
    """A JWS from the exact bytes of its file. Raises MalformedError (``where``: /header.., /payload, /signature)."""
    if len(file) > MAX_FILE:
        raise MalformedError("file is too large for a log", expected=f"at most {MAX_FILE} bytes", actual=len(file))
    parts = file.split(b".")
    if len(parts) != 3:  # five would be an encrypted one
        raise MalformedError("not a compact JWS", expected="header.payload.signature", actual=f"{len(parts)} parts")
    header = _header(unb64url(parts[0], "/header"))
    payload = unb64url(parts[1], "/payload")
    signature = unb64url(parts[2], "/signature")
    alg = header["alg"]
    algorithm, length = ALGORITHMS[alg]
    if len(signature) != length:
        raise MalformedError(
            "signature has the wrong length",
            where="/signature",
            expected=f"{length} bytes",
            actual=f"{len(signature)} bytes",
        )
    if algorithm is not Algorithm.ED25519 and signature != _low(algorithm, signature):
        raise MalformedError(
            "ECDSA signature does not have the low s",
            where="/signature",
            hint="teelog result publish re-encodes what other tools wrote",
        )
    signed = file[: file.rindex(b".")]
    return Jws(file, alg, header.get("kid"), header.get("typ"), hashlib.sha256(signed).hexdigest(), payload, signature)


def _header(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_HEADER:
        raise MalformedError("header is too long", where="/header", expected=f"at most {MAX_HEADER} bytes")
    try:
        header = strict_json.load(data, MAX_HEADER)
    except MalformedError as error:
        raise MalformedError(f"header: {error}", where="/header") from error
    if not isinstance(header, dict):
        raise MalformedError("header is not a JSON object", where="/header")
    alg = header.get("alg")
    # an allow-list, so neither "none" nor a symmetric algorithm has a reading here.
    if not isinstance(alg, str) or alg not in ALGORITHMS:
        raise MalformedError(
            "algorithm is not accepted", where="/header/alg", expected=", ".join(ALGORITHMS), actual=str(alg)[:40]
        )
    for name in REFUSED:
        if name in header:
            raise MalformedError("header member is not accepted", where=f"/header/{name}")
    for name in ("kid", "typ", "cty"):
        if not isinstance(header.get(name, ""), str):
            raise MalformedError("header member is not text", where=f"/header/{name}")
    return header


def canonical(file: bytes) -> bytes:
    """What another tool wrote, as a log takes it: final line break cut off, s made low. Raises MalformedError."""
    file = file.rstrip(b"\r\n")
    parts = file.split(b".")
    if len(parts) != 3 or len(file) > MAX_FILE:
        return file  # for ``parse`` to explain
    algorithm, length = ALGORITHMS[_header(unb64url(parts[0], "/header"))["alg"]]
    signature = unb64url(parts[2], "/signature")
    if algorithm is Algorithm.ED25519 or len(signature) != length:
        return file
    return b".".join([*parts[:2], b64url(_low(algorithm, signature))])


def sign(payload: bytes, signer: Signer, typ: str) -> Jws:
    """A new JWS. Raises ConfigError for a key whose algorithm has no name here, SignatureError, MalformedError."""
    public = signer.public
    alg = next((name for name, (algorithm, _) in ALGORITHMS.items() if algorithm is public.algorithm), None)
    if alg is None:
        raise ConfigError(
            "this key cannot sign a JWS", expected="ed25519, ecdsa-p256 or ecdsa-p384", actual=public.algorithm
        )
    header = strict_json.encode({"alg": alg, "kid": public.fingerprint, "typ": typ})
    signed = b64url(header) + b"." + b64url(payload)
    signature = signer.sign(signed)
    public.verify(signed, signature)
    if public.algorithm is not Algorithm.ED25519:
        signature = _raw(signature, ALGORITHMS[alg][1])
    return parse(signed + b"." + b64url(signature))


def b64url(data: bytes) -> bytes:
    """RFC 7515 section 2: base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def unb64url(text: bytes, where: str) -> bytes:
    """The inverse of ``b64url``, and of nothing else. Raises MalformedError."""
    try:
        # Python's reader skips what it does not know: re-encoding shows it.
        value = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except ValueError as error:
        raise MalformedError("not base64url", where=where, actual=text[:40]) from error
    if b64url(value) != text:
        raise MalformedError("not canonical base64url", where=where, expected="no padding", actual=text[:40])
    return value


def _der(raw: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import utils

    half = len(raw) // 2
    encoded: bytes = utils.encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))
    return encoded


def _raw(der: bytes, length: int) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import utils

    return b"".join(number.to_bytes(length // 2) for number in utils.decode_dss_signature(der))


def _low(algorithm: Algorithm, signature: bytes) -> bytes:
    try:
        return _raw(low_s(algorithm, _der(signature)), len(signature))
    except MalformedError as error:
        raise MalformedError(error.message, where="/signature") from error
