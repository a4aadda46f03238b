"""Processes under measurement: started, their CPU time and memory read from /proc, ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and its living descendants."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its living descendants."""
    total = 0
    for each in family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory_bytes(pid: int) -> int:
    """Proportional set size of a process and its living descendants: shared pages count once."""
    total = 0
    for each in family(pid):
        for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1_024
    return total


@contextmanager
def running(command: list[str], **more: object) -> Iterator[subprocess.Popen[str]]:
    """A process until the end of the block: SIGTERM, and SIGKILL ten seconds later."""
    process: subprocess.Popen[str] = subprocess.Popen(command, text=True, **more)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def await_port(process: subprocess.Popen[str], line: re.Pattern[str]) -> int:
    """Reads the process's stderr up to the line that names its port; what follows is read and dropped."""
    assert process.stderr is not None
    said = []
    for text in process.stderr:
        said.append(text)
        if found := line.search(text):
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return int(found[1])
    raise RuntimeError("the server did not start:\n" + "".join(said))


@contextmanager
def empty_handler() -> Iterator[tuple[int, int]]:
    """(pid, port) of the baseline."""
    with running([sys.executable, "-m", "tests.bench.empty"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
