"""Which request a document answers, and what it binds: its fields nonce, public_key and user_data.

The hypervisor signs all three together, so a nonce and a key that stand in one document belong together. User data may
also hold what 64 bytes of report data hold on other platforms: the commitment, or a digest of what is bound.
"""

from __future__ import annotations

import hmac

from teelog.evidence import report_data
from teelog.evidence.nitro.document import Document
from teelog.evidence.platform import Expected
from teelog.verdict import Check, Finding, failed, not_established, verified

_FRESHNESS, _BINDING = Check.FRESHNESS, Check.BINDING


def freshness(document: Document, expected: Expected) -> Finding:
    """Whether it answers the nonce (in its own field or in the commitment), or has the expected user data."""
    user_data = document.user_data or b""
    if expected.report_data is not None:
        wanted = expected.report_data
        exact = hmac.compare_digest(user_data, wanted)
        if exact or hmac.compare_digest(user_data, wanted.ljust(report_data.SIZE, b"\0")):
            return verified(_FRESHNESS, "the user data is the expected one")
        return _other_request("the user data is another", wanted, document.user_data)
    if expected.nonce is None:
        return not_established(_FRESHNESS, "no nonce or report data was given to compare with")
    # Equal nonces alone say nothing about the parts of composite evidence: the commitment does.
    if not expected.parts and hmac.compare_digest(document.nonce or b"", expected.nonce):
        return verified(_FRESHNESS, "the document's nonce is the expected one")
    if hmac.compare_digest(user_data, _commitment(expected)):
        return verified(_FRESHNESS, "the user data commits to the nonce")
    return _other_request("the document answers another request", expected.nonce, document.nonce)


def binding(document: Document, expected: Expected) -> Finding:
    """Whether its public key is the bound one, or its user data commits to what is bound."""
    if expected.binds is None:
        return not_established(_BINDING, "no key or output was given that the evidence should bind")
    if not expected.parts and hmac.compare_digest(document.public_key or b"", expected.binds):
        return verified(_BINDING, "the document's public key is the bound one")
    user_data = document.user_data or b""
    if 1 <= len(user_data) <= report_data.SIZE:
        # A digest in user data needs no nonce beside it: the field nonce is signed with it.
        alone = Expected(binds=expected.binds, parts=expected.parts)
        for each in (expected, alone):
            found = report_data.binding(report_data.padded(user_data), each)
            if found.details:
                return verified(_BINDING, found.details[0].replace("report data", "user data"))
    return failed(
        _BINDING,
        "neither the document's public key nor its user data is this key or output, or commits to it",
        expected=_commitment(expected).hex(),
        actual=user_data.hex() or "no user data",
    )


def _commitment(expected: Expected) -> bytes:
    return report_data.commitment(expected.nonce or b"", expected.binds, expected.parts)


def _other_request(cause: str, wanted: bytes, found: bytes | None) -> Finding:
    return failed(_FRESHNESS, cause, expected=wanted.hex(), actual="none" if found is None else found.hex())
