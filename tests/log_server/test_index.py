"""The index under the log's server, through real processes: published -> indexed -> answered, kills, lag, freshness."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import sqlite3
from pathlib import Path

import aiohttp
import pytest

from teelog import bundle
from teelog.index import keys
from teelog.index.keys import Kind
from teelog.indexing.store import IndexStore
from teelog.log_server.clock import SystemClock
from teelog.log_server.create import create
from teelog.log_server.directory import LogDirectory
from teelog.log_server.read import published_size
from teelog.statement import admit
from teelog.tlog import tiles
from teelog.tlog.checkpoint import open_checkpoint
from tests.commands import teelog
from tests.log_server.index_rig import NAMESPACE, RELEASES, Client, agree, children, entries_of, make_log, until
from tests.log_server.test_serve import Log, allow, post, refused, running, spawn
from tests.log_server.test_submit import release_file
from tests.log_server.witnesses import listening, policy_text
from tests.statement import make


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return make_log(tmp_path)


async def metrics(session: aiohttp.ClientSession, admin: str) -> dict[str, float]:
    async with session.get(admin + "/metrics") as response:
        text = (await response.read()).decode()
    return {name: float(value) for name, value in re.findall(r"^(teelog_[a-z_]+) (\S+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("workers", [0, 2])
async def test_what_is_published_is_indexed_and_every_answer_is_proven(log: Log, workers: int) -> None:
    async with running(log, workers) as server, aiohttp.ClientSession() as session:
        client = Client(session, server.url, log)
        assert await allow(log, make.namespace_file()) == 201
        for number in range(5):
            assert (await post(session, server.url, release_file(str(number))))[0] == 201
        size = await client.until(7)
        assert await client.lookup(size, NAMESPACE) == [1]
        assert await client.lookup(size, RELEASES) == [2, 3, 4, 5, 6]
        assert await client.lookup(size, keys.namespace_key("other.example")) == []
        found = await client.prefix(size, keys.prefix(Kind.RELEASE, "acme.example"))
        assert {key: value.count for key, value in found.items()} == {RELEASES: 5}
        assert await client.prefix(size, keys.prefix(Kind.STATUS)) == {}
        status, note = await client.get(f"/index/v1/{size}/main")
        assert (status, note) == await client.get("/checkpoint")
        told = await client.json(f"/index/v1/{size}/lookup/{NAMESPACE.hex()}")
        assert (told["index_size"], told["input_size"], told["published_size"]) == (str(size), "7", "7")

        async def told_of() -> bool:  # a moment after it is published
            counted = await metrics(session, server.admin)
            assert counted["teelog_index_running"] == 1
            return counted["teelog_index_lag_entries"] == 0 and counted["teelog_index_checkpoint_size"] == size

        await until(told_of)
        assert await server.stop() == 0
    head, sizes = agree(log)
    assert (head.size, sizes[-1]) == (size, 7)


async def test_a_stream_has_its_bundle_which_is_what_a_client_puts_together(log: Log) -> None:
    first, second = release_file("1"), release_file("2")
    ids = [admit.classify(each).statement_id for each in (first, second)]
    async with running(log) as server, aiohttp.ClientSession() as session:
        client = Client(session, server.url, log)
        await allow(log, make.namespace_file())
        for entry in (first, second):
            assert (await post(session, server.url, entry))[0] == 201
        stream = "/index/bundle/acme.example/inference/stable"
        await client.until(4)
        status, body = await client.get(stream)
        assert (status, "nothing is allowed" in body.decode()) == (404, True), body
        allowed = make.status_file(allowed=make.allowed(ids[1]))
        assert (await post(session, server.url, allowed))[0] == 201
        size = await client.until(5)
        for path, entry in ((stream, second), (f"{stream}/{ids[1]}", second), (f"{stream}/{ids[0]}", first)):
            async with session.get(server.url + path) as response:
                assert response.headers["Content-Type"] == bundle.MEDIA_TYPE, await response.text()
                assert response.headers["Cache-Control"] == "no-store"
                found = bundle.parse(await response.read())
            assert found.release.entry == entry
            assert found.status.entry == allowed
            assert found.index_checkpoint == (await client.get("/index/checkpoint"))[1]
            assert found.main_checkpoint == (await client.get(f"/index/v1/{size}/main"))[1]
        for path in (f"{stream}/{'0' * 64}", f"{stream}/x", "/index/bundle/acme.example/inference", f"{stream}?x"):
            assert (await client.get(path))[0] == 404
        assert await server.stop() == 0


@pytest.mark.parametrize(
    "path",
    ["x/lookup/00", "01/lookup/00", "1/lookup/0", "1/lookup/0G", "1/lookup/AA", "1/list/00", "1/list/00/01", "1/main/",
     "1/prefix/" + "00" * 1_025, "1/lookup/00?x", "-1/main", ""],
)  # fmt: skip
async def test_a_path_has_one_spelling(log: Log, path: str) -> None:
    async with running(log) as server, aiohttp.ClientSession() as session:
        client = Client(session, server.url, log)
        await client.until(1)
        from yarl import URL

        async with session.get(URL(f"{server.url}/index/v1/{path}", encoded=True)) as response:
            assert response.status == 404
        assert (await client.get("/index/v1/1/list/" + NAMESPACE.hex() + "/0"))[0] == 404
        assert await server.stop() == 0


async def test_without_a_policy_for_it_there_is_no_index(log: Log) -> None:
    log.index_policy = None
    async with running(log) as server, aiohttp.ClientSession() as session:
        for path in ("/index/checkpoint", "/index/v1/1/main", "/index/tile/0/000.p/1"):
            async with session.get(server.url + path) as response:
                assert response.status == 404
                assert "--index-policy" in (await response.json(content_type=None))["hint"]
        async with session.get(server.url + "/log.json") as response:
            assert (await response.json())["index"] is None
        assert await server.stop() == 0
    assert agree(log)[1] == []


async def test_a_policy_for_another_index_log_is_refused_at_once(log: Log, tmp_path: Path) -> None:
    assert log.index_policy is not None
    log.index_policy.write_bytes(log.policy.read_bytes())
    code, out = await refused(await spawn(log))
    assert (code, "policy is for another log" in out) == (6, True)
    other = create(tmp_path / "OTHER", make.LOG, SystemClock())
    log.index_policy.write_text(f"log {other.index_vkeys[0]}\nquorum none\n")
    code, out = await refused(await spawn(log))
    assert (code, "lists another key" in out) == (6, True)


async def test_a_log_that_began_without_an_index_gets_all_of_it(log: Log) -> None:
    index_policy, log.index_policy = log.index_policy, None
    async with running(log) as server, aiohttp.ClientSession() as session:
        await allow(log, make.namespace_file())
        for number in range(3):
            await post(session, server.url, release_file(str(number)))
        assert await server.stop() == 0
    log.index_policy = index_policy
    async with running(log) as server, aiohttp.ClientSession() as session:
        client = Client(session, server.url, log)
        size = await client.until(5)
        assert await client.lookup(size, RELEASES) == [2, 3, 4]
        assert await server.stop() == 0
    assert agree(log)[1] == [5]


# -- kills ------------------------------------------------------------------------------------------------------------


async def keep_posting(url: str, prefix: str) -> None:
    """Until the server is gone."""
    async with aiohttp.ClientSession() as session:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            for number in range(1_000):
                await post(session, url, release_file(f"{prefix}.{number}"))


@pytest.mark.parametrize(("seed", "killed"), [(0, "server"), (1, "server"), (2, "index"), (3, "index")])
async def test_AP_05_index_goes_on_where_what_was_killed_left_it(log: Log, seed: int, killed: str) -> None:
    chance = random.Random(seed)
    seen = 0
    for round_number in range(3):
        async with running(log, said=[]) as server, aiohttp.ClientSession() as session:
            client = Client(session, server.url, log)
            if not round_number:
                assert await allow(log, make.namespace_file()) == 201
            # What was shown before the kill is a prefix of what comes after it.
            await client.until(seen)
            posting = asyncio.create_task(keep_posting(server.url, f"{seed}.{round_number}"))
            target = seen + chance.randrange(3, 40)
            async with asyncio.timeout(120):
                while (await client.state())[1] < target:
                    await asyncio.sleep(chance.random() / 100)
            if killed == "index":
                os.kill(children(server.process.pid)[0], signal.SIGKILL)
                main = (await metrics(session, server.admin))["teelog_checkpoint_size"]

                async def grown(than: float = main, admin: str = server.admin) -> bool:
                    return (await metrics(session, admin))["teelog_checkpoint_size"] > than

                await until(grown)  # the log goes on
            await server.stop(signal.SIGKILL if killed == "server" else signal.SIGTERM)
            await posting
        head, sizes = agree(log)
        assert head.size == len(sizes)
        covered = sizes[-1] if sizes else 0  # the first leaf may have been answered from, and not be shown yet
        assert covered >= seen
        # Answered from a moment before it is shown: durable by then, so the next start shows it.
        seen = max(target, covered)
    async with running(log) as server, aiohttp.ClientSession() as session:
        client = Client(session, server.url, log)
        main = open_checkpoint((await client.get("/checkpoint"))[1], LogDirectory(log.path).verifiers()).checkpoint
        size = await client.until(main.size)
        # What was committed before the kill may have been published in between.
        told = await client.json(f"/index/v1/{size}/lookup/{RELEASES.hex()}")
        assert len(await client.lookup(size, RELEASES)) == int(told["input_size"]) - 2
        assert await server.stop() == 0
    agree(log)


async def test_the_log_goes_on_without_its_index_and_the_index_after_a_restart(log: Log) -> None:
    said: list[str] = []
    async with running(log, said=said) as server, aiohttp.ClientSession() as session:
        client = Client(session, server.url, log)
        await allow(log, make.namespace_file())
        assert (await post(session, server.url, release_file("1")))[0] == 201
        size = await client.until(3)

        async def counted(name: str, value: float) -> bool:
            return (await metrics(session, server.admin))[name] == value

        await until(lambda: counted("teelog_index_input_size", 3))  # told a moment after it is published
        (index,) = children(server.process.pid)
        os.kill(index, signal.SIGKILL)
        await until(lambda: counted("teelog_index_running", 0))
        for number in range(2, 12):
            assert (await post(session, server.url, release_file(str(number))))[0] == 201
        async with session.get(server.admin + "/readyz") as response:
            assert response.status == 200
            assert "the index has stopped" in await response.text()
        assert (await metrics(session, server.admin))["teelog_index_lag_entries"] == 10
        assert await client.lookup(size, RELEASES) == [2]
        assert await server.stop() == 0
    assert [each for each in said if "the index has stopped, the log goes on" in each]
    async with running(log) as server, aiohttp.ClientSession() as session:
        client = Client(session, server.url, log)
        size = await client.until(13)
        assert await client.lookup(size, RELEASES) == list(range(2, 13))
        assert await server.stop() == 0
    agree(log)


async def test_the_index_ends_with_the_server_that_is_killed(log: Log) -> None:
    process = await spawn(log, workers=2)
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 120)
    born = children(process.pid)
    assert len(born) == 3
    process.kill()
    await process.communicate()
    for child in born:
        while Path(f"/proc/{child}").exists() and b"Z" not in Path(f"/proc/{child}/stat").read_bytes().split()[2]:
            await asyncio.sleep(0.02)


# -- derived data -----------------------------------------------------------------------------------------------------


async def fill(log: Log, count: int, more: str = "") -> None:
    """A server's life in which ``count`` releases are logged and indexed."""
    async with running(log) as server, aiohttp.ClientSession() as session:
        client = Client(session, server.url, log)
        if not more:
            await allow(log, make.namespace_file())
        for number in range(count):
            assert (await post(session, server.url, release_file(f"{more}{number}")))[0] == 201
        await client.until(published_size((await client.get("/checkpoint"))[1]))
        assert await server.stop() == 0


