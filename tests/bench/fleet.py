"""A witness that knows as many logs as the witness network's largest profile, 40,000, asked 100 times a second."""

from __future__ import annotations

import contextlib
import random
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from teelog import keys
from teelog.keys import Algorithm
from teelog.tlog import note
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.rfc6962 import leaf_hash, node_hash
from teelog.tlog.vkey import NoteSigner, SignatureType
from teelog.tlog.witness import AddCheckpoint
from teelog.witness import directory
from teelog.witness.decide import Cosign, Head
from teelog.witness.published import PublishedHead
from tests.bench import load, processes
from tests.bench.processes import Others
from tests.bench.ratio import Row, Settings, await_quiet, progress
from tests.bench.witness import LISTENING, TEELOG

LOGS = 40_000
RATE = 100.0  # requests a second
SECONDS = 20.0
CONNECTIONS = 64
BOUND_MS = 50.0


@dataclass(frozen=True, slots=True)
class Small:
    """A log of two entries."""

    signer: NoteSigner

    @property
    def origin(self) -> str:
        return self.signer.verifier.name

    def leaf(self, number: int) -> bytes:
        return leaf_hash(f"{self.origin} {number}".encode())

    def note(self, size: int) -> bytes:
        root = self.leaf(0) if size == 1 else node_hash(self.leaf(0), self.leaf(1))
        body = Checkpoint(self.origin, size, root).body()
        return note.encode(body, [self.signer.sign(body, 0)])

    def grow(self) -> bytes:
        """Its add-checkpoint request, from 1 entry to 2, as bytes on the wire."""
        return load.request("/add-checkpoint", "text/plain", AddCheckpoint(1, (self.leaf(1),), self.note(2)).encode())


def logs(count: int) -> list[Small]:
    made = []
    for number in range(count):
        private = keys.private_key_from_seed(Algorithm.ED25519, b"%032d" % number)
        made.append(Small(NoteSigner.of(f"log-{number}.example/tee", SignatureType.ED25519, private)))
    return made


def known(folder: Path, fleet: list[Small]) -> float:
    """Makes a witness that has cosigned each log's first entry; seconds that `pull-logs` took."""
    subprocess.run([*TEELOG, "witness", "init", str(folder), "--name", "w.example/1"], check=True, capture_output=True)
    with (folder / "witness.toml").open("a") as config:
        config.write("\n[limits]\nper_address_per_second = 1000000.0\nper_address_burst = 1000000\n")
    listed = folder.with_suffix(".list")
    listed.write_text("logs/v0\n" + "".join(f"\nvkey {log.signer.verifier}\nqpd 216\n" for log in fleet))
    begin = time.perf_counter()
    subprocess.run([*TEELOG, "witness", "pull-logs", str(folder), str(listed)], check=True, capture_output=True)
    seconds = time.perf_counter() - begin
    store, published = directory.open_state(directory.load(folder)), directory.open_published(folder)
    heads = [Head(1, log.leaf(0), 1_700_000_000, log.note(1)) for log in fleet]
    store.advance([Cosign(log.origin, b"", head, None) for log, head in zip(fleet, heads, strict=True)])
    published._db.execute("BEGIN")
    for log, head in zip(fleet, heads, strict=True):
        published.put(PublishedHead(log.origin, 1, head.root, head.timestamp), head.note)
    published._db.execute("COMMIT")
    store.close()
    published.close()
    return seconds


def add_checkpoint(folder: Path, settings: Settings) -> list[Row]:
    fleet = logs(LOGS)
    pulled = known(folder / "w1", fleet)
    random.Random(1).shuffle(fleet)
    count = int(RATE * settings.count(int(SECONDS)))
    starts = range(0, count * (settings.rounds + 1), count)
    rounds = [[log.grow() for log in fleet[low : low + count]] for low in starts]
    command = [*TEELOG, "witness", "serve", str(folder / "w1"), "--listen", "127.0.0.1:0"]
    worst: list[float] = []
    middle: list[float] = []
    taken: list[float] = []
    begin = time.perf_counter()
    with processes.running(command, LISTENING) as (pid, port):
        started = time.perf_counter() - begin
        with contextlib.closing(load.Client(port, CONNECTIONS, "/add-checkpoint")) as client:
            load.opened(client, rounds[0][: int(RATE)], 0, RATE)
            before = processes.cpu_seconds(pid)
            for number in range(settings.rounds):
                await_quiet(settings.patience)
                others = Others()
                outcome = load.opened(client, rounds[number + 1], 0, RATE)
                if outcome.failed:
                    raise AssertionError(outcome.refusal.decode("latin-1"))
                latencies = sorted(outcome.latencies)
                worst.append(1_000 * latencies[int(0.99 * len(latencies))])
                middle.append(1_000 * latencies[len(latencies) // 2])
                taken.append(others.cores())
                progress(f"  round {number + 1}: p99 {worst[-1]:.1f} ms; others took {taken[-1]:.2f} cores")
            cpu = (processes.cpu_seconds(pid) - before) / (settings.rounds * count)
        memory = processes.memory_bytes(pid)
    settings.disturbed.append(max(taken))
    return [
        Row(
            name="witness-fleet",
            what=f"p99 of add-checkpoint, {LOGS} logs known, {RATE:.0f}/s over all, each another log",
            against=f"{BOUND_MS:.0f} ms",
            samples=worst,
            bound=BOUND_MS,
            at_most=True,
            unit="ms",
            ours=worst,
            notes={
                "median, ms": round(sorted(middle)[len(middle) // 2], 1),
                "seconds from start to listening": round(started, 2),
                "seconds of `witness pull-logs` for all": round(pulled, 2),
                "memory, MB": round(memory / 1e6),
                "processor time of a request, ms": round(1_000 * cpu, 2),
            },
        )
    ]
