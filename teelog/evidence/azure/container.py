"""The one file in which the parts of Azure's evidence come: JSON as the attestation agent of Confidential Containers
writes it, in each of its forms.

    SNP   {"version": 1 or 2, "hcl_report": base64url, "vcek": base64url of DER, "tpm_quote": {...}}
    TDX   {"version": 1 or 2, "hcl_report": base64url, "td_quote": base64url, "tpm_quote": {...}}
          tpm_quote: {"message": hex, "signature": hex, "pcrs": [24 x hex]}

Without "version" the same members hold lists of numbers; SNP then says "report", "quote", and "vcek" in PEM. "vcek" may
be missing: an endorsement takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes

from teelog.errors import MalformedError, NotEstablished
from teelog.evidence import json_object
from teelog.evidence.azure import hcl
from teelog.evidence.azure.hcl import Report
from teelog.evidence.json_object import Object
from teelog.evidence.tpm import container as tpm
from teelog.evidence.tpm import quote as quotes
from teelog.evidence.tpm.container import Quoted
from teelog.evidence.tpm.quote import Signature

MAX_FILE = 1 << 17
"""Bytes; lists of numbers take about 40,000."""
_VERSIONS = (1, 2)
_MAX_VCEK = 16_384
_WHAT = "Azure evidence"


@dataclass(frozen=True, slots=True)
class Container:
    """vcek: DER or PEM, of SNP, if it came along. td_quote: of TDX, padding included."""

    report: Report
    quoted: Quoted
    vcek: bytes | None
    td_quote: bytes | None


def looks_like(raw: bytes) -> bool:
    if raw.lstrip()[:1] != b"{" or len(raw) > MAX_FILE:
        return False
    return b'"hcl_report"' in raw or (b'"report"' in raw and b'"quote"' in raw and b'"pcrs"' in raw)


def parse(raw: bytes) -> Container:
    """Raises MalformedError; NotEstablished for a version, member or kind that is not known here."""
    whole = json_object.load(raw, _WHAT, MAX_FILE)
    if "version" in whole:
        version = whole.number("version")
        if version not in _VERSIONS:
            raise NotEstablished(f"{_WHAT}: version {version} is not known here", expected="1 or 2")
        return _read(whole, "base64url", "hex", "hcl_report", "tpm_quote")
    first = "report" in whole
    return _read(whole, "numbers", "numbers", "report" if first else "hcl_report", "quote" if first else "tpm_quote")


def _read(whole: Object, long: str, short: str, report_name: str, quote_name: str) -> Container:
    report = hcl.parse(whole.octets(report_name, long))
    part = whole.inside(quote_name)
    message, signature = part.octets("message", short), part.octets("signature", short)
    values = tpm.pcrs(part, short)
    part.finish()
    if len(signature) > quotes.MAX_SIGNATURE:
        raise MalformedError(f"{_WHAT}: the signature is too long", actual=len(signature))
    # The agent takes the signature out of its TPMT_SIGNATURE: the vTPM's key signs RSASSA with SHA-256 only.
    quoted = Quoted(quotes.parse(message), Signature(signature, hashes.SHA256), values)
    vcek = td_quote = None
    if report.td is not None:
        td_quote = whole.octets("td_quote", long)
    elif "vcek" in whole:
        vcek = whole.octets("vcek", long) if long == "base64url" else _pem(whole)
    whole.finish()
    return Container(report, quoted, vcek, td_quote)


def _pem(whole: Object) -> bytes:
    text = whole.take("vcek")
    if not isinstance(text, str) or not text.isascii() or len(text) > _MAX_VCEK:
        raise MalformedError(f"{_WHAT}: vcek is something else", expected="PEM")
    return text.encode()
