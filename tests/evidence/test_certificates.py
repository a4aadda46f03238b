"""Certificates: both readers agree on every real one, and neither takes more than one form of one certificate."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teelog.errors import MalformedError, SignatureError, VerificationError
from teelog.evidence import certificates, der
from teelog.evidence.certificates import load_cert
from teelog.evidence.sev_snp import roots
from teelog.testing import sev_snp, x509
from tests.vectors import vectors


def through_cryptography(raw: bytes) -> certificates.Certificate:
    """As `load_cert` would read it if it were not for the serial number 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return certificates.through_cryptography(raw)


def real_certificates() -> list[bytes]:
    found: dict[bytes, None] = {}
    for path in sorted(vectors("evidence").rglob("*")):
        raw = path.read_bytes() if path.is_file() else b""
        if path.suffix in (".der", ".testcer") and b"crl" not in path.name.lower().encode() and raw[:1] == b"\x30":
            found[raw] = None
        elif b"-----BEGIN CERTIFICATE-----" in raw and path.suffix != ".json":
            found.update(dict.fromkeys(certificates.load_pem(raw)))
    return list(found)


def test_both_readers_agree_on_every_real_certificate():
    every = real_certificates()
    assert len(every) > 60
    serials = set()
    for raw in every:
        read = certificates.by_hand(raw)
        assert read == through_cryptography(raw)
        assert read == load_cert(raw)
        serials.add(read.serial == 0)
    assert serials == {True, False}


FAKES = (
    sev_snp.Machine().endorsement(),
    sev_snp.Machine("Turin", vlek=True).endorsement(),
    sev_snp.authority("ask", "Genoa"),
    sev_snp.authority("ark", "Milan"),
)


@pytest.mark.parametrize("raw", FAKES)
def test_both_readers_agree_on_fakes(raw: bytes):
    assert certificates.by_hand(raw) == through_cryptography(raw) == load_cert(raw)


def test_serial_number_zero_raises_no_warning_whatever_the_filters():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_cert(FAKES[0]).serial == 0


def test_cryptography_warns_of_serial_number_zero_which_is_why_there_are_two_readers():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            certificates.through_cryptography(FAKES[0])
        except MalformedError:
            return  # a later version refuses it
    assert any("serial" in str(each.message).lower() for each in caught)


@pytest.mark.parametrize("read", [load_cert, certificates.by_hand, certificates.through_cryptography])
@pytest.mark.parametrize("raw", [FAKES[2], FAKES[3]])
def test_A_49_trailing_and_missing_bytes_are_refused(read, raw: bytes):
    for bad in (raw + b"\0", raw[:-1], raw[1:], b"", b"\x30\x80"):
        with pytest.raises(MalformedError):
            read(bad)


def test_A_49_long_certificate_is_refused_before_it_is_parsed():
    with pytest.raises(MalformedError, match="too long"):
        load_cert(b"\x30" * (certificates.MAX_CERTIFICATE + 1))


