"""`teelog bundle refresh`: a bundle that is rewritten before it goes stale; and how bundles are fetched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teelog.appraisal.inputs import Seen
from teelog.appraisal.lifetime import fresh_until
from teelog.cli import bundle_file, catching_up, current_index, ended, memory, online, output, standing
from teelog.cli import policy as policies
from teelog.cli import trust as trusts
from teelog.cli.duration import DURATION
from teelog.cli.proof import utc
from teelog.cli.repeat import until_stopped
from teelog.cli.standing import Wanted
from teelog.errors import ConfigError, MisbehaviourError, NotWitnessed, RefusedError, TeelogError, UnavailableError
from teelog.statement import names
from teelog.statement.names import Stream
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.policy import Policy, verify_checkpoint
from teelog.trust import Trust

if TYPE_CHECKING:
    from teelog.client.bundle import Shown
    from teelog.client.http import HttpClient
    from teelog.client.index import RemoteIndex
    from teelog.client.source import TileSource
    from teelog.client.state import ClientState

SOONER = 30.0  # seconds until the next attempt after one that failed, at most
AGAIN, AGAIN_MOST = 0.5, 5.0  # seconds between attempts of one fetch, doubled each time


@dataclass(frozen=True, slots=True)
class Fetched:
    """A bundle as it is now, taken or not. ended: what to say where its log takes nothing any more.

    trouble: why the log's answer did not do and its witnesses were asked instead.
    """

    shown: Shown
    ended: RefusedError | None = None
    trouble: TeelogError | None = None


async def fetch(
    place: str | None,
    trust: Trust,
    stream: Stream,
    wanted: Wanted | None,
    seen: Seen,
    state: ClientState,
    timeout: float,
    hint: int | None = None,
    mirrors: Sequence[str] = (),
) -> Fetched:
    """The bundle as the log shows it now, tried again until the timeout. Raises what is wrong with its answers.

    It rests on an index that covers what the log has published by now, if that takes no longer than PATIENCE; where
    there is none any more, on one made again from a mirror. hint: where the release's entry may be.
    """
    from teelog.client.http import HttpClient

    deadline, pause = time.monotonic() + timeout, AGAIN
    async with HttpClient() as http:
        patience = time.monotonic() + min(timeout, catching_up.PATIENCE)
        while True:
            try:
                return await _fetch(http, place, trust, stream, wanted, seen, state, hint, patience, mirrors)
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
    http: HttpClient,
    place: str | None,
    trust: Trust,
    stream: Stream,
    wanted: Wanted | None,
    seen: Seen,
    state: ClientState,
    hint: int | None,
    patience: float,
    mirrors: Sequence[str],
) -> Fetched:
    from teelog.client import bundle
    from teelog.client.indexed import Indexed
    from teelog.client.rebuilt_index import RebuiltIndex

    if trust.index is None:
        raise ConfigError("the trust file names no policy for the log's index", expected='index = "FILE"')
    source = online.source(http, place, trust.main, mirrors)
    head = await _published(source, trust)
    index: RemoteIndex | None = None
    try:
        index, end = await _open(http, place, trust, trust.index, source, head, state, patience)
    except (UnavailableError, RefusedError, ConfigError):
        if mirrors:
            index = await current_index.from_mirrors(http, mirrors, trust.main, trust.index, state)
        if index is None:
            raise
        end = await _ended(source, head)
    await online.remember(state, index.main, source)
    release = wanted.statement_id if wanted is not None else None
    if wanted is not None and release is None:
        (found,) = await standing.resolve(Indexed(index), stream, [wanted])
        release = found.statement_id
    made = await bundle.assemble(index, str(stream), release, hint)
    if isinstance(index, RebuiltIndex):
        made = await bundle.cosign_again(http, trust, made)  # a copy is as old as it is
    shown = bundle.look(made.encode(), trust, str(stream), int(time.time()), seen)
    return Fetched(shown, end)


async def _open(
    http: HttpClient,
    place: str | None,
    trust: Trust,
    policy: Policy,
    source: TileSource,
    head: Checkpoint | None,
    state: ClientState,
    patience: float,
) -> tuple[RemoteIndex, RefusedError | None]:
    """The log's index as its server has it; policy: the index's."""
    from teelog.client.cache import DiskCache
    from teelog.client.index import open_index
    from teelog.client.source import HttpSource

    if place is None:
        raise ConfigError("the log's URL is not known", expected="a URL in the policy's log line")
    cache = DiskCache(state.tiles(policies.the_log(trust.main).key))
    index, end = await catching_up.covering(
        0 if head is None else head.size,
        lambda: open_index(http, place, trust.main, policy, cache),
        lambda: _ended(source, head),
        patience,
    )
    await online.remember(state, index.index, HttpSource(http, f"{place}/index"))
    return index, end


async def _ended(source: TileSource, head: Checkpoint | None) -> RefusedError | None:
    """Whether the log's last entry ends it. No bundle depends on it: trouble is none."""
    try:
        return None if head is None else await ended.told(source, head)
    except TeelogError:
        return None


async def _published(source: TileSource, trust: Trust) -> Checkpoint | None:
    """The log's newest checkpoint, None where it shows none: the index alone is what a bundle rests on."""
    try:
        return verify_checkpoint(await source.checkpoint(), trust.main).checkpoint
    except TeelogError:
        return None


