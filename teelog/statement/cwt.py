"""CWT (RFC 8392): a COSE_Sign1 (RFC 9052 section 4.2), in the one encoding that a log takes (protocol section 2).

    18([ protected header as bytes, {}, payload as bytes, signature ])

Shortest heads, definite lengths, nothing in the unprotected header, which nobody signs. The signature is over the
Sig_structure with empty external_aad, and its SHA-256 is the **statement id**. The algorithm is the key's, as in a JWS:
EdDSA (-8, or -19) for Ed25519, ES256 (-7, or -9) for P-256, ES384 (-35, or -51) for P-384; the second number of each is
that of RFC 9864. ``crit`` is refused; certificates and key material in a header are never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from teelog import cbor
from teelog.errors import MalformedError
from teelog.keys import Algorithm
from teelog.statement import token
from teelog.statement.dsse import MAX_FILE, Signer
from teelog.statement.token import MAX_HEADER, Form, Token

ALGORITHMS: Mapping[int, tuple[str, Algorithm]] = {
    -8: ("EdDSA", Algorithm.ED25519),
    -7: ("ES256", Algorithm.ECDSA_P256),
    -35: ("ES384", Algorithm.ECDSA_P384),
    -19: ("Ed25519", Algorithm.ED25519),
    -9: ("ESP256", Algorithm.ECDSA_P256),
    -51: ("ESP384", Algorithm.ECDSA_P384),
}
"""``alg`` -> its name and the key's algorithm; the first of each algorithm is written."""

_SIGN1, _CWT = 18, 61  # tags
_ALG, _CRIT, _KID, _TYP = 1, 2, 4, 16  # labels in a header (RFC 9052 section 3.1, RFC 9596)
_FIRST = b"\xd2"


def looks_like(file: bytes) -> bool:
    """Whether these bytes begin as a COSE_Sign1 with its tag."""
    return file[:1] == _FIRST


def parse(file: bytes) -> Token:
    """A CWT from the exact bytes of its file. Raises MalformedError (``where``: /header.., /payload, /signature)."""
    if len(file) > MAX_FILE:
        raise MalformedError("file is too large for a log", expected=f"at most {MAX_FILE} bytes", actual=len(file))
    tree = cbor.load(file, "COSE_Sign1")
    if not isinstance(tree, cbor.Tag) or tree.number != _SIGN1:
        raise MalformedError("not a COSE_Sign1 with its tag", expected=f"tag {_SIGN1}", hint=token.REENCODE)
    protected, unprotected, payload, signature = _parts(tree.value)
    # Nobody signs it: anything in it would be another encoding of the same token.
    if unprotected != {}:
        raise MalformedError("the unprotected header is not empty", where="/header", hint=token.REENCODE)
    alg, kid, typ = _header(protected)
    signed = _signed(protected, payload)
    return token.make(file, Form.CWT, ALGORITHMS[alg], (kid, typ), signed, payload, signature)


def canonical(file: bytes) -> bytes:
    """What another tool wrote, as a log takes it. Raises MalformedError.

    The tag of a CWT is taken off and that of a COSE_Sign1 put on, the unprotected header emptied, s made low.
    """
    if len(file) > MAX_FILE:
        return file  # for ``parse`` to explain
    tree = cbor.load(file, "COSE_Sign1", indefinite=True)
    for tag in (_CWT, _SIGN1):
        if isinstance(tree, cbor.Tag) and tree.number == tag:
            tree = tree.value
    protected, _, payload, signature = _parts(tree)
    _, algorithm = ALGORITHMS[_header(protected)[0]]
    return _encode(protected, payload, token.low(algorithm, signature))


def sign(payload: bytes, signer: Signer, typ: str) -> Token:
    """A new CWT. Raises ConfigError for a key whose algorithm has no name here, SignatureError, MalformedError."""
    public = signer.public
    token.check_may_sign(public)
    alg = next(number for number, (_, algorithm) in ALGORITHMS.items() if algorithm is public.algorithm)
    protected = cbor.encode({_ALG: alg, _KID: bytes.fromhex(public.fingerprint), _TYP: typ})
    return parse(_encode(protected, payload, token.sign(_signed(protected, payload), signer)))


def _parts(tree: Any) -> tuple[bytes, dict[Any, Any], bytes, bytes]:
    if type(tree) is not list or len(tree) != 4:
        raise MalformedError("not a COSE_Sign1", expected="an array of four")
    protected, unprotected, payload, signature = tree
    if type(payload) is not bytes:
        raise MalformedError("the payload is not in the COSE_Sign1", where="/payload", expected="a byte string")
    if type(protected) is not bytes or type(unprotected) is not dict or type(signature) is not bytes:
        raise MalformedError("not a COSE_Sign1", expected="header, header, payload, signature")
    return protected, unprotected, payload, signature


def _header(protected: bytes) -> tuple[int, str | None, str | None]:
    """alg; kid in hex; typ."""
    if len(protected) > MAX_HEADER:
        raise MalformedError("header is too long", where="/header", expected=f"at most {MAX_HEADER} bytes")
    try:
        header = cbor.load(protected, "header")
    except MalformedError as error:
        raise MalformedError(str(error), where="/header") from error
    if type(header) is not dict:
        raise MalformedError("header is not a map", where="/header")
    alg = header.get(_ALG)
    # an allow-list, of which none is symmetric.
    if type(alg) is not int or alg not in ALGORITHMS:
        raise MalformedError(
            "algorithm is not accepted",
            where="/header/alg",
            expected=", ".join(map(str, ALGORITHMS)),
            actual=str(alg)[:40],
        )
    if _CRIT in header:
        raise MalformedError("header member is not accepted", where="/header/crit")
    kid, typ = header.get(_KID, b""), header.get(_TYP)
    if type(kid) is not bytes:
        raise MalformedError("header member is not a byte string", where="/header/kid")
    if _TYP in header and type(typ) not in (str, int):
        raise MalformedError("header member is neither text nor a number", where="/header/typ")
    return alg, kid.hex() or None, None if typ is None else str(typ)


def _signed(protected: bytes, payload: bytes) -> bytes:
    """The Sig_structure (RFC 9052 section 4.4)."""
    return b"\x84\x6aSignature1" + b"".join(map(cbor.byte_string, (protected, b"", payload)))


def _encode(protected: bytes, payload: bytes, signature: bytes) -> bytes:
    parts = (cbor.byte_string(protected), b"\xa0", cbor.byte_string(payload), cbor.byte_string(signature))
    return _FIRST + b"\x84" + b"".join(parts)