async def index_stops(log: Log) -> list[str]:
    """What a server says whose index stops at its start, while the log goes on."""
    said: list[str] = []
    async with running(log, said=said) as server, aiohttp.ClientSession() as session:

        async def stopped() -> bool:
            return (await metrics(session, server.admin))["teelog_index_running"] == 0

        await until(stopped)
        assert (await post(session, server.url, release_file("next")))[0] == 201
        assert await server.stop() == 0
    return said


@pytest.mark.parametrize("how", ["delete", "garbage", "rebuild"])
async def test_an_index_that_is_lost_is_derived_again_with_the_same_roots(log: Log, how: str) -> None:
    await fill(log, 6)
    before = agree(log)
    database = LogDirectory(log.path).index.index_db
    if how == "garbage":
        database.write_bytes(b"not a database" * 100)
    else:
        database.unlink()
    if how == "rebuild":
        ran = teelog("log", "rebuild", log.path, "--json")
        assert ran.code == 0, ran.stderr
        assert (ran.json["index_size"], ran.json["input_size"]) == (before[0].size, 8)
    async with running(log) as server, aiohttp.ClientSession() as session:
        client = Client(session, server.url, log)
        size = await client.until(8)
        assert size == before[0].size  # no leaf was added for what one covers already
        assert await client.lookup(size, RELEASES) == [2, 3, 4, 5, 6, 7]
        assert (await client.get(f"/index/v1/{size}/main"))[0] == 200
        assert (await post(session, server.url, release_file("next")))[0] == 201
        await client.until(9)
        assert await server.stop() == 0
    agree(log)


