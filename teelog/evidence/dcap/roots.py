"""Intel's root: its fingerprint, which is the trust. Quotes bring the certificate along.

Source of the fingerprint: Intel's certificate service, and the root inside every real quote; its quote verification
library ships sample roots of the same name, which are not this one.
"""

from __future__ import annotations

from functools import cache

from teelog.evidence.platform import Roots

PINS = {"Intel SGX Root CA": bytes.fromhex("44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3")}
"""SHA-256 of the DER of the certificate that vouches for SGX and TDX."""


@cache
def shipped() -> Roots:
    return Roots(PINS)
