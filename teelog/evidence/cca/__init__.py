"""Arm CCA attestation tokens, in three cuts: token.py (bytes to claims), chain.py (both signatures to a pinned platform
key; keys.py reads it), policy.py (claims against a policy).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from teelog.errors import NotEstablished, TeelogError
from teelog.evidence import report_data
from teelog.evidence.cca import chain, policy, token
from teelog.evidence.cca.token import Token
from teelog.evidence.platform import NOTHING, Expected, Roots
from teelog.verdict import Check, Finding, failed, not_established, verified

PLATFORM = "cca"

_NO_ROOTS = Roots({})


@dataclass(frozen=True, slots=True)
class Cca:
    """A token as `teelog.evidence.platform.Evidence`."""

    token: Token

    @property
    def platform(self) -> str:
        return PLATFORM

    @property
    def raw(self) -> bytes:
        return self.token.raw

    @property
    def registers(self) -> Mapping[str, bytes]:
        realm = self.token.realm
        return {"rim": realm.rim, **{f"rem{number}": value for number, value in enumerate(realm.rem)}}

    @property
    def facts(self) -> tuple[str, ...]:
        return policy.facts(self.token)

    def fields(self) -> Mapping[str, object]:
        return token.fields(self.token)

    def hardware(self, endorsements: Sequence[bytes], now: int, roots: Roots | None = None) -> Finding:
        """roots: label -> SHA-256 of a platform key's SPKI DER; there are none built in. Tokens hold no time."""
        del now
        try:
            found = chain.verify(self.token, endorsements, roots or _NO_ROOTS)
        except NotEstablished as error:
            return not_established(Check.HARDWARE, error.message)
        except TeelogError as error:
            return failed(Check.HARDWARE, error)
        return verified(
            Check.HARDWARE,
            f"Arm CCA platform {self.token.platform.instance.hex()}, signed by the key {found.label}",
            f"trust anchor supplied by the user: Arm publishes no root ({found.key.fingerprint.hex()})",
            "the realm's key is the one that the platform vouches for, and signed the realm's claims",
            "revocation: not checked, the key is pinned itself",
        )

    def configuration(self, floor: Mapping[str, object] = NOTHING, require: Mapping[str, object] = NOTHING) -> Finding:
        return policy.configuration(self.token, floor, require)

    def freshness(self, expected: Expected) -> Finding:
        return report_data.freshness(self.token.realm.challenge, expected)

    def binding(self, expected: Expected) -> Finding:
        return report_data.binding(self.token.realm.challenge, expected)


def looks_like(raw: bytes) -> bool:
    return token.looks_like(raw)


def parse(raw: bytes) -> Cca:
    return Cca(token.parse(raw))


def check_floor(table: Mapping[str, object]) -> None:
    policy.check_floor(table)
