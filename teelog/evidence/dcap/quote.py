"""First cut, what TDX and SGX share: bytes to a header, a body, and what signs them. Nothing is trusted after it.

Source: Intel SGX DCAP quote library, sgx_quote_3.h, sgx_quote_4.h, sgx_quote_5.h; Intel TDX DCAP quoting library API,
appendix A. All numbers are little-endian; points and signatures are pairs of big-endian numbers.

    v3: header 48 | enclave report 384                            | u32 length, signature data
    v4: header 48 | TD report 584                                 | u32 length, signature data
    v5: header 48 | u16 body type, u32 body size, TD report 584 or 648 | u32 length, signature data

The signature covers everything before the u32 length. What a transport adds behind the quote must be zeros, and it is
cut off: `Quote.raw` is the quote and no more, so that one quote has one hash.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from teelog.errors import MalformedError, NotEstablished
from teelog.evidence.certificates import MAX_CERTIFICATE

HEADER, ENCLAVE_REPORT, TD_REPORT_10, TD_REPORT_15 = 48, 384, 584, 648
MAX_QUOTE = 1 << 16
"""Bytes, padding included; clouds pad to 8,000."""
SGX, TDX = 0x00, 0x81
ECDSA_P256 = 2
INTEL_QE = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")

PCK_CHAIN, QE_REPORT = 5, 6
"""Kinds of certification data: the PCK certificate with its chain in PEM; a QE report with such data inside."""

_HEADER = struct.Struct("<HHIHH16s20s")
_BODY_SIZES = {2: TD_REPORT_10, 3: TD_REPORT_15}
_CHAIN_LENGTH = 3
_END = b"-----END CERTIFICATE-----"
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=\n]{1,%d}?)\n-----END CERTIFICATE-----" % 16384)


class Header(msgspec.Struct, frozen=True):
    """qe_svn, pce_svn: of version 3; the PCK certificate has the ones that count. user_data: of the quoting enclave."""

    version: int
    attestation_key_type: int
    tee_type: int
    qe_svn: int
    pce_svn: int
    qe_vendor_id: bytes
    user_data: bytes


class Quote(msgspec.Struct, frozen=True):
    """raw: exactly the quote. signed: what ``signature`` (r and s, 32 bytes each) by ``attestation_key`` covers.

    body: the report of the enclave or TD. attestation_key: x and y, 32 bytes each. qe_report: that of the quoting
    enclave, signed by the PCK with qe_signature. qe_auth: bytes that it is bound to as well. certification_kind: what
    certification holds; PCK_CHAIN: see `pck_chain`.
    """

    raw: bytes
    header: Header
    signed: bytes
    body: bytes
    signature: bytes
    attestation_key: bytes
    qe_report: bytes
    qe_signature: bytes
    qe_auth: bytes
    certification_kind: int
    certification: bytes

    def pck_chain(self) -> tuple[bytes, ...]:
        """DER of the PCK certificate, its issuer, and the root. Raises MalformedError, NotEstablished.

        The text is not signed, so it has one form: else one quote would have many encodings.
        """
        if self.certification_kind != PCK_CHAIN:
            raise NotEstablished(
                f"the quote names its certificate by an identifier of kind {self.certification_kind}, not in full"
            )
        blocks = _PEM.findall(self.certification)
        ders = []
        for block in blocks[: _CHAIN_LENGTH + 1]:
            try:
                ders.append(base64.b64decode(block.replace(b"\n", b""), validate=True))
            except ValueError as error:
                raise MalformedError("a certificate of the quote is not base64") from error
        if len(ders) != _CHAIN_LENGTH or max(map(len, ders)) > MAX_CERTIFICATE:
            actual = f"{len(blocks)} certificates"
            raise MalformedError("not the chain of a PCK certificate", expected=_CHAIN_LENGTH, actual=actual)
        text = b"".join(map(_pem, ders))
        if self.certification not in (text, text + b"\0", text[:-1], text[:-1] + b"\0"):
            raise MalformedError("the certificates of the quote are not in their one form of PEM")
        return tuple(ders)


def _pem(der: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, _END, b""])


def fields(quote: Quote) -> Mapping[str, object]:
    """Of the header and what signs, by name, for show."""
    return {
        "quote_version": quote.header.version,
        "quote_size": len(quote.raw),
        "qe_vendor_id": quote.header.qe_vendor_id,
        "user_data": quote.header.user_data,
        "certification_kind": quote.certification_kind,
    }


def looks_like(raw: bytes, tee_type: int) -> bool:
    """Whether ``raw`` begins as a quote by Intel's quoting enclave for this kind of TEE, of any version."""
    return len(raw) >= HEADER and raw[12:28] == INTEL_QE and int.from_bytes(raw[4:8], "little") == tee_type


