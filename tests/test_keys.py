"""Keys: Wycheproof's vectors, the low-order points, one encoding each."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, utils, x25519
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog import keys
from teelog.errors import ConfigError, MalformedError, SignatureError
from teelog.keys import Algorithm, PublicKey, private_key_from_pem, private_key_from_seed, public_key
from tests.vectors import vectors

P = 2**255 - 19
ALL = list(Algorithm)


def _torsion() -> set[int]:
    """The y coordinates of the points whose order divides 8, computed on the curve (RFC 8032 section 5.1)."""
    d = -121665 * pow(121666, -1, P) % P
    order = 2**252 + 27742317777372353535851937790883648493

    def add(p: tuple[int, int], q: tuple[int, int]) -> tuple[int, int]:
        (x1, y1), (x2, y2) = p, q
        mixed = d * x1 * x2 * y1 * y2
        x = (x1 * y2 + y1 * x2) * pow(1 + mixed, -1, P)
        return x % P, (y1 * y2 + x1 * x2) * pow(1 - mixed, -1, P) % P

    def times(n: int, p: tuple[int, int]) -> tuple[int, int]:
        found = (0, 1)
        for bit in bin(n)[2:]:
            found = add(found, found)
            found = add(found, p) if bit == "1" else found
        return found

    for y in range(2, 40):
        square = (y * y - 1) * pow(d * y * y + 1, -1, P) % P
        x = pow(square, (P + 3) // 8, P)
        x = x if x * x % P == square else x * pow(2, (P - 1) // 4, P) % P
        if x * x % P != square:
            continue
        small = times(order, (x, y))  # what is left of a point after its part of prime order
        found = {times(n, small)[1] for n in range(8)}
        if len(found) == 5:
            return found
    raise AssertionError("no point of order 8")


_Y = sorted(_torsion())
# Both signs, and the two of them that have a second encoding y + p.
LOW_ORDER = [(y | sign << 255).to_bytes(32, "little") for y in (*_Y, P, P + 1) for sign in (0, 1)]
NON_CANONICAL = [(P + add | sign << 255).to_bytes(32, "little") for add in range(2, 19) for sign in (0, 1)]


def held(algorithm: Algorithm, name: str = "x") -> keys.PrivateKey:
    return private_key_from_seed(algorithm, hashlib.sha256(name.encode()).digest())


def spki(key: Any) -> bytes:
    done: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return done


def wycheproof(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    found = json.loads(vectors(f"tlog/wycheproof/{name}_test.json").read_bytes())
    cases = [(group, case) for group in found["testGroups"] for case in group["tests"]]
    assert len(cases) == found["numberOfTests"]
    return cases


def holds(key: PublicKey, message: bytes, signature: bytes) -> bool:
    try:
        key.verify(message, signature)
    except SignatureError:
        return False
    return True


def test_SN_25_wycheproof_ed25519():
    cases = wycheproof("ed25519")
    assert len(cases) == 151
    for group, case in cases:
        key = public_key(Algorithm.ED25519, bytes.fromhex(group["publicKey"]["pk"]))
        assert key == keys.public_key_from_spki(bytes.fromhex(group["publicKeyDer"]))
        got = holds(key, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
        assert got == (case["result"] == "valid"), (case["tcId"], case["comment"])


def test_CS_20_wycheproof_ml_dsa_44_with_the_empty_context_only():
    cases = wycheproof("mldsa_44_verify")
    assert len(cases) == 180
    with_context = 0
    for group, case in cases:
        message, signature = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
        valid = case["result"] == "valid"
        raw = bytes.fromhex(group["publicKey"])
        if len(raw) != keys.ML_DSA_44_LENGTH:
            assert not valid
            with pytest.raises(MalformedError):
                public_key(Algorithm.ML_DSA_44, raw)
            continue
        key = public_key(Algorithm.ML_DSA_44, raw)
        if case.get("ctx"):
            with_context += 1
            # what was signed under a context is no signature here, whatever the library would say.
            assert not holds(key, message, signature), (case["tcId"], case["comment"])
            context = bytes.fromhex(case["ctx"])
            assert holds_under(key, message, signature, context) == valid, (case["tcId"], case["comment"])
        else:
            assert holds(key, message, signature) == valid, (case["tcId"], case["comment"])
    assert with_context == 7


def holds_under(key: PublicKey, message: bytes, signature: bytes, context: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key._key.verify(signature, message, context)
    except (InvalidSignature, ValueError):
        return False
    return True


def test_CS_20_an_independent_implementation_agrees():
    mldsa = pytest.importorskip("mldsa")
    key = held(Algorithm.ML_DSA_44)
    signature = key.sign(b"message")
    other = mldsa.VerificationKey(key.public.raw, parameters=mldsa.ParameterSet.ML_DSA_44)
    other.verify(signature, b"message")
    with pytest.raises(mldsa.VerificationError):
        other.verify(signature, b"message", context=b"x")
    for place in (0, 31, 32, 1000, 2335, 2419):
        bad = bytearray(signature)
        bad[place] ^= 1
        with pytest.raises(mldsa.VerificationError):
            other.verify(bytes(bad), b"message")
        assert not holds(key.public, b"message", bytes(bad))


def test_CS_21_ml_dsa_signatures_are_randomised():
    key = held(Algorithm.ML_DSA_44)
    one, two = key.sign(b"m"), key.sign(b"m")
    assert one != two
    assert len(one) == len(two) == keys.ML_DSA_44_SIGNATURE_LENGTH
    key.public.verify(b"m", one)
    key.public.verify(b"m", two)


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [("ecdsa_secp256r1_sha256", Algorithm.ECDSA_P256), ("ecdsa_secp384r1_sha384", Algorithm.ECDSA_P384)],
)
def test_A_23_wycheproof_ecdsa_strict_der_and_low_s(name: str, algorithm: Algorithm):
    high = accepted = 0
    for group, case in wycheproof(name):
        key = keys.public_key_from_spki(bytes.fromhex(group["publicKeyDer"]))
        assert key.algorithm is algorithm
        message, signature = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
        if case["result"] != "valid":
            assert not holds(key, message, signature), (case["tcId"], case["comment"])
            continue
        lowered = keys.low_s(algorithm, signature)
        # One signature, one encoding: of (r, s) and (r, n - s) only the lower one.
        assert holds(key, message, lowered), (case["tcId"], case["comment"])
        assert holds(key, message, signature) == (signature == lowered)
        accepted += 1
        high += signature != lowered
    assert accepted > 100
    assert high > 10


def test_A_23_another_curve_or_hash_is_no_signature():
    key = held(Algorithm.ECDSA_P256)
    sha384 = keys.low_s(Algorithm.ECDSA_P256, key._key.sign(b"m", ec.ECDSA(hashes.SHA384())))
    assert not holds(key.public, b"m", sha384)
    r, s = utils.decode_dss_signature(key.sign(b"m"))
    order = int.from_bytes(bytes.fromhex("FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551"))
    assert not holds(key.public, b"m", utils.encode_dss_signature(r, order - s))
    for pair in ((0, s), (r, 0), (0, 0), (r + order, s), (r, s + order), (order, s), (2**300, 1)):
        assert not holds(key.public, b"m", utils.encode_dss_signature(*pair))
    for junk in (b"", b"\x30\x00", b"\x30\x06\x02\x01\xff\x02\x01\x01", b"\x30\x80", key.sign(b"m") + b"\x00"):
        assert not holds(key.public, b"m", junk)


def test_low_s_refuses_what_has_no_low_form():
    order = int.from_bytes(bytes.fromhex("FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551"))
    for bad in (b"", b"\x30\x06\x02\x01\xff\x02\x01\x01", utils.encode_dss_signature(1, order + 5)):
        with pytest.raises(MalformedError):
            keys.low_s(Algorithm.ECDSA_P256, bad)


@pytest.mark.parametrize("raw", LOW_ORDER + NON_CANONICAL)
def test_SN_26_A_20_low_order_and_non_canonical_points_are_refused_wherever_a_key_enters(raw: bytes):
    with pytest.raises(MalformedError, match=r"low order|not canonical"):
        public_key(Algorithm.ED25519, raw)
    der = bytes.fromhex("302a300506032b6570032100") + raw
    with pytest.raises(MalformedError):
        keys.public_key_from_spki(der)
    pem = b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(der) + b"\n-----END PUBLIC KEY-----\n"
    with pytest.raises(MalformedError):
        keys.public_key_from_pem(pem)


def test_SN_26_there_are_fourteen_low_order_encodings():
    assert len(set(LOW_ORDER)) == 14


def test_A_20_why_a_low_order_key_verifies_anything():
    """OpenSSL takes the key; one signature then holds for half, a quarter or all of the messages there are."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    identity = (1).to_bytes(32, "little")
    key, signature = Ed25519PublicKey.from_public_bytes(identity), identity + bytes(32)
    try:
        for message in (b"allowed", b"withdrawn"):
            key.verify(signature, message)
    except InvalidSignature:
        pytest.skip("this OpenSSL refuses such keys by itself")


