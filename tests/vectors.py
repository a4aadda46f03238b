"""Where the shared test vectors lie. They are read in place and never copied into the project."""

from __future__ import annotations

from pathlib import Path

import pytest

MISSING = "shared vectors are not at hand"
ROOT = Path(__file__).resolve().parent.parent.parent / "shared" / "vectors"


def vectors(path: str) -> Path:
    """The vector file or folder ``path``; skips the test where the collection is not at hand."""
    found = ROOT / path
    if not found.exists():
        pytest.skip(f"{MISSING}: {path}")
    return found
