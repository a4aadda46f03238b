"""The thread that rebuilds index logs: reads their tiles, and tells the gate what was found.

One task for each log, so that one that drips does not hold up the others. An attempt at a checkpoint ends in one of:

    followed     its root is among the facts; what was rebuilt is on disk
    wrong        the log signed something false: evidence is written, the checkpoint is refused from now on
    trouble      the log cannot be read: tried again when it is asked for, after a pause that grows

Work that was done before trouble stays done.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog

from teelog.client.http import TIMEOUT, HttpClient
from teelog.client.source import HttpSource, TileSource
from teelog.errors import UnavailableError
from teelog.index import leaf
from teelog.tlog.vkey import SignatureType
from teelog.witness import faults
from teelog.witness.audit import Audit, Names, Unreadable, WrongIndex
from teelog.witness.decide import refuse
from teelog.witness.evidence import EvidenceStore
from teelog.witness.metrics import Metrics
from teelog.witness.published import origin_hash
from teelog.witness.rebuilt import Rebuilt, Unfit
from teelog.witness.registry import parse_keys
from teelog.witness.semantic import Facts, Target

log = structlog.get_logger("teelog.witness")

FOLDER = "rebuilt"  # in the witness's folder; derived data, one folder for each log
MIN_FREE = 256 << 20  # bytes on the disk below which nothing is rebuilt
FIRST_PAUSE, LAST_PAUSE = 1.0, 60.0  # seconds after trouble
MAX_REFUSED = 64  # checkpoints for each log
MAX_ROOTS = 64  # followed sizes for each log
SAY_EVERY = 10.0  # seconds between progress lines


class Rebuilder:
    """``Rebuilding`` for the gate.

    folder: the witness's. monotonic: seconds. timeout: seconds for each file of a log. step: called with "attempted"
    after each attempt; for tests.
    """

    def __init__(
        self,
        folder: Path,
        evidence: EvidenceStore,
        metrics: Metrics,
        monotonic: Callable[[], float],
        *,
        timeout: float = TIMEOUT,
        step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder = folder / FOLDER
        self.timeout = timeout
        self.evidence = evidence
        self.metrics = metrics
        self.monotonic = monotonic
        self.step = step
        self._followers: dict[str, _Follower] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="witness-rebuilder", daemon=True)
        self._lock = threading.Lock()
        self._facts: dict[str, Facts] = {}
        self._ended = False
        metrics.rebuilding.set_function(self._longest)

    # -- from any thread ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends what is under way; what was confirmed is kept."""
        with self._lock:
            self._ended = True
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        else:
            self._loop.close()

    def _longest(self) -> float:
        begun = [facts.since for facts in self._facts.copy().values() if facts.since is not None]
        return self.monotonic() - min(begun) if begun else 0.0

    def facts(self, origin: str) -> Facts | None:
        return self._facts.get(origin)

    def want(self, target: Target) -> Future[None]:
        done: Future[None] = Future()
        with self._lock:
            if self._ended:
                done.set_result(None)
            else:
                self._loop.call_soon_threadsafe(self._want, target, done)
        return done

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._close())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _close(self) -> None:
        for follower in self._followers.values():
            await follower.close()

    def _want(self, target: Target, done: Future[None]) -> None:
        follower = self._followers.get(target.origin)
        if follower is None:
            follower = self._followers[target.origin] = _Follower(self, target.origin)
        follower.want(target, done)

    def tell(self, origin: str, facts: Facts) -> None:
        """Replaces what the gate knows."""
        self._facts[origin] = facts
        self.metrics.frozen.set(sum(each.frozen for each in self._facts.values()))


