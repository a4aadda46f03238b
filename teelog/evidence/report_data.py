"""What 64 bytes of report data commit to: the one place that says so (protocol section 7, docs/formats).

The recommended value is the commitment

    SHA-512("teelog-rd-v1" || len || nonce || len || subject || len || parts)

len: bytes of what follows it, 4 bytes, big-endian. nonce: the challenge, may be empty. subject: SHA-256 of what is
bound, a public key as SPKI DER or an output, or empty. parts: SHA-256 of each part of composite evidence, concatenated
in order, or empty.

Also understood, because they are in use: the nonce itself, right-padded with zeros, where nothing is bound; SHA-512,
SHA-384 or SHA-256 of what is bound, right-padded with zeros, where no nonce is expected.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence

from teelog.errors import MalformedError
from teelog.evidence.platform import Expected
from teelog.verdict import Check, Finding, failed, not_established, verified

SIZE = 64
DOMAIN = b"teelog-rd-v1"

_PUBLIC_KEY = re.compile(
    rb"\A-----BEGIN PUBLIC KEY-----\r?\n([A-Za-z0-9+/=\r\n]{1,16384})-----END PUBLIC KEY-----\s*\Z"
)


def commitment(nonce: bytes = b"", binds: bytes | None = None, parts: Sequence[bytes] = ()) -> bytes:
    """The 64 bytes a TEE asks its hardware to sign. binds: SPKI DER or an output; None: nothing is bound."""
    subject = b"" if binds is None else hashlib.sha256(binds).digest()
    digests = b"".join(hashlib.sha256(part).digest() for part in parts)
    preimage = DOMAIN + b"".join(len(each).to_bytes(4) + each for each in (nonce, subject, digests))
    return hashlib.sha512(preimage).digest()


def padded(value: bytes) -> bytes:
    """``value`` as the whole field; raises MalformedError if it is empty or too long."""
    if not 1 <= len(value) <= SIZE:
        raise MalformedError("not a value for the report data", expected="1 to 64 bytes", actual=f"{len(value)} bytes")
    return value.ljust(SIZE, b"\0")


def bound_bytes(file: bytes) -> bytes:
    """What a file that is to be bound stands for: a PEM public key for its SPKI DER, any other file for itself.

    Raises MalformedError, also for an empty file.
    """
    if not file:
        raise MalformedError("the file that the evidence should bind is empty")
    match = _PUBLIC_KEY.match(file)
    if match is None:
        return file
    try:
        return base64.b64decode(re.sub(rb"[\r\n]", b"", match[1]), validate=True)
    except ValueError as error:
        raise MalformedError("a PEM public key is not base64") from error


def freshness(field: bytes, expected: Expected) -> Finding:
    """Whether the field answers the nonce, or is the report data that the caller expects."""
    if expected.report_data is not None:
        return _compare(Check.FRESHNESS, field, padded(expected.report_data), "the report data is the expected one")
    if expected.nonce is None:
        return not_established(Check.FRESHNESS, "no nonce or report data was given to compare with")
    if expected.binds is None and not expected.parts:
        return _compare(Check.FRESHNESS, field, padded(expected.nonce), "the report data is the nonce")
    return _compare(Check.FRESHNESS, field, _commitment(expected), "the report data commits to the nonce")


def binding(field: bytes, expected: Expected) -> Finding:
    """Whether the field commits to what the caller wants bound."""
    if expected.binds is None:
        return not_established(Check.BINDING, "no key or output was given that the evidence should bind")
    said = "the report data commits to the key or output"
    if expected.nonce is not None or hmac.compare_digest(field, _commitment(expected)):
        return _compare(Check.BINDING, field, _commitment(expected), said)
    # A plain digest binds too, unless what is hashed is a commitment's preimage, which stands for something else.
    plain = not expected.parts and not expected.binds.startswith(DOMAIN)
    for name in ("sha512", "sha384", "sha256") if plain else ():
        if hmac.compare_digest(field, padded(hashlib.new(name, expected.binds).digest())):
            return verified(Check.BINDING, f"the report data is the {name} of the key or output")
    return _compare(Check.BINDING, field, _commitment(expected), said)


def _commitment(expected: Expected) -> bytes:
    return commitment(expected.nonce or b"", expected.binds, expected.parts)


def _compare(check: Check, field: bytes, wanted: bytes, said: str) -> Finding:
    if hmac.compare_digest(field, wanted):
        return verified(check, said)
    cause = {
        Check.FRESHNESS: "the report data answers another request",
        Check.BINDING: "the report data does not commit to this key or output",
    }[check]
    return failed(check, cause, expected=wanted.hex(), actual=field.hex())