def leave_out(log: Log, index: int) -> None:
    """Puts an index in place that lists every release but the one at ``index``."""
    directory = LogDirectory(log.path)
    old = IndexStore.open(directory.index.index_db, make.LOG)
    published = old.published
    assert published is not None
    old.close()
    directory.index.index_db.unlink()
    forged = IndexStore.open(directory.index.index_db, make.LOG, create=True)
    forged.extend([(RELEASES, each) for each in range(2, published.input_size) if each != index], published.input_size)
    forged.publish(published.index_size, published.input_size)
    forged.close()


async def test_A_62_index_that_was_tampered_with_stops_and_the_log_goes_on(log: Log) -> None:
    await fill(log, 6)
    before = agree(log)
    leave_out(log, 4)
    said = await index_stops(log)
    assert [each for each in said if "does not have the map root" in each]
    assert agree(log) == before  # nothing was signed on top of it
    assert teelog("log", "rebuild", log.path).code == 0
    async with running(log) as server, aiohttp.ClientSession() as session:
        await Client(session, server.url, log).until(9)
        assert await server.stop() == 0
    agree(log)


async def test_a_damaged_page_stops_the_index_with_the_way_out(log: Log) -> None:
    await fill(log, 6)
    with contextlib.closing(sqlite3.connect(LogDirectory(log.path).index.index_db)) as db, db:
        db.execute("UPDATE page SET body = substr(body, 1, length(body) / 2)")
    said: list[str] = []
    async with running(log, said=said) as server, aiohttp.ClientSession() as session:
        assert (await post(session, server.url, release_file("next")))[0] == 201

        async def stopped() -> bool:
            return (await metrics(session, server.admin))["teelog_index_running"] == 0

        await until(stopped)
        async with session.get(f"{server.url}/index/v1/1/lookup/{RELEASES.hex()}") as response:
            assert response.status in (404, 503)
        async with session.get(server.admin + "/readyz") as response:
            assert "teelog log rebuild LOG" in await response.text()
        assert await server.stop() == 0
    assert teelog("log", "rebuild", log.path).code == 0
    async with running(log) as server, aiohttp.ClientSession() as session:
        await Client(session, server.url, log).until(9)
        assert await server.stop() == 0
    agree(log)


