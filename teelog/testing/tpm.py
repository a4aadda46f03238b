"""Fake TPMs: quotes, signatures, registers, event logs, and the file they come in; the same bytes every time."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from teelog.evidence import der
from teelog.evidence.platform import Roots
from teelog.evidence.tpm.quote import PCRS
from teelog.testing import x509
from teelog.testing.known_keys import rsa_key
from teelog.testing.sev_snp import NOT_AFTER, NOT_BEFORE

LABEL = "fake TPM"
ROOT, AUTHORITY = "TPM root", "TPM authority"
FIRMWARE = 0x2019102300163636
SHA256_BANK, SHA384_BANK = 0x000B, 0x000C
QUOTE = 0x8018
EV_NO_ACTION, EV_EVENT_TAG = 3, 6


def pcrs(changes: Mapping[int, bytes] | None = None) -> tuple[bytes, ...]:
    """The 24 registers of a machine that has started: 0 to 9 extended, 17 to 22 all ones."""
    usual = {index: hashlib.sha256(b"pcr%d" % index).digest() for index in range(10)}
    usual |= dict.fromkeys(range(17, 23), b"\xff" * 32) | dict(changes or {})
    return tuple(usual.get(index, bytes(32)) for index in range(PCRS))


def attest(
    values: Sequence[bytes],
    extra_data: bytes = b"",
    *,
    selected: Sequence[int] = range(PCRS),
    magic: bytes = b"\xffTCG",
    kind: int = QUOTE,
    bank: int = SHA256_BANK,
    banks: int = 1,
    digest: bytes | None = None,
    firmware: int = FIRMWARE,
    safe: int = 1,
) -> bytes:
    """TPMS_ATTEST. values: 24 registers. digest: in place of that of the selected ones."""
    signer = b"\0\x0b" + hashlib.sha256(b"name").digest()
    covered = hashlib.sha256(b"".join(values[index] for index in selected)).digest() if digest is None else digest
    bits = sum(1 << index for index in selected).to_bytes(3, "little")
    return b"".join(
        (
            magic,
            kind.to_bytes(2),
            sized(signer),
            sized(extra_data),
            struct.pack(">QIIBQ", 0x543D38FB, 0x35, 0, safe, firmware),
            banks.to_bytes(4),
            bank.to_bytes(2),
            len(bits).to_bytes(1),
            bits,
            sized(covered),
        )
    )


def sized(value: bytes) -> bytes:
    """TPM2B."""
    return len(value).to_bytes(2) + value


@cache
def _private(name: str) -> rsa.RSAPrivateKey:
    return rsa_key(name).private_key(unsafe_skip_rsa_key_validation=True)


def rsa_public(name: str = "intermediate") -> rsa.RSAPublicKey:
    """One of the known keys, as an attestation key."""
    return rsa_key(name).public_numbers.public_key()


def rsa_sign(message: bytes, name: str = "intermediate") -> bytes:
    """RSASSA-PKCS1-v1_5 with SHA-256."""
    return _private(name).sign(message, padding.PKCS1v15(), hashes.SHA256())


@dataclass(frozen=True)
class Tpm:
    """One fake TPM. key: the name of a known key, or ``ecdsa``. wrong: signs with a key that is not its own."""

    key: str = "intermediate"
    wrong: bool = False

    def spki(self) -> bytes:
        """DER of the attestation key."""
        return x509.ecdsa_spki(_ecdsa()) if self.key == "ecdsa" else x509.rsa_spki(rsa_key(self.key))

    def sign(self, message: bytes) -> bytes:
        """TPMT_SIGNATURE."""
        if self.key == "ecdsa":
            r, s = decode_dss_signature(x509.ecdsa_sign(x509.p256_key(b"wrong") if self.wrong else _ecdsa(), message))
            return b"\0\x18\0\x0b" + sized(r.to_bytes(32)) + sized(s.to_bytes(32))
        return b"\0\x14\0\x0b" + sized(rsa_sign(message, "rogue" if self.wrong else self.key))

    def evidence(
        self,
        extra_data: bytes = b"",
        *,
        values: Sequence[bytes] | None = None,
        shown: Sequence[bytes] | None = None,
        quote: bytes | None = None,
        signature: bytes | None = None,
        members: Mapping[str, object] | None = None,
        **fields: object,
    ) -> bytes:
        """The file. values: the registers. shown: those that the file says, in place of them. members: added to it.

        quote, signature: in place of the usual ones. fields: see `attest`.
        """
        own = pcrs() if values is None else values
        message = attest(own, extra_data, **fields) if quote is None else quote  # type: ignore[arg-type]
        made = {
            "ak_public": _base64(self.spki()),
            "tpm_quote": {
                "message": _base64(message),
                "pcrs": [value.hex() for value in (own if shown is None else shown)],
                "signature": _base64(self.sign(message) if signature is None else signature),
            },
            **(members or {}),
        }
        return json.dumps(made).encode()

    def certificate(
        self,
        *,
        usage: bytes = b"\x07\x80",
        not_after: int = NOT_AFTER,
        rogue: bool = False,
        common_name: str = "TPM",
        purposes: Sequence[str] = (),
    ) -> bytes:
        """DER of a certificate for its key, by `authority`. usage: bits of its key usage. purposes: of its extended
        key usage, as object identifiers; none: it has no such extension.
        """
        extensions: tuple[tuple[str, bool, bytes], ...] = (
            ("2.5.29.19", True, x509.tlv(der.SEQUENCE)),
            ("2.5.29.15", True, x509.tlv(der.BIT_STRING, usage)),
        )
        if purposes:
            extensions += (("2.5.29.37", False, x509.tlv(der.SEQUENCE, *map(x509.oid, purposes))),)
        made = x509.Draft(common_name, AUTHORITY, self.spki(), NOT_BEFORE, not_after, 3, extensions)
        return made.sign_ecdsa(_authority_key("rogue" if rogue else AUTHORITY))

    def roots(self) -> Roots:
        """Its key, pinned."""
        return Roots({LABEL: hashlib.sha256(self.spki()).digest()})

    def other(self, **changes: object) -> Tpm:
        return replace(self, **changes)  # type: ignore[arg-type]


@cache
def authority(name: str = AUTHORITY) -> bytes:
    """DER of the authority for keys, or of the ROOT above it."""
    spki = x509.ecdsa_spki(_authority_key(name))
    serial = 1 if name == ROOT else 2
    made = x509.Draft(name, ROOT, spki, NOT_BEFORE, NOT_AFTER, serial, x509.AUTHORITY)
    return made.sign_ecdsa(_authority_key(ROOT))


def _authority_key(name: str) -> EllipticCurvePrivateKey:
    return x509.p256_key(b"tpm " + name.encode())


def root() -> Roots:
    """ROOT, pinned."""
    return Roots({ROOT: hashlib.sha256(authority(ROOT)).digest()})


def _ecdsa() -> EllipticCurvePrivateKey:
    return x509.p256_key(b"attestation key of a TPM")


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def event_log(events: Sequence[tuple[int, bytes]], *, locality: int | None = None) -> bytes:
    """A crypto-agile log with SHA-256 digests of ``events``: (register, data). locality: from where the TPM started."""
    spec = b"Spec ID Event03\0" + bytes(4) + b"\0\2\0\2" + struct.pack("<IHHB", 1, SHA256_BANK, 32, 0)
    head = struct.pack("<II", 0, EV_NO_ACTION) + bytes(20) + len(spec).to_bytes(4, "little") + spec
    made = [head]
    if locality is not None:
        made.append(_event(0, b"StartupLocality\0" + bytes((locality,)), EV_NO_ACTION))
    made += [_event(index, data, EV_EVENT_TAG) for index, data in events]
    return b"".join(made)


def _event(index: int, data: bytes, kind: int) -> bytes:
    digest = hashlib.sha256(data).digest() if kind != EV_NO_ACTION else bytes(32)
    return struct.pack("<IIIH", index, kind, 1, SHA256_BANK) + digest + len(data).to_bytes(4, "little") + data


def extended(events: Sequence[tuple[int, bytes]], *, locality: int = 0) -> tuple[bytes, ...]:
    """The registers after ``events``; those that are not extended as in `pcrs`, 0 to 9 zeros."""
    values = list(pcrs({index: bytes(32) for index in range(10)}))
    values[0] = bytes(31) + bytes((locality,))
    for index, data in events:
        values[index] = hashlib.sha256(values[index] + hashlib.sha256(data).digest()).digest()
    return tuple(values)
