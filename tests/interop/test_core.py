"""golang.org/x/mod's sumdb and filippo.io/torchwood against teelog.tlog, in both directions."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from teelog.errors import ProofError
from teelog.keys import Algorithm, private_key_from_seed
from teelog.tlog import note, policy_lint, rfc6962, tiles
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.policy import parse_policy, verify_checkpoint
from teelog.tlog.proof import TlogProof, parse_proof, verify_proof
from teelog.tlog.tile_tree import TileTree
from teelog.tlog.vkey import NoteSigner, SignatureType

Run = Callable[..., "subprocess.CompletedProcess[str]"]
NOW = 1_790_000_000
pytestmark = pytest.mark.timeout(900)


def signer(name: str, kind: SignatureType) -> NoteSigner:
    algorithm = Algorithm.ML_DSA_44 if kind is SignatureType.COSIGNATURE_ML_DSA_44 else Algorithm.ED25519
    return NoteSigner.of(name, kind, private_key_from_seed(algorithm, os.urandom(32)))


def write(folder: Path, path: str, data: bytes) -> None:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def reader(folder: Path, head: Checkpoint) -> rfc6962.Read:
    tree = TileTree(head.size, head.root)

    def read(nodes: object) -> list[bytes]:
        for tile in tree.missing(nodes):  # type: ignore[arg-type]
            tree.add(tile, (folder / tile.path).read_bytes())
        return tree.read(nodes)  # type: ignore[arg-type]

    return read


@pytest.fixture(scope="module")
def our_log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[NoteSigner], list[bytes]]:
    folder = tmp_path_factory.mktemp("log")
    entries = [b"entry %d" % i for i in range(777)]
    edge, _ = tiles.Edge().append([])
    for lo, hi in ((0, 1), (1, 255), (255, 600), (600, 777)):
        grown, new = edge.append([rfc6962.leaf_hash(entry) for entry in entries[lo:hi]])
        for tile, data in new.items():
            write(folder, tile.path, data)
        for bundle in tiles.new_bundles_between(lo, hi):
            write(folder, bundle.path, tiles.encode_bundle(entries[bundle.index * 256 :][: bundle.width]))
        edge = grown
    signers = [
        signer("log.example/py", SignatureType.ED25519),
        signer("log.example/py", SignatureType.COSIGNATURE_ML_DSA_44),
        signer("witness.example/py", SignatureType.COSIGNATURE_ED25519),
        signer("witness.example/py", SignatureType.COSIGNATURE_ML_DSA_44),
    ]
    body = Checkpoint("log.example/py", edge.size, edge.root()).body()
    write(folder, "checkpoint", note.encode(body, [one.sign(body, NOW) for one in signers]))
    return folder, signers, entries


def test_go_verifies_checkpoint_tiles_bundles_and_proofs_written_here(
    interop: Run, our_log: tuple[Path, list[NoteSigner], list[bytes]]
) -> None:
    folder, signers, _ = our_log
    done = interop("check-log", folder, *(one.verifier for one in signers))
    assert done.stdout == "ok log.example/py 777 4\n", done.stderr


def test_go_refuses_a_changed_tile_so_the_check_can_fail(
    interop: Run, our_log: tuple[Path, list[NoteSigner], list[bytes]], tmp_path: Path
) -> None:
    folder, signers, _ = our_log
    subprocess.run(["cp", "-r", f"{folder}/.", tmp_path], check=True)
    data = bytearray((tmp_path / "tile/0/001").read_bytes())
    data[77] ^= 1
    (tmp_path / "tile/0/001").write_bytes(data)
    assert interop("check-log", tmp_path, *(one.verifier for one in signers)).returncode == 1


def test_go_verifies_a_tlog_proof_under_a_policy_written_here(
    interop: Run, our_log: tuple[Path, list[NoteSigner], list[bytes]], tmp_path: Path
) -> None:
    folder, signers, entries = our_log
    log, _, *witness = signers
    operator = policy_lint.Operator(tuple(one.verifier for one in witness), None)
    write(tmp_path, "policy", policy_lint.write_policy([(log.verifier, None)], [operator], 1))
    signed = (folder / "checkpoint").read_bytes()
    head = verify_checkpoint(signed, parse_policy((tmp_path / "policy").read_bytes())).checkpoint
    for index in (0, 255, 256, 776):
        hashes = rfc6962.prove_inclusion(index, head.size, reader(folder, head))
        write(tmp_path, "proof", TlogProof(index, tuple(hashes), signed).encode())
        write(tmp_path, "entry", entries[index])
        done = interop("check-proof", tmp_path / "policy", tmp_path / "proof", tmp_path / "entry")
        assert done.stdout == "ok\n", done.stderr
        write(tmp_path, "entry", entries[index] + b"!")
        assert interop("check-proof", tmp_path / "policy", tmp_path / "proof", tmp_path / "entry").returncode == 1


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 700])
def test_a_log_written_by_go_verifies_here(interop: Run, tmp_path: Path, size: int) -> None:
    done = interop("make-log", tmp_path, "log.example/go", size)
    assert done.returncode == 0, done.stderr
    policy = parse_policy((tmp_path / "policy").read_bytes())
    witnessed = verify_checkpoint((tmp_path / "checkpoint").read_bytes(), policy)
    head = witnessed.checkpoint
    assert head.size == size
    assert set(witnessed.cosignatures) == {"w0", "w1"}
    read = reader(tmp_path, head)
    leaves = []
    for index in range(-(-size // 256)):
        bundle = tiles.bundle_for(index, size)
        entries = tiles.parse_bundle((tmp_path / bundle.path).read_bytes(), bundle.width)
        leaves += [rfc6962.leaf_hash(entry) for entry in entries]
    assert rfc6962.root_of_leaves(leaves) == head.root == rfc6962.root(size, read)
    for file in (tmp_path / "proofs").iterdir():
        proof = parse_proof(file.read_bytes())
        assert proof.encode() == file.read_bytes()
        assert list(proof.hashes) == rfc6962.prove_inclusion(proof.index, size, read)
        verify_proof(proof, leaves[proof.index], policy)
        with pytest.raises(ProofError):
            verify_proof(proof, rfc6962.leaf_hash(b"another entry"), policy)
