"""Entries/s of a log server: signed, strictly deduplicated, durable, published, each answered with its proof."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from teelog.tlog import policy as tlog_policy
from teelog.tlog.proof import TlogProof, parse_proof, verify_proof
from teelog.tlog.rfc6962 import leaf_hash
from tests.bench import bare, entries, logs, processes
from tests.bench.entries import Entries
from tests.bench.ratio import Row, Settings, interleave, quotients

BATCH = 1_000
SENDERS = 8
"""Connections that submit batches."""


@dataclass(slots=True)
class Bench:
    """A server with the namespace allowed, and the entries that it has not seen yet."""

    server: logs.Server
    file: Path
    policy: Path
    next: int = 0

    def drive(self, count: int, path: str = "/entries", **options: Any) -> dict[str, Any]:
        """Runs the load, checks that every answer was a 201 and that one of them is a proof that verifies."""
        outcome = logs.drive(self.server.port, self.file, self.next, count, **options)
        self.next = outcome["next"]
        if outcome["failed"] or not outcome["done"]:
            raise AssertionError(f"{outcome['failed']} refused: {outcome['refusal'][:2000]}")
        self._verify(*outcome["sample"])
        return outcome

    def _verify(self, number: int, answer: str) -> None:
        body = answer.encode("latin-1").partition(b"\r\n\r\n")[2]
        if body.startswith(b"{"):
            first = json.loads(body)
            item = first["results"][0]
            note = first["checkpoints"][item["checkpoint"]].encode()
            hashes = tuple(entries.unbase64(text) for text in item["proof"])
            body = TlogProof(int(item["index"]), hashes, note).encode()
        leaf = leaf_hash(Entries(self.file)[number])
        verify_proof(parse_proof(body), leaf, tlog_policy.parse_policy(self.policy.read_bytes()))


@contextmanager
def bench(folder: Path, count: int, interval_ms: int, workers: int, *, index: bool = False) -> Iterator[Bench]:
    """A new log and its server. count: of entries that the row may need. index: whether it is indexed."""
    file = folder / "entries"
    entries.write(file, count)
    path = folder / "log"
    logs.teelog("log", "init", path, "--origin", entries.ORIGIN)
    logs.configure(path, entries.ORIGIN, interval_ms)
    policy = logs.policy(path)
    index_policy = logs.policy(path / "index") if index else None
    with logs.serving(path, workers=workers, policy_file=policy, index_policy=index_policy) as server:
        server.allow(folder)
        yield Bench(server, file, policy)


def batch(folder: Path, settings: Settings, workers: int) -> list[Row]:
    each = settings.count(16_000, 4_000)
    with bench(folder, each * (settings.most + 1), 20, workers) as ours, bare.verifiers() as primitive:

        def run(_: int) -> float:
            outcome = ours.drive(each, mode="batch", size=BATCH, connections=SENDERS)
            return float(outcome["done"] / outcome["seconds"])

        run(0)
        _, base, rates = interleave(lambda _: primitive.rate(settings.count(6_000, 1_000)), run, settings)
    return [
        Row(
            name="batch" if not workers else "batch-workers",
            what=f"batch submit, {BATCH:,} a request, interval 20 ms, " + fronts(workers),
            against="bare Ed25519 verifies/s on all cores",
            samples=quotients(rates, base),
            bound=0.65 if workers else 0.5,
            unit="/s",
            base=base,
            ours=rates,
        )
    ]


def post(folder: Path, settings: Settings, connections: int, interval_ms: int, workers: int, bound: float) -> list[Row]:
    """One POST an entry; with one process and 1,024 connections also the CPU row."""
    seconds = max(1.0, 4.0 * settings.scale)
    most = int(6_000 * seconds) + connections  # a faster server is done sooner
    cpu: list[tuple[float, float, float]] = []
    with (
        bench(folder, most * (settings.most + 1), interval_ms, workers) as ours,
        processes.empty_handler() as (empty_pid, empty_port),
    ):
        ours.drive(most, mode="closed", connections=connections, seconds=min(1.0, seconds))

        def base(_: int) -> float:
            before = processes.cpu_seconds(empty_pid)
            outcome = logs.drive(
                empty_port, ours.file, 0, most * 4, mode="closed", connections=connections, seconds=seconds
            )
            spent = processes.cpu_seconds(empty_pid) - before
            cpu.append((spent / outcome["done"], bare.verify_cpu(), 0.0))
            return float(outcome["done"] / outcome["seconds"])

        def run(_: int) -> float:
            before = processes.cpu_seconds(ours.server.pid)
            outcome = ours.drive(most, mode="closed", connections=connections, seconds=seconds)
            spent = processes.cpu_seconds(ours.server.pid) - before
            cpu[-1] = (*cpu[-1][:2], spent / outcome["done"])
            return float(outcome["done"] / outcome["seconds"])

        rates = interleave(base, run, settings)
    row = Row(
        name=f"post-{connections}" + ("-workers" if workers else ""),
        what=f"one POST each, {connections:,} connections, interval {interval_ms} ms, {fronts(workers)}",
        against="an empty one-process aiohttp handler under the same load",
        samples=quotients(rates.ours, rates.base),
        bound=bound,
        unit="/s",
        base=rates.base,
        ours=rates.ours,
        notes={"at most connections / interval": round(connections * 1000 / interval_ms)},
    )
    return [row, _cpu_row([cpu[number] for number in rates.numbers], connections, interval_ms, workers)]


def _cpu_row(cpu: list[tuple[float, float, float]], connections: int, interval_ms: int, workers: int) -> Row:
    parts = [empty + verify for empty, verify, _ in cpu]
    spent = [ours for _, _, ours in cpu]
    return Row(
        name=f"cpu-{connections}" + ("-workers" if workers else ""),
        what=f"server CPU per entry, one POST each, {connections:,} connections, interval {interval_ms} ms, "
        + fronts(workers),
        against="CPU of the empty handler + one verify",
        samples=quotients(spent, parts),
        bound=1.8,
        at_most=True,
        unit="s",
        base=parts,
        ours=spent,
        notes={
            "us (empty, verify, ours)": ", ".join(
                f"{statistics.median(column) * 1e6:.0f}" for column in zip(*cpu, strict=True)
            )
        },
    )


def fronts(workers: int) -> str:
    return f"{workers} fronts and a sequencer" if workers else "one process"
