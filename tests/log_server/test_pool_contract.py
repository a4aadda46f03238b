"""What a front may rely on (``seams.Pool``): every implementation passes these."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from teelog.log_server.seams import Admitted, Logged, Outcome, Pool, Rejected
from teelog.tlog import rfc6962
from teelog.tlog.checkpoint import open_checkpoint
from tests.log_server.memory_pool import ORIGIN, SIGNER, MemoryPool


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return MemoryPool(tmp_path)


def statement(text: str, variant: str = "", namespace: str | None = None, version: int = 0) -> Admitted:
    entry = (text + variant).encode()
    return Admitted(entry, rfc6962.leaf_hash(entry), hashlib.sha256(text.encode()).digest(), namespace, version)


def raw(entry: bytes) -> Admitted:
    return Admitted(entry, rfc6962.leaf_hash(entry), None)


def proven(outcome: Outcome | None, leaf: bytes) -> int:
    assert isinstance(outcome, Logged)
    head = open_checkpoint(outcome.note, [SIGNER.verifier], ORIGIN).checkpoint
    rfc6962.verify_inclusion(outcome.index, head.size, leaf, outcome.proof, head.root)
    return outcome.index


async def test_every_entry_has_its_outcome_in_order_with_a_proof(pool: Pool) -> None:
    entries = [raw(b"%d" % number) for number in range(300)]
    outcomes = await pool.submit(entries)
    assert [proven(o, e.leaf) for o, e in zip(outcomes, entries, strict=True)] == list(range(300))
    assert all(isinstance(o, Logged) and o.fresh for o in outcomes)
    assert await pool.submit([]) == []


async def test_the_same_bytes_have_the_old_index_and_are_not_fresh(pool: Pool) -> None:
    one, two = statement("one"), statement("two")
    first = await pool.submit([one, two, one])
    assert [(proven(o, one.leaf if n != 1 else two.leaf), getattr(o, "fresh", None)) for n, o in enumerate(first)] == [
        (0, True), (1, True), (0, False),
    ]  # fmt: skip
    await pool.submit([raw(b"more")])
    (again,) = await pool.submit([two])
    assert isinstance(again, Logged)
    assert (proven(again, two.leaf), again.fresh) == (1, False)
    assert again.note != first[1].note  # type: ignore[union-attr]


async def test_the_same_statement_in_other_bytes_is_409_with_the_logged_leaf(pool: Pool) -> None:
    one = statement("one")
    (logged, other) = await pool.submit([one, statement("one", " ")])
    assert isinstance(other, Rejected)
    assert (other.status, other.leaf) == (409, one.leaf)
    (later,) = await pool.submit([statement("one", "  ")])
    assert isinstance(later, Rejected)
    assert later.leaf == one.leaf
    assert proven(logged, one.leaf) == 0


async def test_raw_entries_have_no_statement_to_collide_with(pool: Pool) -> None:
    outcomes = await pool.submit([raw(b"a"), raw(b"b"), raw(b"a")])
    assert [getattr(outcome, "index", None) for outcome in outcomes] == [0, 1, 0]


async def test_a_known_leaf_is_found_in_the_newest_checkpoint(pool: Pool) -> None:
    one = statement("one")
    assert await pool.find(one.leaf) is None
    await pool.submit([one])
    (newest,) = await pool.submit([raw(b"more")])
    found = await pool.find(one.leaf)
    assert proven(found, one.leaf) == 0
    assert isinstance(found, Logged)
    assert isinstance(newest, Logged)
    assert found.note == newest.note
    assert await pool.find(bytes(32)) is None


async def test_a_namespace_begins_once_and_is_told(pool: Pool) -> None:
    acme, more = (statement(name, namespace=name) for name in ("acme.example", "more.example"))
    assert await pool.namespaces() == []
    first, _, second = await pool.submit([acme, raw(b"x"), more])
    assert [getattr(o, "index", None) for o in (first, second)] == [0, 2]
    again = statement("another beginning", namespace="acme.example")
    (refused,) = await pool.submit([again])
    assert isinstance(refused, Rejected)
    assert refused.status == 409
    assert await pool.namespaces() == [(0, acme.entry), (2, more.entry)]
    assert await pool.namespaces(1) == [(2, more.entry)]
    assert await pool.namespaces(3) == []


async def test_submissions_at_once_have_distinct_indices(pool: Pool) -> None:
    entries = [[raw(b"%d.%d" % (task, number)) for number in range(5)] for task in range(20)]
    outcomes = await asyncio.gather(*map(pool.submit, entries))
    indices = [proven(o, e.leaf) for os, es in zip(outcomes, entries, strict=True) for o, e in zip(os, es, strict=True)]
    assert sorted(indices) == list(range(100))


async def test_AP_03_a_caller_that_leaves_changes_nothing(pool: Pool) -> None:
    one = statement("one")
    leaving = asyncio.create_task(pool.submit([one]))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    (outcome,) = await pool.submit([one])
    assert proven(outcome, one.leaf) == 0
    assert (await pool.submit([raw(b"next")]))[0].index == 1  # type: ignore[union-attr]
