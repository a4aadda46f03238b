"""CWT: one encoding, the key's algorithm, nothing in a header that leads to a key. cbor2 is the oracle."""

from __future__ import annotations

import hashlib
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from teelog import keys
from teelog.errors import ConfigError, MalformedError, SignatureError, TeelogError, UntrustedKey
from teelog.keys import PrivateKey
from teelog.statement import cwt
from teelog.statement import token as tokens
from tests.statement import make
from tests.statement.test_jws import ALL, ED, ORDER_P256, P256, P384, SIGNERS, ring

PAYLOAD = cbor2.dumps({1: "acme.example", 6: 1_790_000_000})
NUMBERS = {"EdDSA": -8, "ES256": -7, "ES384": -35}


def token(
    header: Any, payload: Any = PAYLOAD, signer: PrivateKey = ED, unprotected: Any = None, tag: int | None = 18
) -> bytes:
    """A COSE_Sign1 with whatever header, made by another encoder and signed as the key signs."""
    protected = header if isinstance(header, bytes) else cbor2.dumps(header)
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    parts = [protected, {} if unprotected is None else unprotected, payload, tokens.sign(signed, signer)]
    return cbor2.dumps(parts if tag is None else cbor2.CBORTag(tag, parts))


@pytest.mark.parametrize("alg", SIGNERS)
def test_what_is_signed_is_verified_and_named_by_its_Sig_structure(alg: str):
    made = cwt.sign(PAYLOAD, SIGNERS[alg], "application/eat+cwt")
    outer = cbor2.loads(made.file)
    protected, unprotected, payload, _ = outer.value
    assert (outer.tag, unprotected, payload) == (18, {}, PAYLOAD)
    fingerprint = SIGNERS[alg].public.fingerprint
    assert cbor2.loads(protected) == {1: NUMBERS[alg], 4: bytes.fromhex(fingerprint), 16: "application/eat+cwt"}
    parsed = cwt.parse(made.file)
    assert (parsed.alg, parsed.kid, parsed.typ) == (alg, fingerprint, "application/eat+cwt")
    signed = cbor2.dumps(["Signature1", protected, b"", PAYLOAD])
    assert parsed.statement_id == hashlib.sha256(signed).hexdigest()
    verified = parsed.verify(ALL)
    assert (verified.payload, verified.signer) == (PAYLOAD, fingerprint)


@pytest.mark.parametrize(
    ("number", "signer"), [(-8, ED), (-19, ED), (-7, P256), (-9, P256), (-35, P384), (-51, P384)]
)
def test_what_another_encoder_signs_is_read(number: int, signer: PrivateKey):
    parsed = cwt.parse(token({1: number}, signer=signer))
    assert parsed.verify(ALL).signer == signer.public.fingerprint
    assert parsed.kid is None


def test_RFC_8392_appendix_A3():
    theirs = bytes.fromhex(
        "d28443a10126a104524173796d6d657472696345434453413235365850a70175636f61703a2f2f61732e6578616d706c652e636f6d"
        "02656572696b77037818636f61703a2f2f6c696768742e6578616d706c652e636f6d041a5612aeb0051a5610d9f0061a5610d9f007"
        "420b7158405427c1ff28d23fbad1f29c4c7c6a555e601d6fa29f9179bc3d7438bacaca5acd08c8d4d4f96131680c429a01f85951"
        "ecee743a52b9b63632c57209120e1c9e30"
    )
    x = 0x143329CCE7868E416927599CF65A34F3CE2FFDA55A7ECA69ED8919A394D42F0F
    y = 0x60F7F1A780D8A783BFB7A2DD6B2796E8128DBBCEF9D3D168DB9529971A36E7B9
    key = keys.public_key_from_pem(_pem(x, y))
    with pytest.raises(MalformedError, match="unprotected"):
        cwt.parse(theirs)
    parsed = cwt.parse(cwt.canonical(theirs))
    assert parsed.verify({key.fingerprint: key}).payload == cbor2.loads(theirs).value[2]


