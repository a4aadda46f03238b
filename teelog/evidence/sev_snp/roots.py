"""AMD's roots: their fingerprints, which are the trust, and the certificates that ship beside the code.

Source of the fingerprints: AMD's key distribution service; docs/decisions/0010-certificates.md says how they were
compared. Venice has no pin yet: add one with ``Roots``.
"""

from __future__ import annotations

from functools import cache

from teelog.evidence import certificates
from teelog.evidence.platform import Roots

PINS = {
    "Milan": bytes.fromhex("69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"),
    "Genoa": bytes.fromhex("4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1"),
    "Turin": bytes.fromhex("1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a"),
}
"""SHA-256 of the DER of each generation's AMD Root Key certificate (ARK)."""

KINDS = ("ark", "ask", "asvk")


@cache
def shipped() -> Roots:
    """The pins above with ARK, ASK and ASVK of each generation."""
    ders = tuple(_shipped_der(f"amd-{kind}-{product.lower()}.pem") for product in PINS for kind in KINDS)
    return Roots(PINS, ders)


def _shipped_der(name: str) -> bytes:
    # Data of this package, read the way its code is read: it also works from a zip file.
    loader = __spec__.loader
    assert loader is not None
    folder = __file__[: -len("sev_snp/roots.py")]
    (der,) = certificates.load_pem(loader.get_data(f"{folder}roots/{name}"))  # type: ignore[attr-defined]
    return der
