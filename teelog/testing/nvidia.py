"""Fake NVIDIA GPUs: root, the chain below it, reports, golden RIMs; the same bytes every time.

Reports need no library beyond a verifier's; golden RIMs are signed with signxml (extra ``nvidia``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from teelog.evidence import der
from teelog.evidence.nvidia.chain import IDENTITY
from teelog.evidence.nvidia.report import DRIVER, FWID, NVDEC0, VBIOS
from teelog.evidence.platform import Roots
from teelog.testing import x509
from teelog.testing.sev_snp import NOT_AFTER, NOT_BEFORE

Extensions = tuple[tuple[str, bool, bytes], ...]

ROOT, LEAF = "device root.example", "GH100 fake LF"
DEVICE_CHAIN = (ROOT, "GH100 identity.example", "GH100 provisioner.example", "GH100 fake GPU")
"""Root first, without the leaf."""
RIM_ROOT = "rim root.example"
RIM_CHAIN = (RIM_ROOT, "rim authority.example")
RIM_LEAF = "rim signer.example"

DRIVER_VERSION, VBIOS_VERSION = "550.90.07", "96.00.9F.00.01"
FIRMWARE = hashlib.sha384(b"fake firmware").digest()
BLOCKS = 64
OFF, ON = b"\x55", b"\xaa"
"""Of the video decoder."""

_SHA384 = "2.16.840.1.101.3.4.2.2"


def _signer(*more: tuple[str, bool, bytes]) -> Extensions:
    return (("2.5.29.15", True, x509.tlv(der.BIT_STRING, b"\x07\x80")), *more)


SIGNER = _signer()
"""The extensions of a certificate whose key signs and is no authority's."""


def identity(fwid: bytes = FIRMWARE, version: int = 1) -> tuple[str, bool, bytes]:
    """The extension that holds the FWID."""
    named = x509.tlv(der.SEQUENCE, x509.oid(_SHA384), x509.tlv(der.OCTET_STRING, fwid))
    key = x509.ecdsa_spki(_key(DEVICE_CHAIN[-1], False))
    return IDENTITY, False, x509.tlv(der.SEQUENCE, x509.integer(version), key, named)


@cache
def _key(name: str, rogue: bool) -> EllipticCurvePrivateKey:
    return x509.p384_key(b"nvidia " + (b"rogue " if rogue else b"") + name.encode())


def measurements(changes: Mapping[int, bytes] | None = None) -> dict[int, bytes]:
    """index from 0 -> 48 bytes, all BLOCKS of them."""
    usual = {index: hashlib.sha384(b"measurement %d" % index).digest() for index in range(BLOCKS)}
    return {**usual, **(changes or {})}


@dataclass(frozen=True)
class Gpu:
    """One fake GPU. seed: another seed is another key of its firmware. rogue: its chain begins with another root.

    fwid: what its report names; None: nothing. extensions: of its leaf certificate.
    """

    seed: bytes = b"1"
    rogue: bool = False
    fwid: bytes | None = FIRMWARE
    extensions: Extensions = field(default_factory=lambda: _signer(identity()))
    not_after: int = NOT_AFTER

    def chain(self) -> list[bytes]:
        """DER, leaf first."""
        spki = x509.ecdsa_spki(self._key())
        draft = x509.Draft(LEAF, DEVICE_CHAIN[-1], spki, NOT_BEFORE, self.not_after, 0x2001, self.extensions)
        return [draft.sign_ecdsa(_key(DEVICE_CHAIN[-1], self.rogue)), *_authorities(DEVICE_CHAIN, self.rogue)]

    def endorsement(self) -> bytes:
        """The chain as PEM, leaf first."""
        return pem(self.chain())

    def report(self, nonce: bytes, **changes: Any) -> bytes:
        """A signed report. changes: see `body`."""
        return self.sign(self.body(nonce, **changes))

    def body(
        self,
        nonce: bytes,
        *,
        values: Mapping[int, bytes] | None = None,
        opaque: Mapping[int, bytes] | None = None,
        raw_opaque: bytes | None = None,
        request: bytes = b"\x11\xe0\x01\xff",
        response: bytes = b"\x11\x60\0\0",
    ) -> bytes:
        """Request and response without the signature. values: index from 0 -> digest. opaque: in place of the usual."""
        found = measurements() if values is None else values
        blocks = b"".join(block(index + 1, value) for index, value in found.items())
        shown = tlvs({**self._opaque(), **(opaque or {})}) if raw_opaque is None else raw_opaque
        return b"".join(
            (
                *(request, nonce, b"\0", response, bytes([len(found)]), len(blocks).to_bytes(3, "little"), blocks),
                *(hashlib.sha256(b"nonce of the GPU").digest(), len(shown).to_bytes(2, "little"), shown),
            )
        )

    def _opaque(self) -> dict[int, bytes]:
        vbios = bytes.fromhex("009f009601000000")
        usual = {DRIVER: DRIVER_VERSION.encode() + b"\0", VBIOS: vbios, NVDEC0: OFF}
        return usual if self.fwid is None else {**usual, FWID: self.fwid}

    def sign(self, body: bytes) -> bytes:
        r, s = decode_dss_signature(x509.ecdsa_sign(self._key(), body))
        return body + r.to_bytes(48) + s.to_bytes(48)

    def _key(self) -> EllipticCurvePrivateKey:
        return _key("leaf " + self.seed.hex(), self.rogue)

    def other(self, **changes: Any) -> Gpu:
        return replace(self, **changes)


