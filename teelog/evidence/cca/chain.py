"""Second cut: from both signatures of a token to the platform key that the trust file pins.

    realm token <- realm attestation key (RAK), whose hash is the platform token's challenge
    platform token <- CCA platform attestation key (CPAK), pinned by SHA-256 of its SPKI DER

Source: DEN0137 section A7.2.1, "Attestation token".
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from teelog.errors import NotEstablished, SignatureError, UntrustedKey, VerificationError
from teelog.evidence import cose
from teelog.evidence.cca import keys
from teelog.evidence.cca.keys import PlatformKey
from teelog.evidence.cca.token import HASHES, Token
from teelog.evidence.platform import Roots

_PLATFORM, _REALM = "the platform token", "the realm token"


@dataclass(frozen=True, slots=True)
class Chain:
    """label: what the trust file calls the platform's key."""

    key: PlatformKey
    label: str


def verify(token: Token, files: Sequence[bytes], roots: Roots) -> Chain:
    """That the pinned platform made this token for this realm. files: endorsements, see `keys.read`.

    Raises NotEstablished, UntrustedKey, SignatureError, VerificationError, MalformedError.
    """
    labels = {pin: label for label, pin in roots.pins.items()}
    if not labels:
        raise NotEstablished("Arm publishes no root of CCA platforms, and no platform's key is pinned")
    given = keys.read(files)
    if not given:
        raise NotEstablished("no endorsement: the platform's attestation key is missing")
    pinned = [each for each in given if each.fingerprint in labels]
    if not pinned:
        raise UntrustedKey(
            "the platform's key is not pinned",
            expected=" or ".join(sorted(pin.hex() for pin in labels)),
            actual=" ".join(each.fingerprint.hex() for each in given),
        )
    key = _signer(token, pinned)
    _check_realm(token)
    return Chain(key, labels[key.fingerprint])


def _signer(token: Token, pinned: Sequence[PlatformKey]) -> PlatformKey:
    refusal: VerificationError = SignatureError(f"{_PLATFORM} is not signed by a pinned key")
    for each in pinned:
        try:
            cose.verify(token.platform.cose, each.key, _PLATFORM)
        except VerificationError as error:
            refusal = error
            continue
        return each
    raise refusal


def _check_realm(token: Token) -> None:
    realm = token.realm
    own = hashlib.new(HASHES[realm.key_hash], realm.key).digest()
    if not hmac.compare_digest(own, token.platform.challenge):
        raise VerificationError(
            "the platform token is for another realm's key", expected=token.platform.challenge.hex(), actual=own.hex()
        )
    cose.verify(realm.cose, cose.public_key(realm.key, "realm key"), _REALM)
