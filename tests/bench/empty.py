"""The baseline of the HTTP rows: an aiohttp handler that reads the body and answers 201, in one process under uvloop.

python -m tests.bench.empty     prints its port
"""

from __future__ import annotations

import asyncio

import uvloop
from aiohttp import web


async def handle(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(status=201)


async def serve() -> None:
    application = web.Application()
    application.router.add_post("/entries", handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4_096).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())
