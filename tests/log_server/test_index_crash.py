"""The index's process, killed at each step between a published main checkpoint and the leaf that covers it.

Protocol section 8: map and input size -> leaf committed -> signed -> tiles -> cosigned -> published -> answered from.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.log_server import test_serve
from tests.log_server.index_rig import RELEASES, Client, agree, make_log, until
from tests.log_server.test_index import metrics
from tests.log_server.test_serve import Log, allow, post, running
from tests.log_server.test_submit import release_file
from tests.statement import make

KILL = """
import os, pkgutil, signal
server = os.getpid()
def die(where, when, count):
    module, name, method = where.split(":")
    owner = getattr(pkgutil.resolve_name(module), name)
    real, calls = getattr(owner, method), [0]
    def patched(*args, **named):
        if os.getpid() == server:
            return real(*args, **named)
        calls[0] += 1
        if (calls[0], when) == (count, "before"):
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **named)
        if (calls[0], when) == (count, "after"):
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, method, patched)
die({where!r}, {when!r}, {count})
"""
STEPS = {
    "map": "teelog.indexing.store:IndexStore:extend",
    "main checkpoint": "teelog.log_server.index.inputs:Inputs:keep",
    "commit": "teelog.log_server.state:SqliteState:commit",
    "sign": "teelog.log_server.signing:LogSigner:sign",
    "tiles": "teelog.log_server.store:DirectoryStore:create",
    "note": "teelog.log_server.state:SqliteState:publish",
    "answer": "teelog.indexing.store:IndexStore:publish",
    "show": "teelog.log_server.store:DirectoryStore:replace_checkpoint",
}


@pytest.mark.parametrize("when", ["before", pytest.param("after", marks=pytest.mark.slow)])
@pytest.mark.parametrize("step", STEPS)
async def test_AP_05_index_killed_at_a_step_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    log = make_log(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(test_serve, "MAIN", KILL.format(where=STEPS[step], when=when, count=3) + test_serve.MAIN)
        async with running(log, said=[]) as server, aiohttp.ClientSession() as session:
            await allow(log, make.namespace_file())
            count = 0

            async def dead() -> bool:
                nonlocal count
                count += 1
                assert (await post(session, server.url, release_file(str(count))))[0] == 201
                return (await metrics(session, server.admin))["teelog_index_running"] == 0

            await until(dead)
            assert await server.stop() == 0
    before = shown(log)
    async with running(log) as server, aiohttp.ClientSession() as session:
        client = Client(session, server.url, log)
        size = await client.until(count + 2)
        assert size >= before
        assert await client.lookup(size, RELEASES) == list(range(2, count + 2))
        assert await server.stop() == 0
    head, sizes = agree(log)
    assert (head.size, sizes[-1]) == (size, count + 2)


def shown(log: Log) -> int:
    """The size of the index log's checkpoint, after everything that must hold of a killed one was looked at."""
    return agree(log)[0].size


async def test_the_harness_kills(tmp_path: Path) -> None:
    """Control: a process that patches itself like that does die."""
    code = KILL.format(where=STEPS["sign"], when="before", count=1).replace("server = os.getpid()", "server = 0")
    code += "from teelog.log_server.signing import LogSigner\nLogSigner.sign(None, 0, b'', 0)\n"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == -9
