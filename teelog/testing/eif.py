"""Fake enclave image files, right and wrong; the same bytes every time."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from teelog.evidence.nitro import pcr
from teelog.measure.nitro import CMDLINE, HEADER, KERNEL, MAX_SECTIONS, METADATA, RAMDISK, SIGNATURE
from teelog.testing import x509
from teelog.testing.cose import encode, sign1
from teelog.testing.sev_snp import NOT_AFTER, NOT_BEFORE, pem

SIGNER = "fake signer of images"
_KEY = b"eif signer"


@dataclass(frozen=True)
class Image:
    """Parts of an image. signed: with a signature section, by the key that belongs to the seed ``signer``.

    version, flags: as they stand in the header. payload: what the signature is over, in place of PCR0.
    """

    kernel: bytes = b"fake kernel" * 100
    cmdline: bytes = b"reboot=k panic=30"
    ramdisks: Sequence[bytes] = (b"fake init" * 50, b"fake application" * 200)
    metadata: bytes | None = b'{"ImageName":"example"}'
    signed: bool = False
    signer: bytes = b"1"
    version: int = 4
    flags: int = 0
    payload: bytes | None = None

    def sections(self) -> list[tuple[int, bytes]]:
        found = [(KERNEL, self.kernel), (CMDLINE, self.cmdline)]
        if self.metadata is not None:
            found.append((METADATA, self.metadata))
        found += [(RAMDISK, each) for each in self.ramdisks]
        return [*found, (SIGNATURE, self.signature())] if self.signed else found

    def build(self) -> bytes:
        return assemble(self.sections(), self.version, self.flags)

    def pcrs(self) -> dict[str, bytes]:
        """By their definition, each from the parts that it covers."""
        boot = self.kernel + self.cmdline
        covered = (boot + b"".join(self.ramdisks), boot + self.ramdisks[0], b"".join(self.ramdisks[1:]))
        found = {f"pcr{index}": pcr.of_image(hashlib.sha384(part).digest()) for index, part in enumerate(covered)}
        return {**found, "pcr8": pcr.of_signer(certificate(self.signer))} if self.signed else found

    def signature(self, **how: Any) -> bytes:
        """The signature section's content. how: see `teelog.testing.cose.sign1`."""
        value = self.other(signed=False).pcrs()["pcr0"]
        payload = encode({"register_index": 0, "register_value": list(value)})
        signature = sign1(self.payload or payload, x509.p384_key(_KEY + self.signer), **{"tagged": False, **how})
        return signature_section(pem(certificate(self.signer)), signature)

    def other(self, **changes: Any) -> Image:
        return replace(self, **changes)


def signature_section(certificate_pem: bytes, signature: bytes) -> bytes:
    return encode([{"signing_certificate": list(certificate_pem), "signature": list(signature)}])


@cache
def certificate(seed: bytes = b"1") -> bytes:
    """DER of a signer's certificate, which it signed itself."""
    key = x509.p384_key(_KEY + seed)
    return x509.Draft(SIGNER, SIGNER, x509.ecdsa_spki(key), NOT_BEFORE, NOT_AFTER, 1).sign_ecdsa(key)


def assemble(sections: Iterable[tuple[int, bytes]], version: int = 4, flags: int = 0) -> bytes:
    """An image of any sections in any order, with a right checksum."""
    offsets, sizes, body = [], [], b""
    for kind, content in sections:
        offsets.append(HEADER + len(body))
        sizes.append(len(content))
        body += kind.to_bytes(2) + bytes(2) + len(content).to_bytes(8) + content
    tables = b"".join(each.to_bytes(8) for each in _padded(offsets) + _padded(sizes))
    head = b".eif" + version.to_bytes(2) + flags.to_bytes(2) + (1 << 29).to_bytes(8) + (2).to_bytes(8)
    head += bytes(2) + len(sizes).to_bytes(2) + tables + bytes(4)
    return with_checksum(head + bytes(4) + body)


def _padded(numbers: list[int]) -> list[int]:
    return numbers + [0] * (MAX_SECTIONS - len(numbers))


def with_checksum(image: bytes) -> bytes:
    """The image with the checksum that belongs to its other bytes."""
    crc = zlib.crc32(image[HEADER:], zlib.crc32(image[: HEADER - 4]))
    return image[: HEADER - 4] + crc.to_bytes(4) + image[HEADER:]


def patched(image: bytes, changes: dict[int, bytes]) -> bytes:
    """changes: offset -> bytes; the checksum is made right afterwards."""
    raw = bytearray(image)
    for offset, value in changes.items():
        raw[offset : offset + len(value)] = value
    return with_checksum(bytes(raw))
