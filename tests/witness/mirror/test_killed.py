"""A whole process, killed: what it had signed is there when it comes back, and the upload is gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession

from teelog.tlog import note
from teelog.tlog.mirror import encode_header
from teelog.witness.mirror import directory
from tests.witness.harness import WITNESS, Desk, Log
from tests.witness.mirror.mirroring import NAME, Answered, Pushing

OpenDesk = Callable[..., Desk]
SIZES = ((0, 300), (300, 700))

SERVER = """
import os, pathlib, signal, sys, threading
from teelog.listen import Address
from teelog.witness.serve import serve
witness, mirror, at, left = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3], [int(sys.argv[4])]
def step(name):
    if name == at and threading.current_thread().name.startswith("witness-mirror"):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
serve(witness, Address("127.0.0.1", 0), ready=lambda public, _: print(public, flush=True), step=step, mirror=mirror)
"""


class Server:
    """A witness with its mirror in a process of its own. at, nth: killed at the nth step of this name."""

    def __init__(self, witness: Path, mirror: Path, at: str = "", nth: int = 0) -> None:
        self._command = [sys.executable, "-c", SERVER, str(witness), str(mirror), at, str(nth)]

    def __enter__(self) -> Server:
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, cwd=os.getcwd())
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().decode().strip()
        assert self.address, "it did not start"
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)
        assert self.process.stdout is not None
        self.process.stdout.close()


async def _pend(client: Pushing, log: Log, old: int, new: int) -> None:
    async with client.session.post(f"{client.url}/add-checkpoint", data=log.request(old, new)) as response:
        # 409: it is pending already.
        assert response.status in (200, 409), await response.read()


async def _go_on(client: Pushing, log: Log) -> Answered:
    """As a client does that knows nothing of what was sent before."""
    for old, size in SIZES:
        await _pend(client, log, old, size)
    answer = await client.send(encode_header(log.origin, 0, 1 << 40))
    while answer.status in (202, 409):
        sizes = answer.info
        answer = await client.push(log, sizes.next_entry, sizes.size, sizes.ticket)
    return answer


@pytest.mark.parametrize(
    ("at", "nth"),
    [
        ("saved", 2),
        ("committed", 2),
        *(
            pytest.param(at, nth, marks=pytest.mark.long)
            for at, nth in (("saved", 1), ("saved", 4), ("committed", 1), ("signed", 2), ("shown", 2))
        ),
    ],
)
async def test_MI_34_MI_35_MI_38_a_killed_process_has_signed_nothing_that_is_not_there(
    open_desk: OpenDesk, log: Log, tmp_path: Path, at: str, nth: int
) -> None:
    desk = open_desk(log)
    desk.stop()
    folder = tmp_path / "m"
    directory.init(folder, NAME)
    mirror = directory.load(folder, WITNESS)
    signed = 0
    async with ClientSession(skip_auto_headers=("Content-Type",)) as session:
        with Server(desk.path, folder, at, nth) as server:
            client = Pushing(mirror, f"http://{server.address}", session)
            try:
                for old, size in SIZES:
                    await _pend(client, log, old, size)
                    answer = await client.push(log, old, size)
                    assert answer.status == 200, answer
                    signed = size
            except (ClientError, OSError):
                pass
            assert server.process.wait(120) == -signal.SIGKILL
        with Server(desk.path, folder) as server:
            client = Pushing(mirror, f"http://{server.address}", session)
            status, served = await client.get("checkpoint")
            shown = 0
            if status == 200:
                opened = note.open_note(served, [each.verifier for each in mirror.signers])
                shown = int(opened.text.split(b"\n")[1])
                await client.whole(log, shown)
            assert shown >= signed
            assert (await _go_on(client, log)).status == 200
            await client.whole(log, 700)

