"""Quotes of a TPM 2.0: container.py (the file), quote.py (bytes to fields, signature), answers.py (freshness, binding),
policy.py (fields against a policy), event_log.py (what explains the registers).

There is no public root that all TPMs chain to: an attestation key is believed if its fingerprint is pinned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from teelog.errors import TeelogError, UntrustedKey
from teelog.evidence.platform import NOTHING, Expected, Roots
from teelog.evidence.tpm import answers, container, event_log, policy
from teelog.evidence.tpm import quote as quotes
from teelog.evidence.tpm.container import Container
from teelog.verdict import Check, Finding, failed, not_established, verified

PLATFORM = "tpm"


@dataclass(frozen=True, slots=True)
class Tpm:
    """A quote with its registers as `teelog.evidence.platform.Evidence`."""

    raw: bytes
    parsed: Container

    @property
    def platform(self) -> str:
        return PLATFORM

    @property
    def registers(self) -> Mapping[str, bytes]:
        quoted = self.parsed.quoted
        return {f"pcr{index}": quoted.values[index] for index in quoted.quote.selected}

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the attestation key's SPKI DER."""
        return hashlib.sha256(quotes.spki(self.parsed.key)).digest()

    @property
    def facts(self) -> tuple[str, ...]:
        return policy.facts(self.parsed.quoted.quote)

    def fields(self) -> Mapping[str, object]:
        return {"ak_sha256": self.fingerprint, **quotes.fields(self.parsed.quoted.quote), **self.registers}

    def hardware(self, endorsements: Sequence[bytes], now: int, roots: Roots | None = None) -> Finding:
        """roots: label -> SHA-256 of an attestation key's SPKI DER; there are none built in. Quotes hold no date."""
        del endorsements, now
        quoted = self.parsed.quoted
        try:
            quotes.verify(quoted.quote, quoted.signature, self.parsed.key)
            quotes.check_registers(quoted.quote, quoted.signature, quoted.values)
            if roots is None or not roots.pins:
                return not_established(
                    Check.HARDWARE, f"no attestation key is pinned, so this one is anybody's ({self.fingerprint.hex()})"
                )
            label = self._label(roots)
        except TeelogError as error:
            return failed(Check.HARDWARE, error)
        return verified(
            Check.HARDWARE,
            f"TPM whose attestation key is pinned as {label} ({self.fingerprint.hex()})",
            "that this key is a TPM's is the word of whoever pinned it: no certificate was asked for",
            "the quote covers the registers below",
        )

    def _label(self, roots: Roots) -> str:
        for label, pin in roots.pins.items():
            if pin == self.fingerprint:
                return label
        raise UntrustedKey(
            "the attestation key is not a pinned one",
            expected=" or ".join(pin.hex() for pin in roots.pins.values()),
            actual=self.fingerprint.hex(),
        )

    def configuration(self, floor: Mapping[str, object] = NOTHING, require: Mapping[str, object] = NOTHING) -> Finding:
        return policy.configuration(self.parsed.quoted.quote, self.registers, floor, require)

    def freshness(self, expected: Expected) -> Finding:
        return answers.freshness(self.parsed.quoted.quote.extra_data, expected)

    def binding(self, expected: Expected) -> Finding:
        return answers.binding(self.parsed.quoted.quote.extra_data, expected)

    def replay(self, log: bytes) -> Finding:
        """See `teelog.evidence.platform.Logged.replay`: a TCG event log against the PCRs."""
        return event_log.compare(log, self.registers)


def looks_like(raw: bytes) -> bool:
    return container.looks_like(raw)


def parse(raw: bytes) -> Tpm:
    return Tpm(raw, container.parse(raw))


def check_floor(table: Mapping[str, object]) -> None:
    policy.check_floor(table)
