"""The index log's leaf: a map root, and the main checkpoint up to which it was built (protocol section 4).

<map root, 64 lower-case hex characters>
<the main log's checkpoint note, with exactly one signature line: the log's Ed25519 line>
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from teelog import strict
from teelog.errors import MalformedError, VerificationError
from teelog.tlog import checkpoint
from teelog.tlog import note as notes
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.rfc6962 import HASH_LENGTH
from teelog.tlog.vkey import SignatureType

SUFFIX = "/index/v1"
MAX_LEAF = 4_096
"""Bytes: hex, an origin of 255 bytes twice, a size, a root and an Ed25519 signature fit several times."""
_HEX = 2 * HASH_LENGTH


def origin_of(main: str) -> str:
    """The index log's origin. Raises MalformedError if that is longer than an origin may be."""
    made = main + SUFFIX
    if len(made.encode()) > checkpoint.MAX_ORIGIN:
        raise MalformedError(
            "origin is too long to have an index", expected=f"{checkpoint.MAX_ORIGIN} bytes", actual=made
        )
    return made


def main_of(index: str) -> str:
    """The main log's origin. Raises MalformedError for an origin that is not an index log's."""
    if not index.endswith(SUFFIX) or index == SUFFIX:
        raise MalformedError("not the origin of an index log", expected=f"it ends in {SUFFIX}", actual=index[:300])
    return index[: -len(SUFFIX)]


@dataclass(frozen=True, slots=True)
class IndexLeaf:
    """map_root: 32 bytes. note: a checkpoint note with one signature line."""

    map_root: bytes
    note: bytes

    def encode(self) -> bytes:
        return self.map_root.hex().encode() + b"\n" + self.note

    @classmethod
    def make(cls, map_root: bytes, main: notes.Note | notes.UnverifiedNote, line: notes.Signature) -> IndexLeaf:
        """The leaf for ``map_root`` and the text of ``main``, of whose lines only ``line`` is kept."""
        text = main.text if isinstance(main, notes.Note) else main.claimed_text()
        return cls(map_root, notes.encode(text, [line]))

    @classmethod
    def parse(cls, data: bytes) -> IndexLeaf:
        """Raises MalformedError. Nobody's word yet: the index log's inclusion proof, then ``open``, make it that."""
        if len(data) > MAX_LEAF:
            raise MalformedError("index leaf is too long", expected=f"at most {MAX_LEAF} bytes", actual=len(data))
        if data[_HEX : _HEX + 1] != b"\n":
            raise MalformedError("index leaf does not begin with a line of 64 hex digits", actual=data[:80])
        found = cls(strict.unhex(data[:_HEX], "map root", HASH_LENGTH), data[_HEX + 1 :])
        parsed = notes.parse(found.note)
        if len(parsed.signatures) != 1:
            raise MalformedError("input note has not exactly one signature line", actual=len(parsed.signatures))
        # One spelling: text and line written again are what was read.
        if notes.encode(parsed.claimed_text(), parsed.signatures) != found.note:
            raise MalformedError("input note is not in its one spelling")
        checkpoint.parse_body(parsed.claimed_text())
        return found

    def claimed(self) -> Checkpoint:
        """The input checkpoint, its signature unchecked."""
        return checkpoint.parse_body(notes.parse(self.note).claimed_text())

    def open(self, verifiers: Iterable[notes.Verifier], origin: str) -> Checkpoint:
        """The input checkpoint, signed by one of the main log's Ed25519 keys among ``verifiers``.

        Raises SignatureError, UntrustedKey, MalformedError; VerificationError for another origin or extension lines.
        """
        # Protocol section 4: the log's Ed25519 line. An ML-DSA-44 line names a time, and would make a root two leaves.
        plain = [key for key in verifiers if getattr(key, "type", None) is SignatureType.ED25519]
        opened = checkpoint.open_checkpoint(self.note, plain, origin)
        if checkpoint.parse_body(opened.note.text).extensions:
            raise VerificationError("input checkpoint has extension lines")
        return opened.checkpoint
