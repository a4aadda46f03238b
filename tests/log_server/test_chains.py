"""Chains are decided in the order of the log: in a batch, between fronts, over a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from teelog.keys import PrivateKey
from teelog.log_server.admission import Admission, Namespaces
from teelog.log_server.clock import SystemClock
from teelog.log_server.create import create
from teelog.log_server.intake import Intake
from teelog.log_server.recovery import Memory
from teelog.log_server.seams import STALE, Admitted, Logged, Outcome, Rejected
from teelog.log_server.submit import ROUNDS
from teelog.log_server.writer import Writer
from teelog.statement import admit, dsse, namespace
from teelog.statement.namespace import Role
from teelog.statement.status import Closed
from teelog.tlog import rfc6962
from teelog.tlog.policy import parse_policy
from tests.log_server.memory_pool import MemoryPool
from tests.log_server.rig import Rig, rejected, rig
from tests.log_server.serving import Server, serving
from tests.log_server.test_pool_contract import QUICK
from tests.log_server.test_submit import batch, release_file
from tests.statement import make

STREAM = "acme.example/inference/stable"
BETA = "acme.example/inference/beta"
NEW = make.key("new")


def id_of(entry: bytes) -> str:
    return dsse.parse(entry).statement_id


def rotated(*signers: PrivateKey, keep: bool = False) -> bytes:
    """The second version of acme.example: NEW in place of ACME, or beside it."""
    keys = [make.held(NEW, *make.OWNER_ROLES), *([make.held(make.ACME, *make.OWNER_ROLES)] if keep else [])]
    return make.namespace_file(*signers, version=1, prev=make.acme().statement_id, keys=tuple(keys))


class Judge:
    """A front's admission, with what it has heard up to now."""

    def __init__(self, made: Rig) -> None:
        self.made = made
        self.admission = Admission(Namespaces(make.LOG), lambda: made.sequencer.memory.published_size)

    def __call__(self, *entries: bytes, operator: bool = False) -> list[Admitted]:
        self.admission.namespaces.learn(self.made.intake.namespaces(self.admission.namespaces.upto))
        return [self.admission.judge(entry, operator=operator)[0] for entry in entries]

    def logged(self, *entries: bytes, operator: bool = False) -> list[int]:
        return [outcome.index for outcome in self.made.logged(self(*entries, operator=operator))]

    def submit(self, *entries: bytes) -> list[Outcome]:
        outcomes = self.made.submit(self(*entries))
        assert isinstance(outcomes, list)
        return outcomes


@pytest.fixture
def judge(tmp_path: Path) -> Any:
    with rig(tmp_path / "log") as made:
        found = Judge(made)
        assert found.logged(make.namespace_file(), operator=True) == [1]
        yield found
        made.check()


# -- statuses ---------------------------------------------------------------------------------------------------------


def test_two_statuses_of_one_seq_are_one_admitted_and_one_refused(judge: Judge) -> None:
    one, two = make.status_file(), make.status_file(reason="another")
    first, second = judge.submit(one, two)
    assert isinstance(first, Logged)
    refused = rejected(second)
    assert (refused.status, refused.kind, refused.leaf) == (409, "conflict", judge(one)[0].leaf)
    assert refused.expected == f"seq 1, prev {id_of(one)}"
    assert refused.actual == "seq 0, prev null"
    (later,) = judge.submit(two)
    assert rejected(later) == refused
    assert judge.submit(one)[0].index == first.index  # type: ignore[union-attr]


@pytest.mark.parametrize("changes", [{"prev": "ab" * 32}, {"seq": 2}, {"seq": 0, "prev": None}])
def test_a_status_whose_prev_is_not_the_head_is_409_naming_the_head(judge: Judge, changes: dict[str, Any]) -> None:
    head = make.status_file()
    judge.logged(head)
    following: dict[str, Any] = {"seq": 1, "prev": id_of(head), "reason": "next"}
    (refused,) = judge.submit(make.status_file(**following | changes))
    assert (rejected(refused).status, rejected(refused).leaf) == (409, judge(head)[0].leaf)
    assert rejected(refused).expected == f"seq 1, prev {id_of(head)}"
    assert judge.logged(make.status_file(**following)) == [3]


