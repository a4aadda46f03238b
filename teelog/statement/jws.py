"""JWS in compact serialisation, in the one encoding that a log takes (RFC 7515; protocol section 2).

    BASE64URL(header) "." BASE64URL(payload) "." BASE64URL(signature)

Each part is base64url without padding that re-encodes equal. What is signed is the text before the second dot, and the
SHA-256 of it is the **statement id**. The algorithm is the key's: EdDSA for Ed25519, ES256 for P-256, ES384 for P-384
(RFC 8037, RFC 7518); a header that says otherwise is refused (A-42). Nothing in a header leads to a key: ``jwk``,
``jku``, ``x5u`` and ``x5c`` are never looked at; ``crit``, ``b64``, ``enc`` and ``zip`` are refused (A-43).
"""

from __future__ import annotations

import base64
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from functools import lru_cache

from teelog.errors import MalformedError
from teelog.keys import Algorithm
from teelog.statement import strict_json, token
from teelog.statement.dsse import MAX_FILE, Signer
from teelog.statement.token import MAX_HEADER, Form, Token

ALGORITHMS: Mapping[str, Algorithm] = {
    "EdDSA": Algorithm.ED25519,
    "ES256": Algorithm.ECDSA_P256,
    "ES384": Algorithm.ECDSA_P384,
}
"""``alg`` -> the key's algorithm."""
NAMES: Mapping[Algorithm, str] = {algorithm: name for name, algorithm in ALGORITHMS.items()}

REFUSED = ("crit", "b64", "enc", "zip")
"""Header members that would change how the rest is read."""
_KEPT = 1_024  # bytes of a header that is remembered, as one key's are all alike

_STANDARD = bytes.maketrans(b"-_+/=", b"+/   ")
"""The letters of base64url -> those of base64, and what is none of them to something that is in neither."""

_Header = tuple[str, str | None, str | None]
"""alg, kid, typ."""


def looks_like(file: bytes) -> bool:
    """Whether these bytes could be a compact JWS and no JSON: its first byte decides."""
    return file[:1] == b"e"  # base64url of a JSON object begins with "ey" or "ew" or "eA", "eQ"


def parse(file: bytes) -> Token:
    """A JWS from the exact bytes of its file. Raises MalformedError (``where``: /header.., /payload, /signature)."""
    if len(file) > MAX_FILE:
        raise MalformedError("file is too large for a log", expected=f"at most {MAX_FILE} bytes", actual=len(file))
    parts = file.split(b".")
    if len(parts) != 3:  # five would be an encrypted one
        raise MalformedError("not a compact JWS", expected="header.payload.signature", actual=f"{len(parts)} parts")
    alg, *hints = _header(parts[0])
    payload = unb64url(parts[1], "/payload")
    signature = unb64url(parts[2], "/signature")
    signed = file[: len(parts[0]) + 1 + len(parts[1])]
    return token.make(file, Form.JWT, (alg, ALGORITHMS[alg]), (hints[0], hints[1]), signed, payload, signature)


def _header(text: bytes) -> _Header:
    return _kept_header(text) if len(text) <= _KEPT else _read_header(text)


def _read_header(text: bytes) -> _Header:
    data = unb64url(text, "/header")
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
    return alg, header.get("kid"), header.get("typ")


_kept_header = lru_cache(512)(_read_header)


def canonical(file: bytes) -> bytes:
    """What another tool wrote, as a log takes it: final line break cut off, s made low. Raises MalformedError."""
    file = file.rstrip(b"\r\n")
    parts = file.split(b".")
    if len(parts) != 3 or len(file) > MAX_FILE:
        return file  # for ``parse`` to explain
    algorithm = ALGORITHMS[_header(parts[0])[0]]
    signature = token.low(algorithm, unb64url(parts[2], "/signature"))
    return b".".join([*parts[:2], b64url(signature)])


def sign(payload: bytes, signer: Signer, typ: str) -> Token:
    """A new JWS. Raises ConfigError for a key whose algorithm has no name here, SignatureError, MalformedError."""
    token.check_may_sign(signer.public)
    alg = NAMES[signer.public.algorithm]
    header = strict_json.encode({"alg": alg, "kid": signer.public.fingerprint, "typ": typ})
    signed = b64url(header) + b"." + b64url(payload)
    return parse(signed + b"." + b64url(token.sign(signed, signer)))


def b64url(data: bytes) -> bytes:
    """RFC 7515 section 2: base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def unb64url(text: bytes, where: str) -> bytes:
    """The inverse of ``b64url``, and of nothing else. Raises MalformedError."""
    padded = text.translate(_STANDARD) + b"=" * (-len(text) % 4)
    try:
        value = a2b_base64(padded)
    except ValueError as error:
        raise MalformedError("not base64url", where=where, actual=text[:40]) from error
    # Python's reader skips what it does not know: re-encoding shows it.
    if b2a_base64(value, newline=False) != padded:
        raise MalformedError("not canonical base64url", where=where, expected="no padding", actual=text[:40])
    return value