def _pem(x: int, y: int) -> bytes:
    from cryptography.hazmat.primitives import serialization

    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_A_42_the_key_fixes_the_algorithm():
    lying = cwt.parse(token({1: -7, 4: bytes.fromhex(ED.public.fingerprint)}, signer=P256))
    with pytest.raises(UntrustedKey, match="not the key's"):
        lying.verify(ALL)
    with pytest.raises(UntrustedKey):
        cwt.parse(token({1: -7}, signer=P256)).verify(ring(ED))
    with pytest.raises(SignatureError):
        cwt.parse(token({1: -8}, signer=make.STRANGER)).verify(ALL)
    with pytest.raises(ConfigError):
        cwt.sign(PAYLOAD, make.SECOND, "x")


@pytest.mark.parametrize(
    "header",
    [
        {}, {1: 5}, {1: -257}, {1: "ES256"}, {1: True}, {1: None}, {1: -8, 2: [7]}, {1: -8, 4: "kid"},
        {1: -8, 16: b"x"}, [], -8, b"", b"\xa1", b"\xa1\x01\x38\x07\x00", b"\xa2\x01\x27\x01\x27", b"\xa1\x18\x01\x27",
        b"\xbf\x01\x27\xff", {1: -8, 70: b"x" * 20_000},
    ],
)  # fmt: skip
def test_A_42_a_header_that_is_not_accepted_is_refused(header: Any):
    file = token(header)
    with pytest.raises(MalformedError) as caught:
        cwt.parse(file)
    assert str(caught.value.where).startswith("/header")
    with pytest.raises(MalformedError):
        cwt.canonical(file)


def test_key_material_in_a_header_leads_nowhere():
    attacker = {1: -8, 33: [b"certificate"], 34: [-16, b"x"], 35: "https://attacker.example", 15: {1: "acme.example"}}
    parsed = cwt.parse(token(attacker, signer=make.STRANGER))
    with pytest.raises(SignatureError):
        parsed.verify(ALL)


GOOD = token({1: -8})


@pytest.mark.parametrize(
    "file",
    [
        b"", b"\xd2", GOOD + b"\x00", GOOD[:-1], GOOD[1:], token({1: -8}, tag=17), token({1: -8}, tag=61),
        token({1: -8}, payload=None), token({1: -8}, unprotected={4: b"x"}), token({1: -8}, unprotected=[]),
        b"\xd8\x12" + GOOD[1:], b"\xd2\x98\x04" + GOOD[2:], b"\xd2\x9f" + GOOD[2:] + b"\xff",
        cbor2.dumps(cbor2.CBORTag(18, [*cbor2.loads(GOOD).value, b""])), cbor2.dumps(cbor2.CBORTag(18, {})),
        cbor2.dumps(cbor2.CBORTag(18, [cbor2.dumps({1: -8}), {}, PAYLOAD, b"x" * 63])), b"\xd2" * 70_000,
        token({1: -8}, payload=b"x" * 65_600),
    ],
)  # fmt: skip
def test_another_encoding_is_refused(file: bytes):
    with pytest.raises(MalformedError):
        cwt.parse(file)


@pytest.mark.parametrize(
    "theirs",
    [
        token({1: -8}, tag=None),
        token({1: -8}, unprotected={4: b"kid", 33: b"certificate"}),
        b"\xd8\x3d" + GOOD,
        b"\xd2\x9f" + GOOD[2:] + b"\xff",
        GOOD,
    ],
)
def test_what_others_write_is_re_encoded_and_keeps_its_name(theirs: bytes):
    assert cwt.canonical(theirs) == GOOD


def test_A_23_an_ECDSA_signature_has_the_low_s():
    low = cwt.sign(PAYLOAD, P256, "x").file
    r, s = low[-64:-32], int.from_bytes(low[-32:])
    high = low[:-32] + (ORDER_P256 - s).to_bytes(32)
    with pytest.raises(MalformedError, match="low s"):
        cwt.parse(high)
    assert cwt.canonical(high) == low
    for zero in (low[:-64] + bytes(32) + low[-32:], low[:-32] + bytes(32), low[:-64] + r + b"\xff" * 32):
        with pytest.raises(TeelogError):
            cwt.parse(cwt.canonical(zero)).verify(ALL)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_any_bytes_are_read_or_malformed(noise: bytes, at: int):
    for file in (noise, b"\xd2" + noise, GOOD[: at % len(GOOD)] + noise, GOOD[: at % len(GOOD)] + noise + GOOD[at:]):
        try:
            parsed = cwt.parse(file)
        except MalformedError:
            continue
        assert parsed.file == file == cwt.canonical(file)
