"""Keys and thresholds as namespaces and log policies state them: SPKI PEM, distinct, t of n."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from teelog.errors import MalformedError, UntrustedKey
from teelog.keys import Algorithm, PublicKey, public_key_from_pem
from teelog.statement.dsse import MAX_SIGNATURES

MAX_KEYS = 64


def read(pem: str, where: str) -> PublicKey:
    """A key from its PEM; low-order Ed25519 keys are refused here as everywhere (A-20). Raises MalformedError."""
    try:
        return _read(pem)
    except MalformedError as error:
        raise MalformedError(
            error.message, where=where, expected=error.expected, actual=error.actual, hint=error.hint
        ) from error


@lru_cache(1_024)  # a vendor's statements name the same few keys over and over; a refusal is not kept
def _read(pem: str) -> PublicKey:
    return public_key_from_pem(pem.encode())


def check_count(count: int, where: str) -> None:
    if not 1 <= count <= MAX_KEYS:
        raise MalformedError("wrong number of keys", where=where, expected=f"1 to {MAX_KEYS}", actual=count)


def check_threshold(threshold: int, holders: int, where: str) -> None:
    """1 <= threshold <= holders, and no more than an envelope has room for. Raises MalformedError."""
    if not 1 <= threshold <= min(holders, MAX_SIGNATURES):
        raise MalformedError(
            "threshold cannot be met", where=where, expected=f"1 to {min(holders, MAX_SIGNATURES)}", actual=threshold
        )


def is_ecdsa(key: PublicKey) -> bool:
    return key.algorithm in (Algorithm.ECDSA_P256, Algorithm.ECDSA_P384)


def require_threshold(signers: Iterable[str], holders: Mapping[str, PublicKey], threshold: int, what: str) -> None:
    """Raises UntrustedKey unless ``threshold`` distinct signers are among ``holders``. what: for the message."""
    # keys are counted, not signatures.
    found = len({keyid for keyid in signers if keyid in holders})
    if found < threshold:
        raise UntrustedKey(
            f"too few signatures by {what}", expected=f"{threshold} of {len(holders)} keys", actual=f"{found} signed"
        )
