"""What is damaged on the disk is not built upon: a wrong map root that was signed stays wrong."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from teelog.index import keys
from teelog.indexing.checksum import opened, sealed
from teelog.indexing.store import IndexReader, IndexStore

ORIGIN = "log.example/tee"
RELEASES = keys.release_key("acme.example/inference/stable")


def about(number: int) -> bytes:
    return keys.key(keys.Kind.ABOUT, f"{number:064x}")


def filled(path: Path) -> None:
    store = IndexStore.open(path, ORIGIN, create=True)
    store.extend(
        [(about(number), number) for number in range(100)] + [(RELEASES, number) for number in range(100)], 100
    )
    store.publish(1, 100)
    store.close()


def flip(path: Path, table: str, column: str, chance: random.Random) -> None:
    """One bit in one row."""
    with closing(sqlite3.connect(path)) as db, db:
        rows = db.execute(f"SELECT {column} FROM {table}").fetchall()
        old = chance.choice(rows)[0]
        new = bytearray(old)
        new[chance.randrange(len(new))] ^= 1 << chance.randrange(8)
        db.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (bytes(new), old))


@pytest.mark.parametrize("seed", range(30))
def test_A_62_a_flipped_bit_of_a_page_gives_no_other_root(tmp_path: Path, seed: int) -> None:
    filled(tmp_path / "index.db")
    flip(tmp_path / "index.db", "page", "body", random.Random(seed))
    store = IndexStore.open(tmp_path / "index.db", ORIGIN)
    with pytest.raises(sqlite3.DatabaseError, match="of the index is damaged"):
        store.extend([(about(number), 100 + number) for number in range(100)], 200)  # every page changes
    store.close()
    reader = IndexReader.open(tmp_path / "index.db")
    damaged = 0
    for number in range(100):
        try:
            reader.lookup(1, about(number))
        except sqlite3.DatabaseError:
            damaged += 1
    reader.close()
    assert damaged


@pytest.mark.parametrize("seed", range(5))
def test_A_62_a_flipped_bit_of_a_long_list_gives_no_other_root(tmp_path: Path, seed: int) -> None:
    filled(tmp_path / "index.db")
    flip(tmp_path / "index.db", "list", "frontier", random.Random(seed))
    store = IndexStore.open(tmp_path / "index.db", ORIGIN)
    with pytest.raises(sqlite3.DatabaseError, match="list 1 of the index is damaged"):
        store.extend([(RELEASES, 100)], 101)
    store.close()


def test_a_checksum_is_of_all_of_it() -> None:
    assert opened(sealed(b"abc"), "x") == b"abc"
    assert opened(sealed(b""), "x") == b""
    for bad in (b"", b"abc", sealed(b"abc")[:-1], b"\0" + sealed(b"abc"), sealed(b"abd")[:3] + sealed(b"abc")[3:]):
        with pytest.raises(sqlite3.DatabaseError):
            opened(bad, "x")
