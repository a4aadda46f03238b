"""A vendor's releases and statuses on a log in memory, and the appraisal of its bundles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import teelog
from teelog import Check, Expect, Seen, Trust, Verdict
from teelog.appraisal.api import appraise
from teelog.bundle import Bundle
from teelog.keys import PrivateKey
from teelog.statement import admit
from teelog.statement.status import Allowed, State
from teelog.testing.ledger import Ledger, View, trust_text
from tests.appraisal import fake_tee
from tests.statement import make

STREAM = "acme.example/inference/stable"
NOW = 1_790_000_000
LATER = 600  # seconds between the cosignatures and the appraisal
EXPECT = Expect(STREAM, nonce=b"0123456789abcdef", binds=b"a key")
NEXT_UPDATE = "2026-10-15T00:00:00Z"
NAMESPACE = make.namespace_file()
PIN = make.acme().statement_id
TRUST_FILE = "trust.toml"
_FILES: dict[int, tuple[Trust, dict[str, bytes]]] = {}
LOG_CHECKS = (Check.SIGNER, Check.LOGGED, Check.WITNESSED, Check.ALLOWED_NOW, Check.FRESH)


def current(*releases: str) -> tuple[Allowed, ...]:
    return make.allowed(*releases)


def grace(release: str, until: str) -> Allowed:
    return Allowed(release, State.GRACE, until)


def files_of(trust: Trust) -> dict[str, bytes]:
    """The files from which ``Story.trust`` made it."""
    return _FILES[id(trust)][1]


@cache
def statement_id(entry: bytes) -> str:
    return admit.classify(entry).statement_id


class Story:
    """A log with its policy and one namespace. Every method appends one entry and returns its statement id."""

    def __init__(self, namespace: bytes = NAMESPACE, **ledger: Any) -> None:
        self.ledger = Ledger(**ledger)
        self.append(make.log_policy_file(log=self.ledger.origin))
        self.namespaces = [self.append(namespace)]
        self.statuses: dict[str, list[str]] = {}

    def append(self, entry: bytes) -> str:
        self.ledger.append(entry)
        return statement_id(entry)

    def release(self, version: str, *signers: PrivateKey, **changes: Any) -> str:
        return self.append(make.release_file(*signers, version=version, **changes))

    def status(self, allowed: Sequence[Allowed], *signers: PrivateKey, stream: str = STREAM, **changes: Any) -> str:
        """The next status of the stream, unless ``changes`` say otherwise."""
        before = self.statuses.setdefault(stream, [])
        members = {
            "stream": stream,
            "log": self.ledger.origin,
            "seq": len(before),
            "prev": before[-1] if before else None,
            "allowed": tuple(allowed),
            "next_update": NEXT_UPDATE,
        }
        made = self.append(make.status_file(*signers, **members | changes))
        before.append(made)
        return made

    def publish(self, now: int = NOW, **how: Any) -> View:
        return self.ledger.publish(now, **how)

    def bundle(self, release: str, now: int = NOW, **how: Any) -> Bundle:
        return self.publish(now, **how).bundle(STREAM, release)

    def trust(
        self,
        pin: str | None = PIN,
        *,
        quorum: int = 3,
        semantic: int = 2,
        urls: dict[str, str] | None = None,
        policies: dict[str, bytes] | None = None,
        **file: Any,
    ) -> Trust:
        """policies: in place of the ledger's, by name."""
        files = {TRUST_FILE: trust_text(STREAM, pin, **file).encode()}
        files |= self.ledger.policies(quorum, semantic, urls) | (policies or {})
        made = teelog.trust.parse(files[TRUST_FILE], files.__getitem__)
        _FILES[id(made)] = made, files
        return made


def told() -> tuple[Story, str]:
    """The story, and the release that it allows."""
    story = Story()
    release = story.release("1.4.2")
    story.status(current(release))
    return story, release


def judge(
    bundle: Bundle | bytes, trust: Trust, now: int = NOW + LATER, seen: Seen | None = None, **changes: Any
) -> Verdict:
    arguments: dict[str, Any] = {
        "evidence": fake_tee.report(),
        "endorsements": (fake_tee.GOOD_ENDORSEMENT,),
        "bundle": bundle if isinstance(bundle, bytes) else bundle.encode(),
        "trust": trust,
        "expect": EXPECT,
        "now": now,
        "seen": seen,
    }
    return appraise(**arguments | changes)
