"""Second cut: that a quote comes from a genuine platform, and what Intel says of that platform's state.

Judge is dcap-qvl, a library of the field. It has no way to say "genuine, and configured in a way that I refuse": for
such quotes it raises, after everything else has passed, one of LATE_REFUSALS. Whether such a configuration is good
enough is another question, asked of the fields; so for these quotes chain.py walks the same chain once more and says
the platform's state.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from teelog.errors import MalformedError, NotEstablished, UntrustedKey, VerificationError
from teelog.evidence import certificates
from teelog.evidence.certificates import Certificate
from teelog.evidence.dcap import chain, crl, pck
from teelog.evidence.dcap import collateral as collaterals
from teelog.evidence.dcap.collateral import Collateral, TcbInfo, unhex
from teelog.evidence.dcap.pck import Pck
from teelog.evidence.dcap.quote import SGX, Quote
from teelog.evidence.platform import Roots

LATE_REFUSALS = frozenset(
    {
        "Debug mode is enabled",
        "SEPT_VE_DISABLE is not enabled",
        "Invalid MR service TD",
        "TD profiling is enabled",
        "SERVTD_EXT is enabled",
        "TD migration is enabled",
        "Reserved bits in TD attributes are set",
    }
)
"""Texts of dcap-qvl 0.7 about the configuration of a quote that is genuine; tests notice when they change."""

_EXPIRED = re.compile(r"CrlExpired \{ time: UnixTime\((\d{1,11})\), next_update: UnixTime\((\d{1,11})\) \}")
_PREFIX = "Verification failed: "
_MAX_TEXT = 160


@dataclass(frozen=True, slots=True)
class Platform:
    """A genuine platform and its state.

    status: Intel's word, such as ``UpToDate``; never Revoked. advisories: ids, such as ``INTEL-SA-00615``.
    evaluation: TCB evaluation data number of the collateral, the lower of its two. valid_until: POSIX seconds, the
    earliest end of the collateral's parts and of the platform's certificate. refusal: why dcap-qvl would not judge,
    None if it did.
    """

    status: str
    advisories: tuple[str, ...]
    evaluation: int
    valid_until: int
    pck: Pck
    root: Certificate
    refusal: str | None = None


def verify(quote: Quote, files: Sequence[bytes], now: int, roots: Roots) -> Platform:
    """files: endorsements, one of them the collateral. now: POSIX seconds.

    Raises NotEstablished (no collateral, dcap-qvl is not installed), UntrustedKey, VerificationError, MalformedError.
    """
    given = collaterals.read_all(files)
    # First: look-alikes are wrong whatever else is missing.
    for each in given:
        for issuers in (each.pck_crl_issuers, each.tcb_info_issuers, each.qe_identity_issuers):
            _check_pinned(issuers[-1], roots)
    leaf, issuer, root = _quote_chain(quote, roots)
    platform = pck.read(leaf)
    collateral = collaterals.select(given, platform.fmspc)
    info = collateral.info
    for certificate in (root, issuer, leaf):
        certificates.check_validity(certificate, now)
    _check_same_platform(quote, platform, info)
    until = min(info.expires(), collateral.identity.expires(), leaf.not_after, *_lists_expire(collateral))
    evaluation = min(info.tcb_evaluation_data_number, collateral.identity.tcb_evaluation_data_number)
    found = Platform("", (), evaluation, until, platform, root)
    try:
        status, advisories = _ask(quote, collateral, root, now)
        # dcap-qvl takes a signature of any key below the root for Intel's word, that of a platform included.
        chain.check_collateral(platform, issuer, root, collateral, now)
    except VerificationError as error:
        if error.message not in LATE_REFUSALS:
            raise
        # Genuine, and refused for its configuration: say the platform's state; policy judges the configuration.
        status, advisories = chain.verify(quote, platform, issuer, root, collateral, now)
        found = replace(found, refusal=error.message)
    return replace(found, status=status, advisories=advisories)


def check_collateral(quote: Quote, file: bytes, now: int, roots: Roots) -> None:
    """That ``file`` is Intel's collateral for the quote's kind of platform, signed to the pinned root and in force.

    The quote is not judged, nor what the collateral says of its platform. now: POSIX seconds. Raises as `verify`.
    """
    found = collaterals.read_all([file])
    if not found:
        raise MalformedError("this is no collateral of a quote")
    leaf, issuer, root = _quote_chain(quote, roots)
    platform = pck.read(leaf)
    for issuers in (found[0].pck_crl_issuers, found[0].tcb_info_issuers, found[0].qe_identity_issuers):
        _check_pinned(issuers[-1], roots)
    _check_same_platform(quote, platform, found[0].info)
    expected = "QE" if quote.header.tee_type == SGX else "TD_QE"
    if found[0].identity.id != expected:
        actual = found[0].identity.id[:20]
        raise VerificationError("the collateral is for another quoting enclave", expected=expected, actual=actual)
    chain.check_collateral(platform, issuer, root, found[0], now)


def _quote_chain(quote: Quote, roots: Roots) -> tuple[Certificate, Certificate, Certificate]:
    """PCK certificate, issuer and root as the quote brings them; the root is pinned."""
    leaf, issuer, root = map(collaterals.certificate, quote.pck_chain())
    _check_pinned(root, roots)
    if leaf.common_name != pck.NAME or issuer.common_name not in pck.ISSUERS:
        raise VerificationError("the quote's certificate is none of a platform", expected=pck.NAME)
    return leaf, issuer, root


def _check_pinned(root: Certificate, roots: Roots) -> None:
    if root.fingerprint not in roots.pins.values():
        raise UntrustedKey(
            "the chain does not end in the pinned root of Intel",
            expected=" or ".join(pin.hex() for pin in roots.pins.values()),
            actual=root.fingerprint.hex(),
        )


def _check_same_platform(quote: Quote, platform: Pck, info: TcbInfo) -> None:
    kind = "SGX" if quote.header.tee_type == SGX else "TDX"
    if info.id != kind:
        raise VerificationError("the collateral is for another kind of TEE", expected=kind, actual=info.id[:20])
    fmspc, pceid = unhex(info.fmspc, "fmspc", 6), unhex(info.pce_id, "pceId", 2)
    if fmspc != platform.fmspc:
        raise VerificationError(
            "the collateral is for another kind of platform", expected=platform.fmspc.hex(), actual=fmspc.hex()
        )
    if pceid != platform.pceid:
        raise VerificationError("the collateral is for another PCE", expected=platform.pceid.hex(), actual=pceid.hex())


def _lists_expire(collateral: Collateral) -> Iterator[int]:
    for name in ("root_ca_crl", "pck_crl"):
        yield crl.expires(crl.read(unhex(getattr(collateral, name), name)))


@cache
def _library() -> Any:
    """dcap-qvl, loaded when the first quote is verified: it costs the others nothing."""
    try:
        import dcap_qvl  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError as error:
        raise NotEstablished(
            "dcap-qvl, which judges quotes of Intel platforms, is not installed", hint="pip install 'teelog[tdx]'"
        ) from error
    return dcap_qvl


def _ask(quote: Quote, collateral: Collateral, root: Certificate, now: int) -> tuple[str, tuple[str, ...]]:
    """(status, advisory ids) by dcap-qvl. Raises VerificationError with its text as message."""
    library = _library()
    try:
        given = _given(library, collateral)
        report = library.verify_with_root_ca(quote.raw, given, root.der, now)
    except ValueError as error:
        raise _refusal(str(error)) from error
    except BaseException as error:  # a panic of the library is none of Exception
        if type(error).__name__ != "PanicException":
            raise
        raise VerificationError("dcap-qvl could not read the quote or its collateral") from error
    return str(report.status), tuple(map(str, report.advisory_ids))


def _given(library: Any, collateral: Collateral) -> Any:
    """Built from what was read here, so that there is one reading of the file."""
    return library.QuoteCollateralV3(
        collateral.pck_crl_issuer_chain,
        unhex(collateral.root_ca_crl, "root_ca_crl"),
        unhex(collateral.pck_crl, "pck_crl"),
        collateral.tcb_info_issuer_chain,
        collateral.tcb_info,
        unhex(collateral.tcb_info_signature, "tcb_info_signature", 64),
        collateral.qe_identity_issuer_chain,
        collateral.qe_identity,
        unhex(collateral.qe_identity_signature, "qe_identity_signature", 64),
    )


def _refusal(text: str) -> VerificationError:
    """Its first line as the message; what caused it behind, on one line and bounded."""
    first, _, rest = text.removeprefix(_PREFIX).partition("\n")
    expired = _EXPIRED.search(text)
    if expired is not None:
        now, until = (certificates.utc(int(each)) for each in expired.groups())
        return VerificationError(
            "a revocation list of the collateral has expired", expected=f"a time up to {until}", actual=now
        )
    cause = " ".join(rest.removeprefix("\nCaused by:").split())
    return VerificationError(first[:_MAX_TEXT] or "the quote does not verify", actual=cause[:_MAX_TEXT] or None)
