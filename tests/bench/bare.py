"""The primitives that rows are held against: signature checks, hashes, a durable commit."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.bench.entries import KEY

MESSAGE = b"m" * 620
"""About what is signed in an entry of 1 KiB."""


def verify_many(count: int) -> tuple[float, float]:
    """Checks one Ed25519 signature ``count`` times; gives wall and CPU seconds."""
    key = Ed25519PublicKey.from_public_bytes(KEY.public.raw)
    signature = KEY.sign(MESSAGE)
    begin, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        key.verify(signature, MESSAGE)
    return time.perf_counter() - begin, time.process_time() - cpu


def verify_cpu(count: int = 5_000) -> float:
    """CPU seconds of one check."""
    return verify_many(count)[1] / count


class Verifiers:
    """A process for each core."""

    def __init__(self, pool: ProcessPoolExecutor, cores: int) -> None:
        self._pool = pool
        self._cores = cores
        self.rate(100)

    def rate(self, each: int) -> float:
        """Checks a second on all cores together."""
        begin = time.perf_counter()
        list(self._pool.map(verify_many, [each] * self._cores))
        return each * self._cores / (time.perf_counter() - begin)


@contextmanager
def verifiers() -> Iterator[Verifiers]:
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores) as pool:
        yield Verifiers(pool, cores)


def tree_root(entries: Sequence[bytes]) -> bytes:
    """RFC 6962 root with one hashlib call an entry and a node, and nothing else."""
    sha256 = hashlib.sha256
    level = [sha256(b"\x00" + entry).digest() for entry in entries]
    while len(level) > 1:
        above = [sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]
