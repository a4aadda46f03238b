"""What a TPM 2.0 signs about its registers: bytes to fields, and the signature. Nothing is trusted after parsing.

Source: TCG TPM 2.0 Library, part 2, sections 10.12.8 (TPMS_ATTEST), 10.12.1 (TPMS_QUOTE_INFO), 10.9
(TPML_PCR_SELECTION), 11.3.4 (TPMT_SIGNATURE). All numbers are big-endian.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from teelog.errors import MalformedError, NotEstablished, SignatureError, VerificationError

MAX_QUOTE, MAX_SIGNATURE = 1024, 1024
"""Bytes."""
PCRS = 24
BANK = "sha256"
MIN_RSA_BITS, MAX_RSA_BITS, EXPONENT = 2048, 4096, 65537

_MAGIC, _QUOTE = 0xFF544347, 0x8018
_SHA256 = 0x000B
_HASHES: Mapping[int, type[hashes.HashAlgorithm]] = {
    _SHA256: hashes.SHA256,
    0x000C: hashes.SHA384,
    0x000D: hashes.SHA512,
}
_RSASSA, _ECDSA = 0x0014, 0x0018
_MAX_NAME, _MAX_EXTRA, _MAX_DIGEST = 68, 66, 64
_BITMAP = 3  # bytes: 24 registers

Key = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class Quote:
    """raw: TPMS_ATTEST, which is what is signed. signer: name of the signing key as the TPM knows it. extra_data: what
    the caller asked to have signed. clock: milliseconds. safe: whether the clock has surely not gone back. selected:
    the registers of the SHA-256 bank that digest covers, ascending.
    """

    raw: bytes
    signer: bytes
    extra_data: bytes
    clock: int
    reset_count: int
    restart_count: int
    safe: bool
    firmware_version: int
    selected: tuple[int, ...]
    digest: bytes


@dataclass(frozen=True, slots=True)
class Signature:
    """value: of RSASSA-PKCS1-v1_5; or (r, s) of ECDSA in DER, where ``elliptic``."""

    value: bytes
    hash: type[hashes.HashAlgorithm]
    elliptic: bool = False


def parse(raw: bytes) -> Quote:
    """Raises MalformedError; NotEstablished for a bank or a kind of selection that is not known here."""
    if len(raw) > MAX_QUOTE:
        raise _malformed("too long", expected=f"at most {MAX_QUOTE} bytes", actual=len(raw))
    reader = _Reader(raw)
    magic, kind = reader.number(4), reader.number(2)
    if magic != _MAGIC:  # only what the TPM made itself begins like this, whatever else its key signs
        raise _malformed("not made by a TPM", expected=f"{_MAGIC:#x}", actual=f"{magic:#x}")
    if kind != _QUOTE:
        raise _malformed("not a quote of registers", expected=f"{_QUOTE:#x}", actual=f"{kind:#x}")
    signer, extra = reader.sized(_MAX_NAME), reader.sized(_MAX_EXTRA)
    clock, resets, restarts, safe = struct.unpack(">QIIB", reader.take(17))
    if safe > 1:
        raise _malformed("neither yes nor no", expected="0 or 1", actual=safe)
    firmware = reader.number(8)
    selected = _selection(reader)
    quote = Quote(raw, signer, extra, clock, resets, restarts, safe == 1, firmware, selected, reader.sized(_MAX_DIGEST))
    reader.finish()
    return quote


def _selection(reader: _Reader) -> tuple[int, ...]:
    count = reader.number(4)
    if count != 1:
        raise NotEstablished(f"TPM quote: covers {count} banks of registers", expected="one, of SHA-256")
    bank, size = reader.number(2), reader.number(1)
    if bank != _SHA256:
        raise NotEstablished("TPM quote: covers another bank of registers", expected=BANK, actual=f"{bank:#x}")
    if size != _BITMAP:
        raise NotEstablished("TPM quote: the selection has another size", expected=_BITMAP, actual=size)
    bits = int.from_bytes(reader.take(size), "little")
    if not bits:
        raise _malformed("covers no register")
    return tuple(index for index in range(PCRS) if bits >> index & 1)


def parse_signature(raw: bytes) -> Signature:
    """TPMT_SIGNATURE. Raises MalformedError; NotEstablished for a scheme that is not known here."""
    if len(raw) > MAX_SIGNATURE:
        raise _malformed("the signature is too long", expected=f"at most {MAX_SIGNATURE} bytes", actual=len(raw))
    reader = _Reader(raw)
    scheme, algorithm = reader.number(2), reader.number(2)
    made = _HASHES.get(algorithm)
    if scheme not in (_RSASSA, _ECDSA) or made is None:
        raise NotEstablished(
            "TPM quote: signed in a way that is not known here",
            expected="RSASSA or ECDSA with SHA-256, SHA-384 or SHA-512",
            actual=f"{scheme:#06x} {algorithm:#06x}",
        )
    if scheme == _RSASSA:
        found = Signature(reader.sized(MAX_SIGNATURE), made)
    else:
        r, s = (int.from_bytes(reader.sized(66)) for _ in range(2))
        found = Signature(encode_dss_signature(r, s), made, elliptic=True)
    reader.finish()
    return found


def load_key(der: bytes) -> Key:
    """A TPM's signing key by its SPKI DER. Raises MalformedError."""
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedError("the attestation key cannot be read", expected="SPKI DER") from error
    if isinstance(key, rsa.RSAPublicKey):
        return check_rsa(key)
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        return key
    raise MalformedError("the attestation key is of another kind", expected="RSA, P-256 or P-384")


