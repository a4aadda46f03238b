"""The witness's listeners: ``teelog.serving`` under the limits of ``witness.toml``."""

from __future__ import annotations

import structlog
from aiohttp import web

from teelog.serving import Bounds, GuardedServer, Handler
from teelog.witness.directory import Limits
from teelog.witness.limits import network

IDLE_SECONDS = 75.0
WRITE_SECONDS = 60.0
LINGER_SECONDS = 1.0
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

log = structlog.get_logger("teelog.witness")


def public(handler: Handler, limits: Limits) -> GuardedServer:
    """For everybody. A trusted proxy's connections are bounded only in all."""
    proxies = proxy_networks(limits)

    def counted(peer: str) -> str | None:
        address = network(peer)
        return None if not limits.connections_per_address or address in proxies else address

    return GuardedServer(handler, _bounds(limits), counted=counted, refusal=_refusal, failed=_failed)


def private(handler: Handler, limits: Limits) -> GuardedServer:
    """For the operator."""
    return GuardedServer(handler, _bounds(limits), counted=lambda _: None, refusal=_refusal, failed=_failed)


def proxy_networks(limits: Limits) -> frozenset[str]:
    return frozenset(network(address) for address in limits.trusted_proxies)


def _bounds(limits: Limits) -> Bounds:
    return Bounds(
        header_seconds=limits.header_seconds,
        idle_seconds=IDLE_SECONDS,
        write_seconds=WRITE_SECONDS,
        linger_seconds=LINGER_SECONDS,
        connections=limits.connections,
        per_address=limits.connections_per_address,
    )


def _refusal(status: int) -> web.Response:
    # one fixed line, whatever came.
    line = b"the request failed\n" if status >= 500 else b"not a request that this server reads\n"
    return web.Response(status=status, body=line, headers={**HEADERS, "Content-Type": "text/plain; charset=utf-8"})


def _failed(error: BaseException | None) -> None:
    log.error("request failed", exc_info=error)
