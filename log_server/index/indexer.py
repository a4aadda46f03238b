"""The thread that keeps the index: main checkpoint N published -> map and ``input_size = N`` durable -> leaf -> the
index log's own sequencer (commit, sign, tiles, semantic witnesses, publish) -> lookups answer from it.

One leaf is on its way at a time, and one main checkpoint has one leaf at most. The order and its crash windows are in
protocol section 8: at start the map is brought to the last committed leaf, whose root it has to have; a map that is
further is derived again. A difference stops the index for good, and nothing else.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from teelog.errors import ConfigError, TeelogError, UnavailableError
from teelog.index.leaf import IndexLeaf
from teelog.indexing.build import Builder
from teelog.indexing.store import IndexStore
from teelog.log_server.delivery import Answer, Delivery
from teelog.log_server.index.inputs import Inputs
from teelog.log_server.index.mainlog import MainLog, Published
from teelog.log_server.seams import Admitted, Damaged, RolledBack
from teelog.log_server.sequencer import Sequencer
from teelog.statement.index_map import Mapped, ReleaseEffect
from teelog.tlog import rfc6962
from teelog.tlog.tiles import WIDTH

log = logging.getLogger("teelog.log_server")

LOOK = 1.0  # seconds between looks at the main checkpoint, should nobody tell
HAND_OVER = 0.1  # seconds between looks at whether the other thread still lives
LEFT_OUT = 5.0  # seconds after which a submission that got no answer is one that failed


class Bell(Protocol):
    """What tells of a new main checkpoint."""

    def wait(self, seconds: float) -> None:
        """Until it rings, or the time is over."""

    def wake(self) -> None:
        """Ends ``wait``; from any thread."""


@dataclass(frozen=True, slots=True)
class Progress:
    """doing: starting (until the map is where its log is), mapping, cosigning, waiting (the witnesses do not cosign),
    idle, stopped. mapped: main entries that the map holds. index_size, input_size: of the newest published leaf. why:
    what stopped the index.
    """

    doing: str = "starting"
    mapped: int = 0
    index_size: int = 0
    input_size: int = 0
    why: str = ""


class Stopping(Exception):
    """``stop`` was called."""


class Indexer:
    """``run`` in a thread of its own until ``stop``.

    start: begins sequencing the index log, once the map is checked. moments: keeps for good the first checkpoint that
    covers a new status, namespace or log policy; its cosignatures tell by when that was in effect.
    """

    def __init__(
        self,
        main: MainLog,
        sequencer: Sequencer,
        database: Path,
        inputs: Inputs,
        bell: Bell,
        *,
        retain: int,
        start: Callable[[], None],
        moments: Inputs | None = None,
        told: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self.progress = Progress()
        self.stopped: Future[None] = Future()
        """Done when ``run`` ends: with None after ``stop``, else with what stopped the index."""
        self._main = main
        self._sequencer = sequencer
        self._database = database
        self._inputs = inputs
        self._moments = moments
        self._bell = bell
        self._retain = retain
        self._start = start
        self._told = told
        self._stopping = threading.Event()
        self._box: queue.SimpleQueue[Answer | _Noted | None] = queue.SimpleQueue()
        self._shown: dict[int, int] = {}
        """Index size -> input size of leaves not yet published."""
        self._size = 0
        """Committed leaves."""
        self._covered = 0
        """Main entries that the last of them covers."""
        self._kept = [(time.monotonic(), size) for size in inputs.sizes()[:1]]
        """When each input was published, and its size, oldest first."""
        sequencer.noted = self._noted

    # -- life ---------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """The thread. Never raises: what ends it is in ``stopped``."""
        try:
            self._open()
            try:
                self._recover()
                self._start()
                while True:
                    self._turn()
                    self._wait(LOOK)
            finally:
                self._store.close()
        except Stopping:
            self.stopped.set_result(None)
        except BaseException as error:
            why = error.message if isinstance(error, TeelogError) else repr(error)
            if isinstance(error, sqlite3.DatabaseError):
                why = f"the index is damaged ({error}): teelog log rebuild LOG, with the server stopped"
            log.exception("the index stops; the log goes on: %s", why)
            self._tell(doing="stopped", why=why)
            self.stopped.set_exception(error)

    def _open(self, *, anew: bool = False) -> None:
        """Opens the index; makes it if it is not there, or not to be used: all of it is derived."""
        if anew:
            self._store.close()
        elif self._database.exists():
            try:
                self._use(IndexStore.open(self._database, self._main.origin, retain=self._retain))
                return
            except ConfigError as error:
                log.warning("the index is built anew: %s", error)
        remove(self._database)
        self._use(IndexStore.open(self._database, self._main.origin, create=True, retain=self._retain))

    def _use(self, store: IndexStore) -> None:
        self._store, self._builder = store, _Noticing(store)

    def stop(self) -> None:
        """Ends ``run`` soon; from any thread. What is unfinished is done at the next start."""
        self._stopping.set()
        self._box.put(None)
        self._bell.wake()

    def _check_stop(self) -> None:
        if self._stopping.is_set():
            raise Stopping
        if self._sequencer.stopped.done():
            self._sequencer.stopped.result()
            raise Stopping

    def _wait(self, seconds: float) -> None:
        self._check_stop()
        self._bell.wait(seconds)
        self._check_stop()

    def _tell(self, **changed: object) -> None:
        before, self.progress = self.progress, replace(self.progress, **changed)  # type: ignore[arg-type]
        if self.progress != before:
            self._told(self.progress)

    # -- at start -----------------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        """The map checked against the last committed leaf, and brought there. Raises Damaged, RolledBack."""
        memory = self._sequencer.memory
        self._size = memory.size
        published = self._main.published()
        leaf = self._leaf(memory.size - 1, memory.size) if memory.size else None
        head = self._input(leaf, published) if leaf else None
        if self._ahead(head):
            log.warning("the index is not of its log: it is built anew")
            self._open(anew=True)
        if leaf is not None and head is not None:
            if self._store.input_size < head.size:
                self._map(head)
            root = self._root(head.size)
            if root != leaf.map_root:
                raise Damaged(
                    "the index does not have the map root of its log's last leaf: nothing more is indexed",
                    expected=leaf.map_root.hex(),
                    actual=root.hex(),
                    hint="teelog log rebuild LOG, with the server stopped",
                )
            if published.size == head.size:
                self._inputs.keep(head.size, published.note)
            self._covered = head.size
            self._shown[memory.size] = head.size
            if memory.published_size == memory.size:
                self._show(memory.size)
        self._tell(doing="idle", mapped=self._store.input_size)

    def _ahead(self, head: Published | None) -> bool:
        """Whether the map has gone beyond ``head`` without having shown it: what it was there can't be told any more.

        A map that is ahead as it may be was stopped between its transaction and the leaf; it goes on from there.
        """
        shown = self._store.published
        if head is None:
            return shown is not None
        return self._store.input_size > head.size and (shown is None or shown.input_size != head.size)

    def _root(self, size: int) -> bytes:
        shown = self._store.published
        return shown.map_root if shown is not None and shown.input_size == size else self._store.map_root

    def _leaf(self, index: int, size: int) -> IndexLeaf:
        entries = self._sequencer.memory.tree.bundle(index // WIDTH, size)
        return IndexLeaf.parse(entries[index % WIDTH])

    def _input(self, leaf: IndexLeaf, published: Published) -> Published:
        """The main checkpoint of a leaf of our own. Raises RolledBack if the main log has less than that."""
        head = self._main.open(leaf.note)
        same = head.size == published.size
        if head.size > published.size or (same and head.root != published.root):
            raise RolledBack(
                "the index log is of another or a newer main log than the one here",
                expected=f"at most size {published.size}",
                actual=f"size {head.size}",
            )
        return head

    # -- one main checkpoint ------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Brings the index log to the newest main checkpoint."""
        while self._shown:  # committed before the last stop and not published
            self._handle(self._take(LOOK))
        try:
            published = self._main.published()
        except UnavailableError:
            return
        size = self._covered
        if published.size < max(size, self._store.input_size):
            raise RolledBack("the main log went back", expected=f"at least size {size}", actual=published.size)
        if published.size == size:
            # Main first, then index: an idle log stays fresh as long as both do.
            if size and self._inputs.keep(size, published.note):
                self._sequencer.refresh()
            return
        self._tell(doing="mapping")
        root = self._map(published)
        self._inputs.keep(published.size, published.note)
        if self._builder.noticed and self._moments is not None:
            self._moments.keep(published.size, published.note)
        self._builder.noticed = False
        self._publish(published.leaf(root), published.size)
        self._covered = published.size
        self._tell(doing="idle")

    def _map(self, upto: Published) -> bytes:
        """The map of the first ``upto.size`` entries: durable, staged, its root returned."""
        told = time.monotonic()

        def step() -> None:
            nonlocal told
            self._check_stop()
            if time.monotonic() - told > HAND_OVER:
                told = time.monotonic()
                self._tell(mapped=self._store.input_size)

        root = self._builder.advance(self._main.entries(self._store.input_size, upto, step), upto.size)
        self._tell(mapped=upto.size)
        return root

    # -- the index log's sequencer ------------------------------------------------------------------------------------

    def deliver(self, delivery: Delivery) -> None:
        """The sequencer's answer (``intake.Port``)."""
        for answer in delivery.answers:
            self._box.put(answer)

    def _noted(self, size: int) -> None:
        """In the sequencer's thread: before a checkpoint is shown, lookups of its size are possible."""
        if size not in self._shown:
            return  # an unchanged one
        noted = _Noted(size, threading.Event())
        self._box.put(noted)
        while not noted.done.wait(HAND_OVER):
            if self.stopped.done() or self._stopping.is_set():
                return  # the next start does it

    def _publish(self, leaf: bytes, input_size: int) -> None:
        """Until the leaf is in a published index checkpoint."""
        self._tell(doing="cosigning")
        entry = Admitted(leaf, rfc6962.leaf_hash(leaf), None)
        self._size += 1
        self._shown[self._size] = input_size
        ticket = 0
        while True:
            ticket += 1
            failure = self._sequencer.intake.offer(self, ticket, [entry])
            if failure is not None:
                # The witnesses have not confirmed the index log yet, or the disk is full.
                self._tell(doing="waiting")
                self._handle(self._take(HAND_OVER))
                continue
            if self._answered(ticket):
                return
            # It may be committed or not: the same leaf again is the same entry.
            self._tell(doing="waiting")
            self._handle(self._take(HAND_OVER))

    def _answered(self, ticket: int) -> bool:
        while True:
            answer = self._take(LOOK)
            if answer is None:
                self._tell(doing="waiting")
            self._handle(answer)
            if isinstance(answer, Answer) and answer.ticket == ticket:
                return answer.failure is None

    def _take(self, seconds: float) -> Answer | _Noted | None:
        self._check_stop()
        try:
            found = self._box.get(timeout=seconds)
        except queue.Empty:
            found = None
        self._check_stop()
        return found

    def _handle(self, found: Answer | _Noted | None) -> None:
        if isinstance(found, _Noted):
            self._show(found.size)
            found.done.set()

    def _show(self, size: int) -> None:
        input_size = self._shown.pop(size, None)
        if input_size is None:
            return
        shown = self._store.published
        if shown is None or shown.index_size < size:
            self._store.publish(size, input_size)
        self._kept.append((time.monotonic(), input_size))
        self._inputs.drop(self._oldest())
        self._tell(index_size=size, input_size=input_size)

    def _oldest(self) -> int:
        """The smallest input size that lookups may still ask for: what was replaced within ``retain``."""
        while len(self._kept) > 1 and time.monotonic() - self._kept[1][0] > self._retain:
            del self._kept[0]
        return self._kept[0][1]


class _Noticing(Builder):
    """noticed: an entry took effect that says what is in force; releases, which are many, do not."""

    noticed = False

    def map(self, entry: bytes, index: int) -> Mapped:
        mapped = super().map(entry, index)
        if mapped.effect is not None and not isinstance(mapped.effect, ReleaseEffect):
            self.noticed = True
        return mapped


@dataclass(frozen=True, slots=True)
class _Noted:
    size: int
    done: threading.Event


def remove(database: Path) -> None:
    """Throws the index away; everything in it is derived."""
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
