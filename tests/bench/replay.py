"""Replaying and re-hashing a whole log from its directory, against the bare hashing of the same entries."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from teelog.client.fsck import replay
from teelog.client.source import DirectorySource
from teelog.tlog import tiles
from teelog.tlog.rfc6962 import leaf_hash
from tests.bench import bare, entries
from tests.bench.ratio import Row, Settings, interleave, quotients


def write_log(folder: Path, logged: list[bytes]) -> bytes:
    """The public directory of a log of these entries, without a checkpoint; gives its root."""
    edge, hashed = tiles.Edge().append([leaf_hash(entry) for entry in logged])
    objects = {tile.path: data for tile, data in hashed.items()}
    for bundle in tiles.new_bundles_between(0, len(logged)):
        first = bundle.index * tiles.WIDTH
        objects[bundle.path] = tiles.encode_bundle(logged[first : first + bundle.width])
    for path, data in objects.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return edge.root()


def whole_log(folder: Path, settings: Settings) -> list[Row]:
    logged = list(entries.unsigned(0, settings.count(100_000)))
    root = write_log(folder, logged)

    def base(_: int) -> float:
        begin = time.perf_counter()
        if bare.tree_root(logged) != root:
            raise AssertionError("the two sides hash different trees")
        return len(logged) / (time.perf_counter() - begin)

    def ours(_: int) -> float:
        begin = time.perf_counter()
        found = asyncio.run(replay(DirectorySource(folder), len(logged), root))
        if found.problems or found.size != len(logged):
            raise AssertionError(f"replay found problems: {found.problems}")
        return len(logged) / (time.perf_counter() - begin)

    _, hashed, replayed = interleave(base, ours, settings)
    return [
        Row(
            name="replay",
            what="replay of a log of 1 KiB entries from its directory, each tile compared (entries/s)",
            against="one hashlib call an entry and node, entries in memory",
            samples=quotients(replayed, hashed),
            bound=0.6,
            unit="entries/s",
            base=hashed,
            ours=replayed,
        )
    ]
