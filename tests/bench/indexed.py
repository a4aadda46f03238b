"""What the index under a log's server costs the log itself: the same load, with and without it."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

from tests.bench import submit
from tests.bench.ratio import Row, Settings, interleave, quotients

PATIENCE = 600.0
"""Seconds for an index to catch up, which is not part of what is timed."""


def batch(folder: Path, settings: Settings, workers: int) -> list[Row]:
    """Batches to two servers in turn; the index catches up in between."""
    each = settings.count(16_000, 4_000)
    total = each * (settings.most + 1)
    (folder / "plain").mkdir()
    (folder / "indexed").mkdir()
    caught_up: list[float] = []
    with (
        submit.bench(folder / "plain", total, 20, workers) as plain,
        submit.bench(folder / "indexed", total, 20, workers, index=True) as indexed,
    ):

        def rate(ours: submit.Bench) -> float:
            outcome = ours.drive(each, mode="batch", size=submit.BATCH, connections=submit.SENDERS)
            return float(outcome["done"] / outcome["seconds"])

        def with_index(_: int) -> float:
            began = time.monotonic()
            found = rate(indexed)
            wait(indexed.server.port)
            caught_up.append(each / (time.monotonic() - began))
            return found

        rate(plain)
        with_index(0)
        _, base, rates = interleave(lambda _: rate(plain), with_index, settings)
    return [
        Row(
            name="indexed" if not workers else "indexed-workers",
            what=f"batch submit, {submit.BATCH:,} a request, interval 20 ms, {submit.fronts(workers)}, index on",
            against="the same without an index",
            samples=quotients(rates, base),
            bound=0.9,
            unit="/s",
            base=base,
            ours=rates,
            notes={"entries/s until they are indexed": ", ".join(f"{each:.0f}" for each in caught_up)},
        )
    ]


def wait(port: int) -> None:
    """Until everything published is indexed."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/log.json") as answer:
            told = json.load(answer)["index"]
        if told.get("input_size", "none yet") == told.get("published_size"):
            return
        time.sleep(0.2)
    raise AssertionError("the index does not catch up")