@pytest.mark.parametrize("algorithm", ALL)
def test_pem_round_trips_and_has_one_spelling(algorithm: Algorithm):
    key = held(algorithm)
    pem = key.public.to_pem()
    assert keys.public_key_from_pem(pem) == key.public
    assert keys.public_key_from_spki(key.public.spki) == key.public
    assert key.public.fingerprint == hashlib.sha256(key.public.spki).hexdigest()
    assert private_key_from_pem(key.to_pem()).public == key.public
    loaded = private_key_from_pem(key.to_pem())
    key.public.verify(b"m", loaded.sign(b"m"))
    renamed = pem.replace(b"PUBLIC KEY", b"EC PUBLIC KEY")
    crlf = pem.replace(b"\n", b"\r\n")
    for bad in (pem + b"\n", b"\n" + pem, crlf, pem[:-1], pem + pem, b"", b"x" * 20_000, renamed, key.to_pem()):
        with pytest.raises(MalformedError):
            keys.public_key_from_pem(bad)
    for bad in (key.public.spki + b"\x00", key.public.spki[:-1], key.public.spki[1:], b"", b"\x30\x80", b"x" * 20_000):
        with pytest.raises(MalformedError):
            keys.public_key_from_spki(bad)


@pytest.mark.parametrize("algorithm", ALL)
def test_a_signature_verifies_under_its_own_key_and_message_only(algorithm: Algorithm):
    key, other = held(algorithm), held(algorithm, "y")
    signature = key.sign(b"message")
    key.public.verify(b"message", signature)
    for wrong_key, message, value in (
        (key.public, b"massage", signature),
        (other.public, b"message", signature),
        (key.public, b"message", signature[:-1]),
        (key.public, b"message", signature + b"\x00"),
        (key.public, b"message", b""),
        (key.public, b"", signature),
    ):
        with pytest.raises(SignatureError):
            wrong_key.verify(message, value)


