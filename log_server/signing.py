"""The log's own signatures: both keys over one body, verified before anyone sees them (R-07)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from teelog.errors import ConfigError, TeelogError
from teelog.log_server.seams import Damaged
from teelog.tlog import note
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.vkey import LOG_TYPES, NoteSigner, SignatureType, VerifierKey


class ClockBack(TeelogError):
    """The clock shows an earlier time than a signature already made (R-15): nothing is signed until that is past."""

    exit_code = 4


class LogSigner:
    """origin: the log's. signers: its keys, Ed25519 first; all are named as the origin."""

    def __init__(self, origin: str, signers: Sequence[NoteSigner]) -> None:
        # R-04, CP-09: a key speaks for the origin that it is named after, and for no other.
        for signer in signers:
            if signer.verifier.name != origin:
                raise ConfigError("a key belongs to another log", expected=origin, actual=signer.verifier.name)
            if signer.verifier.type not in LOG_TYPES:
                raise ConfigError("not a log's signature type", actual=f"{signer.verifier.type:#04x}")
        if not signers or signers[0].verifier.type is not SignatureType.ED25519:
            raise ConfigError("a log signs with Ed25519 first", actual=str(len(signers)) + " keys")  # TT-04
        self.origin = origin
        self._signers = tuple(signers)
        self.newest = 0
        """Largest timestamp signed or seen, POSIX seconds."""

    @property
    def vkeys(self) -> list[VerifierKey]:
        return [signer.verifier for signer in self._signers]

    @property
    def key_hash(self) -> bytes:
        """SHA-256 of the vkey lines: what the state's row is bound to."""
        return sha256("".join(f"{key}\n" for key in self.vkeys).encode()).digest()

    def saw(self, lines: Sequence[note.VerifiedSignature]) -> None:
        """Remembers the time of signatures made earlier."""
        self.newest = max([self.newest, *(line.timestamp or 0 for line in lines)])

    def reopen(self, signed: bytes) -> tuple[bytes, tuple[note.Signature, ...]]:
        """(body, the log's own lines) of a checkpoint of this log. Raises SignatureError, UntrustedKey."""
        opened = note.open_note(signed, self.vkeys)
        return opened.text, tuple(line.signature for line in opened.signatures)

    def check_clock(self, now: int) -> None:
        """now: POSIX seconds. Raises ClockBack."""
        if now < self.newest:
            raise ClockBack(
                "the clock went backwards: nothing is signed", expected=f"at least {self.newest}", actual=now
            )

    def sign(self, size: int, root: bytes, now: int) -> tuple[bytes, tuple[note.Signature, ...]]:
        """(body, signature lines). The caller's last_signed is (size, root). Raises ClockBack, Damaged."""
        self.check_clock(now)
        self.newest = now
        body = Checkpoint(self.origin, size, root).body()  # CP-07: no extension lines
        lines = tuple(signer.sign(body, now) for signer in self._signers)  # CP-11
        opened = note.open_note(note.encode(body, lines), self.vkeys)
        if len(opened.signatures) != len(self._signers):
            raise Damaged("a key's own signature does not verify")
        return body, lines
