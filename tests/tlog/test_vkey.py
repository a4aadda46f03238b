"""Verifier keys (c2sp.org/signed-note): one spelling, the right key, the right slot."""

from __future__ import annotations

import base64
import hashlib

import pytest

from teelog.errors import ConfigError, MalformedError
from teelog.keys import Algorithm
from teelog.tlog import vkey
from teelog.tlog.vkey import LOG_TYPES, WITNESS_TYPES, SignatureType, VerifierKey
from tests.test_keys import LOW_ORDER, NON_CANONICAL
from tests.tlog import make

ED = str(make.LOG.verifier)
COSIGN = str(make.WITNESSES[0].verifier)
MLDSA = str(make.LOG_PQ.verifier)
ALL = [ED, COSIGN, MLDSA]


def text(name: str, material: bytes, key_id: bytes | None = None) -> str:
    """A vkey with the key ID that belongs to it, unless another is given."""
    if key_id is None:
        key_id = hashlib.sha256(name.encode() + b"\n" + material).digest()[:4]
    return f"{name}+{key_id.hex()}+{base64.b64encode(material).decode()}"


@pytest.mark.parametrize("given", ALL)
def test_CS_17_the_three_types_are_read_and_written_back(given: str):
    assert str(vkey.parse(given)) == given


def test_SN_20_CS_01_key_id_is_the_hash_of_name_newline_type_and_key():
    for given, kind, length in ((ED, 1, 32), (COSIGN, 4, 32), (MLDSA, 6, 1312)):
        key = vkey.parse(given)
        assert (int(key.type), len(key.public.raw)) == (kind, length)
        preimage = key.name.encode() + b"\x0a" + bytes([kind]) + key.public.raw
        assert key.key_id == hashlib.sha256(preimage).digest()[:4] == vkey.key_id(key.name, kind, key.public.raw)


def test_SN_20_another_key_id_is_refused():
    material = base64.b64decode(ED.rsplit("+", 1)[1] if ED.count("+") == 2 else ED.split("+", 2)[2])
    assert vkey.parse(text(make.ORIGIN, material)) == make.LOG.verifier
    for key_id in (bytes(4), b"\xff" * 4, make.LOG_PQ.verifier.key_id):
        with pytest.raises(ConfigError, match="key ID does not belong"):
            vkey.parse(text(make.ORIGIN, material, key_id))
    # The key ID hashed over something else than name, newline, type, key.
    spki = hashlib.sha256(make.LOG.verifier.public.spki).digest()[:4]
    with pytest.raises(ConfigError):
        vkey.parse(text(make.ORIGIN, material, spki))


@pytest.mark.parametrize("given", [ED, COSIGN])
def test_SN_21_every_proper_substring_and_every_changed_byte_is_refused(given: str):
    for start in range(len(given)):
        for end in range(start, len(given) + 1):
            if end - start < len(given):
                refused(given[start:end])
    for place, character in enumerate(given):
        refused(given[:place] + chr(ord(character) + 1) + given[place + 1 :])
        refused(given[:place] + character + given[place:])


def refused(given: str) -> None:
    with pytest.raises(ConfigError):
        vkey.parse(given)


def test_SN_21_one_spelling_of_the_key_id():
    name, key_id, material = ED.split("+", 2)
    spellings = [key_id.upper(), key_id[:7], key_id + "0", "0" + key_id, "0x" + key_id[2:], "0x" + key_id, "", "٠" * 8]
    spellings += [key_id[:3] + "_" + key_id[4:], " " + key_id[1:]]
    assert key_id.upper() != key_id
    for bad in spellings:
        refused(f"{name}+{bad}+{material}")
    for bad in (
        f"{name}+{key_id}",
        f"{name}+{key_id}+",
        f"+{key_id}+{material}",
        f"a+b+{key_id}+{material}",
        "",
        "+",
        "++",
    ):
        refused(bad)
    for bad in (f"{ED}+", f"{ED}\n", f" {ED}", f"{ED} ", ED + "=", "ü" + ED, f"{name}+{key_id}+é{material}"):
        refused(bad)
    refused(text(name, b""))
    refused("x" * 5000)


