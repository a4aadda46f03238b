"""Compact JWS: one encoding, the key's algorithm, nothing in a header that leads to a key. PyJWT is the oracle."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from teelog.errors import ConfigError, MalformedError, SignatureError, TeelogError, UntrustedKey
from teelog.keys import Algorithm, PrivateKey, PublicKey
from teelog.statement import jws
from teelog.statement import token as tokens
from tests.statement import make

ED = make.key("verifier")
P256 = make.key("verifier", Algorithm.ECDSA_P256)
P384 = make.key("verifier", Algorithm.ECDSA_P384)
SIGNERS = {"EdDSA": ED, "ES256": P256, "ES384": P384}
CLAIMS = {"iss": "acme.example", "iat": 1_790_000_000}
PAYLOAD = json.dumps(CLAIMS).encode()
ORDER_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def ring(*privates: PrivateKey) -> Mapping[str, PublicKey]:
    return {private.public.fingerprint: private.public for private in privates}


ALL = ring(*SIGNERS.values())


def token(
    header: Mapping[str, Any] | bytes, payload: bytes = PAYLOAD, signer: PrivateKey = ED, signature: bytes | None = None
) -> bytes:
    """A token with whatever header, signed as the key signs."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    signed = jws.b64url(raw) + b"." + jws.b64url(payload)
    if signature is None:
        signature = tokens.sign(signed, signer)
    return signed + b"." + jws.b64url(signature)


@pytest.mark.parametrize("alg", SIGNERS)
def test_what_is_signed_is_verified_and_named_by_its_signing_input(alg: str):
    made = jws.sign(PAYLOAD, SIGNERS[alg], "eat+jwt")
    parsed = jws.parse(made.file)
    assert (parsed.alg, parsed.kid, parsed.typ) == (alg, SIGNERS[alg].public.fingerprint, "eat+jwt")
    assert parsed.statement_id == hashlib.sha256(made.file.rpartition(b".")[0]).hexdigest()
    verified = parsed.verify(ALL)
    assert verified.payload == PAYLOAD
    assert verified.signer == SIGNERS[alg].public.fingerprint


@pytest.mark.parametrize("alg", SIGNERS)
def test_pyjwt_reads_what_is_signed_here(alg: str):
    made = jws.sign(PAYLOAD, SIGNERS[alg], "eat+jwt")
    assert jwt.decode(made.file, SIGNERS[alg].public.to_pem(), algorithms=[alg]) == CLAIMS


@pytest.mark.parametrize("alg", SIGNERS)
@pytest.mark.parametrize("turn", range(4))
def test_what_pyjwt_signs_is_read_here(alg: str, turn: int):
    # ECDSA is randomised and PyJWT knows no low s: about half of its tokens have to be re-encoded.
    theirs = jwt.encode(CLAIMS | {"jti": turn}, SIGNERS[alg].to_pem().decode(), algorithm=alg).encode()
    parsed = jws.parse(jws.canonical(theirs))
    assert json.loads(parsed.verify(ring(SIGNERS[alg])).payload)["jti"] == turn
    assert parsed.statement_id == hashlib.sha256(theirs.rpartition(b".")[0]).hexdigest()


