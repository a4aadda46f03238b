"""What a semantic witness's rebuild costs: processor time and disk for each entry, at two sizes of a leaf's input.

    python -m tests.bench.semantic [ENTRIES]

The log's files are in memory, so no network is in the figures. Half of the time is the verification of signatures.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile
import time
from pathlib import Path

from teelog.index.leaf import IndexLeaf, origin_of
from teelog.indexing.build import Builder
from teelog.indexing.store import IndexStore
from teelog.tlog import note, rfc6962, tiles
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.tiles import Bundle, Edge, Tile
from teelog.tlog.vkey import NoteSigner, SignatureType
from teelog.witness.audit import Audit, Names
from teelog.witness.frontier import Frontier
from teelog.witness.rebuilt import Rebuilt
from tests.bench import entries as made

LOG = NoteSigner.of(made.ORIGIN, SignatureType.ED25519, made.KEY)


class Files:
    """A tiled log in memory."""

    name = "memory"

    def __init__(self, entries: list[bytes]) -> None:
        self._entries = entries
        _, found = Edge().append([rfc6962.leaf_hash(entry) for entry in entries])
        self._tiles = {(tile.level, tile.index): data for tile, data in found.items()}

    async def checkpoint(self) -> bytes:
        raise NotImplementedError

    async def tile(self, tile: Tile) -> bytes:
        return self._tiles[tile.level, tile.index][: tile.width * 32]

    async def bundle(self, bundle: Bundle) -> bytes:
        start = bundle.index * tiles.WIDTH
        return tiles.encode_bundle(self._entries[start : start + bundle.width])


def index_log(entries: list[bytes], step: int, folder: Path) -> list[bytes]:
    """The leaves of an honest index log with one for each ``step`` entries."""
    store = IndexStore.open(folder / "server.db", made.ORIGIN, create=True)
    builder, tree, leaves = Builder(store), Frontier(), []
    for start in range(0, len(entries), step):
        batch = entries[start : start + step]
        root = builder.advance(batch, start + len(batch))
        for entry in batch:
            tree.append(rfc6962.leaf_hash(entry))
        text = Checkpoint(made.ORIGIN, tree.size, tree.root()).body()
        leaves.append(IndexLeaf(root, note.encode(text, [LOG.sign(text, 0)])).encode())
    store.close()
    return leaves


def measure(entries: list[bytes], step: int) -> str:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        leaves = index_log(entries, step, folder)
        index, main = Files(leaves), Files(entries)
        rebuilt = Rebuilt.open(folder / "rebuilt", made.ORIGIN)
        origin = origin_of(made.ORIGIN)
        root = rfc6962.root_of_leaves(rfc6962.leaf_hash(leaf) for leaf in leaves)
        audit = Audit(Names(origin, made.ORIGIN, (LOG.verifier,)), rebuilt, index, main)
        cpu, wall = time.process_time(), time.monotonic()
        asyncio.run(audit.follow(Checkpoint(origin, len(leaves), root)))
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        rebuilt.close()
        disk = sum(path.stat().st_size for path in (folder / "rebuilt").iterdir())
    count = len(entries)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"{step:>6} entries a leaf: {cpu / count * 1e6:7.0f} us CPU, {wall / count * 1e6:7.0f} us, {disk / count:6.0f} "
        f"bytes of disk for each entry; {cpu / len(leaves) * 1e3:.1f} ms CPU a leaf; peak {memory:.0f} MB"
    )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as name:
        made.write(Path(name) / "entries", count)
        found = made.Entries(Path(name) / "entries")
        entries = [made.namespace_file(), *(found[number] for number in range(len(found)))]
    for step in (1_000, 10):
        print(measure(entries, step), flush=True)


if __name__ == "__main__":
    main()
