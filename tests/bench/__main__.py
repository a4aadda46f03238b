"""See the package's text."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.bench import (
    bundle,
    cold,
    evidence,
    fleet,
    growth,
    image,
    index,
    indexed,
    latency,
    monitor,
    replay,
    results,
    submit,
    witness,
)
from tests.bench.ratio import Row, Settings, progress, table

Measure = Callable[[Path, Settings], list[Row]]

ROWS: dict[str, Measure] = {
    "batch": partial(submit.batch, workers=0),
    "batch-workers": partial(submit.batch, workers=2),
    "results": results.batch,
    "post-256": partial(submit.post, connections=256, interval_ms=20, workers=0, bound=0.2),
    "post-256-workers": partial(submit.post, connections=256, interval_ms=20, workers=2, bound=0.28),
    "post-1024": partial(submit.post, connections=1_024, interval_ms=50, workers=0, bound=0.35),
    "post-1024-workers": partial(submit.post, connections=1_024, interval_ms=50, workers=2, bound=0.5),
    "indexed": partial(indexed.batch, workers=0),
    "indexed-workers": partial(indexed.batch, workers=2),
    "latency": latency.cosigned,
    "growth": growth.large_log,
    "index": index.rows,
    "replay": replay.whole_log,
    "monitor": monitor.hashing,
    "monitor-signatures": monitor.signatures,
    "witness": witness.add_checkpoint,
    "witness-fleet": fleet.add_checkpoint,
    "bundle": bundle.library,
    "cold": cold.proof_verify,
    "cold-verify": cold.verify,
    "evidence": evidence.sev_snp_report,
    "image": image.enclave_image,
}
SCRATCH = Path("/var/tmp")
"""A disk that keeps its data: /tmp may be memory, where a durable write costs nothing."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="ratios of design section 10")
    parser.add_argument("--row", action="append", choices=list(ROWS), help="this row only; repeatable")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--more", type=int, default=3, help="times as many rounds at most, where others disturb")
    parser.add_argument("--patience", type=float, default=20.0, help="seconds that a round waits for a quiet moment")
    parser.add_argument("--short", action="store_true", help="a tenth of the work, three rounds: no measurement")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--dir", type=Path, help="where logs are written; removed afterwards")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the servers end with us
    settings = (
        Settings(3, scale=0.1) if given.short else Settings(given.rounds, more=given.more, patience=given.patience)
    )
    rows: list[Row] = []
    for name in given.row or ROWS:
        progress(f"{name} ...")
        with tempfile.TemporaryDirectory(prefix="teelog-bench-", dir=given.dir or SCRATCH) as folder:
            rows += ROWS[name](Path(folder), settings)
    if given.json:
        print(json.dumps({"schema": "teelog-bench/v1", "machine": machine(), "rows": [as_json(row) for row in rows]}))
    else:
        print(f"{machine()}; {settings.rounds} rounds\n")
        print(table(rows))
        for row in rows:
            for key, value in row.notes.items():
                print(f"  {row.name}: {key}: {value}")
        print(
            f"cores taken by other processes in the worst round that counts: {max(settings.disturbed, default=0):.2f}"
        )
    return 0 if all(row.met is not False for row in rows) else 1


def as_json(row: Row) -> dict[str, object]:
    return {**dataclasses.asdict(row), "median": row.median, "met": row.met}


def machine() -> str:
    cores = len(os.sched_getaffinity(0))
    return f"{platform.machine()}, {cores} cores, Linux {platform.release()}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
