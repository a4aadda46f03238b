"""Keys: files and their modes, ssh-agent, commands that sign."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from teelog import keys
from teelog.cli import keyref
from teelog.errors import ConfigError, UnavailableError
from teelog.keys import Algorithm
from tests.commands import teelog

EVERY = [algorithm.value for algorithm in Algorithm]


def generate(path: Path, algorithm: str = "ed25519") -> Path:
    ran = teelog("key", "generate", "--name", "acme.example", "--out", path, "--algorithm", algorithm)
    assert ran.code == 0, ran.stderr
    return path


@pytest.mark.parametrize("algorithm", EVERY)
def test_generate_makes_a_pair_that_signs(tmp_path: Path, algorithm: str):
    path = generate(tmp_path / "acme.key", algorithm)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    public = keys.public_key_from_pem((tmp_path / "acme.key.pub").read_bytes())
    signer = keyref.load_signer(str(path))
    assert signer.public.spki == public.spki
    assert signer.algorithm == algorithm
    public.verify(b"message", signer.sign(b"message"))
    assert sorted(os.listdir(tmp_path)) == ["acme.key", "acme.key.pub"]


def test_generate_ignores_a_loose_umask(tmp_path: Path):
    before = os.umask(0)
    try:
        path = generate(tmp_path / "acme.key")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_generate_prints_the_fingerprint_and_the_files(tmp_path: Path):
    path = tmp_path / "acme.key"
    ran = teelog("key", "generate", "--name", "acme.example", "--out", path, "--json")
    assert ran.json == {
        "schema": "teelog-key/v1",
        "name": "acme.example",
        "algorithm": "ed25519",
        "fingerprint": keyref.load_public(str(path)).fingerprint,
        "private_key": str(path),
        "public_key": f"{path}.pub",
    }
    assert b"PRIVATE" not in ran.stdout + ran.stderr.encode()


@pytest.mark.parametrize("taken", ["acme.key", "acme.key.pub"])
def test_generate_never_overwrites(tmp_path: Path, taken: str):
    (tmp_path / taken).write_bytes(b"precious")
    ran = teelog("key", "generate", "--name", "acme.example", "--out", tmp_path / "acme.key")
    assert ran.code == 6
    assert "exists already" in ran.stderr
    assert (tmp_path / taken).read_bytes() == b"precious"
    assert os.listdir(tmp_path) == [taken]


@pytest.mark.parametrize("name", ["", "Acme.example", "acme example", "acme\x1b", "-acme", "acme/", "x" * 256])
def test_generate_refuses_a_name_that_names_nothing(tmp_path: Path, name: str):
    ran = teelog("key", "generate", f"--name={name}", "--out", tmp_path / "acme.key")
    assert ran.code == 6
    assert "\x1b" not in ran.stderr
    assert os.listdir(tmp_path) == []


def test_generate_into_a_missing_folder_is_unavailable(tmp_path: Path):
    ran = teelog("key", "generate", "--name", "acme.example", "--out", tmp_path / "no" / "acme.key")
    assert ran.code == 4
    assert ran.stderr.startswith("error: cannot write ")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_a_key_file_open_to_others_is_refused_with_the_remedy(tmp_path: Path, mode: int):
    path = generate(tmp_path / "acme.key")
    path.chmod(mode)
    with pytest.raises(ConfigError, match="open to others") as caught:
        keyref.load_signer(str(path))
    assert caught.value.hint == f"chmod 600 {path}"
    ran = teelog("key", "show", path)
    assert ran.code == 6
    assert ran.stderr.endswith(f"next: chmod 600 {path}\n")


@pytest.mark.parametrize("which", ["acme.key", "acme.key.pub"])
def test_show_takes_either_half(tmp_path: Path, which: str):
    generate(tmp_path / "acme.key")
    fingerprint = keyref.load_public(str(tmp_path / "acme.key.pub")).fingerprint
    ran = teelog("key", "show", tmp_path / which, "--json")
    assert ran.json["fingerprint"] == fingerprint
    assert ran.json["spki_pem"].encode() == (tmp_path / "acme.key.pub").read_bytes()
    assert fingerprint in teelog("key", "show", tmp_path / which).text


def test_show_explains_vkeys(tmp_path: Path):
    from teelog.tlog.vkey import SignatureType, VerifierKey

    public = keyref.load_public(str(generate(tmp_path / "log.key")))
    one = VerifierKey.of("log.example/tee", SignatureType.ED25519, public)
    two = VerifierKey.of("witness.example/w1", SignatureType.COSIGNATURE_ED25519, public)
    assert teelog("key", "show", str(one), "--json").json["vkeys"][0]["vkey"] == str(one)
    (tmp_path / "w.vkeys").write_text(f"{one}\n{two}\n")
    assert [each["name"] for each in teelog("key", "show", tmp_path / "w.vkeys", "--json").json["vkeys"]] == [
        "log.example/tee",
        "witness.example/w1",
    ]
    assert [str(each) for each in keyref.load_vkeys(str(tmp_path / "w.vkeys"))] == [str(one), str(two)]


@pytest.mark.parametrize("content", ["", "\n", "no vkey\n", "a+00000000+AAAA\n", "\u00e9\n"])
def test_a_file_without_usable_vkeys_is_a_bad_key(tmp_path: Path, content: str):
    (tmp_path / "w.vkeys").write_text(content)
    ran = teelog("key", "show", tmp_path / "w.vkeys")
    assert ran.code == 6
    assert ran.stderr.startswith("error: ")


def pkcs8(key: object) -> bytes:
    return key.private_bytes(  # type: ignore[attr-defined, no-any-return]
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        pkcs8(ec.generate_private_key(ec.SECP521R1())),
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        ),
        b"x" * (keys.MAX_PEM_LENGTH + 1),
    ],
    ids=["empty", "truncated", "another curve", "encrypted", "oversized"],
)
def test_a_file_that_is_no_usable_private_key_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "acme.key"
    path.write_bytes(content)
    path.chmod(0o600)
    ran = teelog("key", "show", path)
    assert ran.code == 6
    assert ran.stderr.startswith("error: ")
    assert "Traceback" not in ran.stderr


def test_a_public_key_cannot_sign_and_a_missing_file_is_unavailable(tmp_path: Path):
    path = generate(tmp_path / "acme.key")
    public = Path(f"{path}.pub")
    public.chmod(0o600)
    with pytest.raises(ConfigError, match="is a public key"):
        keyref.load_signer(str(public))
    with pytest.raises(UnavailableError):
        keyref.load_signer(str(tmp_path / "none"))
    assert teelog("key", "show", tmp_path / "none").code == 4


# --- exec: -------------------------------------------------------------------------------------------------------

PLUGIN = """
import os, sys
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from teelog.keys import private_key_from_pem
key = private_key_from_pem(Path(sys.argv[1]).read_bytes())
if os.environ["TEELOG_REQUEST"] == "public":
    sys.stdout.buffer.write(key.public.to_pem())
