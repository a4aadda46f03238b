"""The packages of an upload, taken from a body as it comes: no more than one is held (c2sp.org/tlog-mirror)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from teelog.errors import MalformedError
from teelog.tlog.mirror import packages
from teelog.tlog.rfc6962 import HASH_LENGTH, MAX_HASHES
from teelog.tlog.tiles import MAX_BUNDLE

MAX_PACKAGE = MAX_BUNDLE + 1 + MAX_HASHES * HASH_LENGTH  # bytes


@dataclass(frozen=True, slots=True)
class Package:
    """Entries [start, end) of the log. first: where their subtree begins, a multiple of 256. proof: of [first, end)."""

    first: int
    start: int
    end: int
    entries: tuple[bytes, ...]
    proof: tuple[bytes, ...]


class Packages:
    """MI-20: "The request MUST contain a prefix of the canonical sequence", which [start, end) determines."""

    def __init__(self, start: int, end: int) -> None:
        self._left = packages(start, end)
        self._range = next(self._left, None)
        self._held = bytearray()
        self._at = 0
        self._entries: list[bytes] = []

    @property
    def complete(self) -> bool:
        """Whether the whole sequence was read."""
        return self._range is None

    def feed(self, data: bytes) -> Iterator[Package]:
        """Takes more of the body; the packages that are complete with it. Raises MalformedError."""
        self._held += data
        while self._range is not None:
            package = self._next(*self._range)
            if package is None:
                del self._held[: self._at]  # it is in the entries
                self._at = 0
                return
            self._range = next(self._left, None)
            yield package
        if self._held:
            raise MalformedError("upload goes on after its last package")

    def _next(self, first: int, start: int, end: int) -> Package | None:
        held = self._held
        while len(self._entries) < end - start:
            if len(held) < self._at + 2:
                return None
            length = held[self._at] << 8 | held[self._at + 1]
            if len(held) < self._at + 2 + length:
                return None
            self._entries.append(bytes(held[self._at + 2 : self._at + 2 + length]))
            self._at += 2 + length
        if len(held) <= self._at:
            return None
        count = held[self._at]
        # MI-20: "`num_hashes`, which MUST be at most 63".
        if count > MAX_HASHES:
            raise MalformedError("package has too many hashes", expected=f"at most {MAX_HASHES}", actual=count)
        stop = self._at + 1 + count * HASH_LENGTH
        if len(held) < stop:
            return None
        proof = tuple(bytes(held[at : at + HASH_LENGTH]) for at in range(self._at + 1, stop, HASH_LENGTH))
        entries = tuple(self._entries)
        del held[:stop]
        self._at = 0
        self._entries.clear()
        return Package(first, start, end, entries, proof)
