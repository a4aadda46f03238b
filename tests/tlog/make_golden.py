"""Writes tests/tlog/golden: one file of each format of the core.

    python -m tests.tlog.make_golden

All keys come from their names (tests/tlog/make.py). ML-DSA signatures are randomised: those bytes are fixed by being
committed, and everything else is made again and compared in test_golden.py.
"""

from __future__ import annotations

import base64
from pathlib import Path

from teelog.tlog import cosignature, tiles, witness
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.fork import ForkProof, find_fork
from teelog.tlog.policy_lint import Operator, write_policy
from teelog.tlog.proof import TlogProof
from tests.tlog import make
from tests.tlog.make import LOG, LOG_PQ, NOW, ORIGIN, WITNESSES, WITNESSES_PQ
from tests.tlog.reference import Reference

GOLDEN = Path(__file__).parent / "golden"
SIZE, INDEX = 21, 13
ENTRY = b"entry 13"
EXTRA = b"what an application puts here"


def cosigned(head: Checkpoint) -> bytes:
    return make.sign(head, LOG, LOG_PQ, *WITNESSES, *WITNESSES_PQ[:2])


def parted_fork() -> ForkProof:
    """The honest tree of 6 leaves beside one of 13 that parts from it at leaf 3."""
    evil = Reference([*make.leaves(3), *make.leaves(60)[40:]])
    heads = (make.head(6), Checkpoint(ORIGIN, 13, evil.mth(0, 13)))
    found = find_fork(*((head, make.sign(head, LOG)) for head in heads), evil.proof(6, 13), evil.mth(0, 6))
    assert found is not None
    return found


def files() -> dict[str, bytes]:
    head = make.head(SIZE)
    reference = Reference(make.leaves(SIZE))
    path = tuple(reference.path(INDEX, 0, SIZE))
    both = [Operator((one.verifier, two.verifier), f"https://{one.verifier.name}/") for one, two in PAIRS]
    views = [make.sign(head, LOG, LOG_PQ), make.sign(Checkpoint(ORIGIN, SIZE, reference.mth(0, 20)), LOG, LOG_PQ)]
    cosigner = WITNESSES_PQ[0].verifier.name
    return {
        "vkeys.txt": "".join(f"{s.verifier}\n" for s in (LOG, LOG_PQ, *WITNESSES, *WITNESSES_PQ)).encode(),
        "policy.txt": write_policy([(LOG.verifier, "https://log.example/tee/"), (LOG_PQ.verifier, None)], both, 3),
        "plain.checkpoint": make.sign(make.head(SIZE, extensions=["an extension line"]), LOG),
        "cosigned.checkpoint": cosigned(head),
        "ed25519.cosigned-message": cosignature.ed25519_message(NOW, head.body()),
        "ml-dsa-44.cosigned-message": cosignature.ml_dsa_44_message(cosigner, NOW, ORIGIN, 0, SIZE, head.root),
        "ml-dsa-44-subtree.cosigned-message": cosignature.ml_dsa_44_message(
            cosigner, 0, ORIGIN, 16, 20, reference.mth(16, 20)
        ),
        "entry.tlog-proof": TlogProof(INDEX, path, cosigned(head)).encode(),
        "extra.tlog-proof": TlogProof(INDEX, path, make.sign(head, LOG, *WITNESSES), EXTRA).encode(),
        "one.tlog-proof": TlogProof(0, (), make.sign(make.head(1), LOG, *WITNESSES)).encode(),
        "equal-sizes.teelog-fork": ForkProof(*views).encode(),
        "two-sizes.teelog-fork": parted_fork().encode(),
        "with-keys.teelog-fork": ForkProof(*views, keys=(LOG.verifier, LOG_PQ.verifier)).encode(),
        "request.add-checkpoint": witness.AddCheckpoint(
            6, tuple(reference.proof(6, SIZE)), make.sign(head, LOG, LOG_PQ)
        ).encode(),
        "answer.add-checkpoint": witness.encode_answer([one.sign(head.body(), NOW) for one in PAIRS[0]]),
        "entries.bundle": tiles.encode_bundle([b"entry %d" % number for number in range(SIZE)]),
        "level-0.tile": b"".join(make.leaves(SIZE)),
    }


PAIRS = tuple(zip(WITNESSES, WITNESSES_PQ, strict=True))


def masked(data: bytes) -> bytes:
    """The file with every ML-DSA signature cut to its key ID and timestamp."""
    lines = data.split(b"\n")
    for at, line in enumerate(lines):
        if line.startswith("— ".encode()) and len(line) > 3_000:
            head, encoded = line.rsplit(b" ", 1)
            lines[at] = head + b" " + base64.b64encode(base64.b64decode(encoded)[:12])
    return b"\n".join(lines)


def write() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for name, data in files().items():
        if not (GOLDEN / name).exists() or masked((GOLDEN / name).read_bytes()) != masked(data):
            (GOLDEN / name).write_bytes(data)


if __name__ == "__main__":
    write()
