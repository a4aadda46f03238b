"""The admin listener: metrics, health, and what the log's operator may log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from teelog.errors import UnavailableError
from teelog.log_server.admin import Admin, admin_handler
from teelog.log_server.guard import guarded
from teelog.log_server.limits import Limits
from teelog.log_server.metrics import OUTCOMES, ROUTES, Metrics
from teelog.log_server.seams import Full
from teelog.tlog import rfc6962
from tests.log_server.serving import DSSE, Answer, Server
from tests.log_server.test_submit import proven, release_file
from tests.statement import make


@asynccontextmanager
async def admin_of(
    server: Server, path: Path, reason: str | None = None, *, allowing: bool = True, limits: Limits | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    """A session to the log's own Unix socket."""
    submissions = server.front.submissions
    admin = Admin(server.metrics, lambda: reason, submissions.bodies, submissions.allow if allowing else None)
    runner = web.ServerRunner(guarded(admin_handler(admin), limits or Limits()))
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    connector = aiohttp.UnixConnector(str(path))
    async with aiohttp.ClientSession("http://admin", connector=connector) as session:
        yield session
    await runner.cleanup()


async def ask(session: aiohttp.ClientSession, path: str, method: str = "GET", body: bytes | None = None) -> Answer:
    headers = {"Content-Type": DSSE} if body is not None else {}
    async with session.request(method, path, data=body, headers=headers) as response:
        return Answer(response.status, response.headers, await response.read())


def other_namespace() -> bytes:
    other = make.key("other")
    roles = (make.held(other, *make.OWNER_ROLES),)
    return make.namespace_file(other, namespace="other.example", keys=roles)


async def test_allow_logs_a_first_namespace_version_which_is_in_force_at_once(server: Server, tmp_path: Path) -> None:
    entry = other_namespace()
    release = release_file("1", make.key("other"), stream="other.example/a/b")
    assert (await server.post("/entries", release)).status == 403
    async with admin_of(server, tmp_path / "s") as session:
        answer = await ask(session, "/allow", "POST", entry)
        assert answer.status == 201
        assert answer.headers["Location"] == f"/entries/{rfc6962.leaf_hash(entry).hex()}"
        assert proven(answer, entry) == 1
        assert (await ask(session, "/allow", "POST", entry)).status == 200
    assert (await server.post("/entries", release)).status == 201


async def test_allow_checks_what_it_is_given(server: Server, tmp_path: Path) -> None:
    elsewhere = make.namespace_file(log="other.example/log", namespace="elsewhere.example")
    unsigned = make.namespace_file(make.STRANGER, namespace="unsigned.example")
    async with admin_of(server, tmp_path / "s") as session:
        for entry, status in ((elsewhere, 403), (unsigned, 403), (b"junk", 422), (make.log_policy_file(), 403)):
            answer = await ask(session, "/allow", "POST", entry)
            assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert (await ask(session, "/allow", "POST", bytes(70_000))).status == 413
        assert (await ask(session, "/allow")).status == 405
        again = make.namespace_file(keys=(make.held(make.STRANGER, *make.OWNER_ROLES),))
        assert (await ask(session, "/allow", "POST", again)).status == 403  # signed by acme, not by its new owner
        server.pool.refusal = Full("full")
        assert (await ask(session, "/allow", "POST", other_namespace())).status == 503
    assert server.pool.size == 1


async def test_allow_is_not_served_without_it(server: Server, tmp_path: Path) -> None:
    async with admin_of(server, tmp_path / "s", allowing=False) as session:
        assert (await ask(session, "/allow", "POST", other_namespace())).status == 404
    assert (await server.post("/allow", other_namespace())).status == 404


async def test_A_01_a_slow_header_is_cut_off_here_too(server: Server, tmp_path: Path) -> None:
    async with admin_of(server, tmp_path / "s", limits=Limits(header_seconds=0.1)):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        writer.write(b"GET /metrics HTTP/1.1\r\nHos")
        assert await asyncio.wait_for(reader.read(), 120) == b""
        writer.close()


async def test_health_is_of_the_process_and_readiness_of_the_log(server: Server, tmp_path: Path) -> None:
    async with admin_of(server, tmp_path / "a") as session:
        assert (await ask(session, "/readyz")).body == b"ready\n"
        assert (await ask(session, "/nothing")).status == 404
    async with admin_of(server, tmp_path / "b", "2 of 3 witnesses are needed") as session:
        answer = await ask(session, "/readyz")
        assert (answer.status, answer.body) == (503, b"2 of 3 witnesses are needed\n")
        assert answer.headers["Cache-Control"] == "no-store"
        assert (await ask(session, "/healthz")).status == 200


async def test_metrics_count_outcomes_and_requests(server: Server, tmp_path: Path) -> None:
    entry = release_file()
    for body in (entry, entry, b"junk", release_file("2", make.STRANGER)):
        await server.post("/entries", body)
    await server.get("/tile/0/000.p/7")
    server.pool.refusal = UnavailableError("no quorum")
    await server.post("/entries", entry)
    value = server.metrics.registry.get_sample_value
    counted = {outcome: value("teelog_entries_total", {"outcome": outcome}) for outcome in set(OUTCOMES.values())}
    assert counted == dict.fromkeys(counted, 0) | {
        "logged": 2, "known": 1, "malformed": 1, "forbidden": 1, "unavailable": 1,
    }  # fmt: skip
    assert value("teelog_requests_total", {"route": "tile", "status": "4xx"}) == 1
    assert value("teelog_requests_total", {"route": "submit", "status": "2xx"}) == 2
    async with admin_of(server, tmp_path / "s") as session:
        answer = await ask(session, "/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert b'teelog_entries_total{outcome="logged"} 2.0' in answer.body


def test_A_18_metric_labels_come_from_fixed_sets_and_the_configuration() -> None:
    metrics = Metrics(["w.example"])
    metrics.cosigned("w.example", 0.1)
    metrics.cosigned("w.example", None)
    metrics.cosigned("stranger.example", 0.1)
    metrics.entry(599)
    metrics.sealed(3)
    witness = {"name": "w.example", "answers": 7, "alarm": "other tree"}
    status = {"published_size": 42, "published_age_s": 1.5, "pool_entries": 5, "size": None, "writing": True}
    metrics.watch(lambda: status | {"witnesses": [witness]})
    text = metrics.exposition().decode()
    assert "stranger" not in text
    assert 'teelog_cosign_failures_total{witness="w.example"} 1.0' in text
    assert 'teelog_cosign_seconds_count{witness="w.example"} 1.0' in text
    assert "teelog_checkpoint_size 42.0" in text
    assert "teelog_published_age_seconds 1.5" in text
    assert "teelog_pool_entries 5.0" in text
    assert "teelog_writing 1.0" in text
    assert "teelog_size" not in text
    assert 'teelog_cosign_answers_total{witness="w.example"} 7.0' in text
    assert 'teelog_cosign_alarm{witness="w.example"} 1.0' in text
    with pytest.raises(KeyError):
        metrics.request("made up", 200)
    for route in ROUTES:
        metrics.request(route, 200)
