"""Prometheus metrics. Labels come from fixed sets or from the configuration, never from a request (A-08, A-18)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_COUNTS = (1, 4, 16, 64, 256, 1024, 4096)

OUTCOMES = {
    201: "logged",
    200: "known",
    400: "malformed",
    403: "forbidden",
    409: "conflict",
    410: "frozen",
    413: "malformed",
    422: "malformed",
    429: "quota",
    503: "unavailable",
}
ROUTES = ("about", "log.json", "checkpoint", "tile", "submit", "batch", "entry", "add", "other")
CLASSES = ("2xx", "4xx", "5xx")


class Metrics:
    """All metrics of one process. witnesses: the configured names.

    The front counts entries and requests; whoever runs the sequencer reports ``sealed``, ``cosigned`` and ``depth``.
    """

    def __init__(self, witnesses: Sequence[str] = ()) -> None:
        self.registry = CollectorRegistry()
        entries = Counter("teelog_entries", "Submitted entries by outcome", ["outcome"], registry=self.registry)
        self._entries = {status: entries.labels(outcome) for status, outcome in OUTCOMES.items()}
        self._failed = entries.labels("failed")
        requests = Counter("teelog_requests", "Requests", ["route", "status"], registry=self.registry)
        self._requests = {(route, kind): requests.labels(route, kind) for route in ROUTES for kind in CLASSES}
        self._batch = Histogram(
            "teelog_batch_entries", "Entries of a sealed batch", buckets=_COUNTS, registry=self.registry
        )
        self._depth = Gauge("teelog_pool_entries", "Entries that wait for a checkpoint", registry=self.registry)
        seconds = Histogram(
            "teelog_cosign_seconds",
            "Time until a witness answered",
            ["witness"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        failures = Counter(
            "teelog_cosign_failures", "Cosignatures that did not come", ["witness"], registry=self.registry
        )
        self._cosign = {name: (seconds.labels(name), failures.labels(name)) for name in witnesses}

    def entry(self, status: int) -> None:
        """An entry's verdict, as its HTTP status."""
        self._entries.get(status, self._failed).inc()

    def request(self, route: str, status: int) -> None:
        self._requests[route, CLASSES[0 if status < 400 else 1 if status < 500 else 2]].inc()

    def sealed(self, count: int) -> None:
        """A batch of ``count`` entries was sealed."""
        self._batch.observe(count)

    def depth(self, entries: int) -> None:
        """``entries`` wait in the pool."""
        self._depth.set(entries)

    def cosigned(self, witness: str, seconds: float | None) -> None:
        """A witness answered within ``seconds``; None: it did not, or with an error."""
        found = self._cosign.get(witness)
        if found is None:
            return
        if seconds is None:
            found[1].inc()
        else:
            found[0].observe(seconds)

    def watch_published(self, read: Callable[[], tuple[int, float] | None]) -> None:
        """read: (size, age in seconds) of the published checkpoint, asked at each scrape."""
        self.registry.register(_Published(read))

    def exposition(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)


class _Published(Collector):
    def __init__(self, read: Callable[[], tuple[int, float] | None]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        found = self._read()
        if found is not None:
            yield GaugeMetricFamily("teelog_checkpoint_size", "Size of the published checkpoint", found[0])
            yield GaugeMetricFamily("teelog_published_age_seconds", "Age of the published checkpoint", found[1])
