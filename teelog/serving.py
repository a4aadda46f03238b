"""The services' HTTP server: aiohttp's, with what a listener on the open internet needs besides.

aiohttp bounds the sizes of what it parses. Added here: a deadline for a request's header, one for a response that the
client does not read, a bound on connections, in all and from one address, and answers to what is no request that repeat
nothing of it (A-01, A-03, A-09, A-32). Nothing of it costs a timer per request: one sweep looks at all connections.
"""

from __future__ import annotations

import asyncio
import resource
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

MAX_LINE = 4_096
"""Bytes of a request line and of one header field."""
MAX_FIELDS = 64
"""Header fields of a request."""
READ_AHEAD = 32_768
"""Bytes of a body that wait to be read; with twice as many the client is not read from (aiohttp's own: 256 KiB)."""
PIPELINED_BYTES = 65_536
"""Bodies of requests that a client sends ahead, two or more, while an earlier one of its connection is answered."""
SOFTWARE = "teelog"
"""The Server header: aiohttp's own tells its version and Python's."""
RESERVED_FILES = 128
"""Descriptors that connections leave to files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What connections may use up.

    header_seconds: from the first byte of a request to the end of its header. idle_seconds: between two requests, and
    before the first. write_seconds: that a response may take to leave. linger_seconds: that a refused request's body is
    read on, so that the client sees the answer. connections: open at once. per_address: of them, from one address.
    """

    header_seconds: float
    idle_seconds: float
    write_seconds: float
    linger_seconds: float
    connections: int
    per_address: int


class Connection(RequestHandler):
    """One client's connection. header_since, write_since: loop time from which its deadline runs, 0 if none does."""

    __slots__ = ("address", "header_since", "write_since")

    def __init__(self, manager: GuardedServer, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self.address: str | None = None
        self.header_since = 0.0
        self.write_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        manager = self._manager
        assert isinstance(manager, GuardedServer)
        if not manager.admit(self):
            self.force_close()

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        super().data_received(data)
        if len(self._messages) > 1 and sum(_buffered(payload) for _, payload in self._messages) > PIPELINED_BYTES:
            # bodies sent ahead are counted nowhere else, and no client should send them (RFC 9112, 9.3.2).
            self.force_close()
        elif self._request_count != before:
            self.header_since = 0.0
        elif not self.header_since and self._waiter is not None and not self._waiter.done():
            # Bytes came, no request is complete, none is being answered: a header is under way. With the waiter done
            # they belong to the body of a request that is answered next (uvloop reads twice without a pause).
            self.header_since = self._loop.time()

    def connection_lost(self, exc: BaseException | None) -> None:
        manager = self._manager
        if isinstance(manager, GuardedServer):
            manager.leave(self)
        super().connection_lost(exc)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if isinstance(resp, web.StreamResponse) and not resp.prepared:
            resp.headers.setdefault(hdrs.SERVER, SOFTWARE)
        return await super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  A-32: aiohttp's excerpt of what the client sent stays here
    ) -> web.StreamResponse:
        """Answers what aiohttp itself refuses, or an exception that no handler foresaw."""
        if isinstance(exc, ConnectionError):
            raise exc  # the client has left: nobody reads an answer, and a journal that anyone can fill is none
        if isinstance(exc, RequestPayloadError | HttpProcessingError):
            status = 400  # also where a handler met it, reading the body
        manager = self._manager
        assert isinstance(manager, GuardedServer)
        if status >= 500:
            manager.failed(exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the response has left already")
        response = manager.refusal(status)
        response.force_close()
        return response

    def overdue(self, now: float, bounds: Bounds) -> bool:
        if self.header_since and now - self.header_since > bounds.header_seconds:
            return True
        transport = self.transport
        if transport is None or not transport.get_write_buffer_size():
            self.write_since = 0.0
            return False
        self.write_since = self.write_since or now
        return now - self.write_since > bounds.write_seconds


class GuardedServer(web.Server):
    """``aiohttp.web.Server`` whose connections are counted and swept, from the first one to ``shutdown``.

    counted: what a peer's IP address counts as, None if it is not counted; peers without one (Unix sockets) never are.
    refusal: the answer with status 400 or 5xx to what no handler answers; its connection is closed. failed: is told of
    each exception that no handler foresaw; None for a time-out.
    """

    def __init__(
        self,
        handler: Handler,
        bounds: Bounds,
        *,
        counted: Callable[[str], str | None],
        refusal: Callable[[int], web.Response],
        failed: Callable[[BaseException | None], None],
    ) -> None:
        super().__init__(
            handler,
            access_log=None,
            keepalive_timeout=bounds.idle_seconds,
            lingering_time=bounds.linger_seconds,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_FIELDS,
            read_bufsize=READ_AHEAD,
            auto_decompress=False,
        )
        self.bounds = bounds
        self.refusal = refusal
        self.failed = failed
        self._counted = counted
        self._counts: Counter[str] = Counter()
        self._sweeper: asyncio.Task[None] | None = None

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)

    @property
    def connections_open(self) -> int:
        return len(self._connections)

    def admit(self, connection: Connection) -> bool:
        """Whether one more connection, from there, is within the bounds. Counts it."""
        if self._sweeper is None:
            self._sweeper = self._loop.create_task(self._sweep())
        if len(self._connections) > self.bounds.connections:
            return False
        peer = connection.peername
        address = self._counted(peer[0]) if isinstance(peer, tuple) else None
        if address is None:
            return True
        self._counts[address] += 1
        connection.address = address
        return self._counts[address] <= self.bounds.per_address

    def leave(self, connection: Connection) -> None:
        if connection.address is not None:
            self._counts[connection.address] -= 1
            if self._counts[connection.address] <= 0:
                del self._counts[connection.address]
            connection.address = None

    async def shutdown(self, timeout: float | None = None) -> None:
        await super().shutdown(timeout)
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)

    async def _sweep(self) -> None:
        pause = min(1.0, self.bounds.header_seconds / 4, self.bounds.write_seconds / 4)
        while True:
            await asyncio.sleep(pause)
            now = self._loop.time()
            for connection in self.connections:
                if isinstance(connection, Connection) and connection.overdue(now, self.bounds):
                    transport = connection.transport
                    connection.force_close()
                    if isinstance(transport, asyncio.WriteTransport):
                        transport.abort()  # what is still to be written goes nowhere


def _buffered(payload: Any) -> int:
    return getattr(payload, "total_raw_bytes", 0)


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def stop_on_signals() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


def make_room(connections: int) -> int:
    """Raises this process's bound on open files, as far as it may, and says how many of ``connections`` fit.

    Beyond that bound not even a database could be opened: strangers must not get there (A-01).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + RESERVED_FILES
    if 0 <= soft < wanted and soft != hard:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - RESERVED_FILES))