async def test_rebuild_refuses_entries_that_lead_to_another_root_and_keeps_the_index(log: Log) -> None:
    await fill(log, 3)
    directory = LogDirectory(log.path)
    bundle = directory.public / "tile/entries/000.p/5"
    bundle.write_bytes(bundle.read_bytes().replace(b'"sig"', b'"Sig"'))
    kept = directory.index.index_db.read_bytes()
    ran = teelog("log", "rebuild", log.path)
    assert ran.code != 0
    assert "gives another tree" in ran.stderr
    assert directory.index.index_db.read_bytes() == kept


async def test_fsck_looks_at_the_index_log_too_beside_a_running_server(log: Log) -> None:
    async with running(log) as server, aiohttp.ClientSession() as session:
        client = Client(session, server.url, log)
        await allow(log, make.namespace_file())
        posting = asyncio.create_task(keep_posting(server.url, "f"))
        await client.until(20)
        ran = await asyncio.to_thread(teelog, "log", "fsck", log.path, "--json")
        assert ran.code == 0, ran.stdout
        assert ran.json["index"]["input_size"] >= 20
        posting.cancel()
        assert await server.stop() == 0
    head, sizes = agree(log)
    ran = await asyncio.to_thread(teelog, "log", "fsck", log.path, "--json")
    assert (ran.code, ran.json["index"]) == (0, {"size": head.size, "input_size": sizes[-1]})
    public = LogDirectory(log.path).index.public
    tile = public / tiles.tile_for(0, 0, head.size).path
    tile.write_bytes(bytes(len(tile.read_bytes())))
    bundle = public / tiles.bundle_for(0, head.size).path
    bundle.write_bytes(bundle.read_bytes()[:-8] + b"AAAAAA=\n")
    ran = await asyncio.to_thread(teelog, "log", "fsck", log.path, "--json")
    assert ran.code == 1
    paths = [each["path"] for each in ran.json["problems"]]
    assert {"index/checkpoint", f"index/tile/0/000.p/{head.size}"} <= set(paths)
    assert f"index leaf {head.size - 1}" in paths


