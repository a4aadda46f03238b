"""Connections under deadlines: aiohttp's server with what a listener on the open internet needs besides.

aiohttp bounds the sizes of what it parses. Added here: a deadline for a request's header, one for a response that the
client does not read, and a bound on connections, in all and from one address (A-01, A-03, A-09). Nothing of it costs
a timer per request: one sweep looks at all connections.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections import Counter
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from teelog.log_server.limits import MAX_FIELDS, MAX_LINE, Limits, Network, networks
from teelog.log_server.problems import Kind, Problem

log = logging.getLogger("teelog.log_server")

LINGER_SECONDS = 2.0
"""How long a refused request's body is read on, so that the client sees the answer."""

READ_AHEAD = 32_768
"""Bytes of a body that wait to be read; with twice as many the client is not read from (aiohttp's own: 256 KiB)."""
PIPELINED_BYTES = 65_536
"""Bodies of requests that a client sends ahead, two or more, while an earlier one of its connection is answered."""


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
            return
        if self._request_count != before:
            self.header_since = 0.0
        elif not self.header_since and self._waiter is not None:
            # Bytes came, no request is complete, none is being answered: a header is under way.
            self.header_since = self._loop.time()

    def connection_lost(self, exc: BaseException | None) -> None:
        manager = self._manager
        if isinstance(manager, GuardedServer):
            manager.leave(self)
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  aiohttp's excerpt of what the client sent stays here
    ) -> web.StreamResponse:
        """What aiohttp itself refuses, or an exception that no handler foresaw, as a problem without details (A-32)."""
        if isinstance(exc, ConnectionError):
            raise exc  # the client has left: nobody reads an answer, and a journal that anyone can fill is none
        if status >= 500:
            log.error("request failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the response has left already")
        if status >= 500:
            problem = Problem(Kind.INTERNAL, "the request failed; the log's operator finds the cause in its journal")
        else:
            problem = Problem(Kind.BAD_REQUEST, "not a request that this server reads")
        response = problem.response()
        response.force_close()
        return response

    def overdue(self, now: float, limits: Limits) -> bool:
        if self.header_since and now - self.header_since > limits.header_seconds:
            return True
        transport = self.transport
        if transport is None or not transport.get_write_buffer_size():
            self.write_since = 0.0
            return False
        self.write_since = self.write_since or now
        return now - self.write_since > limits.write_seconds


class GuardedServer(web.Server):
    """``aiohttp.web.Server`` whose connections are counted and swept."""

    def __init__(self, handler: Any, limits: Limits) -> None:
        super().__init__(
            handler,
            access_log=None,
            keepalive_timeout=limits.idle_seconds,
            lingering_time=LINGER_SECONDS,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_FIELDS,
            read_bufsize=READ_AHEAD,
            auto_decompress=False,
        )
        self.limits = limits
        self._unlimited = networks(limits.unlimited, "unlimited") + networks(limits.trusted_proxies, "trusted_proxies")
        self._counts: Counter[str] = Counter()
        self._sweeper: asyncio.Task[None] | None = None

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)

    @property
    def connections_open(self) -> int:
        return len(self._connections)

    def admit(self, connection: Connection) -> bool:
        """Whether one more connection, from there, is within the bounds. Counts it."""
        if len(self._connections) > self.limits.connections:
            return False
        peer = connection.peername
        address = peer[0] if isinstance(peer, tuple) else None
        if address is None or within(address, self._unlimited):
            return True
        self._counts[address] += 1
        connection.address = address
        return self._counts[address] <= self.limits.connections_per_address

    def leave(self, connection: Connection) -> None:
        if connection.address is not None:
            self._counts[connection.address] -= 1
            if self._counts[connection.address] <= 0:
                del self._counts[connection.address]
            connection.address = None

    def start_sweeping(self) -> None:
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    async def stop_sweeping(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        pause = min(1.0, self.limits.header_seconds / 4, self.limits.write_seconds / 4)
        while True:
            await asyncio.sleep(pause)
            now = loop.time()
            for connection in self.connections:
                if isinstance(connection, Connection) and connection.overdue(now, self.limits):
                    transport = connection.transport
                    connection.force_close()
                    if transport is not None:
                        transport.abort()  # what is still to be written goes nowhere


def _buffered(payload: Any) -> int:
    return getattr(payload, "total_raw_bytes", 0)


def within(address: str, ranges: tuple[Network, ...]) -> bool:
    """Whether a textual IP address lies in one of the ranges; an IPv4 address mapped into IPv6 counts as IPv4."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return any((mapped or ip) in network for network in ranges if (mapped or ip).version == network.version)


def client_address(peer: str | None, forwarded: list[str], proxies: tuple[Network, ...]) -> str | None:
    """The address that a request came from.

    A-09: X-Forwarded-For counts only as far as trusted proxies wrote it: the last address that is none of theirs.
    """
    if peer is None or not within(peer, proxies):
        return peer
    hops = [hop.strip() for line in forwarded for hop in line.split(",")]
    for hop in reversed(hops):
        if not within(hop, proxies):
            try:
                return str(ipaddress.ip_address(hop))
            except ValueError:
                return peer
    return peer
