"""First cut: the bytes of an NVIDIA GPU's attestation report to fields, strictly; nothing in it is trusted yet.

A report is an SPDM GET_MEASUREMENTS request and the response to it, one behind the other; the signature covers both.
Source: DMTF DSP0274 (SPDM 1.1) sections 10.11.1 and 10.11.2; the opaque fields as NVIDIA's nvtrust names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from teelog.errors import MalformedError, NotEstablished

MAX_REPORT = 1 << 14  # bytes; real ones have up to 4,262
MAX_OPAQUE = 1 << 12
NONCE = 32
DIGEST = 48  # SHA-384
SIGNATURE = 96  # r and s, big-endian

DRIVER, VBIOS, NVDEC0, FWID, PROTECTED_PCIE = 3, 6, 11, 20, 21
"""Types of opaque fields."""

_VERSION, _GET, _MEASUREMENTS = 0x11, 0xE0, 0x60
_SIGNED, _ALL = 0x01, 0xFF
_DMTF = 0x01
_VALUE_TYPE = 0x7F  # without the bit that says: not hashed
_REQUEST = 37  # header of 4, nonce, slot
_WHAT = "NVIDIA report"


@dataclass(frozen=True, slots=True)
class Report:
    """raw: request and response, without what a transport put behind them. signed: what the signature covers.

    nonce: the request's, 32 bytes. measurements: index as golden RIMs count, from 0 -> 48 bytes; SPDM counts from 1.
    opaque: type -> value.
    """

    raw: bytes
    signed: bytes
    signature: bytes
    nonce: bytes
    measurements: Mapping[int, bytes]
    opaque: Mapping[int, bytes]

    @property
    def driver(self) -> str:
        """Version of the driver, such as ``550.90.07``; empty where the report names none."""
        return self.opaque.get(DRIVER, b"").rstrip(b"\0").decode()

    @property
    def vbios(self) -> str:
        """Version of the VBIOS, such as ``96.00.9F.00.01``; empty where the report names none."""
        raw = self.opaque.get(VBIOS, b"")
        return ".".join(f"{byte:02X}" for byte in (*raw[3::-1], raw[4])) if raw else ""

    @property
    def fwid(self) -> bytes | None:
        """Digest of the firmware that holds the signing key; None where an older driver does not name it."""
        return self.opaque.get(FWID)

    @property
    def nvdec_disabled(self) -> bool:
        """The video decoder is off: its measurement then has no meaning."""
        return self.opaque.get(NVDEC0) == b"\x55"


def looks_like(raw: bytes) -> bool:
    """A GET_MEASUREMENTS request of SPDM 1.x with the response of the same version behind it."""
    return len(raw) > _REQUEST + 2 and raw[0] >> 4 == 1 and raw[1] == _GET and raw[_REQUEST + 1] == _MEASUREMENTS


def parse(raw: bytes) -> Report:
    """Raises MalformedError; NotEstablished for a version or a form that this version does not know."""
    if len(raw) > MAX_REPORT:
        raise MalformedError(f"{_WHAT}: too long", expected=f"at most {MAX_REPORT} bytes", actual=len(raw))
    reader = _Reader(raw)
    nonce = _request(reader)
    measurements = _response(reader)
    reader.take(NONCE)  # the GPU's own
    opaque = _opaque(reader.take(reader.number(2)))
    signed = raw[: reader.place]
    signature = reader.take(SIGNATURE)
    end = reader.place
    # Some tools hand over one zero byte more; nothing else is padding.
    if raw[end:] not in (b"", b"\0"):
        raise MalformedError(f"{_WHAT}: bytes are left over", expected=f"{end} bytes", actual=len(raw))
    return Report(raw[:end], signed, signature, nonce, measurements, opaque)


class _Reader:
    __slots__ = ("_raw", "place")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.place = 0

    def take(self, size: int) -> bytes:
        if len(self._raw) - self.place < size:
            raise MalformedError(f"{_WHAT}: ends too early", expected=f"{self.place + size} bytes", actual=self.end)
        self.place += size
        return self._raw[self.place - size : self.place]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    @property
    def end(self) -> int:
        return len(self._raw)


def _request(reader: _Reader) -> bytes:
    version, code, attributes, operation = reader.take(4)
    if code != _GET:
        raise MalformedError(f"{_WHAT}: does not begin with GET_MEASUREMENTS", expected=f"{_GET:#x}", actual=hex(code))
    if version != _VERSION:
        raise NotEstablished(f"{_WHAT}: this version of SPDM is not known here", expected="1.1", actual=hex(version))
    if not attributes & _SIGNED or operation != _ALL:
        raise NotEstablished(f"{_WHAT}: the request is not for all measurements, signed")
    nonce = reader.take(NONCE)
    reader.take(1)  # slot of the certificate chain
    return nonce


def _response(reader: _Reader) -> Mapping[int, bytes]:
    version, code = reader.take(2)
    if (version, code) != (_VERSION, _MEASUREMENTS):
        raise MalformedError(f"{_WHAT}: the request has no answer of its kind behind it")
    reader.take(2)
    blocks = reader.number(1)
    end = reader.number(3) + reader.place
    found: dict[int, bytes] = {}
    for _ in range(blocks):
        index, value = _block(reader)
        if index in found:
            raise MalformedError(f"{_WHAT}: a measurement occurs twice", actual=index)
        found[index] = value
    if reader.place != end:
        raise MalformedError(f"{_WHAT}: the measurements have another length", expected=end, actual=reader.place)
    return found


def _block(reader: _Reader) -> tuple[int, bytes]:
    index, form, size = reader.number(1), reader.number(1), reader.number(2)
    kind, length = reader.number(1), reader.number(2)
    if index == 0:
        raise MalformedError(f"{_WHAT}: a measurement has no index", expected="1 to 255")
    if form != _DMTF or kind & ~_VALUE_TYPE or length != DIGEST:
        raise NotEstablished(f"{_WHAT}: measurement {index} is no SHA-384 digest in the form of DMTF")
    if size != length + 3:
        raise MalformedError(f"{_WHAT}: measurement {index} has two lengths", expected=length + 3, actual=size)
    return index - 1, reader.take(length)


def _opaque(data: bytes) -> Mapping[int, bytes]:
    if len(data) > MAX_OPAQUE:
        raise MalformedError(f"{_WHAT}: too much opaque data", expected=f"at most {MAX_OPAQUE} bytes")
    reader = _Reader(data)
    found: dict[int, bytes] = {}
    while reader.place < len(data):
        kind = reader.number(2)
        if kind in found:
            raise MalformedError(f"{_WHAT}: an opaque field occurs twice", actual=kind)
        found[kind] = reader.take(reader.number(2))
    _check_versions(found)
    return found


def _check_versions(opaque: Mapping[int, bytes]) -> None:
    driver = opaque.get(DRIVER, b"").rstrip(b"\0")
    if not all(byte in b"0123456789." for byte in driver) or len(driver) > 32:
        raise MalformedError(f"{_WHAT}: the driver's version is something else", expected="numbers and dots")
    vbios = opaque.get(VBIOS, bytes(8))
    if len(vbios) != 8 or any(vbios[5:]):
        raise MalformedError(f"{_WHAT}: the VBIOS's version is something else", expected="5 bytes and 3 of zero")
    if len(opaque.get(FWID, bytes(DIGEST))) != DIGEST:
        raise MalformedError(f"{_WHAT}: the firmware's identity is something else", expected=f"{DIGEST} bytes")


def fields(report: Report) -> Mapping[str, object]:
    """Every field by name, for show."""
    named = {DRIVER: "driver", VBIOS: "vbios", FWID: "fwid", NVDEC0: "nvdec0", PROTECTED_PCIE: "protected_pcie"}
    return {
        "nonce": report.nonce,
        "driver": report.driver or "none",
        "vbios": report.vbios or "none",
        "fwid": report.fwid or "none",
        "measurements": {str(index): value for index, value in sorted(report.measurements.items())},
        "opaque": {named.get(kind, str(kind)): value for kind, value in sorted(report.opaque.items())},
    }
