"""Prometheus metrics. Labels come from fixed sets or from the configuration, never from a request (A-08, A-18)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
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
ROUTES = ("about", "log.json", "checkpoint", "tile", "submit", "batch", "entry", "add", "index", "lookup", "other")
CLASSES = ("2xx", "4xx", "5xx")


class FrontMetrics(Protocol):
    """What a front counts."""

    def entry(self, status: int, count: int = 1) -> None:
        """Entries' verdict, as its HTTP status."""

    def request(self, route: str, status: int, count: int = 1) -> None:
        """Requests, by one of ROUTES."""


class Metrics:
    """All metrics of a log. witnesses: the configured names.

    Fronts count entries and requests, the writer reports ``sealed`` and ``cosigned``; ``watch`` is asked when scraped.
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

    def entry(self, status: int, count: int = 1) -> None:
        self._entries.get(status, self._failed).inc(count)

    def request(self, route: str, status: int, count: int = 1) -> None:
        self._requests[route, CLASSES[0 if status < 400 else 1 if status < 500 else 2]].inc(count)

    def sealed(self, count: int) -> None:
        """A batch of ``count`` entries was sealed."""
        self._batch.observe(count)

    def cosigned(self, witness: str, seconds: float | None) -> None:
        """A witness answered within ``seconds``; None: it did not, or with an error."""
        found = self._cosign.get(witness)
        if found is None:
            return
        if seconds is None:
            found[1].inc()
        else:
            found[0].observe(seconds)

    def watch(self, status: Callable[[], Mapping[str, Any]]) -> None:
        """status: ``Writer.status``, with ``published_age_s``, ``index`` (``IndexProcess.status``) and ``mirrors``
        (``Mirroring.status``) beside it.
        """
        self.registry.register(_Status(status))

    def exposition(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)


_GAUGES = {
    "size": ("teelog_size", "Size of the tree at the last signed root"),
    "published_size": ("teelog_checkpoint_size", "Size of the published checkpoint"),
    "published_age_s": ("teelog_published_age_seconds", "Time since a checkpoint was last published"),
    "pool_entries": ("teelog_pool_entries", "Entries that wait for a checkpoint"),
    "pool_bytes": ("teelog_pool_bytes", "Bytes of the entries that wait for a checkpoint"),
    "writing": ("teelog_writing", "1 unless the writer has stopped"),
}


_INDEX_GAUGES = {
    "running": ("teelog_index_running", "1 unless the index has stopped"),
    "size": ("teelog_index_checkpoint_size", "Size of the published index checkpoint"),
    "input_size": ("teelog_index_input_size", "Entries of the log that it is of"),
    "mapped_size": ("teelog_index_mapped_size", "Entries of the log that are mapped, published or not"),
    "lag": ("teelog_index_lag_entries", "Published entries that no published index covers"),
}


class _Status(Collector):
    def __init__(self, status: Callable[[], Mapping[str, Any]]) -> None:
        self._status = status

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        for key, (name, text) in _GAUGES.items():
            if status.get(key) is not None:
                yield GaugeMetricFamily(name, text, float(status[key]))
        yield from _witnesses("teelog", status.get("witnesses", ()))
        yield from _mirrors(status.get("mirrors", ()))
        index = status.get("index")
        if index is not None:
            index = index | {"lag": max(0, (status.get("published_size") or 0) - index["input_size"])}
            for key, (name, text) in _INDEX_GAUGES.items():
                yield GaugeMetricFamily(name, text, float(index[key]))
            yield from _witnesses("teelog_index", index["witnesses"])


def _mirrors(mirrors: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    if not mirrors:
        return
    sizes = GaugeMetricFamily("teelog_mirror_size", "Entries that a mirror holds", labels=["mirror"])
    failing = GaugeMetricFamily("teelog_mirror_failing", "1 while pushing to a mirror fails", labels=["mirror"])
    alarms = GaugeMetricFamily("teelog_mirror_alarm", "1 for a mirror that is not asked any more", labels=["mirror"])
    for mirror in mirrors:
        if mirror["size"] is not None:
            sizes.add_metric([mirror["name"]], float(mirror["size"]))
        failing.add_metric([mirror["name"]], 1.0 if mirror["failure"] else 0.0)
        alarms.add_metric([mirror["name"]], 1.0 if mirror["alarm"] else 0.0)
    yield from (sizes, failing, alarms)


def _witnesses(prefix: str, witnesses: Iterable[Mapping[str, Any]]) -> Iterator[Metric]:
    answers = CounterMetricFamily(f"{prefix}_cosign_answers", "Cosignatures that came", labels=["witness"])
    alarms = GaugeMetricFamily(
        f"{prefix}_cosign_alarm", "1 for a witness that is not asked any more", labels=["witness"]
    )
    for witness in witnesses:
        answers.add_metric([witness["name"]], witness["answers"])
        alarms.add_metric([witness["name"]], 1.0 if witness["alarm"] else 0.0)
    yield answers
    yield alarms
