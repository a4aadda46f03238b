"""A witness with a mirror beside it, on real files and over HTTP, and a client that sends what a test wants."""

from __future__ import annotations

import gzip
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web

from teelog.tlog import note, rfc6962, subtree
from teelog.tlog.mirror import MirrorInfo, encode_header, encode_package, packages, parse_info
from teelog.tlog.tiles import Tile, bundle_for, edge, parse_bundle
from teelog.witness.mirror import directory
from teelog.witness.mirror.directory import Mirror
from teelog.witness.mirror.engine import Engine
from teelog.witness.mirror.http import MirrorService
from teelog.witness.service import Service
from tests.witness.harness import ORIGIN, WITNESS, Desk, Log, published_reader

HASH = hashlib.sha256(ORIGIN.encode()).hexdigest()
NAME = "witness.example/w1-mirror"


def entry(log: Log, index: int) -> bytes:
    """What ``Log.leaves`` hashes."""
    view = log.view if index >= log.forked_at else "A"
    return f"{log.origin} {view} {index}".encode()


def package(log: Log, first: int, start: int, end: int, size: int) -> bytes:
    leaves = log.leaves(size)

    def read(nodes: Sequence[tuple[int, int]]) -> list[bytes]:
        return [rfc6962.root_of_leaves(leaves[i << level : (i + 1) << level]) for level, i in nodes]

    return encode_package([entry(log, index) for index in range(start, end)], subtree.prove(first, end, size, read))


def upload(log: Log, start: int, end: int, ticket: bytes = b"", *, most: int | None = None) -> bytes:
    """An add-entries body with the first ``most`` packages of [start, end)."""
    sent = itertools.islice(packages(start, end), most)
    return encode_header(log.origin, start, end, ticket) + b"".join(package(log, *each, end) for each in sent)


@dataclass
class Answered:
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def info(self) -> MirrorInfo:
        return parse_info(self.body)

    @property
    def said(self) -> tuple[int, int, int]:
        """(status, pending size, next entry)"""
        return self.status, self.info.size, self.info.next_entry


@dataclass
class Pushing:
    """A client of a mirror, wherever it runs."""

    mirror: Mirror
    url: str
    session: ClientSession

    async def send(self, body: bytes, **headers: str) -> Answered:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"Content-Type": "application/octet-stream", **named}
        async with self.session.post(f"{self.url}/add-entries", data=body, headers=sent) as response:
            return Answered(response.status, await response.read(), dict(response.headers))

    async def push(self, log: Log, start: int, end: int, ticket: bytes = b"", **more: Any) -> Answered:
        return await self.send(upload(log, start, end, ticket, **more))

    async def get(self, path: str) -> tuple[int, bytes]:
        async with self.session.get(f"{self.url}/mirror/{HASH}/{path}") as response:
            return response.status, await response.read()

    async def whole(self, log: Log, size: int) -> None:
        """The mirror serves this very log, cosigned by itself."""
        status, served = await self.get("checkpoint")
        assert status == 200
        opened = note.open_note(served, [each.verifier for each in (*log.signers, *self.mirror.signers)])
        assert opened.text == log.body(size)
        assert [line.verifier.name for line in opened.signatures] == [ORIGIN, NAME, NAME]
        for number in range(-(-size // 256)):
            bundle = bundle_for(number, size)
            assert parse_bundle((await self.get(bundle.path))[1], bundle.width) == [
                entry(log, number * 256 + place) for place in range(bundle.width)
            ]
        for tile in [*edge(size), *(Tile(0, number) for number in range(size // 256))]:
            assert await self.get(tile.path) == (200, hashes(log, tile, size)), tile


@dataclass
class Mirroring(Pushing):
    """One in this process. desk: the witness beside it."""

    desk: Desk
    engine: Engine
    host: str
    port: int
    service: MirrorService

    def pend(self, log: Log, old: int, new: int) -> None:
        """The log's checkpoint of size ``new`` becomes the pending one."""
        self.desk.cosign(log, old, new)

    def kept(self) -> tuple[int, int]:
        """(next entry, size of the mirror checkpoint)"""
        found = self.engine.kept(ORIGIN)
        return found.next_entry, found.size


def hashes(log: Log, tile: Tile, size: int) -> bytes:
    leaves, level = log.leaves(size), 8 * tile.level
    nodes = range(tile.index * 256, tile.index * 256 + tile.width)
    return b"".join(rfc6962.root_of_leaves(leaves[n << level : (n + 1) << level]) for n in nodes)


def compressed(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


@asynccontextmanager
async def mirroring(
    desk: Desk,
    folder: Path,
    *,
    key: bytes = b"t" * 32,
    seconds: float = 60.0,
    step: Callable[[str], object] = lambda _: None,
    logs: tuple[str, ...] | None = None,
    on_fatal: Callable[[], object] = lambda: None,
) -> AsyncIterator[Mirroring]:
    """The public interface of ``desk`` with a mirror in ``folder``, which is made if it is new. key: of tickets."""
    if not folder.exists():
        directory.init(folder, NAME)
        if logs is not None:
            text = (folder / directory.CONFIG).read_text()
            (folder / directory.CONFIG).write_text(f"{text}logs = [{', '.join(map(repr, logs))}]\n")
    assert desk.engine is not None
    mirror = directory.load(folder, WITNESS)
    with ExitStack() as stack:
        engine = Engine(mirror, stack.enter_context(directory.opened(mirror)), desk.clock, step, on_fatal)
        stack.callback(engine.stop)
        engine.start()
        published = published_reader(desk.path)
        stack.callback(published.close)
        service = MirrorService(
            mirror,
            engine,
            desk.engine.registry.log,
            lambda origin: published.note(hashlib.sha256(origin.encode()).hexdigest()),
            key,
            seconds,
        )
        own = published_reader(desk.path)
        stack.callback(own.close)
        public = Service(desk.witness, desk.engine, own, desk.metrics, lambda: 0.0, mirror=service)
        runner = web.ServerRunner(public.server())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        try:
            async with ClientSession(skip_auto_headers=("Content-Type",)) as session:
                yield Mirroring(mirror, f"http://{host}:{port}", session, desk, engine, host, port, service)
        finally:
            await runner.cleanup()


