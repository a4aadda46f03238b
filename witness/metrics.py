"""Counters for operators. Labels come from fixed sets only: no origin, no address (R-28, A-18)."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_STATUSES = frozenset({200, 400, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503})


class Metrics:
    """One witness's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "witness_requests",
            "Answers to add-checkpoint and sign-subtree.",
            ["call", "status"],
            registry=self.registry,
        )
        self.cosigned = Counter("witness_cosigned", "Checkpoints cosigned.", registry=self.registry)
        self.inconsistent = Counter(
            "witness_inconsistent",
            "Checkpoints with a valid signature of their log that failed a consistency check. Alarm on any.",
            registry=self.registry,
        )
        self.forks = Counter("witness_forks", "Fork proofs written. Alarm on any.", registry=self.registry)
        self.storage_errors = Counter("witness_storage_errors", "Failed reads and commits.", registry=self.registry)
        self.request_errors = Counter(
            "witness_request_errors", "Requests that met a fault of ours. Alarm on any.", registry=self.registry
        )
        self.answer_seconds = Histogram(
            "witness_answer_seconds",
            "From a request's header to its answer.",
            ["call"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch = Histogram(
            "witness_batch_heads",
            "Heads moved in one durable transaction.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.lists = Counter(
            "witness_list_pulls",
            "Lists of logs that were looked at, by what came of it.",
            ["result"],
            registry=self.registry,
        )
        self.list_age = Gauge(
            "witness_list_age_seconds",
            "How long the list that was read longest ago was not read. 0 without lists.",
            registry=self.registry,
        )
        self.commit_seconds = Histogram(
            "witness_commit_seconds", "Time of one durable transaction.", buckets=_SECONDS, registry=self.registry
        )
        self.unpublished = Gauge(
            "witness_unpublished_seconds",
            "How long monitors have not seen the newest head of some log. Alarm at 600 (WM-05).",
            registry=self.registry,
        )
        self.rebuilt_entries = Counter(
            "witness_rebuilt_entries", "Entries of logs mapped to their indexes.", registry=self.registry
        )
        self.rebuilding = Gauge(
            "witness_rebuilding_seconds",
            "How long the longest rebuild of an index that is under way has taken.",
            registry=self.registry,
        )
        self.unreadable = Counter(
            "witness_unreadable", "Attempts at an index that the log's files did not allow.", registry=self.registry
        )
        self.wrong = Counter(
            "witness_wrong_indexes",
            "Checkpoints of index logs that hold something false. Alarm on any.",
            ["cause"],
            registry=self.registry,
        )
        self.frozen = Gauge("witness_frozen_logs", "Logs that are frozen and cosigned no more.", registry=self.registry)
        self.logs = Gauge("witness_logs", "Known logs.", registry=self.registry)
        self.disabled = Gauge("witness_disabled_logs", "Of them, disabled ones.", registry=self.registry)
        self.waiting = Gauge("witness_waiting_requests", "Requests that wait for the writer.", registry=self.registry)
        self.last = Gauge(
            "witness_last_cosigned_timestamp_seconds",
            "When a checkpoint was cosigned last, by this witness's clock; 0: not since it started.",
            registry=self.registry,
        )

    def answered(self, call: str, status: int, seconds: float | None = None) -> None:
        """seconds: that it took."""
        if seconds is not None:
            self.answer_seconds.labels(call).observe(seconds)
        self.requests.labels(call, str(status) if status in _STATUSES else "other").inc()

    def watch(
        self,
        unpublished_seconds: Callable[[], float],
        logs: Callable[[], float],
        disabled: Callable[[], float],
        waiting: Callable[[], float],
    ) -> None:
        self.unpublished.set_function(unpublished_seconds)
        self.logs.set_function(logs)
        self.disabled.set_function(disabled)
        self.waiting.set_function(waiting)

    def exposition(self) -> bytes:
        return generate_latest(self.registry)
