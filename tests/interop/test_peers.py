"""Real peers on loopback: other projects' witnesses cosign our log, and our tools follow other projects' logs."""

from __future__ import annotations

import base64
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from teelog.cli.demo_processes import free_ports
from teelog.keys import Algorithm, private_key_from_seed, public_key
from teelog.tlog import tiles
from teelog.tlog.policy import parse_policy, verify_checkpoint
from teelog.tlog.vkey import SignatureType, VerifierKey
from tests.commands import teelog_process
from tests.interop.conftest import go_environment, go_install

pytestmark = pytest.mark.timeout(1200)
TORCHWOOD = "filippo.io/torchwood"
WITNESS_TOOLS = "github.com/transparency-dev/witness/cmd"
WITNESS_VERSION = "v0.0.0-20260720115447-2e1c6971d19e"
TESSERA = "github.com/transparency-dev/tessera/cmd/examples/posix-oneshot@v1.0.4"
ORIGIN = "log.example/interop"


def free_port() -> int:
    return free_ports(1)[0]


@contextmanager
def running(
    *command: object, log: Path, ready: Callable[[], bool], env: dict[str, str] | None = None
) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen([str(word) for word in command], stdout=out, stderr=out, env=env)
    try:
        deadline = time.monotonic() + 120
        while not ready():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"not ready: {log.read_text()}"
            time.sleep(0.05)  # polls a peer that has no readiness signal; not an order between our own steps
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url: str) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            urllib.request.urlopen(url, timeout=2).read()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    return ready


def run(*arguments: str | Path | int) -> str:
    done = teelog_process(*arguments)
    assert done.code == 0, done.stderr
    return done.text


@pytest.fixture
def log(tmp_path: Path) -> Path:
    run("log", "init", tmp_path / "LOG", "--origin", ORIGIN)
    return tmp_path / "LOG"


@contextmanager
def litewitness(go: str, log: Path, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """filippo.io/torchwood's witness: (URL, vkeys). Its key lies in an ssh-agent of its own."""
    binary = go_install(go, f"{TORCHWOOD}/cmd/litewitness@v0.10.0", folder / "bin")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    public = base64.b64decode((folder / "key.pub").read_text().split()[1])[-32:]
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", folder / "key.pub"], check=True, capture_output=True, text=True
    ).stdout.split()[1]
    key = VerifierKey.of(
        "witness.example/lite", SignatureType.COSIGNATURE_ED25519, public_key(Algorithm.ED25519, public)
    )
    agent = Path("/tmp") / f"teelog-interop-{os.getpid()}.sock"  # a Unix socket's path is short
    database = sqlite3.connect(folder / "lite.db")
    database.executescript(
        "CREATE TABLE log (origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, tree_hash TEXT NOT NULL);"
        "CREATE TABLE key (origin TEXT NOT NULL, key TEXT NOT NULL, FOREIGN KEY(origin) REFERENCES log(origin));"
    )
    empty = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    with database:
        database.execute("INSERT INTO log VALUES (?, 0, ?)", (ORIGIN, empty))
        database.execute("INSERT INTO key VALUES (?, ?)", (ORIGIN, (log / "log.vkey").read_text().splitlines()[0]))
    database.close()
    port = free_port()
    command = (binary, "-db", folder / "lite.db", "-name", key.name, "-key", fingerprint, "-ssh-agent", agent)
    with (
        running("ssh-agent", "-D", "-a", agent, log=folder / "agent.log", ready=agent.exists),
        _agent_key(agent, folder / "key"),
        running(
            *command,
            "-listen",
            f"127.0.0.1:{port}",
            log=folder / "lite.log",
            ready=answers(f"http://127.0.0.1:{port}/"),
        ),
    ):
        yield f"http://127.0.0.1:{port}", [str(key)]
    agent.unlink(missing_ok=True)


@contextmanager
def _agent_key(agent: Path, key: Path) -> Iterator[None]:
    subprocess.run(["ssh-add", "-q", key], check=True, env={**os.environ, "SSH_AUTH_SOCK": str(agent)})
    yield


