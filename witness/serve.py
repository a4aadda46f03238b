"""A witness's life: lock the folder, prove that the state was not rolled back, listen, and leave in good order."""

from __future__ import annotations

import asyncio
import gc
import secrets
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web
from msgspec import structs

from teelog.errors import ConfigError, UnavailableError
from teelog.listen import Address
from teelog.serving import GuardedServer, make_room, new_loop, stop_on_signals
from teelog.witness import admin
from teelog.witness.connections import private
from teelog.witness.decide import Answer, refuse
from teelog.witness.directory import PUBLISHED, SOCKET, Witness, load, locked, open_published, open_state
from teelog.witness.engine import Engine
from teelog.witness.list_puller import Puller
from teelog.witness.metrics import CONTENT_TYPE, Metrics
from teelog.witness.mirror import directory as mirrors
from teelog.witness.mirror.engine import Engine as MirrorEngine
from teelog.witness.mirror.http import MirrorService
from teelog.witness.published import Published, origin_hash
from teelog.witness.rebuilder import Rebuilder
from teelog.witness.semantic import Gate
from teelog.witness.service import Service
from teelog.witness.state import Role, Store

SHUTDOWN_SECONDS = 10.0  # for requests under way


def serve(
    path: Path,
    listen: Address,
    admin_listen: Address | None = None,
    ready: Callable[[Address, Address | None], None] = lambda _public, _admin: None,
    step: Callable[[str], None] = lambda _: None,
    *,
    semantic: bool = False,
    mirror: Path | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT.

    ready: called with the addresses in use once requests are taken. semantic: cosign index logs, after rebuilding them,
    and nothing else. mirror: folder of the mirror beside it.

    Raises ConfigError (keys, configuration, rolled-back state), UnavailableError (folder or address in use, storage).
    """
    with locked(path) as mine:
        if not mine:
            raise UnavailableError(f"{path} is in use by another process", expected="one witness for one folder")
        configure_logging()
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(_serve(_fitted(load(path)), listen, admin_listen, ready, step, semantic, mirror))


def _fitted(witness: Witness) -> Witness:
    """With no more connections than this process may have open, besides its files."""
    config = witness.config
    room = make_room(config.limits.connections)
    return replace(witness, config=structs.replace(config, limits=structs.replace(config.limits, connections=room)))


def configure_logging() -> None:
    """JSON lines on stderr; ASCII, so nothing in them steers a terminal (A-18, A-74)."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Without the values of local variables: requests are among them.
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def open_engine(witness: Witness, metrics: Metrics, **more: Any) -> Engine:
    """The engine of a folder whose lock the caller holds, not started yet. Raises ConfigError."""
    return _engine(witness, metrics, Role.PLAIN, **more)


def open_semantic(witness: Witness, metrics: Metrics, stack: AsyncExitStack, **more: Any) -> Engine:
    """The same of a semantic witness; ``stack`` ends the thread that rebuilds. Raises ConfigError."""
    rebuilder = Rebuilder(witness.path, witness.evidence, metrics, time.monotonic)
    stack.callback(rebuilder.stop)
    engine = _engine(
        witness,
        metrics,
        Role.SEMANTIC,
        gate=Gate(rebuilder, lambda origin: engine.registry.entry(origin), time.monotonic),
        **more,
    )
    rebuilder.start()
    return engine


def _engine(witness: Witness, metrics: Metrics, role: Role, **more: Any) -> Engine:
    store = open_state(witness)
    try:
        _check_role(store, role)
        published = open_published(witness.path)
    except BaseException:
        store.close()
        raise
    return Engine(
        store,
        published,
        witness.evidence,
        witness.signers,
        now=lambda: int(time.time()),
        monotonic=time.monotonic,
        metrics=metrics,
        extensions=witness.config.extensions,
        **more,
    )


def _check_role(store: Store, role: Role) -> None:
    """Protocol section 4: a key that cosigns index logs never cosigns anything else. Raises ConfigError."""
    if role is Role.SEMANTIC:
        store.make_semantic()
    elif store.role() is Role.SEMANTIC:
        raise ConfigError(
            "this is a semantic witness: its key cosigns index logs, after rebuilding them",
            hint=f"teelog witness serve {store.path.parent} --semantic",
        )


async def _serve(
    witness: Witness,
    listen: Address,
    admin_listen: Address | None,
    ready: Callable[[Address, Address | None], None],
    step: Callable[[str], None],
    semantic: bool,
    mirror_folder: Path | None,
) -> None:
    loop = asyncio.get_running_loop()
    stopping = stop_on_signals()
    metrics = Metrics()
    limits = witness.config.limits
    more: dict[str, Any] = {"on_fatal": lambda: loop.call_soon_threadsafe(stopping.set), "step": step}
    async with AsyncExitStack() as stack:
        engine = open_semantic(witness, metrics, stack, **more) if semantic else open_engine(witness, metrics, **more)
        stack.callback(engine.stop)
        try:
            engine.start()
            reader = Published.open_reader(witness.path / PUBLISHED)
        except sqlite3.Error as error:
            raise UnavailableError("the witness's databases cannot be used", actual=str(error)) from error
        stack.callback(reader.close)
        socket = admin.listen(witness.path)
        stack.callback(_remove, witness.path / SOCKET)
        await _listen(stack, private(admin.handler(witness, engine), limits), socket)
        bound_admin = None
        if admin_listen is not None:
            bound_admin = await _listen(stack, private(_operations(engine, metrics), limits), admin_listen)
        mirror = None
        if mirror_folder is not None:
            mirror = _open_mirror(stack, mirror_folder, witness, engine, reader, step, more["on_fatal"])
        service = Service(witness, engine, reader, metrics, time.monotonic, semantic=semantic, mirror=mirror)
        bound = await _listen(stack, service.server(), listen)
        assert bound is not None
        # What is loaded by now stays: a collection need not walk tens of thousands of logs.
        gc.collect()
        gc.freeze()
        if witness.config.lists:
            _pull(stack, Puller(witness, engine, metrics, monotonic=time.monotonic))
        ready(bound, bound_admin)
        await stopping.wait()
    if engine.fatal is not None:
        raise UnavailableError("storage failed, the witness has stopped", actual=str(engine.fatal))
    if mirror is not None and mirror.fatal is not None:
        raise UnavailableError("the mirror's storage failed, it has stopped", actual=str(mirror.fatal))


def _open_mirror(
    stack: AsyncExitStack,
    folder: Path,
    witness: Witness,
    engine: Engine,
    published: Published,
    step: Callable[[str], None],
    on_fatal: Callable[[], object],
) -> MirrorService:
    """The mirror beside a witness. Raises ConfigError, UnavailableError."""
    mirror = mirrors.load(folder, witness.config.name)
    db = stack.enter_context(mirrors.opened(mirror))
    mirrored = MirrorEngine(mirror, db, lambda: int(time.time()), step, on_fatal)
    stack.callback(mirrored.stop)
    mirrored.start()
    return MirrorService(
        mirror,
        mirrored,
        engine.registry.log,
        lambda origin: published.note(origin_hash(origin)),
        secrets.token_bytes(32),
    )


def _pull(stack: AsyncExitStack, puller: Puller) -> None:
    """Looks at lists of logs until the stack is left."""
    task = asyncio.create_task(puller.run())

    async def end() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(end)


async def _listen(stack: AsyncExitStack, server: GuardedServer, where: Address | Any) -> Address | None:
    runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    if not isinstance(where, Address):
        await web.SockSite(runner, where).start()
        return None
    try:
        await web.TCPSite(runner, where.host, where.port).start()
    except OSError as error:
        raise UnavailableError(f"cannot listen on {where}", actual=error.strerror or str(error)) from error
    host, port = runner.addresses[0][:2]
    return Address(host, port)


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()


def _operations(engine: Engine, metrics: Metrics) -> Callable[[web.BaseRequest], Any]:
    """The admin listener: for operators, off the public port."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.method != "GET":
            answer = refuse(405, "only GET")  # type: ignore[arg-type]
        elif request.raw_path == "/metrics":
            answer = Answer(200, metrics.exposition(), CONTENT_TYPE)
        elif request.raw_path == "/healthz":  # 503: it must be started anew
            answer = Answer(200, b"ok\n") if engine.fatal is None else Answer(503, b"stopped\n")
        elif request.raw_path == "/readyz":  # 503: no requests now
            trouble = engine.trouble()
            answer = Answer(200, b"ok\n") if trouble is None else Answer(503, trouble.encode() + b"\n")
        else:
            answer = Answer(404, b"not found\n")
        return web.Response(status=answer.status, body=answer.body, headers={"Content-Type": answer.content_type})

    return handle