class _Follower:
    """One log's task. ``want`` keeps the newest target only: an index log's later tree holds the earlier one."""

    def __init__(self, owner: Rebuilder, origin: str) -> None:
        self._owner = owner
        self._origin = origin
        self._target: Target | None = None
        self._waiting: list[tuple[tuple[int, bytes], Future[None]]] = []
        self._task: asyncio.Task[None] | None = None
        self._rebuilt: Rebuilt | None = None
        self._facts = Facts()
        self._pause = FIRST_PAUSE
        self._said = 0.0

    def want(self, target: Target, done: Future[None]) -> None:
        self._waiting.append((target.key, done))
        self._target = target
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._forget()
        self._release()

    async def _work(self) -> None:
        while self._target is not None:
            target, self._target = self._target, None
            self._tell(since=self._owner.monotonic(), trouble=None)
            try:
                await self._attempt(target)
            finally:
                self._tell(since=None)
                self._release(None if self._target is None else target.key)
            self._owner.step("attempted")

    def _release(self, key: tuple[int, bytes] | None = None) -> None:
        """Those who wait for ``key``, or for anything, may ask again."""
        kept = []
        for waited_for, done in self._waiting:
            if key is not None and waited_for != key:
                kept.append((waited_for, done))
            elif not done.done():
                done.set_result(None)
        self._waiting = kept

    def _tell(self, **changes: Any) -> None:
        self._facts = replace(self._facts, **changes)
        # Before the first attempt ends nothing is known, not even that the log is not frozen.
        if self._rebuilt is not None or self._facts.trouble is not None:
            self._owner.tell(self._origin, self._facts)

    async def _attempt(self, target: Target) -> None:
        try:
            await self._follow(target)
        except Unreadable as error:
            self._trouble(error.reason, error)
        except UnavailableError as error:
            self._trouble("the disk is nearly full", error)
        except Unfit as error:
            self._trouble("what was rebuilt does not fit together: it is made again", error)
            self._forget(delete=True)
        except (sqlite3.Error, OSError) as error:
            self._owner.metrics.storage_errors.inc()
            self._trouble("storage failed, nothing was signed", error)
            self._forget()
        except Exception as error:
            # Whatever it is, it ends this attempt and nothing else: no signature is made of it.
            log.exception("rebuild failed", origin=self._origin)
            self._trouble("the index cannot be rebuilt here", error)
            self._forget()
        else:
            self._pause = FIRST_PAUSE

    async def _follow(self, target: Target) -> None:
        names = names_of(target)
        rebuilt = self._open(names)
        url = target.entry.url
        assert url is not None
        async with HttpClient(self._owner.timeout) as http:
            main, index = HttpSource(http, url), HttpSource(http, f"{url.rstrip('/')}/index")
            audit = Audit(names, rebuilt, index, main, self._read)
            try:
                await audit.follow(target.checkpoint, target.note)
            except WrongIndex as wrong:
                self._refuse(target, wrong)
                await self._keep(names, target, wrong, index)
                return
            finally:
                self._tell(frozen=rebuilt.frozen)
        self._tell(roots={**self._recent(), target.checkpoint.size: target.checkpoint.root})

    def _recent(self) -> dict[int, bytes]:
        return dict(list(self._facts.roots.items())[-MAX_ROOTS:])

    def _open(self, names: Names) -> Rebuilt:
        if self._rebuilt is None:
            folder = self._owner.folder / origin_hash(names.origin)
            self._rebuilt = Rebuilt.open(folder, names.main_origin)
            done = self._rebuilt.confirmed.leaves
            self._tell(frozen=self._rebuilt.frozen)
            log.info("index is followed", origin=names.origin, leaves=done.size, entries=self._rebuilt.entries.size)
        return self._rebuilt

    def _forget(self, *, delete: bool = False) -> None:
        if self._rebuilt is not None:
            self._rebuilt.close()
            self._rebuilt = None
        if delete:
            shutil.rmtree(self._owner.folder / origin_hash(self._origin), ignore_errors=True)

    def _read(self, count: int) -> None:
        assert self._rebuilt is not None
        self._owner.metrics.rebuilt_entries.inc(count)
        if shutil.disk_usage(self._owner.folder).free < MIN_FREE:
            raise UnavailableError("the disk is nearly full", expected=f"{MIN_FREE} bytes free")
        if self._owner.monotonic() - self._said > SAY_EVERY:
            self._said = self._owner.monotonic()
            done = self._rebuilt.confirmed.leaves.size
            log.info("rebuilding", origin=self._origin, leaves=done, entries=self._rebuilt.entries.size)

    # -- what went wrong ----------------------------------------------------------------------------------------------

    def _trouble(self, reason: str, error: Exception) -> None:
        log.warning("index cannot be rebuilt now", origin=self._origin, error=str(error))
        self._owner.metrics.unreadable.inc()
        self._tell(trouble=reason, until=self._owner.monotonic() + self._pause)
        self._pause = min(LAST_PAUSE, 2 * self._pause)

    def _refuse(self, target: Target, wrong: WrongIndex) -> None:
        self._owner.metrics.wrong.labels(wrong.cause.value).inc()
        answer = refuse(HTTPStatus.UNPROCESSABLE_ENTITY, f"{wrong.cause}: {wrong.message}")
        kept = list(self._facts.refused.items())[1 - MAX_REFUSED :]
        self._tell(refused={**dict(kept), target.key: answer})

    async def _keep(self, names: Names, target: Target, wrong: WrongIndex, index: TileSource) -> None:
        """W-28 for indexes: what was shown stays, and someone is told."""
        evidence, path = self._owner.evidence, None
        try:
            if wrong.fork is not None:
                path = evidence.keep(self._origin, wrong.fork, proven=True)
                self._owner.metrics.forks.inc(int(path is not None))
            else:
                found = await faults.make(index, names, target.checkpoint, target.note, wrong)
                path = None if found is None else evidence.keep_fault(self._origin, found)
        except (OSError, Unreadable) as error:
            log.error("evidence could not be kept", origin=self._origin, error=str(error))
        log.error(
            "index log signed something wrong",
            origin=self._origin,
            cause=wrong.cause.value,
            error=str(wrong),
            file=None if path is None else str(path),
        )


def names_of(target: Target) -> Names:
    """Whose index a target is of."""
    main = tuple(key for key in parse_keys(target.entry.main) if key.type is SignatureType.ED25519)
    return Names(target.origin, leaf.main_of(target.origin), main, parse_keys(target.entry.vkeys))
