"""A log's index over HTTP: what it holds, what it does not hold, and nothing that is not proven."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from teelog.client.http import HttpClient, Refusal
from teelog.client.index import NothingIndexed, RemoteIndex, open_index
from teelog.errors import MisbehaviourError, NotWitnessed, ProofError, TeelogError, UnavailableError
from teelog.index import keys
from teelog.index.keys import Kind
from teelog.index.lists import Value, list_leaf
from teelog.index.trie import Trie
from teelog.testing import ledger
from teelog.testing.ledger import Ledger
from teelog.tlog import fork, rfc6962
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.policy import parse_policy
from tests.appraisal.story import NOW, STREAM, Story, current
from tests.client.peers import Peer, Reply, peer
from tests.client.served import Served

T = TypeVar("T")


@pytest.fixture
def served() -> Iterator[Served]:
    story = Story()
    releases = [story.release(f"1.{number}") for number in range(600)]
    story.status(current(releases[0]))
    with peer() as log:
        made = Served(log, story.ledger)
        made.publish(NOW)
        yield made


def ask(log: Peer, led: Ledger, work: Callable[[RemoteIndex], Awaitable[T]]) -> T:
    policies = {name: parse_policy(text) for name, text in led.policies().items()}

    async def main() -> T:
        async with HttpClient(timeout=120) as http:
            main, index = policies[ledger.MAIN_POLICY], policies[ledger.INDEX_POLICY]
            return await work(await open_index(http, log.url, main, index))

    return asyncio.run(main())


async def whole_list(index: RemoteIndex) -> tuple[list[int], list[int]]:
    found = await index.lookup(keys.release_key(STREAM))
    assert found is not None
    return await index.elements(found), [each async for each in index.newest_first(found)]


def test_a_list_of_several_pages_is_read_whole_both_ways(served: Served):
    listed, backwards = ask(served.peer, served.ledger, whole_list)
    assert listed == list(range(2, 602))
    assert backwards == listed[::-1]


def test_absence_is_proven(served: Served):
    absent = keys.status_key("acme.example/inference/beta")
    assert ask(served.peer, served.ledger, lambda index: index.lookup(absent)) is None


def test_a_prefix_gives_all_keys_and_none_where_there_are_none(served: Served):
    pairs = ask(served.peer, served.ledger, lambda index: index.prefix(keys.prefix(Kind.RELEASE, "acme.example")))
    assert [(key, value.count) for key, value in pairs] == [(keys.release_key(STREAM), 600)]
    assert ask(served.peer, served.ledger, lambda index: index.prefix(keys.prefix(Kind.STATUS, "b.example"))) == []


def releases(index: RemoteIndex) -> Awaitable[list[tuple[bytes, Any]]]:
    return index.prefix(keys.prefix(Kind.RELEASE, "acme.example"))


LIES: dict[str, tuple[str, Any, Callable[[RemoteIndex], Awaitable[Any]]]] = {
    "a page that lacks one": ("indices", lambda listed: listed[:-1], whole_list),
    "a page with another": ("indices", lambda listed: ["1", *listed[1:]], whole_list),
    "a number that is no string": ("indices", lambda listed: [int(each) for each in listed], whole_list),
    "a number in another spelling": ("indices", lambda listed: ["0" + each for each in listed], whole_list),
    "no pair": ("pairs", lambda _: [], releases),
    "a pair twice": ("pairs", lambda pairs: pairs * 2, releases),
    "another key": ("pairs", lambda pairs: [pairs[0] | {"key": "00"}], releases),
    "upper case": ("pairs", lambda pairs: [pairs[0] | {"key": pairs[0]["key"].upper()}], releases),
}


@pytest.mark.parametrize(("member", "spoil", "work"), LIES.values(), ids=LIES.keys())
def test_lists_and_prefixes_of_a_lying_server_are_refused(served: Served, member: str, spoil: Any, work: Any):
    served.lie = lambda answer: answer | {member: spoil(answer[member])} if member in answer else answer
    with pytest.raises(TeelogError):
        ask(served.peer, served.ledger, work)


def test_a_list_longer_than_its_last_entry_allows_is_no_list(served: Served):
    """Equal pages are hashed as fast as one of them: else an index that lies could be read from for ever."""
    key, leaves = keys.release_key(STREAM), [list_leaf(5)] * 8

    def read(nodes: Sequence[tuple[int, int]]) -> list[bytes]:
        return [rfc6962.root_of_leaves(leaves[i << level : (i + 1) << level]) for level, i in nodes]

    value, trie = Value(8, rfc6962.root_of_leaves(leaves)), Trie()
    trie.set(key, value.encode())
    path = [base64.b64encode(each).decode() for each in rfc6962.prove_inclusion(7, 8, read)]
    root = base64.b64encode(value.root).decode()
    answer = {"count": "8", "list_root": root, "trie_proof": "", "last": {"index": "5", "path": path}}
    served.lie = lambda _: answer
    with pytest.raises(ProofError, match="cannot end here"):
        ask(served.peer, served.ledger, lambda index: replace(index, map_root=trie.root()).lookup(key))


def test_an_index_without_its_semantic_quorum_answers_nothing(served: Served):
    served.publish(NOW, index_by=served.ledger.witnesses)
    with pytest.raises(NotWitnessed):
        ask(served.peer, served.ledger, whole_list)


def test_a_leaf_over_another_tree_of_the_same_size_is_a_fork_of_the_log(served: Served):
    led = served.ledger
    led.add_leaf(led.shown.root(), Checkpoint(led.origin, len(led.entries), bytes(32)))
    served.publish(NOW)
    with pytest.raises(MisbehaviourError) as caught:
        ask(served.peer, led, whole_list)
    assert caught.value.evidence is not None
    fork.verify_fork(fork.parse_fork(caught.value.evidence), [led.log[0].verifier])


def test_a_leaf_that_is_not_in_the_tree_is_refused(served: Served):
    path = next(path for path in served.peer.answers if path.startswith("/index/tile/entries/"))
    data = served.peer.answers[path]
    assert isinstance(data, bytes)
    served.peer.answers[path] = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(ProofError):
        ask(served.peer, served.ledger, whole_list)


def test_a_log_without_an_index_says_so():
    led = Ledger()
    with peer() as log, pytest.raises(Refusal) as caught:
        ask(log, led, whole_list)
    assert caught.value.status == 404


BEGUN = Reply(b"", 503, {"Retry-After": "5"})  # as a log server answers before its index log has a checkpoint


@pytest.mark.parametrize("shown", ["an empty tree", "nothing yet"])
def test_an_index_log_that_holds_nothing_yet_is_worth_waiting_for(shown: str):
    led = Ledger()
    with peer() as log:
        Served(log, led)
        empty = ledger.cosigned(led.index_checkpoint(), led.index_log, led.semantic, NOW)
        log.answers["/index/checkpoint"] = empty if shown == "an empty tree" else BEGUN
        with pytest.raises(NothingIndexed):
            ask(log, led, whole_list)


def test_a_server_that_is_gone_is_not_worth_waiting_for():
    led = Ledger()
    with peer() as log:
        log.answers["/index/checkpoint"] = Reply(raw=b"")
        with pytest.raises(UnavailableError) as caught:
            ask(log, led, whole_list)
    assert not isinstance(caught.value, NothingIndexed)
