"""The main log as its index reads it: what is published, from the public files alone.

Nothing that the main log's writer holds in memory is used: the index could as well be built elsewhere. Entries are hashed
again on their way, and have to lead to the published root.
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
        self._compact = CompactRange(0, ())

    def published(self) -> Published:
        """The newest published checkpoint. Raises UnavailableError, Damaged."""
        data = self._files.checkpoint()
        if data is None:
            raise UnavailableError("the main log has no published checkpoint")
        return self.open(data)

    def open(self, data: bytes) -> Published:
        """A checkpoint of the main log. Raises Damaged."""
        try:
            found = open_checkpoint(data, self.vkeys, self.origin)
        except TeelogError as error:
            raise Damaged("a checkpoint is not the main log's", actual=error.message) from error
        return Published(found.checkpoint.size, found.checkpoint.root, data, found.note)

    def begin(self, size: int, at: Published) -> None:
        """``entries`` begin at ``size``, which ``at`` covers. Raises Damaged."""
        if size > at.size:
            raise Damaged("the index knows more entries than the main log", expected=at.size, actual=size)
        self._compact = CompactRange.load(size, self._tree.reader(at.size))

    def entries(self, upto: Published, read: Callable[[int], None] = lambda _: None) -> Iterator[bytes]:
        """The entries from where the last call ended up to the size of ``upto``.

        read: told how far it is, once a bundle; may raise to end it. Raises Damaged at the end if they do not lead to
        ``upto``'s root; whatever ends it early, ``begin`` has to come before the next call.
        """
        compact = self._compact
        while compact.size < upto.size:
            read(compact.size)
            index, skip = divmod(compact.size, WIDTH)
            bundle = self._tree.bundle(index, upto.size)[skip:]
            compact = compact.extend(bundle)
            yield from bundle
        require_root(compact, upto.size, upto.root)
        self._compact = compact
