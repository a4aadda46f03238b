"""Runs the command line as a user would, in this process or as its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from teelog.cli.main import main


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout.decode()

    @property
    def json(self) -> Any:
        """The one JSON object on stdout."""
        assert self.stdout.endswith(b"\n")
        assert self.stdout.count(b"\n") == 1
        return json.loads(self.stdout)


def teelog(*arguments: str | Path | int, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Ran:
    """`teelog ARGUMENTS...` in this process, off a terminal; the exit code is returned, not asserted."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    inp = io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
    with patch.object(sys, "stdin", inp), redirect_stdout(out), redirect_stderr(err), patch.dict(os.environ, env or {}):
        code = main([str(argument) for argument in arguments])
    return Ran(code, out.buffer.getvalue(), err.buffer.getvalue().decode())  # type: ignore[attr-defined]


def teelog_process(*arguments: str | Path | int, stdin: bytes = b"", timeout: float = 240, **more: Any) -> Ran:
    """`teelog ARGUMENTS...` as a process of its own (start-up, exit code and streams as they really are)."""
    done = subprocess.run(
        [sys.executable, "-m", "teelog.cli.main", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=timeout,
        check=False,
        **more,
    )
    return Ran(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))
