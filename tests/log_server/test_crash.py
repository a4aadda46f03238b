"""SIGKILL at any moment under load: no acknowledged entry is lost, nothing is forked.

A real log server and a real witness, as processes. Clients submit signed releases and keep every proof (the observer).
After each kill the directory is judged from its bytes alone, and at the end by `teelog log fsck`, by the witness, which
must never have been shown anything inconsistent, and by every proof that was ever given.

TEELOG_KILLS sets how often (default 6, in the long campaign 50).
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from teelog.log_server.directory import LogDirectory
from teelog.tlog import rfc6962
from teelog.tlog.checkpoint import Checkpoint, open_checkpoint
from teelog.tlog.policy import parse_policy
from teelog.tlog.proof import parse_proof, verify_proof
from tests.commands import teelog
from tests.log_server.rig import check
from tests.log_server.serving import DSSE
from tests.log_server.test_submit import release_file
from tests.statement import make

LISTENING = re.compile(rb"listening on (http://[0-9.]+:[0-9]+)")
SETTINGS = "[intervals]\nbatch_ms = 10\ncheckpoint_ms = 20\nretry_ms = 50\n"


@dataclass
class Process:
    process: asyncio.subprocess.Process
    url: str
    stderr: list[bytes] = field(default_factory=list)
    reader: asyncio.Task[None] | None = None

    async def end(self, number: int = signal.SIGKILL) -> int:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        code = await asyncio.wait_for(self.process.wait(), 120)
        if self.reader is not None:
            await self.reader
        self.process._transport.close()  # type: ignore[attr-defined]
        return code


async def start(*arguments: str | Path) -> Process:
    """A `teelog` command that serves, once it listens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "teelog.cli.main"),
        *map(str, arguments),
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert process.stderr is not None
    lines: list[bytes] = []
    while True:
        line = await asyncio.wait_for(process.stderr.readline(), 120)
        lines.append(line)
        if found := LISTENING.search(line):
            break
        assert line, b"".join(lines).decode()
    made = Process(process, found[1].decode(), lines)

    async def drain() -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            lines.append(line)

    made.reader = asyncio.create_task(drain())
    return made


@dataclass
class Field:
    """A log directory, its policy, and the observer: leaf -> (index, every proof given)."""

    log: Path
    policy_file: Path
    observed: dict[bytes, list[bytes]] = field(default_factory=dict)
    submitted: list[bytes] = field(default_factory=list)
    heads: dict[bytes, Checkpoint] = field(default_factory=dict)
    """The checkpoints of the proofs, opened."""
    acknowledged: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, entry: bytes, proof: bytes) -> None:
        """AP-05: a receipt counts once it verifies offline; it is kept for ever."""
        leaf = rfc6962.leaf_hash(entry)
        verify_proof(parse_proof(proof), leaf, parse_policy(self.policy_file.read_bytes()))
        self.observed.setdefault(leaf, []).append(proof)
        self.acknowledged.set()


@asynccontextmanager
async def prepared(path: Path) -> AsyncIterator[Field]:
    """A log with a namespace, and a witness that runs."""
    log, folder, policy = path / "LOG", path / "W", path / "policy.txt"
    assert teelog("log", "init", log, "--origin", make.LOG).code == 0
    (log / "log.toml").write_text(f'origin = "{make.LOG}"\n{SETTINGS}')
    assert teelog("witness", "init", folder, "--name", "witness.example/w1").code == 0
    assert teelog("witness", "add-log", folder, log / "log.vkey").code == 0
    witness = await start("witness", "serve", folder, "--listen", "127.0.0.1:0")
    keys = (folder / "witness.vkeys").read_text().split()
    lines = [f"log {key}" for key in (log / "log.vkey").read_text().split()]
    lines += [f"witness w{number} {key} {witness.url}" for number, key in enumerate(keys)]
    policy.write_text("\n".join([*lines, "group one any w0 w1", "quorum one", ""]))
    (path / "ns.json").write_bytes(make.namespace_file())
    assert (await asyncio.to_thread(teelog, "log", "allow", log, path / "ns.json")).code == 0
    try:
        yield Field(log, policy)
    finally:
        assert await witness.end(signal.SIGTERM) == 0
        assert not list((folder / "forks").glob("*")) if (folder / "forks").exists() else True
        assert b"inconsistent" not in b"".join(witness.stderr).lower()


async def load(there: Field, url: str, entries: Sequence[bytes], lost: asyncio.Event) -> None:
    """Submits one entry after the other until the server is gone."""
    async with aiohttp.ClientSession() as session:
        for entry in entries:
            try:
                async with session.post(f"{url}/entries", data=entry, headers={"Content-Type": DSSE}) as response:
                    status, body = response.status, await response.read()
            except (aiohttp.ClientError, OSError):
                lost.set()
                return
            if status in (200, 201):
                there.take(entry, body)
            else:
                assert status == 503, (status, body)


async def campaign(there: Field, kills: int, seed: int, workers: int = 0) -> None:
    chance = random.Random(seed)
    serve = ("log", "serve", there.log, "--listen", "127.0.0.1:0", "--policy", there.policy_file)
    for number in range(kills):
        server = await start(*serve, "--workers", str(workers))
        lost = asyncio.Event()
        clients = []
        for client in range(6):
            own = [release_file(f"{number}.{client}.{n}") for n in range(25)]
            own += chance.sample(there.submitted, min(5, len(there.submitted)))  # what may be logged already
            there.submitted += own
            clients.append(asyncio.create_task(load(there, server.url, own, lost)))
        # The moment is chance's: every second time counted from the start, else from the first acknowledgement.
        there.acknowledged.clear()
        if number % 2 == 0:
            await asyncio.wait_for(there.acknowledged.wait(), 120)
        await asyncio.wait(clients, timeout=chance.uniform(0.0, 0.6))
        assert await server.end() == -signal.SIGKILL
        for task in clients:
            await task
        judge(there)
    await settle(there, serve)


