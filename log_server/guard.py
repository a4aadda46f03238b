"""The public listener's connections: ``teelog.serving`` by the limits of ``log.toml``, and where clients come from."""

from __future__ import annotations

import ipaddress
import logging

from aiohttp import web

from teelog.log_server.limits import Limits, Network, networks
from teelog.log_server.problems import Kind, Problem
from teelog.serving import Bounds, GuardedServer, Handler

log = logging.getLogger("teelog.log_server")

LINGER_SECONDS = 2.0
"""How long a refused request's body is read on, so that the client sees the answer."""


def guarded(handler: Handler, limits: Limits) -> GuardedServer:
    """The server of one front. Addresses in ``unlimited`` and trusted proxies are bounded only in all."""
    unlimited = networks(limits.unlimited, "unlimited") + networks(limits.trusted_proxies, "trusted_proxies")
    bounds = Bounds(
        header_seconds=limits.header_seconds,
        idle_seconds=limits.idle_seconds,
        write_seconds=limits.write_seconds,
        linger_seconds=LINGER_SECONDS,
        connections=limits.connections,
        per_address=limits.connections_per_address,
    )

    def counted(peer: str) -> str | None:
        return None if within(peer, unlimited) else peer

    return GuardedServer(handler, bounds, counted=counted, refusal=_refusal, failed=_failed)


def _refusal(status: int) -> web.Response:
    """What no handler answers, as a problem without details (A-32)."""
    if status >= 500:
        problem = Problem(Kind.INTERNAL, "the request failed; the log's operator finds the cause in its journal")
    else:
        problem = Problem(Kind.BAD_REQUEST, "not a request that this server reads")
    return problem.response()


def _failed(error: BaseException | None) -> None:
    log.error("request failed", exc_info=error)


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
