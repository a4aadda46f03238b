"""From a POST to its answer, which is published and cosigned by three witnesses on this machine."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from tests.bench import entries, logs, witness
from tests.bench.ratio import Row, Settings, progress
from tests.bench.submit import Bench

RATE = 200
INTERVAL_MS = 250


def cosigned(folder: Path, settings: Settings) -> list[Row]:
    each = settings.count(RATE * 10, RATE * 3)
    file = folder / "entries"
    entries.write(file, each * settings.rounds + RATE)
    path = folder / "log"
    logs.teelog("log", "init", path, "--origin", entries.ORIGIN)
    logs.configure(path, entries.ORIGIN, 50, INTERVAL_MS)
    vkey = (path / "log.vkey").read_text().splitlines()[0]
    with ExitStack() as stack:
        found = []
        for number in range(3):
            name = f"w{number}.example/witness"
            _, port, vkeys = stack.enter_context(witness.serving(folder / f"w{number}", vkey, name))
            found.append((vkeys, f"http://127.0.0.1:{port}"))
        policy = logs.policy(path, found)
        server = stack.enter_context(logs.serving(path, policy_file=policy))
        server.allow(folder)
        ours = Bench(server, file, policy)
        ours.drive(RATE, mode="open", rate=RATE, connections=128)
        samples, medians = [], []
        for number in range(settings.rounds):
            times = ours.drive(each, mode="open", rate=RATE, connections=128)["latencies"]
            samples.append(times[int(len(times) * 0.99)] * 1000 / INTERVAL_MS)
            medians.append(times[len(times) // 2] * 1000 / INTERVAL_MS)
            progress(f"  round {number + 1}/{settings.rounds}: p99 {samples[-1]:.3f}, median {medians[-1]:.3f}")
    return [
        Row(
            name="latency",
            what=f"POST to published and cosigned by 3 local witnesses, p99 at {RATE}/s",
            against=f"the checkpoint interval ({INTERVAL_MS} ms)",
            samples=samples,
            bound=1.5,
            at_most=True,
            ours=medians,
            notes={"median against the interval": round(sorted(medians)[len(medians) // 2], 2)},
        )
    ]
