"""A log's writer, put together: directory lock, state, store, witnesses, pool and the sequencer's thread.

writer = Writer.open(Path("LOG"), config, policy)      # on the event loop; local checks done, nothing signed yet
writer.start()
front = Front(writer.pool, ...)
await writer.stopped()                                 # raises what stopped it
await writer.close()
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from teelog.log_server import config as configuration
from teelog.log_server import unconfirmed
from teelog.log_server.clock import SystemClock
from teelog.log_server.config import Config
from teelog.log_server.cosigners import Cosigners
from teelog.log_server.directory import LogDirectory
from teelog.log_server.intake import Intake
from teelog.log_server.lock import DirectoryLock
from teelog.log_server.pool import LocalPool
from teelog.log_server.seams import Clock
from teelog.log_server.sequencer import Sequencer
from teelog.log_server.state import SqliteState
from teelog.log_server.store import DirectoryStore
from teelog.tlog.policy import Policy
from teelog.tlog.vkey import VerifierKey


class Writer:
    """One per log directory and process. ``open`` it on a running event loop."""

    def __init__(
        self,
        directory: LogDirectory,
        lock: DirectoryLock,
        sequencer: Sequencer,
        cosigners: Cosigners,
        vkeys: list[VerifierKey],
    ) -> None:
        self.directory = directory
        self.sequencer = sequencer
        self.cosigners = cosigners
        self.intake: Intake = sequencer.intake
        self.vkeys = vkeys
        self.pool = LocalPool(self.intake, asyncio.get_running_loop())
        self._lock = lock
        self._thread = threading.Thread(target=sequencer.run, name="sequencer", daemon=True)

    @classmethod
    def open(
        cls,
        path: Path | LogDirectory,
        policy: Policy,
        config: Config | None = None,
        clock: Clock | None = None,
        *,
        entry_zero: bool = True,
    ) -> Writer:
        """Takes the directory and checks all of it that can be checked locally; applies committed batches.

        policy: whose witnesses are asked, and its quorum; it must list this log's keys, if it lists any log.
        entry_zero: False for an index log, which begins with no entry of its own.
        Raises ConfigError (in use, keys, settings), Damaged, Conflict, RolledBack.
        """
        clock = clock or SystemClock()
        directory = path if isinstance(path, LogDirectory) else LogDirectory(path)
        config = config or configuration.load(directory.path)
        signer = directory.signer(config.origin)
        configuration.check_policy(policy, signer.vkeys)
        lock = DirectoryLock.take(directory.path)
        try:
            store = DirectoryStore(directory.public, directory.scratch)
            store.probe()
            state = SqliteState(directory.state)
            pool = config.pool
            intake = Intake(pool.max_entries, pool.max_bytes, pool.seal_entries)
            cosigners = Cosigners(policy, config.origin, config.witnesses, clock)
            sequencer = Sequencer(config, signer, state, store, cosigners, intake, clock)
            sequencer.entry_zero = entry_zero
            sequencer.signed_at_most = unconfirmed.read(directory.unconfirmed)
            sequencer.confirmed = lambda: unconfirmed.clear(directory.unconfirmed)
            sequencer.open()
            cosigners.learn(sequencer.memory.note)
        except BaseException:
            lock.release()
            raise
        return cls(directory, lock, sequencer, cosigners, signer.vkeys)

    def start(self) -> None:
        """Starts sequencing. The pool refuses (UnavailableError) until the witnesses have confirmed what was signed."""
        self._thread.start()

    async def stopped(self) -> None:
        """Waits for the end. Raises what stopped the writer: RolledBack, Fenced, Conflict, or a failed reload."""
        # Shielded: a caller that gives up must not cancel the sequencer's own future.
        await asyncio.shield(asyncio.wrap_future(self.sequencer.stopped))

    async def close(self) -> None:
        """Ends the sequencer after the batch under way and frees the directory."""
        if self._thread.is_alive():
            self.sequencer.stop()
            while self._thread.is_alive():  # its futures are answered on this loop
                await asyncio.sleep(0.005)
        await self.cosigners.close()
        self.sequencer.close()
        self._lock.release()

    def status(self) -> dict[str, Any]:
        """For metrics and the admin listener; never raises."""
        entries, size = self.intake.waiting()
        refusal = self.intake.refusal
        return {
            **self.sequencer.status(),
            "pool_entries": entries,
            "pool_bytes": size,
            "refusing": refusal.message if refusal is not None else None,
            "witnesses": [
                {
                    "name": item.name,
                    "url": item.url,
                    "seen": item.seen,
                    "answers": item.cosigned,
                    "alarm": item.alarm,
                    "failure": item.failure,
                }
                for item in self.cosigners.witnesses
            ],
        }
