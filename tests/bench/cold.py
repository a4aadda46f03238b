"""Cold starts: what a verifier waits for besides the cryptography."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from teelog.keys import Algorithm, private_key_from_seed
from teelog.tlog import note, rfc6962
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.proof import TlogProof
from teelog.tlog.vkey import NoteSigner, SignatureType
from tests.bench import entries
from tests.bench.ratio import Row, Settings, interleave, quotients
from tests.cli.machine import NONCE, STREAM
from tests.cli.test_verify_bundle import IDS, World

BASE = "from cryptography.hazmat.primitives.asymmetric import ed25519, ec; from cryptography import x509"


def _files(folder: Path) -> tuple[Path, Path, Path]:
    """An entry, its proof in a log of two, cosigned by one witness of each kind, and a policy that accepts it."""
    entry, other = entries.one(), rfc6962.leaf_hash(b"another")
    leaf = rfc6962.leaf_hash(entry)
    log = NoteSigner.of("log.example/cold", SignatureType.ED25519, private_key_from_seed(Algorithm.ED25519, b"l" * 32))
    signers = [log]
    lines = [f"log {log.verifier}"]
    for number in range(3):
        private = private_key_from_seed(Algorithm.ED25519, b"%032d" % number)
        witness = NoteSigner.of(f"w{number}.example", SignatureType.COSIGNATURE_ED25519, private)
        signers.append(witness)
        lines.append(f"witness w{number} {witness.verifier}")
    lines += ["group all 3 w0 w1 w2", "quorum all", ""]
    body = Checkpoint("log.example/cold", 2, rfc6962.node_hash(leaf, other)).body()
    signed = note.encode(body, [signer.sign(body, 1_790_000_000) for signer in signers])
    files = {
        "entry": entry,
        "entry.tlog-proof": TlogProof(0, (other,), signed).encode(),
        "policy.txt": "\n".join(lines).encode(),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder / "entry", folder / "entry.tlog-proof", folder / "policy.txt"


def _seconds(command: list[str], times: int, folder: Path) -> float:
    """The fastest start: what else the machine does only ever adds."""
    # As installed: compiled once, whatever this environment says about it.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
    taken = []
    for _ in range(times + 1):
        begin = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=folder, env=env)
        taken.append(time.perf_counter() - begin)
    return min(taken[1:])


def proof_verify(folder: Path, settings: Settings) -> list[Row]:
    entry, proof, policy = _files(folder)
    words = ["proof", "verify", str(entry), "--proof", str(proof), "--policy", str(policy)]
    return [_row("cold", "`teelog proof verify`, cold process, 4 signatures", words, folder, settings)]


def verify(folder: Path, settings: Settings) -> list[Row]:
    """Evidence of one SNP machine, its chain, and a bundle with 4 witnesses and 3 semantic ones."""
    made = World(folder)
    made.status(IDS[0])
    words = ["verify", "--evidence", "report.bin", "--endorsement", "chain.pem", "--nonce", NONCE.hex()]
    words += ["--bundle", made.bundle(), "--trust", "trust.toml", "--stream", STREAM, "--without", "binding"]
    words += ["--state", "state"]
    return [_row("cold-verify", "`teelog verify --bundle`, cold process", words, folder, settings)]


def _row(name: str, what: str, words: list[str], folder: Path, settings: Settings) -> Row:
    command = [str(Path(sys.executable).with_name("teelog")), *words]
    times = settings.count(9, 3)
    _, base, ours = interleave(
        lambda _: _seconds([sys.executable, "-c", BASE], times, folder),
        lambda _: _seconds(command, times, folder),
        settings,
    )
    return Row(
        name=name,
        what=what,
        against="`python -c` importing cryptography's ed25519, ec and x509",
        samples=quotients(ours, base),
        bound=1.6,
        at_most=True,
        unit="s",
        base=base,
        ours=ours,
    )
