"""What a log of 10^6 entries costs: time per entry, memory of the server, bytes on disk.

Entries are made of 1 KiB that nobody signed, handed to the sequencer as a front does after its checks: 10^6 signature
checks would hide what grows. Each has a statement id of its own: deduplication holds two hashes an entry, as in life.
"""

from __future__ import annotations

import gc
import hashlib
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from teelog.log_server import config, create
from teelog.log_server.clock import SystemClock
from teelog.log_server.delivery import Delivery, Proofs
from teelog.log_server.directory import LogDirectory
from teelog.log_server.intake import Intake
from teelog.log_server.seams import Admitted, Logged, Request
from teelog.log_server.sequencer import Sequencer
from teelog.log_server.state import SqliteState
from teelog.log_server.store import DirectoryStore
from teelog.tlog import note
from teelog.tlog.rfc6962 import leaf_hash
from tests.bench import entries, logs, processes
from tests.bench.ratio import Row, Settings, interleave, progress, quotients

BATCH = 1_000
FLUSH = 32_768
"""Entries after which deduplication moves its memory to the table: a measurement covers whole cycles of it."""


class NoWitness:
    """``Cosigner`` for a policy of quorum none."""

    def cosign(self, _request: Request) -> Future[list[note.Signature]]:
        return self.done([])

    def probe(self, _request: Request, _last_signed: int) -> Future[None]:
        return self.done(None)

    def ready_in(self) -> float:
        return 0.0

    @staticmethod
    def done(value: object) -> Future:  # type: ignore[type-arg]
        future: Future[object] = Future()
        future.set_result(value)
        return future


class Feed:
    """A log's sequencer in its thread, and a front that hands it batches of entries and takes the answers."""

    def __init__(self, path: Path, origin: str) -> None:
        self.path = path
        create.create(path, origin, SystemClock())
        logs.configure(path, origin, interval_ms=1)
        settings = config.load(path)
        directory = LogDirectory(path)
        self.intake = Intake(settings.pool.max_entries, settings.pool.max_bytes, settings.pool.seal_entries)
        self.sequencer = Sequencer(
            settings,
            directory.signer(origin),
            SqliteState(directory.state),
            DirectoryStore(directory.public, directory.scratch),
            NoWitness(),
            self.intake,
            SystemClock(),
        )
        self.sequencer.open()
        self.size = 0
        self._ticket = 0
        self._arrived = threading.Semaphore(0)
        self._fresh = 0
        self._thread = threading.Thread(target=self.sequencer.run, daemon=True)
        self._thread.start()
        while self.intake.refusal is not None:
            time.sleep(0.01)

    def deliver(self, delivery: Delivery) -> None:
        """See ``intake.Port``; every proof is made, as a front would."""
        proofs = Proofs(delivery)
        for answer in delivery.answers:
            self._fresh += sum(isinstance(found, Logged) and found.fresh for found in proofs.outcomes(answer))
            self._arrived.release()

    def add(self, count: int) -> float:
        """Logs ``count`` new entries, two batches under way at a time; seconds, making the entries not counted."""
        spent = 0.0
        for start in range(0, count, FLUSH):
            part = min(FLUSH, count - start)
            batches = [self._batch(low, min(BATCH, part - low)) for low in range(0, part, BATCH)]
            self.size += part
            begin = time.perf_counter()
            self._run(batches)
            spent += time.perf_counter() - begin
        return spent

    def _batch(self, offset: int, count: int) -> list[Admitted]:
        low = self.size + offset
        made = entries.unsigned(low, low + count)
        return [Admitted(entry, leaf_hash(entry), hashlib.sha256(entry).digest()) for entry in made]

    def _run(self, batches: Sequence[Sequence[Admitted]]) -> None:
        due = 0
        wanted = self._fresh + sum(map(len, batches))
        for batch in batches:
            if due == 2:
                self._wait()
                due -= 1
            self._ticket += 1
            failure = self.intake.offer(self, self._ticket, batch)
            if failure is not None:
                raise AssertionError(failure)
            due += 1
        for _ in range(due):
            self._wait()
        if self._fresh != wanted:
            raise AssertionError("an entry was not logged as new")

    def _wait(self) -> None:
        if not self._arrived.acquire(timeout=60):
            raise AssertionError("no answer in time")

    def close(self) -> None:
        self.sequencer.stop()
        self._thread.join()
        self.sequencer.close()


def disk_bytes(folder: Path) -> int:
    """Blocks that a directory takes up."""
    return sum(place.lstat().st_blocks * 512 for place in [folder, *folder.rglob("*")])


def large_log(folder: Path, settings: Settings) -> list[Row]:
    total = settings.count(1_000_000)
    small = Feed(folder / "small", "log.example/small")
    large = Feed(folder / "large", entries.ORIGIN)
    small.add(10_000)
    for _ in range(10):
        large.add(total // 10)
        progress(f"  {large.size} entries")
    gc.collect()
    gc.freeze()
    _, base, ours = interleave(lambda _: small.add(FLUSH) / FLUSH, lambda _: large.add(FLUSH) / FLUSH, settings)
    held = large.size + 1
    small.close()
    large.close()
    rows = [
        Row(
            name="growth",
            what=f"time per entry at {total:,} entries, batches of {BATCH:,}, after admission",
            against="the same at 10,000 entries and as many more",
            samples=quotients(ours, base),
            bound=1.2,
            at_most=True,
            unit="s",
            base=base,
            ours=ours,
        ),
        _disk(large.path, held),
    ]
    return [*rows, *(_memory(large.path, folder, held, workers, settings) for workers in (0, 2))]


def _disk(path: Path, held: int) -> Row:
    os.sync()
    allowed = held * (entries.SIZE * 1.1 + 64)
    taken = disk_bytes(path)
    return Row(
        name="disk",
        what=f"bytes on disk, {held:,} entries of 1 KiB, partial tiles collected",
        against="1.1 x entry bytes + 64 an entry",
        samples=[taken / allowed],
        bound=1.0,
        at_most=True,
        notes={"bytes an entry": round(taken / held, 1)},
    )


def _memory(path: Path, folder: Path, held: int, workers: int, settings: Settings) -> Row:
    logs.configure(path, entries.ORIGIN, interval_ms=50)
    file = folder / "entries"
    if not file.exists():
        entries.write(file, 40_000)
    with logs.serving(path, workers=workers) as server:
        server.allow(folder)
        half = 20_000 if workers else 0
        outcome = logs.drive(server.port, file, half, 20_000, mode="closed", connections=256, seconds=settings.count(4))
        if outcome["failed"] or not outcome["done"]:
            raise AssertionError(outcome["refusal"])
        taken = processes.memory_bytes(server.pid)
    return Row(
        name="memory-workers" if workers else "memory",
        what=f"memory of the server under load at {held:,} entries, "
        + (f"{workers} workers" if workers else "one process"),
        against="250 MB",
        samples=[taken / 250e6],
        bound=1.0,
        at_most=True,
        notes={"MB": round(taken / 1e6, 1)},
    )