else:
    how = [ec.ECDSA(SHA256())] if key.algorithm == "ecdsa-p256" else []
    sys.stdout.buffer.write(key._key.sign(sys.stdin.buffer.read(), *how))
"""


def plugin(tmp_path: Path) -> str:
    script = tmp_path / "sign it.py"
    script.write_text(PLUGIN)
    return f"exec:{sys.executable} '{script}' {tmp_path / 'acme.key'}"


def test_exec_asks_the_command_for_its_public_key_and_for_signatures(tmp_path: Path):
    path = generate(tmp_path / "acme.key")
    signer = keyref.load_signer(plugin(tmp_path))
    assert signer.public.spki == keyref.load_public(str(path)).spki
    signer.public.verify(b"message", signer.sign(b"message"))
    assert keyref.load_public(plugin(tmp_path)) == signer.public


def test_exec_with_a_public_key_file_runs_the_bare_command(tmp_path: Path):
    path = generate(tmp_path / "acme.key")
    signer = keyref.load_signer(plugin(tmp_path) + f"#{path}.pub")
    signer.public.verify(b"message", signer.sign(b"message"))


def test_A_23_exec_ecdsa_signatures_are_brought_to_low_s(tmp_path: Path):
    generate(tmp_path / "acme.key", "ecdsa-p256")
    signer = keyref.load_signer(plugin(tmp_path))
    for number in range(6):  # a raw signature is high-s half of the time
        signer.public.verify(bytes([number]), signer.sign(bytes([number])))


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("exec:", ConfigError),
        ("exec:'unbalanced", ConfigError),
        ("exec:/no/such/command", ConfigError),
        ("exec:false", UnavailableError),
        ("exec:echo no key", ConfigError),
        (f"exec:{sys.executable} -c 'print(70000 * chr(65))'", ConfigError),
    ],
)
def test_exec_that_gives_no_key_is_refused(command: str, error: type[Exception]):
    with pytest.raises(error):
        keyref.load_signer(command)


def test_exec_that_signs_wrongly_is_never_believed(tmp_path: Path):
    path = generate(tmp_path / "acme.key")
    signer = keyref.load_signer(f"exec:head -c 64 /dev/zero#{path}.pub")
    with pytest.raises(ConfigError, match="does not verify"):
        signer.sign(b"message")


# --- ssh-agent: --------------------------------------------------------------------------------------------------


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A real ssh-agent, empty."""
    if shutil.which("ssh-agent") is None or shutil.which("ssh-add") is None:
        pytest.skip("no ssh-agent on this machine")
    address = tmp_path / "agent.sock"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(address)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # it has bound its socket when it prints
    monkeypatch.setenv("SSH_AUTH_SOCK", str(address))
    yield address
    process.terminate()
    process.stdout.close()
    process.wait()


