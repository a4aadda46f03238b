"""What report data commit to: freshness and binding (protocol section 7)."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from teelog.errors import MalformedError
from teelog.evidence import report_data
from teelog.evidence.platform import Expected
from teelog.evidence.report_data import binding, bound_bytes, commitment, freshness
from teelog.testing import x509
from teelog.verdict import Outcome
from tests.project.sources import ROOT

NONCE, KEY = b"\x11" * 32, b"a public key, or an output"
GOOD, BAD, OPEN = Outcome.VERIFIED, Outcome.FAILED, Outcome.NOT_ESTABLISHED


def pad(value: bytes) -> bytes:
    return value.ljust(64, b"\0")


def test_commitment_is_the_formula():
    subject = hashlib.sha256(KEY).digest()
    parts = hashlib.sha256(b"gpu").digest() + hashlib.sha256(b"tpm").digest()
    preimage = b"teelog-rd-v1" + b"\0\0\0\x20" + NONCE + b"\0\0\0\x20" + subject + b"\0\0\0\x40" + parts
    assert commitment(NONCE, KEY, (b"gpu", b"tpm")) == hashlib.sha512(preimage).digest()
    assert commitment() == hashlib.sha512(b"teelog-rd-v1" + bytes(12)).digest()


@given(
    *(
        st.tuples(
            st.binary(max_size=64), st.none() | st.binary(max_size=9), st.lists(st.binary(max_size=3), max_size=3)
        ),
    )
    * 2
)
def test_different_inputs_have_different_commitments(one, two):
    assert (commitment(*one) == commitment(*two)) == (one == two)


@pytest.mark.parametrize(
    ("field", "expected", "fresh", "bound"),
    [
        (pad(NONCE), Expected(nonce=NONCE), GOOD, OPEN),
        (pad(NONCE), Expected(report_data=NONCE), GOOD, OPEN),
        (pad(NONCE), Expected(), OPEN, OPEN),
        (pad(b"\x12" * 32), Expected(nonce=NONCE), BAD, OPEN),
        (pad(NONCE[:-1]), Expected(nonce=NONCE), BAD, OPEN),
        (NONCE + b"\1" * 32, Expected(nonce=NONCE), BAD, OPEN),
        # with something to bind, the nonce must be in the commitment
        (commitment(NONCE, KEY), Expected(nonce=NONCE, binds=KEY), GOOD, GOOD),
        (commitment(NONCE, KEY), Expected(nonce=NONCE), BAD, OPEN),
        (commitment(NONCE, KEY), Expected(binds=KEY), OPEN, BAD),
        (commitment(NONCE, KEY), Expected(nonce=NONCE, binds=KEY + b"!"), BAD, BAD),
        (commitment(b"other", KEY), Expected(nonce=NONCE, binds=KEY), BAD, BAD),
        (pad(NONCE), Expected(nonce=NONCE, binds=KEY), BAD, BAD),
        (pad(hashlib.sha256(KEY).digest()), Expected(nonce=NONCE, binds=KEY), BAD, BAD),
        # no nonce: the commitment without one, or a plain digest
        (commitment(b"", KEY), Expected(binds=KEY), OPEN, GOOD),
        (hashlib.sha512(KEY).digest(), Expected(binds=KEY), OPEN, GOOD),
        (pad(hashlib.sha384(KEY).digest()), Expected(binds=KEY), OPEN, GOOD),
        (pad(hashlib.sha256(KEY).digest()), Expected(binds=KEY), OPEN, GOOD),
        (hashlib.sha256(KEY).digest() + b"\1" * 32, Expected(binds=KEY), OPEN, BAD),
        (hashlib.sha512(KEY).digest(), Expected(binds=KEY, report_data=hashlib.sha512(KEY).digest()), GOOD, GOOD),
        # composite evidence
        (commitment(NONCE, None, (b"gpu",)), Expected(nonce=NONCE, parts=(b"gpu",)), GOOD, OPEN),
        (commitment(NONCE, KEY, (b"gpu",)), Expected(nonce=NONCE, binds=KEY, parts=(b"gpu",)), GOOD, GOOD),
        (commitment(NONCE, KEY, (b"gpu",)), Expected(nonce=NONCE, binds=KEY), BAD, BAD),
        (commitment(NONCE, KEY, (b"tpm", b"gpu")), Expected(nonce=NONCE, binds=KEY, parts=(b"gpu", b"tpm")), BAD, BAD),
        (hashlib.sha512(KEY).digest(), Expected(binds=KEY, parts=(b"gpu",)), OPEN, BAD),
    ],
)  # fmt: skip
def test_freshness_and_binding(field: bytes, expected: Expected, fresh: Outcome, bound: Outcome):
    assert freshness(field, expected).outcome is fresh
    assert binding(field, expected).outcome is bound


def test_a_preimage_of_a_commitment_is_no_output():
    """Else the TEE that bound a key could be said to have bound that file."""
    preimage = b"teelog-rd-v1" + bytes(4) + b"\0\0\0\x20" + hashlib.sha256(KEY).digest() + bytes(4)
    field = commitment(b"", KEY)
    assert hashlib.sha512(preimage).digest() == field
    assert binding(field, Expected(binds=preimage)).outcome is BAD


def test_nonce_and_report_data_together_are_a_mistake():
    with pytest.raises(ValueError, match="not both"):
        Expected(nonce=NONCE, report_data=NONCE)


@pytest.mark.parametrize("value", [b"", bytes(65)])
def test_a_value_must_fit_the_field(value: bytes):
    with pytest.raises(MalformedError):
        report_data.padded(value)


def test_nothing_at_all_cannot_be_bound():
    with pytest.raises(MalformedError, match="is empty"):
        bound_bytes(b"")
    for wrong in ({"nonce": b""}, {"nonce": bytes(65)}, {"report_data": b""}, {"binds": b""}):
        with pytest.raises(ValueError, match=r"empty|1 to 64 bytes"):
            Expected(**wrong)


def test_public_key_in_pem_stands_for_its_spki():
    key = x509.p384_key(b"tls").public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert bound_bytes(pem) == bound_bytes(pem.replace(b"\n", b"\r\n")) == spki
    for other in (b"text", spki, b" " + pem, pem + b"more", pem * 2):
        assert bound_bytes(other) == other
    with pytest.raises(MalformedError):
        bound_bytes(pem.replace(b"M", b"=", 1))


def test_example_of_the_page_is_right():
    page = (ROOT / "docs" / "formats" / "evidence-sev-snp.md").read_text()
    assert f"\n{commitment(bytes([0x5A]) * 32, b'approved results').hex()}\n" in page
