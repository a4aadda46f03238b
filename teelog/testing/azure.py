"""Fake Azure confidential VMs: the machine, its paravisor's report, and the vTPM's quote; the same bytes every time."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from teelog.evidence.platform import Roots
from teelog.testing import intel, sev_snp, tpm

SNP, TDX = 2, 4
VM_ID = "26F8BC30-774E-4290-8E7A-535F3B672AEE"
PARAVISOR = hashlib.sha384(b"paravisor").digest()
VM = {"console-enabled": False, "secure-boot": True, "tpm-enabled": True, "tpm-persisted": True, "vmUniqueId": VM_ID}
_BEHIND = 1216


def runtime_data(key: str = "intermediate", vm: Mapping[str, object] | None = None, **changes: object) -> bytes:
    """JSON. key: name of the known key that is the vTPM's. vm: members in place of VM's. changes: whole members."""
    public = tpm.rsa_public(key).public_numbers()
    jwk = {"kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB", "n": _url(public.n.to_bytes(512), False)}
    whole = {"keys": [jwk], "vm-configuration": {**VM, **(vm or {})}, "user-data": "00" * 64, **changes}
    return json.dumps(whole, separators=(",", ":")).encode()


def _url(value: bytes, padded: bool = True) -> str:
    text = base64.urlsafe_b64encode(value).decode()
    return text if padded else text.rstrip("=")


def commits(runtime: bytes) -> bytes:
    """The report data that commits to the runtime data."""
    return hashlib.sha256(runtime).digest() + bytes(32)


def hcl_report(kind: int, hardware: bytes, runtime: bytes, patch: Mapping[int, bytes] | None = None) -> bytes:
    """2,600 bytes. hardware: report of the machine. patch: offset -> bytes, written last."""
    inner = struct.pack("<IIIII", 20 + len(runtime), 1, kind, 1, len(runtime)) + runtime
    version = 1 if kind == SNP else 2
    head = struct.pack("<4sIIII12s", b"HCLA", version, _BEHIND + len(inner), 2, 0, bytes(12))
    whole = bytearray((head + hardware.ljust(1184, b"\0") + inner).ljust(2600, b"\0"))
    for offset, value in (patch or {}).items():
        whole[offset : offset + len(value)] = value
    return bytes(whole)


def td_report(quote: bytes) -> bytes:
    """The TDREPORT from which a quote was made, its MAC a fake."""
    body = quote[48 : 48 + 584]
    mac = b"\x81".ljust(128, b"\0") + body[520:584] + bytes(32) + hashlib.sha256(body).digest()
    return (mac.ljust(512, b"\0") + body[120:520]).ljust(1024, b"\0")


@dataclass(frozen=True)
class Vm:
    """One fake VM. tee: ``sev-snp`` or ``tdx``. rogue: its machine's chain ends in a root that `roots` does not pin."""

    tee: str = "sev-snp"
    rogue: bool = False

    def evidence(
        self,
        extra_data: bytes = b"",
        *,
        values: Sequence[bytes] | None = None,
        shown: Sequence[bytes] | None = None,
        runtime: bytes | None = None,
        committed: bytes | None = None,
        signer: str = "intermediate",
        patch: Mapping[int, bytes] | None = None,
        members: Mapping[str, object] | None = None,
        numbers: bool = False,
        machine: Mapping[str, object] | None = None,
        quote: Mapping[str, object] | None = None,
    ) -> bytes:
        """The file. values: the vTPM's registers; shown: those that the file says, in place of them.

        runtime: runtime data; committed: report data in place of what commits to it. signer: of the vTPM's quote.
        patch: of the HCL report. members: in place of the file's, None to drop one. numbers: the form without a
        version. machine: fields of the machine's report. quote: fields of the vTPM's quote, see `tpm.attest`.
        """
        own = tpm.pcrs() if values is None else values
        data = runtime_data() if runtime is None else runtime
        answer = commits(data) if committed is None else committed
        message = tpm.attest(own, extra_data, **(quote or {}))  # type: ignore[arg-type]
        kind, hardware, rest = self._hardware(answer, machine or {}, numbers)
        report = hcl_report(kind, hardware, data, patch)
        shown = own if shown is None else shown
        signed = tpm.rsa_sign(message, signer)
        if numbers:
            names = ("report", "quote") if self.tee == "sev-snp" else ("hcl_report", "tpm_quote")
            part = {"message": list(message), "pcrs": [list(each) for each in shown], "signature": list(signed)}
            whole: dict[str, object] = {names[0]: list(report), names[1]: part, **rest}
        else:
            hexed = {"message": message.hex(), "pcrs": [each.hex() for each in shown], "signature": signed.hex()}
            whole = {"version": 1, "hcl_report": _url(report), "tpm_quote": hexed, **rest}
        whole |= members or {}
        return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()

    def _hardware(
        self, answer: bytes, fields: Mapping[str, object], numbers: bool
    ) -> tuple[int, bytes, dict[str, object]]:
        """Kind, the report of the machine, and what lies beside it in the file."""
        if self.tee == "sev-snp":
            made = self.machine()
            usual = {"measurement": PARAVISOR, **fields}
            report = made.report(report_data=answer, **usual)  # type: ignore[arg-type]
            vcek = made.endorsement()
            return SNP, report, {"vcek": sev_snp.pem(vcek).decode() if numbers else _url(vcek)}
        usual = {"mrtd": PARAVISOR, "td_attributes": 0, "rtmr0": b"", "rtmr1": b"", "rtmr2": b"", **fields}
        quote = intel.Platform(rogue=self.rogue).tdx(report_data=answer, **usual)  # type: ignore[arg-type]
        padded = quote.ljust(8000, b"\0")
        return TDX, td_report(quote), {"td_quote": list(padded) if numbers else _url(padded)}

    def machine(self) -> sev_snp.Machine:
        return sev_snp.Machine(rogue=self.rogue)

    def endorsements(self) -> tuple[bytes, ...]:
        """What a verifier needs beside the evidence and `roots`."""
        if self.tee == "sev-snp":
            return ()
        return (intel.Platform().collateral("TDX"),)

    def roots(self) -> Roots:
        return sev_snp.roots() if self.tee == "sev-snp" else intel.roots()

    def other(self, **changes: object) -> Vm:
        return replace(self, **changes)  # type: ignore[arg-type]
