"""aiohttp's server with a bound on connections from one address (A-01, A-09)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from teelog.witness.limits import network

IDLE_SECONDS = 75.0  # between two requests, and from connecting to the end of the first header
LINGER_SECONDS = 1.0  # a refused body is read on so long, that the client sees the answer
MAX_LINE = 4096  # bytes of a request line and of one header field
MAX_FIELDS = 64

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class BoundedServer(web.Server):
    """Answers requests with ``handler``, at most ``per_address`` connections from one address; 0 = no bound."""

    def __init__(self, handler: Handler, per_address: int = 0, unbounded: frozenset[str] = frozenset()) -> None:
        super().__init__(
            handler,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=IDLE_SECONDS,
            lingering_time=LINGER_SECONDS,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_FIELDS,
        )
        self._per_address = per_address
        self._unbounded = unbounded
        self._open: Counter[str] = Counter()
        self._address: dict[RequestHandler, str] = {}

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        peer = transport.get_extra_info("peername")
        address = network(peer[0] if isinstance(peer, tuple) else None)
        if not self._per_address or address in self._unbounded:
            return
        self._address[handler] = address
        self._open[address] += 1
        if self._open[address] > self._per_address:
            transport.abort()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        address = self._address.pop(handler, None)
        if address is not None:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]
        super().connection_lost(handler, exc)
