"""A log's directory, as docs/formats/log-directory.md describes it.

log.toml                 settings
log.vkey                 the log's vkeys, Ed25519 first
ed25519.key ml-dsa-44.key operator.key      private keys, mode 0600
state.db                 SQLite: last_signed, staged batches, known hashes, namespaces
public/                  what anyone may read: checkpoint, tile/...
scratch/                 files on their way into public/
unconfirmed              what was signed at most, after a `log allow` without a server, until the next start
lock                     held by the process that writes
admin.sock pool.sock     of a running server
index/                   the index log, a log directory in itself; its public files are in public/index/
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from teelog import key_file, keys
from teelog.errors import ConfigError, TeelogError
from teelog.keys import Algorithm, PrivateKey
from teelog.log_server.signing import LogSigner
from teelog.tlog import vkey
from teelog.tlog.vkey import NoteSigner, SignatureType, VerifierKey

ED25519 = "ed25519.key"
ML_DSA_44 = "ml-dsa-44.key"
OPERATOR = "operator.key"
INDEX = "index"
_MARK = b"# teelog key: "
_SIGNATURES = {ED25519: SignatureType.ED25519, ML_DSA_44: SignatureType.COSIGNATURE_ML_DSA_44}
ALGORITHMS = {ED25519: Algorithm.ED25519, ML_DSA_44: Algorithm.ML_DSA_44, OPERATOR: Algorithm.ED25519}
CHECKPOINT_KEYS = {ED25519: Algorithm.ED25519, ML_DSA_44: Algorithm.ML_DSA_44}


@dataclass(frozen=True, slots=True)
class LogDirectory:
    """The places in a log's directory. shown: its public files, if they lie elsewhere."""

    path: Path
    shown: Path | None = None

    @property
    def state(self) -> Path:
        return self.path / "state.db"

    @property
    def public(self) -> Path:
        return self.shown or self.path / "public"

    @property
    def scratch(self) -> Path:
        return self.path / "scratch"

    @property
    def vkeys(self) -> Path:
        return self.path / "log.vkey"

    @property
    def unconfirmed(self) -> Path:
        return self.path / "unconfirmed"

    @property
    def admin_socket(self) -> Path:
        return self.path / "admin.sock"

    @property
    def pool_socket(self) -> Path:
        return self.path / "pool.sock"

    @property
    def index(self) -> LogDirectory:
        """The index log's directory."""
        return LogDirectory(self.path / INDEX, self.public / INDEX)

    @property
    def index_db(self) -> Path:
        """In the index log's directory: the index itself."""
        return self.path / "index.db"

    @property
    def inputs(self) -> Path:
        """In the index log's directory: the cosigned main checkpoints of its newest leaves."""
        return self.path / "inputs"

    @property
    def moments(self) -> Path:
        """In the index log's directory: the first main checkpoints that cover a status or namespace."""
        return self.path / "moments"

    def signer(self, origin: str) -> LogSigner:
        """The log's keys. Raises ConfigError."""
        signers = [
            NoteSigner.of(origin, kind, self.key(name, origin, ALGORITHMS[name])) for name, kind in _SIGNATURES.items()
        ]
        return LogSigner(origin, signers)

    def verifiers(self) -> list[VerifierKey]:
        """The log's public keys, Ed25519 first. Raises ConfigError."""
        try:
            return [vkey.parse(line) for line in self.vkeys.read_text("utf-8").split()]
        except (OSError, UnicodeError, TeelogError) as error:
            raise ConfigError(f"{self.vkeys} cannot be read", actual=str(error)) from error

    def key(self, name: str, origin: str, algorithm: Algorithm) -> PrivateKey:
        """A private key, its file closed to others and made for this origin (R-04). Raises ConfigError."""
        path = self.path / name
        head, _, pem = key_file.read(path).partition(b"\n")
        if head != key_mark(origin):
            raise ConfigError(
                f"key file {path} belongs to another log",
                expected=key_mark(origin).decode(),
                actual=head[:200].decode("utf-8", "replace"),
            )
        private = keys.private_key_from_pem(pem)
        if private.algorithm is not algorithm:
            raise ConfigError(
                f"key file {path} holds another kind of key", expected=algorithm, actual=private.algorithm
            )
        return private


def key_mark(origin: str) -> bytes:
    """The first line of a key file: the origin that the key speaks for."""
    return _MARK + origin.encode()
