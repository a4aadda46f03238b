"""One appraisal in which everything is right, to be spoiled in one place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from teelog import trust as trust_file
from teelog.appraisal.api import appraise
from teelog.appraisal.inputs import Expect, LoggedFile, Seen
from teelog.trust import Trust
from teelog.verdict import Check, Verdict
from tests.appraisal import fake_tee
from tests.client import logs
from tests.statement import make

STREAM = "acme.example/inference/stable"
NAMESPACE = make.namespace_file()
PIN = make.acme().statement_id
RELEASE = make.release_file()
LATER = 600  # seconds between the cosignatures and the appraisal
NOW = logs.NOW + LATER
EXPECT = Expect(STREAM, nonce=b"0123456789abcdef", binds=b"a key")
WAIVED = frozenset({Check.ALLOWED_NOW})


def trust_text(**changes: str) -> str:
    """The trust file; members by name, or None to leave one out."""
    parts = {
        "main": 'main = "main.policy"\nmax_age = "24h"\n',
        "namespace": f'[[namespace]]\nname = "acme.example"\npin = "{PIN}"\n',
        "stream": f'[[stream]]\nname = "{STREAM}"\nmin_svn = 3\n',
    }
    return "".join((parts | changes).values())


def trust(policy: bytes | None = None, **changes: str) -> Trust:
    return trust_file.parse(trust_text(**changes).encode(), {"main.policy": policy or logs.policy_text()}.__getitem__)


def trusting(pin: str) -> Trust:
    """The trust file with another pin."""
    return trust(namespace=f'[[namespace]]\nname = "acme.example"\npin = "{pin}"\n')


@dataclass(frozen=True)
class Case:
    """entries: of the log; proofs are made from them. place: of namespace and release."""

    entries: tuple[bytes, ...] = (b"log policy", NAMESPACE, b"other", RELEASE, b"later")
    namespace: bytes = NAMESPACE
    release: bytes = RELEASE
    signed: bytes | None = None
    evidence: bytes | None = field(default_factory=fake_tee.report)
    endorsements: tuple[bytes, ...] = (fake_tee.GOOD_ENDORSEMENT,)
    trust: Trust = field(default_factory=trust)
    expect: Expect = EXPECT
    now: int = NOW
    seen: Seen = field(default_factory=Seen)
    without: frozenset[Check] = WAIVED
    more: dict[str, Any] = field(default_factory=dict)

    def proof(self, entry: bytes) -> bytes:
        return logs.proof(self.entries, self.entries.index(entry), self.signed)

    def arguments(self) -> dict[str, Any]:
        return {
            "evidence": self.evidence,
            "endorsements": self.endorsements,
            "release": LoggedFile(self.release, self.proof(self.release)),
            "namespaces": (LoggedFile(self.namespace, self.proof(self.namespace)),),
            "trust": self.trust,
            "expect": self.expect,
            "now": self.now,
            "seen": self.seen,
            "without": self.without,
        } | self.more

    def with_release(self, release: bytes) -> Case:
        entries = tuple(release if entry == self.release else entry for entry in self.entries)
        return replace(self, release=release, entries=entries)

    def appraise(self) -> Verdict:
        return appraise(**self.arguments())
