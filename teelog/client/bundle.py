"""Bundles over HTTP: put together from a log and its index, kept fresh, by the witnesses alone if the log is down.

Whatever is returned has been appraised as any verifier would, evidence apart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field, replace

from teelog import bundle as bundles
from teelog.appraisal.api import verify
from teelog.appraisal.inputs import Expect, Seen
from teelog.bundle import Bundle, Included
from teelog.client.cosigning import cosign_anew
from teelog.client.http import HttpClient
from teelog.client.index import Found, RemoteIndex, open_index
from teelog.client.log import TileCache
from teelog.errors import (
    ConfigError,
    MalformedError,
    RefusedError,
    TeelogError,
    UnavailableError,
    VerificationError,
)
from teelog.index import keys
from teelog.statement import dsse, names, status
from teelog.statement.status import State, StatusPredicate
from teelog.tlog.tiles import WIDTH
from teelog.trust import Trust
from teelog.verdict import OF_EVIDENCE, Check, NotVerified, Outcome, Verdict

MAX_KNOWN = 65_536
"""Statement ids that ``assemble`` keeps for its caller, about 250 bytes each."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A bundle and what appraising it found, the checks of OF_EVIDENCE switched off."""

    bundle: Bundle
    file: bytes = field(repr=False)
    verdict: Verdict = field(repr=False)

    @property
    def release(self) -> str:
        """Statement id."""
        return dsse.parse(self.bundle.release.entry).statement_id


@dataclass(frozen=True, slots=True)
class Shown:
    """A bundle and what appraising it found. refused: why no verifier takes it, None where it is taken."""

    bundle: Bundle
    file: bytes = field(repr=False)
    verdict: Verdict = field(repr=False)
    refused: NotVerified | None = None

    @property
    def withdrawn(self) -> bool:
        """Whether nothing is wrong with it but what it says: that the release is not allowed."""
        return self._failing == [Check.ALLOWED_NOW]

    @property
    def stale(self) -> bool:
        """Whether nothing is wrong with it but its age."""
        return self._failing == [Check.FRESH]

    @property
    def _failing(self) -> list[Check]:
        return [each.check for each in self.verdict.findings if each.outcome is Outcome.FAILED]

    def taken(self) -> Verified:
        if self.refused is not None:
            raise self.refused
        return Verified(self.bundle, self.file, self.verdict)


def look(file: bytes, trust: Trust, stream: str, now: int, seen: Seen | None = None) -> Shown:
    """A bundle of ``stream`` as any verifier with this trust file would judge it at ``now`` (POSIX seconds).

    Raises MalformedError, MisbehaviourError.
    """
    parsed = bundles.parse(file)
    expect = Expect(stream)
    try:
        verdict = verify(
            evidence=None, bundle=file, trust=trust, expect=expect, now=now, seen=seen, without=OF_EVIDENCE
        )
    except NotVerified as refused:
        return Shown(parsed, file, refused.verdict, refused)
    return Shown(parsed, file, verdict)


def check(file: bytes, trust: Trust, stream: str, now: int, seen: Seen | None = None) -> Verified:
    """A bundle that any verifier would take. Raises as ``look``; NotVerified, whose verdict says which check fails."""
    return look(file, trust, stream, now, seen).taken()


# -- from the log -----------------------------------------------------------------------------------------------------


async def get(
    http: HttpClient,
    url: str,
    trust: Trust,
    stream: str,
    release: str | None = None,
    *,
    now: int,
    seen: Seen | None = None,
    cache: TileCache | None = None,
    place: int | None = None,
) -> Verified:
    """The bundle of a release of ``stream`` as the log at ``url`` can show it now.

    release: statement id; None: the one that the status allows, if it is one. place: as in ``assemble``.
    Raises RefusedError (no status, no such release, several to choose from), what ``check`` and HTTP raise.
    """
    return (await _show(http, url, trust, stream, release, now, seen, cache, place)).taken()


