"""The file in which a TPM's quote comes: JSON as the attestation agent of Confidential Containers writes it.

{"ak_public": base64 of the attestation key's SPKI DER,
 "tpm_quote": {"message": base64 of TPMS_ATTEST, "signature": base64 of TPMT_SIGNATURE, "pcrs": [24 x hex]}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from teelog.errors import MalformedError
from teelog.evidence import json_object
from teelog.evidence.json_object import Object
from teelog.evidence.tpm import quote as quotes
from teelog.evidence.tpm.quote import PCRS, Key, Quote, Signature

MAX_FILE = 1 << 16
"""Bytes."""
_WHAT = "TPM evidence"
_PCR = 32


@dataclass(frozen=True, slots=True)
class Quoted:
    """values: of all registers, as the file says; only those that the quote selects mean anything."""

    quote: Quote
    signature: Signature
    values: tuple[bytes, ...]

    @property
    def registers(self) -> Mapping[str, bytes]:
        """Those that the quote selects, as ``pcrN``."""
        return {f"pcr{index}": self.values[index] for index in self.quote.selected}


@dataclass(frozen=True, slots=True)
class Container:
    key: Key
    quoted: Quoted


def looks_like(raw: bytes) -> bool:
    return raw.lstrip()[:1] == b"{" and b'"ak_public"' in raw and b'"tpm_quote"' in raw


def parse(raw: bytes) -> Container:
    """Raises MalformedError; NotEstablished for a member or kind that is not known here."""
    whole = json_object.load(raw, _WHAT, MAX_FILE)
    key = quotes.load_key(whole.octets("ak_public", "base64"))
    part = whole.inside("tpm_quote")
    whole.finish()
    values = pcrs(part, "hex")
    message, signature = part.octets("message", "base64"), part.octets("signature", "base64")
    part.finish()
    return Container(key, Quoted(quotes.parse(message), quotes.parse_signature(signature), values))


def pcrs(part: Object, form: str) -> tuple[bytes, ...]:
    """The member ``pcrs``: PCRS values of the SHA-256 bank. Raises MalformedError."""
    values = tuple(json_object.octets(each, form, "register") for each in part.items("pcrs", PCRS, PCRS))
    if any(len(value) != _PCR for value in values):
        raise MalformedError("a register has another size", expected=f"{_PCR} bytes")
    return values
