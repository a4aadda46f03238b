"""``log rebuild``: a log's index thrown away and derived again from its entries, without a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from teelog.errors import ConfigError
from teelog.index.leaf import IndexLeaf
from teelog.indexing.build import Builder
from teelog.indexing.store import IndexStore
from teelog.log_server import config as configuration
from teelog.log_server.directory import LogDirectory
from teelog.log_server.index.indexer import remove
from teelog.log_server.index.inputs import Inputs
from teelog.log_server.index.mainlog import MainLog
from teelog.log_server.lock import DirectoryLock
from teelog.log_server.seams import Damaged
from teelog.log_server.store import Files
from teelog.log_server.tree import Tree
from teelog.tlog.checkpoint import open_checkpoint
from teelog.tlog.tiles import WIDTH

Step = Callable[[int, int], None]
"""Told (entries mapped, of how many)."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """index_size: leaves of the published index log. input_size: entries mapped. map_root: 32 bytes."""

    index_size: int
    input_size: int
    map_root: bytes


def rebuild(path: Path, step: Step = lambda _done, _total: None) -> Rebuilt:
    """Derives the index of the log in ``path``, up to the last published index leaf, whose map root it has to have.

    The old index stays in place until then. Raises ConfigError (no log, no index log, in use), Damaged.
    """
    config = configuration.load(path)
    directory = LogDirectory(path)
    index = directory.index
    if not index.state.exists():
        raise ConfigError(f"{path} has no index log", expected=f"{index.path}, as teelog log init makes it")
    lock = DirectoryLock.take(index.path)
    fresh = index.index_db.with_name("index.db.new")
    try:
        remove(fresh)
        store = IndexStore.open(fresh, config.origin, create=True)
        try:
            built = _build(MainLog(directory, config.origin), index, store, step)
        finally:
            store.close()
        remove(index.index_db)
        fresh.rename(index.index_db)
    finally:
        remove(fresh)
        lock.release()
    return built


def _build(main: MainLog, index: LogDirectory, store: IndexStore, step: Step) -> Rebuilt:
    files = Files(index.public)
    head = open_checkpoint(files.checkpoint() or b"", index.verifiers()).checkpoint
    if not head.size:
        return Rebuilt(0, 0, store.map_root)
    leaf = IndexLeaf.parse(Tree(files).bundle((head.size - 1) // WIDTH, head.size)[(head.size - 1) % WIDTH])
    upto = main.open(leaf.note)
    root = Builder(store).advance(main.entries(0, upto, lambda: step(store.input_size, upto.size)), upto.size)
    if root != leaf.map_root:
        raise Damaged(
            "the log's entries lead to another map root than the index log's last leaf has",
            expected=leaf.map_root.hex(),
            actual=root.hex(),
            hint="one software or the other maps wrongly: serve without --index-policy until that is clear",
        )
    store.publish(head.size, upto.size)
    newest = main.published()
    if newest.size == upto.size:
        Inputs(index.inputs).keep(upto.size, newest.note)
    return Rebuilt(head.size, upto.size, root)
