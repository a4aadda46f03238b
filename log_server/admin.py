"""The admin listeners: what is off the public port.

GET  /metrics   Prometheus             GET /healthz   the process answers
GET  /readyz    200 while submissions can be published, else 503 with the reason
POST /allow     on the log's own Unix socket only: logs a namespace's first version
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from teelog.errors import TeelogError
from teelog.log_server.bodies import too_large
from teelog.log_server.metrics import Metrics
from teelog.log_server.problems import NO_STORE, Kind, Problem
from teelog.log_server.seams import Logged
from teelog.log_server.submit import ONE_FILE, check_type, proof_response
from teelog.tlog import rfc6962
from teelog.tlog.tiles import MAX_ENTRY

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
TEXT = "text/plain; charset=utf-8"

Allow = Callable[[bytes], Awaitable[Logged]]
Health = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Admin:
    """health: why submissions cannot be published now, None if they can. allow: with it ``POST /allow`` is served."""

    metrics: Metrics
    health: Health
    allow: Allow | None = None


ADMIN = web.AppKey("admin", Admin)


def admin_app(admin: Admin) -> web.Application:
    app = web.Application(client_max_size=MAX_ENTRY + 1, middlewares=[_problems])
    app[ADMIN] = admin
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz)
    if admin.allow is not None:
        app.router.add_post("/allow", _allow)
    return app


@web.middleware
async def _problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response()
    except web.HTTPException as error:
        kinds = {404: Kind.NOT_FOUND, 405: Kind.METHOD, 413: Kind.TOO_LARGE}
        return Problem(kinds.get(error.status, Kind.BAD_REQUEST), error.reason, status=error.status).response()
    except TeelogError as error:
        return Problem(Kind.UNAVAILABLE, error.message, retry_after=5).response()


def _text(status: int, line: str) -> web.Response:
    return web.Response(
        status=status, body=line.encode() + b"\n", headers={"Content-Type": TEXT, "Cache-Control": NO_STORE}
    )


async def _metrics(request: web.Request) -> web.Response:
    body = request.app[ADMIN].metrics.exposition()
    return web.Response(body=body, headers={"Content-Type": METRICS_TYPE, "Cache-Control": NO_STORE})


async def _healthz(_request: web.Request) -> web.Response:
    return _text(200, "ok")


async def _readyz(request: web.Request) -> web.Response:
    reason = request.app[ADMIN].health()
    return _text(200, "ready") if reason is None else _text(503, reason)


async def _allow(request: web.Request) -> web.Response:
    check_type(request, ONE_FILE)
    entry = await request.read()
    if len(entry) > MAX_ENTRY:
        raise too_large(MAX_ENTRY)
    allow = request.app[ADMIN].allow
    assert allow is not None
    return proof_response(await allow(entry), rfc6962.leaf_hash(entry))
