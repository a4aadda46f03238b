"""Writes tests/evidence/golden: `python -m tests.evidence.make_golden`. The fakes' bytes, committed.

A file NAME.bin is a report, NAME-of-HASH.crt its endorsement; expected.json says what each case must yield.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from teelog.testing import sev_snp
from teelog.testing.sev_snp_cases import NONCE, cases

GOLDEN = Path(__file__).parent / "golden"


def files() -> dict[str, bytes]:
    made: dict[str, bytes] = {"roots.pem": b"".join(map(sev_snp.pem, sev_snp.roots().certificates))}
    stated = []
    for case in cases():
        endorsement = f"{hashlib.sha256(case.endorsement).hexdigest()[:16]}.crt"
        made[f"{case.name}.bin"] = case.evidence
        made[endorsement] = case.endorsement
        stated.append(
            {
                "name": case.name,
                "evidence": f"{case.name}.bin",
                "endorsement": endorsement,
                "check": case.check,
                "outcome": None if case.check is None else case.outcome,
                "cause": case.cause,
            }
        )
    pins = {product: pin.hex() for product, pin in sev_snp.roots().pins.items()}
    whole = {"now": sev_snp.NOW, "nonce": NONCE.hex(), "pins": pins, "cases": stated}
    return {**made, "expected.json": (json.dumps(whole, indent=1) + "\n").encode()}


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for old in GOLDEN.iterdir():
        old.unlink()
    for name, data in files().items():
        (GOLDEN / name).write_bytes(data)


if __name__ == "__main__":
    main()
