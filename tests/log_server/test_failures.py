"""Failures outside a commit: nothing is forgotten, nothing piles up, and another copy is not taken for this one."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from teelog.log_server import config as configuration
from teelog.log_server import create as creating
from teelog.log_server.dedup import Dedup
from teelog.log_server.delivery import Failure
from teelog.log_server.seams import Admitted, RolledBack
from teelog.log_server.tree import Tree
from teelog.statement import dsse
from teelog.tlog import rfc6962
from tests.log_server.rig import ORIGIN, ManualClock, Rig, check, raw, rig, some
from tests.statement import make

READS = {"decide": (Dedup, "lookup"), "find": (Dedup, "lookup"), "answer": (Tree, "leaf_hashes")}


@pytest.mark.parametrize("where", ["decide", "answer", "find"])
def test_a_failed_read_forgets_no_submission_and_frees_its_place(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rig(tmp_path / "log") as made:
        made.logged(some(3, "before"))

        def failing(*_: object) -> None:
            monkeypatch.undo()
            raise OSError(errno.EIO, "read")

        monkeypatch.setattr(*READS[where], failing)
        if where == "find":
            assert made.intake.find(made.inbox, 99, raw("before1").leaf) is None
            made.work(2)
            lost = made.inbox.outcomes[99]
        else:
            lost = made.submit(some(3, "during"))  # type: ignore[assignment]
        assert isinstance(lost, Failure)
        assert "submit the same bytes again" in lost.message
        assert made.intake.waiting() == (0, 0)
        assert [outcome.index for outcome in made.logged(some(3, "during"))] == [4, 5, 6]
        assert made.check().size == 7


def _replace(log: Path, other: Path) -> None:
    """Another copy in the log's place, as a restore "in place" does; the server's open files stay as they are."""
    log.rename(log.with_name("away"))
    shutil.copytree(other, log)


@pytest.mark.parametrize("grown", [0, 1, 5], ids=["older", "same size", "other tree"])
def test_R_05_a_copy_put_in_place_of_a_running_log_is_never_signed_for(tmp_path: Path, grown: int) -> None:
    with rig(tmp_path / "log") as made:
        made.logged(some(2, "before"))
        made.drop()
        shutil.copytree(tmp_path / "log", tmp_path / "old")
        if grown:
            other = Rig(tmp_path / "old", made.clock, create=False).open()
            other.logged(some(grown, "other"))
            other.drop()
    made = Rig(tmp_path / "log", made.clock, create=False).open()
    made.logged([raw("newest")])
    _replace(tmp_path / "log", tmp_path / "old")
    made.faults.plan("store.create", "before")  # any failure means a reload, and that opens the copy
    made.faults.calls.clear()
    made.submit([raw("more")])
    made.clock.pass_ms(2_000)
    made.work(3)
    assert isinstance(made.sequencer.stopped.exception(), RolledBack)
    assert made.faults.calls.count("sign") <= 1  # the one before the failure
    assert isinstance(made.offer([raw("x")]), Failure)
    made.drop()
    assert check(made.directory).size == 3 + grown


@pytest.mark.parametrize("bound", ["max_entries = 10", "max_bytes = 65540\nmax_entries = 10"], ids=["entries", "bytes"])
def test_R_10_failures_without_a_quorum_do_not_let_batches_pile_up(tmp_path: Path, bound: str) -> None:
    text = f"origin = '{ORIGIN}'\n[pool]\n{bound}\nbatch_entries = 4\n[disk]\nmin_free_bytes = 0\n"
    entry = bytes(10_000) if "bytes" in bound else b""
    with rig(tmp_path / "log", configuration.parse(text.encode())) as made:
        made.cosigner.down = True
        refused = 0
        for number in range(60):
            taken = made.offer([raw(entry + f"{number}".encode())])
            if isinstance(taken, Failure):
                assert taken.kind == "full"
                refused += 1
            if number % 7 == 6:
                made.faults.plan("state.commit", "after")  # it is committed, and its submissions are let go
            made.clock.pass_ms(1_500)
            made.work(2)
        assert refused >= 20
        assert made.sequencer.memory.size - made.sequencer.memory.published_size <= 10 + 4
        assert made.check().size == 1
        made.faults.planned.clear()
        made.cosigner.down = False
        for _ in range(6):
            made.clock.pass_ms(1_500)
            made.work(2)
        assert made.intake.waiting() == (0, 0)
        made.logged([raw("it goes on")])
        made.check()


def test_a_raw_log_keeps_no_genuine_statement_out_by_what_anybody_may_log(tmp_path: Path) -> None:
    """Bytes that only look like a statement are entries like any other, before a restart and after it."""
    clock = ManualClock()
    creating.create(tmp_path / "log", ORIGIN, clock, raw=True)
    genuine = make.namespace_file()
    forged = genuine.replace(b'"sig":"', b'"sig":"AAAA', 1)
    statement = bytes.fromhex(dsse.parse(genuine).statement_id)
    assert bytes.fromhex(dsse.parse(forged).statement_id) == statement
    made = Rig(tmp_path / "log", clock, create=False).open()
    made.logged([raw(forged)])
    again = made.reopen().open()
    (logged,) = again.logged([Admitted(genuine, rfc6962.leaf_hash(genuine), statement)])
    assert (logged.index, logged.fresh) == (2, True)
    (same,) = again.logged([Admitted(genuine, rfc6962.leaf_hash(genuine), statement)])
    assert (same.index, same.fresh) == (2, False)
    assert again.check().size == 3
    again.drop()
