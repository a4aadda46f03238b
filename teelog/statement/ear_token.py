"""An attestation result as it travels and is logged: EAR claims in a JWT or a CWT, told apart by the first byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from teelog.errors import MalformedError
from teelog.statement import cwt, ear, ear_cbor, jws, strict_json
from teelog.statement.dsse import Signer
from teelog.statement.ear import Result
from teelog.statement.token import Form, Token


@dataclass(frozen=True, slots=True)
class _Kind:
    """media_types: the first is what is sent (RFC 9782). typ: of the header. suffix: of file names."""

    media_types: tuple[str, ...]
    typ: str
    suffix: str
    looks_like: Callable[[bytes], bool]
    parse: Callable[[bytes], Token]
    canonical: Callable[[bytes], bytes]
    read: Callable[[bytes], Result]
    claims: Callable[[bytes], Any]
    encode: Callable[[Mapping[str, Any]], bytes]
    sign: Callable[[bytes, Signer, str], Token]


_KINDS: Mapping[Form, _Kind] = {
    Form.JWT: _Kind(
        ("application/eat+jwt", "application/eat-jwt", "application/jwt"),
        "eat+jwt",
        ".jwt",
        jws.looks_like,
        jws.parse,
        jws.canonical,
        ear.read,
        strict_json.load,
        ear.encode,
        jws.sign,
    ),
    Form.CWT: _Kind(
        ("application/eat+cwt", "application/eat-cwt", "application/cwt", "application/cose"),
        "application/eat+cwt",
        ".cwt",
        cwt.looks_like,
        cwt.parse,
        cwt.canonical,
        ear_cbor.read,
        ear_cbor.claims,
        ear_cbor.encode,
        cwt.sign,
    ),
}

MEDIA_TYPES = tuple(name for kind in _KINDS.values() for name in kind.media_types)
"""That a result may be sent as."""


def looks_like(file: bytes) -> bool:
    """Whether these bytes could be a token in its one encoding, and no JSON."""
    return any(kind.looks_like(file) for kind in _KINDS.values())


def parse(file: bytes) -> Token:
    """A token from the exact bytes of its file; nothing of it is verified. Raises MalformedError."""
    return _KINDS[_form(file)].parse(file)


def canonical(file: bytes) -> bytes:
    """What another tool wrote, as a log takes it; what is signed stays as it is. Raises MalformedError."""
    return _KINDS[_form(file)].canonical(file)


def read(token: Token) -> Result:
    """What the token claims. Raises MalformedError."""
    return _KINDS[token.form].read(token.claimed())


def claims(token: Token) -> Mapping[str, Any]:
    """All its claims by name, those of a CWT by the draft's. Raises MalformedError."""
    found = _KINDS[token.form].claims(token.claimed())
    if not isinstance(found, dict):
        raise MalformedError("claims are not a JSON object", where="/")
    return found


def sign(claims: Mapping[str, Any], signer: Signer, form: Form = Form.JWT) -> Token:
    """A new token. claims: by the draft's names. Raises ConfigError, SignatureError, MalformedError."""
    kind = _KINDS[form]
    return kind.sign(kind.encode(claims), signer, kind.typ)


def media_type(file: bytes) -> str:
    """As what a token is sent."""
    return _KINDS[_form(file)].media_types[0]


def suffix(form: Form) -> str:
    """That file names of this form end in."""
    return _KINDS[form].suffix


def form_of(file_name: str) -> Form:
    """The form that a file's name asks for: a CWT by its suffix, else a JWT."""
    return Form.CWT if file_name.endswith(_KINDS[Form.CWT].suffix) else Form.JWT


def _form(file: bytes) -> Form:
    """A JWT is text; whatever else is no JWT may be a COSE_Sign1, tagged as it should be or not."""
    return Form.CWT if file[:1] >= b"\x80" else Form.JWT
