"""A witness's rate for one log: every checkpoint grows, with its consistency proof, durable before it is signed."""

from __future__ import annotations

import re
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from teelog import keys
from teelog.keys import Algorithm
from teelog.tlog import note, rfc6962
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.rfc6962 import leaf_hash, node_hash
from teelog.tlog.vkey import NoteSigner, SignatureType
from teelog.tlog.witness import AddCheckpoint
from tests.bench import bare, load, processes
from tests.bench.ratio import Row, Settings, interleave, quotients

TEELOG = [sys.executable, "-m", "teelog.cli.main"]
LISTENING = re.compile(r"listening on http://127\.0\.0\.1:([0-9]+)")


@contextmanager
def serving(folder: Path, log_vkey: str, name: str = "witness.example/w1") -> Iterator[tuple[int, int, Path]]:
    """A witness in ``folder`` that knows one log: (pid, port, its file of vkeys)."""
    subprocess.run([*TEELOG, "witness", "init", str(folder), "--name", name], check=True, capture_output=True)
    subprocess.run([*TEELOG, "witness", "add-log", str(folder), log_vkey], check=True, capture_output=True)
    with (folder / "witness.toml").open("a") as config:
        config.write("\n[limits]\nper_address_per_second = 1000000.0\nper_address_burst = 1000000\n")
    command = [*TEELOG, "witness", "serve", str(folder), "--listen", "127.0.0.1:0"]
    with processes.running(command, LISTENING) as (pid, port):
        yield pid, port, folder / "witness.vkeys"


class Growing:
    """A log in memory that grows by one entry a checkpoint."""

    def __init__(self) -> None:
        private = keys.private_key_from_seed(Algorithm.ED25519, b"growing log".ljust(32))
        self.signer = NoteSigner.of("log.example/growing", SignatureType.ED25519, private)
        self.size = 0
        self._levels: list[list[bytes]] = []

    def _add(self) -> None:
        value, level, index = leaf_hash(b"%d" % self.size), 0, self.size
        self.size += 1
        while True:
            if level == len(self._levels):
                self._levels.append([])
            self._levels[level].append(value)
            if index % 2 == 0:
                return
            value, index, level = node_hash(*self._levels[level][-2:]), index // 2, level + 1

    def grow(self) -> bytes:
        """The next add-checkpoint request, as bytes on the wire."""
        old = self.size
        self._add()

        def read(nodes: object) -> list[bytes]:
            return [self._levels[level][index] for level, index in nodes]  # type: ignore[attr-defined]

        body = Checkpoint(self.signer.verifier.name, self.size, rfc6962.root(self.size, read)).body()
        proof = tuple(rfc6962.prove_consistency(old, self.size, read))
        signed = note.encode(body, [self.signer.sign(body, 0)])
        return load.request("/add-checkpoint", "text/plain", AddCheckpoint(old, proof, signed).encode())


def add_checkpoint(folder: Path, settings: Settings) -> list[Row]:
    log = Growing()
    count = settings.count(1_500)
    rounds = [[log.grow() for _ in range(count)] for _ in range(settings.most + 1)]
    parts = _Parts(folder / "parts.db")
    with (
        serving(folder / "w1", str(log.signer.verifier)) as (_, port, _),
        socket.create_connection(("127.0.0.1", port)) as connection,
    ):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def run(requests: list[bytes]) -> float:
            begin = time.perf_counter()
            for data in requests:
                connection.sendall(data)
                answer = load.read_answer(connection)
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise AssertionError(answer.decode("latin-1"))
            return len(requests) / (time.perf_counter() - begin)

        run(rounds[0])
        _, base, ours = interleave(lambda _: parts.rate(count), lambda number: run(rounds[number + 1]), settings)
    return [
        Row(
            name="witness",
            what="add-checkpoint/s for one log, one after the other, each 1 entry larger",
            against="500/s; the sum of its parts is below",
            samples=ours,
            bound=500,
            unit="/s",
            base=base,
            ours=ours,
            notes={
                "of one durable commit, one Ed25519 verify and sign, one ML-DSA-44 sign": round(
                    statistics.median(quotients(ours, base)), 2
                )
            },
        )
    ]


class _Parts:
    """What cannot be left out of an add-checkpoint."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("CREATE TABLE head (size INTEGER)")
        self._db.execute("INSERT INTO head VALUES (0)")
        seed = b"parts".ljust(32)
        self._classic = keys.private_key_from_seed(Algorithm.ED25519, seed)
        self._quantum = keys.private_key_from_seed(Algorithm.ML_DSA_44, seed)
        self._verify = Ed25519PublicKey.from_public_bytes(self._classic.public.raw)
        self._signature = self._classic.sign(bare.MESSAGE)

    def rate(self, count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            self._verify.verify(self._signature, bare.MESSAGE)
            self._db.execute("UPDATE head SET size = size + 1")
            self._classic.sign(bare.MESSAGE)
            self._quantum.sign(bare.MESSAGE)
        return count / (time.perf_counter() - begin)
