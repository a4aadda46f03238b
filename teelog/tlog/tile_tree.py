"""An untrusted log's tree, read through authenticated tiles.

Every tile is checked before a hash of it is used: the partial edge against the checkpoint's root, every full tile
against its hash in its parent (R-21, TT-40). The caller does the fetching:

    tree = TileTree(size, root)
    while wanted := tree.missing(nodes):
        for tile in wanted: tree.add(tile, fetch(tile))
    hashes = tree.read(nodes)
"""

from __future__ import annotations

from collections.abc import Sequence

from teelog.errors import ProofError
from teelog.tlog import tiles
from teelog.tlog.rfc6962 import EMPTY_ROOT
from teelog.tlog.tiles import HEIGHT, WIDTH, Edge, Tile


class TileTree:
    """The tree of a checkpoint (size, root), as far as its tiles have been added."""

    def __init__(self, size: int, root: bytes) -> None:
        self.size = size
        self.root = root
        self._tiles: dict[tuple[int, int], list[bytes]] = {}
        self._edge = {(tile.level, tile.index): tile for tile in tiles.edge(size)}
        self._unchecked: dict[Tile, bytes] = {}
        if size == 0 and root != EMPTY_ROOT:
            raise ProofError(
                "root of size 0 is not that of the empty tree", expected=EMPTY_ROOT.hex(), actual=root.hex()
            )

    def missing(self, nodes: Sequence[tuple[int, int]]) -> list[Tile]:
        """The tiles still to be added before ``read(nodes)``, in that order: the edge, then highest level first.

        nodes: (level, index) of complete nodes inside the tree. Raises ValueError for a node outside.
        """
        wanted = {key for key in self._edge if key not in self._tiles}
        for level, index in nodes:
            if (index + 1) << level > self.size:
                raise ValueError(f"node {level}/{index} is outside a tree of size {self.size}")
            key = _tile_of(level, index)
            while key not in self._tiles and key not in wanted:
                wanted.add(key)
                key = (key[0] + 1, key[1] >> HEIGHT)
        ordered = sorted(wanted, key=lambda key: (key not in self._edge, -key[0], key[1]))
        return [tiles.tile_for(level, index, self.size) for level, index in ordered]

    def add(self, tile: Tile, data: bytes) -> None:
        """Takes a tile in the order of ``missing``. The edge counts once all of it is there and leads to the root.

        Raises MalformedError for a wrong length, ProofError for wrong content (then nothing of it is kept).
        """
        # Another width would take nodes of another height for this tile's hashes.
        if tile != tiles.tile_for(tile.level, tile.index, self.size):
            raise ValueError(f"{tile.path} is no tile of a tree of size {self.size}")
        hashes = tiles.parse_tile(data, tile.width)
        key = (tile.level, tile.index)
        if key in self._edge:
            self._unchecked[tile] = data
            if len(self._unchecked) == len(self._edge):
                self._check_edge()
            return
        parent = self._tiles.get((tile.level + 1, tile.index >> HEIGHT))
        if parent is None:
            raise ValueError(f"{tile.path} was added before its parent")
        expected = parent[tile.index % WIDTH]
        actual = tiles.tile_node(hashes, HEIGHT, 0)
        if actual != expected:
            raise ProofError(f"{tile.path} does not belong to this tree", expected=expected.hex(), actual=actual.hex())
        self._tiles[key] = hashes

    def _check_edge(self) -> None:
        ordered = [self._unchecked[tile] for tile in sorted(self._unchecked)]
        self._unchecked = {}
        edge: Edge = tiles.edge_from_tiles(self.size, ordered)
        actual = edge.root()
        if actual != self.root:
            raise ProofError(
                "the tree's edge does not lead to the signed root", expected=self.root.hex(), actual=actual.hex()
            )
        for level, index in self._edge:
            self._tiles[level, index] = list(edge.levels[level])

    def read(self, nodes: Sequence[tuple[int, int]]) -> list[bytes]:
        """The hashes of complete nodes, all of whose tiles were added (``rfc6962.Read``)."""
        found = []
        for level, index in nodes:
            tile_level, tile_index = _tile_of(level, index)
            height = level - tile_level * HEIGHT
            within = index - (tile_index << (HEIGHT - height))
            found.append(tiles.tile_node(self._tiles[tile_level, tile_index], height, within))
        return found


def _tile_of(level: int, index: int) -> tuple[int, int]:
    """(level, index) of the lowest tile from which a node can be computed."""
    tile_level = level // HEIGHT
    return tile_level, index >> (HEIGHT - level % HEIGHT)
