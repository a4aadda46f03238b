"""One look at a whole log: every entry hashed again, every index leaf's map root rebuilt, every chain followed.

Works on any tiled log; what concerns the index and namespaces only on one of ours. Nothing is kept but what the caller
keeps of the report.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from teelog.client import fsck
from teelog.client.http import HttpClient, check_url
from teelog.client.source import DirectorySource, HttpSource, TileSource, is_url, public_directory
from teelog.errors import (
    MalformedError,
    MisbehaviourError,
    NotEstablished,
    NotWitnessed,
    RefusedError,
    UnavailableError,
    VerificationError,
)
from teelog.index.fault import Cause
from teelog.statement.index_map import Mapped
from teelog.tlog.checkpoint import Checkpoint, open_checkpoint
from teelog.tlog.note import MAX_LENGTH
from teelog.tlog.policy import NONE, Policy, WitnessedCheckpoint, verify_checkpoint
from teelog.witness import index_look, omission
from teelog.witness.audit import Audit, Unreadable, WrongIndex, fork_between
from teelog.witness.index_look import Crime, ShownIndex
from teelog.witness.monitor.finding import Finding
from teelog.witness.published import origin_hash
from teelog.witness.rebuilt import Rebuilt
from teelog.witness.watch import Watched

STALLED = 60  # seconds of a checkpoint's age after which its entries should be in the index
WITNESS_SECONDS = 10.0  # for a witness's view


@dataclass(frozen=True, slots=True)
class Question:
    """What to look at.

    place: URL or directory. policy, index: of the log, and of its index log or None. namespaces: watched. known:
    statement ids that are expected, None: all are. now: POSIX seconds. ahead: seconds before a status ends that count
    as its end. max_age: seconds since both quorums held, None: not asked.
    """

    place: str
    policy: Policy
    index: Policy | None = None
    namespaces: frozenset[str] = frozenset()
    known: Collection[str] | None = None
    now: int = 0
    ahead: float = 86_400.0
    max_age: float | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """A checkpoint signed by its log. missing: what its quorum lacks, None where it is met or none is asked for."""

    witnessed: WitnessedCheckpoint
    note: bytes
    missing: str | None

    @property
    def checkpoint(self) -> Checkpoint:
        return self.witnessed.checkpoint

    @property
    def view(self) -> tuple[Checkpoint, bytes]:
        return self.checkpoint, self.note

    @property
    def cosigned(self) -> int | None:
        """POSIX seconds of the newest cosignature."""
        return max((line.timestamp or 0 for line in self.witnessed.cosignatures.values()), default=None)


@dataclass(frozen=True, slots=True)
class Vantage:
    """What a witness shows of the log. size: None if it could not be asked. said: for people."""

    witness: str
    size: int | None
    said: str


@dataclass(slots=True)
class Report:
    """watched: whether for a namespace's owner. mapped: entries that went through the map function. leaves, input_size:
    of the index log, found right.

    failures: what does not verify. troubles: what could not be looked at.
    """

    main: Head
    watched: bool = False
    replay: fsck.Replay | None = None
    index: Head | None = None
    leaves: int = 0
    input_size: int = 0
    mapped: int = 0
    vantage: list[Vantage] = field(default_factory=list)
    alerts: list[Finding] = field(default_factory=list)
    crimes: list[Crime] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)


Remember = Callable[[WitnessedCheckpoint, TileSource], Awaitable[str | None]]
"""Compares a checkpoint with those seen before; a sentence where it could not. Raises MisbehaviourError."""
Progress = Callable[[str, int], object]


async def look(question: Question, remember: Remember, progress: Progress = lambda _what, _count: None) -> Report:
    """Looks at the log once. remember: see there. progress: called with what is done, and how many more entries were.

    Raises what reading and verifying the log's own checkpoint raises; ConfigError.
    """
    async with _sources(question.place) as (main, index):
        # The index first: its input is then no newer than what is looked at.
        index_head = None if question.index is None else await _head(index, question.index)
        report = Report(await _head(main, question.policy), bool(question.namespaces), index=index_head)
        for what, source, head in (("log", main, report.main), ("index log", index, index_head)):
            if head is not None:
                _check_age(report, what, head, question)
                await _compare(report, what, source, head, remember)
        await _ask_witnesses(report, question.policy, main)
        await _hash_again(report, main, progress)
        if index_head is not None or question.namespaces:
            await _rebuild(report, question, main, index, progress)
    return report


@asynccontextmanager
async def _sources(place: str) -> AsyncIterator[tuple[TileSource, TileSource]]:
    async with AsyncExitStack() as stack:
        if is_url(place):
            http = await stack.enter_async_context(HttpClient())
            yield HttpSource(http, place), HttpSource(http, f"{place.rstrip('/')}/index")
        else:
            folder = public_directory(Path(place))
            if not (folder / "checkpoint").is_file():
                raise UnavailableError(
                    f"{place} is no log's directory", expected="a URL, or a directory with checkpoint"
                )
            yield DirectorySource(folder), DirectorySource(folder / "index")


async def _head(source: TileSource, policy: Policy) -> Head:
    data = await source.checkpoint()
    try:
        return Head(verify_checkpoint(data, policy), data, None)
    except NotWitnessed as error:
        # What nobody cosigned is looked at all the same: it may be what witnesses refused.
        missing = f"{error.message}: {error.actual}" if error.actual is not None else error.message
        return Head(verify_checkpoint(data, replace(policy, quorum=NONE)), data, missing)


def _check_age(report: Report, what: str, head: Head, question: Question) -> None:
    """A-15: an old checkpoint may be a frozen one."""
    if question.max_age is None or head.missing is not None:
        return
    policy = question.policy if what == "log" else question.index
    assert policy is not None
    try:
        verify_checkpoint(head.note, policy, now=question.now, max_age=int(question.max_age))
    except (NotWitnessed, NotEstablished) as error:
        report.failures.append(f"{what}: not fresh: {error.message}")


async def _compare(report: Report, what: str, source: TileSource, head: Head, remember: Remember) -> None:
    if head.missing is not None:
        report.failures.append(f"{what}: {head.missing}")
    try:
        trouble = await remember(head.witnessed, source)
    except MisbehaviourError as error:
        report.crimes.append(Crime(f"{error.message}: {error.actual}", None))
    else:
        report.troubles += [f"{what}: {trouble}"] if trouble else []


async def _hash_again(report: Report, source: TileSource, progress: Progress) -> None:
    head = report.main.checkpoint
    try:
        report.replay = await fsck.replay(source, head.size, head.root, lambda count: progress("hashed", count))
    except UnavailableError as error:
        report.troubles.append(error.message)
    else:
        found = report.replay
        report.failures += [f"{problem.path}: {problem.cause}" for problem in found.problems]
        report.failures += [f"and {found.more} more"] if found.more else []


# -- other views ------------------------------------------------------------------------------------------------------


async def _ask_witnesses(report: Report, policy: Policy, source: TileSource) -> None:
    """Whether the policy's witnesses, as far as it says where they are, have seen the same log."""
    head = report.main
    keys = tuple(log.key for log in policy.logs if log.key.name == head.checkpoint.origin)
    places = {w.url: w.key.name for w in policy.witnesses.values() if w.url}
    if not places:
        return
    path = f"{origin_hash(head.checkpoint.origin)}/checkpoint"
    async with HttpClient(WITNESS_SECONDS) as http:
        for url, name in sorted(places.items()):
            try:
                note = (await http.get(f"{url.rstrip('/')}/{path}", MAX_LENGTH)).body
                seen = open_checkpoint(note, keys, head.checkpoint.origin).checkpoint
                fork = await fork_between(source, head.view, (seen, note), keys)
            except (UnavailableError, RefusedError, MalformedError, VerificationError, ValueError) as error:
                report.vantage.append(Vantage(name, None, str(error)))
                continue
            if fork is None:
                report.vantage.append(Vantage(name, seen.size, "the same log"))
            else:
                report.vantage.append(Vantage(name, seen.size, "ANOTHER LOG"))
                report.crimes.append(Crime(f"the log showed the witness {name} another tree", fork))


