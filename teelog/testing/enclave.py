"""SGX enclaves made up here: the stream that builds one, and the SIGSTRUCT of one."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

TCS, CODE, DATA = 0x100, 0x205, 0x203  # SECINFO.FLAGS


def create(size: int = 0x4000, frame: int = 1, rest: bytes = bytes(44)) -> bytes:
    return b"ECREATE\0" + struct.pack("<IQ", frame, size) + rest


def add(offset: int, flags: int, rest: bytes = bytes(40)) -> bytes:
    return b"EADD\0\0\0\0" + struct.pack("<QQ", offset, flags) + rest


def extend(offset: int, content: bytes, kind: bytes = b"EEXTEND\0", rest: bytes = bytes(48)) -> bytes:
    return kind + struct.pack("<Q", offset) + rest + content


def page(offset: int, flags: int, content: bytes = bytes(4096)) -> bytes:
    chunks = (extend(offset + place, content[place : place + 256]) for place in range(0, 4096, 256))
    return add(offset, flags) + b"".join(chunks)


def stream() -> bytes:
    """Code, data of which half is not measured, and a TCS."""
    half = b"".join(extend(0x1000 + 256 * n, b"d" * 256, b"EEXTEND\0" if n % 2 else b"UNMEASRD") for n in range(16))
    return create() + page(0, CODE, b"c" * 4096) + add(0x1000, DATA) + half + page(0x2000, TCS)


@cache
def key() -> rsa.RSAPrivateKey:
    """Another one in every run: an enclave's key has the exponent 3, which no deterministic maker here offers."""
    return rsa.generate_private_key(3, 3072)


@dataclass(frozen=True)
class Sigstruct:
    """fields: offset -> bytes, over those that are usual. after: the same, behind the signature's making."""

    mrenclave: bytes = bytes(range(32))
    isvprodid: int = 7
    isvsvn: int = 3
    attributes: int = 4
    mask: int = 0xFFFFFFFFFFFFFFFF
    fields: Mapping[int, bytes] = field(default_factory=dict)
    after: Mapping[int, bytes] = field(default_factory=dict)

    def other(self, **changes: object) -> Sigstruct:
        return replace(self, **changes)  # type: ignore[arg-type]

    @property
    def mrsigner(self) -> bytes:
        return hashlib.sha256(self.build()[128:512]).digest()

    def build(self) -> bytes:
        raw = bytearray(1808)
        modulus = key().public_key().public_numbers().n
        usual: dict[int, bytes] = {
            0: bytes.fromhex("06000000e10000000000010000000000"),
            20: bytes.fromhex("01012026"),
            24: bytes.fromhex("01010000600000006000000001000000"),
            128: modulus.to_bytes(384, "little"),
            512: (3).to_bytes(4, "little"),
            928: struct.pack("<QQQQ", self.attributes, 3, self.mask, 0),
            960: self.mrenclave,
            1024: struct.pack("<HH", self.isvprodid, self.isvsvn),
        }
        _put(raw, {**usual, **self.fields})
        signature = int.from_bytes(key().sign(bytes(raw[:128] + raw[900:1028]), padding.PKCS1v15(), SHA256()))
        first = signature**2 // modulus
        second = (signature**3 - first * signature * modulus) // modulus
        places = {516: signature, 1040: first, 1424: second}
        _put(raw, {place: number.to_bytes(384, "little") for place, number in places.items()})
        _put(raw, self.after)
        return bytes(raw)


def _put(raw: bytearray, fields: Mapping[int, bytes]) -> None:
    for place, value in fields.items():
        raw[place : place + len(value)] = value
