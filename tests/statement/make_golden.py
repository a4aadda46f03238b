"""Writes tests/statement/golden: one file of each kind, and what reading it must yield.

    python -m tests.statement.make_golden

All keys are derived from their names (tests/statement/make.py). Ed25519 only signs here, as it alone is deterministic.
"""

from __future__ import annotations

import json
from pathlib import Path

from teelog.statement import admit, log_policy
from teelog.statement.namespace import Role
from teelog.statement.release import Coverage
from tests.statement import make

GOLDEN = Path(__file__).parent / "golden"


def entries() -> dict[str, bytes]:
    first = make.namespace_file()
    keys = (
        make.held(make.ACME, Role.OWNER, until=None),
        make.held(make.SECOND, Role.OWNER, Role.STATUS),
        make.held(make.key("third"), Role.RELEASE, until=90_000),
        make.held(make.key("fourth"), Role.RELEASE, Role.RESULT),
    )
    every = {Role.OWNER: 2, Role.RELEASE: 1, Role.STATUS: 1, Role.RESULT: 1}
    sgx = {"mrsigner": "c1" * 32, "isvprodid": "0001", "isvsvn": "0005"}
    tdx = {"mrtd": "d1" * 48, "rtmr0": "any", "rtmr1": "d3" * 48, "rtmr2": "d4" * 48}
    variants = (
        make.variant(),
        make.variant(platform="tdx", when={}, registers=tdx, require={}),
        make.variant(platform="sgx", when={"tdp": True, "note": None}, registers=sgx, require={"debug": False}),
    )
    frozen = log_policy.Frozen("log.example/tee2")
    prev = admit.classify(make.log_policy_file()).statement_id
    return {
        "log-policy.json": make.log_policy_file(),
        "log-policy-frozen.json": make.log_policy_file(version=1, prev=prev, frozen=frozen),
        "log-policy-raw.json": make.log_policy_file(admission=log_policy.Admission(raw=True)),
        "namespace.json": first,
        "namespace-next.json": make.namespace_file(
            make.ACME,
            make.key("fourth"),
            version=1,
            prev=admit.classify(first).statement_id,
            keys=keys,
            thresholds=every,
        ),
        "namespace-recovered.json": make.namespace_file(replaces="5e" * 32),
        "release.json": make.release_file(),
        "release-two-signatures.json": make.release_file(make.ACME, make.key("fourth")),
        "release-many-platforms.json": make.release_file(variants=variants, coverage=Coverage(), materials=()),
    }


def expected(files: dict[str, bytes]) -> bytes:
    found = {}
    for name, file in files.items():
        parsed = admit.classify(file)
        found[name] = {
            "kind": parsed.kind,
            "statement_id": parsed.statement_id,
            "namespace": parsed.namespace,
            "stream": None if parsed.stream is None else str(parsed.stream),
            "keyids": parsed.envelope.keyids,
            "payload": parsed.envelope.claimed().decode(),
        }
    return json.dumps(found, indent=1).encode() + b"\n"


def write() -> None:
    GOLDEN.mkdir(exist_ok=True)
    files = entries()
    for name, file in files.items():
        (GOLDEN / name).write_bytes(file)
    (GOLDEN / "expected.json").write_bytes(expected(files))


if __name__ == "__main__":
    write()
