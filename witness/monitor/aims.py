"""Checkpoints that were begun and not followed to their end: each may be of another tree, and none is forgotten.

One is settled once what was followed is as long: then the two fit together, or are a fork proof.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from teelog.tlog.policy import Policy, WitnessedCheckpoint, read_checkpoint

MAX_AIMS = 16  # kept; a log that begins more trees than these is told of, and no more are kept


class Aims:
    """data: as ``encode`` gave it. policy: of the log."""

    def __init__(self, data: bytes, policy: Policy) -> None:
        self._notes: list[str] = msgspec.json.decode(data, type=list[str]) if data else []
        self._policy = policy

    def encode(self) -> bytes:
        return msgspec.json.encode(self._notes) if self._notes else b""

    def __iter__(self) -> Iterator[tuple[WitnessedCheckpoint, bytes]]:
        return iter([(read_checkpoint(each.encode(), self._policy), each.encode()) for each in self._notes])

    @property
    def full(self) -> bool:
        """Whether some may have been left out."""
        return len(self._notes) >= MAX_AIMS

    def add(self, seen: WitnessedCheckpoint, note: bytes) -> None:
        """Takes one, unless its very tree is here already."""
        known = {(each.checkpoint.size, each.checkpoint.root) for each, _ in self}
        if (seen.checkpoint.size, seen.checkpoint.root) not in known and not self.full:
            self._notes.append(note.decode())

    def settle(self, note: bytes) -> None:
        """It was compared."""
        self._notes.remove(note.decode())