def test_a_stream_begins_with_seq_0(judge: Judge) -> None:
    (refused,) = judge.submit(make.status_file(seq=1, prev="ab" * 32))
    assert (rejected(refused).status, rejected(refused).leaf) == (409, None)
    assert rejected(refused).expected == "seq 0, prev null"


def test_a_batch_keeps_its_order_release_then_status_then_the_next(judge: Judge) -> None:
    release = release_file()
    first = make.status_file(allowed=make.allowed(id_of(release)))
    second = make.status_file(seq=1, prev=id_of(first), allowed=(), reason="withdrawn")
    assert judge.logged(release, first, second) == [2, 3, 4]
    third = make.status_file(seq=2, prev=id_of(second), allowed=make.allowed(id_of(release)), reason="again")
    assert judge.logged(third) == [5]


def test_a_status_before_the_release_that_it_allows_is_refused(judge: Judge) -> None:
    release = release_file()
    status = make.status_file(allowed=make.allowed(id_of(release)))
    refused, logged = judge.submit(status, release)
    assert (rejected(refused).status, rejected(refused).kind) == (422, "unknown-release")
    assert rejected(refused).actual == f"{id_of(release)}, not logged as a release"
    assert isinstance(logged, Logged)
    assert judge.logged(status) == [3]


def test_a_status_allows_releases_of_its_own_stream_only(judge: Judge) -> None:
    own, other = release_file(), release_file("9", stream=BETA)
    judge.logged(own, other)
    (refused,) = judge.submit(make.status_file(allowed=make.allowed(id_of(own), id_of(other))))
    assert (rejected(refused).status, rejected(refused).actual) == (422, f"{id_of(other)}, of {BETA}")
    # Neither a leaf hash nor another statement's id stands for a release.
    for stray in (judge(own)[0].leaf.hex(), make.acme().statement_id, "ef" * 32):
        (refused,) = judge.submit(make.status_file(allowed=make.allowed(stray)))
        assert (rejected(refused).status, rejected(refused).kind) == (422, "unknown-release")
    assert judge.logged(make.status_file(allowed=make.allowed(id_of(own)))) == [4]


def note_reads(monkeypatch: pytest.MonkeyPatch, read: list[int]) -> None:
    entry = Memory.entry

    def noted(memory: Memory, index: int) -> bytes:
        read.append(index)
        return entry(memory, index)

    monkeypatch.setattr(Memory, "entry", noted)


