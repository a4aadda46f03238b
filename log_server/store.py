"""The directory TileStore: files that any static web server can serve.

Objects are written as a group: write all, fdatasync all, link all, fsync each directory once. link(2) never replaces,
so a name is created once (R-08). What is not yet linked lies in a scratch directory of the same file system, which is
emptied at every start.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from teelog import durable
from teelog.errors import ConfigError
from teelog.log_server.seams import Conflict

CHECKPOINT = "checkpoint"
_MODE = 0o644


class Files:
    """A public directory, to be read only: ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> bytes | None:
        try:
            return (self.root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def checkpoint(self) -> bytes | None:
        return self.read(CHECKPOINT)


class DirectoryStore(Files):
    """``root``: the public directory. ``scratch``: beside it, on the same file system. Both exist."""

    def __init__(self, root: Path, scratch: Path) -> None:
        super().__init__(root)
        self._scratch = scratch
        self._directories = {root}
        self._number = 0
        for left in scratch.iterdir():  # a killed process leaves its unlinked files
            left.unlink()

    def create(self, objects: Mapping[str, bytes]) -> None:
        written: list[tuple[Path, Path, bytes]] = []
        try:
            for path, data in objects.items():
                temporary = self._new_name()
                written.append((temporary, self.root / path, data))
                _write(temporary, data)
            for temporary, _, _ in written:
                _sync(temporary)
            touched = self._make_directories({target.parent for _, target, _ in written})
            for temporary, target, data in written:
                _link(temporary, target, data)
                touched.add(target.parent)
            for directory in sorted(touched, reverse=True):  # names below are durable before the name above
                durable.fsync_directory(directory)
        finally:
            for temporary, _, _ in written:
                temporary.unlink(missing_ok=True)

    def _new_name(self) -> Path:
        self._number += 1
        return self._scratch / f"{self._number}"

    def _make_directories(self, wanted: set[Path]) -> set[Path]:
        """Creates what is missing; the directories that got a new name, still to be fsynced."""
        touched: set[Path] = set()
        for directory in wanted:
            missing = []
            while directory not in self._directories:
                missing.append(directory)
                directory = directory.parent
            for each in reversed(missing):
                # An attempt that failed may have left it, its name not durable: fsynced again.
                each.mkdir(exist_ok=True)
                touched.add(each.parent)
        self._directories |= {parent for directory in wanted for parent in (directory, *directory.parents)}
        return touched

    def replace_checkpoint(self, note_bytes: bytes) -> None:
        temporary = self._new_name()
        try:
            _write(temporary, note_bytes)
            _sync(temporary)
            temporary.replace(self.root / CHECKPOINT)
        finally:
            temporary.unlink(missing_ok=True)
        durable.fsync_directory(self.root)

    def drop_partials(self, full: Sequence[str]) -> int:
        count = 0
        for path in full:
            partials = self.root / f"{path}.p"
            try:
                files = list(partials.iterdir())
            except FileNotFoundError:
                continue
            # TT-17: the full one is durable and readable, or nothing goes.
            if not (self.root / path).is_file():
                continue
            for file in files:
                file.unlink(missing_ok=True)
                count += 1
            partials.rmdir()
            self._directories.discard(partials)
        return count

    def probe(self) -> None:
        first, second = self._new_name(), self._new_name()
        try:
            _write(first, b"1")
            os.link(first, second)
            try:
                os.link(first, second)
            except FileExistsError:
                pass
            else:
                raise ConfigError("the file system replaces files on link: objects would not be create-once")
            if second.read_bytes() != b"1":
                raise ConfigError("the file system does not read back what was written")
        except OSError as error:
            raise ConfigError(
                f"{self._scratch} cannot hold a log", expected="a file system with hard links", actual=error.strerror
            ) from error
        finally:
            first.unlink(missing_ok=True)
            second.unlink(missing_ok=True)
        if self._scratch.stat().st_dev != self.root.stat().st_dev:
            raise ConfigError(f"{self._scratch} and {self.root} are not on one file system")

    def free(self) -> int | None:
        state = os.statvfs(self.root)
        no_inodes = state.f_files and not state.f_favail
        return 0 if no_inodes else state.f_bavail * state.f_frsize


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        durable.write_all(descriptor, data)
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        durable.fdatasync(descriptor, os.fspath(path))
    finally:
        os.close(descriptor)


def _link(temporary: Path, target: Path, data: bytes) -> None:
    try:
        os.link(temporary, target)
    except FileExistsError as error:
        existing = target.read_bytes()
        if existing != data:
            raise Conflict(
                "an object that is written once exists with other bytes",
                expected=f"{len(data)} bytes",
                actual=f"{len(existing)} other bytes in {target}",
            ) from error
