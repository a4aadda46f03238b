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
from tests.bench import bare, entries
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


def batch(folder: Path, settings: Settings, form: Form = Form.JWT) -> list[Row]:
    """Against the bare verifies, as the row of releases; and against releases on the same server."""
    each = settings.count(16_000, 4_000)
    with bench(folder, each * (settings.most + 2), 20, 0) as releases, bare.verifiers() as primitive:
        releases.drive(each, mode="batch", size=BATCH, connections=SENDERS)  # the first is the one that results name
        made = claims(published(releases.server.port))
        ours = Bench(releases.server, folder / "results", releases.policy)
        write(ours.file, made, each * (2 * settings.most + 1), form)

        def run(driven: Bench) -> float:
            outcome = driven.drive(each, mode="batch", size=BATCH, connections=SENDERS)
            return float(outcome["done"] / outcome["seconds"])

        run(ours)
        _, base, rates = interleave(
            lambda _: primitive.rate(settings.count(6_000, 1_000)), lambda _: run(ours), settings
        )
        _, their, own = interleave(lambda _: run(releases), lambda _: run(ours), settings)
    size = len(strict_json.encode(made))
    what = f"batch submit of results ({form}, claims of {size:,} bytes), {BATCH:,} a request, interval 20 ms, "
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
        Row(
            name="results-releases",
            what="the same",
            against="batch submit of releases of 1 KiB on the same server",
            samples=quotients(own, their),
            bound=0.9,
            unit="/s",
            base=their,
            ours=own,
        ),
    ]
