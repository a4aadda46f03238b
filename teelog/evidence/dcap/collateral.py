"""The endorsement of a quote: Intel's statements about the platform's state, in one JSON file.

The members are those of ``sgx_ql_qve_collateral_t`` as tools of the field write them: certificate chains as PEM,
revocation lists and signatures as hex, Intel's two signed JSON texts as strings. Nothing is trusted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Annotated, TypeVar

import msgspec

from teelog import strict
from teelog.errors import MalformedError, NotEstablished
from teelog.evidence import certificates
from teelog.evidence.certificates import Certificate

MAX_COLLATERAL = 1 << 20
"""Bytes of the file; the list of revoked PCK certificates is the part that grows."""
MAX_COLLATERALS = 8
MAX_LEVELS = 256

Chain = tuple[Certificate, ...]
Kind = TypeVar("Kind")
_Svn = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]


class Collateral(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """The file as it lies there, see above; the properties raise MalformedError, NotEstablished."""

    pck_crl_issuer_chain: str
    root_ca_crl: str
    pck_crl: str
    tcb_info_issuer_chain: str
    tcb_info: str
    tcb_info_signature: str
    qe_identity_issuer_chain: str
    qe_identity: str
    qe_identity_signature: str
    pck_certificate_chain: str | None = None

    @cached_property
    def pck_crl_issuers(self) -> Chain:
        return _chain(self.pck_crl_issuer_chain, "pck_crl_issuer_chain")

    @cached_property
    def tcb_info_issuers(self) -> Chain:
        return _chain(self.tcb_info_issuer_chain, "tcb_info_issuer_chain")

    @cached_property
    def qe_identity_issuers(self) -> Chain:
        return _chain(self.qe_identity_issuer_chain, "qe_identity_issuer_chain")

    @cached_property
    def info(self) -> TcbInfo:
        info = _decode(self.tcb_info.encode(), TcbInfo, "tcb_info")
        if info.version != 3:
            raise NotEstablished(f"TCB info of version {info.version} is not known here")
        return info

    @cached_property
    def identity(self) -> QeIdentity:
        identity = _decode(self.qe_identity.encode(), QeIdentity, "qe_identity")
        if identity.version != 2:
            raise NotEstablished(f"enclave identities of version {identity.version} are not known here")
        return identity


class SvnComponent(msgspec.Struct, frozen=True):
    svn: _Svn


class Tcb(msgspec.Struct, frozen=True):
    """Security versions of one level; tdx: of TDX only."""

    sgx: list[SvnComponent] = msgspec.field(name="sgxtcbcomponents")
    pcesvn: _Svn
    tdx: list[SvnComponent] = msgspec.field(name="tdxtcbcomponents", default_factory=list)


class TcbLevel(msgspec.Struct, frozen=True, rename="camel"):
    tcb: Tcb
    tcb_status: str
    advisory_ids: list[str] = msgspec.field(name="advisoryIDs", default_factory=list)


class IsvTcb(msgspec.Struct, frozen=True):
    isvsvn: _Svn


class IsvLevel(msgspec.Struct, frozen=True, rename="camel"):
    """Of the quoting enclave or the TDX module."""

    tcb: IsvTcb
    tcb_status: str
    advisory_ids: list[str] = msgspec.field(name="advisoryIDs", default_factory=list)


class Module(msgspec.Struct, frozen=True, rename="camel"):
    """What a TDX module must be. id: ``TDX_01`` for version 1; empty for the table's default."""

    mrsigner: str
    attributes: str
    attributes_mask: str
    id: str = ""
    tcb_levels: list[IsvLevel] = []


class _Dated(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    version: int
    issue_date: str
    next_update: str
    tcb_evaluation_data_number: Annotated[int, msgspec.Meta(ge=0, le=1 << 32)]

    def issued(self) -> int:
        return _time(self.issue_date)

    def expires(self) -> int:
        """POSIX seconds, inclusive."""
        return _time(self.next_update)


class TcbInfo(_Dated, frozen=True, rename="camel"):
    """Intel PCS API version 4, TCB info version 3. id: ``TDX`` or ``SGX``."""

    fmspc: str
    pce_id: str
    tcb_levels: list[TcbLevel]
    tdx_module: Module | None = None
    tdx_module_identities: list[Module] = []


class QeIdentity(_Dated, frozen=True, rename="camel"):
    """Enclave identity version 2. id: ``TD_QE`` or ``QE``."""

    miscselect: str
    miscselect_mask: str
    attributes: str
    attributes_mask: str
    mrsigner: str
    isvprodid: _Svn
    tcb_levels: list[IsvLevel]


def read_all(files: Sequence[bytes]) -> tuple[Collateral, ...]:
    """Those among some endorsements. Raises MalformedError."""
    found = tuple(_read(bytes(file)) for file in files if looks_like(file))
    if len(found) > MAX_COLLATERALS:
        raise MalformedError("too many collaterals", expected=f"at most {MAX_COLLATERALS}", actual=len(found))
    return found


def select(found: Sequence[Collateral], fmspc: bytes) -> Collateral:
    """Of several, the one for this kind of platform (6 bytes).

    Raises NotEstablished where there is none, MalformedError.
    """
    if not found:
        raise NotEstablished("no collateral was given: nothing says what the platform's state is worth")
    ours = [each for each in found if each.info.fmspc.lower() == fmspc.hex()] if len(found) > 1 else found
    if len(ours) != 1:
        raise MalformedError(
            "not one collateral for this platform", expected=f"one for FMSPC {fmspc.hex()}", actual=len(ours)
        )
    return ours[0]


def looks_like(file: bytes) -> bool:
    """Whether it is the collateral of a quote, rather than an endorsement of another kind."""
    return file[:64].lstrip()[:1] == b"{" and b'"tcb_info_signature"' in file


@lru_cache(maxsize=4)
def _read(file: bytes) -> Collateral:
    """Kept: one collateral serves all platforms of a kind for weeks."""
    if len(file) > MAX_COLLATERAL:
        raise MalformedError("the collateral is too long", expected=f"at most {MAX_COLLATERAL} bytes")
    return _decode(file, Collateral, "collateral")


def _decode(text: bytes, kind: type[Kind], where: str) -> Kind:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise MalformedError("not the JSON that it should be", where=where, actual=str(error)[:120]) from error


def unhex(text: str, what: str, size: int | None = None) -> bytes:
    """Hex in either case, as Intel's texts mix them. Raises MalformedError."""
    return strict.unhex(text.lower(), what, size)


def _chain(pem: str, where: str) -> Chain:
    try:
        return tuple(map(certificate, certificates.load_pem(pem.encode())))
    except (MalformedError, UnicodeError) as error:
        raise MalformedError("not a chain of certificates", where=where, actual=str(error)[:120]) from error


@lru_cache(maxsize=64)
def certificate(der: bytes) -> Certificate:
    """`certificates.load_cert`, kept: most certificates of a chain are the same every time."""
    return certificates.load_cert(der)


def _time(text: str) -> int:
    """RFC 3339 in UTC with seconds, as POSIX seconds. Raises MalformedError."""
    try:
        parsed = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")
    except ValueError as error:
        raise MalformedError("not a time of a collateral", actual=text[:40]) from error
    if len(text) != 20 or not text.endswith("Z"):
        raise MalformedError("not a time of a collateral", actual=text[:40])
    return int(parsed.timestamp())
