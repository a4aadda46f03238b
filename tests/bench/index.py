"""The index at 10^6 keys: durable key changes a second, a lookup with its proof, and memory, beside 10^5 keys.

A store in a process of its own, asked over its standard input. Half of the changes are new keys, half are longer lists;
each batch is published and the versions before it are kept for readers, so every changed page is written anew.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench import processes
from tests.bench.ratio import Row, Settings, interleave, progress

SMALL, LARGE = 1_000, 5_000
"""Key changes in a batch."""
KINDS = (b"register\nsev-snp\nmeasurement\n%.96b\n", b"subject\nsha256\n%.64b\n", b"about\n%.64b\n", b"signer\n%.64b\n")


def key(number: int) -> bytes:
    return KINDS[number % 4] % hashlib.sha512(b"%d" % number).hexdigest().encode()


def rows(folder: Path, settings: Settings) -> list[Row]:
    total = settings.count(1_000_000, least=20_000)
    with _store(folder / "index.db") as ask:
        ask("grow", total // 10)
        ask("change", LARGE, 4)
        few = ask("memory")
        for part in range(2, 11):
            ask("grow", total * part // 10)
            progress(f"  {total * part // 10} keys")
        ask("change", LARGE, 4)
        many = ask("memory")
        counts = settings.count(20, least=2), settings.count(8, least=2)
        _, small, large = interleave(
            lambda _: float(ask("change", SMALL, counts[0])), lambda _: float(ask("change", LARGE, counts[1])), settings
        )
        lookups = [ask("lookup", settings.count(4_000, least=200)) for _ in range(settings.rounds)]
    return [
        *(
            Row(
                name=f"index-{size}",
                what=f"key changes/s, durable, at {total:,} keys, in batches of {size:,}, each one published",
                against="a number",
                samples=rates,
                bound=bound,
                unit="changes/s",
            )
            for size, rates, bound in ((SMALL, small, 3_000), (LARGE, large, 5_000))
        ),
        Row(
            name="index-lookup",
            what=f"lookup with proof at {total:,} keys, present and absent, p99",
            against="a number of ms",
            samples=[found["p99"] for found in lookups],
            bound=2.0,
            at_most=True,
            unit="ms",
            notes={"p50 ms": lookups[0]["p50"], "bytes of a proof, mean": lookups[0]["proof"]},
        ),
        Row(
            name="index-memory",
            what=f"memory of the writer at {total:,} keys",
            against=f"at {total // 10:,} keys",
            samples=[many / few],
            bound=1.2,
            at_most=True,
            notes={"MB": round(many / 1e6, 1), "bytes on disk a key": round(_disk(folder) / total)},
        ),
    ]


def _disk(folder: Path) -> int:
    return (folder / "index.db").stat().st_size


@contextmanager
def _store(path: Path) -> Iterator[Any]:
    command = [sys.executable, "-m", "tests.bench.index", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        pipe_in, pipe_out = process.stdin, process.stdout
        assert pipe_in is not None
        assert pipe_out is not None

        def ask(*question: str | int) -> Any:
            if question == ("memory",):
                return processes.memory_bytes(process.pid)
            pipe_in.write(json.dumps(question) + "\n")
            pipe_in.flush()
            return json.loads(pipe_out.readline())

        yield ask
        pipe_in.close()


class Asked:
    """The process that holds the store."""

    def __init__(self, path: Path) -> None:
        import teelog.indexing.build  # what else a process that keeps an index has in memory
        from teelog.indexing.store import IndexReader, IndexStore

        assert teelog.indexing.build
        self.store = IndexStore.open(path, "log.example/tee", create=True)
        self.reader = IndexReader.open(path)
        self.random = random.Random(7)
        self.version = 0
        self.keys = 0

    def grow(self, upto: int) -> None:
        """New keys, unpublished between."""
        while self.keys < upto:
            size = min(LARGE, upto - self.keys)
            first = self.store.input_size
            self.store.extend([(key(self.keys + at), first + at) for at in range(size)], first + size)
            self.keys += size
        self._publish()

    def change(self, size: int, count: int) -> float:
        """Key changes a second over ``count`` batches; making them is not counted."""
        spent = 0.0
        for _ in range(count):
            first = self.store.input_size
            old = self.random.sample(range(self.keys), size // 2)
            new = range(self.keys, self.keys + size - len(old))
            changes = [(key(number), first + at) for at, number in enumerate([*old, *new])]
            begin = time.perf_counter()
            self.store.extend(changes, first + size)
            self._publish()
            spent += time.perf_counter() - begin
            self.keys += len(new)
        return size * count / spent

    def lookup(self, count: int) -> dict[str, float]:
        """Milliseconds."""
        times, lengths = [], []
        for at in range(count):
            wanted = key(self.random.randrange(self.keys) + (1 << 40) * (at % 4 == 0))
            begin = time.perf_counter()
            found = self.reader.lookup(self.version, wanted)
            times.append(time.perf_counter() - begin)
            lengths.append(len(found.proof))
        times.sort()
        p50, p99 = (round(1_000 * times[count * part // 100], 3) for part in (50, 99))
        return {"p50": p50, "p99": p99, "proof": sum(lengths) // count}

    def _publish(self) -> None:
        self.version += 1
        self.store.publish(self.version, self.store.input_size)


def main() -> None:
    asked = Asked(Path(sys.argv[1]))
    for line in sys.stdin:
        name, *given = json.loads(line)
        print(json.dumps(getattr(asked, name)(*given)), flush=True)


if __name__ == "__main__":
    main()
