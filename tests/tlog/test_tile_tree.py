"""Reading an untrusted log: no hash is used before it has been followed up to the signed root."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator

import pytest

from teelog.errors import MalformedError, ProofError
from teelog.tlog import rfc6962, subtree, tiles
from teelog.tlog.rfc6962 import EMPTY_ROOT
from teelog.tlog.tile_tree import TileTree
from teelog.tlog.tiles import WIDTH, Edge, Tile
from tests.tlog.reference import Reference

SIZES = [300, 775, 70_000, 1_000_000]
Node = tuple[int, int]


@functools.cache
def log(size: int) -> tuple[bytes, dict[tuple[int, int], bytes]]:
    """Root and tiles of a tree whose leaf hashes are just numbers: a million cost a second."""
    edge, new = Edge().append([number.to_bytes(32) for number in range(size)])
    return edge.root(), {(tile.level, tile.index): data for tile, data in new.items()}


def fetch(size: int, tile: Tile) -> bytes:
    assert tile == tiles.tile_for(tile.level, tile.index, size)
    return log(size)[1][tile.level, tile.index]


def tree(size: int) -> TileTree:
    return TileTree(size, log(size)[0])


def load(found: TileTree, nodes: list[Node]) -> None:
    for tile in found.missing(nodes):
        found.add(tile, fetch(found.size, tile))
    assert found.missing(nodes) == []


def forgeries(size: int, tile: Tile, good: bytes, dice: random.Random) -> Iterator[bytes]:
    """Attacker's data of the right length."""
    at = dice.randrange(tile.width) * 32
    yield dice.randbytes(len(good))
    yield bytes(len(good))
    yield good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
    yield good[:at] + dice.randbytes(32) + good[at + 32 :]
    yield good[:-1] + bytes([good[-1] ^ 0x80])
    if tile.width > 1:
        yield good[32:] + good[:32]
        yield good[::-1]
        yield good[:32] * tile.width
    for (level, _), other in dice.sample(sorted(log(size)[1].items()), min(8, len(log(size)[1]))):
        # A true tile of this log at the wrong place, of this or another level.
        if len(other) >= len(good) and other[: len(good)] != good:
            assert level >= 0
            yield other[: len(good)]


@pytest.mark.parametrize("size", SIZES)
def test_TT_40_a_forged_tile_of_the_right_length_is_refused_and_nothing_of_it_kept(size: int):
    dice = random.Random(size)
    for index in {0, 255, 256, size // 2, size - 1, size - 2, *(dice.randrange(size) for _ in range(4))} & set(
        range(size)
    ):
        nodes = [node for lo, hi in subtree.ranges(index, index + 1, size) for node in subtree.nodes(lo, hi)]
        nodes.append((0, index))
        order = tree(size).missing(nodes)
        edge = [tile for tile in order if tile in tiles.edge(size)]
        assert order[: len(edge)] == edge
        for place, victim in enumerate(order):
            for forged in forgeries(size, victim, fetch(size, victim), dice):
                found = tree(size)
                # The edge is judged as one, when its last tile is there.
                for tile in order[: max(place, len(edge) - 1)]:
                    found.add(tile, forged if tile == victim else fetch(size, tile))
                last = order[max(place, len(edge) - 1)]
                kept = set(found._tiles)
                with pytest.raises(ProofError):
                    found.add(last, forged if last == victim else fetch(size, last))
                assert set(found._tiles) == kept
                assert victim in found.missing(nodes)
                # The true tiles still lead on.
                load(found, nodes)
                assert found.read([(0, index)]) == [index.to_bytes(32)]


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, *SIZES])
def test_every_hash_read_is_the_trees(size: int):
    dice = random.Random(size)
    reference = Reference([number.to_bytes(32) for number in range(size)])
    found = tree(size)
    for index in {0, size - 1, *(dice.randrange(size) for _ in range(10))}:
        nodes = [node for lo, hi in subtree.ranges(index, index + 1, size) for node in subtree.nodes(lo, hi)]
        load(found, nodes)
        proof = rfc6962.prove_inclusion(index, size, found.read)
        if size <= 70_000:
            assert proof == reference.path(index, 0, size)
        rfc6962.verify_inclusion(index, size, index.to_bytes(32), proof, log(size)[0])
    for old in {1, size, *(dice.randrange(1, size + 1) for _ in range(10))}:
        nodes = [node for lo, hi in subtree.ranges(0, old, size) for node in subtree.nodes(lo, hi)]
        nodes += subtree.nodes(0, old)
        load(found, nodes)
        before = rfc6962.root(old, found.read)
        assert before == log(size)[0] if old == size else len(before) == 32
        rfc6962.verify_consistency(old, before, size, log(size)[0], rfc6962.prove_consistency(old, size, found.read))


