"""AWS's root for Nitro Enclaves: its fingerprint, which is the trust. Documents bring the certificate along.

Source of the fingerprint: the AWS Nitro Enclaves user guide, "Verifying the root of trust", and every real document.
"""

from __future__ import annotations

from functools import cache

from teelog.evidence.platform import Roots

PINS = {"aws.nitro-enclaves": bytes.fromhex("641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b")}
"""SHA-256 of the DER of the root certificate G1."""


@cache
def shipped() -> Roots:
    return Roots(PINS)
