"""What a running monitor serves: feed, alerts, metrics, health. For its owner, on an address of the owner's choice.

/feed.atom    the newest alerts (Atom)            /metrics    Prometheus
/alerts.json  the newest alerts, newest first     /healthz    200 while the process runs
/readyz       503 until the log was read once, and where it was not read for long; says how far it has looked
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from teelog.listen import Address
from teelog.serving import Bounds, GuardedServer
from teelog.witness.monitor import form
from teelog.witness.monitor.finding import Kind
from teelog.witness.monitor.notify import atom
from teelog.witness.monitor.notify.text import json_line
from teelog.witness.monitor.state import State

MAX_ALERTS = 1_000
STALE = 3_600.0  # seconds without a look that reached the log, at least
STALE_LOOKS = 3  # intervals, where those are longer
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS = Bounds(
    header_seconds=10, idle_seconds=30, write_seconds=30, linger_seconds=2, connections=256, per_address=256
)


class Listener:
    """clock: POSIX seconds. hosts: names under which it is asked, besides its own address and localhost.

    interval: seconds between two looks.
    """

    def __init__(
        self, state: State, clock: Callable[[], int], hosts: frozenset[str] = frozenset(), interval: float = 0.0
    ) -> None:
        self._stale = max(STALE, STALE_LOOKS * interval)
        self._state = state
        self._clock = clock
        self._hosts = {name.lower() for name in hosts}

    def bound(self, asked: Address, got: Address) -> None:
        """Where it listens."""
        for host in (asked.host, got.host, "localhost"):
            address = str(Address(host, got.port)).lower()
            self._hosts |= {address, address.rpartition(":")[0]}

    def server(self) -> GuardedServer:
        return GuardedServer(
            self._handle,
            _BOUNDS,
            counted=lambda _: None,
            refusal=lambda status: web.Response(status=status, text="refused\n"),
            failed=lambda _: None,
        )

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        # A page in a browser may be made to ask here under its own name (DNS rebinding): it gets nothing.
        if request.headers.get("Host", "").lower() not in self._hosts:
            return web.Response(status=421, text="not asked by a name of this listener (--host NAME)\n")
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, text="only GET\n", headers={"Allow": "GET, HEAD"})
        answer = {
            "/feed.atom": self._feed,
            "/alerts.json": self._alerts,
            "/metrics": self._metrics,
            "/healthz": lambda: web.Response(text="ok\n"),
            "/readyz": self._ready,
        }.get(request.raw_path)
        response = web.Response(status=404, text="not found\n") if answer is None else answer()
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    def _feed(self) -> web.Response:
        body = atom.feed(self._state.ledger.newest(atom.MAX_ENTRIES), self._state.followed())
        return web.Response(body=body, content_type=atom.CONTENT_TYPE)

    def _alerts(self) -> web.Response:
        newest = self._state.ledger.newest(MAX_ALERTS + 1)
        shown, more = newest[:MAX_ALERTS], len(newest) > MAX_ALERTS
        body = form.listing(shown, self._state.followed(), self._state.troubles(), more=more)
        return web.Response(body=json_line(body), content_type="application/json")

    def _ready(self) -> web.Response:
        followed = self._state.followed()
        ready = followed.read_at and self._clock() - followed.read_at <= self._stale
        return web.Response(
            status=200 if ready else 503, body=json_line(form.looked(followed)), content_type="application/json"
        )

    def _metrics(self) -> web.Response:
        """Labels: kinds, which are fixed (R-28)."""
        registry = CollectorRegistry()
        followed, counts = self._state.followed(), self._state.ledger.counts()
        alerts = Gauge("monitor_alerts_open", "Alerts that are not over.", ["kind"], registry=registry)
        total = Gauge("monitor_alerts", "Alerts found, those that are over included.", ["kind"], registry=registry)
        for kind in Kind:
            held, over = counts.get((kind.value, True), 0), counts.get((kind.value, False), 0)
            alerts.labels(kind.value).set(held)
            total.labels(kind.value).set(held + over)
        for name, text, value in (
            ("monitor_size", "Entries of the newest checkpoint that was read to its end.", followed.signed),
            ("monitor_judged", "Entries that were judged by the rules.", followed.mapped),
            ("monitor_looked_seconds", "POSIX time of the last look.", followed.looked_at),
            (
                "monitor_read_seconds",
                "POSIX time of the last look that reached the log.",
                followed.read_at,
            ),
            ("monitor_outlets_failing", "Outlets that cannot be told. Alarm on any.", len(self._state.troubles())),
        ):
            Gauge(name, text, registry=registry).set(value)
        return web.Response(body=generate_latest(registry), headers={"Content-Type": _METRICS})
