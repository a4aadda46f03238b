"""A pool with its whole log behind it in memory: the front's counterpart in tests, and a second implementation of the
contract in test_pool_contract.py. Every submission is a batch of its own; public objects go to a directory.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path

from teelog.keys import Algorithm, private_key_from_seed
from teelog.log_server.seams import NAMESPACE, Admitted, Logged, Outcome, Rejected
from teelog.tlog import note, rfc6962, tiles
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.vkey import NoteSigner, SignatureType

ORIGIN = "log.example/tee"
SIGNER = NoteSigner.of(
    ORIGIN, SignatureType.ED25519, private_key_from_seed(Algorithm.ED25519, hashlib.sha256(b"memory log").digest())
)


class MemoryPool:
    """refusal: raised by every submission while it is set. rejection: of every new entry while it is set.

    gate: nothing is published while it is cleared.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.refusal: Exception | None = None
        self.rejection: Rejected | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.entries: list[bytes] = []
        self.leaves: list[bytes] = []
        self.submitted = 0
        self._known: dict[bytes, int] = {}
        self._statements: dict[bytes, int] = {}
        self._namespaces: list[tuple[int, bytes]] = []
        self._versions: dict[str, int] = {}
        self._edge = tiles.Edge()
        self._note = b""
        self._sealing = asyncio.Lock()
        self._publish()

    @property
    def size(self) -> int:
        return len(self.leaves)

    @property
    def note(self) -> bytes:
        return self._note

    async def submit(self, entries: Sequence[Admitted]) -> list[Outcome]:
        if not entries:
            return []
        if self.refusal is not None:
            raise self.refusal
        self.submitted += len(entries)
        # Like the real one: what is taken is logged, whether or not the caller still waits (AP-03).
        return await asyncio.shield(asyncio.ensure_future(self._seal(list(entries))))

    async def _seal(self, entries: list[Admitted]) -> list[Outcome]:
        async with self._sealing:
            await self.gate.wait()
            before = self.size
            decided = [self._decide(entry) for entry in entries]
            self._write(before)
            self._publish()
            return [
                place if isinstance(place, Rejected) else self._logged(place, fresh and first)
                for place, fresh, first in decided
            ]

    def _decide(self, entry: Admitted) -> tuple[int | Rejected, bool, bool]:
        known = self._known.get(entry.leaf)
        if known is not None:
            return known, False, False
        if entry.statement is not None and (same := self._statements.get(entry.statement)) is not None:
            return self._reject("conflict", self.leaves[same]), False, False
        if self.rejection is not None:
            return self.rejection, False, False
        place = entry.place
        if place is not None and place.kind == NAMESPACE:
            if place.position != self._versions.get(place.name, 0):
                return self._reject("conflict", None), False, False
            self._versions[place.name] = place.position + 1
            self._namespaces.append((self.size, entry.entry))
        self._known[entry.leaf] = self.size
        if entry.statement is not None:
            self._statements[entry.statement] = self.size
        self.entries.append(entry.entry)
        self.leaves.append(entry.leaf)
        return self.size - 1, True, True

    @staticmethod
    def _reject(kind: str, leaf: bytes | None) -> Rejected:
        return Rejected(409, kind, "conflicts with a logged entry", leaf)

    async def find(self, leaf: bytes) -> Logged | None:
        index = self._known.get(leaf)
        return None if index is None else self._logged(index, False)

    async def namespaces(self, since: int = 0) -> list[tuple[int, bytes]]:
        return [(index, entry) for index, entry in self._namespaces if index >= since]

    # -- the log ------------------------------------------------------------------------------------------------------

    def append(self, entries: Sequence[bytes]) -> None:
        """Logs raw entries in one batch."""
        before = self.size
        for entry in entries:
            leaf = rfc6962.leaf_hash(entry)
            self._known.setdefault(leaf, self.size)
            self.entries.append(entry)
            self.leaves.append(leaf)
        self._write(before)
        self._publish()

    def stage(self, entries: Sequence[bytes]) -> None:
        """Writes the tiles of a checkpoint that is signed, yet not published."""
        before = self.size
        self.entries += entries
        self.leaves += map(rfc6962.leaf_hash, entries)
        self._write(before)

    def _write(self, before: int) -> None:
        if before == self.size:
            return
        self._edge, new = self._edge.append(self.leaves[before:])
        for tile, data in new.items():
            self._put(tile.path, data)
        for bundle in tiles.new_bundles_between(before, self.size):
            first = bundle.index * tiles.WIDTH
            self._put(bundle.path, tiles.encode_bundle(self.entries[first : first + bundle.width]))

    def _put(self, path: str, data: bytes) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    def _publish(self) -> None:
        text = Checkpoint(ORIGIN, self._edge.size, self._edge.root()).body()
        self._note = note.encode(text, [SIGNER.sign(text, 1)])
        self._put("checkpoint", self._note)

    def _logged(self, index: int, fresh: bool) -> Logged:
        return Logged(index, fresh, tuple(rfc6962.prove_inclusion(index, self.size, self._read)), self._note)

    def _read(self, nodes: Sequence[tuple[int, int]]) -> list[bytes]:
        return [rfc6962.root_of_leaves(self.leaves[i << level : (i + 1) << level]) for level, i in nodes]
