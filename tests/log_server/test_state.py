"""The contract of ``seams.LogState``, which every implementation passes, and what SQLite adds to it."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from teelog import durable
from teelog.errors import ConfigError, TeelogError
from teelog.log_server.seams import Damaged, Fenced, LogState, NamespaceVersion, Staged, Stale, Tip, UnknownOutcome
from teelog.log_server.state import SqliteState, read_only
from teelog.tlog import tiles
from teelog.tlog.rfc6962 import EMPTY_ROOT

ORIGIN = "log.example/tee"
KEYS = bytes(32)
Opener = Callable[[], LogState]


def sqlite_state(path: Path) -> Opener:
    SqliteState.create(path / "state.db", ORIGIN, KEYS).close()
    return lambda: SqliteState(path / "state.db")


@pytest.fixture(params=[sqlite_state])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    made: list[LogState] = []
    make = request.param(tmp_path)

    def opened() -> LogState:
        made.append(make())
        return made[-1]

    yield opened
    for state in made:
        state.close()


def batch(lo: int, count: int = 2, text: str = "e") -> Staged:
    bundle = tiles.encode_bundle([f"{text}{lo + n}".encode() for n in range(count)])
    return Staged(lo, count, lo + count, bytes([lo + count]) * 32, bundle)


def accept(_stored: bytes) -> None:
    pass


def commit(state: LogState, epoch: int, staged: Staged, previous: tuple[int, bytes] | None = None) -> None:
    before = (staged.lo, bytes([staged.lo]) * 32 if staged.lo else EMPTY_ROOT)
    state.commit(epoch, previous or before, staged, [], accept)


def test_a_new_log_is_empty_and_every_open_takes_the_next_epoch(opener: Opener) -> None:
    first = opener().open(ORIGIN, KEYS)
    assert (first.size, first.root, first.published, first.published_size) == (0, EMPTY_ROOT, b"", 0)
    assert opener().open(ORIGIN, KEYS).epoch == first.epoch + 1


@pytest.mark.parametrize(("origin", "key_hash"), [("other.example/log", KEYS), (ORIGIN, b"k" * 32)])
def test_R_04_another_origin_or_key_is_refused_and_takes_no_epoch(opener: Opener, origin: str, key_hash: bytes) -> None:
    epoch = opener().open(ORIGIN, KEYS).epoch
    with pytest.raises(ConfigError):
        opener().open(origin, key_hash)
    assert opener().open(ORIGIN, KEYS).epoch == epoch + 1


def test_a_commit_moves_last_signed_and_keeps_the_batch(opener: Opener) -> None:
    state = opener()
    epoch = state.open(ORIGIN, KEYS).epoch
    seen: list[bytes] = []
    state.commit(epoch, (0, EMPTY_ROOT), batch(0), [], seen.append)
    assert seen == [batch(0).bundle]
    commit(state, epoch, batch(2, 3))
    again = opener()
    head = again.open(ORIGIN, KEYS)
    assert (head.size, head.root) == (5, bytes([5]) * 32)
    assert again.staged() == [batch(0), batch(2, 3)]


@pytest.mark.parametrize("previous", [(1, EMPTY_ROOT), (0, bytes(32)), (2, bytes([2]) * 32)])
def test_R_01_a_compare_and_swap_that_does_not_match_changes_nothing(
    opener: Opener, previous: tuple[int, bytes]
) -> None:
    state = opener()
    epoch = state.open(ORIGIN, KEYS).epoch
    with pytest.raises(Stale):
        commit(state, epoch, batch(0), previous)
    assert state.staged() == []
    commit(state, epoch, batch(0))


def test_F_09_an_earlier_opener_is_fenced_from_every_change(opener: Opener) -> None:
    old, new = opener(), opener()
    epoch = old.open(ORIGIN, KEYS).epoch
    newer = new.open(ORIGIN, KEYS).epoch
    with pytest.raises(Fenced):
        commit(old, epoch, batch(0))
    with pytest.raises(Fenced):
        old.publish(epoch, b"note", 0)
    with pytest.raises(Fenced):
        old.remember(epoch, [(bytes(32), 0)], 1)
    commit(new, newer, batch(0))
    assert new.staged() == [batch(0)]
    assert new.candidates([bytes(32)]) == {}


def test_R_07_a_batch_that_the_check_refuses_is_not_there(opener: Opener) -> None:
    state = opener()
    epoch = state.open(ORIGIN, KEYS).epoch

    def refuse(stored: bytes) -> None:
        raise Damaged("no")

    with pytest.raises(Damaged):
        state.commit(epoch, (0, EMPTY_ROOT), batch(0), [NamespaceVersion("a.example", 0, b"", 0, b"")], refuse)
    assert (state.staged(), state.namespaces()) == ([], [])
    assert state.open(ORIGIN, KEYS).size == 0


def test_publishing_forgets_the_batches_below_and_never_goes_back(opener: Opener) -> None:
    state = opener()
    epoch = state.open(ORIGIN, KEYS).epoch
    for staged in (batch(0), batch(2), batch(4)):
        commit(state, epoch, staged)
    state.publish(epoch, b"note 4", 4)
    assert state.staged() == [batch(4)]
    with pytest.raises(Stale):
        state.publish(epoch, b"note 2", 2)
    with pytest.raises(Stale):
        state.publish(epoch, b"note 8", 8)  # beyond last_signed
    state.publish(epoch, b"note 4 again", 4)
    head = opener().open(ORIGIN, KEYS)
    assert (head.published, head.published_size) == (b"note 4 again", 4)


def test_candidates_have_every_index_under_the_first_8_bytes(opener: Opener) -> None:
    state = opener()
    epoch = state.open(ORIGIN, KEYS).epoch
    same = [b"\xff" * 8 + bytes([n]) * 24 for n in range(3)]
    state.remember(epoch, [(same[0], 7), (same[1], 5), (b"\x7f" + bytes(31), 9)], 10)
    state.remember(epoch, [(same[0], 7)], 10)  # again: the same row
    assert state.candidates([same[2], bytes(32), b"\x7f" + bytes(31)]) == {same[2]: [5, 7], b"\x7f" + bytes(31): [9]}
    many = [n.to_bytes(8) + bytes(24) for n in range(1, 1_500)]
    state.remember(epoch, [(item, n) for n, item in enumerate(many)], 2_000)
    assert state.candidates(many) == {item: [n] for n, item in enumerate(many)}
    assert opener().open(ORIGIN, KEYS).dedup_upto == 2_000


def test_namespaces_come_back_in_the_order_of_the_log(opener: Opener) -> None:
    state = opener()
    epoch = state.open(ORIGIN, KEYS).epoch
    names = [NamespaceVersion("z.example", 0, b"z" * 32, 0, b"Z"), NamespaceVersion("a.example", 0, b"a" * 32, 1, b"A")]
    state.commit(epoch, (0, EMPTY_ROOT), batch(0), names, accept)
    assert state.namespaces() == names


def test_a_tip_moves_with_the_batch_or_not_at_all(opener: Opener) -> None:
    state = opener()
    epoch = state.open(ORIGIN, KEYS).epoch
    first = Tip("status", "a.example/b/c", 0, b"1" * 32, 0)
    policy = Tip("log-policy", "", 0, b"2" * 32, 1, True, "log2.example/tee", b"entry")
    state.commit(epoch, (0, EMPTY_ROOT), batch(0), [], accept, [first, policy])
    found = state.tip("status", "a.example/b/c"), state.tip("log-policy", ""), state.tip("status", "a.example/b/d")
    assert found == (first, policy, None)
    second = Tip("status", "a.example/b/c", 1, b"3" * 32, 2, True)

    def refuse(stored: bytes) -> None:
        raise Damaged("no")

    with pytest.raises(Damaged):
        state.commit(epoch, (2, batch(0).root), batch(2), [], refuse, [second])
    assert state.tip("status", "a.example/b/c") == first
    state.commit(epoch, (2, batch(0).root), batch(2), [], accept, [second])
    again = opener()
    again.open(ORIGIN, KEYS)
    assert (again.tip("status", "a.example/b/c"), again.tip("log-policy", "")) == (second, policy)


# -- SQLite -----------------------------------------------------------------------------------------------------------


def test_R_31_wal_and_full_are_asserted(tmp_path: Path) -> None:
    opener = sqlite_state(tmp_path)
    state = opener()
    state.open(ORIGIN, KEYS)
    db = state._db  # type: ignore[attr-defined]
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert db.isolation_level is None
    state.close()


def test_R_31_where_wal_cannot_be_had_nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sqlite_state(tmp_path)
    connect = sqlite3.connect

    class NoWal(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            return super().execute(sql.replace("journal_mode = WAL", "journal_mode = DELETE"), *args)

    monkeypatch.setattr(sqlite3, "connect", lambda *args, **more: connect(*args, factory=NoWal, **more))
    with pytest.raises(ConfigError, match="durable"):
        SqliteState(tmp_path / "state.db").open(ORIGIN, KEYS)


def test_R_01_serving_never_creates(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing"):
        SqliteState(tmp_path / "state.db").open(ORIGIN, KEYS)
    assert not (tmp_path / "state.db").exists()
    with pytest.raises(ConfigError, match="missing"):
        read_only(tmp_path / "state.db")
    assert not (tmp_path / "state.db").exists()


def test_a_state_is_made_once(tmp_path: Path) -> None:
    sqlite_state(tmp_path)
    with pytest.raises(ConfigError, match="exists"):
        SqliteState.create(tmp_path / "state.db", ORIGIN, KEYS)


def test_a_reader_never_writes(tmp_path: Path) -> None:
    sqlite_state(tmp_path)
    db = read_only(tmp_path / "state.db")
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("UPDATE log SET size = 1")
    db.close()


def test_a_damaged_file_is_one_cause(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database, though long enough to be one" * 100)
    with pytest.raises(Damaged):
        SqliteState(tmp_path / "state.db").open(ORIGIN, KEYS)


def test_an_error_of_the_database_is_an_unknown_outcome(tmp_path: Path) -> None:
    state = sqlite_state(tmp_path)()
    epoch = state.open(ORIGIN, KEYS).epoch
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    state._db.execute("PRAGMA busy_timeout = 0")  # type: ignore[attr-defined]
    with pytest.raises(UnknownOutcome):
        commit(state, epoch, batch(0))
    other.execute("ROLLBACK")
    other.close()
    commit(state, epoch, batch(0))
    state.close()


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC])
def test_R_30_a_failed_fsync_inside_the_database_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    class Ended(BaseException):
        pass

    def give_up(what: str, error: BaseException) -> None:
        raise Ended

    class Failing(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if sql == "COMMIT":
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = code
                raise error
            return super().execute(sql, *args)

    opener = sqlite_state(tmp_path)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **more: connect(*args, factory=Failing, **more))
    monkeypatch.setattr(durable, "give_up", give_up)
    with pytest.raises(Ended):
        opener().open(ORIGIN, KEYS)


def _race(path: str, number: int, results: Any) -> None:
    state = SqliteState(Path(path))
    try:
        epoch = state.open(ORIGIN, KEYS).epoch
        commit(state, epoch, batch(0, 2, f"p{number}-"))
        results.put((number, "committed"))
    except TeelogError as error:
        results.put((number, type(error).__name__))
    finally:
        state.close()


def test_F_09_of_processes_that_race_for_one_size_one_at_most_commits(tmp_path: Path) -> None:
    sqlite_state(tmp_path)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    racers = [context.Process(target=_race, args=(str(tmp_path / "state.db"), n, results)) for n in range(4)]
    for racer in racers:
        racer.start()
    said = dict(results.get(timeout=120) for _ in racers)
    for racer in racers:
        racer.join(120)
    winners = [n for n, word in said.items() if word == "committed"]
    assert len(winners) <= 1, said
    state = SqliteState(tmp_path / "state.db")
    head = state.open(ORIGIN, KEYS)
    assert head.size == 2 * len(winners)
    assert [item.entries()[0] for item in state.staged()] == [f"p{n}-0".encode() for n in winners]
    state.close()
