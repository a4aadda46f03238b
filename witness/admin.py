"""Changes to a witness that may be running.

One process writes the databases. A command takes the folder's lock and works on the files, or, where a running witness
holds the lock, hands its change to that one through ``admin.sock``: one JSON object up, one down, over HTTP.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
from aiohttp import web

from teelog.client.http import check_url
from teelog.errors import ConfigError, RefusedError, TeelogError, UnavailableError
from teelog.listen import bind_unix, short_path
from teelog.serving import Handler
from teelog.witness import list_plan, registry
from teelog.witness.directory import SOCKET, Witness, load, locked, open_state
from teelog.witness.engine import Engine
from teelog.witness.list_plan import Bounds, Plan
from teelog.witness.state import LogEntry, Role, Store

MAX_COMMAND = 2 * list_plan.MAX_LIST  # bytes, also of an answer; only the folder's owner may connect
TIMEOUT = 120.0  # seconds; a list of tens of thousands of logs takes some


class AddLog(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="add-log"):
    vkeys: tuple[str, ...]
    url: str | None = None
    contact: str | None = None
    per_day: int | None = None
    add_key: bool = False
    replace_keys: bool = False
    main: tuple[str, ...] = ()


class DisableLog(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="disable-log"):
    origin: str


class PullLogs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="pull-logs"):
    """text: a list of logs. dry_run: say what it would add."""

    text: str
    bounds: Bounds = Bounds()
    dry_run: bool = False


Command = AddLog | DisableLog | PullLogs


class Done(msgspec.Struct, frozen=True, tag="done"):
    """origin, vkeys, disabled: the log's entry now. known: whether it was there before."""

    origin: str
    vkeys: tuple[str, ...]
    disabled: bool
    known: bool


class Pulled(msgspec.Struct, frozen=True, tag="pulled"):
    """What a list added, or would add."""

    plan: Plan


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    message: str
    expected: str | None
    actual: str | None
    hint: str | None
    exit_code: int


def apply(store: Store, witness_name: str, command: AddLog | DisableLog) -> Done:
    """Makes the change. Raises ConfigError, RefusedError, sqlite3.Error."""
    if isinstance(command, DisableLog):
        old = store.log(command.origin)
        if old is None:
            raise RefusedError("log is not known here", actual=command.origin, hint="teelog witness list-logs WITNESS")
        entry = replace(old, disabled=True)
    else:
        new = registry.new_entry(
            command.vkeys,
            witness_name,
            url=command.url,
            contact=command.contact,
            per_day=command.per_day,
            main=command.main,
        )
        old = store.log(new.origin)
        entry = registry.merge(old, new, add_key=command.add_key, replace_keys=command.replace_keys)
        _check_role(store, entry)
    store.put_log(entry)
    return Done(entry.origin, entry.vkeys, entry.disabled, old is not None)


def _check_role(store: Store, entry: LogEntry) -> None:
    """Protocol section 4: a semantic witness's key cosigns index logs and never anything else. Raises ConfigError."""
    if entry.main:
        if entry.url is None:
            raise ConfigError("a semantic witness reads the log", expected="--url, where its tiles are")
        check_url(entry.url)
        store.make_semantic()
    elif store.role() is Role.SEMANTIC:
        raise ConfigError(
            "this is a semantic witness: its key cosigns index logs and nothing else",
            expected="--main, the keys of the log that is indexed",
            actual=entry.origin,
        )


def plan_pull(
    entry: Callable[[str], LogEntry | None], total: int, role: Role | None, witness_name: str, command: PullLogs
) -> Plan:
    """What a list would add. Raises ConfigError, MalformedError."""
    if role is Role.SEMANTIC:
        # Protocol section 4: its key cosigns index logs, each with the keys of the log that it indexes.
        raise ConfigError("this is a semantic witness: lists of logs are for ordinary ones")
    return list_plan.plan(list_plan.parse(command.text.encode()), entry, total, witness_name, command.bounds)


def apply_plan(store: Store, plan: Plan) -> None:
    """Adds the logs of a plan in one transaction. Raises ConfigError where one of them is known by now."""
    try:
        store.add_logs(plan.add)
    except sqlite3.IntegrityError as error:
        raise ConfigError("a log of the list was added meanwhile", hint="try again") from error


async def pull_running(engine: Engine, witness_name: str, command: PullLogs) -> Plan:
    """Applies a list to a running witness. It is read and planned beside the engine, which writes it in one go.

    Raises ConfigError, MalformedError, UnavailableError.
    """
    while True:
        plan = await _pull_once(engine, witness_name, command)
        if plan is not None:
            return plan