def test_RFC_8037_appendix_A4():
    header = b"eyJhbGciOiJFZERTQSJ9"
    body = b"RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    signature = b"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    public = bytes.fromhex("302a300506032b6570032100") + base64.urlsafe_b64decode(
        b"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    )
    pem = b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(public) + b"\n-----END PUBLIC KEY-----\n"
    from teelog.keys import public_key_from_pem

    key = public_key_from_pem(pem)
    verified = jws.parse(b".".join([header, body, signature])).verify({key.fingerprint: key})
    assert verified.payload == b"Example of Ed25519 signing"


# -- the algorithm is the key's ---------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", "HS256", "RS256", "PS256", "EdDSA ", "eddsa", "ES256K"])
def test_A_42_an_algorithm_that_is_not_on_the_list_has_no_reading(alg: str):
    with pytest.raises(MalformedError, match="algorithm is not accepted"):
        jws.parse(token({"alg": alg}))


@pytest.mark.parametrize("alg", [None, 1, ["EdDSA"], {"alg": "EdDSA"}, True])
def test_A_42_an_algorithm_that_is_no_text_is_refused(alg: object):
    with pytest.raises(MalformedError, match="algorithm is not accepted"):
        jws.parse(token({"alg": alg}))


def test_A_42_a_public_key_is_no_hmac_secret():
    signed = jws.b64url(b'{"alg":"HS256"}') + b"." + jws.b64url(PAYLOAD)
    mac = hmac.digest(ED.public.to_pem(), signed, "sha256")
    with pytest.raises(MalformedError):
        jws.parse(signed + b"." + jws.b64url(mac))


def test_A_42_none_with_an_empty_signature_is_refused():
    with pytest.raises(MalformedError):
        jws.parse(jws.b64url(b'{"alg":"none"}') + b"." + jws.b64url(PAYLOAD) + b".")


def test_A_42_a_header_that_disagrees_with_the_key_is_refused():
    swapped = token({"alg": "ES256", "kid": ED.public.fingerprint}, signature=bytes([0] * 31 + [1]) * 2)
    with pytest.raises(UntrustedKey, match="not the key's"):
        jws.parse(swapped).verify(ALL)
    with pytest.raises(UntrustedKey, match="header's algorithm"):
        jws.parse(token({"alg": "EdDSA"})).verify(ring(P256))


def test_A_42_an_ES256_token_is_not_tried_under_the_other_curve():
    made = jws.sign(PAYLOAD, P256, "eat+jwt")
    with pytest.raises(UntrustedKey):
        jws.parse(made.file).verify(ring(P384))


# -- nothing in the header leads to a key, or changes the reading -----------------------------------------------


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "x5t#S256"])
def test_A_43_keys_in_the_header_are_never_looked_at(name: str):
    stranger = make.STRANGER
    raw = stranger.public.raw
    injected = {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": jws.b64url(raw).decode()}}.get(name, ["https://x.example"])
    forged = token({"alg": "EdDSA", name: injected}, signer=stranger)
    with pytest.raises(SignatureError):
        jws.parse(forged).verify(ring(ED))
    # The same header by the right key does no harm.
    assert jws.parse(token({"alg": "EdDSA", name: injected})).verify(ring(ED)).payload == PAYLOAD


def test_A_43_a_kid_is_a_hint_and_no_path():
    forged = token({"alg": "EdDSA", "kid": "../../dev/null"}, signer=make.STRANGER)
    with pytest.raises(SignatureError):
        jws.parse(forged).verify(ring(ED))
    # A token of another tool names its key otherwise: all keys that fit are tried.
    assert jws.parse(token({"alg": "EdDSA", "kid": "key-1"})).verify(ALL).signer == ED.public.fingerprint


@pytest.mark.parametrize("name", ["crit", "b64", "enc", "zip"])
def test_A_43_members_that_change_the_reading_are_refused(name: str):
    for value in (["exp"], False, "DEF", None):
        with pytest.raises(MalformedError, match="header member"):
            jws.parse(token({"alg": "EdDSA", name: value}))


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"EdDSA","alg":"none"}',
        b'{"alg":"none","alg":"EdDSA"}',
        b'["alg","EdDSA"]',
        b'"EdDSA"',
        b"{}",
        b"",
        b"{",
        b'{"alg":"EdDSA","n":1e400}',
        b'{"alg":"EdDSA","n":NaN}',
        b'\xef\xbb\xbf{"alg":"EdDSA"}',
        b'{"alg":"EdDSA","kid":1}',
        b'{"alg":"EdDSA","typ":["JWT"]}',
        b'{"alg":"EdDSA","x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"alg":"EdDSA","x":"' + b"x" * 20_000 + b'"}',
    ],
    ids=lambda header: header[:30].decode("ascii", "replace"),
)
def test_A_43_an_ambiguous_header_is_refused(header: bytes):
    with pytest.raises(MalformedError):
        jws.parse(token(header))


