"""Verifying a bundle: what it costs beside its bare signature checks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import teelog
from teelog.appraisal.api import verify
from teelog.appraisal.inputs import Expect
from teelog.keys import PublicKey
from teelog.verdict import OF_EVIDENCE
from tests.appraisal.story import NOW, STREAM, Story, current
from tests.bench.ratio import Row, Settings, interleave, quotients

ENTRIES = 1_000_000


def _per_call(call: Callable[[], object], times: int) -> float:
    """CPU seconds of this process for one call."""
    start = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - start) / times


def _made(entries: int) -> tuple[bytes, teelog.Trust]:
    """A bundle of a log of so many entries, and the trust file that believes it."""
    story = Story()
    story.ledger.fill(entries // 2)
    release = story.release("1.4.2")
    story.status(current(release))
    story.ledger.fill(entries // 2)
    return story.bundle(release).encode(), story.trust()


def _bare(call: Callable[[], object]) -> tuple[Callable[[], None], int]:
    """The signature checks that ``call`` makes, with all they need at hand, and how many they are."""
    checks: list[tuple[Any, bytes, bytes]] = []
    original = PublicKey.verify

    def noted(key: PublicKey, message: bytes, signature: bytes) -> None:
        checks.append((key._key, signature, message))
        original(key, message, signature)

    with patch.object(PublicKey, "verify", noted):
        call()

    def check() -> None:
        for key, signature, message in checks:
            key.verify(signature, message)

    return check, len(checks)


def library(folder: Path, settings: Settings) -> list[Row]:
    """From the bytes of a bundle to the verdict of all that it is about; the trust file was read before."""
    del folder
    data, trust = _made(settings.count(ENTRIES, 1_000))
    expect = Expect(STREAM)
    times = settings.count(300, 20)

    def call() -> object:
        return verify(evidence=None, bundle=data, trust=trust, expect=expect, now=NOW + 60, without=OF_EVIDENCE)

    bare, signatures = _bare(call)
    _, base, ours = interleave(lambda _: _per_call(bare, times), lambda _: _per_call(call, times), settings)
    return [
        Row(
            name="bundle",
            what=f"verify one bundle, library, warm, {signatures} Ed25519 signatures, {len(data):,} bytes",
            against="the sum of its bare signature verifies",
            samples=quotients(ours, base),
            bound=1.5,
            at_most=True,
            unit="s",
            base=base,
            ours=ours,
        )
    ]
