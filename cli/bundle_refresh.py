"""`teelog bundle refresh`: a bundle that is rewritten before it goes stale; and how bundles are fetched."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teelog import bundle as bundles
from teelog.appraisal.inputs import Seen
from teelog.cli import files, memory, online, output, standing
from teelog.cli import policy as policies
from teelog.cli import trust as trusts
from teelog.cli.duration import DURATION
from teelog.cli.standing import Wanted
from teelog.errors import ConfigError, MisbehaviourError, NotWitnessed, TeelogError, UnavailableError
from teelog.statement import draft, names
from teelog.statement.names import Stream
from teelog.statement.status import StatusPredicate
from teelog.trust import Trust
from teelog.verdict import Check, NotVerified, Outcome

if TYPE_CHECKING:
    from teelog.client.http import HttpClient
    from teelog.client.state import ClientState

SOONER = 30.0  # seconds until the next attempt after one that failed, at most
AGAIN, AGAIN_MOST = 0.5, 5.0  # seconds between attempts of one fetch, doubled each time


@dataclass(frozen=True, slots=True)
class Fetched:
    """A bundle's file. refused: why no verifier takes it, though it is what the log shows. seen: what it showed.

    trouble: why the log was not asked and its witnesses were instead.
    """

    file: bytes = field(repr=False)
    refused: NotVerified | None
    seen: Seen | None = field(repr=False)
    trouble: TeelogError | None = None


def only_not_allowed(refused: NotVerified) -> bool:
    """Whether nothing is wrong with a bundle but what it says: that the release is not allowed."""
    failing = [each.check for each in refused.verdict.findings if each.outcome is Outcome.FAILED]
    return failing == [Check.ALLOWED_NOW]


async def fetch(
    place: str, trust: Trust, stream: Stream, wanted: Wanted | None, seen: Seen, state: ClientState, timeout: float
) -> Fetched:
    """The bundle as the log shows it now, tried again until the timeout. Raises what is wrong with its answers."""
    from teelog.client.http import HttpClient

    deadline, pause = time.monotonic() + timeout, AGAIN
    async with HttpClient() as http:
        while True:
            try:
                return await _fetch(http, place, trust, stream, wanted, seen, state)
            except (UnavailableError, NotWitnessed) as error:
                if time.monotonic() + pause >= deadline:
                    raise
                if isinstance(error, UnavailableError):
                    online.tell(error, pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, AGAIN_MOST)
            except MisbehaviourError as error:
                raise state.convict(trust.origin, error) from error


async def _fetch(
    http: HttpClient, place: str, trust: Trust, stream: Stream, wanted: Wanted | None, seen: Seen, state: ClientState
) -> Fetched:
    from teelog.client import bundle
    from teelog.client.cache import DiskCache
    from teelog.client.index import open_index
    from teelog.client.indexed import Indexed
    from teelog.client.source import HttpSource

    if trust.index is None:
        raise ConfigError("the trust file names no policy for the log's index", expected='index = "FILE"')
    cache = DiskCache(state.tiles(policies.the_log(trust.main).key))
    index = await open_index(http, place, trust.main, trust.index, cache)
    await online.remember(state, index.main, HttpSource(http, place))
    await online.remember(state, index.index, HttpSource(http, f"{place}/index"))
    release = wanted.statement_id if wanted is not None else None
    if wanted is not None and release is None:
        (found,) = await standing.resolve(Indexed(index), stream, [wanted])
        release = found.statement_id
    file = (await bundle.assemble(index, str(stream), release)).encode()
    try:
        verified = bundle.check(file, trust, str(stream), int(time.time()), seen)
    except NotVerified as refused:
        return Fetched(file, refused, refused.verdict.seen)
    return Fetched(file, None, verified.verdict.seen)


def remember(state: ClientState, trust: Trust, before: Seen, found: Fetched) -> None:
    """What the bundle showed; its checkpoints were compared and kept as they came."""
    if found.seen is not None and found.seen != before:
        for log in trust.main.logs:
            state.follow(log.key, found.seen.namespaces, found.seen.statuses, found.seen.views)


# -- the command ------------------------------------------------------------------------------------------------------


@click.command("refresh")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False))
@trusts.trust_option
@click.option("--every", type=DURATION, metavar="TIME", help="Go on, once in this time, such as 1h.  [default: once]")
@online.url_option
@online.timeout_option
@online.state_option
@output.json_option
def command(
    file: str, trust_file: str, every: float | None, url: str | None, timeout: float, state_folder: Path | None
) -> None:
    """Rewrite the bundle FILE with what the log shows now, so that it does not go stale; atomically.

    Where the log is down, its witnesses are asked for fresh cosignatures of what FILE holds. Where the release is no
    longer allowed, FILE says so from then on: a machine that hands it out is refused with the cause, not as stale.
    With --every it goes on until SIGTERM; a failure is told, and tried again sooner.

    Example: teelog bundle refresh acme.teelog --trust trust.toml --every 1h
    """
    trust = trusts.load(trust_file)
    state = online.open_state(state_folder)
    _names_of(files.read(file, bundles.MAX_LENGTH, "bundle"))  # a file that is none is told at once
    work = _Refresh(Path(file), trust, policies.url_of(trust.main, url), state, timeout)
    if every is None:
        found = online.run(work.once())
        _report(file, work, found.trouble)
        if found.refused is not None:
            raise found.refused
        return
    online.run(work.go_on(every))
    _report(file, work, None)


def _names_of(data: bytes) -> tuple[Stream, str]:
    """The stream and the release that a bundle is about."""
    parsed = bundles.parse(data)
    claim = draft.read(parsed.status.entry).statement.claim
    if not isinstance(claim, StatusPredicate):
        raise ConfigError("the bundle's status is another statement", expected="a bundle: teelog bundle get")
    return names.stream(claim.stream), draft.read(parsed.release.entry).statement_id


@dataclass
class _Refresh:
    path: Path
    trust: Trust
    place: str
    state: ClientState
    timeout: float
    written: int = 0

    async def once(self) -> Fetched:
        """Writes the newest bundle. Raises where there is none."""
        before = files.read(self.path, bundles.MAX_LENGTH, "bundle")
        seen = memory.recall(self.state, self.trust)
        found = await self._newest(before, seen)
        if found.refused is not None and not only_not_allowed(found.refused):
            raise found.refused
        output.write_file(self.path, found.file)
        self.written += 1
        remember(self.state, self.trust, seen, found)
        return found

    async def _newest(self, before: bytes, seen: Seen) -> Fetched:
        from teelog.client import bundle
        from teelog.client.http import HttpClient

        stream, release = _names_of(before)
        wanted = Wanted(release, stream, statement_id=release)
        try:
            return await fetch(self.place, self.trust, stream, wanted, seen, self.state, self.timeout)
        except (UnavailableError, NotWitnessed) as error:
            async with HttpClient() as http:
                again = (await bundle.cosign_again(http, self.trust, bundles.parse(before))).encode()
            try:
                verified = bundle.check(again, self.trust, str(stream), int(time.time()), seen)
            except MisbehaviourError as crime:
                raise self.state.convict(self.trust.origin, crime) from crime
            except NotVerified as refused:
                if only_not_allowed(refused):
                    return Fetched(again, refused, refused.verdict.seen, error)
                raise UnavailableError(
                    "neither the log nor enough of its witnesses can be reached",
                    actual=f"{error.message}; {refused.message}",
                ) from error
            return Fetched(again, None, verified.verdict.seen, error)

    async def go_on(self, every: float) -> None:
        """Until SIGTERM or SIGINT."""
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        output.note(f"refreshing {self.path} every {every:g} s")
        while not stopped.is_set():
            work = asyncio.ensure_future(self._try())
            stop = asyncio.ensure_future(stopped.wait())
            await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            if not work.done():
                work.cancel()  # between two files: the write itself is not asynchronous
                with contextlib.suppress(asyncio.CancelledError):
                    await work
                break
            pause = every if work.result() else min(every, SOONER)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), pause)

    async def _try(self) -> bool:
        """Whether the file is fresh now. Misbehaviour ends the command; all else may heal."""
        try:
            found = await self.once()
        except MisbehaviourError:
            raise
        except TeelogError as error:
            output.warn(f"not refreshed: {error}")
            return False
        if found.trouble is not None:
            output.warn(f"cosigned anew by the witnesses, as the log does not answer: {found.trouble.message}")
        if found.refused is not None:
            output.warn(f"{self.path} says so from now on: {found.refused.message}")
        return True


def _report(file: str, work: _Refresh, trouble: TeelogError | None) -> None:
    if trouble is not None:
        output.warn(f"cosigned anew by the witnesses, as the log does not answer: {trouble.message}")
    output.result(
        f"bundle        {file}, written {work.written} time{'' if work.written == 1 else 's'}",
        {
            "schema": "teelog-bundle-refresh/v1",
            "file": file,
            "written": work.written,
            "by_witnesses": trouble is not None,
        },
    )