async def test_rebuild_needs_the_server_to_be_stopped(log: Log) -> None:
    async with running(log) as server, aiohttp.ClientSession() as session:
        await Client(session, server.url, log).until(1)
        ran = await asyncio.to_thread(teelog, "log", "rebuild", log.path)
        assert (ran.code, "in use by another process" in ran.stderr) == (6, True)
        told = teelog("log", "status", log.path, "--json").json["index"]
        assert (told["running"], told["published_size"], told["input_size"]) == (True, 1, 1)
        assert await server.stop() == 0
    assert "size 1  covers 1 entries  (not running)" in teelog("log", "status", log.path).text


# -- freshness, retention, lag ----------------------------------------------------------------------------------------


def now_s() -> int:
    return SystemClock().now_ms() // 1000


async def test_an_idle_log_is_cosigned_anew_main_first_then_index(tmp_path: Path) -> None:
    async with listening(2) as (main, semantic):
        main.time = semantic.time = now_s()
        asked: list[tuple[str, int, int]] = []
        for name, witness in (("main", main), ("index", semantic)):

            def note_down(of: object, _body: bytes, name: str = name) -> None:
                asked.append((name, *of.requests[-1]))  # type: ignore[attr-defined]
                of.time = now_s()  # type: ignore[attr-defined]

            witness.script = note_down
        log = make_log(
            tmp_path, toml="republish_s = 1", witnesses=policy_text([main], 1), index=policy_text([semantic], 1)
        )
        async with running(log) as server, aiohttp.ClientSession() as session:
            client = Client(session, server.url, log)
            await client.until(1)
            del asked[:]

            async def thrice() -> bool:
                return asked.count(("index", 1, 1)) >= 3

            await until(thrice)
            # The main log never waits for the index to be asked, the index never is before the main log.
            firsts = [asked.index(each) for each in (("main", 1, 1), ("index", 1, 1))]
            assert firsts == sorted(firsts)
            assert set(asked) == {("main", 1, 1), ("index", 1, 1)}

            async def same() -> bool:
                return (await client.get("/checkpoint")) == (await client.get("/index/v1/1/main"))

            await until(same)  # the newest cosignatures for the leaf's size
            assert await server.stop() == 0
    assert agree(log)[1] == [1]  # refreshed, not grown


async def test_older_sizes_are_answered_from_while_newer_ones_are_published_and_for_a_while(tmp_path: Path) -> None:
    log = make_log(tmp_path, toml="retain_s = 2")
    async with running(log) as server, aiohttp.ClientSession() as session:
        client = Client(session, server.url, log)
        await allow(log, make.namespace_file())
        await post(session, server.url, release_file("0"))
        old = await client.until(3)
        status, note = await client.get(f"/index/v1/{old}/main")
        assert status == 200
        for number in range(1, 20):
            assert (await post(session, server.url, release_file(str(number))))[0] == 201
            assert await client.lookup(old, RELEASES) == [2]
        new = await client.until(22)
        assert await client.lookup(new, RELEASES) == list(range(2, 22))
        assert await client.lookup(old, RELEASES) == [2]
        assert await client.get(f"/index/v1/{old}/main") == (200, note)
        number = 20

        async def gone() -> bool:
            nonlocal number
            number += 1
            await post(session, server.url, release_file(str(number)))
            return (await client.get(f"/index/v1/{old}/lookup/{RELEASES.hex()}"))[0] == 404

        await until(gone)
        status, body = await client.get(f"/index/v1/{old}/main")
        told = json.loads(body)
        assert (status, told["type"]) == (404, "urn:teelog:problem:not-found")
        assert int(told["expected"]) >= new
        assert await server.stop() == 0
    agree(log)


