"""A witness's folder.

    witness.toml      name and settings
    witness.vkeys     its two public keys, to hand out
    ed25519.pem       private keys, mode 0600
    ml-dsa-44.pem
    state.db          known logs and the head cosigned last for each: the durable truth
    published.db      what monitors read
    forks/            fork proofs
    evidence/         what may become one
    lock              held by the one process that writes
    admin.sock        commands to the running witness

Nothing here is created but by ``init``: a missing file is an error, never a fresh start.
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
from teelog.keys import Algorithm
from teelog.tlog.vkey import NoteSigner, SignatureType, VerifierKey
from teelog.witness.evidence import EvidenceStore
from teelog.witness.list_plan import MAX_LOGS, MAX_PER_DAY, Bounds
from teelog.witness.published import Published
from teelog.witness.state import Store

CONFIG = "witness.toml"
VKEYS = "witness.vkeys"
STATE = "state.db"
PUBLISHED = "published.db"
LOCK = "lock"
SOCKET = "admin.sock"
KEYS = (
    ("ed25519.pem", Algorithm.ED25519, SignatureType.COSIGNATURE_ED25519),
    ("ml-dsa-44.pem", Algorithm.ML_DSA_44, SignatureType.COSIGNATURE_ML_DSA_44),
)
MAX_CONFIG = 65_536  # bytes
MAX_LISTS = 16
MIN_EVERY, MAX_EVERY = 60.0, 604_800.0  # seconds from one look at a list to the next


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[limits]`` in witness.toml. An address is an IPv4 address or an IPv6 /64."""

    per_address_per_second: float = 100.0  # requests with a body, sustained
    per_address_burst: int = 1000  # requests
    connections: int = 8192  # open at once, on one listener
    connections_per_address: int = 256  # of them; 0 = no bound
    header_seconds: float = 10.0  # from a request's first byte to the end of its header
    trusted_proxies: tuple[str, ...] = ()  # addresses whose X-Forwarded-For is believed

    def __post_init__(self) -> None:
        for name in ("per_address_per_second", "per_address_burst", "connections", "header_seconds"):
            if not getattr(self, name) > 0:  # nor NaN
                raise ValueError(f"limits.{name} is not above 0")
        if self.connections_per_address < 0:
            raise ValueError("limits.connections_per_address is negative")


class ListSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[[list]]`` in witness.toml: a list of logs that a serving witness adds from. local: at a loopback address."""

    url: str
    every_seconds: float = 3_600.0
    max_logs: int = MAX_LOGS
    max_per_day: int = MAX_PER_DAY
    local: bool = False

    def __post_init__(self) -> None:
        if not MIN_EVERY <= self.every_seconds <= MAX_EVERY:
            raise ValueError(f"list.every_seconds is not within {MIN_EVERY:.0f} to {MAX_EVERY:.0f}")
        from teelog.client import outbound  # late: aiohttp takes longer to load than most commands run

        try:
            outbound.check_url(self.url, local=self.local)
            Bounds(self.max_logs, self.max_per_day)
        except ConfigError as error:
            raise ValueError(f"list: {error}") from error

    @property
    def bounds(self) -> Bounds:
        return Bounds(self.max_logs, self.max_per_day)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``witness.toml``. extensions: cosign checkpoints that have extension lines (W-39)."""

    name: str
    extensions: bool = False
    limits: Limits = Limits()
    lists: tuple[ListSource, ...] = msgspec.field(default=(), name="list")

    def __post_init__(self) -> None:
        if len(self.lists) > MAX_LISTS:
            raise ValueError(f"more than {MAX_LISTS} lists")


@dataclass(frozen=True, slots=True)
class Witness:
    """A loaded folder. signers: Ed25519 and ML-DSA-44, of one name."""

    path: Path
    config: Config
    signers: tuple[NoteSigner, ...]

    @property
    def vkeys(self) -> tuple[str, ...]:
        return tuple(str(signer.verifier) for signer in self.signers)

    @property
    def evidence(self) -> EvidenceStore:
        return EvidenceStore(self.path)