def test_A_43_an_encrypted_token_is_refused():
    with pytest.raises(MalformedError, match="5 parts"):
        jws.parse(jws.b64url(b'{"alg":"dir","enc":"A256GCM"}') + b".a.a.a.a")


# -- one encoding -----------------------------------------------------------------------------------------------------

GOOD = jws.sign(PAYLOAD, ED, "eat+jwt").file


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: t + b"\n",
        lambda t: b" " + t,
        lambda t: t + b"=",
        lambda t: t.replace(b".", b"=.", 1),
        lambda t: t.replace(b".", b"..", 1),
        lambda t: t.replace(b".", b"\n.", 1),
        lambda t: t + b".",
        lambda t: t.rpartition(b".")[0],
        lambda t: t.rpartition(b".")[0] + b".",
        lambda t: t[:-1],
        lambda t: t[:-1] + bytes([t[-1] + 1]),  # unused bits
        lambda t: t + b"A",
        lambda t: t[:-4] + b"++//",
        lambda t: t[:40] + b"-" + t[40:],
        lambda t: t[:40] + b"\x00" + t[40:],
        lambda t: t[:40] + b"\xff" + t[40:],
    ],
)
def test_A_41_any_other_spelling_is_refused(spoil: Any):
    with pytest.raises(MalformedError):
        jws.parse(spoil(GOOD))


def test_A_41_an_ECDSA_signature_has_one_spelling_and_canonical_finds_it():
    made = jws.sign(PAYLOAD, P256, "eat+jwt").file
    head, _, tail = made.rpartition(b".")
    raw = jws.unb64url(tail, "")
    r, s = raw[:32], int.from_bytes(raw[32:])
    high = head + b"." + jws.b64url(r + (ORDER_P256 - s).to_bytes(32))
    with pytest.raises(MalformedError, match="low s"):
        jws.parse(high)
    assert jws.canonical(high) == made
    assert jws.canonical(made + b"\n") == made


@pytest.mark.parametrize("raw", [bytes(64), b"\xff" * 64, bytes(63) + b"\x01", b"\x01" + bytes(63)])
def test_ECDSA_numbers_outside_of_the_group_are_refused(raw: bytes):
    with pytest.raises(TeelogError):
        jws.parse(token({"alg": "ES256"}, signature=raw)).verify(ALL)


def test_a_file_that_is_too_large_for_a_log_is_refused():
    with pytest.raises(MalformedError, match="too large"):
        jws.parse(token({"alg": "EdDSA"}, b"x" * 65_535))


def test_an_ml_dsa_key_cannot_sign_one():
    with pytest.raises(ConfigError):
        jws.sign(PAYLOAD, make.SECOND, "eat+jwt")


def test_a_signer_that_lies_is_found_out():
    class Liar:
        public = ED.public

        def sign(self, message: bytes, /) -> bytes:
            return ED.sign(message + b".")

    with pytest.raises(SignatureError):
        jws.sign(PAYLOAD, Liar(), "eat+jwt")


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_byte_never_verifies(place: int, change: int):
    changed = bytearray(GOOD)
    changed[place] ^= change
    with pytest.raises(TeelogError):
        jws.parse(bytes(changed)).verify(ring(ED))


@given(st.binary(max_size=200) | st.lists(st.binary(max_size=40).map(jws.b64url), max_size=5).map(b".".join))
def test_any_bytes_are_a_token_or_malformed(data: bytes):
    for read in (jws.parse, jws.canonical):
        try:
            read(data)
        except MalformedError:
            continue


@given(st.binary(max_size=300))
def test_base64url_has_one_spelling(data: bytes):
    assert jws.unb64url(jws.b64url(data), "/") == data


@given(st.binary(max_size=30) | st.text("AQgw-_+/= \n", max_size=12).map(str.encode))
def test_text_that_is_read_as_base64url_is_its_one_spelling(text: bytes):
    try:
        value = jws.unb64url(text, "/x")
    except MalformedError:
        return
    assert base64.urlsafe_b64encode(value).rstrip(b"=") == text