def check_rsa(key: rsa.RSAPublicKey) -> rsa.RSAPublicKey:
    """Neither weak nor so large that it is a denial of service (A-49). Raises MalformedError."""
    exponent = key.public_numbers().e
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS or exponent != EXPONENT:
        raise MalformedError(
            "the attestation key is of another kind",
            expected=f"{MIN_RSA_BITS} to {MAX_RSA_BITS} bits, exponent {EXPONENT}",
            actual=f"{key.key_size} bits, exponent {str(exponent)[:20]}",
        )
    return key


def spki(key: Key) -> bytes:
    """SPKI DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def verify(quote: Quote, signature: Signature, key: Key) -> None:
    """That ``key`` signed this quote. Raises SignatureError, VerificationError."""
    made = signature.hash()
    try:
        if isinstance(key, rsa.RSAPublicKey) and not signature.elliptic:
            key.verify(signature.value, quote.raw, padding.PKCS1v15(), made)
        elif isinstance(key, ec.EllipticCurvePublicKey) and signature.elliptic:
            key.verify(signature.value, quote.raw, ec.ECDSA(made))
        else:
            raise VerificationError("the quote's signature is of another kind than the attestation key")
    except InvalidSignature as error:
        raise SignatureError("the quote is not signed by the attestation key") from error


def check_registers(quote: Quote, signature: Signature, values: Sequence[bytes]) -> Mapping[int, bytes]:
    """The selected ones of ``values``, PCRS of 32 bytes, if they are what was quoted. Raises VerificationError."""
    covered = {index: values[index] for index in quote.selected}
    # The digest is made with the hash of the signature's scheme, TPM 2.0 part 3, TPM2_Quote.
    digest = hashlib.new(signature.hash().name, b"".join(covered.values())).digest()
    if not hmac.compare_digest(digest, quote.digest):
        raise VerificationError(
            "the registers are not the ones that were quoted", expected=quote.digest.hex(), actual=digest.hex()
        )
    return covered


def fields(quote: Quote) -> Mapping[str, object]:
    """Every field by name, for show."""
    return {
        "signer": quote.signer,
        "extra_data": quote.extra_data,
        "clock": quote.clock,
        "reset_count": quote.reset_count,
        "restart_count": quote.restart_count,
        "safe": quote.safe,
        "firmware_version": f"{quote.firmware_version:#x}",
        "selected": ", ".join(f"pcr{index}" for index in quote.selected),
        "pcr_digest": quote.digest,
    }


def _malformed(message: str, expected: object = None, actual: object = None) -> MalformedError:
    return MalformedError(f"TPM quote: {message}", expected=expected, actual=actual)


class _Reader:
    __slots__ = ("data", "place")

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, size: int) -> bytes:
        part = self.data[self.place : self.place + size]
        if len(part) != size:
            raise _malformed("ends too early", expected=f"{size} bytes more", actual=f"{len(part)} bytes")
        self.place += size
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def sized(self, most: int) -> bytes:
        size = self.number(2)
        if size > most:
            raise _malformed("a field is too long", expected=f"at most {most} bytes", actual=size)
        return self.take(size)

    def finish(self) -> None:
        if self.place != len(self.data):
            raise _malformed("bytes left over", actual=f"{len(self.data) - self.place} bytes")
