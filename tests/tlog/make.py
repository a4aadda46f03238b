"""Keys from their names, signed checkpoints, policies and small logs for the core's tests."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence

from teelog.keys import Algorithm, PrivateKey, private_key_from_seed
from teelog.tlog import note, rfc6962
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.policy import Policy, parse_policy
from teelog.tlog.proof import TlogProof
from teelog.tlog.vkey import NoteSigner, SignatureType, VerifierKey
from tests.tlog.reference import Reference

ORIGIN = "log.example/tee"
NOW = 1_790_000_000
ED = SignatureType.ED25519
COSIGN = SignatureType.COSIGNATURE_ED25519
MLDSA = SignatureType.COSIGNATURE_ML_DSA_44


@functools.cache
def key(seed: str, algorithm: Algorithm = Algorithm.ED25519) -> PrivateKey:
    return private_key_from_seed(algorithm, hashlib.sha256(seed.encode()).digest())


@functools.cache
def signer(name: str, kind: SignatureType = ED, seed: str | None = None) -> NoteSigner:
    algorithm = Algorithm.ML_DSA_44 if kind is MLDSA else Algorithm.ED25519
    return NoteSigner.of(name, kind, key(seed or name, algorithm))


LOG = signer(ORIGIN)
LOG_PQ = signer(ORIGIN, MLDSA)
WITNESSES = tuple(signer(f"witness.example/w{n}", COSIGN) for n in range(1, 5))
WITNESSES_PQ = tuple(signer(f"witness.example/w{n}", MLDSA) for n in range(1, 5))


def leaves(count: int) -> list[bytes]:
    return [rfc6962.leaf_hash(b"entry %d" % number) for number in range(count)]


def head(size: int, origin: str = ORIGIN, extensions: Sequence[str] = ()) -> Checkpoint:
    return Checkpoint(origin, size, rfc6962.root_of_leaves(leaves(size)), tuple(extensions))


def sign(checkpoint: Checkpoint | bytes, *signers: NoteSigner, time: int = NOW) -> bytes:
    text = checkpoint if isinstance(checkpoint, bytes) else checkpoint.body()
    return note.encode(text, [signer.sign(text, time) for signer in signers])


def proof(index: int, size: int, *signers: NoteSigner, time: int = NOW) -> TlogProof:
    hashes = Reference(leaves(size)).path(index, 0, size)
    return TlogProof(index, tuple(hashes), sign(head(size), *signers, time=time))


def policy(*lines: str) -> Policy:
    return parse_policy(text(*lines))


def text(*lines: str) -> bytes:
    return "".join(line + "\n" for line in lines).encode()


def log_line(signer: NoteSigner = LOG) -> str:
    return f"log {signer.verifier}"


def witness_lines(signers: Iterable[NoteSigner] = WITNESSES) -> list[str]:
    """`witness w1 ...`, `witness w2 ...` in the order given."""
    return [f"witness w{number} {signer.verifier}" for number, signer in enumerate(signers, 1)]


def usual_policy(quorum: int = 3) -> Policy:
    """The log and `quorum` of its four witnesses."""
    return policy(log_line(), *witness_lines(), f"group g {quorum} w1 w2 w3 w4", "quorum g")


def vkeys(signers: Iterable[NoteSigner]) -> list[VerifierKey]:
    return [signer.verifier for signer in signers]
