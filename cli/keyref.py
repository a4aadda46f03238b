"""KEYREF and VKEY: what stands behind `--key` and `--witness` (docs/formats/keyref.md).

    FILE                      PKCS#8 PEM, readable by its owner only
    ssh-agent:FINGERPRINT     a key that a running ssh-agent holds; SHA256:... as ssh-add -l prints it
    exec:COMMAND              bytes on stdin, signature on stdout: any KMS or HSM
    exec:COMMAND#PUBFILE      the same with the public key in a file

A signature is verified under the key's public half before anyone sees it, and ECDSA is brought into its low-s form.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from teelog import key_file, keys
from teelog.cli import files, sshagent
from teelog.errors import ConfigError, MalformedError, SignatureError, UnavailableError
from teelog.keys import Algorithm, PublicKey

if TYPE_CHECKING:
    from teelog.tlog.vkey import VerifierKey

AGENT = "ssh-agent:"
EXEC = "exec:"
EXEC_TIMEOUT = 120.0  # seconds; a token may wait for a touch
MAX_OUTPUT = 65_536  # bytes that a command may print
MAX_VKEY_FILE = 1 << 16  # bytes
PRIVATE_MARK = b"PRIVATE KEY-----"


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key, wherever it lives. Has what ``teelog.keys.PrivateKey`` has for signing."""

    public: PublicKey
    name: str  # the KEYREF, for messages
    _sign: Callable[[bytes], bytes] = field(repr=False)

    @property
    def algorithm(self) -> Algorithm:
        return self.public.algorithm

    def sign(self, message: bytes) -> bytes:
        """A signature that ``public.verify`` has accepted. Raises UnavailableError, ConfigError."""
        signature = self._sign(message)
        try:
            if self.algorithm in (Algorithm.ECDSA_P256, Algorithm.ECDSA_P384):
                signature = keys.low_s(self.algorithm, signature)
            self.public.verify(message, signature)
        except (SignatureError, MalformedError) as error:
            raise ConfigError(
                f"{self.name} gave a signature that does not verify under its public key",
                expected=f"{self.algorithm} by {self.public.fingerprint}",
                actual=f"{len(signature)} bytes",
            ) from error
        return signature


def load_signer(ref: str) -> Signer:
    """The signer behind a KEYREF. Raises ConfigError (bad key, open permissions), UnavailableError (not reachable)."""
    if ref.startswith(AGENT):
        return _agent_signer(ref)
    if ref.startswith(EXEC):
        return _exec_signer(ref)
    private = load_private(ref)
    return Signer(private.public, ref, private.sign)


def load_public(ref: str) -> PublicKey:
    """The public key behind a KEYREF, or in an SPKI PEM file. Raises as `load_signer`."""
    if ref.startswith((AGENT, EXEC)):
        return load_signer(ref).public
    pem = _read(ref)
    return load_private(ref).public if PRIVATE_MARK in pem else _public(pem, ref)


def load_private(path: str) -> keys.PrivateKey:
    """A private key file that none but its owner can read. Raises ConfigError, UnavailableError."""
    pem = _read(path)
    if b"BEGIN PUBLIC KEY" in pem:
        raise ConfigError(f"{path} is a public key", expected="a private key", hint="give the file without .pub")
    try:
        return keys.private_key_from_pem(key_file.read(Path(path)))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", expected=error.expected, hint=error.hint) from error


def load_vkeys(ref: str) -> list[VerifierKey]:
    """VKEY: a literal, or a file with one vkey a line. Raises ConfigError, UnavailableError."""
    from teelog.tlog import vkey

    if "+" in ref and not Path(ref).exists():
        return [vkey.parse(ref)]
    try:
        lines = files.read(ref, MAX_VKEY_FILE, "vkey file").decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{ref} is no vkey file", expected="one vkey a line") from error
    try:
        found = [vkey.parse(line) for line in lines if line and not line.startswith("#")]
    except ConfigError as error:
        raise ConfigError(
            f"{ref} is no vkey file: {error.message}",
            expected="one vkey a line, as LOG/log.vkey and WITNESS/witness.vkeys hold",
            actual=error.actual,
        ) from error
    if not found:
        raise ConfigError(f"{ref} holds no vkey", expected="one vkey a line")
    return found


def _read(path: str) -> bytes:
    try:
        return files.read(path, keys.MAX_PEM_LENGTH, "key file")
    except MalformedError as error:  # a wrong key file is a matter of configuration
        raise ConfigError(error.message, expected=error.expected, actual=error.actual) from error


def _public(pem: bytes, where: str) -> PublicKey:
    try:
        return keys.public_key_from_pem(pem)
    except MalformedError as error:
        raise ConfigError(
            f"{where}: {error.message}", expected=error.expected, actual=error.actual, hint=error.hint
        ) from error


def _agent_signer(ref: str) -> Signer:
    wanted = ref.removeprefix(AGENT)
    found = sshagent.identities()
    for identity in found:
        if wanted in (identity.fingerprint, identity.public.fingerprint):
            return Signer(identity.public, ref, partial(sshagent.sign, identity))
    raise ConfigError(
        "the ssh-agent does not hold this key",
        expected=wanted,
        actual=", ".join(identity.fingerprint for identity in found) or "no Ed25519 or ECDSA key",
        hint="ssh-add -l",
    )


def _exec_signer(ref: str) -> Signer:
    command, _, public_file = ref.removeprefix(EXEC).partition("#")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError("cannot split the command into words", actual=command) from error
    if not words:
        raise ConfigError("exec: without a command", expected="exec:COMMAND or exec:COMMAND#PUBFILE")
    if public_file:
        public = _public(_read(public_file), public_file)
    else:
        public = _public(_execute(words, "public", b""), f"what {words[0]} printed for TEELOG_REQUEST=public")
    return Signer(public, ref, partial(_execute, words, "sign"))


def _execute(words: list[str], request: str, data: bytes) -> bytes:
    """Runs the command without a shell; its stderr is the user's."""
    try:
        done = subprocess.run(  # noqa: S603  running the user's command is the feature
            words,
            input=data,
            stdout=subprocess.PIPE,
            timeout=EXEC_TIMEOUT,
            check=False,
            env={**os.environ, "TEELOG_REQUEST": request},
        )
    except FileNotFoundError as error:
        raise ConfigError(f"there is no command {words[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{words[0]} did not answer within {EXEC_TIMEOUT:.0f} s") from error
    except OSError as error:
        raise ConfigError(f"cannot run {words[0]}", actual=error.strerror) from error
    if done.returncode != 0:
        raise UnavailableError(f"{words[0]} failed", expected="exit code 0", actual=f"exit code {done.returncode}")
    if len(done.stdout) > MAX_OUTPUT:
        raise ConfigError(f"{words[0]} printed too much", expected=f"at most {MAX_OUTPUT} bytes")
    return done.stdout
