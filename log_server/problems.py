"""Errors as the log's HTTP interface shows them (RFC 9457, ``application/problem+json``).

The ``type`` is ``urn:teelog:problem:<kind>`` and stable; docs/formats/http-api.md lists the kinds. What a client sent
comes back at most in a short excerpt with everything but plain ASCII escaped (A-32).
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Mapping

from aiohttp import web

from teelog.errors import MalformedError, SignatureError, TeelogError, VerificationError

MEDIA_TYPE = "application/problem+json"
PREFIX = "urn:teelog:problem:"
MAX_TEXT = 300  # characters of one member
NO_STORE = "no-store"


class Kind(enum.StrEnum):
    """The stable kinds, each with the one status that goes with it (``STATUS``)."""

    BAD_REQUEST = "bad-request"
    NOT_ALLOWED = "not-allowed"
    UNKNOWN_NAMESPACE = "unknown-namespace"
    WRONG_KEY = "wrong-key"
    BAD_SIGNATURE = "bad-signature"
    NOT_FOUND = "not-found"
    METHOD = "method-not-allowed"
    TIMEOUT = "timeout"
    CONFLICT = "conflict"
    STALE = "stale"
    FROZEN = "frozen"
    PRUNED = "pruned"
    TOO_LARGE = "too-large"
    MEDIA_TYPE = "media-type"
    EXPECTATION = "expectation"
    MALFORMED = "malformed-entry"
    UNKNOWN_RELEASE = "unknown-release"
    UNKNOWN_STATEMENT = "unknown-statement"
    UNKNOWN_CHECKPOINT = "unknown-checkpoint"
    QUOTA = "quota"
    INTERNAL = "internal"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"


STATUS: Mapping[str, tuple[int, str]] = {
    Kind.BAD_REQUEST: (400, "The request does not follow HTTP or this interface"),
    Kind.NOT_ALLOWED: (403, "This may not be submitted here"),
    Kind.UNKNOWN_NAMESPACE: (403, "The namespace is not known to this log"),
    Kind.WRONG_KEY: (403, "The entry is not signed by the keys that may sign it"),
    Kind.BAD_SIGNATURE: (403, "A signature does not verify"),
    Kind.NOT_FOUND: (404, "There is nothing here"),
    Kind.METHOD: (405, "This path has other methods"),
    Kind.TIMEOUT: (408, "The request took too long to arrive"),
    Kind.CONFLICT: (409, "The entry conflicts with one that is logged"),
    Kind.STALE: (409, "The entry was judged by what is no longer current"),
    Kind.FROZEN: (410, "The log has ended"),
    Kind.PRUNED: (410, "The log no longer serves this"),
    Kind.TOO_LARGE: (413, "The request is too large"),
    Kind.MEDIA_TYPE: (415, "The content type or encoding is not accepted"),
    Kind.EXPECTATION: (417, "The expectation is not supported"),
    Kind.MALFORMED: (422, "The entry does not follow its format"),
    Kind.UNKNOWN_RELEASE: (422, "The status allows what this log does not hold"),
    Kind.UNKNOWN_STATEMENT: (422, "The result names a statement that this log does not hold"),
    Kind.UNKNOWN_CHECKPOINT: (422, "The result names a checkpoint that is not this log's"),
    Kind.QUOTA: (429, "The quota is used up"),
    Kind.INTERNAL: (500, "The log failed"),
    Kind.BUSY: (503, "The log takes nothing now"),
    Kind.UNAVAILABLE: (503, "The log cannot publish now"),
}


class Problem(Exception):
    """A request's definite failure.

    kind: one of Kind, or the sequencer's own (then ``status`` and ``title`` are given). pointer: JSON pointer into the
    entry. leaf: hash of the logged entry that this one collides with. retry_after: seconds.
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        status: int | None = None,
        expected: object = None,
        actual: object = None,
        hint: str | None = None,
        pointer: str | None = None,
        leaf: bytes | None = None,
        retry_after: float | None = None,
        allow: str | None = None,
    ) -> None:
        super().__init__(detail)
        known, title = STATUS.get(kind, (500, "The log refused the entry"))
        self.kind = kind
        self.status = known if status is None else status
        self.retry_after = retry_after
        self.allow = allow
        members: dict[str, object] = {"type": PREFIX + kind, "title": title, "status": self.status, "detail": detail}
        members |= {"expected": expected, "actual": actual, "hint": hint, "pointer": pointer}
        members["leaf"] = leaf.hex() if leaf is not None else None
        self.members = {
            name: value if isinstance(value, int) and name == "status" else printable(value)
            for name, value in members.items()
            if value is not None
        }

    def headers(self) -> dict[str, str]:
        found = {"Cache-Control": NO_STORE, "X-Content-Type-Options": "nosniff"}
        if self.retry_after is not None:
            found["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        if self.allow is not None:
            found["Allow"] = self.allow
        return found

    def response(self) -> web.Response:
        return web.Response(
            status=self.status, body=encode(self.members), content_type=MEDIA_TYPE, headers=self.headers()
        )


def of(error: TeelogError) -> Problem:
    """The problem that an admission error is: 422 for what is malformed, 403 for what does not hold."""
    if isinstance(error, MalformedError):
        kind = Kind.MALFORMED
    elif isinstance(error, SignatureError):
        kind = Kind.BAD_SIGNATURE
    elif isinstance(error, VerificationError):
        kind = Kind.WRONG_KEY
    else:
        raise error
    pointer = error.where if isinstance(error, MalformedError) else None
    pointer = "" if pointer == "/" else pointer  # RFC 6901: the whole document
    return Problem(kind, error.message, expected=error.expected, actual=error.actual, hint=error.hint, pointer=pointer)


def printable(value: object) -> str:
    """Text with everything but printable ASCII escaped, cut at MAX_TEXT characters."""
    text = value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else str(value)
    cut = text[:MAX_TEXT] + ("..." if len(text) > MAX_TEXT else "")
    return "".join(char if " " <= char <= "~" else f"\\u{{{ord(char):x}}}" for char in cut)


def encode(members: Mapping[str, object]) -> bytes:
    """JSON that no HTML parser could take for markup, whatever it holds."""
    text = json.dumps(members, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode() + b"\n"
