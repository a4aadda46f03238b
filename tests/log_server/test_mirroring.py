"""The log's mirrors: brought to what is published in the background, each by itself, whatever the others do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import pytest

from teelog.errors import ConfigError
from teelog.log_server import mirroring as module
from teelog.log_server.config import Admission, Config, MirrorSettings, parse, template
from teelog.log_server.directory import LogDirectory
from teelog.log_server.metrics import Metrics
from teelog.log_server.mirroring import Mirroring
from teelog.tlog import vkey
from tests.client import logs
from tests.client.mirror_peer import PQ, SIGNER, MirrorPeer
from tests.client.peers import Reply, peer
from tests.log_server.test_serve import allow, new_log, post
from tests.log_server.test_serve import running as serving
from tests.log_server.test_submit import release_file
from tests.statement import make

ENTRIES = logs.entries(700)

@pytest.fixture
def log(tmp_path: Path) -> LogDirectory:
    (tmp_path / "log.vkey").write_text(f"{logs.LOG.verifier}\n")
    show(tmp_path, 300)
    return LogDirectory(tmp_path)


def show(folder: Path, size: int) -> None:
    """The public files, and the checkpoint of so many entries."""
    logs.write(folder / "public", ENTRIES)
    (folder / "public" / "checkpoint").write_bytes(logs.sign(logs.head(ENTRIES[:size]), ()))
    for path, data in logs.files(ENTRIES[:size]).items():
        (folder / "public" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "public" / path).write_bytes(data)


@contextmanager
def mirror() -> Iterator[MirrorPeer]:
    with peer() as found:
        yield MirrorPeer(found)


def settings(url: str, *keys: object) -> MirrorSettings:
    return MirrorSettings(url=url, vkey=tuple(map(str, keys or (SIGNER.verifier,))))


@asynccontextmanager
async def running(log: LogDirectory, *to: MirrorSettings) -> AsyncIterator[Mirroring]:
    made = Mirroring(log, Config(origin=logs.ORIGIN, mirror=to), index=False)
    made.start()
    try:
        yield made
    finally:
        await made.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)  # polls another thread's state


async def test_a_mirror_is_brought_to_what_is_published_and_follows(log: LogDirectory):
    with mirror() as to:
        async with running(log, settings(to.peer.url)) as made:
            await until(lambda: to.size == 300)
            show(log.path, 700)
            made.ring()
            await until(lambda: to.size == 700)
            assert to.entries == ENTRIES
            await until(lambda: made.status()[0]["size"] == 700)
    assert made.status() == [{"name": "mirror.example/m1", "size": 700, "failure": "", "alarm": ""}]


async def test_an_unchanged_checkpoint_that_was_signed_again_is_cosigned_again(log: LogDirectory):
    with mirror() as to:
        async with running(log, settings(to.peer.url)) as made:
            await until(lambda: made.status()[0]["size"] == 300)
            before = len(to.uploads)
            signed = logs.sign(logs.head(ENTRIES[:300]), logs.WITNESSES)
            (log.public / "checkpoint").write_bytes(signed)
            made.ring()
            await until(lambda: len(to.uploads) == before + 1)
            assert (to.uploads[-1].start, to.uploads[-1].packages) == (300, 0)


async def test_one_that_fails_holds_no_other_up_and_is_tried_again(
    log: LogDirectory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "AGAIN", 0.05)
    other = logs.WITNESSES[0]
    with mirror() as bad, mirror() as good:
        bad.answer = lambda _: Reply(b"", 503)
        good.signers = (other,)
        both = (settings(bad.peer.url), settings(good.peer.url, other.verifier))
        async with running(log, *both) as made:
            await until(lambda: made.status()[1]["size"] == 300)
            await until(lambda: len(bad.peer.asked) > 1)
            assert "cannot answer now" in made.status()[0]["failure"]
            bad.answer = lambda _: None
            await until(lambda: bad.size == 300)


async def test_W_44_a_mirror_that_has_seen_another_tree_is_not_asked_again(log: LogDirectory):
    with mirror() as to:
        to.answer = lambda asked: Reply(b"", 422) if asked.path == "/add-checkpoint" else None
        async with running(log, settings(to.peer.url)) as made:
            await until(lambda: bool(made.status()[0]["alarm"]))
            made.ring()
        assert to.peer.paths() == ["/add-checkpoint"]


async def test_what_is_damaged_here_is_not_copied_there(log: LogDirectory, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "AGAIN", 0.05)
    path = log.public / "tile/entries/000"
    path.write_bytes(path.read_bytes().replace(b"entry 7 ", b"entry 8 "))
    with mirror() as to:
        async with running(log, settings(to.peer.url)) as made:
            await until(lambda: "entry 7 is not the one" in made.status()[0]["failure"])
        assert to.entries == []


async def test_a_log_that_has_published_nothing_yet_waits(log: LogDirectory):
    data = (log.public / "checkpoint").read_bytes()
    (log.public / "checkpoint").unlink()
    with mirror() as to:
        async with running(log, settings(to.peer.url)) as made:
            assert made.status()[0]["failure"] == ""
            (log.public / "checkpoint").write_bytes(data)
            made.ring()
            await until(lambda: to.size == 300)


async def test_a_served_log_pushes_what_it_publishes(tmp_path: Path):
    served = new_log(tmp_path)
    entry = release_file()
    with peer() as found:
        to = MirrorPeer(found, vkey.parse(served.vkeys[0]))
        with (served.path / "log.toml").open("a") as file:
            file.write(f'[[mirror]]\nurl = "{found.url}"\nvkey = "{SIGNER.verifier}"\n')
        async with serving(served) as server, aiohttp.ClientSession() as session:
            await until(lambda: to.size == 1)
            assert await allow(served, make.namespace_file()) == 201
            assert (await post(session, server.url, entry))[0] == 201
            await until(lambda: to.size == 3)
            assert to.entries[2] == entry
            async with session.get(server.admin + "/metrics") as response:
                assert b'teelog_mirror_alarm{mirror="mirror.example/m1"} 0.0' in await response.read()
            assert await server.stop() == 0


async def test_the_metrics_name_configured_mirrors_only(log: LogDirectory):
    with mirror() as to:
        async with running(log, settings(to.peer.url)) as made:
            await until(lambda: made.status()[0]["size"] == 300)
            metrics = Metrics()
            metrics.watch(lambda: {"mirrors": made.status()})
    text = metrics.exposition()
    assert b'teelog_mirror_size{mirror="mirror.example/m1"} 300.0' in text
    assert b'teelog_mirror_failing{mirror="mirror.example/m1"} 0.0' in text
    assert b'teelog_mirror_alarm{mirror="mirror.example/m1"} 0.0' in text


async def test_without_mirrors_nothing_runs(log: LogDirectory):
    async with running(log) as made:
        made.ring()
        assert made.status() == []


@pytest.mark.parametrize(
    "wrong",
    [
        (settings("http://mirror.example"),),
        (settings("https://mirror.example", logs.LOG.verifier),),
        (settings("https://mirror.example", SIGNER.verifier, logs.WITNESSES[0].verifier),),
        (MirrorSettings(url="https://mirror.example", vkey=()),),
        (MirrorSettings(url="https://mirror.example", vkey="x"),),
        (settings("https://a.example"), settings("https://b.example")),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: tuple[MirrorSettings, ...]):
    with pytest.raises((ConfigError, module.TeelogError)):
        module.mirrors(Config(origin=logs.ORIGIN, mirror=wrong))


def test_mirrors_stand_in_log_toml():
    text = template(logs.ORIGIN, Admission()).decode()
    text += f'[[mirror]]\nurl = "https://mirror.example"\nvkey = ["{SIGNER.verifier}", "{PQ.verifier}"]\nindex = true\n'
    text += f'[[mirror]]\nurl = "https://other.example/m"\nvkey = "{logs.WITNESSES[0].verifier}"\n'
    found = module.mirrors(parse(text.encode()))
    assert [(to.url, len(to.keys), how.index) for to, how in found] == [
        ("https://mirror.example", 2, True),
        ("https://other.example/m", 1, False),
    ]
    with pytest.raises(ConfigError):
        parse(text.encode() + b"colour = 1\n")
