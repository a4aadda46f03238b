"""Intel's provisioning certification service, or a cache of it (PCCS): the collateral of a quote, in one file.

Source: Intel SGX and Intel TDX provisioning certification service, API version 4. A statement's text is kept as it
came: its signature is over these bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import msgspec

from teelog import strict
from teelog.client.http import Answer, HttpClient
from teelog.errors import MalformedError
from teelog.evidence.dcap import collateral as collaterals
from teelog.evidence.dcap import crl, pck
from teelog.evidence.dcap.quote import SGX, Quote

BASE = "https://api.trustedservices.intel.com"
ROOT_LIST = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
MAX_COLLATERAL = collaterals.MAX_COLLATERAL
_MAX_STATEMENT = 1 << 19  # bytes of one signed JSON text
_MAX_LIST = 2 * crl.MAX_CRL + 2  # hex, a line break
_CAS = {"Intel SGX PCK Platform CA": "platform", "Intel SGX PCK Processor CA": "processor"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """kind: ``sgx`` or ``tdx``. fmspc: 12 hex digits. authority: ``platform`` or ``processor``."""

    kind: str
    fmspc: str
    authority: str

    @property
    def name(self) -> str:
        return f"collateral-{self.kind}-{self.fmspc}-{self.authority}.json"


def wanted(quote: Quote) -> Wanted:
    """What the collateral of this quote is. Nothing of it is verified. Raises NotEstablished, MalformedError."""
    leaf, issuer, _ = map(collaterals.certificate, quote.pck_chain())
    authority = _CAS.get(issuer.common_name)
    if authority is None:
        raise MalformedError("the quote's certificate is none of a platform", expected=" or ".join(_CAS))
    kind = "sgx" if quote.header.tee_type == SGX else "tdx"
    return Wanted(kind, pck.read(leaf).fmspc.hex(), authority)


class _TcbInfo(msgspec.Struct, forbid_unknown_fields=True):
    text: msgspec.Raw = msgspec.field(name="tcbInfo")
    signature: str


class _Identity(msgspec.Struct, forbid_unknown_fields=True):
    text: msgspec.Raw = msgspec.field(name="enclaveIdentity")
    signature: str


async def collateral(http: HttpClient, asked: Wanted, url: str | None = None) -> bytes:
    """The file, not verified yet. url: base of a PCCS, None: Intel's own service.

    Raises RefusedError, UnavailableError, MalformedError.
    """
    base = url or BASE
    own, shared = f"{base}/{asked.kind}/certification/v4", f"{base}/sgx/certification/v4"
    info = await http.get(f"{own}/tcb?fmspc={asked.fmspc.upper()}", _MAX_STATEMENT)
    identity = await http.get(f"{own}/qe/identity", _MAX_STATEMENT)
    revoked = await http.get(f"{shared}/pckcrl?ca={asked.authority}&encoding=der", _MAX_LIST)
    roots = await http.get(ROOT_LIST if url is None else f"{shared}/rootcacrl", _MAX_LIST)
    statement, quoting = _statement(info, _TcbInfo, "TCB info"), _statement(identity, _Identity, "enclave identity")
    made = {
        "pck_crl_issuer_chain": _chain(revoked.headers, "sgx-pck-crl-issuer-chain"),
        "root_ca_crl": _list(roots.body).hex(),
        "pck_crl": _list(revoked.body).hex(),
        "tcb_info_issuer_chain": _chain(info.headers, "tcb-info-issuer-chain"),
        "tcb_info": _text(statement.text),
        "tcb_info_signature": statement.signature,
        "qe_identity_issuer_chain": _chain(identity.headers, "sgx-enclave-identity-issuer-chain"),
        "qe_identity": _text(quoting.text),
        "qe_identity_signature": quoting.signature,
    }
    return json.dumps(made, indent=1).encode()


def _statement(answer: Answer, shape: type[_TcbInfo] | type[_Identity], what: str) -> _TcbInfo | _Identity:
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise MalformedError(f"the answer is no {what} with its signature", actual=str(error)[:120]) from error


def _text(raw: msgspec.Raw) -> str:
    try:
        return bytes(raw).decode()
    except UnicodeDecodeError as error:
        raise MalformedError("a signed statement is not text") from error


def _chain(headers: Mapping[str, str], name: str) -> str:
    """PEM, as an answer's header holds it in URL encoding."""
    value = headers.get(name, "")
    try:
        pem = unquote_to_bytes(value).decode("ascii")
    except UnicodeError as error:
        raise MalformedError(f"the header {name} holds no certificates") from error
    if "-----BEGIN CERTIFICATE-----" not in pem:
        raise MalformedError(f"the header {name} holds no certificates", actual=value[:60] or "no such header")
    return pem


def _list(body: bytes) -> bytes:
    """DER: Intel's service gives it as it is, caches give it in hex."""
    if body[:1] == b"\x30":  # a sequence; in hex that is the digit 3
        return body
    try:
        return strict.unhex(body.decode("ascii").strip().lower(), "revocation list")
    except UnicodeDecodeError as error:
        raise MalformedError("the answer is no revocation list") from error
