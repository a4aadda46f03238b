"""SIGSTRUCT: what the signer of an SGX enclave claims of it -> MRENCLAVE, MRSIGNER, ISVPRODID, ISVSVN.

The processor starts an enclave only if the measurement that it made itself is the one in here and the signature holds,
so the values are those that a report will have: extracted, not recomputed. All numbers are little-endian, those of the
signature too. Source: Intel SDM volume 3D, section 38.13 (layout) and chapter 40, EINIT (what is checked).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from teelog.errors import MalformedError, SignatureError

SIZE = 1808  # bytes

_HEADERS = {
    0: bytes.fromhex("06000000e10000000000010000000000"),
    24: bytes.fromhex("01010000600000006000000001000000"),
}
_VENDORS = (0, 0x8086)
_RESERVED = ((44, 128), (910, 912), (992, 1008), (1028, 1040))
_KEY = 384  # bytes: RSA-3072
_EXPONENT = 3
# DER of DigestInfo for SHA-256 up to the digest (RFC 8017 section 9.2, note 1).
_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
_DEBUG = 0x2
_WHAT = "SIGSTRUCT"


@dataclass(frozen=True, slots=True)
class Claim:
    """Of a SIGSTRUCT whose signature holds under the key in it, which nobody vouches for but MRSIGNER's user.

    debug: off, on or any: whether the enclave may be launched with the attribute DEBUG, which opens its memory.
    """

    mrenclave: bytes
    mrsigner: bytes
    isvprodid: int
    isvsvn: int
    debug: str

    @property
    def registers(self) -> dict[str, str]:
        numbers = {"isvprodid": f"{self.isvprodid:04x}", "isvsvn": f"{self.isvsvn:04x}"}
        return {"mrenclave": self.mrenclave.hex(), "mrsigner": self.mrsigner.hex(), **numbers}


def read(raw: bytes) -> Claim:
    """Raises MalformedError, SignatureError."""
    if len(raw) != SIZE:
        raise MalformedError(f"not a {_WHAT}: its size is another", expected=f"{SIZE} bytes", actual=len(raw))
    for place, expected in _HEADERS.items():
        if raw[place : place + 16] != expected:
            raise MalformedError(f"not a {_WHAT}", expected=expected.hex(), actual=raw[place : place + 16].hex())
    if _number(raw[16:20]) not in _VENDORS or any(any(raw[start:end]) for start, end in _RESERVED):
        raise MalformedError(f"{_WHAT}: a reserved field is set")
    if _number(raw[512:516]) != _EXPONENT:
        raise MalformedError(f"{_WHAT}: the exponent is another", expected=_EXPONENT, actual=_number(raw[512:516]))
    _verify(raw)
    asked, mask = raw[928] & _DEBUG, raw[944] & _DEBUG
    return Claim(
        mrenclave=raw[960:992],
        mrsigner=hashlib.sha256(raw[128:512]).digest(),
        isvprodid=_number(raw[1024:1026]),
        isvsvn=_number(raw[1026:1028]),
        debug="any" if not mask else "on" if asked else "off",
    )


def _verify(raw: bytes) -> None:
    """RSASSA-PKCS1-v1_5 with SHA-256, compared as a whole; then the two quotients that the processor works with."""
    modulus, signature = _number(raw[128:512]), _number(raw[516:900])
    if modulus.bit_length() != 8 * _KEY or modulus % 2 == 0:
        raise MalformedError(f"{_WHAT}: not an RSA key of {8 * _KEY} bits")
    digest = hashlib.sha256(raw[:128] + raw[900:1028]).digest()
    padded = b"\0\1" + b"\xff" * (_KEY - 3 - len(_DIGEST_INFO) - len(digest)) + b"\0" + _DIGEST_INFO + digest
    if signature >= modulus or pow(signature, _EXPONENT, modulus) != int.from_bytes(padded):
        raise SignatureError(f"{_WHAT}: the signature does not hold")
    first = signature**2 // modulus
    second = (signature**3 - first * signature * modulus) // modulus
    if (_number(raw[1040:1424]), _number(raw[1424:])) != (first, second):
        raise SignatureError(f"{_WHAT}: Q1 or Q2 does not fit the signature, no processor starts the enclave")


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "little")