def test_another_algorithm_is_refused():
    others = [
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed448.Ed448PrivateKey.generate(),
        x25519.X25519PrivateKey.generate(),
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
    ]
    for key in others:
        with pytest.raises(MalformedError):
            keys.public_key_from_spki(spki(key.public_key()))
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with pytest.raises(ConfigError, match="not a usable private key"):
            private_key_from_pem(pem)
    with pytest.raises(ValueError, match="no raw form"):
        public_key(Algorithm.ECDSA_P256, b"\x04" + bytes(64))


def test_a_point_has_one_encoding():
    key = held(Algorithm.ECDSA_P256)._key.public_key()
    compressed = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    algorithm = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
    bits = b"\x03" + bytes([len(compressed) + 1]) + b"\x00" + compressed
    der = b"\x30" + bytes([len(algorithm) + len(bits)]) + algorithm + bits
    with pytest.raises(MalformedError):
        keys.public_key_from_spki(der)


def test_an_encrypted_or_foreign_private_key_file_is_a_config_error():
    key = held(Algorithm.ED25519)._key
    encrypted = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    for bad in (encrypted, b"", b"-----BEGIN PRIVATE KEY-----\n", key_pem_public(), b"x" * 20_000):
        with pytest.raises(ConfigError, match="not a usable private key"):
            private_key_from_pem(bad)


def key_pem_public() -> bytes:
    return held(Algorithm.ED25519).public.to_pem()


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_a_key_or_malformed(data: bytes):
    for read in (keys.public_key_from_spki, keys.public_key_from_pem):
        with contextlib.suppress(MalformedError):
            read(data)


@pytest.mark.parametrize("algorithm", ALL)
@given(data=st.data())
@settings(deadline=None)
def test_a_changed_spki_is_refused_or_another_key(algorithm: Algorithm, data: st.DataObject):
    good = held(algorithm).public.spki
    changed = bytearray(good)
    changed[data.draw(st.integers(0, len(good) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = keys.public_key_from_spki(bytes(changed))
    except MalformedError:
        return
    assert found.spki == bytes(changed)
    assert found != held(algorithm).public