async def _show(
    http: HttpClient,
    url: str,
    trust: Trust,
    stream: str,
    release: str | None,
    now: int,
    seen: Seen | None,
    cache: TileCache | None,
    place: int | None,
) -> Shown:
    if trust.index is None:
        raise ConfigError("the trust file names no policy for the log's index", expected='index = "FILE"')
    index = await open_index(http, url, trust.main, trust.index, cache)
    made = await assemble(index, stream, release, place)
    return look(made.encode(), trust, stream, now, seen)


async def assemble(
    index: RemoteIndex,
    stream: str,
    release: str | None = None,
    place: int | None = None,
    known: MutableMapping[int, str | None] | None = None,
    most: int | None = None,
) -> Bundle:
    """The bundle, put together and not appraised. Raises as ``get``.

    place: where the release's entry is, if the caller knows; otherwise it is looked for. known: statement ids of this
    log's entries by index, for who asks more than once; filled up to MAX_KNOWN. most: releases of the stream that are
    looked at, None for all.
    """
    name = names.stream(stream).namespace
    owned = await _lookup(index, keys.namespace_key(name), f"the log has no namespace {name}")
    allowed = await _lookup(index, keys.status_key(stream), f"the log has no status of {stream}: nothing is allowed")
    entry = await index.log.entry(allowed.last)
    predicate = status.read(dsse.parse(entry).claimed())
    wanted = release or _only(predicate)
    statements = _Statements(index, {} if known is None else known)
    if place is None or await statements.id_at(place) != wanted:
        place = await _find(index, statements, stream, wanted, allowed.last, most)
    versions = await index.elements(owned)
    included = await _include(index, [*versions, allowed.last, place])
    return Bundle(
        index.main.note.encode(),
        index.index.note.encode(),
        index.leaf,
        index.path,
        tuple(included[:-2]),
        owned.lookup,
        included[-2],
        allowed.lookup,
        included[-1],
    )


async def _lookup(index: RemoteIndex, key: bytes, lacking: str) -> Found:
    found = await index.lookup(key)
    if found is None:
        raise RefusedError(lacking, status=404)
    return found


def _only(predicate: StatusPredicate) -> str:
    """The release that a status allows, if there is no other."""
    current = [item.release for item in predicate.allowed_now if item.state is State.CURRENT]
    if len(current) != 1:
        raise RefusedError(
            "which release the bundle is to show is not clear",
            expected="a release that is allowed",
            actual=", ".join(current[:8]) or "the status allows none",
            hint=f"teelog release list {predicate.stream}",
        )
    return current[0]


async def _find(
    index: RemoteIndex, statements: _Statements, stream: str, wanted: str, status_at: int, most: int | None
) -> int:
    """The entry of a release: from the newest one before the status on, as a status lists no later one."""
    looked_at = 0
    async for place in _from_the_status(index, stream, status_at):
        if looked_at == most:
            raise RefusedError(f"not among the newest {most} releases of {stream}", status=404, actual=wanted)
        looked_at += 1
        if await statements.id_at(place) == wanted:
            return place
    raise RefusedError(f"the log has no such release of {stream}", status=404, actual=wanted)


async def _from_the_status(index: RemoteIndex, stream: str, status_at: int) -> AsyncIterator[int]:
    listed = await index.lookup(keys.release_key(stream))
    later = []
    if listed is not None:
        async for place in index.newest_first(listed):
            if place < status_at:
                yield place
            else:
                later.append(place)
    for place in later:
        yield place


class _Statements:
    """Statement ids of entries. A bundle is read once for all of its entries that are asked for in a row."""

    def __init__(self, index: RemoteIndex, known: MutableMapping[int, str | None]) -> None:
        self._index = index
        self._known = known
        self._number = -1
        self._entries: dict[int, bytes] = {}

    async def id_at(self, place: int) -> str | None:
        """Of the entry there; None where there is no entry, or no envelope."""
        if place >= self._index.main.checkpoint.size:
            return None
        if place not in self._known:
            found = await self._read(place)
            if len(self._known) >= MAX_KNOWN:
                return found
            self._known[place] = found
        return self._known[place]

    async def _read(self, place: int) -> str | None:
        number = place // WIDTH
        if number != self._number:
            start, end = number * WIDTH, min(self._index.main.checkpoint.size, (number + 1) * WIDTH)
            self._entries = {index: entry async for index, entry in self._index.log.entries(start, end)}
            self._number = number
        try:
            return dsse.parse(self._entries[place]).statement_id
        except MalformedError:
            return None


