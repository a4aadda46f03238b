"""Tiles and entry bundles (c2sp.org/tlog-tiles): which there are, what they hold, how the edge grows."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import MalformedError
from teelog.tlog import rfc6962, tiles
from teelog.tlog.tiles import WIDTH, Bundle, Edge, Tile
from tests.tlog import make
from tests.tlog.reference import Reference

SIZES = [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 70_000]


@pytest.fixture(scope="module")
def log() -> tuple[Reference, dict[Tile, bytes]]:
    """70,000 leaves and every tile of their tree."""
    leaves = make.leaves(70_000)
    _, new = Edge().append(leaves)
    return Reference(leaves), new


@pytest.mark.parametrize(
    "level", ["00", "01", "64", "100", "-1", "+1", "a", "", " 1", "1 ", "0x1", "٣", "1_0", "entries/"]
)
def test_TT_06_level_is_decimal_0_to_63(level: str):
    for rest in ("000", "x001/234", "000.p/5"):
        with pytest.raises(MalformedError):
            tiles.parse_path(f"tile/{level}/{rest}")


def test_TT_06_every_level_reads():
    for level in range(64):
        assert tiles.parse_path(f"tile/{level}/000") == Tile(level, 0)


@pytest.mark.parametrize(
    "index",
    ["", "0", "00", "0000", "x000/000", "x000/x001/000", "x001", "x001/", "x001/0", "001/002", "x001/x002", "X001/002",
     "x001/-02", "x001//002", "/000", "000/", "x01/002", "x0001/002", " 000", "000 ", "000\n", "٠٠٠", "x٠٠١/000", "+00",
     "x999/x999/x999/x999/x999/x999/999", "0x0", "1_0", "000/.p/5", "%30%30%30", "x001/../002", "000\x00", "000?a"],
)  # fmt: skip
def test_TT_07_index_has_one_spelling(index: str):
    for head in ("0", "63", "entries"):
        for tail in ("", ".p/5"):
            with pytest.raises(MalformedError):
                tiles.parse_path(f"tile/{head}/{index}{tail}")


OTHERS = [
    *(
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "Tile/0/000",
        "/tile/0/000",
        "tile//0/000",
        "tile/0/000/",
        "tiles/0/000",
    ),
    *("tile/entries", "tile/Entries/000", "tile/entries/0/000", "0/000", "entries/000", "tile/" + "0" * 10_000),
    "tile/0/" + "x001/" * 10_000 + "000",
]


@pytest.mark.parametrize("path", OTHERS, ids=range(len(OTHERS)))
def test_TT_07_TT_20_other_paths_are_no_tiles(path: str):
    with pytest.raises(MalformedError):
        tiles.parse_path(path)


@pytest.mark.parametrize(
    "width", ["0", "256", "257", "999", "1000", "01", "001", "+1", "-1", "", "1/", " 1", "1 ", "1\n", "٣", "a"]
)
def test_TT_08_width_is_decimal_1_to_255(width: str):
    for head in ("0", "entries"):
        with pytest.raises(MalformedError):
            tiles.parse_path(f"tile/{head}/x001/234.p/{width}")
        with pytest.raises(MalformedError):
            tiles.parse_path(f"tile/{head}/000.p")
        with pytest.raises(MalformedError):
            tiles.parse_path(f"tile/{head}/000.P/5")


def test_TT_08_TT_20_every_width_reads():
    for width in range(1, 256):
        assert tiles.parse_path(f"tile/0/000.p/{width}") == Tile(0, 0, width)
        assert tiles.parse_path(f"tile/entries/x001/000.p/{width}") == Bundle(1000, width)
    assert Tile(0, 1000, 5).full == Tile(0, 1000)
    assert Bundle(1000, 5).full == Bundle(1000)


def test_TT_07_no_index_above_what_the_largest_size_needs():
    for thing in (Tile(0, 2**63 - 1), Bundle(2**63 - 1, 5)):
        assert tiles.parse_path(thing.path) == thing
    for thing in (Tile(0, 2**63), Bundle(2**63, 5), Tile(63, 10**18 * 9 + 10**17 * 9)):
        with pytest.raises(MalformedError):
            tiles.parse_path(thing.path)


@given(st.integers(0, 63), st.integers(0, 2**63 - 1), st.integers(1, 256))
@settings(deadline=None)
def test_TT_05_TT_20_every_path_reads_back(level: int, index: int, width: int):
    for thing in (Tile(level, index, width), Bundle(index, width)):
        assert tiles.parse_path(thing.path) == thing


@given(
    st.one_of(
        st.from_regex(r"tile/([0-9]{1,3}|entries)/(x?[0-9]{3}/){0,7}[0-9]{0,4}(\.p/[0-9]{0,4})?", fullmatch=True),
        st.text(),
    )
)
@settings(deadline=None)
def test_TT_07_what_reads_is_written_the_same(path: str):
    try:
        found = tiles.parse_path(path)
    except MalformedError:
        return
    assert found.path == path


def test_TT_10_a_tile_is_256_tree_hashes_of_the_full_tiles_below(log: tuple[Reference, dict[Tile, bytes]]):
    reference, new = log
    dice = random.Random(6962)
    for tile, data in new.items():
        hashes = tiles.parse_tile(data, tile.width)
        assert len(data) == (8_192 if tile.width == WIDTH else tile.width * 32)
        step = 256**tile.level
        for i in dice.sample(range(tile.width), min(4, tile.width)):
            start = (tile.index * 256 + i) * step
            assert hashes[i] == reference.mth(start, start + step)


@pytest.mark.parametrize(
    ("length", "width"), [(8_191, 256), (8_193, 256), (0, 1), (31, 1), (33, 1), (64, 1), (8_192, 255)]
)
def test_TT_10_TT_41_a_tile_of_another_length_is_refused(length: int, width: int):
    with pytest.raises(MalformedError, match="wrong length"):
        tiles.parse_tile(bytes(length), width)


def test_TT_12_a_partial_tile_never_rises():
    edge, new = Edge().append(make.leaves(300))
    assert {tile: len(data) // 32 for tile, data in new.items()} == {
        Tile(0, 0): 256, Tile(0, 1, 44): 44, Tile(1, 0, 1): 1}  # fmt: skip
    assert [len(level) for level in edge.levels] == [44, 1]
    # Growing within the partial tile leaves the level above alone.
    _, more = edge.append(make.leaves(310)[300:])
    assert set(more) == {Tile(0, 1, 54)}


@pytest.mark.parametrize("size", SIZES)
def test_TT_13_width_of_the_partial_tile(size: int):
    for level in range(64):
        assert tiles.partial_width(level, size) == size // 256**level % 256
    for tile in tiles.edge(size):
        assert tile.width == size // 256**tile.level % 256
        assert tile.index == size // 256 ** (tile.level + 1)


@pytest.mark.parametrize("size", [*SIZES, 2**63 - 1, 2**62, 256**3])
def test_TT_14_no_tile_is_empty(size: int):
    assert all(0 < tile.width < 256 for tile in tiles.edge(size))
    for level in range(9):
        count = size >> (8 * level)
        with pytest.raises(ValueError, match="no tile"):
            tiles.tile_for(level, -(-count // 256), size)
    if size == 256:
        assert tiles.edge(256) == [Tile(1, 0, 1)]
    if size == 0:
        assert list(tiles.new_between(0, 0)) == []


def test_TT_15_the_tiles_of_70_000_and_256(log: tuple[Reference, dict[Tile, bytes]]):
    found = set(log[1])
    assert found == {*(Tile(0, n) for n in range(273)), Tile(0, 273, 112), Tile(1, 0), Tile(1, 1, 17), Tile(2, 0, 1)}
    assert found == set(tiles.new_between(0, 70_000))
    assert set(tiles.new_between(0, 256)) == {Tile(0, 0), Tile(1, 0, 1)}


def test_TT_16_TT_18_every_partial_that_any_size_needs_is_made_when_that_size_is():
    edge, made = Edge(), set()
    for size in range(1, 600):
        edge, new = edge.append(make.leaves(1))
        made |= set(new)
        assert set(tiles.edge(size)) <= made
        for level in range(2):
            for index in range(-(-(size >> (8 * level)) // 256)):
                assert tiles.tile_for(level, index, size) in made


def test_TT_20_bundles_go_with_level_0():
    assert list(tiles.new_bundles_between(250, 700)) == [Bundle(0), Bundle(1), Bundle(2, 188)]
    assert list(tiles.new_bundles_between(256, 256)) == []
    assert tiles.bundle_for(2, 700) == Bundle(2, 188)
    with pytest.raises(ValueError, match="no tile"):
        tiles.bundle_for(3, 700)


def test_TT_22_a_bundle_is_exactly_its_entries():
    entries = [b"", b"x", b"y" * 300, b"\x00\x01"]
    data = tiles.encode_bundle(entries)
    assert data == b"\x00\x00" + b"\x00\x01x" + b"\x01\x2c" + b"y" * 300 + b"\x00\x02\x00\x01"
    assert tiles.parse_bundle(data, 4) == entries
    for bad in (data + b"\x00", data + b"\x00\x00", data[:-1], data[1:], b"", data + data):
        with pytest.raises(MalformedError):
            tiles.parse_bundle(bad, 4)
    for end in range(len(data)):
        with pytest.raises(MalformedError, match="truncated"):
            tiles.parse_bundle(data[:end], 4)
    for width in (3, 5, 256):
        with pytest.raises(MalformedError):
            tiles.parse_bundle(data, width)
    assert tiles.parse_bundle(b"\x00\x00" * 256, 256) == [b""] * 256


def test_TT_23_entries_hash_to_the_level_0_tile():
    entries = [b"entry %d" % number for number in range(300)]
    _, new = Edge().append([rfc6962.leaf_hash(entry) for entry in entries])
    for bundle in tiles.new_bundles_between(0, 300):
        part = tiles.parse_bundle(tiles.encode_bundle(entries[bundle.index * 256 :][: bundle.width]), bundle.width)
        held = tiles.parse_tile(new[Tile(0, bundle.index, bundle.width)], bundle.width)
        assert [rfc6962.leaf_hash(entry) for entry in part] == held


def test_TT_24_entries_of_0_and_65_535_bytes_and_no_longer():
    entries = [b"", b"z" * 65_535, b""]
    assert tiles.parse_bundle(tiles.encode_bundle(entries), 3) == entries
    with pytest.raises(ValueError, match="at most 65535 bytes"):
        tiles.encode_bundle([b"z" * 65_536])
    full = tiles.encode_bundle([b"z" * 65_535] * 256)
    assert len(full) == tiles.MAX_BUNDLE == 16_777_472


@given(st.lists(st.integers(0, 700), max_size=8))
@settings(deadline=None, max_examples=30)
def test_edge_grown_in_any_steps_is_the_tree_of_the_definitions(steps: list[int]):
    leaves = [rfc6962.leaf_hash(number.to_bytes(4)) for number in range(sum(steps))]
    reference, edge, held = Reference(leaves), Edge(), {}
    for start, end in itertools.pairwise([0, *itertools.accumulate(steps)]):
        edge, new = edge.append(leaves[start:end])
        assert list(new) == list(tiles.new_between(start, end))
        held |= new
        assert edge.size == end
        assert edge.root() == reference.mth(0, end)
        assert tiles.edge_from_tiles(end, [held[tile] for tile in tiles.edge(end)]) == edge
    for tile, data in held.items():
        step = 256**tile.level
        starts = [(tile.index * 256 + i) * step for i in range(tile.width)]
        assert data == b"".join(reference.mth(start, start + step) for start in starts)


@given(st.integers(0, 2**40), st.integers(0, 600))
@settings(deadline=None, max_examples=50)
def test_new_between_is_what_the_one_has_and_the_other_lacks(old: int, more: int):
    def near(size: int) -> set[Tile]:
        found = set()
        for level in range(6):
            count = size >> (8 * level)
            first = max(0, (old >> (8 * level)) // 256 - 2)
            found |= {tiles.tile_for(level, index, size) for index in range(first, -(-count // 256))}
        return found

    assert set(tiles.new_between(old, old + more)) == near(old + more) - near(old)


def test_edge_of_the_whole_range_is_read_back():
    size = 2**63 - 1
    wanted = tiles.edge(size)
    assert [tile.width for tile in wanted] == [255] * 7 + [127]
    edge = tiles.edge_from_tiles(size, [bytes(32) * tile.width for tile in wanted])
    assert edge.size == size
    assert len(edge.root()) == 32
    with pytest.raises(ValueError, match="edge tiles are needed"):
        tiles.edge_from_tiles(size, [])
    with pytest.raises(MalformedError):
        tiles.edge_from_tiles(1, [bytes(31)])


def test_appending_is_linear():
    """Tile contents are cut once each: 100,000 leaves copy no more than a few times their number."""
    copied = 0

    class Counting(list):  # type: ignore[type-arg]
        def __getitem__(self, key):
            nonlocal copied
            found = super().__getitem__(key)
            copied += len(found) if isinstance(key, slice) else 1
            return found

    Edge().append(Counting([bytes(32)] * 100_000))
    assert copied < 1_000_000
