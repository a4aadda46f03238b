"""Entries judged one by one as a monitor does, its rules' state written down and read again between any two."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from teelog.statement import admit, ear, jws
from teelog.statement.index_map import MemoryState, map_entry
from teelog.statement.namespace import Role
from teelog.witness.monitor import watches
from teelog.witness.monitor.finding import Finding
from teelog.witness.monitor.rules import Rules
from tests.statement import make

STREAM = "acme.example/inference/stable"
OTHER_STREAM = "acme.example/inference/beta"
OURS = ("namespace", "acme.example")
VERIFIER = make.key("verifier")
SPARE = make.key("spare")
"""Holds the role release in acme.example, as ACME does, and is not used."""
NOW = datetime(2026, 1, 1, tzinfo=UTC)

NAMESPACE = make.namespace_file(keys=(make.held(make.ACME, *make.OWNER_ROLES), make.held(SPARE, Role.RELEASE)))
CHECKERS = make.namespace_file(
    namespace="checks.example",
    keys=(make.held(make.ACME, Role.OWNER), make.held(VERIFIER, Role.RESULT)),
    thresholds={Role.OWNER: 1, Role.RESULT: 1},
)


class Judging:
    """A log and its monitor. watched: subject and value of each watch. found: all findings so far."""

    def __init__(self, *watched: tuple[str, str], known: Collection[str] | None = None) -> None:
        self.watches = [watches.parse(*each) for each in watched]
        self.known = known
        self.state = MemoryState(make.LOG)
        self.kept = b""
        self.size = 0
        self.found: list[Finding] = []

    def add(self, *entries: bytes) -> list[Finding]:
        """What the last of them gives rise to."""
        for entry in entries:
            rules = self.rules()
            mapped = map_entry(entry, self.size, self.state)
            last = rules.observe(self.size, entry, mapped, self.state)
            if mapped.effect is not None:
                self.state.apply(mapped.effect)
            self.size += 1
            self.kept = rules.dump()
            self.found += last
        return last

    def rules(self) -> Rules:
        return Rules(make.LOG, self.watches, self.known, self.kept)

    def begin(self) -> Judging:
        """Entries 0 to 2: a log policy, acme.example and checks.example."""
        self.add(make.log_policy_file(), NAMESPACE, CHECKERS)
        self.found.clear()
        return self

    def standing(self, now: datetime = NOW, ahead: timedelta = timedelta(days=1), *, whole: bool = True) -> list[str]:
        return told(self.rules().standing(now, ahead, whole=whole))


def told(findings: Collection[Finding]) -> list[str]:
    """Each as `kind about index`, with `over` where that is what it says."""
    return [
        f"{each.kind} {each.about}{'' if each.index is None else f' {each.index}'}{' over' if each.over else ''}"
        for each in findings
    ]


def identity(file: bytes) -> str:
    return admit.classify(file).statement_id


def result(
    signer: Any = VERIFIER, issuer: str = "checks.example", executables: int | None = None, **judged: Any
) -> bytes:
    """A result about STREAM whose hardware is genuine and whose measurement is no release's, but for ``judged``."""
    claim: dict[str, Any] = {
        "verdict": "failed",
        "stream": STREAM,
        "release": None,
        "namespaces": [],
        "checkpoint": None,
        "checks": {"hardware": "verified", "measurement": "failed"},
        "as_of": None,
    }
    vector = {} if executables is None else {"executables": executables}
    claims = {
        "eat_profile": ear.PROFILE,
        "iss": issuer,
        "iat": 1_790_000_000,
        "ear_verifier_id": {"developer": "urn:example", "build": "1"},
        "submods": {"sev-snp": {"ear_status": "contraindicated", "ear_trustworthiness_vector": vector}},
        ear.CLAIM: claim | judged,
    }
    return jws.sign(msgspec.json.encode(claims), signer, "eat+jwt").file
