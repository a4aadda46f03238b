"""Changes to a witness that may be running.

One process writes the databases. A command takes the folder's lock and works on the files, or, where a running witness
holds the lock, hands its change to that one through ``admin.sock``: one JSON object up, one down, over HTTP.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import sqlite3
from dataclasses import replace
from pathlib import Path

import msgspec
from aiohttp import web

from teelog.client.http import check_url
from teelog.errors import ConfigError, RefusedError, TeelogError, UnavailableError
from teelog.listen import bind_unix, short_path
from teelog.serving import Handler
from teelog.witness import registry
from teelog.witness.directory import SOCKET, Witness, load, locked, open_state
from teelog.witness.engine import Engine
from teelog.witness.state import LogEntry, Role, Store

MAX_COMMAND = 65_536  # bytes
TIMEOUT = 30.0  # seconds


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


Command = AddLog | DisableLog


class Done(msgspec.Struct, frozen=True, tag="done"):
    """origin, vkeys, disabled: the log's entry now. known: whether it was there before."""

    origin: str
    vkeys: tuple[str, ...]
    disabled: bool
    known: bool


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    message: str
    expected: str | None
    actual: str | None
    hint: str | None
    exit_code: int


def apply(store: Store, witness_name: str, command: Command) -> Done:
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


def run(path: Path, command: Command) -> Done:
    """Makes the change here, or in the witness that is running. Raises ConfigError, RefusedError, UnavailableError."""
    with locked(path) as mine:
        if not mine:
            return _ask(path, command)
        witness = load(path)
        store = open_state(witness)
        try:
            return apply(store, witness.config.name, command)
        except sqlite3.Error as error:
            raise UnavailableError(f"cannot write {store.path}", actual=str(error)) from error
        finally:
            store.close()


# -- the running witness's side ---------------------------------------------------------------------------------------


def handler(witness: Witness, engine: Engine) -> Handler:
    """Answers commands that arrive on the socket."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await request.content.read(MAX_COMMAND + 1)
            command = msgspec.json.decode(body, type=Command)
            name = witness.config.name
            done: Done | Refused = await asyncio.wrap_future(engine.call(lambda store: apply(store, name, command)))
        except TeelogError as error:
            done = _refused(error)
        except msgspec.MsgspecError as error:
            done = _refused(ConfigError("command is not understood", actual=str(error)))
        return web.Response(body=msgspec.json.encode(done), content_type="application/json")

    return handle


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


def _ask(path: Path, command: Command) -> Done:
    connection = _Connection(path)
    try:
        connection.request("POST", "/", msgspec.json.encode(command))
        raw = connection.getresponse().read(MAX_COMMAND)
        done = msgspec.json.decode(raw, type=Done | Refused)
    except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
        raise UnavailableError(
            f"{path} is in use by another process that does not answer on {SOCKET}", actual=str(error)
        ) from error
    finally:
        connection.close()
    if isinstance(done, Done):
        return done
    kinds: tuple[type[TeelogError], ...] = (ConfigError, RefusedError, UnavailableError)
    kind = next((kind for kind in kinds if kind.exit_code == done.exit_code), UnavailableError)
    raise kind(done.message, expected=done.expected, actual=done.actual, hint=done.hint)