def block(index: int, value: bytes, *, form: int = 1, kind: int = 1, size: int | None = None) -> bytes:
    """One measurement of SPDM. index: from 1. size: in place of the right one."""
    length = len(value).to_bytes(2, "little")
    outer = (len(value) + 3 if size is None else size).to_bytes(2, "little")
    return bytes((index, form)) + outer + bytes([kind]) + length + value


def tlvs(found: Mapping[int, bytes]) -> bytes:
    """Opaque data."""
    return b"".join(
        kind.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value for kind, value in found.items()
    )


def pem(ders: list[bytes]) -> bytes:
    import base64

    return b"".join(
        b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(each) + b"-----END CERTIFICATE-----\n" for each in ders
    )


@cache
def _authorities(names: tuple[str, ...], rogue: bool) -> tuple[bytes, ...]:
    """DER of the authorities ``names`` (root first), the last one first."""
    made = []
    for place, name in enumerate(names):
        issuer = names[max(place - 1, 0)]
        spki = x509.ecdsa_spki(_key(name, rogue))
        draft = x509.Draft(name, issuer, spki, NOT_BEFORE, NOT_AFTER, 0x1000 + place, x509.AUTHORITY)
        made.append(draft.sign_ecdsa(_key(issuer, rogue)))
    return tuple(reversed(made))


@cache
def roots() -> Roots:
    """The fake roots, for the ``roots`` argument."""
    pins = {"device": _authorities(DEVICE_CHAIN, False)[-1], "rim": _authorities(RIM_CHAIN, False)[-1]}
    return Roots({label: hashlib.sha256(der_).digest() for label, der_ in pins.items()})


# -- golden RIMs ------------------------------------------------------------------------------------------------------

DRIVER_INDEXES, VBIOS_INDEXES = (0, 1, 2, 35), (3, 4)

_SWID = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
_HASHES = "http://www.w3.org/2001/04/xmlenc#sha384"


def resource(index: int, *values: bytes, active: bool = True) -> str:
    hashes = " ".join(f'h:Hash{number}="{value.hex()}"' for number, value in enumerate(values))
    return (
        f'<s:Resource type="Measurement" index="{index}" active="{active}" alternatives="{len(values)}" '
        f'{hashes} name="Measurement_{index}" size="48"/>'
    )


def swid(version: str, resources: str, edition: str = "GPU", product: str = "GH100") -> bytes:
    """An unsigned RIM."""
    return (
        f'<SoftwareIdentity xmlns="{_SWID}" xmlns:s="{_SWID}" xmlns:h="{_HASHES}" name="GH100" version="1.0">'
        f'<s:Meta colloquialVersion="{version}" edition="{edition}" product="{product}"/>'
        f"<s:Payload>{resources}</s:Payload></SoftwareIdentity>"
    ).encode()


def golden(version: str, indexes: tuple[int, ...], product: str = "GH100") -> bytes:
    """An unsigned RIM with the usual measurements, each beside another value, and one that is not active."""
    other = bytes(48)
    active = "".join(resource(index, other, measurements()[index]) for index in indexes)
    return swid(version, active + resource(63, other, active=False), product=product)


def signed(xml: bytes, *, rogue: bool = False, not_after: int = NOT_AFTER, extensions: Extensions = SIGNER) -> bytes:
    """The RIM with a signature of a fake signer within. not_after: POSIX seconds, of the signer's certificate."""
    from cryptography.x509 import load_der_x509_certificate
    from lxml import etree
    from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureMethod
    from signxml.signer import XMLSigner

    key = _key(RIM_LEAF, rogue)
    spki = x509.ecdsa_spki(key)
    draft = x509.Draft(RIM_LEAF, RIM_CHAIN[-1], spki, NOT_BEFORE, not_after, 0x3001, extensions)
    ders = [draft.sign_ecdsa(_key(RIM_CHAIN[-1], rogue)), *_authorities(RIM_CHAIN, rogue)]
    signer = XMLSigner(
        signature_algorithm=SignatureMethod.ECDSA_SHA384,
        digest_algorithm=DigestAlgorithm.SHA384,
        c14n_algorithm=CanonicalizationMethod.CANONICAL_XML_1_1,
    )
    made = signer.sign(etree.fromstring(xml), key=key, cert=[load_der_x509_certificate(each) for each in ders])
    return bytes(etree.tostring(made))


@cache
def rims() -> tuple[bytes, bytes]:
    """Golden RIMs of driver and VBIOS that the usual report satisfies."""
    return signed(golden(DRIVER_VERSION, DRIVER_INDEXES)), signed(golden(VBIOS_VERSION, VBIOS_INDEXES))
