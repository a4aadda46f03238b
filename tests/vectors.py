"""Where the shared test vectors lie: beside the project, or where TEELOG_VECTORS says. Never copied into it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

MISSING = "shared vectors are not at hand"
_BESIDE = Path(__file__).resolve().parent.parent.parent / "shared" / "vectors"
ROOT = Path(os.environ.get("TEELOG_VECTORS") or _BESIDE)


def vectors(path: str) -> Path:
    """The vector file or folder ``path``; skips the test where the collection is not at hand."""
    found = ROOT / path
    if not found.exists():
        pytest.skip(f"{MISSING}: {path}")
    return found
