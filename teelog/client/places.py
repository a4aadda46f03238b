"""One log read from several places: its own URL and mirrors. The newest checkpoint that verifies counts, from wherever.

No place is believed more than another: what each gives is verified alike, and what one gives wrong or not at all is
asked of the next. A mirror can keep a log readable that is gone; it cannot make it newer than its witnesses signed.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from teelog.client.source import (
    NOT_FOUND,
    DirectorySource,
    FileSource,
    HttpSource,
    TileSource,
    is_url,
    public_directory,
)
from teelog.errors import MalformedError, NotWitnessed, RefusedError, TeelogError, UnavailableError
from teelog.index.leaf import origin_of
from teelog.tlog.policy import Policy, WitnessedCheckpoint, quorum_since, read_checkpoint
from teelog.tlog.tiles import Bundle, Tile

GRACE = 5.0
"""Seconds for the other places, once one has answered with what verifies."""

RECENT = 1_024
"""Paths of which is known who gave them; a reader has far fewer under way."""

_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class View:
    """A checkpoint that a place shows, signed by the log. quorum: whether the policy's is met."""

    place: TileSource
    note: bytes = field(repr=False)
    witnessed: WitnessedCheckpoint
    quorum: bool


class Places:
    """A ``TileSource`` of several. Before ``checkpoint`` is called they are asked in the order given.

    origin: the one log meant. sources: for each place where it may lie below it, the first that has a checkpoint
    counts. told: called with a sentence where another place than the first is read, or one shows nothing that holds.
    cosign: asks the log's witnesses to cosign a checkpoint anew: what a mirror shows has the log's line and the
    mirror's (tlog-mirror), which make no quorum by themselves.
    """

    def __init__(
        self,
        places: Sequence[Sequence[TileSource]],
        policy: Policy,
        origin: str,
        told: Callable[[str], None] = lambda _: None,
        grace: float = GRACE,
        cosign: Callable[[bytes], Awaitable[bytes]] | None = None,
    ) -> None:
        if not places or not all(places):
            raise ValueError("a log is read from at least one place")
        self._places = places
        self._policy = policy
        self._origin = origin
        self._told = told
        self._grace = grace
        self._cosign = cosign
        self._order: list[TileSource] = [each[0] for each in places]
        self._failures: Counter[int] = Counter()  # paths at which a place gave nothing that holds
        self._rejected: dict[str, set[int]] = {}
        self._gave: dict[str, TileSource] = {}  # what a path was read from last, of the newest RECENT paths
        self.views: list[View] = []
        """Of the last ``checkpoint``: all that the log has signed, for a comparison (CP-13, CP-14)."""

    @property
    def name(self) -> str:
        return self._order[0].name

    async def checkpoint(self) -> bytes:
        """The newest that verifies; of one size the one that its quorum has cosigned last.

        Its tree is read from the places that show it in the order given, from others after these. Raises, where there
        is no checkpoint, what the first place raised.
        """
        answers = await self._look()
        self.views = [each for each in answers if isinstance(each, View)]
        if self.views and not any(each.quorum for each in self.views):
            self.views = [await self._witnessed(each) for each in self.views]
            anew = iter(self.views)
            answers = [next(anew) if isinstance(each, View) else each for each in answers]
        good = [each for each in self.views if each.quorum]
        errors = [each for each in answers if isinstance(each, TeelogError)]
        if not good:
            if self.views:
                # Raises NotWitnessed: the log's own view if it shows one, else the first mirror's.
                self._policy.check_quorum(set(self.views[0].witnessed.cosignatures))
            raise errors[0]
        best = max(good, key=lambda each: _rank(each, self._policy))
        silent = [place for place, each in zip(self._places, answers, strict=True) if not isinstance(each, View)]
        # Anyone can have a tree cosigned once more: by that alone, no mirror comes before the log.
        tree = best.witnessed.checkpoint
        self._order = [each.place for each in sorted(self.views, key=lambda each: each.witnessed.checkpoint != tree)]
        self._order += [source for place in silent for source in place]
        self._tell(answers, best)
        return best.note

    async def tile(self, tile: Tile) -> bytes:
        return await self._ask(tile.path, lambda source: source.tile(tile))

    async def bundle(self, bundle: Bundle) -> bytes:
        return await self._ask(bundle.path, lambda source: source.bundle(bundle))

    def reject(self, path: str) -> bool:
        """What was given at ``path`` does not hold (``source.Replaceable``)."""
        if path in self._gave:
            self._reject(path, self._gave[path])
        return bool(self._willing(path))

    def _reject(self, path: str, source: TileSource) -> None:
        self._rejected.setdefault(path, set()).add(id(source))
        self._failures[id(source)] += 1

    def _willing(self, path: str) -> list[TileSource]:
        """Those that have not failed at this path, those last that failed the most: what is wrong costs time, too."""
        rejected = self._rejected.get(path, set())
        willing = [source for source in self._order if id(source) not in rejected]
        return sorted(willing, key=lambda source: self._failures[id(source)])

    async def _ask(self, path: str, read: Callable[[TileSource], Awaitable[_Read]]) -> _Read:
        first: TeelogError | None = None
        for source in self._willing(path):
            try:
                found = await read(source)
            except (UnavailableError, RefusedError, MalformedError) as error:
                first = first or error
                self._reject(path, source)
                continue
            self._gave.pop(path, None)
            self._gave[path] = source
            if len(self._gave) > RECENT:
                del self._gave[next(iter(self._gave))]
            return found
        raise first or UnavailableError(f"no place has {path} as the log signed it")

    # -- checkpoints --------------------------------------------------------------------------------------------------

    async def _look(self) -> list[View | TeelogError]:
        tasks = [asyncio.ensure_future(self._first(place)) for place in self._places]
        pending = set(tasks)
        try:
            while pending and not any(_is_good(task) for task in tasks):
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if pending:
                _, pending = await asyncio.wait(pending, timeout=self._grace)
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        return [
            UnavailableError(f"no answer in time from {place[0].name}") if task.cancelled() else task.result()
            for place, task in zip(self._places, tasks, strict=True)
        ]

    async def _first(self, place: Sequence[TileSource]) -> View | TeelogError:
        for number, source in enumerate(place, 1):
            try:
                data = await source.checkpoint()
                return self._view(source, data)
            except RefusedError as error:
                if error.status not in NOT_FOUND or number == len(place):
                    return error
            except TeelogError as error:
                return error
        raise AssertionError("the last one returns")

    def _view(self, source: TileSource, data: bytes) -> View:
        witnessed = read_checkpoint(data, self._policy, origin=self._origin)
        try:
            self._policy.check_quorum(set(witnessed.cosignatures))
        except NotWitnessed:
            return View(source, data, witnessed, False)
        return View(source, data, witnessed, True)

    async def _witnessed(self, view: View) -> View:
        """The same view with the quorum, if the witnesses give it: they have cosigned that size last, or do not."""
        if self._cosign is None:
            return view
        return self._view(view.place, await self._cosign(view.note))

    def _tell(self, answers: Sequence[View | TeelogError], best: View) -> None:
        for place, answer in zip(self._places, answers, strict=True):
            if isinstance(answer, TeelogError):
                self._told(f"{place[0].name} shows no checkpoint that holds: {answer.message}")
            elif not answer.quorum:
                self._told(f"{answer.place.name} shows a checkpoint without its quorum")
            elif answer is answers[0] and answer.witnessed.checkpoint.size < best.witnessed.checkpoint.size:
                self._told(f"{answer.place.name} is behind {best.place.name}")
        own = answers[0]
        if not isinstance(own, View) or own.place is not self._order[0]:
            self._told(f"read from {self.name}")