# -- the index --------------------------------------------------------------------------------------------------------


async def _rebuild(report: Report, question: Question, main: TileSource, index: TileSource, progress: Progress) -> None:
    origin = report.main.checkpoint.origin
    watched, keys = Watched(origin, question.namespaces, question.known), omission.Recent()

    def observe(number: int, entry: bytes, mapped: Mapped) -> None:
        watched.observe(number, entry, mapped, rebuilt.in_force)
        keys.observe(number, mapped)

    names = index_look.names(origin, question.policy, question.index)
    with tempfile.TemporaryDirectory(prefix="teelog-monitor-") as folder:
        rebuilt = Rebuilt.open(Path(folder) / "rebuilt", origin, observe)
        try:
            audit = Audit(names, rebuilt, index, main, lambda count: progress("mapped", count))
            if report.index is not None:
                shown = ShownIndex(report.index.witnessed, report.index.note, index, main)
                crimes = await index_look.follow(audit, names, shown, report.main.view)
                report.crimes += crimes
                if any(crime.cause is Cause.MAP_ROOT for crime in crimes) and is_url(question.place):
                    url = check_url(question.place)
                    report.crimes += await index_look.explain(audit, names, shown, rebuilt, keys, url, question.policy)
            await audit.reach(*report.main.view)
        except WrongIndex as wrong:
            report.crimes.append(Crime(str(wrong), wrong.fork))
        except Unreadable as error:
            report.troubles.append(str(error))
        finally:
            report.mapped = rebuilt.entries.size
            report.leaves = rebuilt.confirmed.leaves.size
            report.input_size = rebuilt.confirmed.input_size
            rebuilt.close()
    _close(report, question, watched)


def _close(report: Report, question: Question, watched: Watched) -> None:
    """The alerts, once all is read."""
    now = datetime.fromtimestamp(question.now, UTC)
    indexed = None
    cosigned = report.main.cosigned
    if report.index is not None and cosigned is not None and question.now - cosigned > STALLED:
        indexed = report.input_size
    report.alerts = watched.close(now, timedelta(seconds=question.ahead), indexed)
