"""Reads published versions of ``index.db``, beside its writer, from any process."""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from teelog.errors import RefusedError
from teelog.index import pages
from teelog.index.lists import Value
from teelog.index.pages import Found, Page
from teelog.index.trie import has_prefix, lookup_proof, prefix_proof
from teelog.indexing import lists, schema
from teelog.indexing.checksum import opened

_LEAST = 48  # bytes of a key and its value: no answer of n bytes has more than n / 48 pairs


class NotRetained(RefusedError):
    """The index size is not answered from, or no longer. ``actual``: what was asked; ``expected``: the newest."""


@dataclass(frozen=True, slots=True)
class Version:
    """A published version. index_size: leaves of the index log. input_size: entries indexed. map_root: 32 bytes."""

    index_size: int
    input_size: int
    map_root: bytes


@dataclass(frozen=True, slots=True)
class Lookup:
    """value: what the trie holds under the key, None if nothing; proof: for ``index.proof.verify_lookup``."""

    value: Value | None
    proof: bytes


class IndexReader:
    """Used by one thread at a time. Each call sees one state of the file."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    @classmethod
    def open(cls, path: Path) -> IndexReader:
        """Raises ConfigError for a file that is missing, damaged, or of another version of this software."""
        return cls(schema.open_reader(path))

    def close(self) -> None:
        self._db.close()

    def published(self) -> Version | None:
        """The newest published version, None before the first."""
        row = self._db.execute(
            "SELECT index_size, input_size, map_root FROM version ORDER BY index_size DESC LIMIT 1"
        ).fetchone()
        return Version(*row) if row else None

    def version(self, index_size: int) -> Version:
        """Raises NotRetained."""
        return self._version(index_size)[0]

    def lookup(self, index_size: int, key: bytes) -> Lookup:
        """The key's list, proven; its absence likewise. Raises NotRetained."""
        with self._found(index_size, key) as found:
            if found is None:
                return Lookup(None, b"")
            value = lists.value_of(found.payload)
            proof = lookup_proof(key, found.key, value, found.steps())
            return Lookup(Value.parse(value) if found.key == key else None, proof)

    def element(self, index_size: int, key: bytes, position: int) -> tuple[int, list[bytes]]:
        """(entry index, path for ``index.lists.verify_element``). Raises NotRetained; IndexError outside the list."""
        with self._found(index_size, key) as found:
            return lists.element(self._db, _payload(found, key), position)

    def page(self, index_size: int, key: bytes, number: int) -> tuple[list[int], list[bytes]]:
        """(indices, path for ``index.lists.verify_page``). Raises NotRetained; IndexError outside the list."""
        with self._found(index_size, key) as found:
            return lists.page(self._db, _payload(found, key), number)

    def scan(self, index_size: int, prefix: bytes, limit: int) -> tuple[Sequence[tuple[bytes, bytes]], bytes]:
        """(all (key, value) with the prefix, proof for ``index.proof.verify_prefix``).

        limit: bytes of keys and values together. Raises NotRetained; RefusedError (status 413) beyond the limit.
        """
        with self._found(index_size, prefix) as found:
            if found is None:
                return [], b""
            value = lists.value_of(found.payload)
            proof = prefix_proof(prefix, found.key, value, found.steps())
            if not has_prefix(found.key, prefix):
                return [], proof
            held = pages.under(found, prefix, self._read, limit // _LEAST)
            if held is None or sum(len(key) + 40 for key, _ in held) > limit:
                raise RefusedError(
                    "too many keys have this prefix",
                    status=413,
                    expected=f"at most {limit} bytes",
                    hint="ask with a longer prefix",
                )
            return [(key, lists.value_of(payload)) for key, payload in held], proof

    def _version(self, index_size: int) -> tuple[Version, int]:
        row = self._db.execute(
            "SELECT index_size, input_size, map_root, root_page FROM version WHERE index_size = ?", (index_size,)
        ).fetchone()
        if row is None:
            newest = self.published()
            raise NotRetained(
                "this index size is not answered from",
                status=404,
                expected=newest and newest.index_size,
                actual=index_size,
            )
        return Version(*row[:3]), row[3]

    @contextlib.contextmanager
    def _found(self, index_size: int, key: bytes) -> Iterator[Found | None]:
        """What the key leads to in a version, None in an empty trie; all within one state of the file."""
        self._db.execute("BEGIN")
        try:
            _, root = self._version(index_size)
            yield pages.find(root, key, self._read) if root else None
        finally:
            self._db.execute("ROLLBACK")

    def _read(self, number: int) -> Page:
        return read_page(self._db, number)


def read_page(db: sqlite3.Connection, number: int) -> Page:
    """Raises sqlite3.DatabaseError where the file is damaged."""
    row = db.execute("SELECT body FROM page WHERE number = ?", (number,)).fetchone()
    if row is None:
        raise sqlite3.DatabaseError(f"page {number} of the index is missing")
    try:
        return Page.decode(number, opened(row[0], f"page {number}"))
    except (struct.error, ValueError, IndexError) as error:
        raise sqlite3.DatabaseError(f"page {number} of the index is damaged") from error


def _payload(found: Found | None, key: bytes) -> bytes:
    if found is None or found.key != key:
        raise IndexError("the key has no list")
    return found.payload
