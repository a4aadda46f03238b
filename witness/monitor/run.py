"""A monitor's life: look, tell, wait; the folder's settings read again before each look."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from teelog.client.http import HttpClient, check_url
from teelog.client.places import sources
from teelog.client.source import DirectorySource, HttpSource, TileSource, is_url, public_directory
from teelog.errors import MalformedError, RefusedError, TeelogError, UnavailableError
from teelog.tlog.tiles import Bundle, Tile
from teelog.witness.monitor import settings as files
from teelog.witness.monitor import views
from teelog.witness.monitor.folder import FEED, Folder
from teelog.witness.monitor.follow import Follower, Progress
from teelog.witness.monitor.index_follow import IndexFollower
from teelog.witness.monitor.looked import Look
from teelog.witness.monitor.outlets import Outlets, write_feed
from teelog.witness.monitor.settings import Settings
from teelog.witness.monitor.state import State
from teelog.witness.monitor.views import Place, Role, View

HTTP_SECONDS = 30.0  # for one file of a log
LOOK_SECONDS = 300.0  # that one look may take over a log's entries, while others follow
TELL_SECONDS = 30.0  # for the outlets, after the last look


@dataclass(slots=True)
class Clock:
    """Time as it passes; tests give their own."""

    now: Callable[[], int] = lambda: int(time.time())
    monotonic: Callable[[], float] = time.monotonic


@asynccontextmanager
async def places(settings: Settings, seconds: float = HTTP_SECONDS) -> AsyncIterator[list[Place]]:
    """Where the log can be seen: itself first, then its mirrors, then its witnesses. Raises ConfigError."""
    policy = settings.main()
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(HttpClient(seconds))
        found = [Place(Role.LOG, policy.origins()[0], _source(http, settings.place))]
        origin = policy.origins()[0]
        found += [Place(Role.MIRROR, each, _Mirror(sources(http, each, origin))) for each in settings.mirrors]
        asked = await stack.enter_async_context(HttpClient(views.WITNESS_SECONDS))
        yield [*found, *views.witness_places(asked, policy, policy.origins()[0])]


class _Mirror:
    """Where a mirror may have the log: at its place, or below its prefix. The first that has a checkpoint is read."""

    def __init__(self, sources: Sequence[TileSource]) -> None:
        self._sources = sources
        self._chosen = sources[0]

    @property
    def name(self) -> str:
        return self._chosen.name

    async def checkpoint(self) -> bytes:
        first: TeelogError | None = None
        for source in self._sources:
            try:
                found = await source.checkpoint()
            except (RefusedError, MalformedError, UnavailableError) as error:
                first = first or error
                continue
            self._chosen = source
            return found
        assert first is not None
        raise first

    async def tile(self, tile: Tile) -> bytes:
        return await self._chosen.tile(tile)

    async def bundle(self, bundle: Bundle) -> bytes:
        return await self._chosen.bundle(bundle)


def _source(http: HttpClient, place: str) -> TileSource:
    return HttpSource(http, place) if is_url(place) else DirectorySource(public_directory(Path(place)))


async def look(
    folder: Folder,
    state: State,
    settings: Settings,
    now: int,
    progress: Progress = lambda _what, _count: None,
    step: Callable[[str], object] = lambda _: None,
    enough: Callable[[], bool] = lambda: False,
) -> Look:
    """Looks once, and keeps what was found. enough: see ``Follower``. Raises ConfigError, OSError, sqlite3.Error."""
    follower = Follower(folder, state, settings, now, progress, step, enough)
    async with places(settings) as found:
        index, policy = None, settings.index()
        if policy is not None:
            async with HttpClient(HTTP_SECONDS) as http, HttpClient(views.WITNESS_SECONDS) as asked:
                url = check_url(settings.place) if is_url(settings.place) else None
                root = settings.place.rstrip("/")
                inner = HttpSource(http, f"{root}/index") if url else _index_directory(root)
                witnesses = views.witness_places(asked, policy, policy.origins()[0])
                follow = IndexFollower(folder, settings, url, now, witnesses, state.ledger.known)

                async def index(each: Follower, view: View) -> None:
                    each.add(await follow.look(each.followed, view, each.joined(view), inner, each.waiting))

                return await follower.look(found, index)
        return await follower.look(found, index)


def _index_directory(root: str) -> TileSource:
    return DirectorySource(public_directory(Path(root)) / "index")


class Monitor:
    """The loop. interval: seconds between two looks. polls: looks before it ends, None: for ever.

    said: called after each look, with what it saw or why it could not be made. changed: called with the settings as
    they were and are, where somebody has changed them since the last look. wait: returns after so many seconds, or
    at once with True when it is to stop.
    """

    def __init__(
        self,
        folder: Folder,
        state: State,
        clock: Clock,
        said: Callable[[Look | TeelogError], object],
        wait: Callable[[float], Awaitable[bool]],
        progress: Progress = lambda _what, _count: None,
        step: Callable[[str], object] = lambda _: None,
        changed: Callable[[Settings, Settings], object] = lambda _before, _after: None,
    ) -> None:
        self._folder = folder
        self._state = state
        self._changed = changed
        self._clock = clock
        self._said = said
        self._wait = wait
        self._progress = progress
        self._step = step
        self._settings: Settings | None = None
        self._seconds = math.inf
        self.outlets = Outlets(folder, state, clock.now, clock.monotonic)

    async def run(self, interval: float, polls: int | None = None) -> None:
        """Raises ConfigError at the first look; later ones are told and tried again. OSError, sqlite3.Error end it."""
        done = 0
        # Who asks for so many looks means whole ones; who stays must not wait for a log that drips.
        self._seconds = LOOK_SECONDS if polls is None else math.inf
        try:
            while True:
                await self._look(first=done == 0)
                self._tell()
                done += 1
                if polls is not None and done >= polls:
                    await self.outlets.settle(TELL_SECONDS)
                    return
                if await self._wait(interval):
                    return
        finally:
            await self.outlets.stop()

    def _tell(self) -> None:
        if self._settings is not None:
            self.outlets.start(self._settings)

    async def _look(self, *, first: bool) -> None:
        def step(what: str) -> None:
            # While it catches up, too: what was found at the start of a long log need not wait for its end.
            self._tell()
            self._step(what)

        try:
            before, settings = self._settings, files.read(self._folder.path)
            self._settings = settings
            if before is not None and before != settings:
                self._changed(before, settings)
            self._state.settle(settings.settled, self._clock.now())
            until = self._clock.monotonic() + self._seconds
            seen = await look(
                self._folder,
                self._state,
                settings,
                self._clock.now(),
                self._progress,
                step,
                lambda: self._clock.monotonic() > until,
            )
        except TeelogError as error:
            if first:
                raise
            self._said(error)
            return
        if any(sink.kind == "atom" for sink in settings.sinks):
            write_feed(self._folder.path / FEED, self._state, self._state.followed())
        self._said(seen)
