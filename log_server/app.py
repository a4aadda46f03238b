"""The public listener: one exact table of paths in front of the handlers.

Paths are compared raw, undecoded, and have no query string: one path is one resource, for us and for every cache in
between (R-16, A-11, A-13).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import hdrs, web

from teelog.errors import TeelogError, UnavailableError
from teelog.log_server.about import About, LogInfo
from teelog.log_server.admission import Admission, Namespaces
from teelog.log_server.directory import LogDirectory
from teelog.log_server.guard import client_address, guarded
from teelog.log_server.index.front import IndexFront
from teelog.log_server.limits import Limits, Retention, networks
from teelog.log_server.metrics import FrontMetrics, Metrics
from teelog.log_server.problems import Kind, Problem
from teelog.log_server.read import Objects, Reader, published_size
from teelog.log_server.seams import Pool
from teelog.log_server.submit import Submissions
from teelog.serving import GuardedServer

Handler = Callable[[web.BaseRequest], Awaitable[web.Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """name: the metric's label. methods: HTTP method -> handler."""

    name: str
    methods: dict[str, Handler]

    @property
    def allow(self) -> str:
        return ", ".join(sorted(self.methods))


def _get(name: str, handler: Handler) -> Route:
    return Route(name, {"GET": handler, "HEAD": handler})  # TT-31: HEAD has the same header


class Front:
    """Everything before the pool, as one handler of requests: ``start`` before the first, ``close`` after the last.

    alone: False beside other fronts of the same log. index: the log's directory, if its index is served.
    """

    def __init__(
        self,
        pool: Pool,
        objects: Objects,
        info: LogInfo,
        *,
        limits: Limits | None = None,
        retention: Retention | None = None,
        metrics: FrontMetrics | None = None,
        alone: bool = True,
        index: LogDirectory | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.metrics: FrontMetrics = metrics or Metrics()
        retention = retention or Retention()
        self.reader = Reader(objects, retention, self.limits.cache_bytes)
        judge = Admission(Namespaces(info.origin), self._size, private_results=info.private_results, raw=info.raw)
        self.submissions = Submissions(pool, judge, self.limits, self.metrics, alone=alone)
        self.index = None if index is None else IndexFront(index, self.reader.checkpoint, self.limits.cache_bytes // 4)
        about = About(info, self.limits, retention, self.reader, self.index)
        self._proxies = networks(self.limits.trusted_proxies, "trusted_proxies")
        self._in_flight: Counter[str] = Counter()
        self._tiles = _get("tile", self.reader.get_tile)
        self._entries = _get("entry", self.submissions.get_entry)
        self._exact = {
            "/": _get("about", about.get_page),
            "/log.json": _get("log.json", about.get_json),
            "/checkpoint": _get("checkpoint", self.reader.get_checkpoint),
            "/entries": Route("submit", {"POST": self.submissions.post_entry}),
            "/entries/batch": Route("batch", {"POST": self.submissions.post_batch}),
        }
        if self.index is not None:
            self._exact["/index/checkpoint"] = _get("index", self.index.reader.get_checkpoint)
            self._index_tiles = _get("index", self.index.reader.get_tile)
            self._lookups = _get("lookup", self.index.get)
            self._bundles = _get("lookup", self.index.get_bundle)
        if info.raw:
            self._exact["/add"] = Route("add", {"POST": self.submissions.post_raw})

    def _size(self) -> int | None:
        """Of the newest published checkpoint: the least index that the next entry can have."""
        try:
            return published_size(self.reader.checkpoint())
        except TeelogError:
            return None

    async def start(self) -> None:
        """Hears of the namespaces that are logged. Raises UnavailableError."""
        await self.submissions.refresh()

    def routes(self) -> dict[str, Route]:
        """The paths that are compared whole."""
        return dict(self._exact)

    def close(self) -> None:
        self.submissions.close()
        if self.index is not None:
            self.index.close()

    def server(self) -> GuardedServer:
        """The aiohttp server to bind."""
        return guarded(self.handle, self.limits)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        name = "other"
        try:
            route = self._route(request.raw_path)
            name = route.name
            handler = route.methods.get(request.method)
            if handler is None:
                raise Problem(Kind.METHOD, "this path has other methods", expected=route.allow, allow=route.allow)
            if self._proxies and request.method == "POST":
                response = await self._counted(request, handler)
            else:
                response = await handler(request)
        except Problem as problem:
            response = _failure(problem)
        except UnavailableError as error:
            response = _failure(Problem(Kind.UNAVAILABLE, error.message, retry_after=error.retry_after or 5))
        self.metrics.request(name, response.status)
        return response

    def _route(self, path: str) -> Route:
        route = self._exact.get(path)
        if route is not None:
            return route
        if path.startswith("/tile/"):
            return self._tiles
        if path.startswith("/entries/"):
            return self._entries
        if path.startswith("/index/"):
            if self.index is None:
                raise Problem(
                    Kind.NOT_FOUND, "this log serves no index", hint="its operator starts it with --index-policy"
                )
            if path.startswith("/index/v1/"):
                return self._lookups
            if path.startswith("/index/bundle/"):
                return self._bundles
            if path.startswith("/index/tile/"):
                return self._index_tiles
        raise Problem(Kind.NOT_FOUND, "there is nothing at this path")

    async def _counted(self, request: web.BaseRequest, handler: Handler) -> web.Response:
        """A-09: behind a trusted proxy, submissions in flight are counted by the address that it names."""
        peer = request.remote
        address = client_address(peer, request.headers.getall(hdrs.X_FORWARDED_FOR, []), self._proxies)
        if address is None or address == peer:
            return await handler(request)
        if self._in_flight[address] >= self.limits.connections_per_address:
            raise Problem(Kind.QUOTA, "too many submissions in flight from one address", retry_after=1)
        self._in_flight[address] += 1
        try:
            return await handler(request)
        finally:
            self._in_flight[address] -= 1
            if not self._in_flight[address]:
                del self._in_flight[address]


def _failure(problem: Problem) -> web.Response:
    response = problem.response()
    if problem.kind in (Kind.TOO_LARGE, Kind.TIMEOUT, Kind.BAD_REQUEST):
        response.force_close()  # what is left of the body is not worth reading
    return response
