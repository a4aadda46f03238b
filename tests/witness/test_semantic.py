"""What a semantic witness cosigns, and every lie that it refuses, each with its own cause."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from teelog.errors import VerificationError
from teelog.index import fault
from teelog.index.fault import Cause
from teelog.index.leaf import IndexLeaf
from teelog.testing.ledger import hiding
from teelog.tlog import fork as forks
from teelog.tlog.checkpoint import Checkpoint
from teelog.witness.decide import Answer
from teelog.witness.rebuilt import Rebuilt
from tests.client.peers import Reply
from tests.statement import make
from tests.witness.harness import signer, verified_cosignatures
from tests.witness.indexed_log import INDEX, IndexedLog, OpenDesk, SemanticDesk, served


@pytest.fixture
def log() -> Iterator[IndexedLog]:
    with served() as made:
        yield made


@pytest.fixture
def open_desk(tmp_path: Path) -> Iterator[OpenDesk]:
    """Makes semantic witnesses that are stopped when the test ends."""
    opened: list[SemanticDesk] = []

    def make_desk(*logs: IndexedLog, path: Path = tmp_path / "S1", **more: Any) -> SemanticDesk:
        desk = SemanticDesk(path, *logs, **more)
        opened.append(desk)
        return desk

    yield make_desk
    for desk in opened:
        desk.stop()


@pytest.fixture
def desk(open_desk: OpenDesk, log: IndexedLog) -> SemanticDesk:
    return open_desk(log)


def refused(answer: Answer, cause: Cause) -> bool:
    return answer.status == 422 and answer.body.startswith(cause.encode() + b": ")


def kept_faults(desk: SemanticDesk) -> list[fault.IndexFault]:
    return [fault.parse(path.read_bytes()) for path in (desk.path / "evidence").glob("*.teelog-index-fault")]


def the_fault(desk: SemanticDesk) -> fault.VerifiedFault:
    (found,) = kept_faults(desk)
    return fault.verify(found)


def the_fork(desk: SemanticDesk, log: IndexedLog, *, main: bool) -> forks.VerifiedFork:
    (path,) = (desk.path / "forks").glob("*.teelog-fork")
    keys = [one.verifier for one in (log.log if main else log.index_log)]
    return forks.verify_fork(forks.parse_fork(path.read_bytes()), keys)


# -- what is cosigned -------------------------------------------------------------------------------------------------


def test_rebuilt_index_is_cosigned_with_both_keys(desk: SemanticDesk, log: IndexedLog) -> None:
    size = log.begin()
    answer = desk.good(log, 0)
    assert len(verified_cosignatures(answer, log.index_note(size), desk.witness)) == 2
    assert desk.size(INDEX) == size


def test_index_grows_leaf_by_leaf(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    desk.good(log, 0)
    for old in (1, 2, 3):
        log.grow(log.withdraw())
        desk.good(log, old)
    assert desk.size(INDEX) == 4


def test_many_leaves_and_entries_are_caught_up_with_in_one_attempt(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    for number in range(600):
        log.grow(*(b"junk %d %d" % (number, each) for each in range(number % 4)))
    assert len(log.entries) > 3 * 256
    desk.good(log, 0)
    assert desk.size(INDEX) == 601


def test_leaves_of_one_input_are_fine(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    log.grow()
    desk.good(log, 0)


def test_empty_index_log_is_cosigned(desk: SemanticDesk, log: IndexedLog) -> None:
    desk.good(log, 0, 0)
    log.begin()
    desk.good(log, 0)


def test_unchanged_checkpoint_is_cosigned_again_without_reading(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    desk.good(log, 0)
    log.server.asked.clear()
    answer = desk.once(log.request(1))
    assert answer.status == 200
    assert log.server.asked == []


def test_only_what_is_new_is_read(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    log.grow(*(b"junk %d" % number for number in range(1_000)))
    desk.good(log, 0)
    log.server.asked.clear()
    log.grow(log.withdraw())
    desk.good(log, 2)
    bundles = [path for path in log.server.paths() if "/entries/" in path]
    assert bundles == ["/log/index/tile/entries/000.p/3", "/log/tile/entries/003.p/237"]


def test_inert_entries_and_junk_do_not_matter(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    log.grow(b"", b"\x00" * 65_535, make.status_file(seq=7, prev="11" * 32), make.release_file(make.STRANGER))
    desk.good(log, 0)


def test_two_logs_are_followed_apart(tmp_path: Path, open_desk: OpenDesk, log: IndexedLog) -> None:
    with served(origin="other.example/log") as other:
        desk = open_desk(log, other)
        log.begin()
        other.grow(b"only junk")
        other.lying_leaf(b"\x07" * 32)
        assert refused(desk.ask(other, 0), Cause.MAP_ROOT)
        desk.good(log, 0)


# -- behind -----------------------------------------------------------------------------------------------------------


def test_behind_is_503_with_retry_after_and_no_state(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    answer = desk.once(log.request(0))
    assert (answer.status, answer.retry_after) == (503, 1)
    assert desk.size(INDEX) is None


def test_nothing_is_signed_after_a_restart_before_the_index_is_read(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    desk.good(log, 0)
    desk.restart()
    assert desk.once(log.request(1)).status == 503
    desk.good(log, 1)


def test_restart_reads_only_what_is_new(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    log.grow(*(b"junk %d" % number for number in range(1_000)))
    desk.good(log, 0)
    log.grow(log.withdraw())
    desk.restart()
    log.server.asked.clear()
    desk.good(log, 2)
    assert len([path for path in log.server.paths() if "/entries/" in path]) == 2


@pytest.mark.parametrize("lost", ["index.db", "progress.db", "both", "garbage"])
def test_what_was_rebuilt_can_be_lost(desk: SemanticDesk, log: IndexedLog, lost: str) -> None:
    log.begin()
    desk.good(log, 0)
    desk.stop()
    (folder,) = (desk.path / "rebuilt").iterdir()
    for path in folder.iterdir():
        if lost in ("both", path.name):
            path.unlink()
        elif lost == "garbage":
            path.write_bytes(b"\x00" * 5_000)
    desk.start()
    log.grow(log.withdraw())
    desk.good(log, 1)


def test_a_killed_rebuild_goes_on_with_the_map_ahead(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    log.grow(*(b"junk %d" % number for number in range(600)))
    # The second leaf's entries are mapped; before anything is confirmed, the log's server dies.
    log.lies["tile/entries/002.p/92"] = log.lies["tile/entries/002"] = Reply(status=500)
    assert desk.ask(log, 0).status == 503
    desk.restart()
    log.lies.clear()
    desk.good(log, 0)


@pytest.mark.parametrize("row", ["UPDATE batch SET hashes = x'00'", "UPDATE confirmed SET hashes = x'00'"])
def test_damaged_progress_is_made_anew(desk: SemanticDesk, log: IndexedLog, row: str) -> None:
    log.begin()
    desk.good(log, 0)
    desk.stop()
    (folder,) = (desk.path / "rebuilt").iterdir()
    with contextlib.closing(sqlite3.connect(folder / "progress.db", isolation_level=None)) as db:
        db.execute(row)
    desk.start()
    desk.good(log, 1)


def test_index_ahead_of_what_is_known_of_it_is_made_anew(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    desk.good(log, 0)
    desk.stop()
    (folder,) = (desk.path / "rebuilt").iterdir()
    old = (folder / "progress.db").read_bytes()
    desk.start()
    log.grow(log.withdraw())
    desk.good(log, 1)
    log.grow(log.withdraw())
    desk.good(log, 2)
    desk.stop()
    (folder / "progress.db").write_bytes(old)
    desk.start()
    answer = desk.ask(log, 3)
    assert (answer.status, b"made again" in answer.body) == (503, True)
    desk.time += 2
    desk.good(log, 3)


def test_a_defect_while_rebuilding_signs_nothing_and_ends_nothing(
    desk: SemanticDesk, log: IndexedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    log.begin()
    with monkeypatch.context() as patched:
        patched.setattr(Rebuilt, "take", broken)
        assert desk.ask(log, 0).status == 503
    desk.time += 2
    desk.good(log, 0)


# -- lies that the index log signed: 422 for good ---------------------------------------------------------------------


def test_hidden_withdrawal_is_refused_and_kept(open_desk: OpenDesk) -> None:
    with served(rewrite=hiding(4)) as log:
        desk = open_desk(log)
        log.begin()
        desk.good(log, 0)
        log.grow(log.withdraw())
        assert refused(desk.ask(log, 1), Cause.MAP_ROOT)
        assert desk.size(INDEX) == 1
        found = the_fault(desk)
        assert (found.cause, found.number, found.proven) == (Cause.MAP_ROOT, 1, False)
        assert found.input is not None
        assert (found.input.size, found.map_root) == (5, log.shown.root())
        # Later leaves do not heal it.
        log.grow(b"junk")
        assert refused(desk.ask(log, 1), Cause.MAP_ROOT)
        assert len(kept_faults(desk)) == 1


def test_wrong_map_root_in_the_middle_is_refused(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    log.lying_leaf(b"\x01" * 32)
    log.grow(log.withdraw())
    assert refused(desk.ask(log, 0), Cause.MAP_ROOT)
    assert the_fault(desk).number == 1


def test_right_leaves_before_a_wrong_one_stay_cosigned(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    log.lying_leaf(b"\x01" * 32)
    assert refused(desk.ask(log, 0), Cause.MAP_ROOT)
    desk.good(log, 0, 1)


def test_the_refusal_survives_a_restart(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    log.lying_leaf(b"\x01" * 32)
    assert refused(desk.ask(log, 0), Cause.MAP_ROOT)
    desk.restart()
    assert refused(desk.ask(log, 0), Cause.MAP_ROOT)
    assert len(kept_faults(desk)) == 1


@pytest.mark.parametrize("leaf", [b"", b"\x00" * 97, b"00" * 32 + b"\nno note\n", b"x" * 5_000])
def test_malformed_leaf_is_refused(desk: SemanticDesk, log: IndexedLog, leaf: bytes) -> None:
    log.begin()
    log.leaf(leaf)
    assert refused(desk.ask(log, 0), Cause.LEAF)
    assert (the_fault(desk).number, the_fault(desk).proven) == (1, True)


def test_input_note_with_two_lines_is_malformed(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    twice = log.input_note() + log.log[0].sign(log.checkpoint().body(), 0).line()
    log.leaf(log.shown.root().hex().encode() + b"\n" + twice)
    assert refused(desk.ask(log, 0), Cause.LEAF)


def test_input_of_another_log_is_refused(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    other = Checkpoint("other.example/log", 4, log.checkpoint().root)
    log.lying_leaf(head=other, signer=signer("other", "other.example/log"))
    assert refused(desk.ask(log, 0), Cause.INPUT_LOG)
    assert the_fault(desk).proven


def test_input_signed_by_another_key_of_the_logs_name_is_refused(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    log.lying_leaf(signer=signer("impostor", log.origin))
    assert refused(desk.ask(log, 0), Cause.INPUT_KEY)
    assert the_fault(desk).proven


def test_input_with_a_bad_signature_is_refused(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    bent = Checkpoint(log.origin, 3, b"\x05" * 32).body()
    text, line = log.checkpoint().body(), log.log[0].sign(bent, 0)
    log.leaf(IndexLeaf(log.shown.root(), text + b"\n" + line.line()).encode())
    assert refused(desk.ask(log, 0), Cause.INPUT_SIGNATURE)
    assert the_fault(desk).proven


def test_input_that_shrinks_is_refused(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    log.grow(log.withdraw())
    log.lying_leaf(head=log.checkpoint(4))
    assert refused(desk.ask(log, 0), Cause.INPUT_SHRINKS)
    found = the_fault(desk)
    assert (found.number, found.proven) == (2, True)


def test_input_of_another_root_of_one_size_is_a_fork_of_the_main_log(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    log.lying_leaf(head=Checkpoint(log.origin, 4, b"\x05" * 32))
    assert refused(desk.ask(log, 0), Cause.INPUT_FORKS)
    proof = the_fork(desk, log, main=True)
    assert (proof.first.checkpoint.size, proof.second.checkpoint.size) == (4, 4)


def test_input_of_another_root_between_two_is_a_fork_of_the_main_log(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    log.append(log.withdraw())
    log.lying_leaf(head=Checkpoint(log.origin, 5, b"\x05" * 32))
    log.grow(b"junk")
    assert refused(desk.ask(log, 0), Cause.INPUT_FORKS)
    proof = the_fork(desk, log, main=True)
    assert (proof.first.checkpoint.size, proof.second.checkpoint.size) == (5, 6)


def test_main_log_that_rewrites_what_was_rebuilt_is_a_fork(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    desk.good(log, 0)
    log.rewrite_entry(3, log.withdraw())
    log.grow(b"junk")
    assert refused(desk.ask(log, 1), Cause.INPUT_FORKS)
    proof = the_fork(desk, log, main=True)
    assert (proof.first.checkpoint.size, proof.second.checkpoint.size) == (4, 5)


def test_index_log_that_rewrites_a_cosigned_leaf_is_refused_by_its_proof(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    desk.good(log, 0)
    log.rewrite_leaf(0, log.index_leaves[0] + b"x")
    log.grow(b"junk")
    assert desk.ask(log, 1).status == 422


def test_index_log_that_rewrites_a_rebuilt_leaf_is_a_fork(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    log.grow(log.withdraw())
    desk.once(log.request(0)).done.result(30)  # type: ignore[attr-defined]  # rebuilt, not signed
    log.rewrite_leaf(1, log.index_leaves[0])
    log.grow(b"junk")
    assert refused(desk.ask(log, 0), Cause.INDEX_FORKS)
    proof = the_fork(desk, log, main=False)
    assert (proof.first.checkpoint.size, proof.second.checkpoint.size) == (2, 3)


# -- a log that cannot be read: 503, tried again ----------------------------------------------------------------------


def trouble(desk: SemanticDesk, log: IndexedLog, words: str) -> bool:
    answer = desk.ask(log, 0)
    return answer.status == 503 and words in answer.body.decode() and bool(answer.retry_after)


LIES: dict[str, tuple[str, Any, str]] = {
    "index tile of another tree": ("index/tile/0/000.p/1", Reply(b"\x01" * 32), "index log: its files do not belong"),
    "index leaf of another tree": (
        "index/tile/entries/000.p/1",
        Reply(b"\x00\x03abc"),
        "index log: its files do not belong",
    ),
    "main tile of another tree": ("tile/0/000.p/4", Reply(b"\x01" * 128), "main log: its files do not belong"),
    "main entries of another tree": (
        "tile/entries/000.p/4",
        Reply(b"\x00\x01a\x00\x01b\x00\x01c\x00\x01d"),
        "main log: its files do not belong",
    ),
    "tile of another length": ("tile/0/000.p/4", Reply(b"\x01" * 127), "main log: its files are malformed"),
    "truncated bundle": ("tile/entries/000.p/4", Reply(b"\x00\x01"), "main log: its files are malformed"),
    "endless tile": ("tile/0/000.p/4", Reply(b"\x01" * 70_000), "main log: its files are malformed or too long"),
    "index tile missing": ("index/tile/0/000.p/1", Reply(status=404), "index log: it has no file"),
    "main tile missing": ("tile/0/000.p/4", Reply(status=404), "main log: it has no file"),
    "server fails": ("tile/entries/000.p/4", Reply(status=500), "main log: it cannot be read"),
    "connection ends": ("tile/entries/000.p/4", Reply(raw=b""), "main log: it cannot be read"),
}


@pytest.mark.parametrize("lie", LIES)
def test_unreadable_log_is_503_with_its_cause_and_heals(desk: SemanticDesk, log: IndexedLog, lie: str) -> None:
    path, reply, words = LIES[lie]
    log.begin()
    log.lies[path] = reply
    assert trouble(desk, log, words), desk.ask(log, 0)
    assert desk.size(INDEX) is None
    assert kept_faults(desk) == []
    log.lies.clear()
    # Not before the pause is over: a log's server is not hammered.
    log.server.asked.clear()
    assert desk.ask(log, 0).status == 503
    assert log.server.asked == []
    desk.time += 2
    desk.good(log, 0)


def test_not_one_wrong_byte_of_any_file_gets_a_signature(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    log.grow(*(b"junk %d" % number for number in range(600)))
    log.lies["tile/entries/002.p/92"] = Reply(status=500)
    desk.ask(log, 0)  # asks for all that it needs
    del log.lies["tile/entries/002.p/92"]
    asked = sorted({path.removeprefix("/log/") for path in log.server.paths()})
    assert len(asked) >= 8
    for path in asked:
        files = log.index_files if path.startswith("index/") else log.main_files
        good = files.get(path.removeprefix("index/"))
        assert good is not None
        place = len(good) // 2
        log.lies[path] = Reply(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        desk.time += 120
        answer = desk.ask(log, 0)
        assert answer.status == 503, (path, answer)
        del log.lies[path]
        assert desk.size(INDEX) is None
    assert kept_faults(desk) == []
    desk.time += 120
    desk.good(log, 0)


def test_endless_bundle_is_cut_off(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    log.lies["tile/entries/000.p/4"] = Reply(b"\x00" * (17 << 20))
    assert trouble(desk, log, "main log: its files are malformed or too long")


def test_slow_log_holds_up_nobody_else(open_desk: OpenDesk, log: IndexedLog) -> None:
    with served(origin="other.example/log") as slow:
        slow.grow(b"junk")
        slow.lies["tile/entries/000.p/1"] = Reply(hang=True)
        desk = open_desk(log, slow)
        assert desk.once(slow.request(0)).status == 503
        log.begin()
        desk.good(log, 0)


def test_slow_log_is_given_up(open_desk: OpenDesk, log: IndexedLog) -> None:
    log.begin()
    log.lies["tile/entries/000.p/4"] = Reply(hang=True)
    desk = open_desk(log, timeout=0.2)
    assert trouble(desk, log, "main log: it cannot be read")


def test_pauses_grow(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    log.lies["tile/entries/000.p/4"] = Reply(status=500)
    waits = []
    for _ in range(8):
        waits.append(desk.ask(log, 0).retry_after)
        desk.time += 61
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


# -- freezing ---------------------------------------------------------------------------------------------------------


def test_frozen_log_gets_nothing_more_not_even_a_refresh(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    desk.good(log, 0)
    log.grow(log.freeze())
    for _ in range(2):
        answer = desk.ask(log, 1)
        assert (answer.status, answer.body) == (403, b"the log is frozen: its index is cosigned no more\n")
        assert desk.ask(log, 1, 1).status == 403
        desk.restart()
    assert desk.size(INDEX) == 1


def test_log_that_goes_on_after_its_end_gets_nothing(desk: SemanticDesk, log: IndexedLog) -> None:
    log.begin()
    log.grow(log.freeze())
    log.grow(log.withdraw())
    assert desk.ask(log, 0).status == 403


def test_strangers_end_no_log(desk: SemanticDesk, log: IndexedLog) -> None:
    from teelog.statement import log_policy

    log.begin()
    policy = log.honest.state.log_policy()
    assert policy is not None
    log.grow(make.log_policy_file(make.STRANGER, version=1, prev=policy.statement_id, frozen=log_policy.Frozen(None)))
    desk.good(log, 0)


# -- what the file of a fault shows -----------------------------------------------------------------------------------


def test_fault_is_refused_where_the_leaf_is_right(desk: SemanticDesk, log: IndexedLog) -> None:
    import msgspec

    log.begin()
    log.leaf(b"nonsense")
    desk.ask(log, 0)
    (found,) = kept_faults(desk)
    with pytest.raises(VerificationError):
        fault.verify(msgspec.structs.replace(found, cause=Cause.INPUT_KEY))
    stranger = signer("impostor", INDEX)
    with pytest.raises(VerificationError):
        fault.verify(found, [stranger.verifier])
