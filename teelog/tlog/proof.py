"""Offline proofs of logging (c2sp.org/tlog-proof).

c2sp.org/tlog-proof@v1
[extra <base64>]
index <decimal>
[<inclusion proof hash, base64> ...]

<checkpoint>
"""

from __future__ import annotations

from binascii import b2a_base64 as b64
from collections.abc import Mapping
from dataclasses import dataclass

from teelog import strict
from teelog.errors import MalformedError, ProofError
from teelog.tlog import rfc6962
from teelog.tlog.policy import Policy, WitnessedCheckpoint, verify_checkpoint
from teelog.tlog.witness import parse_hashes

HEADER = b"c2sp.org/tlog-proof@v1"
MAX_LENGTH = 1024 * 1024  # bytes (PR-18)


@dataclass(frozen=True, slots=True)
class TlogProof:
    """A proof, parsed and not verified.

    index: of the entry. hashes: its inclusion proof. checkpoint: the signed note, verbatim.
    unauthenticated_extra: the ``extra`` line's bytes, or None; nothing vouches for them (PR-03).
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    unauthenticated_extra: bytes | None = None

    def encode(self) -> bytes:
        """The proof file."""
        extra = self.unauthenticated_extra
        lines = [HEADER, b"\nextra " + b64(extra, newline=False) if extra else b"", b"\nindex %d\n" % self.index]
        lines += map(b64, self.hashes)
        return b"".join([*lines, b"\n", self.checkpoint])


@dataclass(frozen=True, slots=True)
class VerifiedInclusion:
    """What a verified proof says: this leaf hash is number ``index`` in a tree that the policy accepts."""

    leaf: bytes
    index: int
    witnessed: WitnessedCheckpoint


def parse_proof(data: bytes) -> TlogProof:
    """Reads a proof strictly. Raises MalformedError."""
    if len(data) > MAX_LENGTH:  # PR-18
        raise MalformedError("proof is too long", expected=f"at most {MAX_LENGTH} bytes", actual=f"{len(data)} bytes")
    # PR-06: the first empty line ends the proof; what follows is the checkpoint, to the byte.
    head, separator, checkpoint = data.partition(b"\n\n")
    header, *lines = head.split(b"\n")
    if header != HEADER:  # PR-01
        raise MalformedError("not a tlog-proof", expected=HEADER.decode(), actual=header[:80])
    if not separator:
        raise MalformedError("proof has no empty line before the checkpoint")
    extra = None
    if lines and lines[0].startswith(b"extra "):  # PR-02
        extra = strict.b64(lines.pop(0).removeprefix(b"extra "), "extra data")
        if not extra:
            raise MalformedError("extra line without data")
    if not lines or not lines[0].startswith(b"index "):  # PR-04
        raise MalformedError(
            "proof has no index line", expected="index <decimal>", actual=lines[0][:80] if lines else None
        )
    index = strict.decimal(lines.pop(0).removeprefix(b"index "), "index")
    return TlogProof(index, parse_hashes(lines), checkpoint, extra)  # PR-05


def verify_proof(
    proof: TlogProof,
    leaf: bytes,
    policy: Policy,
    *,
    origin: str | None = None,
    now: int | None = None,
    max_age: int | None = None,
    not_before: int | None = None,
    min_index: int = 0,
    mirrors: Mapping[str, int] | None = None,
) -> VerifiedInclusion:
    """Checks that the entry with leaf hash ``leaf`` was logged and witnessed. Opens no socket, reads no clock.

    leaf: ``rfc6962.leaf_hash`` of the entry, which the caller computes from what it holds (PR-20).
    min_index: the caller's lower bound for a log that prunes; at least the log's minimum index (TT-30).
    mirrors: minimum index of each of the policy's witnesses that is a mirror which prunes, by the policy's name: none
    counts for an entry below its own. The rest as in ``policy.verify_checkpoint``. Raises its errors, and ProofError.
    """
    if proof.index < min_index:
        raise ProofError(
            "the entry lies below the lower bound", expected=f"index {min_index} or above", actual=proof.index
        )
    # MI-43: who does not hold the entry says nothing about it.
    without = {name for name, least in (mirrors or {}).items() if proof.index < least}
    witnessed = verify_checkpoint(
        proof.checkpoint, policy, origin=origin, now=now, max_age=max_age, not_before=not_before, without=without
    )
    head = witnessed.checkpoint
    try:
        # PR-10, PR-11, PR-12, PR-13
        rfc6962.verify_inclusion(proof.index, head.size, leaf, proof.hashes, head.root)
    except ProofError as error:
        raise ProofError(
            f"the proof is not for this entry: {error.message}",
            expected=f"leaf {leaf.hex()} at index {proof.index} of {head.size}",
            actual=error.actual,
        ) from error
    return VerifiedInclusion(leaf, proof.index, witnessed)
