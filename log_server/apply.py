"""Committed batches become tiles and bundles: one code path for every batch and for recovery (R-02)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from teelog.errors import MalformedError
from teelog.log_server.seams import Damaged, Staged, TileStore
from teelog.log_server.tree import Tree
from teelog.tlog import rfc6962, tiles
from teelog.tlog.tiles import WIDTH, Edge


@dataclass(frozen=True, slots=True)
class Applied:
    """What the store holds. edge: the tree's right edge. tail: the entries of the open bundle, 0..255 of them."""

    edge: Edge
    tail: tuple[bytes, ...]

    @property
    def size(self) -> int:
        return self.edge.size


def load(tree: Tree, size: int, root: bytes) -> Applied:
    """The state of the store at a published (size, root). Raises Damaged if it does not lead there."""
    try:
        edge = tiles.edge_from_tiles(size, [tree.tile(tile) for tile in tiles.edge(size)])
        tail = tuple(tree.bundle(size // WIDTH, size)) if size % WIDTH else ()
    except MalformedError as error:
        raise Damaged("a part of the log is damaged", actual=error.message) from error
    if edge.root() != root:
        raise Damaged(
            "the stored tiles do not lead to the published checkpoint", expected=root.hex(), actual=edge.root().hex()
        )
    if tail and tuple(map(rfc6962.leaf_hash, tail)) != edge.levels[0]:
        raise Damaged(
            "the open entry bundle does not belong to its tile", actual=tiles.bundle_for(size // WIDTH, size).path
        )
    return Applied(edge, tail)


def apply(store: TileStore, tree: Tree, base: Applied, batches: Sequence[Staged]) -> Applied:
    """Writes the tiles and bundles that ``batches`` add to ``base``; returns once they are durable and readable.

    batches: contiguous from base.size. Doing it again writes nothing new. Raises Damaged before anything is written
    if they do not lead to their own root, Conflict if something else is there.
    """
    entries: list[bytes] = []
    size = base.size
    for batch in batches:
        if (batch.lo, batch.lo + batch.count) != (size, batch.size):
            raise Damaged("the staged batches have a gap", expected=size, actual=batch.lo)
        entries += batch.entries()
        size = batch.size
    if not batches:
        return base
    edge, new = base.edge.append([rfc6962.leaf_hash(entry) for entry in entries])
    if edge.root() != batches[-1].root:
        raise Damaged(
            "the staged batches do not lead to last_signed", expected=batches[-1].root.hex(), actual=edge.root().hex()
        )
    held = [*base.tail, *entries]
    first = base.size - len(base.tail)
    objects = {tile.path: data for tile, data in new.items()}
    for bundle in tiles.new_bundles_between(base.size, size):
        start = bundle.index * WIDTH - first
        objects[bundle.path] = tiles.encode_bundle(held[start : start + bundle.width])
    store.create(objects)
    tree.remember(new)
    return Applied(edge, tuple(held[len(held) - size % WIDTH :]) if size % WIDTH else ())


def completed(old_size: int, new_size: int) -> list[str]:
    """The paths that are full in a tree of ``new_size`` and were not in one of ``old_size``: their partials may go."""
    paths = [tile.path for tile in tiles.new_between(old_size, new_size) if tile.width == WIDTH]
    return paths + [bundle.path for bundle in tiles.new_bundles_between(old_size, new_size) if bundle.width == WIDTH]
