"""The witness's listeners under clients that are slow, many, or speak something else than HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from teelog.errors import ConfigError
from teelog.witness import directory
from tests.test_serving import CLOSE, GET, NO_REQUESTS, drip
from tests.witness.harness import WITNESS, Desk
from tests.witness.http_harness import live
from tests.witness.test_command import serving


async def test_A_01_a_header_has_its_seconds_on_a_new_and_on_a_kept_connection(desk: Desk) -> None:
    async with live(desk, header_seconds=0.1) as witness:
        assert await drip(*await asyncio.open_connection(witness.host, witness.port)) == b""
        reader, writer = await asyncio.open_connection(witness.host, witness.port)
        writer.write(GET)
        assert (await reader.readuntil(b"not found\n")).startswith(b"HTTP/1.1 404 ")
        assert await drip(reader, writer) == b""


@pytest.mark.parametrize("proxies", [(), ("127.0.0.1",)])
async def test_A_01_connections_are_bounded_in_all_from_a_proxy_too(desk: Desk, proxies: tuple[str, ...]) -> None:
    async with live(desk, connections=2, trusted_proxies=proxies) as witness:
        held = [await asyncio.open_connection(witness.host, witness.port) for _ in range(2)]
        for reader, writer in held:
            writer.write(GET)
            await reader.readuntil(b"not found\n")
        with contextlib.suppress(ConnectionResetError):
            assert await witness.raw(CLOSE) == b""
        for _, writer in held:
            writer.close()


def test_A_01_the_admin_listener_has_the_same_deadline(tmp_path: Path) -> None:
    folder = tmp_path / "W1"
    directory.init(folder, WITNESS)
    with (folder / directory.CONFIG).open("a") as config:
        config.write("[limits]\nheader_seconds = 0.2\n")

    async def both(ports: dict[str, int]) -> None:
        for port in (ports["metrics"], ports["listening"]):
            assert await drip(*await asyncio.open_connection("127.0.0.1", port)) == b""
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GET)
            await reader.readuntil(b"not found\n")
            assert await drip(reader, writer) == b""

    with serving(folder, "--admin", "127.0.0.1:0") as (_, ports):
        asyncio.run(both(ports))


@pytest.mark.parametrize("request_bytes", NO_REQUESTS.values(), ids=NO_REQUESTS.keys())
async def test_A_32_what_is_no_request_is_answered_with_one_fixed_line(desk: Desk, request_bytes: bytes) -> None:
    request_bytes = request_bytes.replace(b"POST / ", b"POST /add-checkpoint ")
    async with live(desk) as witness:
        head, _, body = (await witness.raw(request_bytes)).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == b"400"
    assert body == b"not a request that this server reads\n"
    assert b"secret" not in head
    assert {b"Server: teelog", b"Cache-Control: no-store", b"X-Content-Type-Options: nosniff"} <= set(
        head.split(b"\r\n")
    )


async def test_A_32_no_answer_tells_versions(desk: Desk) -> None:
    async with live(desk) as witness:
        for path in ("/", "/nothing", "/add-checkpoint"):
            assert (await witness.get(path))[2]["Server"] == "teelog"


@pytest.mark.parametrize(
    "line",
    [
        "header_seconds = 0",
        "header_seconds = nan",
        "header_seconds = -1.0",
        "connections = 0",
        "connections = 1.5",
        "connections_per_address = -1",
        "per_address_per_second = 0",
        "per_address_burst = 0",
        "header_secs = 10",
    ],
)
def test_limits_out_of_range_are_refused(tmp_path: Path, line: str) -> None:
    folder = tmp_path / "W1"
    directory.init(folder, WITNESS)
    with (folder / directory.CONFIG).open("a") as config:
        config.write(f"[limits]\n{line}\n")
    with pytest.raises(ConfigError, match="not usable"):
        directory.load(folder)
