"""What this client remembers of each log, by (origin, key): the largest checkpoint that it verified, and the latest
version of each namespace and status of each stream that it followed there; of each index, what it showed last.

    <state>/checkpoints/<SHA-256 of the vkey, hex>        the note; beside it the one before, ``.prev``
    <state>/followed/<SHA-256 of the vkey, hex>           JSON: the latest of each namespace and stream; ``.prev`` too
    <state>/forks/<origin, made harmless>-<16 hex>.teelog-fork, .teelog-index-fork
    <state>/tiles/<SHA-256 of the vkey, hex>/...          a cache (``teelog.client.cache``)

A log can show one client one tree and another client another; it cannot show one client both and not be caught. The
state is keyed by what the caller configured, never by what a server says (R-22), and it moves only forward (CP-14).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from teelog import durable
from teelog.errors import (
    ConfigError,
    MalformedError,
    MisbehaviourError,
    TeelogError,
    UnavailableError,
    VerificationError,
)
from teelog.tlog import note
from teelog.tlog.checkpoint import Checkpoint, open_checkpoint
from teelog.tlog.policy import WitnessedCheckpoint
from teelog.tlog.vkey import VerifierKey

if TYPE_CHECKING:
    from teelog.tlog.fork import ForkProof

Prove = Callable[[Checkpoint, Checkpoint], Awaitable[tuple[bytes, list[bytes]]]]
"""Given (smaller, larger): the root of the larger tree's first smaller.size leaves and its consistency proof, both
authenticated against the larger checkpoint's root (``LogReader.prove_consistency``)."""


FORK_SUFFIX = ".teelog-fork"
INDEX_FORK_SUFFIX = ".teelog-index-fork"


@dataclass(frozen=True, slots=True)
class Remembered:
    """A verified checkpoint by one key. note: with this key's line."""

    checkpoint: Checkpoint
    note: bytes


class _Version(msgspec.Struct, frozen=True):
    version: int
    statement: str


class _Followed(msgspec.Struct, frozen=True):
    """statuses: the version is the seq. views: what the index of the log showed, as ``appraisal.Seen.views``."""

    namespaces: dict[str, _Version] = {}
    statuses: dict[str, _Version] = {}
    views: dict[str, bytes] = {}


Latest = Mapping[str, tuple[int, str]]
"""Name -> version (of a status: seq) and statement id."""


