"""What a semantic witness keeps on disk: killed anywhere, it goes on to the same roots."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from teelog.index.leaf import origin_of
from teelog.testing.ledger import ORIGIN, Ledger
from teelog.tlog import rfc6962
from teelog.tlog.checkpoint import Checkpoint
from teelog.witness.audit import Audit, Names
from teelog.witness.frontier import Frontier
from teelog.witness.rebuilt import Rebuilt, Unfit
from tests.statement import make
from tests.witness.indexed_log import Files


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 7, 8, 255, 256, 257])
def test_frontier_is_the_tree(size: int) -> None:
    leaves = [rfc6962.leaf_hash(b"%d" % number) for number in range(size)]
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    assert frontier.root() == rfc6962.root_of_leaves(leaves)
    assert Frontier.parse(size, frontier.encode()).root() == frontier.root()


class Memory:
    """A source over entries in memory. asked: bundles read."""

    name = "memory"

    def __init__(self, entries: list[bytes]) -> None:
        self._files = Files(entries)
        self.asked: list[str] = []

    async def checkpoint(self) -> bytes:
        raise NotImplementedError

    async def tile(self, tile: Any) -> bytes:
        found = self._files.get(tile.path)
        assert found is not None
        return found

    async def bundle(self, bundle: Any) -> bytes:
        self.asked.append(bundle.path)
        found = self._files.get(bundle.path)
        assert found is not None
        return found


def story(leaves: int = 40) -> Ledger:
    """A log of three statements and some junk, with many small leaves."""
    ledger = Ledger()
    for entry in (make.log_policy_file(), make.namespace_file(), make.release_file()):
        ledger.append(entry)
    for number in range(leaves):
        for each in range(number % 3):
            ledger.append(make.release_file(version=f"1.{number}.{each}"))
        ledger.add_leaf(ledger.honest.root(), ledger.checkpoint())
    return ledger


async def follow(
    folder: Path, ledger: Ledger, size: int | None = None, kill: Callable[[Rebuilt], None] | None = None
) -> Rebuilt:
    rebuilt = Rebuilt.open(folder, ORIGIN)
    if kill is not None:
        kill(rebuilt)
    main = tuple(signer.verifier for signer in ledger.log)
    audit = Audit(Names(origin_of(ORIGIN), ORIGIN, main), rebuilt, Memory(ledger.index_leaves), Memory(ledger.entries))
    size = len(ledger.index_leaves) if size is None else size
    try:
        await audit.follow(Checkpoint(origin_of(ORIGIN), size, ledger.index_checkpoint(size).root))
    except BaseException:
        rebuilt.close()
        raise
    return rebuilt


class Killed(BaseException):
    pass


def dies_at(place: str, count: int) -> Callable[[Rebuilt], None]:
    """Ends the process, as far as the object can tell, before the ``count``-th call of a method."""

    def arrange(rebuilt: Rebuilt) -> None:
        left = count
        owner: Any = {
            "extend": rebuilt._store,
            "take": rebuilt,
            "confirm": rebuilt,
            "batch": rebuilt,
        }[place]
        name = {"batch": "roots"}.get(place, place)
        original = getattr(owner, name)

        def call(*arguments: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return original(*arguments)

        setattr(owner, name, call)

    return arrange


@pytest.mark.parametrize("place", ["extend", "take", "confirm", "batch"])
async def test_killed_anywhere_it_goes_on(tmp_path: Path, place: str) -> None:
    ledger = story(12)
    for count in range(1, 40):
        try:
            done = await follow(tmp_path / "R", ledger, kill=dies_at(place, count % 3 + 1))
        except Killed:
            continue
        break
    else:
        pytest.fail("it never got to the end")
    assert done.confirmed.leaves.size == 12
    assert done.confirmed.map_root == ledger.honest.root()
    done.close()


async def test_index_that_lost_transactions_is_caught_up(tmp_path: Path) -> None:
    """A power cut takes the last transactions of index.db, which is written without an fsync in each."""
    ledger = story(12)
    folder = tmp_path / "R"
    (await follow(folder, ledger, 5)).close()
    old = (folder / "index.db").read_bytes()
    (await follow(folder, ledger, 9)).close()
    (folder / "index.db").write_bytes(old)
    for leftover in folder.glob("index.db-*"):
        leftover.unlink()
    done = await follow(folder, ledger)
    assert done.confirmed.map_root == ledger.honest.root()
    done.close()


async def test_progress_that_is_older_than_the_index_is_made_anew_or_gone_on_with(tmp_path: Path) -> None:
    ledger = story(12)
    folder = tmp_path / "R"
    (await follow(folder, ledger, 5)).close()
    old = (folder / "progress.db").read_bytes()
    (await follow(folder, ledger, 9)).close()
    (folder / "progress.db").write_bytes(old)
    # No root is known for leaves whose entries the index has already: only a new start can tell.
    with pytest.raises(Unfit):
        await follow(folder, ledger)


async def test_a_system_that_fails_is_no_reason_to_delete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = story(12)
    folder = tmp_path / "R"
    (await follow(folder, ledger)).close()
    before = (folder / "progress.db").stat().st_ino

    def too_many(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    with monkeypatch.context() as patched:
        patched.setattr("teelog.witness.rebuilt.connect", too_many)
        with pytest.raises(sqlite3.OperationalError):
            Rebuilt.open(folder, ORIGIN)
    assert (folder / "progress.db").stat().st_ino == before
    done = Rebuilt.open(folder, ORIGIN)
    assert done.confirmed.leaves.size == 12
    done.close()


async def test_many_leaves_leave_few_rows(tmp_path: Path) -> None:
    ledger = story(600)
    done = await follow(tmp_path / "R", ledger)
    done.close()
    with sqlite3.connect(tmp_path / "R" / "progress.db") as db:
        (rows,) = db.execute("SELECT count(*) FROM batch").fetchone()
    db.close()
    assert rows <= 512


async def test_long_entries_are_mapped_in_steps_between_which_others_have_their_turn(tmp_path: Path) -> None:
    """One thread rebuilds all logs: a log of dear entries may not hold up the others for 64 MiB of them."""
    ledger = Ledger()
    ledger.append(make.log_policy_file())
    for number in range(40):
        ledger.append(b"%d" % number + b"x" * 65_000)
    ledger.add_leaf(ledger.honest.root(), ledger.checkpoint())
    rebuilt, steps = Rebuilt.open(tmp_path, ORIGIN), list[int]()
    main = tuple(signer.verifier for signer in ledger.log)
    names = Names(origin_of(ORIGIN), ORIGIN, main)
    audit = Audit(names, rebuilt, Memory(ledger.index_leaves), Memory(ledger.entries), steps.append)
    await audit.follow(Checkpoint(origin_of(ORIGIN), 1, ledger.index_checkpoint(1).root))
    rebuilt.close()
    assert (sum(steps), max(steps)) == (41, 17)

    anew = Rebuilt.open(tmp_path / "anew", ORIGIN)
    await Audit(names, anew, Memory([]), Memory(ledger.entries)).reach(ledger.checkpoint(), b"")
    assert anew.entries.size == 41
    anew.close()


async def test_leaves_are_confirmed_one_at_a_time_between_which_others_have_their_turn(tmp_path: Path) -> None:
    ledger = story(0)
    for _ in range(200):
        ledger.add_leaf(ledger.honest.root(), ledger.checkpoint())
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(others())
    rebuilt = await follow(tmp_path, ledger)
    waiting.cancel()
    assert rebuilt.confirmed.leaves.size == 200
    rebuilt.close()
    assert turns >= 200
