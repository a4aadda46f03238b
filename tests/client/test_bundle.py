"""Bundles put together over HTTP, and refreshed: from the log, and from its witnesses when the log is down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from teelog import Check, Outcome, Overall, Trust
from teelog import bundle as bundles
from teelog.appraisal.lifetime import fresh_until
from teelog.client import bundle as client
from teelog.client.http import HttpClient
from teelog.client.index import open_index
from teelog.errors import RefusedError, TeelogError, UnavailableError
from teelog.testing.ledger import Cosigner
from teelog.tlog import note
from teelog.tlog.witness import SIZE_TYPE, encode_answer, encode_conflict, parse_add_checkpoint
from teelog.verdict import OF_EVIDENCE, NotVerified
from tests.appraisal.story import NOW, STREAM, Story, current, grace, told
from tests.client.peers import Asked, Peer, Reply, peer
from tests.client.served import Served
from tests.statement import make

T = TypeVar("T")


def run(work: Callable[[HttpClient], Awaitable[T]]) -> T:
    async def main() -> T:
        async with HttpClient(timeout=120) as http:
            return await work(http)

    return asyncio.run(main())


@dataclass
class World:
    """A served log, and its cosigners as servers; each says what it has cosigned last."""

    story: Story
    log: Peer
    served: Served
    cosigners: dict[str, Peer] = field(default_factory=dict)
    time: int = NOW
    last: dict[str, int] = field(default_factory=dict)

    def trust(self, **changes: Any) -> Trust:
        return self.story.trust(urls={name: each.url for name, each in self.cosigners.items()}, **changes)

    def publish(self, now: int = NOW, **how: Any) -> None:
        view = self.served.publish(now, **how)
        self.last = {each.name: view.size for each in self.story.ledger.witnesses}
        self.last |= {each.name: view.index_size for each in self.story.ledger.semantic}

    def get(self, release: str | None = None, now: int = NOW + 60, **how: Any) -> client.Verified:
        return run(lambda http: client.get(http, self.log.url, self.trust(), STREAM, release, now=now, **how))

    def refresh(self, file: bytes, now: int, url: str | None = None) -> client.Refreshed:
        return run(lambda http: client.refresh(http, url or self.log.url, self.trust(), file, now=now))

    def cosign(self, cosigner: Cosigner) -> Callable[[Asked], Reply]:
        def answer(asked: Asked) -> Reply:
            request = parse_add_checkpoint(asked.body)
            if request.old != self.last[cosigner.name]:
                return Reply(encode_conflict(self.last[cosigner.name]), 409, {"Content-Type": SIZE_TYPE})
            text = note.parse(request.checkpoint).claimed_text()
            return Reply(encode_answer([signer.sign(text, self.time) for signer in cosigner.signers]))

        return answer


@pytest.fixture
def world() -> Iterator[World]:
    story, _ = told()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(peer())
        made = World(story, log, Served(log, story.ledger))
        for cosigner in (*story.ledger.witnesses, *story.ledger.semantic):
            server = stack.enter_context(peer())
            server.answers["/add-checkpoint"] = made.cosign(cosigner)
            made.cosigners[cosigner.name] = server
        made.publish()
        yield made


def allowed(world: World) -> str:
    """The release of the story."""
    return make.admit.classify(world.story.ledger.entries[2]).statement_id


def test_a_bundle_from_the_log_is_the_one_that_the_ledger_makes(world: World):
    release = allowed(world)
    got = world.get()
    assert got.release == release
    assert got.bundle == world.served.view.bundle(STREAM, release)  # type: ignore[union-attr]
    assert bundles.parse(got.file) == got.bundle
    assert got.verdict.overall is Overall.VERIFIED_WITH_WAIVERS
    assert {got.verdict[check].outcome for check in Check if check not in OF_EVIDENCE} == {Outcome.VERIFIED}


def test_of_several_releases_one_must_be_named(world: World):
    first, second = allowed(world), world.story.release("1.4.3")
    world.story.status(current(first, second))
    world.publish()
    with pytest.raises(RefusedError, match="which release"):
        world.get()
    assert world.get(first).release == first
    assert world.get(second).release == second


def test_a_release_that_is_not_allowed_has_no_bundle(world: World):
    other = world.story.release("1.4.3")
    world.publish()
    with pytest.raises(NotVerified, match="not allowed"):
        world.get(other)
    with pytest.raises(RefusedError, match="no such release"):
        world.get("ab" * 32)


def test_a_stream_without_a_status_and_a_log_without_the_namespace_are_said_to_be_so(world: World):
    trust = world.trust()
    with pytest.raises(RefusedError, match="no status"):
        run(lambda http: client.get(http, world.log.url, trust, "acme.example/inference/beta", now=NOW))
    with pytest.raises(RefusedError, match="no namespace"):
        run(lambda http: client.get(http, world.log.url, trust, "other.example/inference/stable", now=NOW))


def test_a_chain_of_versions_and_a_long_list_of_releases_are_read_page_by_page(world: World):
    release = allowed(world)
    for number in range(300):
        world.story.release(f"9.{number}")
    last = world.story.release("9.300")
    second = world.story.append(make.namespace_file(version=1, prev=world.story.namespaces[0]))
    world.story.status(current(release, last))
    world.publish()
    got = world.get(release)
    assert got.verdict.judged is not None
    assert got.verdict.judged.namespaces == (world.story.namespaces[0], second)
    assert world.get(last).release == last


def test_junk_after_the_status_is_not_read(world: World):
    release = allowed(world)
    for number in range(600):
        world.story.release(f"9.{number}")
    world.publish()
    world.log.asked.clear()
    assert world.get(release).release == release
    bundles_read = [path for path in world.log.paths() if path.startswith("/tile/entries/")]
    assert set(bundles_read) == {"/tile/entries/000"}


def test_looking_for_a_release_reads_each_bundle_of_entries_once(world: World):
    """Whoever holds a release key decides how many there are; nobody shall read 256 entries for each of them."""
    allowed(world)
    for number in range(600):
        world.story.release(f"9.{number}")
    world.publish()
    world.log.asked.clear()
    with pytest.raises(RefusedError, match="no such release"):
        world.get("ab" * 32)
    bundles_read = [path for path in world.log.paths() if path.startswith("/tile/entries/")]
    assert len(bundles_read) < 10


def test_a_search_may_be_bounded(world: World):
    release = allowed(world)
    for number in range(3):
        world.story.release(f"2.{number}")
    world.story.status(current(release))
    world.publish()

    async def ask(http: HttpClient, most: int) -> bytes:
        trust = world.trust()
        assert trust.index is not None
        index = await open_index(http, world.log.url, trust.main, trust.index)
        return (await client.assemble(index, STREAM, release, most=most)).release.entry

    assert make.admit.classify(run(lambda http: ask(http, 4))).statement_id == release
    with pytest.raises(RefusedError, match="not among the newest 3"):
        run(lambda http: ask(http, 3))


def test_who_asks_again_knows_the_releases_from_before(world: World):
    release = allowed(world)
    world.publish()
    known: dict[int, str | None] = {}

    async def ask(http: HttpClient) -> None:
        trust = world.trust()
        assert trust.index is not None
        index = await open_index(http, world.log.url, trust.main, trust.index)
        for wanted in ("ab" * 32, "cd" * 32):
            with pytest.raises(RefusedError):
                await client.assemble(index, STREAM, wanted, known=known)

    run(ask)
    assert list(known.values()) == [release]


LIES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "a shorter list": lambda answer: answer | ({"count": "9"} if answer.get("count") == "1" else {}),
    "absence without proof": lambda answer: answer | ({"count": "0"} if "count" in answer else {}),
    "no last element": lambda answer: answer | ({"last": None} if "last" in answer else {}),
    "another last element": lambda answer: (
        answer | ({"last": answer["last"] | {"index": "0"}} if "last" in answer else {})
    ),
    "an element that there is not": lambda answer: (
        answer | ({"last": answer["last"] | {"index": "77"}} if "last" in answer else {})
    ),
    "numbers in another spelling": lambda answer: answer | ({"count": "01"} if "count" in answer else {}),
    "no base64": lambda answer: answer | {"trie_proof": "*"},
    "other members": lambda _: {"hello": "world"},
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_lying_server_is_never_believed(world: World, lie: Callable[[dict[str, Any]], dict[str, Any]]):
    world.served.lie = lie
    with pytest.raises(TeelogError) as caught:
        world.get()
    assert not isinstance(caught.value, NotVerified)


def test_a_server_that_answers_with_another_size_is_asked_again(world: World):
    """The index moves on between the checkpoint and the question."""
    release = allowed(world)
    old = world.log.answers["/index/checkpoint"]
    world.story.status(current(release))
    world.publish()
    fresh = world.log.answers["/index/checkpoint"]
    answers = iter([old, fresh])
    world.log.answers["/index/checkpoint"] = lambda _: next(answers)  # type: ignore[assignment,return-value]
    assert world.get().release == release


# -- refreshed ---------------------------------------------------------------------------------------------------------

DAY = 86_400
DOWN = "http://127.0.0.1:1"


def test_a_refreshed_bundle_is_the_logs_newest(world: World):
    file = world.get().file
    world.story.status(current(allowed(world)))
    world.publish(NOW + DAY)
    new = world.refresh(file, NOW + DAY + 60)
    assert new.by_witnesses is None
    assert bundles.parse(new.found.file).status.index == 4


def test_without_the_log_its_witnesses_keep_the_same_bundle_fresh_for_three_max_ages(world: World):
    file = world.get().file
    for round_ in range(1, 4):
        now = NOW + round_ * (DAY + 60)
        with pytest.raises(NotVerified, match="fresh"):
            client.check(file, world.trust(), STREAM, now)
        world.time = now - 30
        new = world.refresh(file, now, DOWN)
        assert isinstance(new.by_witnesses, UnavailableError)
        file = new.found.file
        assert fresh_until(new.found.bundle, world.trust()) == world.time + DAY
    assert bundles.parse(file).status == bundles.parse(world.get().file).status


@pytest.mark.parametrize("answer", [b"nonsense", Reply(status=404), b"log.example/tee/index/v1\n1\n"])
def test_a_log_that_answers_nonsense_keeps_no_bundle_from_its_witnesses(world: World, answer: bytes | Reply):
    file = world.get().file
    world.time = NOW + DAY
    world.log.answers["/index/checkpoint"] = answer
    new = world.refresh(file, NOW + DAY + 60)
    assert new.by_witnesses is not None
    assert fresh_until(new.found.bundle, world.trust()) == world.time + DAY


def test_a_log_that_answers_an_old_state_keeps_no_bundle_from_its_witnesses(world: World):
    """What is replayed was true once, and is stale by now."""
    file, now = world.get().file, NOW + DAY + 60
    world.time = NOW + DAY
    new = world.refresh(file, now)
    assert isinstance(new.by_witnesses, NotVerified)
    assert fresh_until(new.found.bundle, world.trust()) == world.time + DAY
    for each in world.cosigners.values():
        each.answers.clear()
    with pytest.raises(UnavailableError, match="neither the log nor enough of its witnesses"):
        world.refresh(file, now)


def test_a_log_whose_bundle_fails_by_more_than_its_age_is_believed(world: World):
    file, now = world.get().file, NOW + DAY + 60
    world.time = now
    world.story.status((), revoked=(make.status.Revoked(allowed(world), "CVE-2026-1234"),))
    world.publish(NOW)
    with pytest.raises(NotVerified):
        world.refresh(file, now)


def test_a_quorum_of_witnesses_is_enough_and_fewer_are_not(world: World):
    file, now = world.get().file, NOW + DAY + 60
    world.time = now
    names = [each.name for each in world.story.ledger.witnesses]
    world.cosigners[names[0]].answers.clear()
    assert world.refresh(file, now, DOWN).found.verdict.overall is Overall.VERIFIED_WITH_WAIVERS
    world.cosigners[names[1]].answers["/add-checkpoint"] = Reply(b"garbage")
    with pytest.raises(UnavailableError, match="neither the log nor enough of its witnesses"):
        world.refresh(file, now, DOWN)


def test_witnesses_that_have_seen_the_log_grow_sign_no_old_checkpoint_again(world: World):
    file, now = world.get().file, NOW + DAY + 60
    world.time = now
    world.story.status(())
    world.publish(now)
    with pytest.raises(UnavailableError):
        world.refresh(file, now, DOWN)


def test_a_withdrawn_release_is_not_refreshed(world: World):
    file = world.get().file
    world.story.status((), revoked=(make.status.Revoked(allowed(world), "CVE-2026-1234"),))
    world.publish(NOW + DAY)
    with pytest.raises(NotVerified, match="CVE-2026-1234"):
        world.refresh(file, NOW + DAY + 60)


def test_fresh_until_is_the_last_second_at_which_the_bundle_verifies(world: World):
    got = world.get()
    until = fresh_until(got.bundle, world.trust())
    assert until == NOW + DAY
    assert until is not None
    client.check(got.file, world.trust(), STREAM, until)
    with pytest.raises(NotVerified):
        client.check(got.file, world.trust(), STREAM, until + 1)
    assert fresh_until(got.bundle, world.trust(index=False)) == until


def test_fresh_until_heeds_the_status_grace_and_the_releases_validity():
    cases = {
        "2026-09-21T20:00:00Z": ({"next_update": "2026-09-21T20:00:00Z"}, {}),
        "2026-09-21T21:00:00Z": ({}, {"validity": make.Validity("2026-01-01T00:00:00Z", "2026-09-21T21:00:00Z")}),
        "2026-09-21T14:53:20Z": ({"max_age_s": 2_400}, {}),
    }
    for end, (of_status, of_release) in cases.items():
        story = Story()
        release = story.release("1.4.2", **of_release)
        story.status(current(release), **of_status)
        assert fresh_until(story.bundle(release), story.trust()) == make.release.time(end).timestamp()
    story = Story()
    release = story.release("1.4.2")
    story.status([grace(release, "2026-09-21T22:00:00Z")])
    assert fresh_until(story.bundle(release), story.trust()) == make.release.time("2026-09-21T22:00:00Z").timestamp()
    assert fresh_until(story.bundle(release, by=()), story.trust()) is None
