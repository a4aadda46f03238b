"""Many entries handed to a log in batches: each has a verdict of its own, whatever becomes of the others.

What a log refuses for the moment only (a quota, a full pool, keys that changed meanwhile) is sent again until the
deadline, and what it holds already is no failure: the same call again goes on where an earlier one was stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from teelog.client.http import HttpClient, Refusal
from teelog.client.publish import WAIT_FIRST, WAIT_MOST, Published, Tell, publish_batch
from teelog.errors import ConfigError, MisbehaviourError, RefusedError, TeelogError, UnavailableError
from teelog.tlog.policy import Policy

BATCH_ENTRIES = 512
"""Entries of one request; a log takes 1,024 by default."""
BATCH_BYTES = 1 << 22
"""Bytes of one request; a log takes 8 MiB by default."""
AT_ONCE = 4
"""Requests under way: an answer comes when its entries are published, and the next ones need not wait for that."""

TOO_LARGE = 413
_FOR_NOW = ("stale", "quota", "busy", "unavailable")  # kinds of problems that time may solve

Outcome = Published | TeelogError
Settled = Callable[[int, Outcome], None]
"""Called once an entry, by its place, as soon as it is known what became of it."""


async def publish_many(
    http: HttpClient,
    url: str,
    entries: Sequence[bytes],
    policy: Policy,
    settled: Settled,
    *,
    timeout: float,
    tell: Tell,
) -> None:
    """Publishes ``entries``, at most a batch of them, in one request; in several where the log takes no such batch.

    timeout: seconds in which to succeed. Raises only what concerns every entry: ConfigError, MisbehaviourError.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    left, wait = list(range(len(entries))), WAIT_FIRST
    while left:
        try:
            batch, remaining = [entries[place] for place in left], max(0.1, deadline - loop.time())
            verdicts = await publish_batch(http, url, batch, policy, timeout=remaining, tell=tell)
        except (ConfigError, MisbehaviourError):
            raise
        except TeelogError as error:
            if isinstance(error, RefusedError) and error.status == TOO_LARGE and len(left) > 1:
                await _in_halves(http, url, entries, left, policy, settled, timeout=deadline - loop.time(), tell=tell)
                return
            for place in left:
                settled(place, error)
            return
        again: dict[int, Refusal] = {}
        for place, verdict in zip(left, verdicts, strict=True):
            if isinstance(verdict, Refusal) and verdict.problem.kind in _FOR_NOW:
                again[place] = verdict
            else:
                settled(place, verdict)
        if loop.time() + wait >= deadline:
            for place, refusal in again.items():
                settled(place, UnavailableError(refusal.message, expected=refusal.expected, actual=refusal.actual))
            return
        if again:
            tell(UnavailableError(f"{len(again)} of {len(left)} entries: {next(iter(again.values())).message}"), wait)
            await asyncio.sleep(wait)
            wait = min(WAIT_MOST, wait * 2)
        left = list(again)


async def _in_halves(
    http: HttpClient,
    url: str,
    entries: Sequence[bytes],
    places: Sequence[int],
    policy: Policy,
    settled: Settled,
    *,
    timeout: float,
    tell: Tell,
) -> None:
    middle = len(places) // 2
    for half in (places[:middle], places[middle:]):

        def told(place: int, outcome: Outcome, half: Sequence[int] = half) -> None:
            settled(half[place], outcome)

        part = [entries[place] for place in half]
        await publish_many(http, url, part, policy, told, timeout=max(0.1, timeout), tell=tell)
