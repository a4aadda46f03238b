"""A witness that listens, in the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import ClientSession, web

from teelog.witness.directory import Limits
from teelog.witness.service import Service
from tests.witness.harness import Desk, published_reader


@dataclass
class Live:
    """url: without a slash at the end. time: what the rate limits go by, seconds."""

    host: str
    port: int
    session: ClientSession
    time: list[float]

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def post(self, body: bytes, path: str = "/add-checkpoint", **more: Any) -> tuple[int, bytes, dict[str, str]]:
        async with self.session.post(self.url + path, data=body, **more) as response:
            return response.status, await response.read(), dict(response.headers)

    async def get(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        async with self.session.get(self.url + path) as response:
            return response.status, await response.read(), dict(response.headers)

    async def raw(self, data: bytes, *, until_closed: bool = True) -> bytes:
        """Bytes up, bytes down."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(data)
            await writer.drain()
            return await reader.read() if until_closed else await reader.read(65_536)
        finally:
            writer.close()
            await writer.wait_closed()


@asynccontextmanager
async def live(desk: Desk, *, request_seconds: float = 30.0, **limits: Any) -> AsyncIterator[Live]:
    """The public interface of ``desk``, whose engine runs."""
    assert desk.engine is not None
    time = [0.0]
    config = replace_limits(desk, **limits)
    reader = published_reader(desk.path)
    service = Service(
        replace(desk.witness, config=config), desk.engine, reader, desk.metrics, lambda: time[0], request_seconds
    )
    runner = web.ServerRunner(service.server())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        async with ClientSession(skip_auto_headers=("Content-Type",)) as session:
            yield Live(host, port, session, time)
    finally:
        await runner.cleanup()
        reader.close()


def replace_limits(desk: Desk, **limits: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(desk.witness.config, limits=Limits(**limits))