def init(path: Path, name: str, draw: Callable[[int], bytes] = os.urandom) -> tuple[VerifierKey, ...]:
    """Makes a witness in ``path``, which must be new or empty. draw: random bytes. Returns its public keys.

    Raises ConfigError; UnavailableError for I/O.
    """
    try:
        made = [(file, kind, keys.private_key_from_seed(algorithm, draw(32))) for file, algorithm, kind in KEYS]
        signers = [NoteSigner.of(name, kind, private) for _, kind, private in made]
    except MalformedError as error:
        raise ConfigError(f"not a usable witness name: {error.message}", actual=name) from error
    vkeys = [str(signer.verifier) for signer in signers]
    config = f"name = {json.dumps(name, ensure_ascii=False)}\n"
    _parse_config(config.encode())
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise ConfigError(
                f"{path} exists already and is not empty", expected="a new folder", hint="choose another folder"
            )
        path.chmod(0o700)
        for folder in ("forks", "evidence"):
            (path / folder).mkdir()
        for file, _, private in made:
            durable.create(path / file, private.to_pem(), 0o600)
        durable.create(path / VKEYS, "".join(line + "\n" for line in vkeys).encode())
        for file in (STATE, PUBLISHED):
            durable.create(path / file, b"", 0o600)
        store = Store.open(path / STATE, create=True)
        store.set_identity(vkeys)
        store.close()
        Published.open(path / PUBLISHED, create=True).close()
        # Last: a folder without it was never finished.
        durable.create(path / CONFIG, config.encode())
        durable.sync_directory(path.parent)
    except (OSError, sqlite3.Error) as error:
        raise UnavailableError(f"cannot make a witness in {path}", actual=str(error)) from error
    return tuple(signer.verifier for signer in signers)


def load(path: Path) -> Witness:
    """Reads configuration and keys. Raises ConfigError, UnavailableError."""
    config = load_config(path)
    signers = []
    for file, algorithm, kind in KEYS:
        private = keys.private_key_from_pem(key_file.read(path / file))
        if private.public.algorithm is not algorithm:
            raise ConfigError(
                f"{path / file} has another algorithm", expected=algorithm, actual=private.public.algorithm
            )
        signers.append(NoteSigner.of(config.name, kind, private))
    return Witness(path, config, tuple(signers))


def load_config(path: Path) -> Config:
    """Reads ``witness.toml``. Raises ConfigError."""
    file = path / CONFIG
    try:
        with file.open("rb") as opened:
            raw = opened.read(MAX_CONFIG + 1)
        if len(raw) > MAX_CONFIG:
            raise ConfigError(f"{file} is too long", expected=f"at most {MAX_CONFIG} bytes")
        return _parse_config(raw)
    except OSError as error:
        raise ConfigError(
            f"{path} is not a witness",
            expected=f"a folder with {CONFIG}",
            actual=error.strerror,
            hint=f"teelog witness init {path} --name NAME",
        ) from error


def _parse_config(raw: bytes) -> Config:
    try:
        return msgspec.convert(tomllib.loads(raw.decode()), Config)
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigError(f"{CONFIG} is not usable", actual=str(error)) from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Holds the folder's lock; yields False at once if another process does. Raises ConfigError, UnavailableError."""
    load_config(path)
    try:
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UnavailableError(f"cannot open {path / LOCK}", actual=error.strerror) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def open_state(witness: Witness) -> Store:
    """The state of this very witness, for writing; the caller holds the lock. Raises ConfigError, UnavailableError."""
    path = witness.path / STATE
    try:
        store = Store.open(path)
    except sqlite3.Error as error:
        raise ConfigError(f"cannot use {path}", actual=str(error)) from error
    # one name, one pair of keys, one state.
    if store.identity() != witness.vkeys:
        store.close()
        raise ConfigError(f"{path} belongs to another witness", expected=", ".join(key[:80] for key in witness.vkeys))
    return store


def open_published(path: Path) -> Published:
    """The published notes, for writing; the caller holds the lock. Raises ConfigError."""
    try:
        return Published.open(path / PUBLISHED)
    except sqlite3.Error as error:
        raise ConfigError(
            f"cannot use {path / PUBLISHED}",
            actual=str(error),
            hint="it proves that state.db was not rolled back; do not start without it",
        ) from error


def read_state(path: Path) -> Store:
    """The state, for reading, beside whoever writes. Raises ConfigError, UnavailableError."""
    load_config(path)
    try:
        store = Store.open_reader(path / STATE)
        store.log("")
    except sqlite3.Error as error:
        raise UnavailableError(
            f"cannot read {path / STATE}",
            actual=str(error),
            hint=f"where it is of an older version: teelog witness serve {path}",
        ) from error
    return store