@contextmanager
def omniwitness(go: str, log: Path, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """transparency-dev's witness with an Ed25519 and an ML-DSA-44 key: (URL, vkeys)."""
    binary = go_install(go, f"{WITNESS_TOOLS}/omniwitness@{WITNESS_VERSION}", folder / "bin")
    generate = go_install(go, f"{WITNESS_TOOLS}/generate_keys@{WITNESS_VERSION}", folder / "bin")
    keys, vkeys = [], []
    for flag in ("--mldsa=false", "--mldsa=true"):
        names = folder / f"{flag[-5:]}.sec", folder / f"{flag[-5:]}.pub"
        words = ["--origin", "witness.example/omni", flag, "--out_priv", names[0], "--out_pub", names[1]]
        subprocess.run([generate, *map(str, words)], check=True, env=go_environment())
        keys += ["--private_key_path", str(names[0])]
        vkeys.append(names[1].read_text().strip())
    (folder / "logs.yaml").write_text(
        f"Logs:\n- Origin: {ORIGIN}\n  PublicKey: {(log / 'log.vkey').read_text().splitlines()[0]}\n"
        "  URL: http://127.0.0.1:1/\n"
    )
    port, metrics = free_port(), free_port()
    command = (binary, *keys, "--db_file", folder / "omni.db", "--additional_logs", folder / "logs.yaml")
    listen = ("--listen", f"127.0.0.1:{port}", "--metrics_listen", f"127.0.0.1:{metrics}")
    with running(*command, *listen, log=folder / "omni.log", ready=answers(f"http://127.0.0.1:{port}/")):
        yield f"http://127.0.0.1:{port}", vkeys


@pytest.mark.parametrize("peer", [litewitness, omniwitness])
def test_other_projects_witnesses_cosign_our_log(
    go: str,
    log: Path,
    tmp_path: Path,
    peer: Callable[[str, Path, Path], Iterator[tuple[str, list[str]]]],
    interop: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    folder = tmp_path / "peer"
    folder.mkdir()
    with peer(go, log, folder) as (witness_url, vkeys):  # type: ignore[attr-defined]
        (tmp_path / "peer.vkeys").write_text("".join(f"{key}\n" for key in vkeys))
        words = ("--log", log / "log.vkey", "--url", url, "--witness", tmp_path / "peer.vkeys", "--url", witness_url)
        policy = tmp_path / "policy.txt"
        policy.write_text(run("policy", "new", *words, "--quorum", 1))
        serve = (sys.executable, "-m", "teelog.cli.main", "log", "serve", log, "--listen", f"127.0.0.1:{port}")
        with running(*serve, "--policy", policy, log=tmp_path / "serve.log", ready=answers(url + "/checkpoint")):
            publish_three(tmp_path, log, policy)
            signed = urllib.request.urlopen(url + "/checkpoint", timeout=10).read()
    witnessed = verify_checkpoint(signed, parse_policy(policy.read_bytes()))
    assert witnessed.checkpoint.size == 5
    assert len(witnessed.cosignatures) == len(vkeys)
    log_keys = (log / "log.vkey").read_text().split()
    done = interop("check-log", log / "public", *log_keys, *vkeys)
    assert done.stdout == f"ok {ORIGIN} 5 {len(log_keys) + len(vkeys)}\n", done.stderr


def publish_three(folder: Path, log: Path, policy: Path) -> None:
    """A namespace and three releases: the log grows from a size the witness knows, more than once."""
    key, namespace = folder / "acme.key", folder / "ns.json"
    run("key", "generate", "--name", "acme.example", "--out", key)
    roles = [word for role in ("owner", "release", "status") for word in (f"--{role}", key)]
    run("namespace", "new", "--namespace", "acme.example", "--log", ORIGIN, *roles, "--out", namespace)
    run("log", "allow", log, namespace)
    registers = folder / "regs.json"
    registers.write_text(
        '{"schema":"teelog-registers/v1","variants":[{"platform":"sev-snp","when":{},'
        f'"registers":{{"measurement":"{"ab" * 48}"}},"how":"recomputed"}}]}}'
    )
    for version in ("1.0.0", "1.0.1", "1.0.2"):
        release = folder / f"{version}.json"
        words = ("--stream", "acme.example/inference/stable", "--version", version, "--svn", 1)
        run("release", "new", *words, "--registers", registers, "--artifact", namespace, "--out", release)
        run("release", "sign", release, "--key", key)
        run("release", "publish", release, "--policy", policy, "--out", folder / f"{version}.tlog-proof")


def test_a_log_written_by_tessera_is_followed_by_our_tools(go: str, tmp_path: Path) -> None:
    binary = go_install(go, TESSERA, tmp_path / "bin")
    folder, entries = tmp_path / "log", tmp_path / "entries"
    entries.mkdir()
    private = private_key_from_seed(Algorithm.ED25519, os.urandom(32))
    key = VerifierKey.of("log.example/tessera", SignatureType.ED25519, private.public)
    raw = base64.b64decode(b"".join(private.to_pem().splitlines()[1:-1]))[-32:]
    secret = f"PRIVATE+KEY+{key.name}+{key.key_id.hex()}+{base64.b64encode(bytes([1]) + raw).decode()}"
    (tmp_path / "key").write_text(secret)
    (tmp_path / "policy").write_text(f"log {key}\nquorum none\n")
    notes = []
    for generation, count in enumerate((3, 300)):
        for number in range(count):
            (entries / f"{generation}-{number}").write_bytes(b"entry %d of %d" % (number, generation))
        words = ["--storage_dir", folder, "--private_key", tmp_path / "key", "--entries", f"{entries}/{generation}-*"]
        command = [binary, *map(str, words)]
        subprocess.run(command, check=True, env=go_environment(), timeout=120, capture_output=True)
        notes.append(tmp_path / f"checkpoint{generation}")
        notes[-1].write_bytes((folder / "checkpoint").read_bytes())
    text = run("log", "fsck", folder, "--policy", tmp_path / "policy", "--state", tmp_path / "state")
    assert "303" in text
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    static = (sys.executable, "-m", "http.server", port, "--bind", "127.0.0.1", "--directory", folder)
    with running(*static, log=tmp_path / "static.log", ready=answers(url + "/checkpoint")):
        run(
            "checkpoint",
            "compare",
            *notes,
            "--url",
            url,
            "--policy",
            tmp_path / "policy",
            "--state",
            tmp_path / "state",
        )
    bundle = tiles.parse_bundle((folder / tiles.Bundle(1, 47).path).read_bytes(), 47)
    assert len(bundle) == 47
