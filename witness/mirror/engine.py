"""The one thread that writes what is mirrored, and signs: packages come to it whole and proven or not at all.

A client that stalls holds none of it up: what is not yet a whole package is the event loop's.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from teelog.errors import ConfigError, ProofError, UnavailableError
from teelog.tlog import note
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.witness import encode_answer
from teelog.witness.mirror.decide import Kept, Pending
from teelog.witness.mirror.directory import LOGS, Mirror
from teelog.witness.mirror.packages import Package
from teelog.witness.mirror.storage import MirroredLog, Row
from teelog.witness.published import origin_hash

Done = TypeVar("Done")


class Engine:
    """now: POSIX seconds. step: called with "saved", "committed", "signed", "shown" as each is done: tests kill there.

    All methods raise UnavailableError where storage fails: nothing was signed then.
    """

    def __init__(
        self,
        mirror: Mirror,
        db: sqlite3.Connection,
        now: Callable[[], int],
        step: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._mirror = mirror
        self._db = db
        self._now = now
        self._step = step
        self._logs: dict[str, MirroredLog] = {}
        self._kept: dict[str, Kept] = {}
        self._thread = ThreadPoolExecutor(1, "witness-mirror")

    def start(self) -> None:
        """Opens the logs that are stored, and shows what a crash left signed but not shown. Raises ConfigError."""
        self._thread.submit(self._open_all).result()

    def stop(self) -> None:
        """Ends what is under way."""
        self._thread.shutdown(wait=True)
        for log in self._logs.values():
            log.close()

    def kept(self, origin: str) -> Kept:
        """Some valid copy of what the mirror has, from any thread."""
        return self._kept.get(origin, Kept())

    async def save(self, origin: str, package: Package, target: Checkpoint) -> None:
        """Keeps a package's entries. Raises ProofError where they do not lead to ``target``."""
        await self._run(lambda: self._save(origin, package, target))

    async def commit(self, origin: str, target: Pending) -> bytes | None:
        """The mirror's cosignature lines on ``target``, now the mirror checkpoint; None where a larger one is."""
        return await self._run(lambda: self._commit(origin, target))

    async def _run(self, work: Callable[[], Done]) -> Done:
        def guarded() -> Done:
            try:
                return work()
            except (sqlite3.Error, OSError, ConfigError) as error:
                raise UnavailableError("the mirror's storage failed", actual=str(error)[:200]) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _open_all(self) -> None:
        for (origin,) in self._db.execute("SELECT origin FROM mirrored").fetchall():
            log = self._log(origin)
            if log.row.size >= 0:
                self._show(log)

    def _log(self, origin: str) -> MirroredLog:
        log = self._logs.get(origin)
        if log is None:
            folder = self._mirror.path / LOGS / origin_hash(origin)
            log = self._logs[origin] = MirroredLog(origin, folder, self._db)
            self._kept[origin] = log.kept
        return log

    def _save(self, origin: str, package: Package, target: Checkpoint) -> None:
        log = self._log(origin)
        try:
            log.save(package, target)
        except ProofError:
            raise
        except BaseException:
            self._drop(origin)
            raise
        self._kept[origin] = log.kept
        self._step("saved")

    def _commit(self, origin: str, target: Pending) -> bytes | None:
        log = self._log(origin)
        try:
            # MI-34: "The mirror MUST persist the new checkpoint before responding."
            if not log.commit(target, self._now()):
                return None
            self._kept[origin] = log.kept
            self._step("committed")
            return self._show(log)
        except BaseException:
            self._drop(origin)
            raise

    def _show(self, log: MirroredLog) -> bytes:
        """Signs the mirror checkpoint and serves it; its cosignature lines."""
        row = log.row
        lines = self._sign(row)
        self._step("signed")
        # MI-01: "The checkpoint served from this prefix MUST include a cosignature from the mirror."
        log.show(row.note + lines)
        self._step("shown")
        return lines

    def _sign(self, row: Row) -> bytes:
        # Over what the log signed, whole: it may have extension lines.
        text = note.parse(row.note).claimed_text()
        return encode_answer([signer.sign(text, row.timestamp) for signer in self._mirror.signers])

    def _drop(self, origin: str) -> None:
        """After a failure nothing in memory is believed: the next request reads what is stored."""
        log = self._logs.pop(origin, None)
        if log is not None:
            log.close()