async def settle(there: Field, serve: Sequence[str | Path]) -> None:
    """A last start: everything submitted gets in, with the index that it may have had before."""
    server = await start(*serve)
    known = {leaf: parse_proof(proofs[0]).index for leaf, proofs in there.observed.items()}
    entries = list(dict.fromkeys(there.submitted))
    await asyncio.gather(*(load(there, server.url, entries[n::48], asyncio.Event()) for n in range(48)))
    assert await server.end(signal.SIGTERM) == 0
    for leaf, index in known.items():
        assert {parse_proof(proof).index for proof in there.observed[leaf]} == {index}
    assert {rfc6962.leaf_hash(entry) for entry in entries} == set(there.observed)
    indices = [parse_proof(proofs[0]).index for proofs in there.observed.values()]
    assert sorted(indices) == list(range(2, 2 + len(entries)))  # no entry twice, none missing
    judge(there)
    done = await asyncio.to_thread(teelog, "log", "fsck", there.log, "--policy", there.policy_file)
    assert done.code == 0, done.stderr


def judge(there: Field) -> None:
    """The directory's bytes, and every proof ever given: against its tree, at its place."""
    shown = check(LogDirectory(there.log))
    signer = LogDirectory(there.log).signer(make.LOG)
    leaves: list[bytes] = []
    for index in range(-(-shown.size // 256)):
        tile = there.log / "public" / f"tile/0/{index:03}"
        width = min(256, shown.size - 256 * index)
        data = tile.read_bytes() if tile.exists() else (tile.parent / f"{tile.name}.p" / str(width)).read_bytes()
        leaves += [data[at : at + 32] for at in range(0, 32 * width, 32)]
    roots: dict[int, bytes] = {}
    for leaf, proofs in there.observed.items():
        for proof in map(parse_proof, proofs):
            head = there.heads.get(proof.checkpoint)
            if head is None:
                head = open_checkpoint(proof.checkpoint, signer.vkeys, make.LOG).checkpoint
                there.heads[proof.checkpoint] = head
            assert head.size <= shown.size, "an acknowledged checkpoint is gone"
            assert leaves[proof.index] == leaf, "an acknowledged entry is gone"
            if head.size not in roots:
                roots[head.size] = rfc6962.root_of_leaves(leaves[: head.size])
            assert roots[head.size] == head.root, "the log forked"


def kills(default: int) -> int:
    return int(os.environ.get("TEELOG_KILLS", default))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("count", "workers"), [(6, 0), (2, 2)])
async def test_F_10_sigkill_under_load_loses_and_forks_nothing(tmp_path: Path, count: int, workers: int) -> None:
    async with prepared(tmp_path) as there:
        await campaign(there, kills(count), seed=count, workers=workers)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("workers", [0, 2])
async def test_F_10_sigkill_fifty_times(tmp_path: Path, workers: int) -> None:
    async with prepared(tmp_path) as there:
        await campaign(there, kills(50), seed=50 + workers, workers=workers)


async def test_must_fail_control_a_log_that_forgets_is_found(tmp_path: Path) -> None:
    async with prepared(tmp_path) as there:
        serve = ("log", "serve", there.log, "--listen", "127.0.0.1:0", "--policy", there.policy_file)
        server = await start(*serve)
        await load(there, server.url, [release_file("1")], asyncio.Event())
        assert await server.end(signal.SIGTERM) == 0
        shutil.copytree(there.log, tmp_path / "older")
        server = await start(*serve)
        await load(there, server.url, [release_file("2")], asyncio.Event())
        assert await server.end() == -signal.SIGKILL
        judge(there)
        shutil.rmtree(there.log)
        (tmp_path / "older").rename(there.log)
        with pytest.raises(AssertionError, match="is gone"):
            judge(there)
        # F-15, R-05: the witness has seen more than the copy knows of, so the copy signs nothing.
        done = await asyncio.to_thread(_serve, there)
        assert done[0] == 5, done
        assert "more of this log than this directory knows of" in done[1]


def _serve(there: Field) -> tuple[int, str]:
    from tests.commands import teelog_process

    done = teelog_process("log", "serve", there.log, "--listen", "127.0.0.1:0", "--policy", there.policy_file)
    return done.code, done.stderr


async def test_two_servers_on_one_directory_are_refused_with_one_cause(tmp_path: Path) -> None:
    async with prepared(tmp_path) as there:
        server = await start("log", "serve", there.log, "--listen", "127.0.0.1:0", "--policy", there.policy_file)
        code, stderr = await asyncio.to_thread(_serve, there)
        assert code == 6
        errors = [line for line in stderr.splitlines() if line.startswith("error:")]
        assert len(errors) == 1
        assert "in use by another process" in errors[0]
        await load(there, server.url, [release_file("1")], asyncio.Event())
        assert len(there.observed) == 1
        assert teelog("log", "status", there.log, "--json").json["running"] is True
        assert await server.end(signal.SIGTERM) == 0
        judge(there)
