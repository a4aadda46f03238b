"""What a front may rely on (``seams.Pool``): every implementation passes these."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest

from teelog.log_server.clock import SystemClock
from teelog.log_server.create import create
from teelog.log_server.pool_socket import PoolServer, SocketPool
from teelog.log_server.seams import NAMESPACE, Admitted, Logged, Outcome, Place, Pool, Rejected
from teelog.log_server.writer import Writer
from teelog.tlog import rfc6962
from teelog.tlog.checkpoint import open_checkpoint
from teelog.tlog.policy import parse_policy
from teelog.tlog.vkey import VerifierKey
from tests.log_server.memory_pool import ORIGIN, SIGNER, MemoryPool

QUICK = """
[intervals]
batch_ms = 5
checkpoint_ms = 5
"""


@dataclass(frozen=True)
class Log:
    """A log with entry 0, and its pool as a front has it."""

    pool: Pool
    keys: Sequence[VerifierKey]

    def proven(self, outcome: Outcome | None, leaf: bytes) -> int:
        assert isinstance(outcome, Logged)
        head = open_checkpoint(outcome.note, self.keys, ORIGIN).checkpoint
        rfc6962.verify_inclusion(outcome.index, head.size, leaf, outcome.proof, head.root)
        return outcome.index


@pytest.fixture(params=["memory", "local", "socket"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    if request.param == "memory":
        memory = MemoryPool(tmp_path)
        memory.append([b"entry 0"])
        yield Log(memory, [SIGNER.verifier])
        return
    path = tmp_path / "LOG"
    keys = create(path, ORIGIN, SystemClock()).vkeys
    (path / "log.toml").write_text((path / "log.toml").read_text().replace("[intervals]", "") + QUICK)
    async with AsyncExitStack() as stack:
        writer = Writer.open(path, parse_policy(b"quorum none\n"))
        stack.push_async_callback(writer.close)
        writer.start()
        while writer.intake.refusal is not None:
            await asyncio.sleep(0.001)
        if request.param == "local":
            yield Log(writer.pool, keys)
            return
        server = PoolServer(writer.intake, path / "pool.sock")
        await server.start()
        stack.push_async_callback(server.close)
        pool = await SocketPool.connect(path / "pool.sock")
        stack.push_async_callback(pool.close)
        yield Log(pool, keys)


@pytest.fixture
def pool(log: Log) -> Pool:
    return log.pool


def statement(
    text: str, variant: str = "", namespace: str | None = None, version: int = 0, prev: Admitted | None = None
) -> Admitted:
    entry = (text + variant).encode()
    place = None if namespace is None else Place(NAMESPACE, namespace, version, prev.statement if prev else None)
    statement_id = hashlib.sha256(text.encode()).digest()
    return Admitted(entry, rfc6962.leaf_hash(entry), statement_id, place=place)


def raw(entry: bytes) -> Admitted:
    return Admitted(entry, rfc6962.leaf_hash(entry), None)


async def test_every_entry_has_its_outcome_in_order_with_a_proof(log: Log, pool: Pool) -> None:
    entries = [raw(b"%d" % number) for number in range(300)]
    outcomes = await pool.submit(entries)
    assert [log.proven(o, e.leaf) for o, e in zip(outcomes, entries, strict=True)] == list(range(1, 301))
    assert all(isinstance(o, Logged) and o.fresh for o in outcomes)
    assert await pool.submit([]) == []


async def test_the_same_bytes_have_the_old_index_and_are_not_fresh(log: Log, pool: Pool) -> None:
    one, two = statement("one"), statement("two")
    first = await pool.submit([one, two, one])
    leaves = (one.leaf, two.leaf, one.leaf)
    assert [(log.proven(o, leaf), getattr(o, "fresh", None)) for o, leaf in zip(first, leaves, strict=True)] == [
        (1, True), (2, True), (1, False),
    ]  # fmt: skip
    await pool.submit([raw(b"more")])
    (again,) = await pool.submit([two])
    assert isinstance(again, Logged)
    assert (log.proven(again, two.leaf), again.fresh) == (2, False)
    assert again.note != first[1].note  # type: ignore[union-attr]


async def test_the_same_statement_in_other_bytes_is_409_with_the_logged_leaf(log: Log, pool: Pool) -> None:
    one = statement("one")
    (logged, other) = await pool.submit([one, statement("one", " ")])
    assert isinstance(other, Rejected)
    assert (other.status, other.leaf) == (409, one.leaf)
    (later,) = await pool.submit([statement("one", "  ")])
    assert isinstance(later, Rejected)
    assert later.leaf == one.leaf
    assert log.proven(logged, one.leaf) == 1


async def test_raw_entries_have_no_statement_to_collide_with(log: Log, pool: Pool) -> None:
    outcomes = await pool.submit([raw(b"a"), raw(b"b"), raw(b"a")])
    assert [getattr(outcome, "index", None) for outcome in outcomes] == [1, 2, 1]


async def test_a_known_leaf_is_found_in_the_newest_checkpoint(log: Log, pool: Pool) -> None:
    one = statement("one")
    assert await pool.find(one.leaf) is None
    await pool.submit([one])
    (newest,) = await pool.submit([raw(b"more")])
    found = await pool.find(one.leaf)
    assert log.proven(found, one.leaf) == 1
    assert isinstance(found, Logged)
    assert isinstance(newest, Logged)
    assert found.note == newest.note
    assert await pool.find(bytes(32)) is None


async def test_a_namespace_begins_once_and_is_told(log: Log, pool: Pool) -> None:
    acme, more = (statement(name, namespace=name) for name in ("acme.example", "more.example"))
    assert await pool.namespaces() == []
    first, _, second = await pool.submit([acme, raw(b"x"), more])
    assert [getattr(o, "index", None) for o in (first, second)] == [1, 3]
    again = statement("another beginning", namespace="acme.example")
    (refused,) = await pool.submit([again])
    assert isinstance(refused, Rejected)
    assert refused.status == 409
    assert await pool.namespaces() == [(1, acme.entry), (3, more.entry)]
    assert await pool.namespaces(2) == [(3, more.entry)]
    assert await pool.namespaces(4) == []


async def test_submissions_at_once_have_distinct_indices(log: Log, pool: Pool) -> None:
    entries = [[raw(b"%d.%d" % (task, number)) for number in range(5)] for task in range(20)]
    outcomes = await asyncio.gather(*map(pool.submit, entries))
    pairs = zip(chain(*outcomes), chain(*entries), strict=True)
    indices = [log.proven(outcome, entry.leaf) for outcome, entry in pairs]
    assert sorted(indices) == list(range(1, 101))


async def test_AP_03_a_caller_that_leaves_changes_nothing(log: Log, pool: Pool) -> None:
    one = statement("one")
    leaving = asyncio.create_task(pool.submit([one]))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    (outcome,) = await pool.submit([one])
    assert log.proven(outcome, one.leaf) == 1
    assert (await pool.submit([raw(b"next")]))[0].index == 2  # type: ignore[union-attr]
