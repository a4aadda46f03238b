"""A foreign mirror on loopback: another project's tlog-mirror takes our log, and our tools read what it keeps.

The other way round there is no program to run: the clients that other projects have are libraries under development,
in no released version.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from teelog.tlog import vkey
from teelog.tlog.checkpoint import open_checkpoint
from tests.interop.conftest import go_environment
from tests.interop.test_peers import ORIGIN, answers, free_port, publish_three, run, running

pytestmark = pytest.mark.timeout(3000)
SUNLIGHT = ("filippo.io/sunlight/cmd/sunlight", "filippo.io/sunlight/cmd/sunlight-keygen")
MODULE = Path(__file__).parent / "mirror"
WITNESS, MIRROR = "witness.example/sunlight", "mirror.example/sunlight"


@pytest.fixture(scope="module")
def sunlight(go: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its programs; skips where they cannot be built."""
    folder = tmp_path_factory.mktemp("sunlight")
    shutil.copytree(MODULE, folder / "module")
    done = subprocess.run(
        [go, "build", "-o", f"{folder}/", *SUNLIGHT],
        cwd=folder / "module",
        env=go_environment(),
        capture_output=True,
        text=True,
        timeout=2400,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"sunlight cannot be built here: {done.stderr.strip().splitlines()[-1][:200]}")
    return folder


def test_a_foreign_mirror_takes_our_log_and_our_tools_read_it(sunlight: Path, tmp_path: Path) -> None:
    run("log", "init", tmp_path / "LOG", "--origin", ORIGIN)
    log, port, mirror_port = tmp_path / "LOG", free_port(), free_port()
    keys = (log / "log.vkey").read_text().split()
    kept = tmp_path / "sunlight"
    config = configure(kept, keys[0], mirror_port)
    seed = ("-f", kept / "seed.bin", "-witness", WITNESS, "-mirror", MIRROR, "-json")
    made = subprocess.run([sunlight / "sunlight-keygen", *seed], check=True, capture_output=True)
    mirror_key = json.loads(made.stdout)["mirror_vkey_mldsa44"]
    with (log / "log.toml").open("a") as file:
        file.write(f'[[mirror]]\nurl = "http://127.0.0.1:{mirror_port}"\nvkey = "{mirror_key}"\n')
    policy = tmp_path / "policy.txt"
    url = f"http://127.0.0.1:{port}"
    policy.write_text(f"log {keys[0]} {url}\nquorum none\n")
    serve = (sys.executable, "-m", "teelog.cli.main", "log", "serve", log, "--listen", f"127.0.0.1:{port}")
    copy = kept / "public" / "mirror" / hashlib.sha256(ORIGIN.encode()).hexdigest()
    command = (sunlight / "sunlight", "-c", config)
    try:
        with (
            running(*command, log=tmp_path / "mirror.log", ready=answers(f"http://127.0.0.1:{mirror_port}/health")),
            running(*serve, "--policy", policy, log=tmp_path / "serve.log", ready=answers(url + "/checkpoint")),
        ):
            publish_three(tmp_path, log, policy)
            deadline = time.monotonic() + 120
            while size(copy, keys[0]) < 5:
                assert time.monotonic() < deadline, (tmp_path / "mirror.log").read_text()
                time.sleep(0.1)  # polls a peer that has no other signal
        signed = (copy / "checkpoint").read_bytes()
        assert len(open_checkpoint(signed, [vkey.parse(mirror_key)], ORIGIN).note.signatures) == 1
        served = tmp_path / "served"
        for path in (path for path in copy.rglob("*") if path.is_file()):
            target = served / path.relative_to(copy)
            target.parent.mkdir(parents=True, exist_ok=True)
            # Entries lie there as they are sent, compressed.
            data = path.read_bytes()
            target.write_bytes(gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data)
        assert "5 of 5" in run("log", "fsck", served, "--policy", policy)
        for index in range(5):
            run("entry", index, "--policy", policy, "--mirror", served, "--url", "http://127.0.0.1:1")
        bundle = "tile/entries/000.p/5"
        assert (served / bundle).read_bytes() == (log / "public" / bundle).read_bytes()
    finally:
        # It marks what it has written as immutable, where the file system can.
        subprocess.run(["chattr", "-R", "-i", kept], check=False, capture_output=True)


def size(copy: Path, key: str) -> int:
    try:
        return open_checkpoint((copy / "checkpoint").read_bytes(), [vkey.parse(key)], ORIGIN).checkpoint.size
    except FileNotFoundError:
        return -1


def root() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "unused.example")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
    made = made.not_valid_after(datetime(2036, 1, 1, tzinfo=UTC))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def configure(folder: Path, log_key: str, port: int) -> Path:
    """Its settings: YAML, of which JSON is a part."""
    folder.mkdir()
    (folder / "seed.bin").write_bytes(os.urandom(32))
    (folder / "logs").write_text(f"logs/v0\nvkey {log_key}\norigin {ORIGIN}\n")
    with sqlite3.connect(folder / "checkpoints.db") as database:
        database.execute("CREATE TABLE checkpoints (logID BLOB PRIMARY KEY, body BLOB NOT NULL) STRICT")
    database.close()
    (folder / "roots.pem").write_bytes(root())
    today = datetime.now(UTC).date().isoformat()
    # It runs as long as it has a log of its own, a certificate log of which nothing is asked here.
    own = {
        "shortname": "unused",
        "inception": today,
        "submissionprefix": "https://localhost/unused",
        "monitoringprefix": "https://localhost/unused",
        "roots": str(folder / "roots.pem"),
        "secret": str(folder / "seed.bin"),
        "cache": str(folder / "cache.db"),
        "poolsize": 10,
        "localdirectory": str(folder / "unused"),
        "notafterstart": "2026-01-01T00:00:00Z",
        "notafterlimit": "2036-01-01T00:00:00Z",
    }
    settings = {
        "logs": [own],
        "listen": [f"127.0.0.1:{port}"],
        "checkpoints": str(folder / "checkpoints.db"),
        "witness": {
            "name": WITNESS,
            "submissionprefix": "https://127.0.0.1",
            "monitoringprefix": "https://127.0.0.1/kept",
            "secret": str(folder / "seed.bin"),
            "loglists": [str(folder / "logs")],
            "localdirectory": str(folder / "public"),
            "mirrorname": MIRROR,
            "mirrorloglists": [str(folder / "logs")],
        },
    }
    path = folder / "sunlight.yaml"
    path.write_text(json.dumps(settings))
    return path
