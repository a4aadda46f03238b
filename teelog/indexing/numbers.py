"""Numbers of pages: which are free, and which will be once no published version needs them (``edit.Space``).

A page is in the versions from the one that wrote it (born) up to the one that had it no longer (died). It may be
written over once no version that is still kept lies between: then its number is spare.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Callable
from struct import Struct

from teelog.index.pages import Page

_PIECE = 1_024  # spare numbers in a row
_PAIR = Struct("<QQ")


class Numbers:
    """Within one transaction of the writer: changes are on disk with ``save``, and void with the transaction.

    version: the one being made. next_page: larger than all numbers in use. forget: told of every page that the newest
    version has no longer.
    """

    def __init__(self, db: sqlite3.Connection, next_page: int, forget: Callable[[int], object]) -> None:
        self._db = db
        self._forget = forget
        self.version = 0
        self.next_page = next_page
        self._kept: list[int] = []
        self._freed: list[tuple[int, int]] = []
        self._pieces: dict[int, array[int]] = {}
        for piece, body in db.execute("SELECT piece, body FROM spare ORDER BY piece"):
            self._pieces[piece] = array("Q", body)
        self._changed: set[int] = set()
        self.refresh()

    def refresh(self) -> None:
        """Reads which versions are kept."""
        self._kept = [row[0] for row in self._db.execute("SELECT DISTINCT seq FROM version ORDER BY seq")]

    def take(self) -> int:
        if self._pieces:
            piece = next(reversed(self._pieces))
            numbers = self._pieces[piece]
            self._changed.add(piece)
            number = numbers.pop()
            if not numbers:
                del self._pieces[piece]
            return number
        self.next_page += 1
        return self.next_page - 1

    def needed(self, page: Page) -> bool:
        # The newest version has it, so every version since its birth has.
        return bool(self._kept) and page.born <= self._kept[-1]

    def free(self, page: Page) -> None:
        self._forget(page.number)
        if self.needed(page):
            self._freed.append((page.number, page.born))
        else:
            self._spare(page.number)

    def drop(self, seq: int) -> None:
        """Version ``seq`` is no longer kept; a later one is."""
        before = max((kept for kept in self._kept if kept < seq), default=-1)
        self._kept.remove(seq)
        after = next(kept for kept in self._kept if kept > seq)
        # All that needed this version and not the next one; what an earlier kept version has, too, has to wait for it.
        rows = self._db.execute("SELECT seq, body FROM freed WHERE seq > ? AND seq <= ?", (seq, after)).fetchall()
        for died, body in rows:
            waiting = []
            for number, born in _PAIR.iter_unpack(body):
                if born <= before:
                    waiting.append(_PAIR.pack(number, born))
                else:
                    self._spare(number)
            if waiting:
                self._db.execute("UPDATE freed SET body = ? WHERE seq = ?", (b"".join(waiting), died))
            else:
                self._db.execute("DELETE FROM freed WHERE seq = ?", (died,))

    def save(self) -> None:
        """Writes what changed."""
        if self._freed:
            body = b"".join([_PAIR.pack(number, born) for number, born in self._freed])
            self._db.execute("INSERT INTO freed VALUES (?, ?)", (self.version, body))
            self._freed = []
        for piece in self._changed:
            numbers = self._pieces.get(piece)
            if numbers:
                self._db.execute("INSERT OR REPLACE INTO spare VALUES (?, ?)", (piece, numbers.tobytes()))
            else:
                self._db.execute("DELETE FROM spare WHERE piece = ?", (piece,))
        self._changed.clear()

    def _spare(self, number: int) -> None:
        piece = next(reversed(self._pieces), 0)
        if piece not in self._pieces or len(self._pieces[piece]) >= _PIECE:
            piece += 1
            self._pieces[piece] = array("Q")
        self._pieces[piece].append(number)
        self._changed.add(piece)