def _is_good(task: asyncio.Future[View | TeelogError]) -> bool:
    if not task.done() or task.cancelled() or task.exception() is not None:
        return False
    found = task.result()
    return isinstance(found, View) and found.quorum


def _rank(view: View, policy: Policy) -> tuple[int, int]:
    return view.witnessed.checkpoint.size, quorum_since(view.witnessed, policy) or 0


# -- where a log lies at a mirror -------------------------------------------------------------------------------------


def sources(http: object, place: str, origin: str) -> Sequence[FileSource]:
    """Where the log may lie: at ``place`` itself, a URL or a directory, or below a mirror's monitoring prefix.

    Source: tlog-mirror, `<monitoring prefix>/<origin hash>`. That prefix is `/mirror` at the address where `teelog
    witness serve --mirror` is pushed to; the same hash below the address itself is the witness's, who has no tiles.
    Raises ConfigError for a bad URL.
    """
    below = hashlib.sha256(origin.encode()).hexdigest()
    if not is_url(place):
        path = Path(place)
        return [DirectorySource(public_directory(path)), DirectorySource(path / below)]
    first = HttpSource(http, place)
    if re.search(r"/[0-9a-f]{64}$", first.name):
        return [first]
    return [first, HttpSource(http, f"{first.name}/mirror/{below}"), HttpSource(http, f"{first.name}/{below}")]


def index_sources(http: object, place: FileSource, origin: str) -> Sequence[TileSource]:
    """Where the index log of the log ``origin`` may lie, if that lies at ``place``, one of ``sources``.

    Beside the log's files, as `teelog log mirror` puts them; or as a log of its own below the same prefix.
    """
    below = hashlib.sha256(origin_of(origin).encode()).hexdigest()
    if isinstance(place, DirectorySource):
        return [DirectorySource(place.path / "index"), DirectorySource(place.path.parent / below)]
    own = re.fullmatch(r"(.*)/[0-9a-f]{64}", place.name)
    return [HttpSource(http, f"{place.name}/index"), *([HttpSource(http, f"{own[1]}/{below}")] if own else [])]
