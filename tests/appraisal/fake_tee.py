"""Evidence of no TEE: its bytes are JSON that says how each question is to be answered.

It stands in where the steps around the evidence are tested; the platforms' own tests are in tests/evidence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from teelog.errors import MalformedError
from teelog.evidence.platform import Evidence, Expected, Roots
from teelog.verdict import Check, Finding, failed, not_established, verified
from tests.statement import make

GOOD_ENDORSEMENT = b"endorsement"
_NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True)
class FakeTee:
    raw: bytes
    platform: str = "sev-snp"
    registers: Mapping[str, bytes] = field(default_factory=dict)
    facts: tuple[str, ...] = ()
    nonce: bytes = b""
    binds: bytes = b""
    debug: bool = False

    def fields(self) -> Mapping[str, object]:
        return {}

    def hardware(self, endorsements: Sequence[bytes], now: int, roots: Roots | None = None) -> Finding:
        if not endorsements:
            return not_established(Check.HARDWARE, "no endorsement was given")
        if list(endorsements) != [GOOD_ENDORSEMENT]:
            return failed(Check.HARDWARE, "the report's signature does not verify")
        return verified(Check.HARDWARE, "genuine")

    def configuration(
        self, floor: Mapping[str, object] = _NOTHING, require: Mapping[str, object] = _NOTHING
    ) -> Finding:
        if self.debug:
            return failed(Check.CONFIGURATION, "debugging is allowed")
        unknown = set(require) - {"debug", "min_tcb"}
        if unknown:
            return not_established(Check.CONFIGURATION, f"no meaning here: {sorted(unknown)}")
        least = max((table["min_tcb"]["snp"] for table in (floor, require) if "min_tcb" in table), default=0)  # type: ignore[index]
        if least > 23:
            return failed(Check.CONFIGURATION, "TCB is too low", expected=least, actual=23)
        return verified(Check.CONFIGURATION, "debugging is off")

    def freshness(self, expected: Expected) -> Finding:
        if expected.nonce is None:
            return not_established(Check.FRESHNESS, "no nonce is expected")
        if expected.nonce != self.nonce:
            return failed(Check.FRESHNESS, "another nonce", expected=expected.nonce.hex(), actual=self.nonce.hex())
        return verified(Check.FRESHNESS)

    def binding(self, expected: Expected) -> Finding:
        if expected.binds is None:
            return not_established(Check.BINDING, "nothing is expected to be bound")
        if expected.binds != self.binds:
            return failed(Check.BINDING, "the evidence does not commit to it")
        return verified(Check.BINDING)


def report(**changes: Any) -> bytes:
    members = {"measurement": make.MEASUREMENT, "nonce": "0123456789abcdef", "binds": "a key", "debug": False}
    return json.dumps(members | changes).encode()


def parse(evidence: bytes, platform: str | None = None) -> Evidence:
    try:
        read = json.loads(evidence)
    except ValueError as error:
        raise MalformedError("this is no evidence") from error
    return FakeTee(
        evidence,
        registers={"measurement": bytes.fromhex(read["measurement"])},
        nonce=read["nonce"].encode(),
        binds=read["binds"].encode(),
        debug=read["debug"],
    )
