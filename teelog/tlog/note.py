"""Signed notes (c2sp.org/signed-note).

    <text, ends in a newline>
    <empty line>
    — <key name> <base64 of 4-byte key ID and signature>
    ...

``parse`` yields an UnverifiedNote, which gives no text; only ``open_note`` with the caller's keys does (SN-02).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from teelog import strict
from teelog.errors import ConfigError, MalformedError, UntrustedKey

MAX_LENGTH = 256 * 1024  # bytes; SN-18: at least 128 KiB and 16 lines are accepted
MAX_SIGNATURES = 64  # SN-19

_CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f]")
# SN-10: what Go's unicode.IsSpace calls a space, plus the separator; a lone surrogate is no UTF-8 (SN-05).
_FORBIDDEN_IN_NAME = re.compile("[+\x00-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ud800-\udfff]")
_PREFIX = "— "
_SHORT = 255  # characters


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line. key_id: 4 bytes. blob: what follows the key ID, at least 1 byte."""

    name: str
    key_id: bytes
    blob: bytes

    def line(self) -> bytes:
        """The line, with its newline."""
        return f"{_PREFIX}{self.name} {base64.b64encode(self.key_id + self.blob).decode()}\n".encode()


class Verifier(Protocol):
    """A key that checks one kind of note signature."""

    @property
    def name(self) -> str: ...
    @property
    def key_id(self) -> bytes: ...
    def verify(self, text: bytes, blob: bytes) -> int | None:
        """Returns the signature's timestamp (POSIX seconds), None where its type has none. Raises SignatureError."""


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """A line that verified. timestamp: POSIX seconds; None for plain note signatures; 0 = no claim of time."""

    verifier: Verifier
    signature: Signature
    timestamp: int | None


@dataclass(frozen=True, slots=True)
class UnverifiedNote:
    """A well-formed note. Its text is nobody's word yet."""

    signatures: tuple[Signature, ...]
    _text: bytes = field(repr=False)

    def claimed_text(self) -> bytes:
        """The text, authenticated by nothing: fit only to choose the keys for ``open_note``."""
        return self._text


@dataclass(frozen=True, slots=True)
class Note:
    """A note with at least one verified signature. others: lines by unknown keys, which say nothing."""

    text: bytes
    signatures: tuple[VerifiedSignature, ...]
    others: tuple[Signature, ...] = ()

    def encode(self) -> bytes:
        """The note with its verified lines only."""
        return encode(self.text, [verified.signature for verified in self.signatures])


def check_name(name: str, what: str = "key name") -> None:
    """SN-10: key names are non-empty and have no Unicode space, plus or control character. Raises MalformedError."""
    if not name or _FORBIDDEN_IN_NAME.search(name):
        raise MalformedError(f"{what} is empty or contains a space or plus", actual=name[:300])


@lru_cache(1_024)  # the same few names stand in all notes; a refusal is not kept, nor is a name of any length
def _check_short(name: str) -> None:
    check_name(name)


def parse_line(line: bytes) -> Signature:
    """One signature line without its newline. Raises MalformedError."""
    try:
        return _read_line(line.decode())
    except UnicodeDecodeError as error:
        raise MalformedError("signature line is not UTF-8") from error


def _read_line(text: str) -> Signature:
    # SN-08: em dash U+2014 and one space.
    if not text.startswith(_PREFIX):
        raise MalformedError(
            "not a signature line", expected="a line that starts with an em dash and a space", actual=text[:80]
        )
    name, _, encoded = text[len(_PREFIX) :].partition(" ")
    if len(name) > _SHORT:
        check_name(name)
    else:
        _check_short(name)
    blob = strict.b64(encoded.encode(), "note signature")  # SN-11
    # SN-12: key ID and at least one byte of signature.
    if len(blob) < 5:
        raise MalformedError("note signature is too short", expected="at least 5 bytes", actual=f"{len(blob)} bytes")
    return Signature(name, blob[:4], blob[4:])


