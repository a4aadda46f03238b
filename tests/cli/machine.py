"""A fake machine, a log that holds what it runs, and the files that `teelog verify` takes: all of it right."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from teelog.statement.namespace import Role
from teelog.statement.release import Validity
from teelog.testing.sev_snp import Machine, authority
from tests.client import logs
from tests.statement import make

STREAM = "acme.example/inference/stable"
NONCE = bytes(range(32))
MEASUREMENT = hashlib.sha384(b"measurement").hexdigest()
TCB = {"bl": 4, "tee": 0, "snp": 24, "ucode": 219}
MACHINE = Machine()
VALID = Validity("2026-01-01T00:00:00Z", "2046-01-01T00:00:00Z")
VERIFIER = make.key("verifier")
ROOT = hashlib.sha256(authority("ark", "Milan")).hexdigest()

TRUST = f"""\
main = "policy.txt"
max_age = "24h"

[[namespace]]
name = "acme.example"
pin = "PIN"

[[stream]]
name = "{STREAM}"
min_svn = 3

[platform.sev-snp]
min_tcb = {{ bl = 4, tee = 0, snp = 24, ucode = 219 }}
roots = {{ Milan = "{ROOT}" }}
"""


def release(**changes: Any) -> bytes:
    variant = make.variant(registers={"measurement": MEASUREMENT}, require={"debug": False, "min_tcb": TCB})
    return make.release_file(**{"validity": VALID, "variants": (variant,)} | changes)


def namespace(**changes: Any) -> bytes:
    keys = (make.held(make.ACME, *make.OWNER_ROLES), make.held(VERIFIER, Role.RESULT))
    thresholds = {Role.OWNER: 1, Role.RELEASE: 1, Role.STATUS: 1, Role.RESULT: 1}
    return make.namespace_file(**{"keys": keys, "thresholds": thresholds} | changes)


@dataclass
class World:
    """A folder with all files; ``now``: when the witnesses cosigned, POSIX seconds."""

    folder: Path
    now: int = field(default_factory=lambda: int(time.time()))
    options: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, data: bytes | str) -> Path:
        path = self.folder / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    def log(self, *entries: bytes, witnesses: Any = logs.WITNESSES) -> list[bytes]:
        """Signs a log of these entries; their proofs."""
        signed = logs.sign(logs.head(entries), witnesses, time=self.now)
        return [logs.proof(entries, index, signed) for index in range(len(entries))]

    def arguments(self, *more: str, without: tuple[str, ...] = ("allowed-now", "binding"), **changes: Any) -> list[str]:
        """`verify` and its options; changes replace an option, None leaves it out."""
        folder = self.folder
        options: dict[str, Any] = {
            "evidence": folder / "report.bin",
            "endorsement": folder / "chain.pem",
            "statement": folder / "release.json",
            "proof": folder / "release.tlog-proof",
            "namespace": folder / "ns.json",
            "namespace_proof": folder / "ns.tlog-proof",
            "trust": folder / "trust.toml",
            "stream": STREAM,
            "nonce": NONCE.hex(),
            "state": folder / "state",
            **changes,
        }
        words = ["verify"]
        for name, value in options.items():
            words += [f"--{name.replace('_', '-')}", str(value)] if value is not None else []
        return [*words, *(word for name in without for word in ("--without", name)), *more]


def world(folder: Path, *, witnesses: Any = logs.WITNESSES, **changes: Any) -> World:
    made = World(folder)
    ns, rel = namespace(), release(**changes)
    pin = make.admit.classify(ns).statement_id
    _, ns_proof, release_proof = made.log(b"policy", ns, rel, witnesses=witnesses)
    made.write("policy.txt", logs.policy_text())
    made.write("trust.toml", TRUST.replace("PIN", pin))
    made.write("report.bin", MACHINE.report(report_data=NONCE))
    made.write("chain.pem", MACHINE.chain())
    made.write("ns.json", ns)
    made.write("ns.tlog-proof", ns_proof)
    made.write("release.json", rel)
    made.write("release.tlog-proof", release_proof)
    return made
