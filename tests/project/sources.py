"""The shipped source files with the module names they are imported by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Top-level folder -> the package it becomes (docs/decisions/0001-layout.md).
FOLDERS = {
    "teelog": "teelog",
    "cli": "teelog.cli",
    "log_server": "teelog.log_server",
    "witness": "teelog.witness",
}


@dataclass(frozen=True, slots=True)
class Source:
    path: Path
    module: str
    is_package: bool

    @property
    def relative(self) -> str:
        return self.path.relative_to(ROOT).as_posix()


def sources() -> Iterator[Source]:
    """Every shipped Python file once: the links inside teelog/ are not followed."""
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            if any(parent.is_symlink() for parent in path.parents):
                continue
            parts = list(path.relative_to(ROOT / folder).with_suffix("").parts)
            is_package = parts[-1] == "__init__"
            if is_package:
                parts.pop()
            yield Source(path, ".".join([package, *parts]), is_package)
