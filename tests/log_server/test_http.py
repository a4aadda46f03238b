"""What a hostile or broken client may send, and what it may cost (security 5.1, 5.2)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from teelog.errors import ConfigError
from teelog.log_server.guard import client_address, within
from teelog.log_server.limits import Limits, networks
from teelog.serving import MAX_FIELDS, MAX_LINE
from tests.log_server.serving import Server, serving
from tests.log_server.test_submit import release_file
from tests.statement import make

POST = b"POST /entries HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CLOSE = b"GET /checkpoint HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def status(raw: bytes) -> int:
    return int(raw.split(b" ", 2)[1]) if raw else 0


def is_problem(raw: bytes, code: int) -> None:
    head, _, body = raw.partition(b"\r\n\r\n")
    assert status(raw) == code
    assert b"application/problem+json" in head
    assert b"no-store" in head
    assert json.loads(body)["status"] == code


# -- time -------------------------------------------------------------------------------------------------------


async def test_A_01_a_slow_header_is_cut_off(tmp_path: Path) -> None:
    async with serving(tmp_path / "p", limits=Limits(header_seconds=0.5, idle_seconds=2)) as server:
        assert await server.raw(b"GET /checkpoint HTTP/1.1\r\nHos") == b""
        # What came in one packet with the request before it has the time of an idle connection.
        raw = await server.raw([b"GET /checkpoint HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /che"])
        assert raw.count(b"HTTP/1.1 200") == 1


async def test_A_01_a_header_byte_by_byte_is_cut_off(tmp_path: Path) -> None:
    async with serving(tmp_path / "p", limits=Limits(header_seconds=0.3)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /checkpoint HTTP/1.1\r\nX: ")

        async def drip() -> None:
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        try:
            assert await asyncio.wait_for(reader.read(), 120) == b""
        except ConnectionError:
            pass
        finally:
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)
            writer.close()


async def test_A_01_an_idle_connection_is_closed(tmp_path: Path) -> None:
    async with serving(tmp_path / "p", limits=Limits(idle_seconds=1)) as server:
        assert await server.raw([]) == b""
        assert status(await server.raw(CLOSE.replace(b"Connection: close\r\n", b""))) == 200


async def test_A_01_a_slow_body_is_408(tmp_path: Path) -> None:
    async with serving(tmp_path / "p", limits=Limits(body_seconds=0.2)) as server:
        is_problem(await server.raw(POST + b"Content-Length: 100\r\n\r\n{"), 408)
        is_problem(await server.raw(POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"), 408)


async def test_A_01_a_reader_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    async with serving(tmp_path / "p", limits=Limits(write_seconds=0.3)) as server:
        server.pool.append([bytes(65_535)] * 256)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(b"GET /tile/entries/000 HTTP/1.1\r\nHost: x\r\n\r\n")
        closed = server.metrics
        while closed.registry.get_sample_value("teelog_requests_total", {"route": "tile", "status": "2xx"}) != 1:
            await asyncio.sleep(0.01)
        await asyncio.wait_for(_gone(server), 120)
        writer.close()
        del reader


async def _gone(server: Server) -> None:
    while (await server.get("/checkpoint")).status != 200 or server.guard.connections_open > 1:
        await asyncio.sleep(0.05)


# -- size -------------------------------------------------------------------------------------------


async def test_A_02_a_declared_length_above_the_cap_is_413_before_the_body(server: Server) -> None:
    is_problem(await server.raw(POST + b"Content-Length: 65536\r\n\r\n"), 413)
    is_problem(await server.raw(POST + b"Content-Length: 999999999999999999\r\n\r\n"), 413)


async def test_A_02_chunks_without_a_length_stop_at_the_cap(server: Server) -> None:
    chunk = b"4000\r\n" + bytes(0x4000) + b"\r\n"
    is_problem(await server.raw([POST + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 5]), 413)
    entry = release_file()
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(entry), entry)
    raw = await server.raw(POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + body)
    assert status(raw) == 201


async def test_A_02_a_lying_length_is_never_another_entry(server: Server) -> None:
    entry = release_file()
    # Too short: the entry is cut, what is left is no request.
    raw = await server.raw(POST + b"Content-Length: %d\r\n\r\n" % (len(entry) - 5) + entry)
    assert status(raw) in (400, 422)
    assert b" 400 Bad Request" in raw
    # Too long, then the client hangs up.
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(POST + b"Content-Length: %d\r\n\r\n" % (len(entry) + 5) + entry)
    writer.write_eof()
    await writer.drain()
    writer.close()
    for text in (b"-1", b"+5", b"5, 6", b"0x5", b"5 5", b"", b"1e3", b"\xd9\xa3"):
        raw = await server.raw(POST + b"Content-Length: " + text + b"\r\nConnection: close\r\n\r\n12345")
        assert status(raw) == 400, text
    assert server.pool.size == 1


async def test_A_03_tiny_chunks_are_one_entry(server: Server) -> None:
    entry = release_file()
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in entry)
    raw = await server.raw(POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + body + b"0\r\n\r\n")
    assert status(raw) == 201


async def test_A_03_pipelined_requests_are_answered_in_order(server: Server) -> None:
    one, two = release_file("1"), release_file("2")
    post = POST + b"Content-Length: %d\r\n\r\n%b"
    raw = await server.raw(post % (len(one), one) + post % (len(two), two) + post % (len(one), one) + CLOSE)
    assert [int(part.split(b" ", 1)[0]) for part in raw.split(b"HTTP/1.1 ")[1:]] == [201, 201, 200, 200]
    assert server.pool.entries[1:] == [one, two]


async def test_A_03_many_pipelined_requests_are_bounded_and_all_answered(server: Server) -> None:
    keep = CLOSE.replace(b"Connection: close\r\n", b"")
    raw = await server.raw(keep * 400 + CLOSE)
    assert raw.count(b"HTTP/1.1 200 OK") == 401


@pytest.mark.parametrize(
    "head",
    [
        b"GET /checkpoint HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * (MAX_FIELDS + 10) + b"\r\n",
        b"GET /checkpoint HTTP/1.1\r\nHost: x\r\nX: " + b"y" * (MAX_LINE + 10) + b"\r\n\r\n",
        b"GET /" + b"y" * (MAX_LINE + 10) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /checkpoint HTTP/1.1\r\nHost: x\r\n" + b"y" * (MAX_LINE + 10),
    ],
    ids=["fields", "field", "target", "unended"],
)
async def test_A_03_A_08_oversized_headers_are_400_and_closed(server: Server, head: bytes) -> None:
    is_problem(await server.raw(head), 400)


async def test_A_04_a_compressed_body_is_not_decompressed(server: Server) -> None:
    import gzip

    bomb = gzip.compress(bytes(1 << 20))
    head = POST + b"Content-Encoding: gzip\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    raw = await server.raw(head + bomb)
    is_problem(raw, 415)


# -- framing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"GET /checkpoint HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
        b"GET /checkpoint HTTP/1.1\r\nHo st: x\r\n\r\n",
        b"GET /checkpoint\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /checkpoint HTTP/9.9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n\r\n<script>alert(1)</script> / HTTP/1.1\r\n\r\n",
    ],
    ids=["both", "two lengths", "coding", "space", "folded", "name", "nul", "version", "tls", "script"],
)
async def test_A_06_ambiguous_framing_is_400_and_closed_without_an_echo(server: Server, head: bytes) -> None:
    raw = await server.raw(head + CLOSE)
    is_problem(raw, 400)
    assert b"script" not in raw
    assert raw.count(b"HTTP/1.") == 1


async def test_an_expectation_is_met_before_the_body_and_after_the_refusals(server: Server) -> None:
    entry = release_file()
    head = POST + b"Content-Length: %d\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n" % len(entry)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head)
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(entry)
    assert status(await reader.read()) == 201
    writer.close()
    is_problem(await server.raw(POST + b"Content-Length: 70000\r\nExpect: 100-continue\r\n\r\n"), 413)
    is_problem(await server.raw(POST + b"Content-Length: 1\r\nExpect: x\r\nConnection: close\r\n\r\n1"), 417)


# -- A-08, A-09 -------------------------------------------------------------------------------------------------------


async def test_A_08_A_18_unknown_paths_leave_no_trace(server: Server) -> None:
    before = server.metrics.exposition()
    for number in range(50):
        assert (await server.get(f"/nothing/{number}")).status == 404
        assert (await server.get(f"/tile/0/{number}")).status == 404
        assert (await server.get(f"/entries/{number:064x}")).status == 404
    after = server.metrics.exposition()
    names = [[line.split(b" ")[0] for line in text.splitlines()] for text in (before, after)]
    assert names[0] == names[1]


async def test_A_09_connections_from_one_address_are_bounded(tmp_path: Path) -> None:
    limits = Limits(connections_per_address=3, unlimited=())
    async with serving(tmp_path / "p", limits=limits) as server:
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
        for reader, writer in held:
            writer.write(CLOSE.replace(b"Connection: close\r\n", b""))
            assert b"200 OK" in await reader.readuntil(b"\r\n")
        assert await server.raw(CLOSE) == b""
        held[0][1].close()
        while server.guard.connections_open > 2:
            await asyncio.sleep(0)
        assert status(await server.raw(CLOSE)) == 200
        for _, writer in held:
            writer.close()


async def test_A_09_connections_in_all_are_bounded(tmp_path: Path) -> None:
    async with serving(tmp_path / "p", limits=Limits(connections=2)) as server:
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        for reader, writer in held:
            writer.write(CLOSE.replace(b"Connection: close\r\n", b""))
            await reader.readuntil(b"\r\n")
        assert await server.raw(CLOSE) == b""
        for _, writer in held:
            writer.close()


async def test_A_09_behind_a_trusted_proxy_submissions_in_flight_are_counted_by_address(tmp_path: Path) -> None:
    limits = Limits(connections_per_address=1, trusted_proxies=("127.0.0.0/8",))
    async with serving(tmp_path / "p", limits=limits) as server:
        await server.front.submissions.allow(make.namespace_file())
        server.pool.gate.clear()
        first = asyncio.create_task(server.post("/entries", release_file("1"), **{"X-Forwarded-For": "192.0.2.1"}))
        while server.pool.submitted < 2:
            await asyncio.sleep(0)
        spoofed = {"X-Forwarded-For": "198.51.100.9, 192.0.2.1"}
        second = await server.post("/entries", release_file("2"), **spoofed)
        assert (second.status, second.headers["Retry-After"]) == (429, "1")
        other = asyncio.create_task(server.post("/entries", release_file("3"), **{"X-Forwarded-For": "192.0.2.2"}))
        while server.pool.submitted < 3:
            await asyncio.sleep(0)
        server.pool.gate.set()
        assert (await first).status == (await other).status == 201


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.5", ["192.0.2.1"], "203.0.113.5"),
        ("10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", ["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", ["6.6.6.6", "192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        ("10.0.0.1", ["junk"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1, junk"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        (None, ["192.0.2.1"], None),
    ],
)
def test_A_09_forwarded_addresses_count_only_from_trusted_proxies(
    peer: str | None, forwarded: list[str], client: str | None
) -> None:
    assert client_address(peer, forwarded, networks(("10.0.0.0/8",), "trusted_proxies")) == client


def test_A_09_an_ipv4_address_in_ipv6_clothes_is_the_same_address() -> None:
    ranges = networks(("10.0.0.0/8", "fe80::/10"), "unlimited")
    assert within("::ffff:10.1.2.3", ranges)
    assert within("fe80::1%eth0", ranges)
    assert not within("junk", ranges)


@pytest.mark.parametrize(
    "change",
    [{"batch_entries": 0}, {"header_seconds": -1.0}, {"batch_bytes": 100}, {"trusted_proxies": ("10.0.0.1/8",)},
     {"unlimited": ("x",)}, {"connections": 0}],
)  # fmt: skip
def test_limits_out_of_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Limits(**change)  # type: ignore[arg-type]


async def test_A_32_an_unforeseen_failure_is_500_without_details(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.pool.refusal = RuntimeError("secret path /etc/x")
    raw = await server.raw(POST + b"Content-Length: %d\r\n\r\n" % len(release_file()) + release_file())
    is_problem(raw, 500)
    assert b"secret" not in raw
    assert "secret path" in caplog.text
