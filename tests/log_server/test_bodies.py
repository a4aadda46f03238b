"""What bodies may cost while they arrive and until they are answered (A-02, A-03)."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from teelog.errors import ConfigError
from teelog.log_server.limits import Limits
from teelog.serving import PIPELINED_BYTES
from tests.log_server.serving import Server, serving
from tests.log_server.test_http import POST, is_problem, status
from tests.log_server.test_submit import release_file
from tests.statement import make

BATCH = b"POST /entries/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
SMALL = Limits(batch_bytes=100_000, bodies_bytes=400_000)

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def upload(server: Server, head: bytes, sent: int) -> Client:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head + b"\r\n" + bytes(sent))
    return reader, writer


async def until_held(server: Server, count: int) -> None:
    async with asyncio.timeout(120):
        while server.front.submissions.bodies.held != count:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("framing", [b"Content-Length: 100000\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_A_02_A_03_slow_uploads_are_bounded_in_sum_and_leave_room_for_entries(
    tmp_path: Path, framing: bytes
) -> None:
    async with serving(tmp_path / "p", limits=SMALL) as server:
        await server.front.submissions.allow(make.namespace_file())
        bodies = server.front.submissions.bodies
        clients = []
        for _ in range(40):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            data = bytes(90_000)
            writer.write(BATCH + framing + b"\r\n" + (b"%x\r\n" % 90_001 if b"chunked" in framing else b"") + data)
            clients.append((reader, writer))
        answers = [asyncio.create_task(reader.read()) for reader, _ in clients]
        async with asyncio.timeout(120):
            while sum(task.done() for task in answers) < 37:
                await asyncio.sleep(0.001)
        refused = [task.result() for task in answers if task.done()]
        for raw in refused:
            is_problem(raw, 503)
            assert b"urn:teelog:problem:busy" in raw
            assert b"\r\nRetry-After: 2\r\n" in raw
        # Three quarters, which hold three of them; the one that was too much has given back what it had.
        await until_held(server, 270_000)
        assert bodies.peak <= 300_000
        assert (await server.post("/entries", release_file())).status == 201
        for _, writer in clients:
            writer.close()
        await until_held(server, 0)
        await asyncio.gather(*answers, return_exceptions=True)


async def test_A_03_a_declared_length_holds_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path / "p", limits=SMALL) as server:
        await server.front.submissions.allow(make.namespace_file())
        clients = [await upload(server, BATCH + b"Content-Length: 100000\r\n", 1) for _ in range(40)]
        await until_held(server, 40)
        entry = release_file()
        batch = await server.post("/entries/batch", len(entry).to_bytes(2, "big") + entry, "application/octet-stream")
        assert batch.json["results"][0]["status"] == 201
        for _, writer in clients:
            writer.close()
        await until_held(server, 0)


async def test_A_03_a_body_counts_until_its_answer_and_no_longer(tmp_path: Path) -> None:
    async with serving(tmp_path / "p", limits=SMALL) as server:
        await server.front.submissions.allow(make.namespace_file())
        server.pool.gate.clear()
        entry = release_file()
        waiting = asyncio.create_task(server.post("/entries", entry))
        while server.pool.submitted < 2:
            await asyncio.sleep(0)
        assert server.front.submissions.bodies.held == len(entry)
        server.pool.gate.set()
        assert (await waiting).status == 201
        assert server.front.submissions.bodies.held == 0
        for body in (b"", b"no entry", b"{}"):
            assert (await server.post("/entries", body)).status == 422
            assert server.front.submissions.bodies.held == 0


async def test_A_03_bodies_sent_ahead_are_bounded(server: Server) -> None:
    server.pool.gate.clear()
    entry = release_file()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    post = POST + b"Content-Length: %d\r\n\r\n"
    writer.write(post % len(entry) + entry)
    while server.pool.submitted < 2:
        await asyncio.sleep(0)
    ahead = post % 30_000 + bytes(30_000)
    writer.write(ahead * (PIPELINED_BYTES // 30_000))
    await writer.drain()
    assert server.guard.connections_open == 1
    try:
        writer.write(ahead * 4)
        assert await asyncio.wait_for(reader.read(), 120) == b""
    except ConnectionError:
        pass
    finally:
        writer.close()
    server.pool.gate.set()
    assert (await server.post("/entries", entry)).status == 200  # AP-03: its client has left, its fate is the same


def test_a_bound_that_no_batch_fits_into_is_refused() -> None:
    with pytest.raises(ConfigError, match="no room for one batch"):
        Limits(batch_bytes=400_000, bodies_bytes=400_000)


async def test_A_18_a_client_that_leaves_amid_a_body_leaves_no_record(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "teelog.log_server"):
        for sent in (0, 1, 50_000):
            _, writer = await upload(server, POST + b"Content-Length: 60000\r\n", sent)
            await until_held(server, sent)
            writer.transport.abort()
            await until_held(server, 0)
            while server.guard.connections_open:
                await asyncio.sleep(0.001)
    assert [record.getMessage() for record in caplog.records] == []
    assert status(await server.raw(POST + b"Connection: close\r\nContent-Length: 1\r\n\r\n1")) == 422
