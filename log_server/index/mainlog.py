"""The main log as its index reads it: what is published, from the public files alone.

Nothing that the main log's writer holds in memory is used: the index could as well be built elsewhere. Entries are
hashed again on their way, and have to lead to the published root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from teelog.errors import TeelogError, UnavailableError
from teelog.index.leaf import IndexLeaf
from teelog.log_server.directory import LogDirectory
from teelog.log_server.rehash import CompactRange, require_root
from teelog.log_server.seams import Damaged
from teelog.log_server.store import Files
from teelog.log_server.tree import Tree
from teelog.tlog import note as notes
from teelog.tlog.checkpoint import open_checkpoint
from teelog.tlog.tiles import WIDTH
from teelog.tlog.vkey import SignatureType


@dataclass(frozen=True, slots=True)
class Published:
    """A published main checkpoint. note: all of it, cosigned. opened: its text, and the log's lines in it."""

    size: int
    root: bytes
    note: bytes
    opened: notes.Note

    def leaf(self, map_root: bytes) -> bytes:
        """The index log's leaf for this checkpoint."""
        for line in self.opened.signatures:
            if getattr(line.verifier, "type", None) is SignatureType.ED25519:
                return IndexLeaf.make(map_root, self.opened, line.signature).encode()
        raise Damaged("the main checkpoint has no Ed25519 line of the log")


class MainLog:
    """Reads ``directory``'s public files. One thread."""

    def __init__(self, directory: LogDirectory, origin: str) -> None:
        self.origin = origin
        self.vkeys = directory.verifiers()
        self._files = Files(directory.public)
        self._tree = Tree(self._files)
        self._newest: Published | None = None

    def published(self) -> Published:
        """The newest published checkpoint. Raises UnavailableError, Damaged."""
        data = self._files.checkpoint()
        if data is None:
            raise UnavailableError("the main log has no published checkpoint")
        if self._newest is None or self._newest.note != data:
            self._newest = self.open(data)
        return self._newest

    def open(self, data: bytes) -> Published:
        """A checkpoint of the main log. Raises Damaged."""
        try:
            found = open_checkpoint(data, self.vkeys, self.origin)
        except TeelogError as error:
            raise Damaged("a checkpoint is not the main log's", actual=error.message) from error
        return Published(found.checkpoint.size, found.checkpoint.root, data, found.note)

    def entries(self, start: int, upto: Published, step: Callable[[], None] = lambda: None) -> Iterator[bytes]:
        """The entries from ``start`` up to the size of ``upto``, once all of them are hashed and lead to its root.

        step: called once a bundle; may raise to end it. Raises Damaged before the first entry.
        """
        if start > upto.size:
            raise Damaged("the index knows more entries than the main log", expected=upto.size, actual=start)
        compact = CompactRange.load(start, self._tree.reader(upto.size))
        for bundle in self._bundles(start, upto.size, step):
            compact = compact.extend(bundle)
        require_root(compact, upto.size, upto.root)
        # Read a second time rather than kept: a whole log may be behind.
        for bundle in self._bundles(start, upto.size, step):
            yield from bundle

    def _bundles(self, start: int, size: int, step: Callable[[], None]) -> Iterator[list[bytes]]:
        while start < size:
            step()
            index, skip = divmod(start, WIDTH)
            bundle = self._tree.bundle(index, size)[skip:]
            start += len(bundle)
            yield bundle
