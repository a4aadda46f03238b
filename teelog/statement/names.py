"""Names in statements: namespaces, streams, log origins, versions (protocol section 2, A-47).

All are ASCII, have one spelling and bounded length, so they can be index keys and lines of text.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from teelog.errors import MalformedError

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAMESPACE = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}")
_COMPONENT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_ORIGIN = re.compile(r"[!-*,-~]{1,255}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}")
_STATEMENT_ID = re.compile(r"[0-9a-f]{64}")
MAX_NAMESPACE = 253  # characters of a DNS name in text, RFC 1035 section 2.3.4


class Stream(msgspec.Struct, frozen=True):
    """namespace/product/channel: one line of releases of which a status says what is allowed."""

    namespace: str
    product: str
    channel: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.product}/{self.channel}"


def namespace(text: str, where: str | None = None) -> str:
    """A DNS name of at least two labels: lower case, punycode, no final dot, no address. Raises MalformedError."""
    if not _is_namespace(text[: MAX_NAMESPACE + 1]):
        raise MalformedError(
            "not a namespace",
            where=where,
            expected="a DNS name in lower case, international labels as xn--, such as acme.example",
            actual=text[:80],
        )
    return text


@lru_cache(1_024)  # as of streams
def _is_namespace(text: str) -> bool:
    return len(text) <= MAX_NAMESPACE and _NAMESPACE.fullmatch(text) is not None and _labels_hold(text)


def _labels_hold(text: str) -> bool:
    labels = text.split(".")
    # "--" in third place is reserved for xn-- (RFC 5891 section 4.2.3.1); an all-digit last label is an IP address.
    reserved = any(label[2:4] == "--" and not label.startswith("xn--") for label in labels)
    return not reserved and not labels[-1].isdigit()


def stream(text: str, where: str | None = None) -> Stream:
    """``namespace/product/channel``, exactly three components. Raises MalformedError."""
    try:
        return _stream(text)
    except MalformedError as error:
        raise MalformedError(error.message, where=where, expected=error.expected, actual=error.actual) from error


@lru_cache(1_024)  # a log reads the same few streams over and over; a refusal is not kept
def _stream(text: str) -> Stream:
    parts = text[:512].split("/")
    if len(parts) != 3 or not _COMPONENT.fullmatch(parts[1]) or not _COMPONENT.fullmatch(parts[2]):
        raise MalformedError(
            "not a stream", expected="NAMESPACE/PRODUCT/CHANNEL, as acme.example/inference/stable", actual=text[:80]
        )
    return Stream(namespace(parts[0]), parts[1], parts[2])


def origin(text: str, where: str | None = None) -> str:
    """A log's origin: 1 to 255 printable ASCII characters without space and plus. Raises MalformedError."""
    if not _ORIGIN.fullmatch(text):
        raise MalformedError("not a log origin", where=where, expected="such as log.example/tee", actual=text[:80])
    return text


def version(text: str, where: str | None = None) -> str:
    """A release's version as its vendor counts, at most 128 characters. Raises MalformedError."""
    if not _VERSION.fullmatch(text):
        raise MalformedError("not a version", where=where, expected="letters, digits and . _ + ~ -", actual=text[:80])
    return text


def statement_id(text: str, where: str | None = None) -> str:
    """64 lower-case hex characters. Raises MalformedError."""
    if not _STATEMENT_ID.fullmatch(text):
        raise MalformedError("not a statement id", where=where, expected="64 lower-case hex digits", actual=text[:80])
    return text
