"""What every platform's forged cases are held against: one contract, whatever the evidence looks like."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import pytest

from teelog.errors import MalformedError, NotEstablished, TeelogError
from teelog.evidence import platform
from teelog.evidence.platform import Evidence, Expected
from teelog.verdict import Finding, Outcome


class Case(Protocol):
    """check: the first of hardware, configuration, freshness that is not verified; ``parse``; None for a good one."""

    @property
    def evidence(self) -> bytes: ...
    @property
    def check(self) -> str | None: ...
    @property
    def outcome(self) -> str | None: ...
    @property
    def cause(self) -> str: ...
    @property
    def floor(self) -> Mapping[str, object]: ...


def check_case(
    case: Case,
    name: str,
    nonce: bytes,
    hardware: Callable[[Evidence], Finding],
    refused: tuple[type[TeelogError], ...] = (MalformedError, NotEstablished),
) -> None:
    """Asserts that the case yields what it says. name: of the platform. refused: what parsing may raise."""
    if case.check == "parse":
        with pytest.raises(refused) as caught:
            platform.parse(case.evidence, name)
        assert case.cause in caught.value.message
        return
    evidence = platform.parse(case.evidence)
    assert evidence.platform == name
    found = [hardware(evidence), evidence.configuration(case.floor), evidence.freshness(Expected(nonce=nonce))]
    bad = [finding for finding in found if finding.outcome is not Outcome.VERIFIED]
    if case.check is None:
        assert not bad
        return
    assert (bad[0].check, bad[0].outcome) == (case.check, case.outcome)
    assert case.cause in str(bad[0].cause)


def mutations(raw: bytes, seed: object, count: int = 1000) -> Iterator[bytes]:
    """``raw`` with one bit flipped, every fifth time cut short instead; the same ones for the same seed."""
    chance = random.Random(str(seed))
    for number in range(count):
        bad = bytearray(raw)
        if number % 5 == 0:
            del bad[chance.randrange(len(bad)) :]
        else:
            place = chance.randrange(8 * len(bad))
            bad[place // 8] ^= 1 << place % 8
        yield bytes(bad)
