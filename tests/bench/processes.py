"""Processes under measurement: started, their CPU time and memory read from /proc, ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO

TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 60.0


def family(pid: int) -> list[int]:
    """A process and its living descendants."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            with suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, task.read_text().split())
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its living descendants."""
    total = 0
    for each in family(pid):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
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


class Others:
    """What processes other than ours, and other machines on the same hardware, take of the cores from now on."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._busy = self._others()

    def cores(self) -> float:
        return max(0.0, self._others() - self._busy) / (time.monotonic() - self._begin)

    @staticmethod
    def _others() -> float:
        """Seconds of CPU that were used, and not by us."""
        # user, nice, system, idle, iowait, irq, softirq, steal
        times = [int(item) for item in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        own = os.times()
        ended = own.children_user + own.children_system
        return (sum(times) - times[3] - times[4]) / TICKS - cpu_seconds(os.getpid()) - ended


@contextmanager
def running(command: list[str], line: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """(pid, port) of a server, until the end of the block: SIGTERM, and SIGKILL ten seconds later.

    line: what it says, on stdout or stderr, once it listens; its group is the port.
    """
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            yield process.pid, _await_port(process, said, line)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _await_port(process: subprocess.Popen[bytes], said: IO[str], line: re.Pattern[str]) -> int:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        ended = process.poll() is not None
        text = os.pread(said.fileno(), 1 << 20, 0).decode()
        if found := line.search(text):
            return int(found[1])
        if ended:
            raise RuntimeError(f"the server did not start:\n{text}")
        time.sleep(0.02)
    raise RuntimeError("the server did not start in time")


def empty_handler() -> AbstractContextManager[tuple[int, int]]:
    """(pid, port) of the baseline."""
    return running([sys.executable, "-m", "tests.bench.empty"], re.compile(r"^([0-9]+)$", re.MULTILINE))
