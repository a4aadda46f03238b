"""`teelog log freeze`: the last policy of a log, beside a running server and without one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from teelog.log_server.clock import SystemClock
from teelog.log_server.directory import LogDirectory
from teelog.statement import admit, log_policy
from teelog.statement.log_policy import Frozen
from teelog.tlog import rfc6962
from teelog.tlog.proof import parse_proof
from tests.commands import Ran, teelog, teelog_process
from tests.log_server.rig import ManualClock, Rig, _entries, check
from tests.log_server.test_serve import Log, allow, index_of, log, post, running
from tests.log_server.test_submit import release_file
from tests.statement import make
from tests.statement.replay import Replay

__all__ = ["log"]  # a fixture
SUCCESSOR = "log2.example/tee"


def freeze(log: Log, *more: str) -> Ran:
    return teelog("log", "freeze", log.path, "--yes", *more)


def opened(log: Log) -> Rig:
    """The log's writer, in this process."""
    return Rig(log.path, ManualClock(SystemClock().now_ms()), create=False).open()


def last_of(log: Log) -> tuple[int, Replay]:
    """Everything that is published, mapped."""
    size = check(LogDirectory(log.path)).size
    return size, Replay(_entries(LogDirectory(log.path), size))


@pytest.mark.parametrize("workers", [0, 2])
async def test_R_37_a_frozen_log_takes_nothing_and_goes_on_to_answer_for_what_it_has(log: Log, workers: int) -> None:
    """Through real processes: the server, and the command beside it."""
    entry = release_file()
    async with running(log, workers) as server, aiohttp.ClientSession() as session:
        assert await allow(log, make.namespace_file()) == 201
        _, proof = await post(session, server.url, entry)
        command = ("log", "freeze", log.path, "--successor", SUCCESSOR, "--yes", "--json")
        ran = await asyncio.to_thread(teelog_process, *command)
        assert ran.code == 0, ran.stderr
        assert (ran.json["index"], ran.json["fresh"], ran.json["published"]) == (3, True, True)
        status, body = await post(session, server.url, release_file("2"))
        assert status == 410
        assert SUCCESSOR in body.decode()
        assert await allow(log, make.namespace_file(namespace="late.example")) == 410
        # What is logged keeps its place, and whoever lost the answer gets it again.
        status, again = await post(session, server.url, entry)
        assert (status, index_of(log, entry, again)) == (200, index_of(log, entry, proof)) == (200, 2)
        async with session.get(f"{server.url}/entries/{rfc6962.leaf_hash(entry).hex()}") as response:
            assert response.status == 200
            assert parse_proof(await response.read()).index == 2
        repeated = await asyncio.to_thread(teelog_process, *command)
        assert (repeated.code, repeated.json["index"], repeated.json["fresh"]) == (0, 3, False)
        assert await server.stop() == 0
    # A restart changes nothing: what is durable says that the log has ended.
    async with running(log, workers) as server, aiohttp.ClientSession() as session:
        assert (await post(session, server.url, release_file("2")))[0] == 410
        assert (await post(session, server.url, entry))[0] == 200
        async with session.get(f"{server.url}/log.json") as response:
            frozen = (await response.json())["frozen"]
        assert frozen["successor"] == SUCCESSOR
        assert frozen["checkpoint"].startswith("log.example/tee\n4\n")
        async with session.get(f"{server.url}/") as response:
            assert f"It goes on at <code>{SUCCESSOR}</code>" in await response.text()
        assert await server.stop() == 0
    size, replay = last_of(log)
    assert size == 4
    policy = replay.state.log_policy()
    assert policy is not None
    assert policy.predicate.frozen == Frozen(SUCCESSOR)
    shown = teelog("log", "status", log.path, "--json").json
    assert (shown["frozen"], shown["successor"]) == (True, SUCCESSOR)


