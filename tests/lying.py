"""A log behind real HTTP that lies: one lie for each way in which a server can, signed with the log's own keys.

A log of plain entries as c2sp.org/tlog-tiles serves it, with four witnesses of whom three must cosign. They are as bad
as the log where a lie needs it: what nobody can refuse must be found by who has seen the log before.
"""

from __future__ import annotations

import contextlib
import enum
import gzip
import time
from collections.abc import Callable, Iterator, Sequence

from tests.client import logs
from tests.client.peers import Peer, Reply, peer

SEEN = 280  # entries of the honest log when a reader saw it first
SIZE = 300  # and now: a full tile and a partial one


class Lie(enum.StrEnum):
    FORK = "another tree of the size that was seen"
    REGROWN = "cut short and grown on with other entries"
    ROLLED_BACK = "smaller than it was"
    OLD = "a checkpoint that was cosigned long ago"
    TRUNCATED = "tiles and bundles cut short"
    FLIPPED = "one bit of each tile and bundle flipped"
    MIXED = "tiles and bundles of two trees"
    DRIP = "a byte a second"
    REDIRECT = "a redirect to another host"
    BOMB = "a gzip bomb"
    ENDLESS = "a body without end"
    WRONG = "a page for browsers"
    SILENT = "no answer at all"


TREE = (Lie.FORK, Lie.REGROWN, Lie.ROLLED_BACK, Lie.OLD)
"""Signed, and consistent in itself: seen by those alone who remember, or who know the time."""
TILES = (Lie.TRUNCATED, Lie.FLIPPED, Lie.MIXED)
TRANSPORT = (Lie.DRIP, Lie.REDIRECT, Lie.BOMB, Lie.ENDLESS, Lie.WRONG, Lie.SILENT)

PAGE = b"<!doctype html><title>\x1b[31mwelcome\x1b[0m</title>"
_REPLIES: dict[Lie, Reply] = {
    Lie.DRIP: Reply(endless=b"l", pause=1.0),
    Lie.REDIRECT: Reply(status=302, headers={"Location": "https://elsewhere.example/checkpoint"}),
    Lie.BOMB: Reply(gzip.compress(bytes(20 << 20)), headers={"Content-Encoding": "gzip"}),
    Lie.ENDLESS: Reply(endless=bytes(65_536)),
    Lie.WRONG: Reply(PAGE, headers={"Content-Type": "text/html"}),
    Lie.SILENT: Reply(hang=True),
}


class LyingLog:
    """``peer`` answers what ``show`` or ``tell`` was last given."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.url = peer.url
        self.policy = logs.policy_text(peer.url)

    def show(self, leaves: Sequence[bytes], cosigned: int | None = None) -> None:
        """An honest answer to everything. cosigned: POSIX seconds, None: now."""
        moment = int(time.time()) if cosigned is None else cosigned
        self.peer.answers = {"/checkpoint": logs.sign(logs.head(leaves), time=moment)}
        self.peer.serve(logs.files(leaves))

    def honest(self, size: int) -> list[bytes]:
        leaves = logs.entries(size)
        self.show(leaves)
        return leaves

    def tell(self, lie: Lie, checkpoint: bool = False) -> None:
        """checkpoint: of the lies of the transport, for the checkpoint in place of the tiles."""
        leaves = self.honest(SIZE)
        other = [*leaves[:260], *logs.entries(SIZE - 260, "other")]
        if lie is Lie.FORK:
            self.show(other[:SEEN])
        elif lie is Lie.REGROWN:
            self.show(other)
        elif lie is Lie.ROLLED_BACK:
            self.show(leaves[:270])
        elif lie is Lie.OLD:
            self.show(leaves[:SEEN], cosigned=int(time.time()) - 30 * 86_400)
        elif lie is Lie.TRUNCATED:
            self._spoil(lambda _, data: data[: len(data) // 2])
        elif lie is Lie.FLIPPED:
            self._spoil(lambda _, data: bytes([data[0] ^ 1]) + data[1:])
        elif lie is Lie.MIXED:
            false = logs.files(other)
            self._spoil(lambda path, data: false[path] if ".p/" in path else data)
        elif checkpoint:
            self.peer.answers["/checkpoint"] = _REPLIES[lie]
        else:
            for path in [path for path in self.peer.answers if path != "/checkpoint"]:
                self.peer.answers[path] = _REPLIES[lie]

    def _spoil(self, change: Callable[[str, bytes], bytes]) -> None:
        for path, data in self.peer.answers.items():
            if path != "/checkpoint":
                assert isinstance(data, bytes)
                self.peer.answers[path] = change(path[1:], data)


@contextlib.contextmanager
def lying() -> Iterator[LyingLog]:
    with peer() as found:
        yield LyingLog(found)
