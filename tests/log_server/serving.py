"""Real servers on loopback, and clients down to the bytes on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from teelog.log_server.about import LogInfo
from teelog.log_server.app import Front
from teelog.log_server.limits import Limits, Retention
from teelog.log_server.metrics import Metrics
from teelog.log_server.read import Directory
from teelog.serving import GuardedServer
from teelog.tlog.policy import Policy, parse_policy
from tests.log_server.memory_pool import ORIGIN, SIGNER, MemoryPool

INFO = LogInfo(ORIGIN, (str(SIGNER.verifier),))
DSSE = "application/vnd.dsse.envelope.v1+json"


def policy() -> Policy:
    return parse_policy(f"log {SIGNER.verifier}\nquorum none\n".encode())


@dataclass
class Server:
    """A front that listens, with a client of its own."""

    front: Front
    guard: GuardedServer
    metrics: Metrics
    pool: MemoryPool
    port: int
    http: aiohttp.ClientSession = field(repr=False)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def get(self, path: str, method: str = "GET", **more: Any) -> Answer:
        from yarl import URL

        async with self.http.request(method, URL(self.url(path), encoded=True), **more) as response:
            return Answer(response.status, response.headers, await response.read())

    async def post(self, path: str, body: Any, kind: str = DSSE, **headers: str) -> Answer:
        return await self.get(path, "POST", data=body, headers={"Content-Type": kind, **headers})

    async def raw(self, request: bytes | Sequence[bytes]) -> bytes:
        """What comes back until the server closes. A sequence is written piece by piece, the writing end stays open."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in [request] if isinstance(request, bytes) else request:
                writer.write(piece)
                await writer.drain()
            return await asyncio.wait_for(reader.read(), 120)
        except ConnectionError:
            return b""
        finally:
            writer.close()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        import json

        return json.loads(self.body)


@asynccontextmanager
async def serving(
    root: Path,
    *,
    limits: Limits | None = None,
    retention: Retention | None = None,
    raw: bool = False,
    pool: MemoryPool | None = None,
) -> AsyncIterator[Server]:
    root.mkdir(exist_ok=True)
    pool = pool or MemoryPool(root)
    objects = Directory(root)
    info = LogInfo(ORIGIN, INFO.vkeys, (("w.example", "w.example+00000000+AAAA", None),), raw)
    metrics = Metrics()
    front = Front(pool, objects, info, limits=limits, retention=retention, metrics=metrics)
    await front.start()
    server = front.server()
    runner = web.ServerRunner(server, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    # The client does not decompress: what is compressed must show.
    async with aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as http:
        try:
            yield Server(front, server, metrics, pool, port, http)
        finally:
            await runner.cleanup()
            front.close()
            objects.close()
