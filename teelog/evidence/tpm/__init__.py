"""Quotes of a TPM 2.0: container.py (the file), quote.py (bytes to fields, signature), answers.py (freshness, binding),
policy.py (fields against a policy), event_log.py (what explains the registers).

There is no public root that all TPMs chain to: an attestation key is believed if it is pinned, or certified below a
pinned root (chain.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from teelog.errors import TeelogError
from teelog.evidence.certificates import utc
from teelog.evidence.platform import NOTHING, Expected, Roots
from teelog.evidence.tpm import answers, chain, container, event_log, policy
from teelog.evidence.tpm import quote as quotes
from teelog.evidence.tpm.chain import Believed
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
        return self.parsed.quoted.registers

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
        """roots: see `chain.verify`; there are none built in. Quotes hold no date."""
        quoted = self.parsed.quoted
        try:
            quotes.verify(quoted.quote, quoted.signature, self.parsed.key)
            quotes.check_registers(quoted.quote, quoted.signature, quoted.values)
            if roots is None or not roots.pins:
                return not_established(
                    Check.HARDWARE, f"no attestation key is pinned, so this one is anybody's ({self.fingerprint.hex()})"
                )
            found = chain.verify(quotes.spki(self.parsed.key), endorsements, now, roots)
        except TeelogError as error:
            return failed(Check.HARDWARE, error)
        return verified(
            Check.HARDWARE,
            *_established(found, self.fingerprint),
            "trust anchor supplied by the user: TPMs have no common root",
            "the attestation key signed the quote, which covers the registers",
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


def _established(found: Believed, fingerprint: bytes) -> Iterator[str]:
    certificate = found.certificate
    if certificate is None:
        yield f"TPM whose attestation key is pinned as {found.label} ({fingerprint.hex()})"
        yield "that this key is a TPM's is the word of whoever pinned it"
    else:
        yield f"TPM {certificate.common_name}, chain to the root pinned as {found.label}"
        yield f"its certificate is valid until {utc(certificate.not_after)}"
        yield "revocation: not checked, no list was given"


def looks_like(raw: bytes) -> bool:
    return container.looks_like(raw)


def parse(raw: bytes) -> Tpm:
    return Tpm(raw, container.parse(raw))


def check_floor(table: Mapping[str, object]) -> None:
    policy.check_floor(table)
