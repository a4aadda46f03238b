"""The log's mirrors: each is brought to what is published, in the background (``[[mirror]]`` of log.toml).

A thread of its own, with an event loop of its own: no checkpoint and no answer waits for a mirror, and one mirror waits
for no other. What is pushed is read from the public files and verified like a stranger's, so that damage here is never
copied there. A mirror that says it has seen another tree of this log is not asked again and an alarm is raised (W-44).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp

from teelog.client.log import LogReader
from teelog.client.mirror_push import Mirror, Pushed, push
from teelog.client.source import DirectorySource
from teelog.client.witness import Inconsistent
from teelog.errors import ConfigError, RefusedError, TeelogError, UnavailableError
from teelog.log_server.config import Config, MirrorSettings
from teelog.log_server.directory import LogDirectory
from teelog.tlog import vkey
from teelog.tlog.policy import NONE, Log, Policy, WitnessedCheckpoint, read_checkpoint
from teelog.tlog.vkey import WITNESS_TYPES, VerifierKey

log = logging.getLogger("teelog.log_server")

PAUSE = 1.0  # seconds at least from one push to the next
LOOK = 10.0  # seconds after which the checkpoint is looked at unasked: the index log's is published elsewhere
AGAIN, AGAIN_MOST = 1.0, 60.0  # seconds between attempts that fail, doubled each time
CLOSE_SECONDS = 10.0


def mirrors(config: Config) -> list[tuple[Mirror, MirrorSettings]]:
    """The configured mirrors, checked. Raises ConfigError."""
    made = []
    for settings in config.mirror:
        texts = [settings.vkey] if isinstance(settings.vkey, str) else settings.vkey
        keys = tuple(vkey.parse_for(text, WITNESS_TYPES, "mirror") for text in texts)
        if not keys or len({key.name for key in keys}) != 1:
            raise ConfigError("a mirror has one or more keys of one name", actual=settings.url)
        if keys[0].name == config.origin:
            raise ConfigError("a mirror has the log's own name", actual=keys[0].name)
        made.append((Mirror(settings.url, keys), settings))
    names = [each.keys[0].name for each, _ in made]
    if len(set(names)) != len(names):
        raise ConfigError("two mirrors have one name", actual=", ".join(names))
    return made


class Kept:
    """One log at one mirror. size: that it holds, None as long as it has not said; failure, alarm: what is wrong."""

    def __init__(self, to: Mirror, public: Path, keys: Sequence[VerifierKey], name: str) -> None:
        self.to = to
        self.name = name
        self.size: int | None = None
        self.failure = ""
        self.alarm = ""
        self.wake = asyncio.Event()
        self._source = DirectorySource(public)
        self._policy = Policy(tuple(Log(key, None) for key in keys), {}, {}, NONE)
        self._origin = keys[0].name
        self._pushed = b""

    async def go_on(self, session: aiohttp.ClientSession) -> None:
        """Until it is cancelled, or the mirror has seen another tree."""
        wait = AGAIN
        while not self.alarm:
            self.wake.clear()
            pause = PAUSE
            try:
                await self._push(session)
                self.failure, wait = "", AGAIN
            except Inconsistent as error:
                self.alarm = str(error)
                log.critical("mirror %s is not asked any more: %s", self.name, error)
                return
            except TeelogError as error:
                self.failure = str(error)
                log.warning("mirror %s: %s", self.name, error)
                asked = error.retry_after if isinstance(error, UnavailableError) else None
                pause, wait = max(wait, asked or 0.0), min(2 * wait, AGAIN_MOST)
            except Exception as error:
                self.failure = repr(error)
                log.exception("mirror %s", self.name)
                pause, wait = wait, min(2 * wait, AGAIN_MOST)
            await asyncio.sleep(pause)
            if not self.failure:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.wake.wait(), LOOK)

    async def _push(self, session: aiohttp.ClientSession) -> None:
        try:
            note = await self._source.checkpoint()
        except RefusedError:
            return  # nothing is published yet
        if note == self._pushed:
            return
        shown = read_checkpoint(note, self._policy, origin=self._origin)
        done = await self._send(session, shown)
        self.size, self._pushed = done.size, note

    async def _send(self, session: aiohttp.ClientSession, shown: WitnessedCheckpoint) -> Pushed:
        head = shown.checkpoint
        return await push(
            session,
            self.to,
            shown,
            lambda: LogReader(self._source, head.size, head.root),
            old=self.size or 0,
        )

    def status(self) -> dict[str, Any]:
        """For metrics and the admin listener."""
        return {"name": self.name, "size": self.size, "failure": self.failure, "alarm": self.alarm}


class Mirroring:
    """All of a log's mirrors. ``ring`` after each checkpoint; from any thread, it never waits nor raises."""

    def __init__(self, directory: LogDirectory, config: Config, *, index: bool) -> None:
        """index: whether there is an index log. Raises ConfigError."""
        self.kept: list[Kept] = []
        for to, settings in mirrors(config):
            name = to.keys[0].name
            self.kept.append(Kept(to, directory.public, directory.verifiers(), name))
            if settings.index and index:
                below = directory.index
                self.kept.append(Kept(to, below.public, below.verifiers(), f"{name} index"))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="mirroring", daemon=True)
        self._work: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Nothing runs where there is no mirror."""
        if self.kept:
            self._loop = asyncio.new_event_loop()
            self._thread.start()

    def ring(self) -> None:
        """A checkpoint is published, an unchanged one included: its cosignature is to be as new."""
        self._call(self._wake)

    def after(self, before: Callable[[], None]) -> Callable[[], None]:
        """``before``, and then ``ring``."""

        def both() -> None:
            before()
            self.ring()

        return both

    async def close(self) -> None:
        """Ends what is under way: mirrors keep what they have taken, and the next start goes on from there."""
        self._call(self._cancel)
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, CLOSE_SECONDS)

    def status(self) -> list[dict[str, Any]]:
        return [each.status() for each in self.kept]

    def _call(self, work: Callable[[], None]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # closed meanwhile
                self._loop.call_soon_threadsafe(work)

    def _wake(self) -> None:
        for each in self.kept:
            each.wake.set()

    def _cancel(self) -> None:
        if self._work is not None:
            self._work.cancel()

    def _run(self) -> None:
        loop = self._loop
        assert loop is not None
        with asyncio.Runner(loop_factory=lambda: loop) as runner, suppress(asyncio.CancelledError):
            runner.run(self._all())

    async def _all(self) -> None:
        self._work = asyncio.current_task()
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as session:
            work: list[Coroutine[Any, Any, None]] = [each.go_on(session) for each in self.kept]
            await asyncio.gather(*work)
            await asyncio.Event().wait()