def remember(state: ClientState, trust: Trust, before: Seen, found: Fetched) -> None:
    """What the bundle showed; its checkpoints were compared and kept as they came."""
    seen = found.shown.verdict.seen
    if seen is not None and seen != before:
        for log in trust.main.logs:
            state.follow(log.key, seen.namespaces, seen.statuses, seen.views)


def tell(found: Fetched) -> None:
    """What whoever uses the bundle should know besides."""
    if found.trouble is not None:
        output.warn(f"cosigned anew by the witnesses, as the log does not answer: {found.trouble.message}")
    if found.ended is not None:
        onward = f"; {found.ended.actual}" if found.ended.actual else ""
        output.warn(f"{found.ended.message}{onward}; no bundle of it holds for long")


def holds_until(shown: Shown, trust: Trust) -> int | None:
    """POSIX seconds until which verifiers take it; None where none does, or it has no end."""
    return None if shown.refused is not None else fresh_until(shown.bundle, trust)


# -- the command ------------------------------------------------------------------------------------------------------


@click.command("refresh")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False))
@trusts.trust_option
@click.option("--every", type=DURATION, metavar="TIME", help="Go on, once in this time, such as 1h.  [default: once]")
@online.url_option
@online.mirror_option
@online.timeout_option
@online.state_option
@output.json_option
def command(
    file: str,
    trust_file: str,
    every: float | None,
    url: str | None,
    mirrors: tuple[str, ...],
    timeout: float,
    state_folder: Path | None,
) -> None:
    """Rewrite the bundle FILE with what the log shows now, so that it does not go stale; atomically.

    Where the log is down, a mirror with its index log is read, and its witnesses are asked for fresh cosignatures;
    without such a mirror, of what FILE holds. Where the release is no
    longer allowed, FILE says so from then on: a machine that hands it out is refused with the cause, not as stale.
    With --every it goes on until SIGTERM; a failure is told, and tried again sooner.

    Example: teelog bundle refresh acme.teelog --trust trust.toml --every 1h
    """
    trust = trusts.load(trust_file)
    state = online.open_state(state_folder)
    bundle_file.read(file)  # a file that is none is told at once
    work = _Refresh(Path(file), trust, policies.place_of(trust.main, url, mirrors), mirrors, state, timeout)
    if every is None:
        found = online.run(work.once())
        tell(found)
        _report(file, work)
        if found.shown.refused is not None:
            raise found.shown.refused
        return
    online.run(work.go_on(every))
    _report(file, work)


@dataclass
class _Refresh:
    path: Path
    trust: Trust
    place: str | None
    mirrors: tuple[str, ...]
    state: ClientState
    timeout: float
    written: int = 0
    last: Fetched | None = None

    async def once(self) -> Fetched:
        """Writes the newest bundle. Raises where there is none."""
        before = bundle_file.read(str(self.path))
        seen = memory.recall(self.state, self.trust)
        found = await self._newest(before, seen)
        output.write_file(self.path, found.shown.file)
        self.written += 1
        self.last = found
        remember(self.state, self.trust, seen, found)
        return found

    async def _newest(self, before: bytes, seen: Seen) -> Fetched:
        from teelog.client import bundle
        from teelog.client.http import HttpClient

        fetched: list[Fetched] = []

        async def newest(about: bundle.About) -> Shown:
            stream = names.stream(about.stream)
            wanted = Wanted(about.release, stream, statement_id=about.release)
            asked = (self.place, self.trust, stream, wanted, seen, self.state, self.timeout)
            found = await fetch(*asked, about.place, self.mirrors)
            fetched.append(found)
            return found.shown

        async with HttpClient() as http:
            try:
                shown, trouble = await bundle.renew(
                    http, self.trust, before, newest, clock=lambda: int(time.time()), seen=seen
                )
            except MisbehaviourError as crime:
                raise self.state.convict(self.trust.origin, crime) from crime
        return Fetched(shown, fetched[-1].ended if fetched else None, trouble)

    async def go_on(self, every: float) -> None:
        """Until SIGTERM or SIGINT: between two files, the write itself is not asynchronous."""
        output.note(f"refreshing {self.path} every {every:g} s")

        async def attempt() -> float:
            return every if await self._try() else min(every, SOONER)

        await until_stopped(attempt)

    async def _try(self) -> bool:
        """Whether the file is fresh now. Misbehaviour ends the command; all else may heal."""
        try:
            found = await self.once()
        except MisbehaviourError:
            raise
        except TeelogError as error:
            output.warn(f"not refreshed: {error}")
            return False
        tell(found)
        if found.shown.refused is not None:
            output.warn(f"{self.path} says so from now on: {found.shown.refused.message}")
        return True


def _report(file: str, work: _Refresh) -> None:
    found = work.last
    until = None if found is None else holds_until(found.shown, work.trust)
    times = f"{work.written} time{'' if work.written == 1 else 's'}"
    output.result(
        [f"bundle        {file}, written {times}", *([] if until is None else [f"holds         until {utc(until)}"])],
        {
            "schema": "teelog-bundle-refresh/v1",
            "file": file,
            "written": work.written,
            "by_witnesses": found is not None and found.trouble is not None,
            "ended": found is not None and found.ended is not None,
            "until": until,
        },
    )
