"""A served log as a process: start, readiness, shutdown, and what makes it refuse to start."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from teelog.errors import ConfigError
from teelog.listen import parse_address, short_path
from teelog.log_server.clock import SystemClock
from teelog.log_server.create import create
from teelog.tlog import rfc6962
from teelog.tlog.policy import parse_policy
from teelog.tlog.proof import parse_proof, verify_proof
from tests.log_server.serving import DSSE
from tests.log_server.test_submit import release_file
from tests.statement import make

MAIN = """
import sys
from pathlib import Path
from teelog.errors import TeelogError
from teelog.listen import parse_address
from teelog.log_server.serve import serve
from teelog.tlog.policy import parse_policy
def ready(public, admin):
    print(public, admin, flush=True)
try:
    serve(Path(sys.argv[1]), parse_address(sys.argv[2]), parse_policy(Path(sys.argv[3]).read_bytes()),
          admin_listen=parse_address("127.0.0.1:0"), workers=int(sys.argv[4]), ready=ready,
          index_policy=parse_policy(Path(sys.argv[5]).read_bytes()) if len(sys.argv) > 5 else None)
except TeelogError as error:
    print(type(error).__name__, error, flush=True)
    sys.exit(error.exit_code)
"""


@dataclass
class Log:
    path: Path
    policy: Path
    vkeys: list[str]
    index_policy: Path | None = None


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return new_log(tmp_path)


def new_log(folder: Path) -> Log:
    path = folder / "LOG"
    created = create(path, make.LOG, SystemClock())
    config = (path / "log.toml").read_text().replace("# batch_ms = 250", "batch_ms = 20")
    (path / "log.toml").write_text(config.replace("# checkpoint_ms = 1000", "checkpoint_ms = 20"))
    policy = folder / "policy.txt"
    vkeys = [str(key) for key in created.vkeys]
    policy.write_text("".join(f"log {key}\n" for key in vkeys) + "quorum none\n")
    return Log(path, policy, vkeys)


@dataclass
class Running:
    process: asyncio.subprocess.Process
    url: str
    admin: str

    async def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 120)


async def spawn(log: Log, listen: str = "127.0.0.1:0", workers: int = 0) -> asyncio.subprocess.Process:
    more = [] if log.index_policy is None else [str(log.index_policy)]
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", MAIN, str(log.path), listen, str(log.policy), str(workers), *more,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@asynccontextmanager
async def running(log: Log, workers: int = 0, said: list[str] | None = None) -> AsyncIterator[Running]:
    """said: filled with the journal's errors, which are none of the test's business otherwise."""
    process = await spawn(log, workers=workers)
    assert process.stdout is not None
    assert process.stderr is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 120)).decode().split()
    assert len(line) == 2, (line, (await process.stderr.read()).decode())
    try:
        yield Running(process, f"http://{line[0]}", f"http://{line[1]}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        text = await process.stderr.read()
        process._transport.close()  # type: ignore[attr-defined]
        killed = process.returncode == -signal.SIGKILL
        for each in [] if killed else text.decode().splitlines():
            if said is None:
                assert json.loads(each)["level"] in ("info", "warning"), each
            elif json.loads(each)["level"] not in ("info", "warning"):
                said.append(json.loads(each)["event"])


async def allow(log: Log, entry: bytes) -> int:
    with short_path(log.path / "admin.sock") as name:
        connector = aiohttp.UnixConnector(name)
        async with (
            aiohttp.ClientSession("http://log", connector=connector) as session,
            session.post("/allow", data=entry, headers={"Content-Type": DSSE}) as response,
        ):
            return response.status


async def post(session: aiohttp.ClientSession, url: str, entry: bytes) -> tuple[int, bytes]:
    async with session.post(f"{url}/entries", data=entry, headers={"Content-Type": DSSE}) as response:
        return response.status, await response.read()


def index_of(log: Log, entry: bytes, proof: bytes) -> int:
    return verify_proof(parse_proof(proof), rfc6962.leaf_hash(entry), parse_policy(log.policy.read_bytes())).index


@pytest.mark.parametrize("workers", [0, 2])
async def test_a_release_is_published_proven_and_there_after_a_restart(log: Log, workers: int) -> None:
    entry = release_file()
    async with running(log, workers) as server, aiohttp.ClientSession() as session:
        assert stat.S_IMODE((log.path / "admin.sock").stat().st_mode) == 0o600
        assert (await post(session, server.url, entry))[0] == 403
        assert await allow(log, make.namespace_file()) == 201
        status, proof = await post(session, server.url, entry)
        assert (status, index_of(log, entry, proof)) == (201, 2)
        for path in ("/checkpoint", "/tile/0/000.p/3", "/tile/entries/000.p/3", "/", "/log.json"):
            async with session.get(server.url + path) as response:
                assert response.status == 200
        for path in ("/healthz", "/readyz"):
            async with session.get(server.admin + path) as response:
                assert response.status == 200
        async with session.post(server.admin + "/allow", data=b"") as response:
            assert response.status == 404
        assert await server.stop() == 0
    assert not (log.path / "admin.sock").exists()
    async with running(log, workers) as server, aiohttp.ClientSession() as session:
        status, proof = await post(session, server.url, entry)
        assert (status, index_of(log, entry, proof)) == (200, 2)
        status, proof = await post(session, server.url, release_file("2"))
        assert (status, index_of(log, release_file("2"), proof)) == (201, 3)
        assert await server.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("workers", [0, 2])
async def test_metrics_tell_of_the_whole_log(log: Log, workers: int) -> None:
    async with running(log, workers) as server, aiohttp.ClientSession() as session:
        await allow(log, make.namespace_file())
        for number in range(8):
            assert (await post(session, server.url, release_file(str(number))))[0] == 201
        wanted = {b'teelog_entries_total{outcome="logged"} 9.0', b"teelog_checkpoint_size 10.0", b"teelog_writing 1.0"}
        text = b""
        while not wanted <= set(text.splitlines()):  # workers report what they count a little later
            async with session.get(server.admin + "/metrics") as response:
                text = await response.read()
        assert b"teelog_batch_entries_count" in text
        assert await server.stop() == 0


@pytest.mark.parametrize("workers", [0, 2])
async def test_shutdown_answers_what_is_under_way(log: Log, workers: int) -> None:
    config = log.path / "log.toml"
    config.write_text(config.read_text().replace("batch_ms = 20", "batch_ms = 400"))
    async with running(log, workers) as server, aiohttp.ClientSession() as session:
        await allow(log, make.namespace_file())
        entries = [release_file(str(number)) for number in range(20)]
        posts = [asyncio.create_task(post(session, server.url, entry)) for entry in entries]
        # One or the other of them is sealed at once; most wait for the interval.
        waiting = 0.0
        while waiting < 10:
            async with session.get(server.admin + "/metrics") as response:
                (line,) = re.findall(rb"^teelog_pool_entries (.*)$", await response.read(), re.MULTILINE)
            waiting = float(line)
        assert await server.stop() == 0
        answers = await asyncio.gather(*posts)
        assert [status for status, _ in answers] == [201] * 20
        for entry, (_, proof) in zip(entries, answers, strict=True):
            index_of(log, entry, proof)


@pytest.mark.parametrize("workers", [0, 2])
async def test_AP_05_every_answered_entry_is_proven_and_there_after_a_kill(log: Log, workers: int) -> None:
    answered: dict[bytes, bytes] = {}

    async def submit(session: aiohttp.ClientSession, url: str, entry: bytes) -> None:
        with contextlib.suppress(aiohttp.ClientError):
            status, proof = await post(session, url, entry)
            if status == 201:
                answered[entry] = proof

    entries = [release_file(str(number)) for number in range(60)]
    async with running(log, workers) as server, aiohttp.ClientSession() as session:
        await allow(log, make.namespace_file())
        posts = [asyncio.create_task(submit(session, server.url, entry)) for entry in entries]
        while not answered:
            await asyncio.sleep(0)
        await server.stop(signal.SIGKILL)
        await asyncio.gather(*posts)
    async with running(log, workers) as server, aiohttp.ClientSession() as session:
        for entry in entries:
            status, proof = await post(session, server.url, entry)
            index = index_of(log, entry, proof)
            if entry in answered:
                assert status == 200
                assert index == index_of(log, entry, answered[entry])
        assert await server.stop() == 0


async def refused(process: asyncio.subprocess.Process) -> tuple[int, str]:
    out, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.parametrize("workers", [0, 2])
async def test_a_directory_in_use_and_an_address_in_use_are_refused(log: Log, tmp_path: Path, workers: int) -> None:
    other = tmp_path / "OTHER"
    create(other, "other.example/log", SystemClock())
    (tmp_path / "none.txt").write_text("quorum none\n")
    async with running(log, workers) as server:
        code, out = await refused(await spawn(log, workers=workers))
        assert (code, "in use by another process" in out) == (6, True)
        address = server.url.removeprefix("http://")
        code, out = await refused(await spawn(Log(other, tmp_path / "none.txt", []), address, workers))
        assert (code, "cannot listen on" in out) == (4, True)
        assert await server.stop() == 0


async def test_raw_mode_must_be_what_entry_0_states(log: Log) -> None:
    config = log.path / "log.toml"
    config.write_text(config.read_text().replace("raw = false", "raw = true"))
    code, out = await refused(await spawn(log))
    assert (code, "entry 0" in out) == (6, True)


async def test_a_worker_that_dies_ends_the_server(log: Log) -> None:
    process = await spawn(log, workers=2)
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 120)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    os.kill(int(children[0]), signal.SIGKILL)
    code, out = await refused(process)
    assert (code, "a front process has ended" in out) == (4, True)
    assert not Path(f"/proc/{children[1]}").exists()


async def test_workers_end_with_the_server_that_is_killed(log: Log) -> None:
    process = await spawn(log, workers=2)
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 120)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    await process.communicate()
    for child in children:
        while Path(f"/proc/{child}").exists() and b"Z" not in Path(f"/proc/{child}/stat").read_bytes().split()[2]:
            await asyncio.sleep(0.02)
    async with running(log, 2) as server:
        assert await server.stop() == 0


@pytest.mark.parametrize(
    "text", ["", "1.2.3.4", ":80", "a:b:80", "[::1]", "host:65536", "host:-1", "host:8 0", "host:٣"]
)
def test_an_address_is_host_and_port(text: str) -> None:
    assert str(parse_address("[::1]:80")) == "[::1]:80"
    with pytest.raises(ConfigError):
        parse_address(text)
