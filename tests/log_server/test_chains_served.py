"""Chains through a served log's processes: two fronts, one sequencer, their socket."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

import aiohttp
import pytest

from tests.log_server.test_chains import id_of, rotated
from tests.log_server.test_freeze import last_of
from tests.log_server.test_serve import Log, Running, allow, log, post, running
from tests.log_server.test_submit import frame, release_file
from tests.statement import make

__all__ = ["log"]  # a fixture
NEW = make.key("new")


async def post_batch(session: aiohttp.ClientSession, server: Running, *entries: bytes) -> list[Any]:
    headers = {"Content-Type": "application/octet-stream"}
    async with session.post(f"{server.url}/entries/batch", data=frame(*entries), headers=headers) as response:
        assert response.status == 200
        return list(json.loads(await response.read())["results"])


@pytest.mark.parametrize("workers", [0, 2])
async def test_rivals_rotations_and_a_kill_leave_one_chain_that_every_reader_follows(log: Log, workers: int) -> None:
    release = release_file()
    winner = b""
    async with running(log, workers) as server:
        assert await allow(log, make.namespace_file()) == 201
        # A connection each: the kernel spreads them over the fronts.
        sessions = [aiohttp.ClientSession() for _ in range(6)]
        assert (await post(sessions[0], server.url, release))[0] == 201
        for seq in range(3):
            prev = None if seq == 0 else id_of(winner)
            allowed = make.allowed(id_of(release))
            rivals = [
                make.status_file(seq=seq, prev=prev, allowed=allowed, reason=f"rival {number}") for number in range(6)
            ]
            answers = await asyncio.gather(
                *(post(each, server.url, entry) for each, entry in zip(sessions, rivals, strict=True))
            )
            assert sorted(status for status, _ in answers) == [201, 409, 409, 409, 409, 409]
            winner = rivals[[status for status, _ in answers].index(201)]
            heads = {json.loads(body)["expected"] for status, body in answers if status == 409}
            assert heads == {f"seq {seq + 1}, prev {id_of(winner)}"}
        following = make.status_file(
            NEW, seq=3, prev=id_of(winner), allowed=make.allowed(id_of(release)), reason="the key changed"
        )
        results = await post_batch(sessions[0], server, rotated(make.ACME), following)
        assert [item["status"] for item in results] == [201, 201]
        # Whichever front is asked, the key that is gone signs nothing any more.
        late = [release_file(f"2.{number}", make.ACME) for number in range(6)]
        answers = await asyncio.gather(*(post(each, server.url, e) for each, e in zip(sessions, late, strict=True)))
        assert [status for status, _ in answers] == [403] * 6
        for each in sessions:
            await each.close()
        server.process.send_signal(signal.SIGKILL)
        await server.process.wait()
    async with running(log, workers) as server, aiohttp.ClientSession() as session:
        status, body = await post(session, server.url, make.status_file(NEW, reason="another beginning"))
        assert (status, json.loads(body)["expected"]) == (409, f"seq 4, prev {id_of(following)}")
        assert (await post(session, server.url, following))[0] == 200
        assert await server.stop() == 0
    size, replay = last_of(log)
    assert size == 8
    assert all(mapped.effect is not None for mapped in replay.mapped), [m.why_inert for m in replay.mapped]
    head = replay.state.status("acme.example/inference/stable")
    assert head is not None
    assert (head.seq, head.statement_id) == (3, id_of(following))
