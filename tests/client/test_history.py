"""A log read through, and its index asked: the same answers, at every size; and lies of the index are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from teelog.client.history import History, replay
from teelog.client.http import HttpClient
from teelog.client.index import open_index
from teelog.client.indexed import Indexed
from teelog.client.log import LogReader
from teelog.client.source import HttpSource
from teelog.errors import MalformedError, ProofError, TeelogError, VerificationError
from teelog.index import keys
from teelog.statement import dsse, names
from teelog.statement.namespace import Role
from teelog.testing.ledger import INDEX_POLICY, MAIN_POLICY, Ledger, hiding
from teelog.tlog.policy import parse_policy, verify_checkpoint
from tests.client.peers import Peer, peer
from tests.client.served import Served
from tests.statement import make

STREAM = names.stream("acme.example/inference/stable")
OTHER = names.stream("acme.example/inference/beta")
NOW = 1_790_000_000
NEW = make.key("new")


def told(ledger: Ledger) -> None:
    """Releases, statuses, a rotation, and junk among them."""
    first = make.namespace_file()
    second = make.namespace_file(
        version=1,
        prev=dsse.parse(first).statement_id,
        keys=(make.held(make.ACME, Role.OWNER), make.held(NEW, Role.RELEASE, Role.STATUS)),
    )
    one, two = make.release_file(version="1"), make.release_file(version="2")
    beta = make.release_file(version="1", stream=str(OTHER))
    allow_one = make.status_file(allowed=make.allowed(dsse.parse(one).statement_id))
    prev = dsse.parse(allow_one).statement_id
    three = make.release_file(NEW, version="3")
    ids = [dsse.parse(each).statement_id for each in (two, three)]
    allow_two = make.status_file(NEW, seq=1, prev=prev, allowed=make.allowed(*ids))
    junk = [make.release_file(make.STRANGER, version="9"), make.status_file(seq=5, prev="ab" * 32), b"no statement"]
    for entry in (make.log_policy_file(), first, one, beta, *junk, two, allow_one, second, one, three, allow_two):
        ledger.append(entry)


@pytest.fixture
def log() -> Iterator[Peer]:
    with peer() as found:
        yield found


def ask(log: Peer, question: Callable[[History], Awaitable[Any]], *, index: bool, ledger: Ledger) -> Any:
    policies = {name: parse_policy(data) for name, data in ledger.policies().items()}

    async def work() -> Any:
        async with HttpClient() as http:
            if index:
                found = await open_index(http, log.url, policies[MAIN_POLICY], policies[INDEX_POLICY])
                return await question(Indexed(found))
            source = HttpSource(http, log.url)
            head = verify_checkpoint(await source.checkpoint(), policies[MAIN_POLICY]).checkpoint
            read = LogReader(source, head.size, head.root)
            return await question(await replay(read, head.origin, "acme.example", lambda count: None))

    return asyncio.run(work())


async def everything(history: History) -> list[Any]:
    found: list[Any] = [history.origin, history.size]
    found.append([(each.index, each.namespace.statement_id) for each in await history.versions("acme.example")])
    found.append(list(await history.versions("globex.example")))
    found.append(list(await history.streams("acme.example")))
    for size in (None, *range(history.size + 1)):
        for stream in (STREAM, OTHER):
            status = await history.status(stream, size)
            found.append(None if status is None else (status.index, status.statement_id, status.signers))
            found.append([(each.index, each.statement_id) async for each in history.releases(stream, size)])
    return found


def test_the_index_and_the_whole_log_say_the_same(log: Peer):
    ledger = Ledger()
    told(ledger)
    Served(log, ledger).publish(NOW)
    by_index = ask(log, everything, index=True, ledger=ledger)
    assert by_index == ask(log, everything, index=False, ledger=ledger)
    assert [index for index, _ in by_index[2]] == [1, 9]
    assert by_index[4] == [STREAM]
    assert by_index[5][0] == 12
    assert [index for index, _ in by_index[6]] == [11, 7, 2]


def test_a_log_without_a_namespace_has_nothing(log: Peer):
    ledger = Ledger()
    ledger.append(make.log_policy_file())
    Served(log, ledger).publish(NOW)
    found = ask(log, everything, index=True, ledger=ledger)
    assert found == ask(log, everything, index=False, ledger=ledger)
    assert found[2:6] == [[], [], [], None]


def lie(member: str, value: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda answer: {**answer, member: value} if member in answer else answer


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("count", "1"),
        ("count", "0"),
        ("last", {"index": "8", "path": []}),
        ("list_root", "A" * 43 + "="),
        ("indices", ["8"]),
        ("indices", ["12", "8"]),
        ("trie_proof", ""),
        ("count", "01"),
        ("last", {"index": "99", "path": []}),
    ],
)
def test_an_index_that_lies_is_refused(log: Peer, member: str, value: Any):
    ledger = Ledger()
    told(ledger)
    served = Served(log, ledger)
    served.publish(NOW)
    served.lie = lie(member, value)
    with pytest.raises(TeelogError) as caught:
        ask(log, lambda history: history.status(STREAM), index=True, ledger=ledger)
    assert caught.value.exit_code == 1


def test_streams_that_are_left_out_are_refused(log: Peer):
    ledger = Ledger()
    told(ledger)
    served = Served(log, ledger)
    served.publish(NOW)
    served.lie = lie("pairs", [])
    with pytest.raises((ProofError, MalformedError)):
        ask(log, lambda history: history.streams("acme.example"), index=True, ledger=ledger)


def test_an_index_that_hides_an_entry_has_no_quorum(log: Peer):
    ledger = Ledger(rewrite=hiding(12))
    told(ledger)
    Served(log, ledger).publish(NOW)
    with pytest.raises(VerificationError, match="quorum"):
        ask(log, lambda history: history.status(STREAM), index=True, ledger=ledger)


def test_an_entry_that_colluding_witnesses_list_is_still_judged_by_its_own_chain(log: Peer):
    """Status 5 of a stream with one status: in the list, and not what its place says."""
    ledger = Ledger(rewrite=lambda _, index, mapped: mapped)
    told(ledger)
    served = Served(log, ledger)
    stream = make.status_file(NEW, seq=7, prev="ab" * 32)
    index = ledger.append(stream)
    ledger.shown.lists[keys.status_key(str(STREAM))].append(index)
    ledger.shown._changed.add(keys.status_key(str(STREAM)))
    served.publish(NOW, collude=True)
    with pytest.raises(VerificationError, match="does not belong there"):
        ask(log, lambda history: history.status(STREAM), index=True, ledger=ledger)