def add(path: Path) -> str:
    """Adds an OpenSSH key file to the agent; its SHA256: fingerprint."""
    subprocess.run(["ssh-add", "-q", str(path)], check=True)
    shown = subprocess.run(["ssh-keygen", "-l", "-f", str(path)], check=True, capture_output=True, text=True)
    return shown.stdout.split()[1]


@pytest.mark.parametrize("kind", [("ed25519",), ("ecdsa", "-b", "256"), ("ecdsa", "-b", "384")], ids=" ".join)
def test_a_key_in_ssh_agent_signs(agent: Path, tmp_path: Path, kind: tuple[str, ...]):
    path = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", str(path), "-t", *kind], check=True)
    fingerprint = add(path)
    signer = keyref.load_signer(f"ssh-agent:{fingerprint}")
    for message in (b"", b"message" * 1000):
        signer.public.verify(message, signer.sign(message))
    assert keyref.load_signer(f"ssh-agent:{signer.public.fingerprint}").public == signer.public
    ran = teelog("key", "show", f"ssh-agent:{fingerprint}", "--json")
    assert ran.json["fingerprint"] == signer.public.fingerprint


def test_a_key_that_the_agent_does_not_hold_is_named(agent: Path):
    with pytest.raises(ConfigError, match="does not hold"):
        keyref.load_signer("ssh-agent:SHA256:" + "A" * 43)


def test_an_agent_key_that_was_removed_is_unavailable(agent: Path, tmp_path: Path):
    path = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", str(path), "-t", "ed25519"], check=True)
    signer = keyref.load_signer(f"ssh-agent:{add(path)}")
    subprocess.run(["ssh-add", "-q", "-D"], check=True)
    with pytest.raises(UnavailableError, match="refused"):
        signer.sign(b"message")


def test_no_agent_is_unavailable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(UnavailableError, match="no ssh-agent"):
        keyref.load_signer("ssh-agent:SHA256:x")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "none"))
    with pytest.raises(UnavailableError, match="cannot talk"):
        keyref.load_signer("ssh-agent:SHA256:x")