async def _pull_once(engine: Engine, witness_name: str, command: PullLogs) -> Plan | None:
    """The plan, applied; None if other logs became known meanwhile, so that it has to be made anew. Raises as above."""
    role = await asyncio.wrap_future(engine.call(lambda store: store.role()))
    known = engine.registry
    total = len(known)
    plan = await asyncio.to_thread(plan_pull, known.entry, total, role, witness_name, command)
    if not plan.add or command.dry_run:
        return plan

    def add(store: Store) -> bool:
        # no more logs than the operator allows, whatever else adds some. Logs are never removed, and only this
        # thread adds any: as many as when it was planned are the same ones.
        if len(known) != total:
            return False
        apply_plan(store, plan)
        return True

    return plan if await asyncio.wrap_future(engine.call(add)) else None


def run(path: Path, command: AddLog | DisableLog) -> Done:
    """Makes the change here, or in the witness that is running. Raises ConfigError, RefusedError, UnavailableError."""
    done = _run(path, command, lambda store, name: apply(store, name, command))
    if not isinstance(done, Done):
        raise UnavailableError("the running witness answered something else")
    return done


def pull(path: Path, command: PullLogs) -> Plan:
    """Applies a list here, or in the witness that is running. Raises ConfigError, MalformedError, UnavailableError."""

    def work(store: Store, name: str) -> Pulled:
        known = {entry.origin: entry for entry in store.logs()}
        plan = plan_pull(known.get, len(known), store.role(), name, command)
        if not command.dry_run:
            apply_plan(store, plan)
        return Pulled(plan)

    done = _run(path, command, work)
    if not isinstance(done, Pulled):
        raise UnavailableError("the running witness answered something else")
    return done.plan


def _run(path: Path, command: Command, work: Callable[[Store, str], Done | Pulled]) -> Done | Pulled:
    with locked(path) as mine:
        if not mine:
            return _ask(path, command)
        witness = load(path)
        store = open_state(witness)
        try:
            return work(store, witness.config.name)
        except sqlite3.Error as error:
            raise UnavailableError(f"cannot write {store.path}", actual=str(error)) from error
        finally:
            store.close()


# -- the running witness's side ---------------------------------------------------------------------------------------


def handler(witness: Witness, engine: Engine) -> Handler:
    """Answers commands that arrive on the socket."""

    name = witness.config.name

    async def _answer(body: bytes) -> Done | Pulled:
        command: Command = msgspec.json.decode(body, type=Command)
        if isinstance(command, PullLogs):
            return Pulled(await pull_running(engine, name, command))
        change = command
        return await asyncio.wrap_future(engine.call(lambda store: apply(store, name, change)))

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            done: Done | Pulled | Refused = await _answer(await _read(request))
        except TeelogError as error:
            done = _refused(error)
        except msgspec.MsgspecError as error:
            done = _refused(ConfigError("command is not understood", actual=str(error)))
        return web.Response(body=msgspec.json.encode(done), content_type="application/json")

    return handle


async def _read(request: web.BaseRequest) -> bytes:
    """The command. Raises ConfigError where it is too long."""
    body = bytearray()
    while piece := await request.content.readany():
        body += piece
        if len(body) > MAX_COMMAND:
            raise ConfigError("command is too long", expected=f"at most {MAX_COMMAND} bytes")
    return bytes(body)


def _refused(error: TeelogError) -> Refused:
    expected, actual = (None if value is None else str(value) for value in (error.expected, error.actual))
    return Refused(error.message, expected, actual, error.hint, error.exit_code)


def listen(directory: Path) -> socket.socket:
    """The listening socket; the caller holds the folder's lock. Raises UnavailableError."""
    return bind_unix(directory / SOCKET)


# -- the command's side -----------------------------------------------------------------------------------------------


class _Connection(http.client.HTTPConnection):
    def __init__(self, directory: Path) -> None:
        super().__init__("witness", timeout=TIMEOUT)
        self._directory = directory

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        with short_path(self._directory / SOCKET) as address:
            self.sock.connect(address)


def _ask(path: Path, command: Command) -> Done | Pulled:
    connection = _Connection(path)
    try:
        connection.request("POST", "/", msgspec.json.encode(command))
        raw = connection.getresponse().read(MAX_COMMAND)
        done = msgspec.json.decode(raw, type=Done | Pulled | Refused)
    except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
        raise UnavailableError(
            f"{path} is in use by another process that does not answer on {SOCKET}", actual=str(error)
        ) from error
    finally:
        connection.close()
    if not isinstance(done, Refused):
        return done
    kinds: tuple[type[TeelogError], ...] = (ConfigError, RefusedError, UnavailableError)
    kind = next((kind for kind in kinds if kind.exit_code == done.exit_code), UnavailableError)
    raise kind(done.message, expected=done.expected, actual=done.actual, hint=done.hint)
