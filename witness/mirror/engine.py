"""The one thread that writes what is mirrored, and signs: packages come to it whole and proven or not at all.

A client that stalls holds none of it up: what is not yet a whole package is the event loop's.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog

from teelog import durable
from teelog.client.mirror_folder import CHECKPOINT
from teelog.errors import ConfigError, MalformedError, ProofError, TeelogError, UnavailableError
from teelog.tlog import note
from teelog.tlog.checkpoint import Checkpoint, parse_body
from teelog.tlog.witness import encode_answer
from teelog.witness.engine import FATAL_CODES
from teelog.witness.mirror.decide import Kept, Pending
from teelog.witness.mirror.directory import LOGS, STATE, Mirror
from teelog.witness.mirror.packages import Package
from teelog.witness.mirror.storage import MirroredLog, Row
from teelog.witness.published import origin_hash

Done = TypeVar("Done")
logger = structlog.get_logger()


class Engine:
    """now: POSIX seconds. step: called with "saved", "committed", "signed", "shown" as each is done: tests kill there.
    on_fatal: called once nothing more will be written: an fsync failed, and only a new start can tell what is on the
    disk (R-30).

    All methods raise UnavailableError where storage fails: nothing was signed then.
    """

    def __init__(
        self,
        mirror: Mirror,
        db: sqlite3.Connection,
        now: Callable[[], int],
        step: Callable[[str], object] = lambda _: None,
        on_fatal: Callable[[], object] = lambda: None,
    ) -> None:
        self._mirror = mirror
        self._db = db
        self._now = now
        self._step = step
        self._on_fatal = on_fatal
        self.fatal: BaseException | None = None
        self._logs: dict[str, MirroredLog] = {}
        self._kept: dict[str, Kept] = {}
        self._thread = ThreadPoolExecutor(1, "witness-mirror")

    def start(self) -> None:
        """Opens the logs that are stored, and shows what a crash left signed but not shown. Raises ConfigError."""
        self._thread.submit(self._open_all).result()

    def stop(self) -> None:
        """Ends what is under way."""
        self._thread.shutdown(wait=True)

    def kept(self, origin: str) -> Kept:
        """Some valid copy of what the mirror has, from any thread."""
        return self._kept.get(origin, Kept())

    async def save(self, origin: str, package: Package, target: Checkpoint) -> bool:
        """Keeps a package's entries; False where it had them all. Raises ProofError where they do not lead to
        ``target``."""
        return await self._run(lambda: self._save(origin, package, target))

    async def commit(self, origin: str, target: Pending) -> bytes | None:
        """The mirror's cosignature lines on ``target``, now the mirror checkpoint; None where a larger one is."""
        return await self._run(lambda: self._commit(origin, target))

    async def _run(self, work: Callable[[], Done]) -> Done:
        def guarded() -> Done:
            if self.fatal is not None:
                raise UnavailableError("the mirror has stopped", actual=str(self.fatal)[:200])
            try:
                return work()
            except (sqlite3.Error, OSError, ConfigError, MalformedError, UnavailableError) as error:
                self._failed(error)
                raise UnavailableError("the mirror's storage failed", actual=str(error)[:200]) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _failed(self, error: Exception) -> None:
        logger.error("mirror's storage failed", error=str(error), cause=str(error.__cause__))
        synced = not isinstance(error.__cause__, durable.NotSynced)
        if not synced or getattr(error, "sqlite_errorcode", None) in FATAL_CODES:
            self.fatal = error
            self._on_fatal()

    def _open_all(self) -> None:
        stored = {origin for (origin,) in self._db.execute("SELECT origin FROM mirrored").fetchall()}
        for origin in sorted(stored | self._shown()):
            log = self._log(origin)
            signed = self._signed(log)
            self._refuse_rollback(log, signed)
            if log.row.size >= 0 and not self._is_shown(log, signed):
                self._show(log)

    def _shown(self) -> set[str]:
        """Origins of the checkpoints that are served: a state from before a log's first one does not name it."""
        origins = set()
        for path in (self._mirror.path / LOGS).glob(f"*/{CHECKPOINT}"):
            try:
                origin = parse_body(note.parse(path.read_bytes()).claimed_text()).origin
            except OSError as error:
                raise UnavailableError(f"cannot read {path}", actual=error.strerror) from error
            except TeelogError:
                continue  # not ours, as below
            if origin_hash(origin) == path.parent.name:
                origins.add(origin)
        return origins

    def _signed(self, log: MirroredLog) -> note.Note | None:
        """What is shown of it, None where that is not ours: it is written again from what is stored."""
        shown = log.shown
        try:
            return None if shown is None else note.open_note(shown, [each.verifier for each in self._mirror.signers])
        except TeelogError:
            return None

    def _is_shown(self, log: MirroredLog, signed: note.Note | None) -> bool:
        """Whether a start has nothing to sign: signing and syncing for each log would hold up many for minutes."""
        if signed is None or not (log.shown or b"").startswith(log.row.note):
            return False
        keys = {line.verifier for line in signed.signatures if line.timestamp == log.row.timestamp}
        return keys == {signer.verifier for signer in self._mirror.signers}

    def _refuse_rollback(self, log: MirroredLog, signed: note.Note | None) -> None:
        """What is shown was stored before, so the state is never behind it. Raises ConfigError."""
        if signed is None:
            return
        try:
            size = parse_body(signed.text).size
        except TeelogError:
            return
        if size > log.row.size:
            raise ConfigError(
                f"{self._mirror.path} has an older {STATE} than what it signed for {log.origin}: it was rolled back",
                expected=f"at least {size} entries",
                actual=max(log.row.size, 0),
                hint=f"put back the newest {STATE}, or mirror into a new folder under a new name (docs/mirror.md)",
            )

    def _log(self, origin: str) -> MirroredLog:
        log = self._logs.get(origin)
        if log is None:
            folder = self._mirror.path / LOGS / origin_hash(origin)
            log = self._logs[origin] = MirroredLog(origin, folder, self._db)
            self._kept[origin] = log.kept
        return log

    def _save(self, origin: str, package: Package, target: Checkpoint) -> bool:
        log = self._log(origin)
        try:
            new = log.save(package, target)
        except ProofError:
            raise
        except BaseException:
            self._drop(origin)
            raise
        self._kept[origin] = log.kept
        self._step("saved")
        return new

    def _commit(self, origin: str, target: Pending) -> bytes | None:
        log = self._log(origin)
        before = max(log.row.size, 0)
        try:
            # MI-34: "The mirror MUST persist the new checkpoint before responding."
            if not log.commit(target, self._now()):
                return None
            self._kept[origin] = log.kept
            self._step("committed")
            lines = self._show(log)
            log.drop_partials(before)
            return lines
        except ProofError as error:
            # Each package was proven: the disk, or the witness's state, is not what it was. Nothing is signed.
            self._drop(origin)
            raise UnavailableError(error.message, expected=error.expected, actual=error.actual) from error
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
        self._logs.pop(origin, None)
