"""The real SEV-SNP evidence among the shared vectors, and what each must yield (expected.json).

The names stand here too, so that each case shows up as skipped where the vectors are not at hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.vectors import vectors

PASSING = (
    "snp/trustee/test-report.bin",
    "derived/snp/milan-v3-dstack.report.bin",
    "derived/snp/az-evidence-v1.report.bin",
    "derived/snp/az-evidence-genoa.report.bin",
    "derived/snp/genoa-v3-trustee-e2e.report.bin",
    "snp/openanolis-trustee/turin-report.bin",
    "snp/trustee/test-vlek-report.bin",
    "snp/openanolis-trustee/test-vlek-report.bin",
    "snp/virtee-sev/report_milan.hex",
)
DEBUG = "snp/go-sev-guest/attestation.bin"
ROGUE_ROOT = "derived/negative/snp-rogue-root.report.bin"
WRONG_CHIP = "derived/negative/snp-wrong-chip.report.bin"
ALL = (*PASSING, DEBUG, ROGUE_ROOT, WRONG_CHIP)
GENUINE = (*PASSING, DEBUG)


@dataclass(frozen=True, slots=True)
class Real:
    """now: POSIX seconds, within the certificates' validity."""

    raw: bytes
    endorsements: list[bytes]
    now: int
    stated: dict[str, Any]

    @property
    def expect(self) -> dict[str, Any]:
        return dict(self.stated["expect"])


def seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def stated() -> dict[str, dict[str, Any]]:
    """expected.json's SEV-SNP entries by their evidence; skips where the vectors are missing."""
    entries = json.loads(vectors("evidence/expected.json").read_bytes())
    return {entry["evidence"]: entry for entry in entries if entry["platform"] == "sev-snp"}


def load(name: str) -> Real:
    entry = stated()[name]
    raw = vectors(f"evidence/{name}").read_bytes()
    if name.endswith(".hex"):
        raw = bytes.fromhex(raw.decode().strip())
    files = [vectors(f"evidence/{entry[key]}").read_bytes() for key in ("endorsement", "chain") if key in entry]
    return Real(raw, files, seconds(entry.get("verify_at", "2026-10-01T00:00:00Z")), entry)