async def test_a_log_under_load_waits_for_an_index_that_is_too_far_behind(tmp_path: Path) -> None:
    log = make_log(tmp_path, toml="max_lag_entries = 4")
    async with running(log) as server, aiohttp.ClientSession() as session:
        client = Client(session, server.url, log)
        await allow(log, make.namespace_file())
        await client.until(2)
        (index,) = children(server.process.pid)
        os.kill(index, signal.SIGSTOP)
        try:
            posts = []
            for number in range(20):
                posts.append(asyncio.create_task(post(session, server.url, release_file(str(number)))))
                await asyncio.wait(posts, timeout=0.2)
            async with asyncio.timeout(120):
                # What is published is answered a moment later.
                while (published := (await metrics(session, server.admin))["teelog_checkpoint_size"]) != 2 + sum(
                    each.done() for each in posts
                ):
                    await asyncio.sleep(0.02)
            # At most one batch more than the bound: it is looked at before a batch is sealed.
            assert published - 2 <= 5
        finally:
            os.kill(index, signal.SIGCONT)
        assert [status for status, _ in await asyncio.gather(*posts)] == [201] * 20
        size = await client.until(22)
        assert await client.lookup(size, RELEASES) == list(range(2, 22))
        assert await server.stop() == 0
    agree(log)


async def test_the_log_does_not_wait_for_the_witnesses_of_its_index(tmp_path: Path) -> None:
    async with listening(1) as (semantic,):
        semantic.time = now_s()
        semantic.held.clear()
        log = make_log(tmp_path, toml="max_lag_entries = 4", index=policy_text([semantic], 1))
        async with running(log) as server, aiohttp.ClientSession() as session:
            client = Client(session, server.url, log)
            await allow(log, make.namespace_file())
            for number in range(20):
                assert (await post(session, server.url, release_file(str(number))))[0] == 201
            assert await client.state() == (0, 0)
            semantic.held.set()
            size = await client.until(22)
            assert await client.lookup(size, RELEASES) == list(range(2, 22))
            assert await server.stop() == 0
    agree(log)


async def test_a_leaf_that_was_committed_and_not_published_is_published_after_a_restart(tmp_path: Path) -> None:
    async with listening(1) as (semantic,):
        semantic.time = now_s()
        log = make_log(tmp_path, index=policy_text([semantic], 1))
        async with running(log) as server, aiohttp.ClientSession() as session:
            client = Client(session, server.url, log)
            await client.until(1)
            semantic.script = lambda _self, _body: aiohttp.web.Response(status=503)
            await allow(log, make.namespace_file())

            async def refused_once() -> bool:
                return (1, 2) in semantic.requests

            await until(refused_once)
            await server.stop(signal.SIGKILL)
        assert agree(log)[1] == [1]
        semantic.script = lambda _self, _body: None
        async with running(log) as server, aiohttp.ClientSession() as session:
            client = Client(session, server.url, log)
            assert await client.until(2) == 2
            assert await client.lookup(2, NAMESPACE) == [1]
            assert await server.stop() == 0
        assert agree(log)[1] == [1, 2]


async def test_R_05_index_log_that_was_rolled_back_stops_and_the_log_goes_on(tmp_path: Path) -> None:
    async with listening(1) as (semantic,):
        semantic.time = now_s()
        log = make_log(tmp_path, index=policy_text([semantic], 1))
        state = LogDirectory(log.path).index.state
        async with running(log) as server, aiohttp.ClientSession() as session:
            await Client(session, server.url, log).until(1)
            assert await server.stop() == 0
        old = state.read_bytes()
        await fill(log, 3)
        state.write_bytes(old)
        (LogDirectory(log.path).index.public / "checkpoint").unlink()
        said = await index_stops(log)
    assert [each for each in said if "witness has cosigned more" in each]


def test_the_index_log_begins_empty_and_its_keys_are_its_own(log: Log) -> None:
    directory = LogDirectory(log.path)
    head, sizes = agree(log)
    assert (head.size, sizes) == (0, [])
    own = {key.public.fingerprint for key in directory.index.verifiers()}
    assert not own & {key.public.fingerprint for key in directory.verifiers()}
    assert entries_of(directory.index.public, 0) == []
    for name in ("ed25519.key", "ml-dsa-44.key"):
        assert (directory.index.path / name).stat().st_mode & 0o777 == 0o600