def test_without_a_server_it_is_committed_and_the_next_start_publishes_it(log: Log) -> None:
    ran = freeze(log, "--json")
    assert (ran.code, ran.json["index"], ran.json["published"]) == (0, 1, False)
    file = log.path.parent / "ns.json"
    file.write_bytes(make.namespace_file())
    late = teelog("log", "allow", log.path, file)
    assert late.code == 1
    assert "the log has ended" in late.stderr
    made = opened(log)
    made.drop()
    size, replay = last_of(log)
    assert size == 2
    assert [mapped.effect is not None for mapped in replay.mapped] == [True, True]
    again = freeze(log, "--json")
    assert (again.code, again.json["fresh"], again.json["published"]) == (0, False, True)


def test_the_log_ends_once(log: Log) -> None:
    assert freeze(log, "--successor", SUCCESSOR).code == 0
    other = freeze(log, "--successor", "log3.example/tee")
    assert other.code == 6
    assert "has ended already" in other.stderr
    assert freeze(log).code == 6


def test_nobody_ends_a_log_by_accident(log: Log) -> None:
    ran = teelog("log", "freeze", log.path)
    assert ran.code == 2
    assert "--yes" in ran.stderr
    assert freeze(log, "--successor", "not an origin").code == 2
    assert teelog("log", "status", log.path, "--json").json["frozen"] is False


def test_a_key_that_is_no_operators_ends_nothing(log: Log, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.key"
    stranger.write_bytes(make.STRANGER.to_pem())
    stranger.chmod(0o600)
    ran = freeze(log, "--key", str(stranger))
    assert ran.code == 1, ran.stderr
    kept = log.path / "operator.key"
    away = tmp_path / "away.key"
    kept.rename(away)  # where it is best kept
    assert freeze(log).code == 6
    assert teelog("log", "status", log.path, "--json").json["frozen"] is False
    assert freeze(log, "--key", str(away)).code == 0


def test_a_log_from_before_tips_were_kept_is_frozen_by_its_entry_0(log: Log) -> None:
    made = opened(log)
    made.drop()
    _forget_tips(log)
    assert freeze(log).code == 0
    assert teelog("log", "status", log.path, "--json").json["frozen"] is True


def _forget_tips(log: Log) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(log.path / "state.db")) as db:
        db.execute("DROP TABLE tip")
        db.execute("DELETE FROM _sqlite_migrations WHERE name = 'm002_tips'")
        db.execute("PRAGMA user_version = 1")
        db.commit()


async def test_the_socket_takes_a_policy_that_follows_and_no_other(log: Log) -> None:
    from teelog.log_server.freeze import newest_policy, operator

    last, _ = newest_policy(log.path)

    def file(*signers: Any, **changes: Any) -> bytes:
        members: dict[str, Any] = {
            "version": 1,
            "prev": last.statement_id,
            "operators": last.predicate.operators,
            "frozen": Frozen(None),
        }
        return make.log_policy_file(*signers, **members | changes)

    async with running(log) as server:
        assert await allow(log, file(make.STRANGER)) == 403
        assert await allow(log, file(operator(log.path), version=2)) == 409
        assert await allow(log, file(operator(log.path), prev="ab" * 32)) == 409
        assert await allow(log, file(operator(log.path), log="log2.example/tee")) == 403
        unfrozen = file(operator(log.path), frozen=None, threshold=1)
        assert await allow(log, unfrozen) == 201  # a later policy that ends nothing
        assert await allow(log, unfrozen) == 200
        following = file(operator(log.path), version=2, prev=admit.classify(unfrozen).statement_id)
        assert await allow(log, following) == 201
        assert await allow(log, make.namespace_file()) == 410
        assert await server.stop() == 0
    _, replay = last_of(log)
    assert all(mapped.effect is not None for mapped in replay.mapped)
    assert log_policy.PREDICATE_TYPE in str(replay.state.rows)


def test_a_log_is_not_its_own_successor(log: Log) -> None:
    ran = freeze(log, "--successor", "log.example/tee")
    assert ran.code == 6
    assert "its own successor" in ran.stderr
    assert freeze(log, "--successor", SUCCESSOR).code == 0  # it had not ended
