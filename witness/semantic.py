"""The semantic witness: an index log's checkpoint is cosigned once its map roots were rebuilt from the log's entries.

The engine asks the gate about each checkpoint that it would cosign. The gate looks at facts and never waits; a thread
of its own (``teelog.witness.rebuilder``) reads the logs, rebuilds their indexes, and replaces the facts:

    not read yet, or behind     503 + Retry-After, and the thread is told what to catch up with
    the log cannot be read      503 + Retry-After, with the cause
    rebuilt, roots equal        the engine goes on, and signs
    something signed is wrong   422; what shows it is kept as evidence
    the log is frozen           403, for an unchanged checkpoint too

It fails closed: a log of which nothing is known, as after a restart, gets no signature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from teelog.tlog.checkpoint import Checkpoint
from teelog.witness.decide import Answer, Cosign, refuse
from teelog.witness.state import LogEntry

MAX_WAIT = 60  # seconds; the longest Retry-After

FROZEN = refuse(HTTPStatus.FORBIDDEN, "the log is frozen: its index is cosigned no more")
NOT_AN_INDEX = refuse(HTTPStatus.FORBIDDEN, "a semantic witness cosigns index logs only")
BEHIND = b"the index is being rebuilt from the log's entries: try again later\n"


@dataclass(frozen=True, slots=True)
class Target:
    """A checkpoint of an index log that would be cosigned if its map roots are right.

    note: as the log signed it. entry: the log's row in the list.
    """

    checkpoint: Checkpoint
    note: bytes
    entry: LogEntry

    @property
    def origin(self) -> str:
        return self.checkpoint.origin

    @property
    def key(self) -> tuple[int, bytes]:
        return self.checkpoint.size, self.checkpoint.root


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an index log.

    roots: of index sizes that were followed and found right. frozen: as of the largest of them. refused: (size, root)
    that are wrong, and why. trouble: why the log could not be read; it is tried again at ``until``. since: when the
    attempt under way began. Both in monotonic seconds.
    """

    roots: Mapping[int, bytes] = field(default_factory=dict)
    frozen: bool = False
    refused: Mapping[tuple[int, bytes], Answer] = field(default_factory=dict)
    trouble: str | None = None
    until: float = 0.0
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Pending(Answer):
    """503 while behind. done: set when it is worth asking again."""

    done: Future[None] = field(default_factory=Future)


class Rebuilding(Protocol):
    """The other side. Both are called from the engine's thread."""

    def facts(self, origin: str) -> Facts | None:
        """None: nothing was read yet, not even what is kept on disk."""

    def want(self, target: Target) -> Future[None]:
        """Starts to catch up with ``target``, if that is not under way. Set when it is worth asking again."""


class Gate:
    """What the engine asks before it cosigns. monotonic: seconds."""

    def __init__(
        self, rebuilding: Rebuilding, entry: Callable[[str], LogEntry | None], monotonic: Callable[[], float]
    ) -> None:
        self._rebuilding = rebuilding
        self._entry = entry
        self._monotonic = monotonic

    def __call__(self, move: Cosign) -> Answer | None:
        """Why ``move`` must not be signed, None if it may be."""
        entry = self._entry(move.origin)
        if entry is None or not entry.main:
            return NOT_AN_INDEX
        target = Target(Checkpoint(move.origin, move.head.size, move.head.root), move.head.note, entry)
        facts = self._rebuilding.facts(move.origin)
        if facts is not None:
            # Protocol section 3: "signs nothing more for that origin, not even a refresh".
            if facts.frozen:
                return FROZEN
            refused = facts.refused.get(target.key)
            if refused is not None:
                return refused
            if facts.roots.get(target.checkpoint.size) == target.checkpoint.root:
                return None
            if facts.trouble is not None and self._monotonic() < facts.until:
                return unavailable(facts.trouble, facts.until - self._monotonic())
        since = None if facts is None else facts.since
        # The longer it takes already, the later it is worth asking.
        wait = 1.0 if since is None else (self._monotonic() - since) / 4
        return Pending(
            HTTPStatus.SERVICE_UNAVAILABLE, BEHIND, retry_after=_seconds(wait), done=self._rebuilding.want(target)
        )


def unavailable(reason: str, seconds: float) -> Answer:
    """503 with the cause."""
    return Answer(HTTPStatus.SERVICE_UNAVAILABLE, reason.encode() + b"\n", retry_after=_seconds(seconds))


def _seconds(seconds: float) -> int:
    return max(1, min(MAX_WAIT, round(seconds)))