def parse(raw: bytes, tee_type: int) -> Quote:
    """One quote, zeros behind it. tee_type: SGX or TDX, of which the quote must be.

    Raises MalformedError; NotEstablished for a version, body or kind of key that is not known here.
    """
    if len(raw) < HEADER or len(raw) > MAX_QUOTE:
        raise MalformedError("not a quote", expected=f"{HEADER} to {MAX_QUOTE} bytes", actual=f"{len(raw)} bytes")
    header = Header(*_HEADER.unpack_from(raw))
    if header.tee_type != tee_type or header.qe_vendor_id != INTEL_QE:
        raise MalformedError("not a quote of this TEE", expected=f"type {tee_type:#x} by Intel's quoting enclave")
    if header.attestation_key_type != ECDSA_P256:
        raise NotEstablished(f"quotes signed by a key of type {header.attestation_key_type} are not known here")
    start, size = _body(raw, header)
    reader = _Reader(raw, start)
    body = reader.take(size)
    signed = raw[: reader.place]
    authentication = _Reader(reader.take(reader.number(4)), 0)
    if any(memoryview(raw)[reader.place :]):
        raise MalformedError("bytes behind the quote that are not zeros", actual=f"{len(raw) - reader.place} bytes")
    quote = _authentication(authentication, header, raw[: reader.place], signed, body)
    authentication.finish()
    return quote


def _body(raw: bytes, header: Header) -> tuple[int, int]:
    """(where the report starts, its size)."""
    if (header.version, header.tee_type) == (3, SGX):
        return HEADER, ENCLAVE_REPORT
    if (header.version, header.tee_type) == (4, TDX):
        return HEADER, TD_REPORT_10
    if (header.version, header.tee_type) != (5, TDX):
        name = "SGX" if header.tee_type == SGX else "TDX"
        raise NotEstablished(f"{name} quotes of version {header.version} are not known here")
    reader = _Reader(raw, HEADER)
    kind, size = reader.number(2), reader.number(4)
    if kind not in _BODY_SIZES:
        raise NotEstablished(f"quotes with a body of type {kind} are not known here")
    if size != _BODY_SIZES[kind]:
        raise MalformedError("the body has another size than its type", expected=_BODY_SIZES[kind], actual=size)
    return reader.place, size


def _authentication(reader: _Reader, header: Header, raw: bytes, signed: bytes, body: bytes) -> Quote:
    signature, key = reader.take(64), reader.take(64)
    if header.version == 3:
        return _certified(reader, header, raw, signed, body, signature, key)
    kind, size = reader.number(2), reader.number(4)
    if kind != QE_REPORT:
        raise NotEstablished(f"quotes with certification data of kind {kind} are not known here")
    inner = _Reader(reader.take(size), 0)
    quote = _certified(inner, header, raw, signed, body, signature, key)
    inner.finish()
    return quote


def _certified(
    reader: _Reader, header: Header, raw: bytes, signed: bytes, body: bytes, signature: bytes, key: bytes
) -> Quote:
    report, report_signature = reader.take(ENCLAVE_REPORT), reader.take(64)
    auth = reader.take(reader.number(2))
    kind = reader.number(2)
    certification = reader.take(reader.number(4))
    return Quote(raw, header, signed, body, signature, key, report, report_signature, auth, kind, certification)


@dataclass(slots=True)
class _Reader:
    data: bytes
    place: int

    def take(self, size: int) -> bytes:
        part = self.data[self.place : self.place + size]
        if len(part) != size:
            raise MalformedError("the quote ends too early", expected=f"{size} bytes more", actual=f"{len(part)} bytes")
        self.place += size
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def finish(self) -> None:
        if self.place != len(self.data):
            raise MalformedError("bytes left over inside the quote", actual=f"{len(self.data) - self.place} bytes")
