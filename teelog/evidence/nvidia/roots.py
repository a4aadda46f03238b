"""NVIDIA's roots: their fingerprints, which are the trust. Evidence and golden RIMs bring the certificates along.

Source of the fingerprints: NVIDIA's nvtrust and attestation SDK, and every real chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from teelog.evidence.platform import Roots

PINS = {
    "device": bytes.fromhex("102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48"),
    "rim": bytes.fromhex("12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1"),
}
"""SHA-256 of the DER of NVIDIA Device Identity CA, and of NVIDIA CoRIM signing Root CA."""


@cache
def shipped() -> Roots:
    return Roots(PINS)


def device(roots: Roots) -> Mapping[str, bytes]:
    """The pins that devices may chain to: all whose label does not begin with ``rim``."""
    return {label: pin for label, pin in roots.pins.items() if not label.startswith("rim")}


def rim(roots: Roots) -> Mapping[str, bytes]:
    """The pins that golden RIMs may chain to: those whose label begins with ``rim``."""
    return {label: pin for label, pin in roots.pins.items() if label.startswith("rim")}
