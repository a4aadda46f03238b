"""Crashes, races, failing storage, a rolled-back folder (R-01, R-03, R-05, R-23)."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from teelog.errors import ConfigError
from teelog.tlog import note
from teelog.witness import decide, directory, state
from teelog.witness.decide import Answer
from teelog.witness.state import Store
from tests.witness.harness import NOW, Desk, Log, copy_folder, verified_cosignatures

OpenDesk = Callable[..., Desk]
MARK = "—".encode()


def submit(desk: Desk, body: bytes) -> Future[Answer]:
    assert desk.engine is not None
    request = decide.read(body)
    assert not isinstance(request, Answer)
    return desk.engine.submit(request)


# -- killed between two steps -----------------------------------------------------------------------------------------

KILLED = """
import os, pathlib, signal, sys
from tests.witness.harness import Desk, Log
path, at = pathlib.Path(sys.argv[1]), sys.argv[2]
def step(name):
    if name == at:
        os.kill(os.getpid(), signal.SIGKILL)
desk = Desk(path, step=step)
answer = desk.post(Log().request(5, 9))
sys.stdout.buffer.write(answer.body)
sys.stdout.buffer.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def kill(path: Path, at: str) -> bytes:
    """A witness in a process of its own that is killed at a step of one request; what it had answered by then."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), at], capture_output=True, timeout=240, cwd=os.getcwd(), check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize(
    ("at", "size"), [("checked", 5), ("committed", 9), ("signed", 9), ("published", 9), ("answered", 9)]
)
def test_W_35_what_is_signed_was_stored_before(open_desk: OpenDesk, log: Log, at: str, size: int) -> None:
    desk = open_desk(log)
    desk.cosign(log, 0, 5)
    desk.stop()
    answered = kill(desk.path, at)
    # W-38: nothing leaves before the commit, nor before the end.
    assert bool(answered) == (at == "answered")
    desk.start()
    assert desk.size() == size
    # The log asks again, learns where the witness stands, and gets its cosignature.
    if size == 9:
        liar = Log(view="B", forked_at=6)
        assert desk.post(liar.request(9, 9)).status == 422
        assert desk.post(log.request(5, 9)).body == b"9\n"
    desk.cosign(log, size, 9)


@pytest.mark.parametrize("at", ["committed", "signed", "published", "answered"])
def test_WM_06_a_returned_cosignature_is_visible_whatever_happens_next(open_desk: OpenDesk, log: Log, at: str) -> None:
    desk = open_desk(log)
    desk.cosign(log, 0, 5)
    desk.stop()
    answered = kill(desk.path, at)
    published = desk.published() or b""
    if at in ("published", "answered"):  # visible even before anyone starts the witness again
        assert published.startswith(log.note(9))
        assert published.endswith(answered)
    desk.start()
    published = desk.published() or b""
    assert published.startswith(log.note(9))
    own = note.open_note(published, [one.verifier for one in desk.witness.signers])
    assert len(own.signatures) == 2


def test_WM_06_a_head_that_was_not_published_is_signed_with_the_time_of_its_commit(
    open_desk: OpenDesk, log: Log
) -> None:
    desk = open_desk(log)
    desk.cosign(log, 0, 5)
    desk.stop()
    db = sqlite3.connect(desk.path / directory.PUBLISHED)
    db.execute("DELETE FROM published")  # as a power cut may leave it
    db.commit()
    db.close()
    desk.clock.seconds += 1000
    desk.start()
    answer = Answer(200, (desk.published() or b"").removeprefix(log.note(5)))
    assert {line.timestamp for line in verified_cosignatures(answer, log.note(5), desk.witness)} == {NOW}


# -- races ------------------------------------------------------------------------------------------------------------


def test_W_36_concurrent_requests_never_roll_back(open_desk: OpenDesk, log: Log) -> None:
    desk = open_desk(log)
    desk.cosign(log, 0, 10)
    bodies = [log.request(10, 10 + more) for more in range(1, 26)] * 2
    answers: list[tuple[bytes, Answer]] = []

    def ask(body: bytes) -> None:
        answers.append((body, desk.post(body)))

    threads = [threading.Thread(target=ask, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    signed = [body for body, answer in answers if answer.status == 200]
    assert len(signed) == 1
    assert {answer.status for _, answer in answers} == {200, 409}
    assert log.request(10, desk.size() or 0) == signed[0]


def test_W_36_two_requests_in_one_transaction_have_one_winner(open_desk: OpenDesk, log: Log) -> None:
    reached, gate = threading.Event(), threading.Event()

    def wait(_: str) -> None:
        reached.set()
        gate.wait(10)

    desk = open_desk(log, step=wait)
    first = submit(desk, log.request(0, 5))
    reached.wait(10)
    both = submit(desk, log.request(5, 6)), submit(desk, log.request(5, 8))  # wait while the first is under way
    gate.set()
    assert first.result(10).status == 200
    assert [one.result(10).status for one in both] == [200, 409]
    assert both[1].result().body == b"6\n"
    assert desk.size() == 6


def test_W_36_two_first_checkpoints_in_one_transaction_have_one_winner(open_desk: OpenDesk, log: Log) -> None:
    other = Log("log.example/other")
    reached, gate = threading.Event(), threading.Event()

    def wait(_: str) -> None:
        reached.set()
        gate.wait(10)

    desk = open_desk(log, other, step=wait)
    first = submit(desk, other.request(0, 1))
    reached.wait(10)
    both = submit(desk, log.request(0, 8)), submit(desk, log.request(0, 6))
    gate.set()
    assert first.result(10).status == 200
    assert [one.result(10).status for one in both] == [200, 409]
    assert both[1].result().body == b"8\n"
    assert desk.size() == 8


def test_W_36_a_second_process_between_check_and_commit(open_desk: OpenDesk, log: Log) -> None:
    desk = open_desk(log)
    desk.cosign(log, 0, 5)

    def other_process(name: str) -> None:
        if name == "checked":
            desk.step = lambda _: None
            with Store.open(desk.path / directory.STATE) as rival:
                head = rival.head(log.origin)
                assert head is not None
                moved = decide.decide(_request(log.request(5, 8)), _known(desk), head, NOW)
                assert isinstance(moved, decide.Cosign)
                assert rival.advance([moved]) == [True]

    desk.step = other_process
    answer = desk.post(log.request(5, 6))
    assert (answer.status, answer.body) == (409, b"8\n")
    assert MARK not in answer.body
    assert desk.size() == 8


def test_W_36_a_second_process_that_holds_the_database(open_desk: OpenDesk, log: Log) -> None:
    desk = open_desk(log)
    desk.cosign(log, 0, 5)
    rival = state.connect(desk.path / directory.STATE)
    rival.execute("BEGIN IMMEDIATE")
    answer = desk.post(log.request(5, 6))
    rival.execute("ROLLBACK")
    rival.close()
    assert answer.status == 503
    assert MARK not in answer.body
    assert desk.size() == 5
    desk.cosign(log, 5, 6)


def _request(body: bytes) -> decide.Request:
    request = decide.read(body)
    assert isinstance(request, decide.Request)
    return request


def _known(desk: Desk) -> decide.KnownLog | None:
    assert desk.engine is not None
    return desk.engine.registry.log(Log().origin)


# -- storage that fails -----------------------------------------------------------------------------------------------


def failing_commit(desk: Desk, persist: bool, error: sqlite3.Error) -> Callable[[], None]:
    """Makes the next commit fail, before or after it took effect. Returns a check that it was reached."""
    assert desk.engine is not None
    store = desk.engine._store
    real = store._commit
    reached: list[bool] = []

    def commit() -> None:
        store._commit = real  # type: ignore[method-assign]
        reached.append(True)
        if persist:
            real()
        raise error

    store._commit = commit  # type: ignore[method-assign]
    return lambda: pytest.fail("the commit was never tried") if not reached else None


@pytest.mark.parametrize(("persist", "size"), [(False, 5), (True, 6)])
def test_W_37_a_failed_commit_gives_no_signature_and_is_not_remembered(
    open_desk: OpenDesk, log: Log, persist: bool, size: int
) -> None:
    desk = open_desk(log)
    desk.cosign(log, 0, 5)
    reached = failing_commit(desk, persist, sqlite3.OperationalError("disk I/O error"))
    answer = desk.post(log.request(5, 6))
    reached()
    assert answer.status == 503
    assert MARK not in answer.body
    assert (desk.published() or b"").startswith(log.note(5))
    assert desk.post(log.request(3, 7)).body == b"%d\n" % size  # "failed but persisted" shows
    desk.cosign(log, size, 6)
    assert b"witness_storage_errors_total 1.0\n" in desk.metrics.exposition()


def test_W_37_a_failed_fsync_stops_the_witness(open_desk: OpenDesk, log: Log) -> None:
    desk = open_desk(log)
    desk.cosign(log, 0, 5)
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = 1034  # type: ignore[attr-defined]
    reached = failing_commit(desk, False, error)
    assert desk.post(log.request(5, 6)).status == 503
    reached()
    for body in (log.request(5, 6), log.request(5, 5)):
        assert desk.post(body).status == 503
    assert desk.engine is not None
    assert desk.engine.fatal is error


def test_W_38_a_fault_between_commit_and_signature_lets_nothing_out(open_desk: OpenDesk, log: Log) -> None:
    desk = open_desk(log)
    desk.cosign(log, 0, 5)

    def fail(name: str) -> None:
        if name == "committed":
            desk.step = lambda _: None
            raise sqlite3.OperationalError("on purpose")

    desk.step = fail
    answer = desk.post(log.request(5, 6))
    assert (answer.status, MARK in answer.body) == (503, False)
    assert (desk.published() or b"").startswith(log.note(5))
    desk.cosign(log, 6, 6)


def test_W_38_a_signature_that_cannot_be_published_is_not_returned(open_desk: OpenDesk, log: Log) -> None:
    desk = open_desk(log)
    desk.cosign(log, 0, 5)
    rival = state.connect(desk.path / directory.PUBLISHED, "NORMAL")
    rival.execute("BEGIN IMMEDIATE")
    answer = desk.post(log.request(5, 6))
    rival.execute("ROLLBACK")
    rival.close()
    assert (answer.status, MARK in answer.body) == (503, False)
    assert desk.size() == 6
    assert desk.engine is not None
    desk.engine._repair()  # what the engine does every half minute
    assert (desk.published() or b"").startswith(log.note(6))
    assert desk.engine.unpublished_seconds() == 0


def test_an_error_that_nobody_foresaw_stops_the_witness_and_answers_everyone(open_desk: OpenDesk, log: Log) -> None:
    desk = open_desk(log)

    def fail(name: str) -> None:
        raise RuntimeError("on purpose")

    desk.step = fail
    assert desk.post(log.request(0, 5)).status == 503
    assert desk.engine is not None
    desk.engine._thread.join(10)
    assert desk.post(log.request(0, 5)).status == 503
    assert isinstance(desk.engine.fatal, RuntimeError)


# -- an older copy ----------------------------------------------------------------------------------------------------


@pytest.fixture
def rolled_back(open_desk: OpenDesk, log: Log, tmp_path: Path) -> Desk:
    """A stopped witness at size 9 whose state.db is the one from size 5."""
    desk = open_desk(log)
    desk.cosign(log, 0, 5)
    desk.stop()
    copy_folder(desk.path, tmp_path / "backup")
    desk.start()
    desk.cosign(log, 5, 9)
    desk.stop()
    shutil.copy(tmp_path / "backup" / directory.STATE, desk.path / directory.STATE)
    return desk


def test_W_49_a_rolled_back_state_refuses_to_sign(rolled_back: Desk) -> None:
    with pytest.raises(ConfigError, match="rolled back") as caught:
        rolled_back.start()
    assert "size 9" in str(caught.value.expected)
    assert "size 5" in str(caught.value.actual)


def test_W_49_the_newest_state_is_taken_again(open_desk: OpenDesk, log: Log, tmp_path: Path) -> None:
    desk = open_desk(log)
    desk.cosign(log, 0, 5)
    desk.stop()
    copy_folder(desk.path, tmp_path / "backup")
    shutil.copy(tmp_path / "backup" / directory.STATE, desk.path / directory.STATE)
    desk.start()
    desk.cosign(log, 5, 9)


def test_W_49_a_state_that_lost_a_log_refuses_to_sign(open_desk: OpenDesk, log: Log, tmp_path: Path) -> None:
    desk = open_desk(log)
    desk.stop()
    copy_folder(desk.path, tmp_path / "backup")
    desk.start()
    desk.cosign(log, 0, 5)
    desk.stop()
    shutil.copy(tmp_path / "backup" / directory.STATE, desk.path / directory.STATE)
    with pytest.raises(ConfigError, match="rolled back"):
        desk.start()


def test_W_49_a_repeated_signature_counts_too(open_desk: OpenDesk, log: Log, tmp_path: Path) -> None:
    desk = open_desk(log)
    desk.cosign(log, 0, 5)
    desk.stop()
    copy_folder(desk.path, tmp_path / "backup")
    desk.start()
    desk.clock.seconds += 60
    desk.cosign(log, 5, 5)
    desk.stop()
    shutil.copy(tmp_path / "backup" / directory.STATE, desk.path / directory.STATE)
    with pytest.raises(ConfigError, match="rolled back"):
        desk.start()


def test_R_04_the_state_of_another_witness_is_refused(open_desk: OpenDesk, log: Log, tmp_path: Path) -> None:
    one, two = open_desk(log), open_desk(log, path=tmp_path / "W2")
    one.stop()
    two.stop()
    shutil.copy(two.path / directory.STATE, one.path / directory.STATE)
    with pytest.raises(ConfigError, match="another witness"):
        one.start()


def test_a_damaged_or_missing_database_is_no_fresh_start(open_desk: OpenDesk, log: Log) -> None:
    desk = open_desk(log)
    desk.cosign(log, 0, 5)
    desk.stop()
    for file in (directory.STATE, directory.PUBLISHED):
        path = desk.path / file
        good = path.read_bytes()
        for bad in (good[:100] + bytes(4000) + good[4100:], b"", None):
            path.unlink(missing_ok=True)
            if bad is not None:
                path.write_bytes(bad)
            with pytest.raises(ConfigError):
                desk.start()
            path.unlink(missing_ok=True)
        path.write_bytes(good)
    desk.start()
    desk.cosign(log, 5, 6)
