"""Small logs for the client's tests: a directory as c2sp.org/tlog-tiles lays it out, signed and cosigned."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from teelog.keys import Algorithm, PrivateKey, private_key_from_seed
from teelog.tlog import note, rfc6962, tiles
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.policy import Policy, parse_policy
from teelog.tlog.policy_lint import Operator, write_policy
from teelog.tlog.proof import TlogProof
from teelog.tlog.tiles import Edge
from teelog.tlog.vkey import NoteSigner, SignatureType

ORIGIN = "log.example/tee"
NOW = 1_790_000_000


def key(name: str, algorithm: Algorithm = Algorithm.ED25519) -> PrivateKey:
    return private_key_from_seed(algorithm, hashlib.sha256(name.encode()).digest())


LOG = NoteSigner.of(ORIGIN, SignatureType.ED25519, key("log"))
OTHER_LOG = NoteSigner.of("other.example/log", SignatureType.ED25519, key("other log"))
WITNESSES = [
    NoteSigner.of(f"witness.example/w{n}", SignatureType.COSIGNATURE_ED25519, key(f"w{n}")) for n in range(1, 5)
]


def policy_text(url: str | None = None, quorum: int = 3, log: NoteSigner = LOG) -> bytes:
    operators = [Operator((witness.verifier,), None) for witness in WITNESSES]
    return write_policy([(log.verifier, url)], operators, quorum)


def policy(url: str | None = None, quorum: int = 3) -> Policy:
    return parse_policy(policy_text(url, quorum))


def entries(count: int, flavour: str = "") -> list[bytes]:
    return [f"entry {number} {flavour}".encode() for number in range(count)]


def head(leaves: Sequence[bytes], origin: str = ORIGIN) -> Checkpoint:
    return Checkpoint(origin, len(leaves), rfc6962.root_of_leaves(rfc6962.leaf_hash(entry) for entry in leaves))


def sign(
    checkpoint: Checkpoint, witnesses: Iterable[NoteSigner] = WITNESSES, log: NoteSigner = LOG, time: int = NOW
) -> bytes:
    text = checkpoint.body()
    return note.encode(text, [signer.sign(text, time) for signer in (log, *witnesses)])


def files(leaves: Sequence[bytes]) -> dict[str, bytes]:
    """The tiles and bundles of a log with these entries, by path."""
    _, new = Edge().append([rfc6962.leaf_hash(entry) for entry in leaves])
    found = {tile.path: data for tile, data in new.items()}
    for bundle in tiles.new_bundles_between(0, len(leaves)):
        start = bundle.index * tiles.WIDTH
        found[bundle.path] = tiles.encode_bundle(leaves[start : start + bundle.width])
    return found


def write(folder: Path, leaves: Sequence[bytes], witnesses: Iterable[NoteSigner] = WITNESSES) -> Checkpoint:
    """A log's public directory."""
    for path, data in files(leaves).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    checkpoint = head(leaves)
    folder.mkdir(exist_ok=True)
    (folder / "checkpoint").write_bytes(sign(checkpoint, witnesses))
    return checkpoint


def proof(leaves: Sequence[bytes], index: int, signed: bytes | None = None) -> bytes:
    """The tlog-proof of entry ``index``, straight from the leaves."""

    def read(nodes: Sequence[tuple[int, int]]) -> list[bytes]:
        return [
            rfc6962.root_of_leaves(rfc6962.leaf_hash(entry) for entry in leaves[place << level : (place + 1) << level])
            for level, place in nodes
        ]

    hashes = rfc6962.prove_inclusion(index, len(leaves), read)
    return TlogProof(index, tuple(hashes), signed or sign(head(leaves))).encode()
