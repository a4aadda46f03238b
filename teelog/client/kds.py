"""AMD's key distribution service: which file of it belongs to a report, and that what came is that file.

Source: AMD publication 57230 (VCEK certificate and KDS interface), its URLs. A VLEK's certificate has none: AMD gives
it to the cloud, and that to its guests.
"""

from __future__ import annotations

from collections.abc import Sequence

from teelog.errors import MalformedError, NotEstablished, UntrustedKey, VerificationError
from teelog.evidence import certificates
from teelog.evidence.certificates import Certificate
from teelog.evidence.dcap import crl
from teelog.evidence.platform import Roots
from teelog.evidence.sev_snp import chain, endorsement, report
from teelog.evidence.sev_snp.report import Report, Tcb

BASE = "https://kdsintf.amd.com"
MAX_FILE = endorsement.MAX_FILE
MAX_CRL = crl.MAX_CRL

# Version 2 of a report does not name the processor; its firmware ran on these.
_OLD_PRODUCTS = ("Milan", "Genoa")
_ON_CHIP = {report.ZEN5: 8}  # bytes of the chip's id, where they are not all 64


def kind(parsed: Report) -> str:
    """``vcek`` or ``vlek``. Raises VerificationError for a report that nothing signs."""
    if parsed.signing_key == report.NONE:
        raise VerificationError("the report is not signed: the guest was started without attestation")
    return "vlek" if parsed.signing_key == report.VLEK else "vcek"


def products(parsed: Report) -> tuple[str, ...]:
    """The processor generations that this report may come from, likeliest first. Raises NotEstablished."""
    if parsed.family is None:
        return _OLD_PRODUCTS
    if parsed.product is None:
        cpuid = f"family {parsed.family:#x}, model {parsed.model or 0:#x}"
        raise NotEstablished("processor model is not known", actual=cpuid)
    return (parsed.product,)


def chain_path(kind: str, product: str) -> str:
    return f"/{kind}/v1/{product}/cert_chain"


def crl_path(kind: str, product: str) -> str:
    return f"/{kind}/v1/{product}/crl"


def vcek_path(parsed: Report, product: str) -> str:
    """Of the certificate for this chip with the firmware that it reports. Raises NotEstablished (chip is hidden)."""
    return f"/vcek/v1/{product}/{chip(parsed)}?{'&'.join(_versions(parsed.reported_tcb))}"


def chip(parsed: Report) -> str:
    """Hex of the chip's id as AMD's service writes it. Raises NotEstablished."""
    if not any(parsed.chip_id):
        raise NotEstablished(
            "the report hides which chip made it, so nobody can ask for the chip's certificate",
            hint="get the certificate from the host and give it with --endorsement",
        )
    return parsed.chip_id[: _ON_CHIP.get(parsed.family or 0, len(parsed.chip_id))].hex()


def _versions(tcb: Tcb) -> tuple[str, ...]:
    """In AMD's order; FMC of Turin stands first."""
    return tuple(f"{name}SPL={value:02d}" for name, value in tcb.parts().items())


def check_chain(data: bytes, kind: str, product: str, now: int, roots: Roots) -> None:
    """That ``data`` is the intermediate and the pinned root. Raises UntrustedKey, VerificationError, MalformedError."""
    root, intermediate = _two(data, kind, product, roots)
    for each in (root, intermediate):
        certificates.check_authority(each)
        certificates.check_validity(each, now)
    certificates.issued(intermediate, root)


def check_crl(data: bytes, authorities: bytes, kind: str, product: str, now: int, roots: Roots) -> None:
    """That ``data`` is the root's list of revoked certificates, in force. authorities: as `check_chain` passed them."""
    root, _ = _two(authorities, kind, product, roots)
    crl.check(crl.read(data), root, now)


def check_not_revoked(data: bytes, authorities: bytes, kind: str, product: str, roots: Roots) -> None:
    """Raises VerificationError where the root's list names the intermediate."""
    _, intermediate = _two(authorities, kind, product, roots)
    crl.check_not_in(crl.read(data), intermediate)


def check_leaf(parsed: Report, files: Sequence[bytes], now: int, roots: Roots) -> None:
    """That the certificates are this chip's and this firmware's, and that the report is signed by them.

    Raises as `teelog.evidence.sev_snp.chain.verify`.
    """
    chain.verify(parsed, files, now, roots)


def _two(data: bytes, kind: str, product: str, roots: Roots) -> tuple[Certificate, Certificate]:
    """(pinned root, intermediate)."""
    pin = roots.pins.get(product)
    if pin is None:
        pinned = ", ".join(sorted(roots.pins)) or "none"
        raise UntrustedKey(f"no root is pinned for {product}", expected=pinned, actual=product)
    found = endorsement.certificates_in([data])
    root = next((each for each in found if each.common_name == f"ARK-{product}"), None)
    name = f"SEV-VLEK-{product}" if kind == "vlek" else f"SEV-{product}"
    intermediate = next((each for each in found if each.common_name == name), None)
    if root is None or intermediate is None or len(found) != 2:
        names = ", ".join(each.common_name[:40] for each in found)
        raise MalformedError("not the chain asked for", expected=f"{name}, ARK-{product}", actual=names)
    if root.fingerprint != pin:
        raise UntrustedKey(
            f"the chain does not end in the pinned root of {product}",
            expected=pin.hex(),
            actual=root.fingerprint.hex(),
        )
    return root, intermediate
