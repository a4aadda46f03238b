"""What the paravisor (HCL) of an Azure confidential VM hands out: the hardware's report, and what it commits to.

    0     header: "HCLA", u32 version, u32 size without padding, u32 request, u32 status, 12 zeros
    32    report: SEV-SNP attestation report (1,184), or TDREPORT (1,024) and zeros up to 1,216
    1216  u32 size, u32 version, u32 kind of report, u32 kind of hash, u32 length of the runtime data
    1236  runtime data: JSON; zeros behind it

Source: Microsoft, "Guest attestation for confidential VMs", section on the format of the report. Numbers are
little-endian. REPORT_DATA of the hardware's report begins with the runtime data's SHA-256 and ends with zeros.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import rsa

from teelog.errors import MalformedError, NotEstablished
from teelog.evidence import json_object
from teelog.evidence.json_object import Object
from teelog.evidence.tpm import quote as quotes

MAX_REPORT = 8192
"""Bytes, padding included."""
SNP, TDX = 2, 4
AK_NAME = "HCLAkPub"

_HEADER, _RUNTIME = struct.Struct("<4sIIII12s"), struct.Struct("<IIIII")
_HARDWARE, _SNP_SIZE, _TDREPORT = _HEADER.size, 1184, 1024
_BEHIND = _HARDWARE + _SNP_SIZE
_JSON = _BEHIND + _RUNTIME.size
_VERSIONS = (1, 2)
_ATTESTATION, _SHA256 = 2, 1
_MAX_KEYS = 8
_WHAT = "HCL report"


@dataclass(frozen=True, slots=True)
class TdReport:
    """report_data: 64 bytes. tee: attributes, XFAM, MRTD, MRCONFIGID, MROWNER, MROWNERCONFIG, RTMRs, as in a quote."""

    report_data: bytes
    tee: bytes


@dataclass(frozen=True, slots=True)
class VmConfiguration:
    """What the paravisor says about the machine; None where it says nothing of the kind."""

    vm_id: str | None
    secure_boot: bool | None
    console: bool | None
    tpm: bool | None
    tpm_persisted: bool | None


@dataclass(frozen=True, slots=True)
class Report:
    """snp: the attestation report, or td: what a TDREPORT says; one of them is None. ak: the vTPM's attestation key.

    runtime: the JSON, to the byte. user_data: what the guest had the paravisor include, 64 bytes, or None.
    """

    version: int
    snp: bytes | None
    td: TdReport | None
    runtime: bytes
    ak: rsa.RSAPublicKey
    vm: VmConfiguration
    user_data: bytes | None

    @property
    def report_data(self) -> bytes:
        """What the hardware's report must hold."""
        return hashlib.sha256(self.runtime).digest() + bytes(32)


def parse(raw: bytes) -> Report:
    """Raises MalformedError; NotEstablished for what this version does not know."""
    if not _JSON < len(raw) <= MAX_REPORT:
        raise _malformed("another length", expected=f"{_JSON + 1} to {MAX_REPORT} bytes", actual=len(raw))
    magic, version, size, request, status, reserved = _HEADER.unpack_from(raw)
    if magic != b"HCLA":
        raise _malformed("not one", expected="HCLA", actual=magic.hex())
    if version not in _VERSIONS or request != _ATTESTATION:
        raise NotEstablished(f"{_WHAT}: version {version} with request {request} is not known here")
    if status or any(reserved):
        raise _malformed("made with an error, or reserved bytes are set", expected="zeros")
    inner, layout, kind, algorithm, length = _RUNTIME.unpack_from(raw, _BEHIND)
    if layout != 1 or algorithm != _SHA256 or kind not in (SNP, TDX):
        raise NotEstablished(f"{_WHAT}: runtime data of version {layout}, report {kind}, hash {algorithm} is not known")
    if not 0 < length <= len(raw) - _JSON or inner != _RUNTIME.size + length or size != _BEHIND + inner:
        raise _malformed("sizes disagree", expected=f"{_BEHIND + inner} and {inner - _RUNTIME.size}", actual=length)
    if any(raw[_JSON + length :]):
        raise _malformed("something follows the runtime data", expected="zeros")
    report, runtime = raw[_HARDWARE:_BEHIND], raw[_JSON : _JSON + length]
    ak, vm, user_data = _runtime(runtime)
    if kind == SNP:
        return Report(version, report, None, runtime, ak, vm, user_data)
    return Report(version, None, _td_report(report), runtime, ak, vm, user_data)


