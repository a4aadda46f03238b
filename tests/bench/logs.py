"""Log servers under measurement, made and run by the public commands, and the load on them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import entries, processes

TEELOG = [sys.executable, "-m", "teelog.cli.main"]
LISTENING = re.compile(r"listening on http://127\.0\.0\.1:([0-9]+)")


def configure(
    path: Path, origin: str, interval_ms: int, checkpoint_ms: int | None = None, *, raw: bool = False
) -> None:
    """Writes log.toml: a batch and a checkpoint at each interval. The pool holds whatever a row has under way."""
    (path / "log.toml").write_text(
        f'origin = "{origin}"\n'
        f"[admission]\nraw = {str(raw).lower()}\n"
        f"[intervals]\nbatch_ms = {interval_ms}\ncheckpoint_ms = {checkpoint_ms or interval_ms}\n"
        f"seal_min_ms = {min(20, interval_ms)}\n"
    )


def teelog(*arguments: str | Path) -> bytes:
    done = subprocess.run([*TEELOG, *map(str, arguments)], capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"teelog {' '.join(map(str, arguments))}: {done.stderr.decode()}")
    return done.stdout


def policy(path: Path, witnesses: Sequence[tuple[Path, str]] = ()) -> Path:
    """A policy of this log with all of these witnesses (vkeys, URL), quorum all; none at all if there are none."""
    vkey = (path / "log.vkey").read_text().splitlines()[0]
    lines = [f"log {vkey}"]
    names = []
    for number, (vkeys, url) in enumerate(witnesses):
        names.append(f"w{number}")
        lines.append(f"witness w{number} {vkeys.read_text().splitlines()[0]} {url}")
    lines += [f"group all {len(names)} {' '.join(names)}", "quorum all"] if names else ["quorum none"]
    file = path.parent / f"{path.name}.policy"
    file.write_text("\n".join(lines) + "\n")
    return file


@dataclass(frozen=True, slots=True)
class Server:
    path: Path
    pid: int
    port: int

    def allow(self, folder: Path) -> None:
        """Logs the vendor's namespace; once."""
        statement = folder / "namespace.json"
        statement.write_bytes(entries.namespace_file())
        teelog("log", "allow", self.path, statement)


@contextmanager
def serving(
    path: Path, *, workers: int = 0, policy_file: Path | None = None, index_policy: Path | None = None
) -> Iterator[Server]:
    command = [
        *TEELOG,
        "log",
        "serve",
        str(path),
        "--listen",
        "127.0.0.1:0",
        "--policy",
        str(policy_file or policy(path)),
    ]
    if workers:
        command += ["--workers", str(workers)]
    if index_policy is not None:
        command += ["--index-policy", str(index_policy)]
    with processes.running(command, LISTENING) as (pid, port):
        yield Server(path, pid, port)


def drive(port: int, file: Path, first: int, count: int, **options: Any) -> dict[str, Any]:
    """Runs the load generator in its own process; its report. mode: closed, open or batch."""
    command = [sys.executable, "-m", "tests.bench.load", options.pop("mode"), "--port", str(port)]
    command += ["--entries", str(file), "--first", str(first), "--count", str(count)]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"load generator: {done.stderr.decode()}")
    return json.loads(done.stdout)  # type: ignore[no-any-return]