async def _include(index: RemoteIndex, places: Sequence[int]) -> list[Included]:
    log = index.log
    return [Included(await log.entry(n), n, tuple(await log.prove_inclusion(n))) for n in places]


# -- refreshed --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refreshed:
    """found: the new bundle. by_witnesses: why the log was not asked, where the witnesses were (None: it was)."""

    found: Verified
    by_witnesses: TeelogError | None = None


async def refresh(
    http: HttpClient,
    url: str,
    trust: Trust,
    file: bytes,
    *,
    now: int,
    seen: Seen | None = None,
    cache: TileCache | None = None,
) -> Refreshed:
    """The newest bundle of the same stream and release; from the log, else the same one, cosigned anew.

    Raises NotVerified, also where the log shows that the release is no longer allowed; and as ``renew``.
    """

    async def newest(about: About) -> Shown:
        return await _show(http, url, trust, about.stream, about.release, now, seen, cache, about.place)

    shown, error = await renew(http, trust, file, newest, clock=lambda: now, seen=seen)
    return Refreshed(shown.taken(), error)


@dataclass(frozen=True, slots=True)
class About:
    """What a bundle is about, as it claims. release: statement id. place: index of the release's entry."""

    stream: str
    release: str
    place: int


def about(bundle: Bundle) -> About:
    """Raises MalformedError."""
    stream = status.read(dsse.parse(bundle.status.entry).claimed()).stream
    return About(stream, dsse.parse(bundle.release.entry).statement_id, bundle.release.index)


async def renew(
    http: HttpClient,
    trust: Trust,
    file: bytes,
    newest: Callable[[About], Awaitable[Shown]],
    *,
    clock: Callable[[], int],
    seen: Seen | None = None,
) -> tuple[Shown, TeelogError | None]:
    """What ``newest`` finds on the log; else the same bundle, cosigned anew, and why the log's answer did not do.

    A log that shows that the release is no longer allowed is believed. One that answers what does not hold, or what is
    old, is as good as down. Raises NotVerified where the log's bundle fails otherwise; UnavailableError where neither
    the log nor enough witnesses can be reached; MisbehaviourError. clock: POSIX seconds.
    """
    before = bundles.parse(file)
    asked = about(before)
    error: TeelogError
    try:
        shown = await newest(asked)
        if shown.refused is None or shown.withdrawn:
            return shown, None
        if not shown.stale:
            raise shown.refused
        error = shown.refused
    except (UnavailableError, RefusedError, MalformedError, VerificationError) as failed:
        error = failed
    # Whoever stands in the log's place and answers nonsense shall not keep its witnesses from being asked.
    again = look((await cosign_again(http, trust, before)).encode(), trust, asked.stream, clock(), seen)
    if again.refused is None or again.withdrawn:
        return again, error
    raise UnavailableError(
        "neither the log nor enough of its witnesses can be reached",
        actual=f"{error.message}; {again.refused.message}",
    ) from error


async def cosign_again(http: HttpClient, trust: Trust, bundle: Bundle) -> Bundle:
    """The bundle with the newest cosignatures that its witnesses give for the same two checkpoints.

    A witness that has cosigned a larger size by now, or is not reached, leaves its line as it was.
    """
    main = await cosign_anew(http, trust.main, bundle.main_checkpoint)
    index = bundle.index_checkpoint
    if trust.index is not None:
        index = await cosign_anew(http, trust.index, index)
    return replace(bundle, main_checkpoint=main, index_checkpoint=index)
