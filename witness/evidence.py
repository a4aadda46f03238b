"""What is kept of logs that misbehave, as files that anyone can check.

forks/*.teelog-fork          fork proofs: ``teelog fork verify`` needs nothing else
evidence/*.teelog-evidence   the same container, but what was shown does not yet prove a fork: a checkpoint with a valid
                             signature of the log whose consistency proof fails. Anyone who has such a checkpoint can
                             send it with a broken proof, so these are leads, not proofs.
evidence/*.teelog-index-fault
                             something false that an index log signed (docs/formats/index-fault.md)

Bounded: a log's signature is needed for each file, and at most MAX_FILES are kept for each log.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from teelog import durable
from teelog.index.fault import IndexFault
from teelog.tlog.fork import ForkProof
from teelog.witness.published import origin_hash

MAX_FILES = 64  # of each kind and log; the oldest unproven ones make room, fork proofs never do
_NAME_LENGTH = 16  # hex digits of each hash in a file name


class EvidenceStore:
    """The two folders. Used by the threads that find something, each with files of its own."""

    def __init__(self, directory: Path) -> None:
        self.forks = directory / "forks"
        self.unproven = directory / "evidence"

    def keep(self, origin: str, shown: ForkProof, proven: bool) -> Path | None:
        """Writes one file durably; None if it is there already, or if a log has used up its fork proofs.

        Raises OSError.
        """
        return _keep(self._path(origin, shown, proven), shown.encode(), replace=not proven)

    def holds(self, origin: str, shown: ForkProof, proven: bool) -> bool:
        """Whether ``keep`` has written this, and it is still there."""
        return self._path(origin, shown, proven).exists()

    def _path(self, origin: str, shown: ForkProof, proven: bool) -> Path:
        folder, suffix = (self.forks, ".teelog-fork") if proven else (self.unproven, ".teelog-evidence")
        # The proof is left out of the name: anyone can vary it.
        return folder / _name(origin, shown.first + b"\x00" + shown.second, suffix)

    def keep_fault(self, origin: str, found: IndexFault) -> Path | None:
        """Writes one file durably; None if the leaf's is there already. Raises OSError."""
        # Its place in the tree is left out of the name: each later checkpoint holds the same leaf.
        path = self.unproven / _name(origin, found.leaf.data.encode(), ".teelog-index-fault")
        return _keep(path, found.encode(), replace=True)

    def fork_files(self) -> list[Path]:
        """Fork proofs, oldest first."""
        return sorted(self.forks.glob("*.teelog-fork"), key=lambda path: (path.stat().st_mtime_ns, path.name))


def fault_files(store: EvidenceStore) -> list[Path]:
    """Index faults, oldest first."""
    found = store.unproven.glob("*.teelog-index-fault")
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def _name(origin: str, content: bytes, suffix: str) -> str:
    hashed = hashlib.sha256(content).hexdigest()
    return f"{origin_hash(origin)[:_NAME_LENGTH]}-{hashed[:_NAME_LENGTH]}{suffix}"


def _keep(path: Path, data: bytes, *, replace: bool) -> Path | None:
    if path.exists():
        return None
    prefix = path.name.partition("-")[0]
    others = sorted(path.parent.glob(f"{prefix}-*{path.suffix}"), key=lambda other: other.stat().st_mtime_ns)
    if len(others) >= MAX_FILES:
        if not replace:
            return None
        others[0].unlink()
    durable.create(path, data)
    return path
