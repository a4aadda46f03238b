"""A process that writes an index, for tests that kill it or read beside it.

    python -m tests.indexing.writer PATH BATCHES RETAIN

Goes on where the file ends; says ``ready`` once it is open.
"""

from __future__ import annotations

import sys
from pathlib import Path

from teelog.index import keys
from teelog.indexing.store import IndexStore

ORIGIN = "log.example/tee"
BATCH = 60
"""Entries, each with two keys."""
KEYS = 900


def changes(first: int) -> list[tuple[bytes, int]]:
    """What the entries of the batch from ``first`` on map to: some keys again and again, some only once."""
    found = []
    for index in range(first, first + BATCH):
        for number in (index * 7_919 % KEYS, KEYS + (index if index % 3 else 0)):
            found.append((keys.key(keys.Kind.ABOUT, f"{number:064x}"), index))
    return found


def main(path: Path, batches: int, retain: float) -> None:
    store = IndexStore.open(path, ORIGIN, retain=retain)
    print("ready", flush=True)
    published = store.published
    version = published.index_size if published else 0
    while store.input_size < batches * BATCH:
        size = store.input_size + BATCH
        store.extend(changes(store.input_size), size)
        if size // BATCH % 4:
            version += 1
            store.publish(version, size)
    store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