class ClientState:
    """The folder. Made when the first checkpoint is remembered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def tiles(self, key: VerifierKey) -> Path:
        """The folder for cached tiles of the log that signs with ``key``."""
        return self.folder / "tiles" / _digest(key)

    def latest(self, key: VerifierKey) -> Remembered | None:
        """The largest checkpoint seen under ``key``, or None.

        R-19: a file that a power cut left behind as garbage accuses nobody; the one before it counts.
        """
        for path in (self._path(key), self._path(key).with_suffix(".prev")):
            try:
                data = _read(path)
            except FileNotFoundError:
                continue
            try:
                return Remembered(open_checkpoint(data, [key], key.name).checkpoint, data)
            except (MalformedError, VerificationError):
                continue
        return None

    async def observe(self, seen: WitnessedCheckpoint, prove: Prove | None) -> str | None:
        """Compares a verified checkpoint with what is remembered, and remembers it if it is larger.

        prove: shows how two sizes fit together; None where the caller has no way. Returns a sentence where the
        comparison could not be made (then nothing is changed), else None. Raises MisbehaviourError, with the fork
        proof in ``evidence``, after writing it.
        """
        for line in seen.log_signatures:
            key = line.verifier
            assert isinstance(key, VerifierKey)
            own = note.encode(seen.note.text, [line.signature])
            trouble = await self._observe(key, Remembered(seen.checkpoint, own), prove)
            if trouble:
                return trouble
        return None

    def observe_offline(self, seen: WitnessedCheckpoint) -> str | None:
        """As ``observe`` for a caller who can prove nothing, and needs no event loop for it."""
        try:
            self.observe(seen, None).send(None)
        except StopIteration as done:
            trouble: str | None = done.value
            return trouble
        raise AssertionError("nothing is waited for without a prover")

    async def _observe(self, key: VerifierKey, seen: Remembered, prove: Prove | None) -> str | None:
        while True:
            known = self.latest(key)
            if known is not None:
                trouble = await self._compare(key, known, seen, prove)
                if trouble:
                    return trouble
            with self._locked():
                if self.latest(key) != known:
                    continue  # another process was faster: compare with what it left
                if known is None or known.checkpoint.size < seen.checkpoint.size:
                    _replace(self._path(key), seen.note)
                return None

    async def _compare(self, key: VerifierKey, known: Remembered, seen: Remembered, prove: Prove | None) -> str | None:
        small, large = sorted((known, seen), key=lambda each: each.checkpoint.size)
        if small.checkpoint == large.checkpoint:
            return None
        from teelog.tlog import fork  # rarely needed

        if small.checkpoint.size == large.checkpoint.size:
            self._check_fork(key, fork.find_fork(_pair(small), _pair(large), keys=[key]))  # CP-13
            return None
        if small.checkpoint.size == 0:
            return None
        if prove is None:
            return f"not compared with the checkpoint of size {known.checkpoint.size} seen before"
        # CP-14: smaller or larger, the two must fit; only one of them is kept.
        try:
            root, proof = await prove(small.checkpoint, large.checkpoint)
        except TeelogError as error:
            # Anyone can withhold a proof or send a bad one: no evidence against the log, no progress either.
            size = known.checkpoint.size
            return f"consistency with the checkpoint of size {size} seen before is not shown: {error.message}"
        self._check_fork(key, fork.find_fork(_pair(small), _pair(large), proof, root, [key]))
        return None

    def _check_fork(self, key: VerifierKey, found: ForkProof | None) -> None:
        if found is None:
            return
        from teelog.tlog import fork

        fork.verify_fork(found, [key])
        path = self.keep_fork(key.name, found)
        raise MisbehaviourError(
            f"the log {key.name} signed two views that cannot both be true",
            expected="one append-only tree",
            actual=f"fork proof {path}",
            hint=f"teelog fork verify {path}",
            evidence=found.encode(),
        )

    def namespaces(self, key: VerifierKey) -> dict[str, tuple[int, str]]:
        """Name -> version and statement id of the latest version followed on the log that signs with ``key``."""
        return {name: (it.version, it.statement) for name, it in self._followed(key).namespaces.items()}

    def statuses(self, key: VerifierKey) -> dict[str, tuple[int, str]]:
        """Stream -> seq and statement id of the latest status that the log's index showed."""
        return {name: (it.version, it.statement) for name, it in self._followed(key).statuses.items()}

    def views(self, key: VerifierKey) -> dict[str, bytes]:
        """What the log's index showed last (``appraisal.Seen.views``)."""
        return dict(self._followed(key).views)

    def follow(
        self,
        key: VerifierKey,
        namespaces: Latest,
        statuses: Latest | None = None,
        views: Mapping[str, bytes] | None = None,
    ) -> None:
        """Remembers these, where they are later than what is known: the memory only moves forward."""
        if not (namespaces or statuses or views):
            return
        with self._locked():
            known = self._followed(key)
            new = _Followed(
                _later(known.namespaces, namespaces),
                _later(known.statuses, statuses or {}),
                {**known.views, **(views or {})},
            )
            if new != known:
                _replace(self.followed_file(key), msgspec.json.encode(new))

    def _followed(self, key: VerifierKey) -> _Followed:
        path = self.followed_file(key)
        for each in (path, path.with_suffix(".prev")):
            with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):  # R-19, as above
                return msgspec.json.decode(_read(each), type=_Followed)
        return _Followed()

    def followed_file(self, key: VerifierKey) -> Path:
        """Where namespaces and statuses are remembered; deleting it forgets them."""
        return self.folder / "followed" / _digest(key)

    def keep_fork(self, origin: str, found: ForkProof) -> Path:
        """Writes a fork proof into the state; its path."""
        return self.keep_evidence(origin, found.encode(), FORK_SUFFIX)

    def convict(self, origin: str, error: MisbehaviourError) -> MisbehaviourError:
        """``error`` with its evidence in a file of the state, which it names. origin: of the main log."""
        if error.evidence is None:
            return error
        from teelog.tlog import fork

        try:
            fork.parse_fork(error.evidence)
            path = self.keep_evidence(origin, error.evidence, FORK_SUFFIX)
        except MalformedError:
            path = self.keep_evidence(origin, error.evidence, INDEX_FORK_SUFFIX)
        return MisbehaviourError(
            error.message,
            expected=error.expected,
            actual=error.actual,
            hint=f"teelog fork verify {path}",
            evidence=error.evidence,
        )

    def keep_evidence(self, origin: str, data: bytes, suffix: str) -> Path:
        """Writes proof of misbehaviour into the state; its path. suffix: FORK_SUFFIX or INDEX_FORK_SUFFIX."""
        name = re.sub(r"[^a-z0-9.-]+", "_", origin.lower())[:80]
        folder = self.folder / "forks"
        path = folder / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}{suffix}"
        with self._locked():
            folder.mkdir(exist_ok=True)
            durable.replace(path, data)
        return path

    def _path(self, key: VerifierKey) -> Path:
        return self.folder / "checkpoints" / _digest(key)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Read, compare and write as one, among the processes of one user."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)
        except OSError as error:
            raise UnavailableError(f"cannot write the client state {self.folder}", actual=error.strerror) from error


def _later(known: Mapping[str, _Version], new: Latest) -> dict[str, _Version]:
    later = {name: _Version(*it) for name, it in new.items() if name not in known or known[name].version < it[0]}
    return dict(sorted({**known, **later}.items()))


def default_folder(environ: dict[str, str]) -> Path:
    """TEELOG_STATE, else teelog under XDG_STATE_HOME or ~/.local/state. Raises ConfigError without a home."""
    if environ.get("TEELOG_STATE"):
        return Path(environ["TEELOG_STATE"])
    base = environ.get("XDG_STATE_HOME", "")
    if base.startswith("/"):
        return Path(base) / "teelog"
    if not environ.get("HOME"):
        raise ConfigError("no place for the client state", expected="--state, TEELOG_STATE or HOME")
    return Path(environ["HOME"]) / ".local" / "state" / "teelog"


def _digest(key: VerifierKey) -> str:
    return hashlib.sha256(str(key).encode()).hexdigest()


def _pair(each: Remembered) -> tuple[Checkpoint, bytes]:
    return each.checkpoint, each.note


def _read(path: Path) -> bytes:
    """Raises FileNotFoundError, UnavailableError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnavailableError(f"cannot read {path}", actual=error.strerror) from error


def _replace(path: Path, data: bytes) -> None:
    """Keeps what was there as ``.prev``."""
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        durable.replace(path.with_suffix(".prev"), path.read_bytes())
    durable.replace(path, data)
