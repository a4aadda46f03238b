"""Every error that this project raises on purpose.

    TeelogError
    ├── MalformedError        bytes from outside that do not follow their format
    ├── VerificationError     well-formed, yet it does not hold
    │   ├── SignatureError        a signature of a known key fails
    │   ├── UntrustedKey          no signature by a key that the caller trusts
    │   ├── ProofError            a Merkle proof does not lead to the signed root
    │   └── NotWitnessed          the policy's quorum is not met
    ├── RefusedError          a peer or a local rule said no (403, 409, 422, ...)
    ├── NotEstablished        a check lacks its input
    ├── UnavailableError      I/O, network, a busy or stopped peer: trying again may help
    ├── MisbehaviourError     a log provably broke its promise; carries the fork proof
    └── ConfigError           the caller's own configuration, policy or key file

A programmer's mistake is a ValueError or TypeError, never one of these. Text in ``expected``, ``actual`` and in the
message may come from outside: print it through ``teelog.cli.output`` only.
"""

from __future__ import annotations

from typing import ClassVar


class TeelogError(Exception):
    """Base of all errors here.

    message: one cause, one line, no trailing full stop.
    expected, actual: what should have been there, and what was (None where it makes no sense).
    hint: the next command to type, or None.
    evidence: raw bytes that show the failure to a third party, or None.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        expected: object = None,
        actual: object = None,
        hint: str | None = None,
        evidence: bytes | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.actual = actual
        self.hint = hint
        self.evidence = evidence

    def __str__(self) -> str:
        parts = [self.message]
        if self.expected is not None:
            parts.append(f"expected: {self.expected}")
        if self.actual is not None:
            parts.append(f"actual: {self.actual}")
        return "; ".join(parts)


class MalformedError(TeelogError):
    """Input that does not follow its format. ``where`` names the place (a line, a JSON pointer), or is None."""

    def __init__(self, message: str, *, where: str | None = None, **rest: object) -> None:
        super().__init__(message if where is None else f"{where}: {message}", **rest)  # type: ignore[arg-type]
        self.where = where


class VerificationError(TeelogError):
    """Well-formed input that does not verify."""


class SignatureError(VerificationError):
    """A signature that names a known key does not verify under it."""


class UntrustedKey(VerificationError):
    """No signature comes from a key that the caller trusts for this purpose."""


class ProofError(VerificationError):
    """A Merkle proof does not connect what it should connect."""


class NotWitnessed(VerificationError):
    """The cosignatures present do not satisfy the policy's quorum."""


class RefusedError(TeelogError):
    """A peer's or a local rule's definite no; ``status`` is the HTTP status where there is one, else 0."""

    def __init__(self, message: str, *, status: int = 0, **rest: object) -> None:
        super().__init__(message, **rest)  # type: ignore[arg-type]
        self.status = status


class NotEstablished(TeelogError):
    """A check could not run because its input is missing."""

    exit_code = 3


class UnavailableError(TeelogError):
    """Something needed is not reachable now; ``retry_after`` in seconds if the peer said so."""

    exit_code = 4

    def __init__(self, message: str, *, retry_after: float | None = None, **rest: object) -> None:
        super().__init__(message, **rest)  # type: ignore[arg-type]
        self.retry_after = retry_after


class MisbehaviourError(TeelogError):
    """A log provably broke its promise. ``evidence`` holds a fork proof (teelog.tlog.fork)."""

    exit_code = 5


class ConfigError(TeelogError):
    """The caller's own configuration, policy, key or directory is wrong."""

    exit_code = 6