def test_the_head_that_a_batch_conflicts_with_is_read_once(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    head = make.status_file()
    judge.logged(head)
    read: list[int] = []
    note_reads(monkeypatch, read)
    outcomes = judge.submit(*(make.status_file(reason=str(number)) for number in range(3)))
    assert [rejected(outcome).leaf for outcome in outcomes] == [rfc6962.leaf_hash(head)] * 3
    assert read == [2]


def test_what_is_no_release_is_found_out_once(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused status is free: a batch of thousands that name one long entry must not read it as often."""
    stray = make.acme().statement_id
    read: list[int] = []
    note_reads(monkeypatch, read)
    for attempt in range(3):
        status = make.status_file(allowed=make.allowed(stray), reason=str(attempt))
        (refused,) = judge.submit(status)
        assert (rejected(refused).kind, rejected(refused).actual) == (
            "unknown-release",
            f"{stray}, not logged as a release",
        )
    assert read == [1]


def test_nothing_follows_the_status_that_closed_its_stream(judge: Judge) -> None:
    head = make.status_file(allowed=msgspec.UNSET, closed=Closed("log2.example/tee"))
    judge.logged(head)
    (refused,) = judge.submit(make.status_file(seq=1, prev=id_of(head)))
    assert (rejected(refused).status, rejected(refused).detail) == (409, "the stream is closed on this log")
    assert judge.logged(make.status_file(stream=BETA)) == [3]


def test_a_release_found_in_the_table_of_known_hashes_is_confirmed_in_its_entry(judge: Judge) -> None:
    release = release_file()
    judge.logged(release)
    made = judge.made
    memory = made.sequencer.memory
    memory.dedup.move(memory.epoch, memory.published_size)
    assert not memory.dedup._new
    assert judge.logged(make.status_file(allowed=make.allowed(id_of(release)))) == [3]


# -- versions of a namespace ------------------------------------------------------------------------------------------


def test_what_was_judged_by_a_superseded_version_is_stale(judge: Judge) -> None:
    release, status = judge(release_file(), make.status_file())
    judge.logged(rotated())
    for item in (release, status):
        (refused,) = judge.made.submit([item])  # type: ignore[misc]
        assert (rejected(refused).status, rejected(refused).kind) == (409, STALE)


def test_a_version_counts_from_its_place_in_the_batch_on(judge: Judge) -> None:
    before, after = judge(release_file("1"), release_file("2"))
    (version,) = judge(rotated())
    outcomes = judge.made.submit([before, version, after])
    assert isinstance(outcomes, list)
    assert [getattr(outcome, "index", None) for outcome in outcomes] == [2, 3, None]
    assert rejected(outcomes[2]).kind == STALE


def test_stale_is_told_once_the_newer_version_is_published(judge: Judge) -> None:
    """Else a front would ask for it in vain, and judge by the old one again."""
    made = judge.made
    (release,) = judge(release_file())
    (version,) = judge(rotated())
    made.cosigner.down = True
    made.submit([version])
    ticket = made.offer([release])
    assert isinstance(ticket, int)
    made.clock.pass_ms(2_000)
    made.work(3)
    assert ticket not in made.inbox.outcomes
    assert len(made.intake.namespaces(0)) == 1
    made.cosigner.down = False
    made.clock.pass_ms(2_000)
    made.work(3)
    (refused,) = cast("list[Outcome]", made.inbox.outcomes[ticket])
    assert rejected(refused).kind == STALE
    assert len(made.intake.namespaces(0)) == 2


def test_a_key_on_its_way_out_counts_below_its_until_wherever_the_entry_comes_to_lie(judge: Judge) -> None:
    keys = (make.held(NEW, *make.OWNER_ROLES), make.held(make.ACME, Role.RELEASE, Role.STATUS, until=5))
    version = make.namespace_file(make.ACME, version=1, prev=make.acme().statement_id, keys=keys)
    judge.logged(version)
    releases = [release_file(str(number)) for number in range(3)]
    outcomes = judge.submit(*releases)  # judged as if each were entry 3
    assert [getattr(outcome, "index", None) for outcome in outcomes] == [3, 4, None]
    assert (rejected(outcomes[2]).status, rejected(outcomes[2]).kind) == (403, "wrong-key")


def test_a_threshold_with_keys_on_their_way_out_ends_with_the_one_that_is_needed(judge: Judge) -> None:
    third = make.key("third")
    keys = (
        make.held(NEW, Role.OWNER, Role.STATUS),
        make.held(make.ACME, Role.STATUS, until=9),
        make.held(third, Role.STATUS, until=4),
    )
    thresholds = {Role.OWNER: 1, Role.STATUS: 2}
    judge.logged(
        make.namespace_file(make.ACME, version=1, prev=make.acme().statement_id, keys=keys, thresholds=thresholds)
    )
    bounds = {
        (NEW, make.ACME): 9,
        (NEW, third): 4,
        (make.ACME, third): 4,
        (NEW, make.ACME, third): 9,
    }
    for signers, bound in bounds.items():
        (item,) = judge(make.status_file(*signers))
        assert item.before == bound


# -- what is durable --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("published", [True, False])
def test_chains_go_on_after_a_crash_where_they_were(judge: Judge, published: bool) -> None:
    release = release_file()
    head = make.status_file(allowed=make.allowed(id_of(release)))
    judge.made.cosigner.down = not published
    judge.made.submit(judge(release, head))
    again = judge.made.reopen().open()
    following = Judge(again)
    (refused,) = following.submit(make.status_file(reason="another beginning"))
    assert rejected(refused).expected == f"seq 1, prev {id_of(head)}"
    after = make.status_file(seq=1, prev=id_of(head), allowed=make.allowed(id_of(release)), reason="next")
    assert following.logged(after) == [4]
    assert following.logged(head) == [3]
    again.check()
    again.drop()


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_unknown_outcome_leaves_the_chain_as_the_state_has_it(judge: Judge, when: str) -> None:
    made, head = judge.made, make.status_file()
    made.faults.plan("state.commit", when)
    assert not isinstance(made.submit(judge(head)), list)
    other = make.status_file(reason="another beginning")
    (outcome,) = judge.submit(other)
    assert isinstance(outcome, Logged) == (when == "before")
    (again,) = judge.submit(head)
    assert isinstance(again, Logged) == (when == "after")


# -- fronts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fronts:
    """Two fronts of one log, with acme.example; each knows what it has heard."""

    one: Server
    two: Server
    intake: Intake

    async def status(self, front: Server, entry: bytes) -> int:
        return (await front.post("/entries", entry)).status


@pytest.fixture
async def fronts(tmp_path: Path) -> AsyncIterator[Fronts]:
    path = tmp_path / "LOG"
    create(path, make.LOG, SystemClock())
    (path / "log.toml").write_text((path / "log.toml").read_text().replace("[intervals]", "") + QUICK)
    async with AsyncExitStack() as stack:
        writer = Writer.open(path, parse_policy(b"quorum none\n"))
        stack.push_async_callback(writer.close)
        writer.start()
        while writer.intake.refusal is not None:
            await asyncio.sleep(0.001)
        pool = cast(MemoryPool, writer.pool)
        one, two = [await stack.enter_async_context(serving(path / "public", pool=pool)) for _ in range(2)]
        await one.front.submissions.allow(make.namespace_file())
        await two.front.submissions.refresh()
        yield Fronts(one, two, writer.intake)


async def test_two_statuses_of_one_seq_at_once_through_two_fronts_are_one_201_and_one_409(fronts: Fronts) -> None:
    winner = b""
    for seq in range(3):
        prev = None if seq == 0 else id_of(winner)
        rivals = [make.status_file(seq=seq, prev=prev, reason=f"rival {number}") for number in range(6)]
        answers = await asyncio.gather(
            *((fronts.one, fronts.two)[number % 2].post("/entries", entry) for number, entry in enumerate(rivals))
        )
        assert sorted(answer.status for answer in answers) == [201, 409, 409, 409, 409, 409]
        winner = next(entry for entry, answer in zip(rivals, answers, strict=True) if answer.status == 201)
        refusals = [answer.json for answer in answers if answer.status == 409]
        assert {refusal["type"] for refusal in refusals} == {"urn:teelog:problem:conflict"}
        assert {refusal["expected"] for refusal in refusals} == {f"seq {seq + 1}, prev {id_of(winner)}"}


async def test_a_front_that_has_not_heard_of_a_new_version_never_admits_by_the_old_keys(fronts: Fronts) -> None:
    assert await fronts.status(fronts.one, rotated(make.ACME)) == 201
    # Front two judges by the first version, in which ACME may sign; the sequencer knows better.
    known = fronts.two.front.submissions._admission.namespaces
    assert (known.current("acme.example") or make.acme()).version == 0
    answer = await fronts.two.post("/entries", release_file("1", make.ACME))
    assert (answer.status, answer.json["type"]) == (403, "urn:teelog:problem:wrong-key")
    assert await fronts.status(fronts.two, release_file("1", NEW)) == 201


@pytest.mark.parametrize("many", [False, True])
async def test_what_a_newer_version_allows_too_is_judged_again_and_admitted(fronts: Fronts, many: bool) -> None:
    assert await fronts.status(fronts.one, rotated(make.ACME, keep=True)) == 201
    entries = [release_file("1", make.ACME), make.status_file(), make.status_file(stream=BETA)]
    entries.append(make.status_file(seq=1, prev=id_of(entries[1]), reason="next"))
    if many:
        # The second status of the stream is refused while the first is stale: it is looked at again as well.
        results = (await batch(fronts.two, *entries))["results"]
        assert [(item["status"], item["index"]) for item in results] == [(201, str(3 + n)) for n in range(4)]
    else:
        assert await fronts.status(fronts.two, entries[1]) == 201


async def test_a_rotation_and_the_status_that_it_calls_for_go_in_one_batch(fronts: Fronts) -> None:
    release = release_file("1")
    status = make.status_file(NEW, allowed=make.allowed(id_of(release)))
    entries = (release, rotated(make.ACME), release_file("2", make.ACME), status, release_file("3", NEW))
    results = (await batch(fronts.one, *entries))["results"]
    assert [item["status"] for item in results] == [201, 201, 403, 201, 201]
    assert [item.get("index") for item in results] == ["2", "3", None, "4", "5"]
    # Who lost the answer sends the batch again: release 1 was signed by a key that is gone by now.
    again = (await batch(fronts.two, *entries))["results"]
    assert [item["status"] for item in again] == [200, 200, 403, 200, 200]
    assert [item.get("index") for item in again] == ["2", "3", None, "4", "5"]
    assert [index for index, _ in fronts.intake.namespaces(0)] == [1, 3]


async def test_a_rotation_that_comes_too_late_takes_what_follows_with_it(fronts: Fronts) -> None:
    assert await fronts.status(fronts.one, rotated(make.ACME, keep=True)) == 201
    results = (await batch(fronts.two, rotated(make.ACME), make.status_file(NEW), make.status_file(make.STRANGER)))[
        "results"
    ]
    # The status is signed by a key that the version which came first names as well.
    assert [item["status"] for item in results] == [409, 201, 403]


async def test_two_versions_follow_each_other_in_a_batch(fronts: Fronts) -> None:
    second = rotated(make.ACME)
    keys = (make.held(make.BUILD, Role.RELEASE), make.held(NEW, Role.OWNER))
    thresholds = {Role.OWNER: 1, Role.RELEASE: 1}
    third = make.namespace_file(NEW, version=2, prev=id_of(second), keys=keys, thresholds=thresholds)
    results = (await batch(fronts.one, second, third, release_file("1", make.BUILD), make.status_file(NEW)))["results"]
    assert [item["status"] for item in results] == [201, 201, 201, 403]


@pytest.mark.parametrize("many", [False, True])
async def test_a_namespace_that_changes_all_the_time_is_409_in_the_end(server: Server, many: bool) -> None:
    before = server.pool.submitted
    server.pool.rejection = Rejected(409, STALE, "the namespace has a newer version by now")
    entry = release_file()
    if many:
        (item,) = (await batch(server, entry))["results"]
        status, problem = item["status"], item["problem"]
    else:
        answer = await server.post("/entries", entry)
        status, problem = answer.status, answer.json
    assert (status, problem["type"]) == (409, "urn:teelog:problem:stale")
    assert server.pool.submitted - before == ROUNDS


async def test_a_status_that_too_few_signed_is_403(fronts: Fronts) -> None:
    """2 of 3, one of them stolen."""
    keys = [make.held(make.ACME, Role.OWNER), *(make.held(make.key(name), Role.STATUS) for name in ("a", "b", "c"))]
    thresholds = {Role.OWNER: 1, Role.STATUS: 2}
    version = make.namespace_file(
        make.ACME, version=1, prev=make.acme().statement_id, keys=tuple(keys), thresholds=thresholds
    )
    assert await fronts.status(fronts.one, version) == 201
    signed: Callable[..., bytes] = make.status_file
    assert await fronts.status(fronts.one, signed(make.key("a"))) == 403
    assert await fronts.status(fronts.one, signed(make.key("a"), make.ACME)) == 403
    assert await fronts.status(fronts.one, signed(make.key("a"), make.STRANGER)) == 403
    assert await fronts.status(fronts.one, signed(make.key("a"), make.key("c"))) == 201


async def test_another_logs_status_is_403(fronts: Fronts) -> None:
    assert await fronts.status(fronts.one, make.status_file(log="log2.example/tee")) == 403


async def test_a_log_that_takes_any_bytes_takes_no_statuses(raw_server: Server) -> None:
    await raw_server.front.submissions.allow(make.namespace_file())
    answer = await raw_server.post("/entries", make.status_file())
    assert (answer.status, answer.json["type"]) == (403, "urn:teelog:problem:not-allowed")


def test_a_first_version_beside_a_chain_is_inert_for_a_front_too() -> None:
    namespaces = Namespaces(make.LOG)
    recovered = make.namespace_file(NEW, keys=(make.held(NEW, *make.OWNER_ROLES),), replaces=make.acme().statement_id)
    namespaces.learn([(1, make.namespace_file()), (2, recovered)])
    assert namespaces.current("acme.example") == make.acme()
    assert namespace.PREDICATE_TYPE
    assert admit.classify(recovered).namespace == "acme.example"