@pytest.mark.parametrize("size", [3, 256, 300, 65_536, 70_000])
def test_every_level_of_every_tile_reads(size: int):
    reference, found = Reference([number.to_bytes(32) for number in range(size)]), tree(size)
    for level in range(size.bit_length()):
        count = size >> level
        for index in {0, count // 2, count - 1} if count else ():
            load(found, [(level, index)])
            assert found.read([(level, index)]) == reference.read([(level, index)])


def test_TT_18_only_tiles_that_the_checkpoint_needs_are_asked_for():
    found = tree(70_000)
    assert sorted(found.missing([])) == sorted(tiles.edge(70_000))
    asked = found.missing([(0, 0), (0, 255), (0, 69_999), (7, 0)])
    assert sorted(asked[:3]) == tiles.edge(70_000)
    assert asked[3:] == [Tile(1, 0), Tile(0, 0)]
    for node in ((0, 70_000), (16, 1), (17, 0), (63, 0)):
        with pytest.raises(ValueError, match="outside a tree"):
            found.missing([node])


@pytest.mark.parametrize("length", [0, 1, 31, 33, 8_191, 8_193, 8_160, 16_384])
def test_TT_41_a_tile_of_another_length_is_refused(length: int):
    found = tree(70_000)
    for tile in found.missing([(0, 0)]):
        if length != tile.width * 32:
            with pytest.raises((MalformedError, ProofError)):
                found.add(tile, b"<html>" + bytes(length))
        found.add(tile, fetch(70_000, tile))


@pytest.mark.parametrize("bad", [b"<html>not found</html>", b"\x1f\x8b\x08\x00junk", b""])
def test_TT_41_an_error_page_is_no_tile(bad: bytes):
    for size in (1, 300):
        found = tree(size)
        for tile in found.missing([]):
            with pytest.raises(MalformedError):
                found.add(tile, bad)
        assert sorted(found.missing([])) == tiles.edge(size)


def test_TT_42_a_bad_tile_can_be_replaced_by_the_true_one():
    """What a cache gave is no evidence against the log: drop it, add the fetched one."""
    found = tree(775)
    for tile in found.missing([(0, 5)]):
        with_error = tile not in tiles.edge(775)
        if with_error:
            with pytest.raises(ProofError):
                found.add(tile, bytes(tile.width * 32))
        found.add(tile, fetch(775, tile))
    assert found.read([(0, 5)]) == [(5).to_bytes(32)]


def test_TT_26_who_skips_a_partial_bundle_still_verifies_its_hashes_and_the_next_checkpoint():
    """Bundles are no part of the tree here: the partial level-0 tile is asked for whatever entries are read."""
    old, new = 70_000, 1_000_000
    tail = tree(old)
    assert tiles.tile_for(0, old // WIDTH, old) in tail.missing([])
    load(tail, [])
    assert tail.read([(0, old - 1)]) == [(old - 1).to_bytes(32)]
    grown = tree(new)
    nodes = [node for lo, hi in subtree.ranges(0, old, new) for node in subtree.nodes(lo, hi)]
    load(grown, nodes)
    proof = rfc6962.prove_consistency(old, new, grown.read)
    rfc6962.verify_consistency(old, tail.root, new, grown.root, proof)
    with pytest.raises(ProofError):
        rfc6962.verify_consistency(old, log(775)[0], new, grown.root, proof)


def test_TT_40_a_tile_of_another_width_is_no_tile():
    """Its parent's two halves hash to it as well as its 256 hashes do."""
    found = tree(70_000)
    nodes = [(0, 0)]
    for tile in found.missing(nodes)[:-1]:
        found.add(tile, fetch(70_000, tile))
    hashes = tiles.parse_tile(fetch(70_000, Tile(0, 0)), WIDTH)
    halves = tiles.tile_node(hashes, 7, 0) + tiles.tile_node(hashes, 7, 1)
    assert rfc6962.node_hash(halves[:32], halves[32:]) == tiles.tile_node(hashes, 8, 0)
    for width, data in ((2, halves), (128, bytes(128 * 32)), (255, bytes(255 * 32)), (25, bytes(25 * 32))):
        with pytest.raises(ValueError, match="no tile of a tree"):
            found.add(Tile(0, 0, width), data)
    with pytest.raises(ValueError, match="no tile"):
        found.add(Tile(0, 300), bytes(8192))
    assert found.missing(nodes) == [Tile(0, 0)]


def test_a_tile_before_its_parent_is_a_programming_error():
    with pytest.raises(ValueError, match="before its parent"):
        tree(70_000).add(Tile(0, 0), fetch(70_000, Tile(0, 0)))


def test_CP_12_the_empty_tree_has_no_tiles_and_one_root():
    assert TileTree(0, EMPTY_ROOT).missing([]) == []
    with pytest.raises(ProofError, match="empty tree"):
        TileTree(0, bytes(32))


@pytest.mark.parametrize("change", [lambda size: size - 1, lambda size: size + 1])
def test_the_tiles_of_another_size_do_not_lead_to_this_root(change: Callable[[int], int]):
    for size in (2, 7, 300, 775):
        other = change(size)
        found = TileTree(other, log(size)[0])
        *first, last = found.missing([])
        given = {tile: log(max(size, other))[1][tile.level, tile.index][: tile.width * 32] for tile in [*first, last]}
        for tile in first:
            found.add(tile, given[tile])
        with pytest.raises(ProofError, match="does not lead to the signed root"):
            found.add(last, given[last])


def test_reading_what_was_not_added_is_an_error():
    with pytest.raises(KeyError):
        tree(300).read([(0, 0)])
