"""Builds the Go programs that the interoperability tests run. Skips, saying so, where there is no Go toolchain."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

TOOLCHAIN = "go1.27.3"  # what filippo.io/torchwood v0.10.0 asks for; the go command fetches it
GO_DIR = Path(__file__).parent / "golang"


def go_environment() -> dict[str, str]:
    return {**os.environ, "GOTOOLCHAIN": TOOLCHAIN, "GOFLAGS": "-mod=mod"}


@pytest.fixture(scope="session")
def go() -> str:
    found = shutil.which("go")
    if found is None:
        pytest.skip("no Go toolchain on this machine")
    return found


@pytest.fixture(scope="session")
def interop(go: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs tests/interop/golang with these arguments; raises nothing, the caller looks at the exit code."""
    binary = tmp_path_factory.mktemp("go") / "interop"
    subprocess.run([go, "build", "-o", binary, "."], cwd=GO_DIR, env=go_environment(), check=True, timeout=600)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)

    return run


def go_install(go: str, package: str, folder: Path) -> Path:
    """Installs a Go program from the module proxy and gives its path; skips where it cannot be had."""
    done = subprocess.run(
        [go, "install", package],
        env={**go_environment(), "GOBIN": str(folder)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"{package} cannot be built here: {done.stderr.strip().splitlines()[-1][:200]}")
    return folder / package.split("@")[0].rsplit("/", 1)[-1]
