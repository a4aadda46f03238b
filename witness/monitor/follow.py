"""One look at a log, from all places where it can be seen, as far as it has grown since the last one.

    views of all places --> none contradicts what was followed, else a fork proof is kept, and that place left alone
    the newest readable --> its new entries, a portion at a time: hashed again, led to its signed root,  [commit]
                            then mapped and shown to the rules                                           [commit]
    all other views     --> compared with what is now followed; who lies behind, or does not answer, is told
    the index           --> every new leaf's map root rebuilt
    what holds now      --> told, and cleared when it no longer does                                     [commit]

Memory: a portion. A kill between two commits repeats the work, not the findings: they have an identity of their own.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from teelog.client.log import LogReader
from teelog.client.rehash import Rehash
from teelog.client.source import TileSource
from teelog.errors import ConfigError, TeelogError, UnavailableError, VerificationError
from teelog.statement.effective import Effect, NamespaceEffect, Rows
from teelog.statement.index_map import map_read
from teelog.tlog.fork import ForkProof
from teelog.tlog.tiles import Tile
from teelog.witness.monitor import portion, standing, views
from teelog.witness.monitor.ahead import Ahead, Batch, BatchRead, Known
from teelog.witness.monitor.aims import Aims
from teelog.witness.monitor.finding import Finding, Kind, cut
from teelog.witness.monitor.folder import Folder
from teelog.witness.monitor.known import read_known
from teelog.witness.monitor.looked import Look
from teelog.witness.monitor.portion import Joined
from teelog.witness.monitor.rules import Rules
from teelog.witness.monitor.settings import Settings
from teelog.witness.monitor.standing import Waiting
from teelog.witness.monitor.state import Followed, State
from teelog.witness.monitor.views import READ_ERRORS, Place, Role, View

EVENTS = 1_000  # findings after which a portion is committed
ENTRIES = 4_096  # entries mapped between two commits
YIELD = 8  # entries mapped before the threads that check ahead, who need the interpreter for moments only, have it

Progress = Callable[[str, int], object]
CheckIndex = Callable[["Follower", View], Awaitable[None]]


class Follower:
    """Follows the log of a folder. Used by one task at a time.

    settings: as they are now. now: POSIX seconds. progress: called with what is done, and how many more entries were.
    step: called with "hashed", "mapped", "looked" after each commit: tests stop and kill here. enough: whether the look
    has taken its time; what is left to read is left to the next one.
    """

    def __init__(
        self,
        folder: Folder,
        state: State,
        settings: Settings,
        now: int,
        progress: Progress = lambda _what, _count: None,
        step: Callable[[str], object] = lambda _: None,
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        self._enough = enough
        self._folder = folder
        self._state = state
        self._settings = settings
        self._policy = settings.main()
        self._now = now
        self._progress = progress
        self._step = step
        self._own = folder.hashes
        self._keys = tuple(log.key for log in self._policy.logs)
        self._look = Look(state.followed())
        self._convicted: list[View] = []
        self.waiting = Waiting(self._followed.waiting)
        if self._policy.origins()[0] != self._followed.origin:
            raise ConfigError(
                "the monitor's folder is of another log than its policy",
                expected=self._followed.origin,
                actual=self._policy.origins()[0],
            )

    @property
    def followed(self) -> Followed:
        """How far it has come by now."""
        return self._look.followed

    _followed = followed

    def add(self, findings: Sequence[Finding]) -> None:
        """Takes what was found beside the log itself."""
        self._look.standing += [finding for finding in findings if finding.standing]
        events = [finding for finding in findings if not finding.standing]
        if events:
            self._advance(self._followed, events)

    def joined(self, view: View) -> TileSource:
        """The followed tree: hashes from here, entries, and what has grown since, from where ``view`` comes from."""
        return Joined(self._own, view.place.source, self._followed.signed)

    async def look(self, places: Sequence[Place], check_index: CheckIndex | None = None) -> Look:
        """Looks once. places: the log first. Raises ConfigError, OSError, sqlite3.Error; all else is found, not raised.

        check_index: awaited with the view that was followed; adds to what was found.
        """
        self._take_settings()
        found = self._look
        found.views = await views.look(places, self._policy, self._followed.origin)
        readable = [view for view in found.views if view.seen is not None and view.place.role is not Role.WITNESS]
        tiles = [view.place.source for view in readable]
        good = [view for view in readable if await self._is_ours(view, tiles)]
        # First what can be compared now: a log that grows without end puts nothing off.
        done = [view for view in found.views if view.seen is not None and view.checkpoint.size <= self._followed.signed]
        for view in done:
            if view not in readable:
                await self._is_ours(view, tiles)
        target, read = await self._follow_newest(good)
        for view in found.views:
            # Two may continue what was followed before, and not each other.
            if view.seen is None or any(view is each for each in (*done, *self._convicted, target)):
                continue
            if view.checkpoint.size <= self._followed.signed or view.place.role is Role.WITNESS:
                await self._is_ours(view, tiles)
        await self._judge_aims(target)
        self._judge_views(target)
        if target is not None and check_index is not None:
            await check_index(self, target)
        found.standing += self._rules().standing(
            datetime.fromtimestamp(self._now, UTC),
            timedelta(seconds=self._settings.ahead),
            whole=bool(self._followed.note) and self._followed.mapped >= self._followed.signed,
        )
        read_at = self._now if read else self._followed.read_at
        after = replace(self._followed, looked_at=self._now, read_at=read_at, waiting=self.waiting.encode())
        self._advance(after, standing=found.standing)
        self._step("looked")
        return found

    # -- commits ------------------------------------------------------------------------------------------------------

    def _advance(
        self,
        after: Followed,
        events: Sequence[Finding] = (),
        standing: Sequence[Finding] | None = None,
        effects: Sequence[Effect] = (),
    ) -> None:
        self._state.advance(self._followed, after, self._now, events, standing, effects)
        self._look.followed = after
        self._look.events += (finding for finding in events if not finding.over)

    def _rules(self) -> Rules:
        known = read_known(self._folder, self._settings)
        return Rules(self._followed.origin, self._settings.watches(), known, self._followed.rules)

    def _take_settings(self) -> None:
        """Other things watched than before: the rules see the whole log again; what was found keeps its number."""
        watched = "\n".join(sorted(map(str, self._settings.watches())))
        before = self._followed
        chosen = f"v1\n{watched}"
        if before.settings == chosen:
            return
        after = replace(before, settings=chosen, mapped=0, rules=b"")
        text = f"watched from now on: {watched or 'nothing in particular'}".replace("\n", ", ")
        about = hashlib.sha256(chosen.encode()).hexdigest()[:16]
        changed = [Finding(Kind.SETTINGS, before.origin, about, cut(text))]
        self._state.forget_rules(before, after, self._now, changed if before.settings else [])
        self._look.followed = after

    # -- views --------------------------------------------------------------------------------------------------------

    async def _is_ours(self, view: View, tiles: Sequence[TileSource]) -> bool:
        """Whether a view is of the tree that was followed; where it is not, that is found."""
        own_first = [view.place.source, *tiles] if view.place.role is not Role.WITNESS else tiles
        try:
            fork = await views.compare(self._followed.view, self._own, view, own_first, self._keys)
        except READ_ERRORS as error:
            # A witness may be ahead of what the log serves by a moment, and nothing is wrong.
            if view.place.role is not Role.WITNESS:
                what = f"that its {view.checkpoint.size} entries continue the {self._followed.signed} seen"
                self._unread(view, f"does not show {what}: {error}", error)
            return False
        if fork is None:
            return True
        self._convict(view, fork)
        return False

    def _convict(self, view: View, fork: ForkProof) -> None:
        self._convicted.append(view)
        where = str(view.place)
        text = f"the log signed two trees: {where} shows one of size {view.checkpoint.size} that is not the one seen"
        finding = Finding(Kind.FORK, self._followed.origin, where, cut(text))
        kept = None if self._state.ledger.known(finding.id) else self._folder.keep(fork)
        self._advance(self._followed, [replace(finding, evidence=kept)])

    def _judge_views(self, target: View | None) -> None:
        found = self._look
        honest = [view for view in found.views if view not in self._convicted]
        held = standing.conditions(
            honest, target, self._followed, self._settings, self._policy, self._now, self.waiting
        )
        found.troubles += [f"{view.place}: {view.trouble}" for view in honest if view.seen is None]
        found.standing += held

    def _unread(self, view: View, text: str, error: TeelogError) -> None:
        kind = Kind.UNREACHABLE if isinstance(error, UnavailableError) else Kind.BROKEN
        self._standing(kind, str(view.place), text)
        self._look.troubles.append(f"{view.place!s}: {text}")

    def _standing(self, kind: Kind, about: str, text: str) -> None:
        self._look.standing.append(Finding(kind, self._followed.origin, about, cut(text), standing=True))

    # -- entries ------------------------------------------------------------------------------------------------------

    async def _follow_newest(self, good: Sequence[View]) -> tuple[View | None, bool]:
        """Follows the newest view whose entries can be read; that and True, or where none can be the newest."""
        newest_first = sorted(good, key=lambda view: -view.checkpoint.size)  # of equal ones, the log's
        for view in newest_first:
            if await self._follow(view):
                return view, True
        return (newest_first[0] if newest_first else None), False

    async def _follow(self, target: View) -> bool:
        head, source = target.checkpoint, Joined(self._own, target.place.source)
        try:
            await self._drop_unsigned(target)
            if head.size >= self._followed.size:
                async for _ in self._hash(target, source):
                    await self._map(source)
                return True
            if head.size > self._followed.signed:
                self._advance(self._reached(target))
            await self._map(source)
        except READ_ERRORS as error:
            self._unread(target, str(error), error)
            return False
        return True

    async def _hash(self, target: View, source: Joined) -> AsyncIterator[None]:
        """Hashes the new entries again, a portion at a time. Raises READ_ERRORS; yields after each commit."""
        head = target.checkpoint
        tree = self._own.resume(self._followed.size, self._followed.root)
        while True:
            # One for each portion: what it has read is not kept for the whole log.
            reader, before = LogReader(target.place.source, head.size, head.root), tree.size
            source.held.clear()
            await portion.grow(tree, target.place.source, head.size, source.held, self._enough)
            root = tree.root()
            # A portion's end is in the signed tree, or nothing of it is believed.
            signed = head.root if tree.size == head.size else (await reader.prove_consistency(tree.size))[0]
            if tree.size and root != signed:
                await portion.explain(reader, before, tree.size)
                raise VerificationError(
                    f"the log's entries up to {tree.size} do not lead to its root",
                    expected=signed.hex(),
                    actual=root.hex(),
                )
            full = await self._settled(tree, target.place.source)
            if tree.size > before:
                tree.cut()
                self._own.write([*full, *tree.taken()])
            after = replace(self._followed, size=tree.size, root=root)
            if tree.size == head.size and head.size >= self._followed.signed:
                after = replace(self._reached(target), size=tree.size, root=root)
            elif target.seen is not None:
                aims = Aims(after.aims, self._policy)
                aims.add(target.seen, target.note)
                after = replace(after, aims=aims.encode())
            if after != self._followed:
                self._advance(after)
                self._step("hashed")
            self._progress("hashed", tree.size - before)
            yield
            if tree.size == head.size or self._enough():
                return

    def _reached(self, target: View) -> Followed:
        """The state once a checkpoint was followed to its end; of one tree the note that was cosigned last."""
        head, note = target.checkpoint, target.note
        if standing.is_older(target, self._followed, self._policy):
            note = self._followed.note
        return replace(self._followed, note=note, signed=head.size, signed_root=head.root)

    async def _drop_unsigned(self, target: View) -> None:
        """What was hashed of a checkpoint that was not reached may be of another tree than this one: then it goes.

        Raises READ_ERRORS.
        """
        before, head = self._followed, target.checkpoint
        if min(before.size, head.size) <= before.signed:
            return
        if head.size >= before.size:
            reader = LogReader(target.place.source, head.size, head.root)
            same = await views.root_at(reader, before.size) == before.root
        else:
            same = await views.root_at(LogReader(self._own, before.size, before.root), head.size) == head.root
        if not same:
            after = replace(before, size=before.signed, root=before.signed_root, mapped=0, rules=b"")
            self._state.forget_rules(before, after, self._now, [], before.signed)
            self._look.followed = after

    async def _judge_aims(self, target: View | None) -> None:
        """What was begun and not followed to its end is compared once that can be done, and told until then."""
        aims = Aims(self._followed.aims, self._policy)
        for seen, note in aims:
            size = seen.checkpoint.size
            if size > self._followed.signed:
                continue
            earlier = View(Place(Role.EARLIER, "checkpoint", self._own), seen, note, None)
            if await self._is_ours(earlier, []) or earlier in self._convicted:
                aims.settle(note)
        under_way = target.checkpoint if target is not None and self._enough() else None
        left = [seen.checkpoint.size for seen, _ in aims if seen.checkpoint != under_way]
        if left:
            count = f"{len(left)} or more" if aims.full else str(len(left))
            text = f"the log began to show trees: {count} of up to {max(left)} entries, and does not finish them"
            self._standing(Kind.ROLLBACK, "earlier checkpoint", text)
        if aims.encode() != self._followed.aims:
            self._advance(replace(self._followed, aims=aims.encode()))

    async def _settled(self, tree: Rehash, source: TileSource) -> list[tuple[Tile, bytes]]:
        """The tiles that have become full: those that the log serves, too. Raises VerificationError."""
        due = tree.taken()
        served = await asyncio.gather(*(source.tile(tile) for tile, _ in due))
        for (tile, expected), actual in zip(due, served, strict=True):
            if actual != expected:
                raise VerificationError(f"{source.name}/{tile.path} is not the tile that follows from the entries")
        return due

    async def _map(self, source: Joined) -> None:
        """Shows the rules what was hashed. Raises READ_ERRORS."""
        start, end = self._followed.mapped, self._followed.size
        if start >= end:
            return
        if start:
            ours = self._state.effective({}).log_policy() is not None
        else:
            ours = await portion.is_of_our_kind(LogReader(source, end, self._followed.root), self._followed.origin)
        if not ours and not self._settings.watched:
            self._advance(replace(self._followed, mapped=end))
            return
        batches = portion.batches(source, start, end, self._followed.root)
        if not ours:
            await self._observe(batches)
            return
        pending = dict[bytes, bytes]()
        in_force = self._state.effective(pending)
        with Ahead(in_force) as ahead:
            await self._judge(ahead.over(batches), ahead.known, in_force, pending)

    async def _observe(self, batches: AsyncIterator[Batch]) -> None:
        """Of a log whose entries mean nothing here."""
        rules = self._rules()
        async for first, entries in batches:
            events = [each for at, entry in enumerate(entries) for each in rules.observe(first + at, entry, None, None)]
            self._advance(replace(self._followed, mapped=first + len(entries), rules=rules.dump()), events)
            self._mapped(len(entries))

    async def _judge(
        self, batches: AsyncIterator[BatchRead], known: Known, in_force: Rows, pending: dict[bytes, bytes]
    ) -> None:
        """Maps, one by one, and shows each to the rules. pending: rows that are not yet committed."""
        rules, end = self._rules(), self._followed.size
        events, effects, done = list[Finding](), list[Effect](), self._followed.mapped
        async for first, entries in batches:
            for index, (entry, parsed) in enumerate(entries, first):
                mapped = map_read(parsed, index, in_force)
                events += rules.observe(index, entry, mapped, in_force, parsed)
                if mapped.effect is not None:
                    effects.append(mapped.effect)
                    key, value = mapped.effect.row
                    pending[key] = value
                    if isinstance(mapped.effect, NamespaceEffect):
                        known.renew(mapped.effect.name)
                if index + 1 == end or len(events) >= EVENTS or index + 1 - done >= ENTRIES:
                    after = replace(self._followed, mapped=index + 1, rules=rules.dump())
                    self._advance(after, events, effects=effects)
                    pending.clear()
                    self._mapped(index + 1 - done)
                    events, effects, done = [], [], index + 1
                if index % YIELD == 0:
                    time.sleep(0)

    def _mapped(self, count: int) -> None:
        self._step("mapped")
        self._progress("mapped", count)
