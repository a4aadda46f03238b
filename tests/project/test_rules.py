"""The rules of the test run itself (tests/conftest.py) can fail it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.sources import ROOT

MISSES_ITS_VECTOR = """
from tests.vectors import vectors

def test_it():
    vectors("no/such/vector")
"""


@pytest.mark.parametrize(
    ("workers", "ci", "at_hand", "code"),
    [((), "true", True, 1), (("-n", "1"), "true", True, 1), ((), "", True, 0), ((), "true", False, 0)],
    ids=["CI with vectors", "CI with vectors, xdist", "no CI", "CI without vectors"],
)
def test_a_missing_vector_fails_continuous_integration_only(
    tmp_path: Path, workers: tuple[str, ...], ci: str, at_hand: bool, code: int
):
    (tmp_path / "test_it.py").write_text(MISSES_ITS_VECTOR)
    place = tmp_path if at_hand else tmp_path / "none"
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *map(str, options), *workers, str(tmp_path / "test_it.py")],
        cwd=ROOT,
        env={**os.environ, "CI": ci, "TEELOG_VECTORS": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "1 skipped in" in done.stdout
    assert ("these tests found theirs missing" in done.stdout) == bool(code)