def parse(data: bytes) -> UnverifiedNote:
    """Reads a note strictly. Raises MalformedError."""
    if len(data) > MAX_LENGTH:
        raise MalformedError("note is too long", expected=f"at most {MAX_LENGTH} bytes", actual=f"{len(data)} bytes")
    # SN-06: no ASCII control character but newline. SN-05: valid UTF-8.
    if _CONTROL.search(data):
        raise MalformedError("note contains a control character")
    try:
        decoded = data.decode()
    except UnicodeDecodeError as error:
        raise MalformedError("note is not UTF-8") from error
    # SN-07: the last empty line separates text and signatures. SN-03: both are there, the last newline too.
    text, separator, block = decoded.rpartition("\n\n")
    if not separator:
        raise MalformedError("note has no empty line before its signatures")
    if not block.endswith("\n"):
        raise MalformedError("note has no signature line, or its last line is not ended")
    lines = block[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise MalformedError("note has too many signatures", expected=f"at most {MAX_SIGNATURES}", actual=len(lines))
    return UnverifiedNote(tuple([_read_line(line) for line in lines]), text.encode() + b"\n")


def check_text(text: bytes) -> None:
    """SN-04, SN-05, SN-06 for text about to be signed. Raises MalformedError."""
    if not text.endswith(b"\n"):
        raise MalformedError("note text does not end in a newline")
    if _CONTROL.search(text):
        raise MalformedError("note contains a control character")
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise MalformedError("note is not UTF-8") from error


def encode(text: bytes, signatures: Iterable[Signature]) -> bytes:
    """The note's bytes. Raises MalformedError for text that cannot stand in a note."""
    check_text(text)
    return text + b"\n" + b"".join(signature.line() for signature in signatures)


def index_verifiers(verifiers: Iterable[Verifier]) -> dict[tuple[str, bytes], Verifier]:
    """Verifiers by (name, key ID). Raises ConfigError if two different keys share both (SN-27, A-26)."""
    index: dict[tuple[str, bytes], Verifier] = {}
    for verifier in verifiers:
        known = index.setdefault((verifier.name, verifier.key_id), verifier)
        if known is not verifier and known != verifier:
            raise ConfigError(
                "ambiguous key: two keys share a name and a key ID", actual=f"{verifier.name} {verifier.key_id.hex()}"
            )
    return index


def open_note(data: bytes | UnverifiedNote, verifiers: Iterable[Verifier] | dict[tuple[str, bytes], Verifier]) -> Note:
    """The note's text, once signatures by known keys have been checked.

    verifiers: the known keys, or what ``index_verifiers`` makes of them.

    Raises MalformedError; SignatureError if any line by a known key fails (SN-16, SN-17); UntrustedKey if there is no
    line by a known key (SN-14); ConfigError for ambiguous verifiers.
    """
    unverified = parse(data) if isinstance(data, bytes) else data
    index = verifiers if isinstance(verifiers, dict) else index_verifiers(verifiers)
    text = unverified.claimed_text()
    good: dict[tuple[str, bytes, bytes], VerifiedSignature] = {}
    others: list[Signature] = []
    for signature in unverified.signatures:
        # SN-13: the pair (name, key ID) identifies the key; anything else is unknown and ignored.
        verifier = index.get((signature.name, signature.key_id))
        if verifier is None:
            others.append(signature)
            continue
        line = signature.name, signature.key_id, signature.blob
        if line not in good:  # SN-17: identical lines count once
            # SN-15: known keys are verified; SN-16: one failure rejects the note.
            good[line] = VerifiedSignature(verifier, signature, verifier.verify(text, signature.blob))
    if not good:
        raise UntrustedKey(
            "note is unverified: no signature by a trusted key",
            expected=describe(index),
            actual=describe((s.name, s.key_id) for s in unverified.signatures),
        )
    return Note(text, tuple(good.values()), tuple(others))


def describe(keys: Iterable[tuple[str, bytes]]) -> str:
    """Keys as ``name+id`` for messages, at most eight of them."""
    listed: Sequence[str] = [f"{name}+{key_id.hex()}" for name, key_id in keys]
    more = f" and {len(listed) - 8} more" if len(listed) > 8 else ""
    return (", ".join(listed[:8]) + more) or "none"
