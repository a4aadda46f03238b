"""Fork proofs (``.teelog-fork``): two checkpoints of one log that cannot both be true, checkable by anyone.

Ours; described in docs/formats/fork-proof.md.

    teelog-fork/v1
    first <bytes of the first note>
    second <bytes of the second note>
    [key <vkey of the log> ...]
    [root <base64>]
    [<consistency proof hash, base64> ...]

    <first note><second note>

Sizes are equal: the roots differ. Sizes differ: ``root`` is the root of the first ``first.size`` leaves of the second
checkpoint's tree, shown by a consistency proof from ``root`` to the second checkpoint, and it is not the first's.
A consistency proof that merely fails shows nothing, since anyone can send a bad one.

``key`` lines make the file complete: they say whose signatures these are. They are the writer's claim. What such a file
proves by itself is that the holder of one of these keys signed two views; that the key is a certain log's is for the
reader to know.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from teelog import strict
from teelog.errors import ConfigError, MalformedError, ProofError, TeelogError, VerificationError
from teelog.tlog import rfc6962, subtree, vkey
from teelog.tlog.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from teelog.tlog.note import Verifier
from teelog.tlog.rfc6962 import HASH_LENGTH
from teelog.tlog.vkey import LOG_TYPES, VerifierKey
from teelog.tlog.witness import parse_hashes

HEADER = b"teelog-fork/v1"
MAX_LENGTH = 1024 * 1024  # bytes
MAX_KEYS = 8


@dataclass(frozen=True, slots=True)
class ForkProof:
    """Two signed notes, first.size <= second.size. root and proof: None and () where the sizes are equal.

    keys: the log's, as the writer of the file knew them.
    """

    first: bytes
    second: bytes
    root: bytes | None = None
    proof: tuple[bytes, ...] = ()
    keys: tuple[VerifierKey, ...] = ()

    def encode(self) -> bytes:
        """The file."""
        lines = [HEADER, b"first %d" % len(self.first), b"second %d" % len(self.second)]
        lines += [f"key {key}".encode() for key in self.keys]
        if self.root is not None:
            lines.append(b"root " + base64.b64encode(self.root))
        lines += [base64.b64encode(item) for item in self.proof]
        return b"\n".join(lines) + b"\n\n" + self.first + self.second


@dataclass(frozen=True, slots=True)
class VerifiedFork:
    """The two views, both signed by the log."""

    first: SignedCheckpoint
    second: SignedCheckpoint

    def signers(self) -> tuple[Verifier, ...]:
        """The keys whose signatures prove the fork, each once."""
        lines = (*self.first.note.signatures, *self.second.note.signatures)
        return tuple(dict.fromkeys(line.verifier for line in lines))


def parse_fork(data: bytes) -> ForkProof:
    """Reads a fork proof strictly. Raises MalformedError."""
    if len(data) > MAX_LENGTH:
        raise MalformedError(
            "fork proof is too long", expected=f"at most {MAX_LENGTH} bytes", actual=f"{len(data)} bytes"
        )
    head, separator, notes = data.partition(b"\n\n")
    header, *lines = head.split(b"\n")
    if header != HEADER or not separator or len(lines) < 2:
        raise MalformedError("not a fork proof", expected=HEADER.decode(), actual=header[:80])
    first = _length(lines.pop(0), b"first ")
    second = _length(lines.pop(0), b"second ")
    if first + second != len(notes):
        raise MalformedError(
            "fork proof's notes have other lengths than stated", expected=first + second, actual=len(notes)
        )
    keys = []
    while lines and lines[0].startswith(b"key "):
        keys.append(_key(lines.pop(0).removeprefix(b"key ")))
    if len(keys) > MAX_KEYS or len(set(keys)) != len(keys):
        raise MalformedError("fork proof has too many keys, or one twice", expected=f"at most {MAX_KEYS}")
    root = None
    if lines and lines[0].startswith(b"root "):
        root = strict.b64(lines.pop(0).removeprefix(b"root "), "root", HASH_LENGTH)
    return ForkProof(notes[:first], notes[first:], root, parse_hashes(lines), tuple(keys))


def _key(text: bytes) -> VerifierKey:
    try:
        return vkey.parse_for(text.decode(), LOG_TYPES, "log")
    except (UnicodeDecodeError, ConfigError) as error:
        raise MalformedError("fork proof names something that is no log key") from error


def _length(line: bytes, prefix: bytes) -> int:
    if not line.startswith(prefix):
        raise MalformedError("fork proof lacks a line", expected=prefix.decode() + "<bytes>", actual=line[:80])
    return strict.decimal(line.removeprefix(prefix), "note length")


def verify_fork(fork: ForkProof, log_keys: Iterable[Verifier]) -> VerifiedFork:
    """Checks that the log behind ``log_keys`` signed two views. Raises VerificationError if this does not show it.

    log_keys: keys of one log, as the caller knows them. Raises MalformedError, SignatureError, UntrustedKey too.
    """
    keys = list(log_keys)
    views = VerifiedFork(open_checkpoint(fork.first, keys), open_checkpoint(fork.second, keys))
    first, second = views.first.checkpoint, views.second.checkpoint
    if first.origin != second.origin:
        raise VerificationError("no fork: the checkpoints are of two logs", expected=first.origin, actual=second.origin)
    for view in (views.first, views.second):
        if any(line.verifier.name != first.origin for line in view.note.signatures):
            raise VerificationError(
                "no fork: a checkpoint is signed by another name than its origin", expected=first.origin
            )
    other = second.root
    if first.size != second.size or fork.root is not None:
        if fork.root is None or not 0 < first.size < second.size:
            raise VerificationError(
                "no fork: sizes differ and nothing connects them", actual=f"{first.size} and {second.size}"
            )
        # The second checkpoint commits to `root` as its own first leaves.
        rfc6962.verify_consistency(first.size, fork.root, second.size, second.root, fork.proof)
        other = fork.root
    elif fork.proof:
        raise VerificationError("no fork: a proof between equal sizes")
    if first.root == other:
        raise VerificationError("no fork: both checkpoints hold the same tree", actual=first.root.hex())
    return views


def verify_own_keys(fork: ForkProof) -> VerifiedFork:
    """Checks a fork by the keys that the file itself names, each alone: two keys, one view each, prove nothing.

    The result says that the holder of one key signed two views, and no more. Raises as ``verify_fork``, and
    VerificationError for a file without keys.
    """
    reason: TeelogError = VerificationError("no fork: the file names no key", hint="give the log's key")
    for key in fork.keys:
        try:
            return verify_fork(fork, [key])
        except (VerificationError, MalformedError) as error:
            reason = error
    raise reason


def find_fork(
    first: tuple[Checkpoint, bytes],
    second: tuple[Checkpoint, bytes],
    proof: Sequence[bytes] = (),
    root: bytes | None = None,
    keys: Iterable[VerifierKey] = (),
) -> ForkProof | None:
    """A fork proof from two verified checkpoints (each with its note) of one log, if what is given shows one.

    proof: a consistency proof between their sizes in the larger one's tree. root: the root of its smaller size, where
    known; otherwise it is computed from ``proof``, which works unless the smaller size is a complete node of the tree.
    keys: the log's, to be named in the file.
    """
    named = tuple(keys)
    (small, small_note), (large, large_note) = sorted((first, second), key=lambda item: item[0].size)
    if small.size == large.size:
        return ForkProof(small_note, large_note, keys=named) if small.root != large.root else None
    if small.size == 0:
        return None
    try:
        seed = small.root if root is None else root
        old, new = subtree.roots(0, small.size, large.size, seed, proof, "consistency proof")
    except ProofError:
        return None
    if new != large.root or old == small.root:
        return None
    return ForkProof(small_note, large_note, old, tuple(proof), named)
