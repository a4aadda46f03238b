"""A monitor's folder.

    settings.json    what its owner chose (``settings``); commands replace it while the monitor runs
    state.db         how far it has looked, and what it has found (``state``)
    hashes/          of the tree that it followed (``hashes``)
    rebuilt/         the log's index, rebuilt, where an index policy was given; derived data
    evidence/        proofs, for anyone to check: ``teelog fork verify``
    keys/            of webhooks, one file each, mode 0600
    feed.atom        where an Atom feed is written
    lock             held by the one process that writes the state

Nothing here is created but by ``init``: a missing file is an error, never a fresh start.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from teelog import durable
from teelog.errors import ConfigError, UnavailableError
from teelog.index.fault import IndexFault
from teelog.tlog.fork import ForkProof
from teelog.witness.monitor import settings as files
from teelog.witness.monitor.hashes import HashFiles
from teelog.witness.monitor.settings import Settings
from teelog.witness.monitor.state import State

STATE, HASHES, REBUILT, EVIDENCE, KEYS, LOCK, FEED = (
    "state.db", "hashes", "rebuilt", "evidence", "keys", "lock", "feed.atom",
)  # fmt: skip
MAX_EVIDENCE = 1_000  # files


@dataclass(frozen=True, slots=True)
class Folder:
    path: Path

    @property
    def state(self) -> Path:
        return self.path / STATE

    @property
    def hashes(self) -> HashFiles:
        return HashFiles(self.path / HASHES)

    @property
    def rebuilt(self) -> Path:
        return self.path / REBUILT

    @property
    def evidence(self) -> Path:
        return self.path / EVIDENCE

    @property
    def keys(self) -> Path:
        return self.path / KEYS

    def keep(self, proof: ForkProof | IndexFault) -> str | None:
        """Writes a proof durably; its name in ``evidence``, None where there are too many. Raises OSError."""
        data = proof.encode()
        suffix = ".teelog-fork" if isinstance(proof, ForkProof) else ".teelog-index-fault"
        name = hashlib.sha256(data).hexdigest()[:16] + suffix
        if not (self.evidence / name).exists():
            if sum(1 for _ in self.evidence.iterdir()) >= MAX_EVIDENCE:
                return None
            durable.replace(self.evidence / name, data)
        return name

    @contextlib.contextmanager
    def locked(self) -> Iterator[State]:
        """The state, for the one process that writes it. Raises UnavailableError while another does; ConfigError."""
        try:
            descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError as error:
            hint = f"teelog monitor init {self.path} --policy POLICY"
            raise ConfigError(f"{self.path} is no monitor's folder", hint=hint) from error
        except OSError as error:
            raise UnavailableError(f"cannot open {self.path / LOCK}", actual=error.strerror) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UnavailableError(f"{self.path} is in use by another monitor", hint="stop it first") from error
            state = State.open(self.state)
            try:
                yield state
            finally:
                state.close()
        except sqlite3.Error as error:
            raise UnavailableError(f"{self.state} cannot be used", actual=str(error)) from error
        finally:
            os.close(descriptor)


def init(path: Path, settings: Settings) -> Folder:
    """Makes a monitor in ``path``, which must be new or empty. Raises ConfigError; UnavailableError for I/O."""
    origins = settings.main().origins()
    if len(set(origins)) != 1:
        raise ConfigError("a monitor follows one log", expected="a policy with one log", actual=", ".join(origins))
    folder = Folder(path)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise ConfigError(f"{path} exists already and is not empty", expected="a new folder")
        for each in (folder.evidence, folder.keys, path / HASHES):
            each.mkdir(mode=0o700)
        State.create(folder.state, origins[0])
        durable.replace(path / LOCK, b"")
        # Last: a folder without it was never finished.
        files.write(path, settings)
    except (OSError, sqlite3.Error) as error:
        raise UnavailableError(f"cannot make a monitor in {path}", actual=str(error)) from error
    return folder
