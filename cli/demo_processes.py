"""The demo's processes: commands that end, servers that are stopped whatever happens."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from teelog.errors import UnavailableError

# For a machine that is busy with other work, too: what does not hang is never cut off.
COMMAND_SECONDS = 240.0
START_SECONDS = 120.0
STOP_SECONDS = 60.0
PORTS = range(10_000, 30_000)
"""Below what systems give to outgoing connections: one of those would else take a port before its server does."""
READY = "listening on "
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended."""

    arguments: tuple[str, ...]
    code: int
    stdout: bytes
    stderr: str


def environment(folder: Path) -> dict[str, str]:
    """What every process of the demo gets: nothing of the user's own settings, a client state of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TEELOG_")}
    return {**kept, "TEELOG_STATE": str(folder / "client-state"), "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}


# Processes with neighbouring ids begin far from each other; none looks at a port twice before it has looked at all.
_ports = itertools.cycle(PORTS[(place + 7_919 * os.getpid()) % len(PORTS)] for place in range(len(PORTS)))


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody uses now, others on each call. Raises UnavailableError where there are too few."""
    found = list(itertools.islice(filter(_is_free, itertools.islice(_ports, len(PORTS))), count))
    if len(found) < count:
        raise UnavailableError("too few free ports on 127.0.0.1", expected=count, actual=len(found))
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def command(arguments: Sequence[str], folder: Path) -> Ran:
    """Runs `teelog ARGUMENTS...` in ``folder`` to its end. Raises UnavailableError if it does not end."""
    try:
        done = subprocess.run(  # noqa: S603  the demo runs the very command that it shows
            [sys.executable, "-m", "teelog.cli.main", *arguments],
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"teelog {arguments[0]} did not end within {COMMAND_SECONDS:.0f} s") from error
    return Ran(tuple(arguments), done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))


class Servers:
    """Servers that run until ``stop``; their stderr goes to NAME.log in the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, arguments: Sequence[str]) -> None:
        """Starts `teelog ARGUMENTS...`; `wait` says when it is ready."""
        with self._log(name).open("wb") as log:
            self._running[name] = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "teelog.cli.main", *arguments],
                cwd=self._folder,
                env=environment(self._folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops them in order
                preexec_fn=_die_with_parent,
            )

    def wait(self, name: str) -> None:
        """Returns once the server listens. Raises UnavailableError if it does not come up."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            said = self._log(name).read_text("utf-8", "replace")
            if READY in said:
                return
            if self._running[name].poll() is not None:
                last = said.strip().splitlines()[-1:] or ["nothing"]
                raise UnavailableError(f"{name} did not start", actual=last[0], hint=f"see {self._log(name)}")
            time.sleep(0.05)
        raise UnavailableError(f"{name} did not start within {START_SECONDS:.0f} s", hint=f"see {self._log(name)}")

    def stop(self, *names: str) -> None:
        """Stops these servers, or all."""
        chosen = {name: self._running.pop(name) for name in names or list(self._running)}
        for process in chosen.values():
            process.terminate()
        for process in chosen.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Servers that are gone when the context ends, by whatever way it ends."""
    found = Servers(folder)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield found
    finally:
        # A second Ctrl-C must not leave one behind.
        ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            found.stop()
        finally:
            signal.signal(signal.SIGINT, ignored)
            signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _die_with_parent() -> None:
    """Linux: the kernel ends a server whose demo was killed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
