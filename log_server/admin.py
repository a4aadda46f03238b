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
from teelog.log_server.bodies import Bodies
from teelog.log_server.metrics import Metrics
from teelog.log_server.problems import NO_STORE, Kind, Problem
from teelog.log_server.seams import Logged
from teelog.log_server.submit import ONE_FILE, check_type, proof_response
from teelog.serving import Handler
from teelog.tlog import rfc6962
from teelog.tlog.tiles import MAX_ENTRY

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
TEXT = "text/plain; charset=utf-8"

Allow = Callable[[bytes], Awaitable[Logged]]
Health = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Admin:
    """health: why submissions cannot be published now, None if they can. allow: with it ``POST /allow`` is served.

    beside: what else the operator should know of a log that is ready. bodies: what these may take up.
    """

    metrics: Metrics
    health: Health
    bodies: Bodies
    allow: Allow | None = None
    beside: Health = lambda: None


def admin_handler(admin: Admin) -> Handler:
    """Answers the requests of an admin listener."""

    async def metrics(_request: web.BaseRequest) -> web.Response:
        body = admin.metrics.exposition()
        return web.Response(body=body, headers={"Content-Type": METRICS_TYPE, "Cache-Control": NO_STORE})

    async def healthz(_request: web.BaseRequest) -> web.Response:
        return _text(200, "ok")

    async def readyz(_request: web.BaseRequest) -> web.Response:
        reason = admin.health()
        if reason is not None:
            return _text(503, reason)
        beside = admin.beside()
        return _text(200, "ready" if beside is None else f"ready; {beside}")

    async def allow(request: web.BaseRequest) -> web.Response:
        assert admin.allow is not None
        check_type(request, ONE_FILE)
        with admin.bodies.one(MAX_ENTRY) as body:
            entry = await body.read(request)
            return proof_response(await admin.allow(entry), rfc6962.leaf_hash(entry))

    paths: dict[str, tuple[str, Handler | None]] = {
        "/metrics": ("GET", metrics),
        "/healthz": ("GET", healthz),
        "/readyz": ("GET", readyz),
    }
    if admin.allow is not None:
        paths["/allow"] = ("POST", allow)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            method, handler = paths.get(request.raw_path, ("", None))
            if handler is None:
                raise Problem(Kind.NOT_FOUND, "there is nothing at this path")
            if request.method != method and (request.method, method) != ("HEAD", "GET"):
                raise Problem(Kind.METHOD, "this path has another method", expected=method, allow=method)
            return await handler(request)
        except Problem as problem:
            return problem.response()
        except TeelogError as error:
            return Problem(Kind.UNAVAILABLE, error.message, retry_after=5).response()

    return handle


def _text(status: int, line: str) -> web.Response:
    return web.Response(
        status=status, body=line.encode() + b"\n", headers={"Content-Type": TEXT, "Cache-Control": NO_STORE}
    )
