"""The write path, step by step (protocol section 8; design section 5)."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from teelog.log_server import config as configuration
from teelog.log_server import dedup as deduplication
from teelog.log_server.delivery import Failure
from teelog.log_server.seams import Conflict, Fenced, Logged, NamespaceVersion, UnknownOutcome
from teelog.log_server.state import SqliteState
from teelog.tlog import rfc6962, tiles
from teelog.tlog.checkpoint import open_checkpoint
from tests.log_server.rig import ORIGIN, QUICK, Injected, Rig, raw, rejected, rig, some, statement

FULL_TILE = 256


def test_the_first_serve_signs_entry_0_before_anything_else_is_taken(tmp_path: Path) -> None:
    made = Rig(tmp_path / "log")
    made.sequencer.open()
    refused = made.offer([raw("early")])
    assert isinstance(refused, Failure)
    assert refused.kind == "unavailable"
    assert made.check().size == 0
    made.work(3)
    assert made.check().size == 1
    assert made.logged([raw("now")])[0].index == 1
    made.drop()


def test_commit_sign_apply_cosign_store_publish_answer_in_this_order(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        made.faults.calls.clear()
        made.logged([raw("one")])
        order = [name for name in made.faults.calls if name in _ORDER]
        assert order == _ORDER
        assert made.check().size == 2


_ORDER = ["state.commit", "sign", "store.create", "state.publish", "store.replace_checkpoint", "deliver"]


@pytest.mark.parametrize("count", [1, 254, 255, 256, 257, 600, 1000])
def test_every_answer_has_a_proof_for_the_published_checkpoint(tmp_path: Path, count: int) -> None:
    with rig(tmp_path / "log") as made:
        entries = some(count)
        assert [outcome.index for outcome in made.logged(entries)] == list(range(1, count + 1))
        again = made.logged(entries)
        assert [(outcome.index, outcome.fresh) for outcome in again] == [(n, False) for n in range(1, count + 1)]
        assert len(made.inbox.observed) == 2 * count
        assert made.check().size == count + 1


def test_a_log_that_grows_in_uneven_batches_keeps_every_promise(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        for batch in (1, 3, 250, 1, 1, 255, 2, 300, 256):
            made.logged(some(batch, f"b{batch}-{made.sequencer.memory.size}-"))
            made.check()


def test_duplicates_in_one_batch_and_across_batches_join_one_entry(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        made.cosigner.held = True
        first, second = made.offer([raw("x"), raw("y"), raw("x")]), 0
        made.clock.pass_ms(2_000)
        made.work(2)
        second = made.offer([raw("x")])  # waits for the checkpoint that is being cosigned
        made.clock.pass_ms(2_000)
        made.work()
        assert first not in made.inbox.outcomes
        made.cosigner.release()
        made.work(2)
        got = made.inbox.outcomes[first], made.inbox.outcomes[second]  # type: ignore[index]
        assert [[(o.index, o.fresh) for o in each] for each in got] == [  # type: ignore[union-attr]
            [(1, True), (2, True), (1, False)],
            [(1, False)],
        ]


def test_the_same_statement_in_other_bytes_is_409_naming_the_logged_leaf(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        one, other = statement("s"), statement("s", " ")
        assert [getattr(o, "leaf", None) for o in made.submit([one, other]) or []][1] == one.leaf  # type: ignore[union-attr]
        (later,) = made.submit([statement("s", "  ")])  # type: ignore[misc]
        assert (rejected(later).status, rejected(later).leaf) == (409, one.leaf)
        assert made.check().size == 2


def test_a_namespace_begins_once_and_a_later_version_follows_the_one_before(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        one, two = statement("a", namespace="acme.example"), statement("b", namespace="acme.example")
        first, second = made.submit([one, two])  # type: ignore[misc]
        assert isinstance(first, Logged)
        assert (rejected(second).status, rejected(second).leaf) == (409, one.leaf)
        (third,) = made.submit([statement("c", namespace="acme.example", version=1)])  # type: ignore[misc]
        assert rejected(third).status == 409
        following = statement("c", namespace="acme.example", version=1, prev=one)
        made.logged([following])
        assert made.intake.namespaces(0) == [(1, one.entry), (2, following.entry)]
        again = made.reopen().open()
        assert again.intake.namespaces(0) == [(1, one.entry), (2, following.entry)]
        (fourth,) = again.submit([two])  # type: ignore[misc]
        assert (rejected(fourth).status, rejected(fourth).leaf) == (409, following.leaf)
        again.drop()


def test_a_namespace_is_told_only_once_it_is_published(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        made.cosigner.down = True
        made.submit([statement("a", namespace="acme.example")])
        assert made.intake.namespaces(0) == []
        made.cosigner.down = False
        made.clock.pass_ms(2_000)
        made.work(2)
        assert len(made.intake.namespaces(0)) == 1


# -- intervals ------------------------------------------------------------------------------------------------------


def test_the_first_entry_after_idle_is_sealed_and_published_at_once(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        made.clock.pass_ms(5_000)
        ticket = made.offer([raw("one")])
        made.work()
        assert ticket in made.inbox.outcomes


def test_a_batch_waits_for_its_interval_and_a_full_tile_only_for_the_shortest(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        made.clock.pass_ms(5_000)
        made.offer([raw("one")])
        made.work()
        sealed = made.sequencer.memory.size
        made.offer([raw("two")])
        made.clock.pass_ms(249)
        made.work()
        assert made.sequencer.memory.size == sealed
        made.clock.pass_ms(1)
        made.work()
        assert made.sequencer.memory.size == sealed + 1
        made.offer(some(FULL_TILE))
        made.clock.pass_ms(19)
        made.work()
        assert made.sequencer.memory.size == sealed + 1
        made.clock.pass_ms(1)
        made.work()
        assert made.sequencer.memory.size == sealed + 1 + FULL_TILE


def test_checkpoints_keep_their_own_interval_and_take_along_what_waits(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        made.clock.pass_ms(5_000)
        made.logged([raw("one")])
        signed = made.sequencer._signed_at
        made.clock.ms = int(signed * 1000)
        for number in range(4):
            made.offer([raw(f"wait{number}")])
            made.clock.pass_ms(249)
            made.work()
        assert made.sequencer.memory.published_size == 2
        made.clock.ms = int(signed * 1000) + 1_000
        made.work()
        assert made.sequencer.memory.published_size == made.sequencer.memory.size == 6
        assert made.intake.waiting() == (0, 0)


def test_an_idle_log_is_cosigned_anew_and_keeps_its_checkpoint_if_that_fails(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        made.logged([raw("one")])
        before = made.sequencer.memory.note
        asked = len(made.cosigner.requests)
        made.clock.pass_ms(599_000)
        made.work()
        assert len(made.cosigner.requests) == asked
        made.cosigner.down = True
        made.clock.pass_ms(2_000)
        made.work(2)
        assert len(made.cosigner.requests) == asked + 1
        assert made.sequencer.memory.note == before
        made.cosigner.down = False
        made.clock.pass_ms(600_000)
        made.work(2)
        assert made.sequencer.memory.note != before
        newest = open_checkpoint(made.sequencer.memory.note, made.signer.vkeys, ORIGIN)
        assert newest.checkpoint.size == 2
        assert made.check().size == 2


def test_a_witness_rate_limit_delays_the_next_signature(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        made.cosigner.wait = 30.0
        asked = len(made.cosigner.requests)
        assert made.submit([raw("one")]) is None
        assert len(made.cosigner.requests) == asked
        made.cosigner.wait = 0.0
        made.work(2)
        assert made.check().size == 2


# -- fail closed ----------------------------------------------------------------------------------------------------


def test_without_quorum_nothing_is_published_nor_signed_further_and_the_pool_fills(tmp_path: Path) -> None:
    config = configuration.parse(f'origin="{ORIGIN}"\n[pool]\nmax_entries=10\n[disk]\nmin_free_bytes=0\n'.encode())
    with rig(tmp_path / "log", config) as made:
        made.cosigner.down = True
        made.faults.calls.clear()
        tickets = []
        refused: object = None
        for number in range(20):
            taken = made.offer([raw(f"{number}")])
            if isinstance(taken, Failure):
                refused = taken
                break
            tickets.append(taken)
            made.clock.pass_ms(1_500)
            made.work(2)
        assert len(tickets) == 10
        assert isinstance(refused, Failure)
        assert refused.kind == "full"
        assert made.faults.calls.count("sign") == 1  # at most one signed unpublished checkpoint
        assert "store.replace_checkpoint" not in made.faults.calls
        assert not made.inbox.outcomes
        assert made.check().size == 1
        made.cosigner.down = False
        made.clock.pass_ms(1_500)
        made.work(2)
        made.clock.pass_ms(1_500)
        made.work(3)
        assert sorted(made.inbox.outcomes) == sorted(tickets)
        assert made.check().size == 11


def test_admission_and_sealing_go_on_while_a_checkpoint_is_cosigned(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        made.cosigner.held = True
        made.submit([raw("one")])
        made.submit([raw("two")])
        assert made.sequencer.memory.size == 3
        assert made.sequencer.memory.published_size == 1
        made.cosigner.release()
        made.work()
        assert made.sequencer.memory.published_size == 2
        made.check()
        made.cosigner.release()
        made.work(2)
        assert made.check().size == 3


def test_R_15_no_signature_while_the_clock_is_behind_an_earlier_one(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        made.logged([raw("one")])
        made.faults.calls.clear()
        made.clock.pass_ms(-3_600_000)
        refused = made.submit([raw("two")])
        assert refused is None
        assert "sign" not in made.faults.calls
        assert isinstance(made.offer([raw("three")]), Failure)
        made.clock.pass_ms(3_600_000)
        made.work(3)
        assert made.check().size == 3


def test_R_09_below_the_watermark_nothing_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configuration.parse(f'origin="{ORIGIN}"\n[disk]\nmin_free_bytes=1000\n'.encode())
    with rig(tmp_path / "log", config) as made:
        made.logged([raw("one")])
        free = [999]
        monkeypatch.setattr(made.store._inner, "free", lambda: free[0])
        made.work()
        refused = made.offer([raw("two")])
        assert isinstance(refused, Failure)
        assert (refused.kind, refused.message) == ("full", "the disk is nearly full")
        assert (refused.retry_after or 0) > 0
        free[0] = 1_000
        made.work()
        assert made.logged([raw("two")])[0].index == 2


def test_pool_bounds_count_bytes_and_take_all_or_nothing(tmp_path: Path) -> None:
    config = configuration.parse(
        f'origin="{ORIGIN}"\n[pool]\nmax_entries=5\nmax_bytes=70000\n[disk]\nmin_free_bytes=0\n'.encode()
    )
    with rig(tmp_path / "log", config) as made:
        assert isinstance(made.offer(some(6)), Failure)
        assert made.intake.waiting() == (0, 0)
        assert not isinstance(made.offer([raw(b"x" * 60_000)]), Failure)
        assert isinstance(made.offer([raw(b"y" * 10_001)]), Failure)
        assert made.intake.waiting() == (1, 60_000)


# -- faults: each half of every step --------------------------------------------------------------------------------

STEPS = ["state.commit", "store.create", "state.publish", "store.replace_checkpoint", "state.remember"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_F_11_a_failed_step_persisted_or_not_loses_and_forks_nothing(
    tmp_path: Path, step: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deduplication, "FLUSH", 3)
    with rig(tmp_path / "log") as made:
        made.logged(some(3, "before"))
        made.faults.plan(step, when)
        made.submit(some(3, "during"))
        assert step not in made.faults.planned, "the fault did not happen"
        made.check()
        made.clock.pass_ms(2_000)
        made.work(3)
        # The same bytes again have one index each, whether or not the first attempt was persisted.
        indices = [outcome.index for outcome in made.logged(some(3, "during"))]
        assert indices == [4, 5, 6]
        made.logged(some(3, "after"))
        assert made.check().size == 10
        assert not made.sequencer.stopped.done()


@pytest.mark.parametrize("when", ["before", "after"])
def test_R_03_a_failed_reload_stops_the_writer_and_reads_go_on(tmp_path: Path, when: str) -> None:
    with rig(tmp_path / "log") as made:
        made.logged(some(3, "before"))
        made.faults.plan("state.commit", when)
        made.faults.plan("state.open", "before")
        lost = made.submit(some(3, "during"))
        assert isinstance(lost, Failure)
        assert isinstance(made.sequencer.stopped.exception(), Injected)
        made.faults.calls.clear()
        assert isinstance(made.submit([raw("more")]), Failure)
        assert made.faults.calls == []  # nothing is written any more
        assert made.check().size == 4
        again = made.reopen().open()
        again.logged(some(3, "during"))
        assert again.check().size == 7
        again.drop()


def test_R_03_an_unknown_outcome_is_never_an_answer(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        made.faults.error = lambda: UnknownOutcome("disk I/O error")
        made.faults.plan("state.commit", "after")
        answer = made.submit([raw("one")])
        assert isinstance(answer, Failure)
        assert "submit the same bytes again" in answer.message
        (outcome,) = made.logged([raw("one")])
        assert outcome.index == 1


@pytest.mark.parametrize("error", [Fenced("another process"), Conflict("other bytes")])
def test_what_no_reload_can_mend_stops_the_writer(tmp_path: Path, error: Exception) -> None:
    with rig(tmp_path / "log") as made:
        made.faults.error = lambda: error
        made.faults.plan("state.commit", "before")
        assert isinstance(made.submit([raw("one")]), Failure)
        assert made.sequencer.stopped.exception() is error
        assert made.check().size == 1


def test_F_09_a_second_opener_fences_the_first_one_even_without_the_lock(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as first:
        second = Rig(tmp_path / "log", first.clock, create=False).open()
        second.logged([raw("second")])
        assert isinstance(first.submit([raw("first")]), Failure)
        assert isinstance(first.sequencer.stopped.exception(), Fenced)
        second.logged([raw("more")])
        assert second.check().size == 3
        second.drop()


def test_R_07_a_wrong_leaf_hash_from_the_front_is_found_before_a_signature(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        good = raw("good")
        flipped = type(good)(good.entry, bytes([good.leaf[0] ^ 1]) + good.leaf[1:], None)
        made.faults.calls.clear()
        assert isinstance(made.submit([flipped]), Failure)
        assert "sign" not in made.faults.calls
        assert made.check().size == 1
        assert made.logged([good])[0].index == 1


def test_R_07_a_bit_that_flips_in_the_state_is_found_before_a_signature(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        commit = made.state._inner.commit

        def flipping(epoch: int, previous: object, batch: object, names: object, check: object) -> None:
            commit(epoch, previous, batch, names, lambda stored: check(stored[:-1] + bytes([stored[-1] ^ 1])))  # type: ignore[operator]

        made.state._inner.commit = flipping
        made.faults.calls.clear()
        assert isinstance(made.submit([raw("one")]), Failure)
        assert "sign" not in made.faults.calls
        made.state._inner.commit = commit
        assert made.logged([raw("one")])[0].index == 1


# -- a crash between any two steps ------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["state.commit", "sign", "store.create", "state.publish", "store.replace_checkpoint"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("count", [1, 300])
def test_F_02_a_crash_at_any_step_is_recovered_by_the_next_start(
    tmp_path: Path, step: str, when: str, count: int
) -> None:
    class Crash(BaseException):
        pass

    with rig(tmp_path / "log") as made:
        made.logged(some(3, "before"))
        made.faults.error = Crash
        if step == "sign":
            sign = made.signer.sign
            made.signer.sign = lambda *args: made.faults.around("sign!", lambda: sign(*args))  # type: ignore[method-assign]
            made.faults.plan("sign!", when)
        else:
            made.faults.plan(step, when)
        with pytest.raises(Crash):
            made.submit(some(count, "during"))
        made.check()
        again = made.reopen()
        again.sequencer.open()
        again.check()  # committed batches are applied before anything is signed
        again.work(3)
        again.check()
        committed = (step, when) != ("state.commit", "before")
        assert again.sequencer.memory.published_size == 4 + (count if committed else 0)
        assert [outcome.index for outcome in again.logged(some(count, "during"))] == list(range(4, 4 + count))
        assert again.check().size == 4 + count
        again.drop()


def test_must_fail_control_an_apply_that_is_skipped_is_found_by_the_checker(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        made.store._inner.create = lambda objects: None
        made.submit([raw("one")])
        with pytest.raises((AssertionError, FileNotFoundError)):
            made.check()


def test_must_fail_control_an_entry_that_is_forgotten_is_found_by_the_observer(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        import shutil

        shutil.copytree(tmp_path / "log", tmp_path / "older")
        made.logged([raw("one")])
        older = Rig(tmp_path / "older", made.clock, create=False)
        older.inbox.observed = made.inbox.observed
        with pytest.raises(AssertionError, match="went back"):
            older.check()


# -- duplicates by table ----------------------------------------------------------------------------------------------


def test_duplicates_are_found_after_the_table_moved_and_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deduplication, "FLUSH", 8)
    with rig(tmp_path / "log") as made:
        entries = some(700)
        made.logged(entries[:300])
        made.work(2)
        assert made.sequencer.memory.dedup.upto == 301
        assert made.sequencer.memory.dedup._new == {}
        assert [outcome.index for outcome in made.logged(entries[:300])] == list(range(1, 301))
        monkeypatch.setattr(deduplication, "FLUSH", 65_536)
        made.logged(entries[300:])
        again = made.reopen().open()
        assert again.sequencer.memory.dedup.upto == 301
        assert [outcome.index for outcome in again.logged(entries)] == list(range(1, 701))
        assert not any(outcome.fresh for outcome in again.logged(entries))
        again.drop()


@pytest.mark.parametrize("slices", [1, 2, 3, 4])
def test_the_table_moves_in_slices_and_a_crash_between_them_forgets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slices: int
) -> None:
    monkeypatch.setattr(deduplication, "SLICE", 30)
    with rig(tmp_path / "log") as made:
        entries = some(100)
        made.logged(entries)
        memory = made.sequencer.memory
        for number in range(1, slices + 1):  # 102 hashes: entry 0 has two
            memory.dedup.move(memory.epoch, memory.published_size)
            assert memory.dedup.upto == (101 if number == 4 else 0)
            found = memory.dedup.lookup([entry.leaf for entry in entries], memory.applied.size)
            assert found == {entry.leaf: index for index, entry in enumerate(entries, 1)}
        again = made.reopen().open()
        assert again.sequencer.memory.dedup.upto == (101 if slices == 4 else 0)
        assert [outcome.index for outcome in again.logged(entries)] == list(range(1, 101))
        again.drop()


def test_the_table_does_not_move_beyond_what_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deduplication, "FLUSH", 8)
    with rig(tmp_path / "log") as made:
        made.logged(some(10, "before"))
        made.cosigner.down = True
        made.submit(some(50))
        made.work(2)
        memory = made.sequencer.memory
        assert memory.dedup.upto == memory.published_size == 11
        assert made.sequencer._sleep() > 0  # nothing to do until the witnesses are asked again
        assert made.submit(some(1)) is None


def test_R_14_a_hash_that_shares_its_first_8_bytes_is_not_taken_for_the_other(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        made.logged(some(5))
        memory = made.sequencer.memory
        memory.dedup.move(memory.epoch, memory.published_size)
        new = raw("new")
        made.state._inner.remember(memory.epoch, [(new.leaf, 2), (new.leaf, 4)], memory.published_size)
        (outcome,) = made.logged([new])
        assert (outcome.index, outcome.fresh) == (6, True)
        memory.dedup.move(memory.epoch, memory.published_size)
        (again,) = made.logged([new])  # three rows under one prefix; the right one is found
        assert (again.index, again.fresh) == (6, False)


def test_a_statement_is_recognised_from_the_log_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deduplication, "FLUSH", 1)
    with rig(tmp_path / "log") as made:
        first = tiles.parse_bundle((tmp_path / "log/public/tile/entries/000.p/1").read_bytes(), 1)[0]
        identity = deduplication.statement_of(first)
        assert identity is not None
        made.logged([raw("x")])
        made.work(2)
        assert made.sequencer.memory.dedup._new == {}
        entry = first + b" "
        other = type(raw(""))(entry, rfc6962.leaf_hash(entry), identity)
        (answer,) = made.submit([other])  # type: ignore[misc]
        assert rejected(answer).leaf == rfc6962.leaf_hash(first)


# -- partial tiles ----------------------------------------------------------------------------------------------------


def test_TT_16_partials_of_published_sizes_stay_until_their_full_tile_is_published(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        public = tmp_path / "log/public/tile"
        sizes = [1, 2, 3, 8, 64, 127, 128, 200, 254, 255]
        for before, size in itertools.pairwise(sizes):
            made.logged([raw(f"{number}") for number in range(before, size)])
        assert made.sequencer.memory.published_size == 255
        for width in sizes:
            assert (public / f"0/000.p/{width}").exists()
            assert (public / f"entries/000.p/{width}").exists()
        made.cosigner.down = True
        made.submit([raw("the last one")])
        assert (public / "0/000").exists()  # durable, not yet published
        assert (public / "0/000.p/255").exists()
        made.cosigner.down = False
        made.clock.pass_ms(2_000)
        made.work(3)
        assert made.check().size == 256
        assert not (public / "0/000.p").exists()
        assert not (public / "entries/000.p").exists()


def test_TT_17_a_crash_in_the_middle_of_collecting_is_tidied_at_the_next_start(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        made.logged(some(100))
        drop = made.store._inner.drop_partials
        made.store._inner.drop_partials = lambda paths: 0
        made.logged(some(200, "more"))
        made.store._inner.drop_partials = drop
        assert (tmp_path / "log/public/tile/0/000.p").exists()
        again = made.reopen().open()
        assert not (tmp_path / "log/public/tile/0/000.p").exists()
        assert again.check().size == 301
        again.drop()


def test_TT_19_tiles_are_readable_before_cosignatures_are_asked_for(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        made.cosigner.held = True
        made.submit([raw("one")])
        assert (tmp_path / "log/public/tile/0/000.p/2").exists()
        assert made.sequencer.memory.published_size == 1


# -- look-ups ---------------------------------------------------------------------------------------------------------


def test_a_look_up_answers_for_published_entries_only(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        one = raw("one")
        made.cosigner.down = True
        made.submit([one])
        assert made.intake.find(made.inbox, 900, one.leaf) is None
        made.work()
        assert made.inbox.outcomes[900] == []
        made.cosigner.down = False
        made.clock.pass_ms(2_000)
        made.work(2)
        made.inbox.asked[901] = [one]
        made.intake.find(made.inbox, 901, one.leaf)
        made.intake.find(made.inbox, 902, bytes(32))
        made.work()
        assert made.inbox.outcomes[901][0].index == 1  # type: ignore[index,union-attr]
        assert made.inbox.outcomes[902] == []
        made.check()


def test_a_statement_id_is_no_leaf_to_be_looked_up(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        one = statement("one")
        made.logged([one])
        assert one.statement is not None
        made.intake.find(made.inbox, 900, one.statement)
        made.work()
        assert made.inbox.outcomes[900] == []


def test_the_state_keeps_what_a_namespace_needs(tmp_path: Path) -> None:
    with rig(tmp_path / "log") as made:
        one = statement("a", namespace="acme.example")
        made.logged([raw("x"), one])
        assert made.state.namespaces() == [NamespaceVersion("acme.example", 0, one.statement or b"", 2, one.entry)]


def test_quick_settings_are_the_defaults_but_for_the_disk() -> None:
    assert QUICK.intervals == configuration.Intervals()
    assert QUICK.pool == configuration.Pool()
    assert SqliteState.__doc__
