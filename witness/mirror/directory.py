"""A mirror's folder, apart from its witness's: other keys, another name.

    mirror.toml       name, and which of the witness's logs are mirrored
    mirror.vkeys      its public keys, to hand out
    ed25519.pem       private keys, mode 0600
    ml-dsa-44.pem
    state.db          how far each log is stored, and the mirror checkpoint of each: the durable truth
    logs/<sha256 of origin, hex>/    files of each log, as any static server can serve them
    lock              held by the one process that writes
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from teelog import durable, key_file, keys
from teelog.errors import ConfigError, MalformedError, UnavailableError
from teelog.tlog.vkey import NoteSigner
from teelog.witness.directory import KEYS, MAX_CONFIG
from teelog.witness.mirror.storage import TABLE
from teelog.witness.state import connect

CONFIG, VKEYS, STATE, LOCK, LOGS = "mirror.toml", "mirror.vkeys", "state.db", "lock", "logs"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``mirror.toml``. logs: origins that are mirrored; None: all that the witness knows.

    MI-42: there is no retention policy, so there is no setting for a minimum index: it is 0, and nothing is pruned.
    """

    name: str
    logs: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Mirror:
    """A loaded folder. signers: Ed25519 and ML-DSA-44, of one name."""

    path: Path
    config: Config
    signers: tuple[NoteSigner, ...]

    def mirrors(self, origin: str) -> bool:
        """Whether a log that the witness knows is mirrored."""
        return self.config.logs is None or origin in self.config.logs


def init(path: Path, name: str, draw: Callable[[int], bytes] = os.urandom) -> None:
    """Makes a mirror in ``path``, which must be new or empty. Raises ConfigError, UnavailableError."""
    try:
        made = [(file, kind, keys.private_key_from_seed(algorithm, draw(32))) for file, algorithm, kind in KEYS]
        signers = [NoteSigner.of(name, kind, private) for _, kind, private in made]
    except MalformedError as error:
        raise ConfigError(f"not a usable mirror name: {error.message}", actual=name) from error
    try:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise ConfigError(f"{path} exists already and is no mirror", expected="a new folder")
        (path / LOGS).mkdir()
        for file, _, private in made:
            durable.create(path / file, private.to_pem(), 0o600)
        durable.create(path / VKEYS, "".join(f"{signer.verifier}\n" for signer in signers).encode())
        durable.create(path / STATE, b"", 0o600)
        db = connect(path / STATE)
        try:
            db.executescript(TABLE)
        finally:
            db.close()
        # Last: a folder without it was never finished.
        durable.create(path / CONFIG, f"name = {json.dumps(name, ensure_ascii=False)}\n".encode())
        durable.sync_directory(path.parent)
    except (OSError, sqlite3.Error) as error:
        raise UnavailableError(f"cannot make a mirror in {path}", actual=str(error)) from error


def load(path: Path, witness: str) -> Mirror:
    """Reads configuration and keys. witness: the name of the witness beside it. Raises ConfigError."""
    try:
        raw = (path / CONFIG).read_bytes()[: MAX_CONFIG + 1]
        config = msgspec.convert(tomllib.loads(raw.decode()), Config)
    except OSError as error:
        raise ConfigError(f"{path} is no mirror", expected=f"a folder with {CONFIG}", actual=error.strerror) from error
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path / CONFIG} is not usable", actual=str(error)[:200]) from error
    check_name(config.name, witness)
    signers = []
    for file, algorithm, kind in KEYS:
        private = keys.private_key_from_pem(key_file.read(path / file))
        if private.public.algorithm is not algorithm:
            raise ConfigError(f"{path / file} has another algorithm", expected=algorithm)
        signers.append(NoteSigner.of(config.name, kind, private))
    return Mirror(path, config, tuple(signers))


def check_name(name: str, witness: str) -> None:
    """Raises ConfigError where a mirror has the name of the witness beside it."""
    # MI-05: "this witness service MUST be a distinct cosigner from the mirror cosigner, with a distinct name."
    if name == witness:
        raise ConfigError("a mirror needs another name than its witness", actual=name)


@contextlib.contextmanager
def opened(mirror: Mirror) -> Iterator[sqlite3.Connection]:
    """The state, for the one process that writes it. Raises UnavailableError while another does, ConfigError."""
    try:
        descriptor = os.open(mirror.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UnavailableError(f"cannot open {mirror.path / LOCK}", actual=error.strerror) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UnavailableError(f"{mirror.path} is in use by another process") from error
        try:
            db = connect(mirror.path / STATE)
        except sqlite3.Error as error:
            raise ConfigError(f"cannot use {mirror.path / STATE}", actual=str(error)) from error
        try:
            yield db
        finally:
            db.close()
    finally:
        os.close(descriptor)
