"""The pool between processes: fronts on one side of a Unix socket, the sequencer on the other.

Frames are a 4-byte big-endian length and a MessagePack array of messages: what a front hands in within one turn of its
loop travels as one frame, and so does a batch's answer. Both ends are processes of one installation, started together
by one user; the socket's mode is 0600.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import msgspec

from teelog.errors import MalformedError, UnavailableError
from teelog.listen import bind_unix, short_path
from teelog.log_server.delivery import Answer, Delivery, Failure
from teelog.log_server.intake import Intake
from teelog.log_server.pool import Waiters, found
from teelog.log_server.seams import Admitted, Cites, Logged, Outcome, Place

log = logging.getLogger("teelog.log_server")

MAX_FRAME = 1 << 28  # bytes; above all that a pool holds
RECONNECT = 0.2  # seconds
CONNECT_TIMEOUT = 10.0  # seconds

Packed = tuple[bytes, bytes, bytes | None, bytes | None, int | None, Place | None, Cites | None]


class Submit(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """entries: the fields of ``Admitted``, in order."""

    ticket: int
    entries: list[Packed]


class Find(msgspec.Struct, frozen=True, array_like=True, tag=1):
    ticket: int
    leaf: bytes


class AskNames(msgspec.Struct, frozen=True, array_like=True, tag=2):
    ticket: int
    since: int


class Delivered(msgspec.Struct, frozen=True, array_like=True, tag=0):
    delivery: Delivery


class Names(msgspec.Struct, frozen=True, array_like=True, tag=1):
    ticket: int
    entries: list[tuple[int, bytes]]


Up = Submit | Find | AskNames
Down = Delivered | Names

_encoder = msgspec.msgpack.Encoder()
_up = msgspec.msgpack.Decoder(list[Up])
_down = msgspec.msgpack.Decoder(list[Down])


class Link(asyncio.Protocol):
    """One end of a connection: collects messages of a turn into a frame, splits what arrives into frames."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._out: list[Up | Down] = []
        self._in = bytearray()
        self.lost = asyncio.get_running_loop().create_future()

    def frame(self, body: bytes) -> None:
        """Takes a whole frame. Raises on nonsense; the connection is then closed."""
        raise NotImplementedError

    def send(self, message: Up | Down) -> None:
        """Sends with whatever else is sent in this turn of the loop."""
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(message)

    def _flush(self) -> None:
        messages, self._out = self._out, []
        if self._transport is not None and not self._transport.is_closing():
            body = _encoder.encode(messages)
            self._transport.write(len(body).to_bytes(4) + body)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._in += data
        at = 0
        while len(self._in) - at >= 4:
            length = int.from_bytes(self._in[at : at + 4])
            if length > MAX_FRAME:
                raise MalformedError("a frame is too long", actual=length)
            if len(self._in) - at - 4 < length:
                break
            body = bytes(self._in[at + 4 : at + 4 + length])
            at += 4 + length
            self.frame(body)
        del self._in[:at]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class _FrontLink(Link):
    """The sequencer's end of one front's connection; a ``Port``."""

    def __init__(self, intake: Intake, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._intake = intake
        self._loop = loop

    def frame(self, body: bytes) -> None:
        for message in _up.decode(body):
            if isinstance(message, Submit):
                entries = [Admitted(*packed) for packed in message.entries]
                self._refused(message.ticket, self._intake.offer(self, message.ticket, entries))
            elif isinstance(message, Find):
                self._refused(message.ticket, self._intake.find(self, message.ticket, message.leaf))
            else:
                self.send(Names(message.ticket, self._intake.namespaces(message.since)))

    def _refused(self, ticket: int, failure: Failure | None) -> None:
        if failure is not None:
            self.send(Delivered(Delivery(b"", [], [Answer(ticket, failure=failure)])))

    def deliver(self, delivery: Delivery) -> None:
        """See ``intake.Port``."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.send, Delivered(delivery))


class PoolServer:
    """The sequencer's side, on its process's event loop."""

    def __init__(self, intake: Intake, path: Path) -> None:
        self._intake = intake
        self._path = path
        self._server: asyncio.AbstractServer | None = None
        self._links: set[Link] = set()

    async def start(self) -> None:
        """Listens. The caller holds the directory's lock. Raises ConfigError."""
        self._server = await asyncio.get_running_loop().create_unix_server(self._link, sock=bind_unix(self._path))

    def _link(self) -> Link:
        link = _FrontLink(self._intake, asyncio.get_running_loop())
        self._links.add(link)
        link.lost.add_done_callback(lambda _: self._links.discard(link))
        return link

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.close()
        self._path.unlink(missing_ok=True)


class _SequencerLink(Link):
    """The front's end."""

    def __init__(self, waiters: Waiters, names: dict[int, asyncio.Future[list[tuple[int, bytes]]]]) -> None:
        super().__init__()
        self._waiters = waiters
        self._names = names

    def frame(self, body: bytes) -> None:
        for message in _down.decode(body):
            if isinstance(message, Delivered):
                self._waiters.deliver(message.delivery)
            else:
                future = self._names.pop(message.ticket, None)
                if future is not None and not future.done():
                    future.set_result(message.entries)


class SocketPool:
    """``Pool`` for a front in a process of its own. ``await SocketPool.connect(path)``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiters = Waiters()
        self._names: dict[int, asyncio.Future[list[tuple[int, bytes]]]] = {}
        self._link: _SequencerLink | None = None
        self._keeper: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, path: Path, timeout: float = CONNECT_TIMEOUT) -> SocketPool:
        """Waits for the sequencer's socket. Raises UnavailableError."""
        pool = cls(path)
        try:
            async with asyncio.timeout(timeout):
                while not await pool._try():
                    await asyncio.sleep(RECONNECT)
        except TimeoutError as error:
            raise UnavailableError("the sequencer cannot be reached", actual=str(path)) from error
        pool._keeper = asyncio.get_running_loop().create_task(pool._keep())
        return pool

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        if self._link is not None:
            self._link.close()
            await self._link.lost
        self._lose()

    async def submit(self, entries: Sequence[Admitted]) -> list[Outcome]:
        if not entries:
            return []
        link = self._require()
        ticket, future = self._waiters.new()
        packed = [
            (item.entry, item.leaf, item.statement, item.under, item.before, item.place, item.cites) for item in entries
        ]
        link.send(Submit(ticket, packed))
        return await future

    async def find(self, leaf: bytes) -> Logged | None:
        link = self._require()
        ticket, future = self._waiters.new()
        link.send(Find(ticket, leaf))
        return found(await future)

    async def namespaces(self, since: int = 0) -> list[tuple[int, bytes]]:
        link = self._require()
        ticket, _ = self._waiters.new()
        self._waiters.forget(ticket)  # only its number
        future: asyncio.Future[list[tuple[int, bytes]]] = asyncio.get_running_loop().create_future()
        self._names[ticket] = future
        link.send(AskNames(ticket, since))
        return await future

    def _require(self) -> _SequencerLink:
        if self._link is None or self._link.lost.done():
            raise UnavailableError("the sequencer cannot be reached", retry_after=1.0)
        return self._link

    async def _try(self) -> bool:
        loop = asyncio.get_running_loop()
        try:
            with short_path(self._path) as name:
                _, self._link = await loop.create_unix_connection(
                    lambda: _SequencerLink(self._waiters, self._names), name
                )
        except OSError:
            return False
        return True

    async def _keep(self) -> None:
        """Connects again when the connection is lost; what was under way fails, its fate unknown."""
        while True:
            assert self._link is not None
            await asyncio.shield(self._link.lost)
            log.error("the connection to the sequencer is lost")
            self._lose()
            while not await self._try():
                await asyncio.sleep(RECONNECT)

    def _lose(self) -> None:
        self._waiters.fail(Failure("unavailable", "the sequencer was lost; submit the same bytes again", 1.0))
        names, self._names = self._names, {}
        for future in names.values():
            if not future.done():
                future.set_exception(UnavailableError("the sequencer was lost"))
