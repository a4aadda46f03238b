"""Which request a GPU's report answers, and what it binds: the request's nonce, 32 bytes.

Whoever can reach the GPU chooses the nonce, so a report alone does not say which machine asked: within composite
evidence the CPU's report data commits to it (docs/formats/evidence-nvidia.md).
"""

from __future__ import annotations

import hashlib
import hmac

from teelog.evidence import report_data
from teelog.evidence.platform import Expected
from teelog.verdict import Check, Finding, failed, not_established, verified


def commitment(expected: Expected) -> bytes:
    """SHA-256 of the recommended report data, which is too long for a nonce."""
    whole = report_data.commitment(expected.nonce or b"", expected.binds, expected.parts)
    return hashlib.sha256(whole).digest()


def freshness(nonce: bytes, expected: Expected) -> Finding:
    """Whether the report answers the expected nonce, exactly."""
    if expected.report_data is not None:
        return _compare(Check.FRESHNESS, nonce, expected.report_data, "the request's nonce is the expected data")
    if expected.nonce is None:
        return not_established(Check.FRESHNESS, "no nonce or report data was given to compare with")
    if expected.binds is None and not expected.parts:
        return _compare(Check.FRESHNESS, nonce, expected.nonce, "the request's nonce is the expected one")
    return _compare(Check.FRESHNESS, nonce, commitment(expected), "the request's nonce commits to the nonce")


def binding(nonce: bytes, expected: Expected) -> Finding:
    """Whether the request's nonce commits to what the caller wants bound."""
    if expected.binds is None:
        return not_established(Check.BINDING, "no key or output was given that the evidence should bind")
    return _compare(Check.BINDING, nonce, commitment(expected), "the request's nonce commits to the key or output")


def _compare(check: Check, nonce: bytes, wanted: bytes, said: str) -> Finding:
    if hmac.compare_digest(nonce, wanted):
        return verified(check, said)
    cause = {
        Check.FRESHNESS: "the report answers another request",
        Check.BINDING: "the request's nonce does not commit to this key or output",
    }[check]
    return failed(check, cause, expected=wanted.hex(), actual=nonce.hex())
