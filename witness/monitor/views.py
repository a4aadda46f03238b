"""What a log shows, and to whom: its checkpoint as the log itself gives it, as its witnesses publish it, as mirrors do.

A log that shows the monitor one tree and somebody else another is caught only where both can be seen.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Sequence
from dataclasses import dataclass

from teelog.client.http import HttpClient
from teelog.client.log import LogReader
from teelog.client.source import HttpSource, TileSource
from teelog.errors import MalformedError, RefusedError, TeelogError, UnavailableError, VerificationError
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.fork import ForkProof, find_fork
from teelog.tlog.policy import Policy, WitnessedCheckpoint, read_checkpoint
from teelog.tlog.vkey import VerifierKey
from teelog.witness.published import origin_hash

WITNESS_SECONDS = 10.0
READ_ERRORS = (UnavailableError, RefusedError, MalformedError, VerificationError)


class Role(enum.StrEnum):
    LOG = "log"
    MIRROR = "mirror"
    WITNESS = "witness"
    EARLIER = "earlier"  # what the log itself showed at another look


@dataclass(frozen=True, slots=True)
class Place:
    """Where a view comes from. name: for people. source: a witness's gives checkpoints only."""

    role: Role
    name: str
    source: TileSource

    def __str__(self) -> str:
        return self.role.value if self.role is Role.LOG else f"{self.role} {self.name}"


@dataclass(frozen=True, slots=True)
class View:
    """What a place showed: a checkpoint signed by the log with its note, or why there is none."""

    place: Place
    seen: WitnessedCheckpoint | None
    note: bytes
    trouble: TeelogError | None

    @property
    def checkpoint(self) -> Checkpoint:
        assert self.seen is not None
        return self.seen.checkpoint

    @property
    def cosigned(self) -> int:
        """POSIX seconds of the newest cosignature, 0 without one."""
        return 0 if self.seen is None else newest(self.seen)


def newest(seen: WitnessedCheckpoint) -> int:
    """POSIX seconds of a checkpoint's newest cosignature, 0 without one."""
    return max((line.timestamp or 0 for line in seen.cosignatures.values()), default=0)


def witness_places(http: HttpClient, policy: Policy, origin: str) -> list[Place]:
    """The monitoring paths (c2sp.org/tlog-witness) of the witnesses that the policy says the URL of."""
    found = {}
    for witness in policy.witnesses.values():
        if witness.url and witness.url not in found:
            url = f"{witness.url.rstrip('/')}/{origin_hash(origin)}"
            found[witness.url] = Place(Role.WITNESS, witness.key.name, HttpSource(http, url))
    return list(found.values())


async def look(places: Sequence[Place], policy: Policy, origin: str) -> list[View]:
    """All at once; who does not answer in time is told, and holds nobody up."""
    return list(await asyncio.gather(*(_look(place, policy, origin) for place in places)))


async def _look(place: Place, policy: Policy, origin: str) -> View:
    try:
        note = await place.source.checkpoint()
        return View(place, read_checkpoint(note, policy, origin=origin), note, None)
    except READ_ERRORS as error:
        return View(place, None, b"", error)


async def compare(
    kept: tuple[Checkpoint, bytes],
    own: TileSource,
    view: View,
    others: Sequence[TileSource],
    keys: tuple[VerifierKey, ...],
) -> ForkProof | None:
    """A fork proof where a view is of another tree than the one that was followed; None where it is the same.

    own: the followed tree's tiles. others: where the tiles of a larger view may be. Raises, where it cannot be told,
    what reading those raises.
    """
    followed, note = kept
    shown = view.checkpoint
    if followed.size == 0 or shown.size == 0:
        return None
    if shown.size <= followed.size:
        return await _fork(own, kept, (shown, view.note), keys)
    error: TeelogError | None = None
    for source in others:
        try:
            return await _fork(source, (shown, view.note), (followed, note), keys)
        except READ_ERRORS as failed:
            error = error or failed
    assert error is not None
    raise error


async def _fork(
    source: TileSource, large: tuple[Checkpoint, bytes], small: tuple[Checkpoint, bytes], keys: tuple[VerifierKey, ...]
) -> ForkProof | None:
    head, size = large[0], small[0].size
    if head.size == size:
        return find_fork(small, large, keys=keys)
    root, proof = await LogReader(source, head.size, head.root).prove_consistency(size)
    return find_fork(small, large, proof, root, keys)


async def root_at(reader: LogReader, size: int) -> bytes:
    """The root of the first ``size`` entries of the tree that ``reader`` reads. Raises READ_ERRORS."""
    return reader.root if size == reader.size else (await reader.prove_consistency(size))[0]
