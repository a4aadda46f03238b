"""`teelog log mirror`: a verified copy of a log, which any static server can serve and `--mirror` reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teelog.cli import log_mirror_push, online, output, standing
from teelog.cli import policy as policies
from teelog.cli.duration import DURATION
from teelog.cli.repeat import until_stopped
from teelog.client.source import is_url
from teelog.errors import MisbehaviourError, TeelogError, UnavailableError
from teelog.tlog.policy import Policy

if TYPE_CHECKING:
    from teelog.client.mirror_folder import MirrorFolder
    from teelog.client.mirror_pull import Pulled
    from teelog.client.source import TileSource
    from teelog.client.state import ClientState

AGAIN, AGAIN_MOST = 0.5, 30.0  # seconds between attempts, doubled each time


@click.command("mirror")
@click.argument("place", metavar="URL")
@click.argument("target", metavar="DIR|MIRROR")
@policies.policy_option
@click.option("--index-policy", "index_file", metavar="FILE", help="Of the log's index: its index log is copied too.")
@click.option("--vkey", "vkeys", metavar="VKEY", multiple=True, help="Of MIRROR, a literal or a file; repeatable.")
@click.option("--every", type=DURATION, metavar="TIME", help="Go on, once in this time, such as 10s.  [default: once]")
@click.option(
    "--timeout", type=DURATION, default="60s", show_default=True, help="Give up after so long without progress."
)
@online.mirror_option
@online.state_option
@output.json_option
def command(
    place: str,
    target: str,
    policy_file: str,
    index_file: str | None,
    vkeys: tuple[str, ...],
    every: float | None,
    timeout: float,
    mirrors: tuple[str, ...],
    state_folder: Path | None,
) -> None:
    """Copy the log at URL to DIR: every entry and tile verified as it comes, its checkpoint last.

    Run again, it copies what is new; stopped at any moment, it goes on where it was. DIR can be served by any static
    web server, and is read by `--mirror DIR` and by `teelog log fsck DIR`. Exit code 5 and a fork proof where the log
    has signed another tree before: DIR then stays as it is. With --every it goes on until SIGTERM.

    With --index-policy, `lookup`, `release list` and `bundle get` with `--mirror DIR` make the index again from DIR
    once the log is gone.

    Where MIRROR, the submission prefix of a tlog-mirror, stands in the place of DIR, what the log shows is pushed to it
    and its cosignature verified: a log that `teelog log serve` runs does that by itself (log.toml).

    Example: teelog log mirror https://log.example/tee DIR --policy policy.txt
    """
    from teelog.client.mirror_folder import MirrorFolder

    policy = policies.load(policy_file)
    policies.warn_if_unwitnessed(policy)
    origin = policies.the_log(policy).key.name
    index = None if index_file is None else policies.load(index_file)
    standing.must_belong(policy, index)
    if is_url(target):
        if every is not None or index is not None:
            raise click.UsageError("--every and --index-policy are for a copy in DIR")
        log_mirror_push.push(place, target, vkeys, policy, mirrors, timeout, origin)
        return
    folder = Path(target)
    with MirrorFolder(folder) as opened:
        work = _Work(place, mirrors, opened, policy, index, origin, online.open_state(state_folder), timeout)
        online.run(work.once() if every is None else work.go_on(every))
    _report(work, folder)


@dataclass
class _Work:
    place: str
    mirrors: tuple[str, ...]
    folder: MirrorFolder
    policy: Policy
    index: Policy | None
    origin: str
    state: ClientState
    timeout: float
    first: int | None = None
    fetched: int = 0
    last: Pulled | None = field(default=None, repr=False)
    indexed: Pulled | None = field(default=None, repr=False)
    _moved: float = 0.0

    async def once(self) -> None:
        """Brings the copy up to date; what fails for a moment is tried again, as long as there is progress."""
        self._moved, pause = time.monotonic(), AGAIN
        while True:
            try:
                await self._pull()
                return
            except UnavailableError as error:
                if time.monotonic() + pause - self._moved >= self.timeout:
                    raise
                online.tell(error, pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, AGAIN_MOST)

    async def _pull(self) -> None:
        with output.progress(f"copying {self.origin}") as step:

            def tell(count: int) -> None:
                self._moved = time.monotonic()
                step(count)

            async with online.open_source(self.place, self.policy, self.mirrors) as source:
                try:
                    found = await self._copy(source, tell)
                except MisbehaviourError as crime:
                    raise self.state.convict(self.origin, crime) from crime
                self.first = found.before if self.first is None else self.first
                self.fetched += found.fetched
                self.last = found
                if not found.behind:
                    await online.remember(self.state, found.witnessed, source)
        if found.behind:
            output.warn(f"{self.place} lies behind the copy, which stays at {found.size} entries")

    async def _copy(self, source: TileSource, tell: Callable[[int], None]) -> Pulled:
        from teelog.client.http import HttpClient
        from teelog.client.mirror_pull import pull, pull_with_index
        from teelog.client.places import index_sources, sources

        if self.index is None:
            return await pull(source, self.folder, self.policy, self.origin, tell)
        async with HttpClient() as http:
            places = [each for place in (self.place, *self.mirrors) for each in sources(http, place, self.origin)]
            indexes = [(place, log) for place in places for log in index_sources(http, place, self.origin)]
            found, self.indexed = await pull_with_index(
                source, indexes, self.folder, self.policy, self.index, self.origin, tell
            )
            return found

    async def go_on(self, every: float) -> None:
        """Until SIGTERM or SIGINT: what is written by then is whole, what is not is fetched by the next run."""
        output.note(f"copying {self.place} every {every:g} s")

        async def attempt() -> float:
            await self._try()
            return every

        await until_stopped(attempt)

    async def _try(self) -> None:
        """Misbehaviour ends the command; all else may heal."""
        before = self.last
        try:
            await self.once()
        except MisbehaviourError:
            raise
        except TeelogError as error:
            output.warn(f"not copied: {error}")
            return
        if self.last is not None and (before is None or self.last.size != before.size):
            output.note(f"{self.last.size} entries")


def _report(work: _Work, folder: Path) -> None:
    found = work.last
    if found is None:  # stopped before the first copy was complete
        raise UnavailableError(f"{folder} is not complete yet", hint="run it again: it goes on where it was")
    head = found.witnessed.checkpoint
    output.ok(f"{folder} holds {head.origin} up to {head.size} entries  VERIFIED")
    output.result(
        [
            f"copied        {work.fetched} entries; {work.first} were there",
            f"root          {head.root.hex()}",
            *([f"index         {work.indexed.size} leaves"] if work.indexed is not None else []),
            f"witnessed by  {policies.witnessed_by(found.witnessed, work.policy)}",
        ],
        {
            "schema": "teelog-mirrored/v1",
            "log": head.origin,
            "folder": folder,
            "size": head.size,
            "root": head.root,
            "before": work.first,
            "fetched": work.fetched,
            "behind": found.behind,
            "index_size": None if work.indexed is None else work.indexed.size,
            "witnesses": policies.cosigners(found.witnessed, work.policy),
        },
    )
