"""The server under hostile clients: slow, many, and speaking something else than HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from teelog.serving import READ_AHEAD, Bounds, Connection, GuardedServer, Handler

BOUNDS: dict[str, Any] = {
    "header_seconds": 30.0,
    "idle_seconds": 30.0,
    "write_seconds": 30.0,
    "linger_seconds": 0.1,
    "connections": 100,
    "per_address": 100,
}
GET = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
CLOSE = b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


@dataclass
class Serving:
    server: GuardedServer
    port: int
    failures: list[BaseException | None] = field(default_factory=list)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def raw(self, data: bytes) -> bytes:
        """Bytes up; what comes until the server closes."""
        reader, writer = await self.open()
        writer.write(data)
        try:
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


async def ok(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(body=b"%d" % len(await request.content.read()))


@contextlib.asynccontextmanager
async def serving(handler: Handler = ok, **bounds: Any) -> AsyncIterator[Serving]:
    failures: list[BaseException | None] = []
    server = GuardedServer(
        handler,
        Bounds(**BOUNDS | bounds),
        counted=lambda address: address,
        refusal=lambda status: web.Response(status=status, body=b"fixed\n"),
        failed=failures.append,
    )
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield Serving(server, runner.addresses[0][1], failures)
    finally:
        await runner.cleanup()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """A header that never ends, a byte at a time, until the server has enough; what it said."""
    ended = asyncio.create_task(reader.read())
    writer.write(b"GET / HTTP/1.1\r\nX: ")
    async with asyncio.timeout(120):
        while not ended.done():
            writer.write(b"x")
            await asyncio.wait({ended}, timeout=0.01)
    writer.close()
    return b"" if ended.exception() else ended.result()


# -- deadlines --------------------------------------------------------------------------------------------


async def test_A_01_a_header_that_drips_is_cut_off() -> None:
    async with serving(header_seconds=0.1) as live:
        assert await drip(*await live.open()) == b""


async def test_A_01_a_later_header_of_a_connection_that_drips_is_cut_off() -> None:
    async with serving(header_seconds=0.1) as live:
        reader, writer = await live.open()
        for _ in range(3):
            writer.write(GET)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(1) == b"0"
        assert await drip(reader, writer) == b""


async def test_A_01_a_header_deadline_does_not_bound_an_answer_nor_idleness() -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def wait(_: web.BaseRequest) -> web.StreamResponse:
        asked.set()
        await answer.wait()
        return web.Response()

    async with serving(wait, header_seconds=0.02) as live:
        idle_reader, idle = await live.open()
        reader, writer = await live.open()
        writer.write(GET[:5])
        writer.write(GET[5:])
        await asked.wait()
        # Another connection's deadline has passed, begun later than these.
        assert await drip(*await live.open()) == b""
        answer.set()
        idle.write(GET)
        for each in (reader, idle_reader):
            assert (await each.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        idle.close()


async def test_A_01_an_answer_that_is_not_read_is_cut_off() -> None:
    async def much(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bytes(20_000_000))

    async with serving(much, write_seconds=0.1) as live:
        with socket.create_connection(("127.0.0.1", live.port)) as client:
            client.sendall(GET)
            async with asyncio.timeout(120):
                while not live.server.connections_open:
                    await asyncio.sleep(0)
                while live.server.connections_open:
                    await asyncio.sleep(0.01)


async def test_A_01_a_body_that_comes_at_once_is_no_header() -> None:
    async with serving() as live:
        reader, writer = await live.open()
        while not live.server.connections or live.server.connections[0]._waiter is None:
            await asyncio.sleep(0)
        (connection,) = live.server.connections
        assert isinstance(connection, Connection)
        # As uvloop hands over what has come already: piece after piece, with nothing run in between.
        connection.data_received(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nbody")
        connection.data_received(b"body")
        assert (await reader.readuntil(b"\r\n\r\n8")).startswith(b"HTTP/1.1 200 ")
        assert connection.header_since == 0.0
        writer.close()


# -- how many ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", ["connections", "per_address"])
async def test_A_01_connections_are_bounded_in_all_and_from_one_address(bound: str) -> None:
    async with serving(ok, **{bound: 2}) as live:
        held = [await live.open() for _ in range(2)]
        for reader, writer in held:
            writer.write(GET)
            await reader.readuntil(b"\r\n\r\n")
        assert await live.raw(CLOSE) == b""
        held[0][1].close()
        while live.server.connections_open > 1:
            await asyncio.sleep(0)
        assert (await live.raw(CLOSE)).startswith(b"HTTP/1.1 200 ")
        held[1][1].close()


@pytest.mark.parametrize(("files", "room"), [(200, 72), (64, 1), (1024, 500)])
def test_A_01_connections_leave_descriptors_to_files(files: int, room: int) -> None:
    code = (
        "import resource, sys; from teelog.serving import make_room\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (60, int(sys.argv[1])))\n"
        "print(make_room(500), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(files)], capture_output=True, text=True, check=True)
    assert [int(each) for each in ran.stdout.split()] == [room, min(files, 628), files]


async def test_A_03_bodies_sent_ahead_are_bounded() -> None:
    async def wait(_: web.BaseRequest) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    ahead = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % READ_AHEAD + bytes(READ_AHEAD)
    async with serving(wait) as live:
        async with asyncio.timeout(120):
            assert await live.raw(GET + ahead * 4) == b""


# -- what is said -----------------------------------------------------------------------------------------------

NO_REQUESTS = {
    "NUL in the path": b"GET /secret\x00 HTTP/1.1\r\nHost: h\r\n\r\n",
    "no HTTP": b"secret\r\n\r\n",
    "long line": b"GET /" + b"secret" * 1_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    "long field": b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"secret" * 1_000 + b"\r\n\r\n",
    "many fields": b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: secret\r\n" * 100 + b"\r\n",
    "bad field": b"GET / HTTP/1.1\r\nHost: h\r\nsecret\r\n\r\n",
    "bad chunk": b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nsecret\r\n",
    "later bad chunk": b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\nsecret\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: secret\r\n\r\nhello",
}


@pytest.mark.parametrize("request_bytes", NO_REQUESTS.values(), ids=NO_REQUESTS.keys())
async def test_A_32_what_is_no_request_is_answered_with_one_fixed_line(
    request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as live:
        answer = await live.raw(request_bytes)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.split(b" ")[1] == b"400"
        assert (body, b"secret" in answer) == (b"fixed\n", False)
        assert live.failures == []
    assert caplog.records == []


async def test_A_32_an_exception_is_told_to_the_operator_only() -> None:
    async def fail(_: web.BaseRequest) -> web.StreamResponse:
        raise ValueError("secret")

    async with serving(fail) as live:
        answer = await live.raw(GET)
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert answer.endswith(b"\r\n\r\nfixed\n")
        assert [str(each) for each in live.failures] == ["secret"]


async def test_A_18_a_client_that_leaves_amid_a_body_leaves_no_record(caplog: pytest.LogCaptureFixture) -> None:
    reading = asyncio.Event()

    async def read(request: web.BaseRequest) -> web.StreamResponse:
        reading.set()
        return await ok(request)

    async with serving(read) as live:
        _, writer = await live.open()
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nx")
        await reading.wait()
        writer.close()
        while live.server.connections_open:
            await asyncio.sleep(0)
        assert live.failures == []
    assert caplog.records == []


async def test_A_32_no_answer_tells_versions() -> None:
    async def found(_: web.BaseRequest) -> web.StreamResponse:
        raise web.HTTPNotFound

    async def fail(_: web.BaseRequest) -> web.StreamResponse:
        raise ValueError

    handlers: list[Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]] = [ok, found, fail]
    for handler in handlers:
        async with serving(handler) as live:
            for request in (CLOSE, b"nonsense\r\n\r\n"):
                lines = (await live.raw(request)).partition(b"\r\n\r\n")[0].split(b"\r\n")
                assert [line for line in lines if line.startswith(b"Server:")] == [b"Server: teelog"]
                assert b"aiohttp" not in b"".join(lines)
