"""The folder of a copied log: files that any static server can serve, written so that a kill loses nothing.

    <folder>/checkpoint, tile/...    as c2sp.org/tlog-tiles says; tiles first, the checkpoint last
    <folder>/.mirror/pending         the checkpoint that is being copied
    <folder>/.mirror/lock, scratch/  one writer; what is not yet named
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from teelog import durable
from teelog.errors import ConfigError, UnavailableError

OWN = ".mirror"
CHECKPOINT = "checkpoint"
MAX_REMEMBERED = 4_096  # folders; others are synced once more
_OF_A_LOG = ("log.toml", "witness.toml", "monitor.toml")


class MirrorFolder:
    """A context: locked while it is open. Methods raise UnavailableError where the disk does not do its part."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._own = path / OWN
        self._scratch = self._own / "scratch"
        self._lock = -1
        self._number = 0
        self._durable: set[Path] = set()  # folders whose names are known to be on the disk

    def __enter__(self) -> MirrorFolder:
        """Raises ConfigError where the folder is another server's, or somebody writes it."""
        above = self.path.absolute().parent.parent  # of <mirror>/logs/<hash>
        for claim in (*(self.path / name for name in _OF_A_LOG), above / "mirror.toml"):
            if claim.exists():
                raise ConfigError(
                    f"{self.path} is a server's own folder", expected="a new folder, or a copy", actual=claim.name
                )
        try:
            self._own.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._own / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.prepare()
        except BlockingIOError as error:
            self._unlock()
            raise ConfigError(f"{self.path} is being written by another process") from error
        except OSError as error:
            self._unlock()
            raise UnavailableError(f"cannot write {self.path}", actual=error.strerror) from error
        except UnavailableError:
            self._unlock()
            raise
        return self

    def prepare(self) -> None:
        """Makes it ready to be written: enough where the caller has a lock of its own for it; keeps no descriptor."""
        try:
            self._own.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch.mkdir()
        except OSError as error:
            raise UnavailableError(f"cannot write {self.path}", actual=error.strerror) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unlock()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # -- reading ------------------------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> bytes | None:
        """Of the copy that is complete."""
        return self._read(self.path / CHECKPOINT)

    @property
    def pending(self) -> bytes | None:
        """Of the copy that was begun last."""
        return self._read(self._own / "pending")

    def _read(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnavailableError(f"cannot read {path}", actual=error.strerror) from error

    def has(self, path: str) -> bool:
        return (self.path / path).is_file()

    # A ``log.TileCache``: what was copied is not fetched again; who reads it checks it again.

    def get(self, path: str) -> bytes | None:
        return self._read(self.path / path)

    def put(self, path: str, data: bytes) -> None:
        """Nothing: a group is written at a time."""

    def drop(self, path: str) -> None:
        """Nothing: what is damaged is written anew."""

    # -- writing ------------------------------------------------------------------------------------------------------

    def create(self, objects: Mapping[str, bytes]) -> None:
        """Objects at their paths, durable when it returns: contents first, then names, each folder's once."""
        written: list[tuple[Path, Path]] = []
        try:
            for path, data in objects.items():
                self._number += 1
                temporary = self._scratch / f"{self._number}"
                written.append((temporary, self.path / path))
                with temporary.open("wb") as file:
                    file.write(data)
            for temporary, _ in written:
                durable.sync_file(temporary)
            touched: set[Path] = set()
            for temporary, target in written:
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(target)
                touched |= self._named(target.parent)
            for folder in sorted(touched, reverse=True):  # names below before the name above
                durable.sync_directory(folder)
            if len(self._durable) > MAX_REMEMBERED:
                self._durable.clear()
            self._durable |= touched
        except OSError as error:
            raise UnavailableError(f"cannot write {self.path}", actual=error.strerror) from error

    def _named(self, folder: Path) -> set[Path]:
        """What is to be synced for a new name in ``folder`` to last: it, and all above whose names may be as new.

        That a folder is there says nothing: the process that made it may have been killed before it synced.
        """
        touched = {folder}
        while folder not in self._durable and folder != self.path.parent:
            folder = folder.parent
            touched.add(folder)
        return touched

    def begin(self, note: bytes) -> None:
        """``note`` is what is copied from now on."""
        self._whole(self._own / "pending", note)

    def publish(self, note: bytes) -> None:
        """Shows ``note``, all of whose tiles are there."""
        self._whole(self.path / CHECKPOINT, note)

    def _whole(self, path: Path, data: bytes) -> None:
        try:
            durable.replace(path, data)
        except OSError as error:
            raise UnavailableError(f"cannot write {path}", actual=error.strerror) from error

    def drop_partials(self, full: Iterable[str]) -> None:
        """TT-16, TT-17: partial ones whose full one is there and shown; what cannot be removed stays."""
        for path in full:
            if self.has(path):
                self._durable.discard(self.path / f"{path}.p")
                shutil.rmtree(self.path / f"{path}.p", ignore_errors=True)

    def keep_only(self, folder: str, name: str) -> None:
        """Removes what else is in a folder of the copy; what cannot be removed stays."""
        for each in (self.path / folder).iterdir():
            if each.name != name:
                shutil.rmtree(each, ignore_errors=True)