def test_SN_21_bytes_that_are_no_utf8_are_refused_and_no_crash():
    for given in ALL:
        refused("\udcff" + given)
        refused(given + "\udcff")
        refused(given.replace("+", "\udcff+", 1))
        refused(given.replace("+", "+\udcff", 1))


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_SN_22_ed25519_material_is_32_bytes(length: int):
    raw = (make.LOG.verifier.public.raw * 2)[:length]
    for kind in (1, 4):
        refused(text("x.example", bytes([kind]) + raw))


@pytest.mark.parametrize("length", [0, 32, 1311, 1313])
def test_CS_17_ml_dsa_44_material_is_1312_bytes(length: int):
    refused(text("x.example", b"\x06" + (make.LOG_PQ.verifier.public.raw * 2)[:length]))


@pytest.mark.parametrize("kind", sorted(set(range(256)) - {1, 4, 6}))
def test_SN_24_any_other_type_is_an_error_never_ignored(kind: int):
    with pytest.raises(ConfigError, match="signature type is not supported"):
        vkey.parse(text("x.example", bytes([kind]) + make.LOG.verifier.public.raw))


def test_SN_30_ecdsa_is_not_enabled():
    """Were 0x02 enabled, its key ID would be SHA-256(SPKI)[:4]: until then every ECDSA vkey is an error."""
    spki = make.key("ec", Algorithm.ECDSA_P256).public.spki
    for material in (b"\x02" + spki, b"\x02" + make.key("ec", Algorithm.ECDSA_P256).public.raw):
        for key_id in (hashlib.sha256(spki).digest()[:4], None):
            with pytest.raises(ConfigError, match="signature type is not supported"):
                vkey.parse(text("x.example", material, key_id))
    assert 2 not in set(SignatureType)


@pytest.mark.parametrize("raw", [*LOW_ORDER, *NON_CANONICAL])
def test_SN_26_low_order_and_non_canonical_points_are_refused(raw: bytes):
    for kind in (1, 4):
        refused(text("x.example", bytes([kind]) + raw))


def test_SN_29_a_log_slot_takes_no_witness_type_and_a_witness_slot_no_log_type():
    assert vkey.parse_for(ED, LOG_TYPES, "log") == make.LOG.verifier
    assert vkey.parse_for(MLDSA, LOG_TYPES, "log") == vkey.parse_for(MLDSA, WITNESS_TYPES, "witness")
    assert vkey.parse_for(COSIGN, WITNESS_TYPES, "witness") == make.WITNESSES[0].verifier
    with pytest.raises(ConfigError, match="a log key cannot have signature type 0x04"):
        vkey.parse_for(COSIGN, LOG_TYPES, "log")
    with pytest.raises(ConfigError, match="a witness key cannot have signature type 0x01"):
        vkey.parse_for(ED, WITNESS_TYPES, "witness")


def test_CS_08_a_cosigners_name_has_at_most_255_bytes_not_characters():
    public, large = make.key("x").public, make.key("x", Algorithm.ML_DSA_44).public
    for kind, key in ((make.COSIGN, public), (make.MLDSA, large)):
        for name in ("x" * 255, "ü" * 127):
            assert vkey.parse(str(VerifierKey.of(name, kind, key))).name == name
        for name in ("x" * 256, "ü" * 128):
            with pytest.raises(MalformedError):
                VerifierKey.of(name, kind, key)
            refused(text(name, bytes([kind]) + key.raw))


def test_CS_18_a_name_may_be_an_oid():
    signer = make.signer("oid/1.3.6.1.4.1.32473.1", make.MLDSA)
    assert vkey.parse(str(signer.verifier)).name == "oid/1.3.6.1.4.1.32473.1"


def test_a_vkey_has_at_most_4096_characters():
    material = b"\x01" + make.LOG.verifier.public.raw
    name = "x" * (vkey.MAX_LENGTH - len(text("", material)))
    assert len(text(name, material)) == vkey.MAX_LENGTH
    assert vkey.parse(text(name, material)).name == name
    refused(text(name + "x", material))