def _td_report(raw: bytes) -> TdReport:
    """Intel TDX module specification, TDREPORT_STRUCT: MAC structure 256, TEE_TCB_INFO 239, 17 reserved, TDINFO 512.

    Only the machine itself can check its MAC; what is used here is what the quote says as well.
    """
    if raw[:4] != b"\x81\0\0\0" or any(raw[4:16]) or any(raw[_TDREPORT:]):
        raise _malformed("the hardware's report is no TDREPORT")
    return TdReport(raw[128:192], raw[512:912])


def _runtime(raw: bytes) -> tuple[rsa.RSAPublicKey, VmConfiguration, bytes | None]:
    """Members that are not known are left alone: they are hashed, and nothing depends on them."""
    whole = json_object.load(raw, "runtime data", MAX_REPORT)
    keys = [Object(each, "runtime data, keys") for each in whole.items("keys", 1, _MAX_KEYS)]
    signing = [each for each in keys if each.text("kid", 64) == AK_NAME]
    if len(signing) != 1:
        raise _malformed(f"runtime data: not one key {AK_NAME}", expected="one", actual=len(signing))
    vm = whole.inside("vm-configuration") if "vm-configuration" in whole else Object({}, "vm-configuration")
    user_data = whole.text("user-data", 128) if "user-data" in whole else None
    return _key(signing[0]), _configuration(vm), None if user_data is None else _user_data(user_data)


def _key(key: Object) -> rsa.RSAPublicKey:
    """RFC 7517, 7518 section 6.3.1."""
    if key.text("kty", 16) != "RSA":
        raise NotEstablished("runtime data: the attestation key is no RSA key")
    e, n = (int.from_bytes(_base64url(key.text(name, 1024))) for name in ("e", "n"))
    try:
        return quotes.check_rsa(rsa.RSAPublicNumbers(e, n).public_key())
    except ValueError as error:
        raise _malformed("runtime data: the attestation key is no key") from error


def _base64url(text: str) -> bytes:
    """Without padding, one spelling."""
    try:
        value = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise _malformed("runtime data: not base64url", actual=text[:40]) from error
    if base64.urlsafe_b64encode(value).rstrip(b"=") != text.encode():
        raise _malformed("runtime data: not canonical base64url", actual=text[:40])
    return value


def _user_data(text: str) -> bytes:
    try:
        return base64.b16decode(text, casefold=True)
    except ValueError as error:
        raise _malformed("runtime data: the user data is not hex", actual=text[:40]) from error


def _configuration(vm: Object) -> VmConfiguration:
    flags = [
        vm.flag(name) if name in vm else None
        for name in ("secure-boot", "console-enabled", "tpm-enabled", "tpm-persisted")
    ]
    return VmConfiguration(vm.text("vmUniqueId", 64) if "vmUniqueId" in vm else None, *flags)


def _malformed(message: str, expected: object = None, actual: object = None) -> MalformedError:
    return MalformedError(f"{_WHAT}: {message}", expected=expected, actual=actual)


def fields(report: Report) -> Mapping[str, object]:
    """Every field by name, for show."""
    own = report.vm
    found = {
        "vm_id": own.vm_id, "secure_boot": own.secure_boot, "console": own.console, "tpm": own.tpm,
        "tpm_persisted": own.tpm_persisted, "user_data": report.user_data,
    }  # fmt: skip
    return {
        "hcl_version": report.version,
        "runtime_data_sha256": hashlib.sha256(report.runtime).digest(),
        "ak_sha256": hashlib.sha256(quotes.spki(report.ak)).digest(),
        **{name: value for name, value in found.items() if value is not None},
    }
