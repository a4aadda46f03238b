"""Tells every outlet what it has not been told yet, each at its own pace: one that is dead holds up nobody.

What was told is written down after it was told, so a kill repeats an alert and never loses one; receivers know it again
by its id and number. Alerts leave in the order of their numbers, and none is skipped: one that a receiver refuses is
sent without its text and its subject, which may be a stranger's and offend a filter; if that is refused, too, the
outlet waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from teelog import durable
from teelog.client import outbound
from teelog.errors import ConfigError, RefusedError, TeelogError, UnavailableError
from teelog.witness.monitor.finding import Alert, Finding, Kind
from teelog.witness.monitor.folder import FEED, Folder
from teelog.witness.monitor.notify import atom, webhook
from teelog.witness.monitor.notify.jsonl import JsonLines
from teelog.witness.monitor.settings import Settings, SinkSettings
from teelog.witness.monitor.state import Followed, State

FIRST_PAUSE, LAST_PAUSE = 5.0, 600.0  # seconds after a failure
MAX_RETRY_AFTER = 60.0  # seconds that a receiver may have an outlet wait before it goes on
AT_ONCE = 100  # alerts read from the ledger at a time


class Outlet(Protocol):
    """Where alerts go. whole: what it writes holds the alerts before as well, so the last of several will do."""

    whole: bool

    async def tell(self, alert: Alert, followed: Followed) -> None:
        """Returns once the alert is there for good. Raises UnavailableError, RefusedError, ConfigError."""


class _Feed:
    """The whole feed is written anew: what matters is that it is as new as the alert."""

    whole = True

    def __init__(self, path: Path, state: State) -> None:
        self._path = path
        self._state = state

    async def tell(self, alert: Alert, followed: Followed) -> None:  # noqa: ARG002
        write_feed(self._path, self._state, followed)


def write_feed(path: Path, state: State, followed: Followed) -> None:
    """Raises UnavailableError."""
    try:
        durable.replace(path, atom.feed(state.ledger.newest(atom.MAX_ENTRIES), followed))
    except OSError as error:
        raise UnavailableError(f"cannot write {path}", actual=error.strerror) from error


@asynccontextmanager
async def opened(folder: Folder, sink: SinkSettings, state: State, clock: Callable[[], int]) -> AsyncIterator[Outlet]:
    """The outlet that the settings describe. Raises ConfigError."""
    if sink.kind == "jsonl":
        yield JsonLines(folder.path.absolute().parent / sink.target)
    elif sink.kind == "atom":
        yield _Feed(folder.path / FEED, state)
    elif sink.kind == "webhook":
        key = webhook.read_key(folder.keys, sink.name)
        async with outbound.session(local=sink.allow_local) as http:
            yield webhook.Webhook(http, sink.target, key, clock, local=sink.allow_local)
    else:
        raise ConfigError("no such outlet", expected="webhook, atom or jsonl", actual=sink.kind[:80])


async def test(folder: Folder, sink: SinkSettings, state: State, clock: Callable[[], int]) -> None:
    """Sends an alert of kind ``test``, number 0, which stands in no ledger. Raises what the outlet raises."""
    followed, now = state.followed(), clock()
    found = Finding(Kind.TEST, followed.origin, sink.name, "a test: alerts of this monitor arrive here")
    async with opened(folder, sink, state, clock) as outlet:
        await outlet.tell(Alert(0, found, now, now, now), followed)


class Outlets:
    """monotonic: seconds. clock: POSIX seconds."""

    def __init__(self, folder: Folder, state: State, clock: Callable[[], int], monotonic: Callable[[], float]) -> None:
        self._folder = folder
        self._state = state
        self._clock = clock
        self._monotonic = monotonic
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pauses: dict[str, tuple[float, float]] = {}  # name -> (pause, until)

    def start(self, settings: Settings) -> None:
        """Lets every outlet catch up, those that still are left alone. Returns at once.

        Raises what an outlet before met that is no outlet's failure, such as sqlite3.Error.
        """
        names = [sink.name for sink in settings.sinks]
        self._state.unasked(names)
        for name in self._tasks.keys() - set(names):
            self._tasks.pop(name).cancel()  # it is told no longer, wherever it is
        for sink in settings.sinks:
            task = self._tasks.get(sink.name)
            if task is not None and task.done():
                task.result()
            if task is None or task.done():
                self._tasks[sink.name] = asyncio.ensure_future(self._catch_up(sink))

    async def settle(self, seconds: float) -> None:
        """Waits until each outlet was told everything, or failed once; at most so long."""
        tasks = [task for task in self._tasks.values() if not task.done()]
        if tasks:
            for task in (await asyncio.wait(tasks, timeout=seconds))[0]:
                task.result()

    async def stop(self) -> None:
        """Ends what is under way."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _catch_up(self, sink: SinkSettings) -> None:
        pause, until = self._pauses.get(sink.name, (FIRST_PAUSE, 0.0))
        if self._monotonic() < until:
            return
        before = self._state.told(sink.name)
        try:
            async with AsyncExitStack() as stack:
                outlet = await stack.enter_async_context(opened(self._folder, sink, self._state, self._clock))
                await self._tell_all(sink, outlet)
        except TeelogError as error:
            self._state.untold(sink.name, self._clock(), str(error)[:500])
            if self._state.told(sink.name) > before:
                pause = FIRST_PAUSE  # it works, if not for all at once
            self._pauses[sink.name] = (min(LAST_PAUSE, 2 * pause), self._monotonic() + pause)
        else:
            self._pauses.pop(sink.name, None)

    async def _tell_all(self, sink: SinkSettings, outlet: Outlet) -> None:
        while True:
            followed = self._state.followed()
            after = max(sink.after, self._state.told(sink.name))
            alerts = list(self._state.ledger.alerts(after, limit=AT_ONCE))
            if not alerts:
                return
            for alert in alerts[-1:] if outlet.whole else alerts:
                await _tell(outlet, alert, followed)
                self._state.tell(sink.name, alert.number)


async def _tell(outlet: Outlet, alert: Alert, followed: Followed) -> None:
    """Tells one alert, once more where the receiver says when. Raises as ``Outlet.tell``."""
    try:
        await _tell_once(outlet, alert, followed)
    except UnavailableError as error:
        if error.retry_after is None or error.retry_after > MAX_RETRY_AFTER:
            raise
        await asyncio.sleep(error.retry_after)
        await _tell_once(outlet, alert, followed)


async def _tell_once(outlet: Outlet, alert: Alert, followed: Followed) -> None:
    try:
        await outlet.tell(alert, followed)
    except RefusedError:
        await outlet.tell(replace(alert, withheld=True), followed)
