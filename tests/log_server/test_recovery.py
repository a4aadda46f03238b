"""What a start refuses (R-01, R-04, R-05), and what it brings in order."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from teelog.errors import ConfigError, UnavailableError
from teelog.log_server.clock import SystemClock
from teelog.log_server.create import create
from teelog.log_server.lock import DirectoryLock
from teelog.log_server.rehash import CompactRange
from teelog.log_server.seams import Damaged, RolledBack
from teelog.log_server.signing import ClockBack
from teelog.tlog import rfc6962
from tests.log_server.rig import ORIGIN, Rig, raw, rig, some


@pytest.fixture
def grown(tmp_path: Path) -> Rig:
    """A log of 301 entries, stopped."""
    made = Rig(tmp_path / "log").open()
    made.logged(some(300))
    made.drop()
    return made


def reopened(made: Rig) -> Rig:
    again = made.reopen()
    again.sequencer.open()
    return again


def test_a_stopped_log_goes_on(grown: Rig) -> None:
    again = reopened(grown)
    again.work(3)
    assert again.logged([raw("more")])[0].index == 301
    assert again.check().size == 302
    again.drop()


def test_F_15_an_older_state_under_a_newer_checkpoint_is_refused(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        made.logged(some(5))
        with closing(sqlite3.connect(tmp_path / "log/state.db")) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(tmp_path / "log/state.db", tmp_path / "older.db")
        made.logged(some(5, "more"))
        made.drop()
        for left in (tmp_path / "log").glob("state.db*"):
            left.unlink()
        shutil.copy(tmp_path / "older.db", tmp_path / "log/state.db")
        with pytest.raises(RolledBack) as caught:
            reopened(made)
        assert caught.value.exit_code == 5
        assert "older copy" in str(caught.value)


def test_F_15_a_directory_rolled_back_as_a_whole_is_refused_by_what_witnesses_saw(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        made.logged(some(5))
        made.drop()
        again = made.reopen()
        again.cosigner.probe_error = RolledBack("a witness has cosigned more of this log than this directory knows of")
        again.sequencer.open()
        again.faults.calls.clear()
        again.work(5)
        assert isinstance(again.sequencer.stopped.exception(), RolledBack)
        assert "sign" not in again.faults.calls
        assert "state.commit" not in again.faults.calls


def test_R_05_until_the_witnesses_have_been_heard_nothing_is_signed_nor_taken(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        made.drop()
        again = made.reopen()
        again.cosigner.probe_error = UnavailableError("too few witnesses")
        again.sequencer.open()
        again.faults.calls.clear()
        again.clock.pass_ms(700_000)
        again.work(4)
        assert not isinstance(again.offer([raw("x")]), int)
        assert "sign" not in again.faults.calls
        again.cosigner.probe_error = None
        again.clock.pass_ms(2_000)
        again.work(4)
        assert again.logged([raw("x")])[0].index == 1
        again.drop()


def test_a_crash_between_storing_and_showing_the_note_is_brought_in_order(grown: Rig, tmp_path: Path) -> None:
    public = tmp_path / "log/public/checkpoint"
    newest = public.read_bytes()
    public.unlink()
    again = reopened(grown)
    assert public.read_bytes() == newest
    again.drop()


def _set(path: Path, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(path / "state.db")) as db, db:
        db.execute(sql, values)


def test_R_01_a_missing_state_is_refused_though_the_tree_is_there(grown: Rig, tmp_path: Path) -> None:
    for left in (tmp_path / "log").glob("state.db*"):
        left.unlink()
    with pytest.raises(ConfigError, match="missing"):
        reopened(grown)


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("UPDATE log SET size = 300", RolledBack),
        ("UPDATE log SET root = zeroblob(32)", RolledBack),
        ("UPDATE log SET published_size = 300", Damaged),
        ("UPDATE log SET published = X'00'", Damaged),
        ("UPDATE log SET origin = 'other.example/log'", ConfigError),
        ("UPDATE log SET key_hash = zeroblob(32)", ConfigError),
        ("DELETE FROM log", ConfigError),
        ("UPDATE log SET size = 302", Damaged),
        ("INSERT INTO staged VALUES (302, 1, 303, zeroblob(32), X'000161')", Damaged),
        ("INSERT INTO staged VALUES (301, 1, 302, zeroblob(32), X'0001')", Damaged),
    ],
)
def test_R_01_a_state_that_does_not_fit_what_is_published_is_refused(
    grown: Rig, tmp_path: Path, sql: str, error: type[Exception]
) -> None:
    _set(tmp_path / "log", sql)
    again = grown.reopen()
    with pytest.raises(error):
        again.sequencer.open()
    assert "sign" not in again.faults.calls
    again.drop()


@pytest.mark.parametrize("name", ["tile/0/001.p/45", "tile/1/000.p/1", "tile/entries/001.p/45"])
@pytest.mark.parametrize("how", ["missing", "flipped", "short"])
def test_A_60_damaged_objects_stop_the_start_before_a_signature(
    grown: Rig, tmp_path: Path, name: str, how: str
) -> None:
    path = tmp_path / "log/public" / name
    data = path.read_bytes()
    path.unlink()
    if how != "missing":
        path.write_bytes(data[:-1] if how == "short" else data[:-1] + bytes([data[-1] ^ 1]))
    again = grown.reopen()
    with pytest.raises(Damaged):
        again.sequencer.open()
    assert "sign" not in again.faults.calls
    again.drop()


def test_R_15_a_start_before_the_last_checkpoint_is_refused(grown: Rig) -> None:
    grown.clock.pass_ms(-3_600_000)
    with pytest.raises(ClockBack):
        reopened(grown)


def test_R_04_a_key_of_another_log_is_refused(grown: Rig, tmp_path: Path) -> None:
    create(tmp_path / "other", "other.example/log", SystemClock())
    shutil.copy(tmp_path / "other/ed25519.key", tmp_path / "log/ed25519.key")
    with pytest.raises(ConfigError, match="another log"):
        grown.reopen()
    # The same origin with another key is no better.
    create(tmp_path / "twin", ORIGIN, SystemClock())
    shutil.copy(tmp_path / "twin/ed25519.key", tmp_path / "log/ed25519.key")
    again = grown.reopen()
    with pytest.raises(ConfigError, match="other keys"):
        again.sequencer.open()
    again.drop()


@pytest.mark.parametrize("name", ["ed25519.key", "ml-dsa-44.key"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_key_file_that_others_may_touch_is_refused(grown: Rig, tmp_path: Path, name: str, mode: int) -> None:
    (tmp_path / "log" / name).chmod(mode)
    with pytest.raises(ConfigError, match="open to others") as caught:
        grown.reopen()
    assert caught.value.exit_code == 6


def test_two_processes_on_one_directory_are_one_too_many(tmp_path: Path) -> None:
    first = DirectoryLock.take(tmp_path)
    with pytest.raises(ConfigError, match="in use by another process") as caught:
        DirectoryLock.take(tmp_path, patience=0)
    assert caught.value.exit_code == 6
    first.release()
    DirectoryLock.take(tmp_path, patience=0).release()


def test_a_start_waits_for_a_command_that_holds_the_directory_for_a_moment(tmp_path: Path) -> None:
    command = DirectoryLock.take(tmp_path)
    release = threading.Timer(0.1, command.release)
    release.start()
    DirectoryLock.take(tmp_path, patience=30).release()
    release.join()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 255, 256, 257, 600])
def test_the_second_code_path_agrees_with_the_definition(size: int) -> None:
    entries = [b"%d" % number for number in range(size)]
    leaves = [rfc6962.leaf_hash(entry) for entry in entries]
    for cut in {0, 1, 2, size // 3, size // 2, size - 1, size} & set(range(size + 1)):
        found = CompactRange(0, ()).extend(entries[:cut]).extend(entries[cut:])
        assert (found.size, found.root()) == (size, rfc6962.root_of_leaves(leaves))
