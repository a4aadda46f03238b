"""Batches of attestation results: like those of releases, though each also names what it was judged by.

Every result names the logged release, the namespace's version and a checkpoint, all of which the log looks up.
"""

from __future__ import annotations

import hashlib
import struct
import urllib.request
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from teelog.statement import admit, ear, ear_token, ear_verdict, strict_json
from teelog.statement.token import Form
from teelog.tlog.checkpoint import Checkpoint, parse_body
from tests.bench import bare, entries, processes
from tests.bench.ratio import Row, Settings, interleave, quotients
from tests.bench.submit import BATCH, SENDERS, Bench, bench, fronts

FILL = "0" * 32


def claims(head: Checkpoint) -> dict[str, Any]:
    """What `teelog verify` writes of a verdict, but for its number."""
    return {
        "eat_profile": ear.PROFILE,
        "iss": entries.NAMESPACE,
        "sub": f"{entries.NAMESPACE}/inference/stable",
        "iat": 1_790_000_000,
        "ear_verifier_id": {"developer": ear_verdict.DEVELOPER, "build": "teelog 0.1.0"},
        "ear_status": "affirming",
        "submods": {
            "sev-snp": {
                "ear_status": "affirming",
                "ear_trustworthiness_vector": {"configuration": 2, "executables": 3, "hardware": 2},
            }
        },
        ear.CLAIM: {
            "verdict": "verified",
            "stream": f"{entries.NAMESPACE}/inference/stable",
            "release": admit.classify(entries.one()).statement_id,
            "namespaces": [admit.classify(entries.namespace_file()).statement_id],
            "checkpoint": {"origin": head.origin, "size": head.size, "root": head.root.hex()},
            "checks": {"hardware": "verified", "measurement": "verified", "allowed-now": "verified"},
            "as_of": None,
        },
        "jti": FILL,
    }


def make(made: dict[str, Any], form: Form, bounds: tuple[int, int]) -> bytes:
    """Results [low, high), each behind its length; they differ in their ``jti``."""
    found = []
    for number in range(*bounds):
        jti = hashlib.sha256(b"%d" % number).hexdigest()[: len(FILL)]
        file = ear_token.sign(made | {"jti": jti}, entries.KEY, form).file
        found.append(struct.pack(">H", len(file)) + file)
    return b"".join(found)


def write(path: Path, made: dict[str, Any], count: int, form: Form) -> None:
    """``count`` results, each behind its big-endian uint16 length."""
    parts = [(low, min(count, low + 2_000)) for low in range(0, count, 2_000)]
    with ProcessPoolExecutor() as pool, path.open("wb") as file:
        for part in pool.map(partial(make, made, form), parts):
            file.write(part)


def published(port: int) -> Checkpoint:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/checkpoint") as answer:
        return parse_body(answer.read().partition(b"\n\n")[0] + b"\n")


def batch(folder: Path, settings: Settings) -> list[Row]:
    """Against the bare verifies, as the row of releases; and its CPU against that of releases on the same server."""
    each = settings.count(16_000, 4_000)
    with bench(folder, each * (settings.most + 2), 20, 0) as releases, bare.verifiers() as primitive:
        releases.drive(each, mode="batch", size=BATCH, connections=SENDERS)  # the first is the one that results name
        made = claims(published(releases.server.port))
        driven = {form: Bench(releases.server, folder / form, releases.policy) for form in Form}
        for form, ours in driven.items():
            write(ours.file, made, each * (2 * settings.most + 1), form)
        jwt, cwt = driven[Form.JWT], driven[Form.CWT]

        def rate(of: Bench) -> float:
            outcome = of.drive(each, mode="batch", size=BATCH, connections=SENDERS)
            return float(outcome["done"] / outcome["seconds"])

        def cpu(of: Bench) -> float:
            before = processes.cpu_seconds(releases.server.pid)
            rate(of)
            return (processes.cpu_seconds(releases.server.pid) - before) / each

        rate(jwt)
        _, base, rates = interleave(
            lambda _: primitive.rate(settings.count(6_000, 1_000)), lambda _: rate(jwt), settings
        )
        spent: list[tuple[float, float, float]] = []
        for _ in range(settings.rounds):
            spent.append((cpu(releases), cpu(jwt), cpu(cwt)))
    size = len(strict_json.encode(made))
    what = f"batch submit of results (JWT, claims of {size:,} bytes), {BATCH:,} a request, interval 20 ms, "
    return [
        Row(
            name="results",
            what=what + fronts(0),
            against="bare Ed25519 verifies/s on all cores",
            samples=quotients(rates, base),
            bound=0.5,
            unit="/s",
            base=base,
            ours=rates,
        ),
        _cpu_row("results-cpu", "JWT", [(release, jwt) for release, jwt, _ in spent], 1.15),
        _cpu_row("results-cwt-cpu", "CWT", [(release, cwt) for release, _, cwt in spent], None),
    ]


def _cpu_row(name: str, form: str, spent: list[tuple[float, float]], bound: float | None) -> Row:
    return Row(
        name=name,
        what=f"server CPU per result ({form}), in the same batches",
        against="the same of a release of 1 KiB",
        samples=[ours / base for base, ours in spent],
        bound=bound,
        at_most=True,
        unit="s",
        base=[base for base, _ in spent],
        ours=[ours for _, ours in spent],
    )
