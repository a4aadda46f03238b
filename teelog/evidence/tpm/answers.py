"""Which request a TPM's quote answers, and what it binds: its field extraData, as long as the caller made it.

What is recommended is the commitment of teelog.evidence.report_data. It has 64 bytes, and TPMs without SHA-512 take 50
at most: then its SHA-256.
"""

from __future__ import annotations

import hashlib
import hmac

from teelog.evidence import report_data
from teelog.evidence.platform import Expected
from teelog.verdict import Check, Finding, failed, not_established, verified


def freshness(extra: bytes, expected: Expected) -> Finding:
    """Whether the quote answers the nonce, or has exactly the expected data."""
    if expected.report_data is not None:
        return _compare(Check.FRESHNESS, extra, (expected.report_data,), "the quote's extra data is the expected one")
    if expected.nonce is None:
        return not_established(Check.FRESHNESS, "no nonce or report data was given to compare with")
    if expected.binds is None and not expected.parts:
        said = "the quote's extra data is the nonce"
        return _compare(Check.FRESHNESS, extra, (expected.nonce,), said)
    return _compare(Check.FRESHNESS, extra, _commitments(expected), "the quote's extra data commits to the nonce")


def binding(extra: bytes, expected: Expected) -> Finding:
    """Whether the quote commits to what the caller wants bound."""
    if expected.binds is None:
        return not_established(Check.BINDING, "no key or output was given that the evidence should bind")
    wanted = _commitments(expected)
    # A plain digest binds too, unless what is hashed is a commitment's preimage, which stands for something else.
    if expected.nonce is None and not expected.parts and not expected.binds.startswith(report_data.DOMAIN):
        wanted += tuple(hashlib.new(name, expected.binds).digest() for name in ("sha512", "sha384", "sha256"))
    return _compare(Check.BINDING, extra, wanted, "the quote's extra data commits to the key or output")


def _commitments(expected: Expected) -> tuple[bytes, ...]:
    whole = report_data.commitment(expected.nonce or b"", expected.binds, expected.parts)
    return whole, hashlib.sha256(whole).digest()


def _compare(check: Check, extra: bytes, wanted: tuple[bytes, ...], said: str) -> Finding:
    if sum(hmac.compare_digest(extra, each) for each in wanted):
        return verified(check, said)
    cause = {
        Check.FRESHNESS: "the quote answers another request",
        Check.BINDING: "the quote does not commit to this key or output",
    }[check]
    return failed(check, cause, expected=wanted[0].hex(), actual=extra.hex() or "no extra data")