@given(st.sampled_from(FAKES), st.data())
def test_mutated_certificate_is_refused_or_both_readers_read_the_same(raw: bytes, data: st.DataObject):
    """What the own reader takes, cryptography takes too, in the same sense."""
    bad = bytearray(raw)
    bad[data.draw(st.integers(0, len(bad) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        read = certificates.by_hand(bytes(bad))
    except MalformedError:
        return
    try:
        other = through_cryptography(bytes(bad))
    except MalformedError:
        return  # cryptography also looks into algorithms, keys and standard extensions
    for field in ("tbs", "signature", "serial", "not_before", "not_after", "issuer", "subject", "critical"):
        assert getattr(read, field) == getattr(other, field)


@given(st.binary(max_size=200))
def test_noise_is_refused_with_our_error(noise: bytes):
    with pytest.raises(MalformedError):
        load_cert(noise)


def draft(**changes: object) -> x509.Draft:
    spki = x509.p384_spki(x509.p384_key(b"draft"))
    given: dict = {"subject": "it", "issuer": "ca", "spki": spki, "not_before": 0, "not_after": 2**31, **changes}
    return x509.Draft(**given)


def test_A_49_huge_rsa_key_is_refused():
    number = (1 << 8191) + 1
    key = x509.tlv(der.SEQUENCE, x509.integer(number), x509.integer(65537))
    algorithm = x509.tlv(der.SEQUENCE, x509.oid("1.2.840.113549.1.1.1"), b"\x05\x00")
    spki = x509.tlv(der.SEQUENCE, algorithm, x509.tlv(der.BIT_STRING, b"\0", key))
    certificate = load_cert(draft(spki=spki).sign("root"))
    with pytest.raises(MalformedError, match=r"another kind|cannot be read"):
        _ = certificate.public_key


def test_extension_that_is_critical_and_unknown_is_refused():
    certificate = load_cert(draft(extensions=(("1.2.3.4", True, b"\x05\x00"),)).sign("root"))
    with pytest.raises(VerificationError, match="critical"):
        certificates.check_critical(certificate)


def test_extension_twice_is_refused():
    twice = (("1.2.3.4", False, b"\x05\x00"),) * 2
    for serial in (0, 7):
        with pytest.raises(MalformedError):
            load_cert(draft(serial=serial, extensions=twice).sign("root"))


def test_only_an_authority_may_sign_certificates():
    certificates.check_authority(load_cert(sev_snp.authority("ask", "Milan")))
    for extensions in ((), x509.AUTHORITY[:1], x509.AUTHORITY[1:]):
        with pytest.raises(VerificationError, match="authority"):
            certificates.check_authority(load_cert(draft(serial=5, extensions=extensions).sign("root")))


def test_issuer_is_held_to_name_and_key():
    leaf = load_cert(sev_snp.Machine().endorsement())
    ask, asvk = (load_cert(sev_snp.authority(kind, "Milan")) for kind in ("ask", "asvk"))
    certificates.issued(leaf, ask)
    with pytest.raises(VerificationError, match="another issuer"):
        certificates.issued(leaf, asvk)
    with pytest.raises(SignatureError):
        certificates.issued(load_cert(sev_snp.Machine(rogue=True).endorsement()), ask)


def test_pem_with_many_certificates_is_refused():
    one = sev_snp.pem(FAKES[0])
    assert certificates.load_pem(b"text\n" + one * 2) == [FAKES[0]] * 2
    with pytest.raises(MalformedError, match="too many"):
        certificates.load_pem(one * (certificates.MAX_CERTIFICATES + 1))
    for bad in (b"", one[:-4], one.replace(b"MII", b"M*I"), b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"):
        with pytest.raises(MalformedError):
            certificates.load_pem(bad)


@pytest.mark.parametrize(
    "content", [b"\x02\x00", b"\x02\x02\x00\x7f", b"\x02\x02\xff\x80", b"\x02\x81\x01\x05", b"\x02\x80", b"\x02\x05\1"]
)
def test_integers_have_one_form(content: bytes):
    with pytest.raises(MalformedError):
        der.integer(der.only(content, der.INTEGER, "it"), "it")


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (der.UTC_TIME, b"2601010000Z"), (der.UTC_TIME, b"260101000000+0000"), (der.UTC_TIME, b"261301000000Z"),
        (der.GENERALIZED_TIME, b"20260101000000Z"), (der.GENERALIZED_TIME, b"20600101000000.5Z"),
    ],
)  # fmt: skip
def test_times_have_one_form(tag: int, text: bytes):
    with pytest.raises(MalformedError):
        der.time(der.Reader(x509.tlv(tag, text), "it"))


def test_years_of_two_digits_turn_at_fifty():
    assert der.time(der.Reader(x509.tlv(der.UTC_TIME, b"491231235959Z"), "it")) == 2524607999
    assert der.time(der.Reader(x509.tlv(der.UTC_TIME, b"700101000000Z"), "it")) == 0
    assert der.time(der.Reader(x509.tlv(der.GENERALIZED_TIME, b"20500101000000Z"), "it")) == 2524608000


# -- what ships --------------------------------------------------------------------------------------------------------


def test_shipped_roots_are_those_that_are_pinned():
    shipped = {hashlib.sha256(raw).digest() for raw in roots.shipped().certificates}
    assert len(shipped) == 9
    assert set(roots.PINS.values()) <= shipped


def test_shipped_certificates_chain_to_their_own_root():
    by_name = {each.common_name: each for each in map(load_cert, roots.shipped().certificates)}
    for product, pin in roots.PINS.items():
        root = by_name[f"ARK-{product}"]
        assert root.fingerprint == pin
        for name in (f"ARK-{product}", f"SEV-{product}", f"SEV-VLEK-{product}"):
            certificates.issued(by_name[name], root)
            certificates.check_authority(by_name[name])


def test_shipped_certificates_are_the_vendors():
    stated = json.loads(vectors("evidence/roots/fingerprints.json").read_bytes())
    folder = Path(roots.__file__).parent.parent / "roots"
    for path in sorted(folder.glob("*.pem")):
        (raw,) = certificates.load_pem(path.read_bytes())
        assert hashlib.sha256(raw).hexdigest() == stated[path.stem]["sha256_der"]
        assert path.read_bytes() == sev_snp.pem(raw)
        spki = hashlib.sha256(load_cert(raw).spki).hexdigest()
        assert spki == stated[path.stem]["spki_sha256"]
    for product, pin in roots.PINS.items():
        assert pin.hex() == stated[f"amd-ark-{product.lower()}"]["sha256_der"]
