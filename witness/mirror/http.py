"""A mirror's HTTP interface (c2sp.org/tlog-mirror), beside its witness's.

    POST /add-entries
    GET  /mirror/<sha256 of origin, hex>/checkpoint, .../tile/...    (files.py)

An upload is read as it comes, a package at a time; what was kept stays kept whatever becomes of the rest.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

from aiohttp import web

from teelog.errors import MalformedError, ProofError, TeelogError, UnavailableError
from teelog.tlog import mirror as wire
from teelog.tlog import note as notes
from teelog.tlog.checkpoint import open_checkpoint
from teelog.tlog.vkey import NoteSigner
from teelog.witness.decide import Answer, KnownLog, refuse
from teelog.witness.mirror import ticket as tickets
from teelog.witness.mirror.decide import Conflict, Pending, decide
from teelog.witness.mirror.directory import LOGS, Mirror
from teelog.witness.mirror.engine import Engine
from teelog.witness.mirror.files import Files
from teelog.witness.mirror.packages import MAX_PACKAGE, Packages

UPLOADS = 16  # at a time: each may hold a package
STALLED_SECONDS = 20.0  # without a new package: one that may be ended to make room for another (MI-46)
UPLOAD_SECONDS = 300.0  # for a whole request (MI-46)
MAX_BODY = wire.MAX_PACKAGES * MAX_PACKAGE + (1 << 18)  # bytes, decoded (MI-46)
_CHUNK = 65_536


class _BodyEnds(Exception):
    """The body ended, or the client was not heard of in time: what is kept is kept."""


class MirrorService:
    """log: of an origin, None if the witness does not know it. pending: the note that the witness published last for
    it, None before the first. key: of tickets, 32 bytes. seconds: for a whole request."""

    def __init__(
        self,
        mirror: Mirror,
        engine: Engine,
        log: Callable[[str], KnownLog | None],
        pending: Callable[[str], bytes | None],
        key: bytes,
        seconds: float = UPLOAD_SECONDS,
    ) -> None:
        self._mirror = mirror
        self._engine = engine
        self._log = log
        self._pending = pending
        self._key = key
        self._seconds = seconds
        self._uploads: set[_Body] = set()
        self._inflating = asyncio.Lock()
        self.files = Files(mirror.path / LOGS)

    @property
    def signers(self) -> tuple[NoteSigner, ...]:
        """The mirror's keys, for sign-subtree."""
        return self._mirror.signers

    @property
    def fatal(self) -> BaseException | None:
        """Why nothing more is mirrored until a new start."""
        return self._engine.fatal

    @property
    def uploads(self) -> int:
        """How many are under way."""
        return len(self._uploads)

    # -- add-entries --------------------------------------------------------------------------------------------------

    async def add_entries(self, request: web.BaseRequest) -> Answer:
        """The answer to an upload; it may come before the body was read (MI-19)."""
        # MI-10: "The request body MUST have `Content-Type` of `application/octet-stream`".
        if request.headers.get("Content-Type", "") != wire.CONTENT_TYPE:
            return refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the body is of type {wire.CONTENT_TYPE}")
        encoding = request.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("identity", "gzip"):
            return refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "compressed in a way that is not read here: gzip is")
        if len(self._uploads) >= UPLOADS and not self._make_room():
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"too many uploads\n", retry_after=1)
        body = _Body(request, self._inflating if encoding == "gzip" else None, self._seconds)
        self._uploads.add(body)
        try:
            return await self._upload(body)
        except MalformedError as error:
            return refuse(HTTPStatus.BAD_REQUEST, error.message)
        except UnavailableError:
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"storage failed, nothing was signed\n", retry_after=5)
        finally:
            self._uploads.discard(body)

    def _make_room(self) -> bool:
        """Ends the upload that brought nothing new for longest: strangers that keep connections open hold up nobody."""
        stalled = min(self._uploads, key=lambda body: body.advanced, default=None)
        if stalled is None or stalled.loop.time() - stalled.advanced < STALLED_SECONDS:
            return False
        self._uploads.discard(stalled)
        stalled.end()
        return True

    async def _upload(self, body: _Body) -> Answer:
        header, rest = await body.header()
        origin = header.origin
        known = self._log(origin)
        newest = None if known is None else _opened(self._pending(origin), known)
        held = tickets.read(self._key, origin, header.ticket)
        ticketed = None if known is None or held is None else _opened(held, known)
        target = decide(
            header,
            known is not None,
            known is not None and not known.disabled and self._mirror.mirrors(origin),
            newest,
            ticketed,
            self._engine.kept(origin),
        )
        if isinstance(target, Answer):
            return self._told(origin, target)
        packages = Packages(header.start, header.end)
        saved = 0
        try:
            async for data in body.chunks(rest):
                for package in packages.feed(data):
                    new = await self._engine.save(origin, package, target.checkpoint)
                    saved += 1
                    if new:  # what is here already costs nothing to send, and keeps no place
                        body.advanced = body.loop.time()
                if packages.complete:
                    break
        except ProofError:
            # MI-22: "If this verification process fails, it MUST respond with a "422 Unprocessable Entity"".
            return refuse(HTTPStatus.UNPROCESSABLE_ENTITY, "a package's proof does not verify")
        except _BodyEnds:
            pass  # MI-25: "The mirror discards any partial bytes after the last successfully authenticated".
        if not packages.complete:
            # MI-27: "no entry package was authenticated and saved before the body ended [...] 400".
            if not saved:
                return refuse(HTTPStatus.BAD_REQUEST, "the body ended before its first package")
            # MI-26: "the mirror MUST respond with a "202 Accepted" response carrying the advanced next entry."
            kept = self._engine.kept(origin)
            return self._told(origin, Conflict.of(target, kept, HTTPStatus.ACCEPTED))
        lines = await self._engine.commit(origin, target)
        if lines is None:
            # MI-33: "If `upload_end` was too small, the mirror MUST respond with a "409 Conflict"".
            now = self._engine.kept(origin)
            return self._told(origin, Conflict.of(newest if newest is not None else target, now))
        return Answer(HTTPStatus.OK, lines)

    def _told(self, origin: str, answer: Answer) -> Answer:
        if not isinstance(answer, Conflict):
            return answer
        assert answer.target is not None
        return answer.with_ticket(tickets.issue(self._key, origin, answer.target.note))


class _Body:
    """A request's body, decoded, bounded in bytes and time. seconds: for all of it. inflating: held for each step of
    a gzip body, None where the body is none: however small many bodies are, they take one core at most, in turns.

    advanced: when something of it was kept last, in the event loop's seconds.
    """

    def __init__(self, request: web.BaseRequest, inflating: asyncio.Lock | None, seconds: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.advanced = self.loop.time()
        self._waiting: asyncio.Timeout | None = None
        self._content = request.content
        self._inflating = inflating
        self._inflate = None if inflating is None else zlib.decompressobj(wbits=31)
        self._raw = b""  # that came and is not decoded yet
        self._full = False  # whether there may be more of what was decoded than was taken
        self._deadline = self.advanced + seconds
        self._length = 0
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def header(self) -> tuple[wire.Header, bytes]:
        """The header, and what came with it. Raises MalformedError, also where the body ends in it."""
        held = b""
        while True:
            found = wire.parse_header(held)
            if found is not None:
                return found[0], held[found[1] :]
            try:
                async for data in self._decoded():
                    held += data
                    break
                else:
                    raise MalformedError("the body ended in its header")
            except _BodyEnds:
                raise MalformedError("the body ended in its header") from None

    async def chunks(self, first: bytes) -> AsyncIterator[bytes]:
        """The rest, ``first`` before it. Raises _BodyEnds where the client stops in the middle."""
        yield first
        async for data in self._decoded():
            yield data

    async def _decoded(self) -> AsyncIterator[bytes]:
        # Kept in the object: the header's reader stops in the middle, and the rest is for the next one.
        while True:
            if not self._raw and not self._full:
                self._raw = await self._more()
                if not self._raw:
                    if self._inflate is not None and not self._inflate.eof:
                        raise _BodyEnds
                    return
            while self._raw or self._full:
                data, self._raw = await self._step(self._raw)
                self._full = self._inflate is not None and len(data) == _CHUNK
                self._length += len(data)
                if self._length > MAX_BODY:
                    raise MalformedError("the body is too long", expected=f"at most {MAX_BODY} bytes")
                if data:
                    yield data

    async def _step(self, raw: bytes) -> tuple[bytes, bytes]:
        """Some decoded bytes, and what is still to be decoded: a small body cannot become a large one at once."""
        if self._inflate is None or self._inflating is None:
            return raw, b""
        try:
            async with self._inflating:  # and the event loop goes on meanwhile, with the witness's requests
                data = await asyncio.to_thread(self._inflate.decompress, raw, _CHUNK)
        except zlib.error as error:
            raise MalformedError("the body is no gzip") from error  # MI-21
        if self._inflate.unused_data:
            raise MalformedError("the body goes on after its gzip stream")
        return data, self._inflate.unconsumed_tail

    def end(self) -> None:
        """Takes no more of it, from now on."""
        self._deadline = self.loop.time()
        if self._waiting is not None:
            self._waiting.reschedule(self._deadline)

    async def _more(self) -> bytes:
        try:
            async with asyncio.timeout_at(self._deadline) as self._waiting:
                return await self._content.readany()
        except (TimeoutError, ConnectionError, web.HTTPException) as error:
            raise _BodyEnds from error
        except Exception as error:
            # What the library makes of a client that leaves in the middle of its body.
            raise _BodyEnds from error
        finally:
            self._waiting = None


def _opened(note: bytes | None, known: KnownLog) -> Pending | None:
    """A checkpoint that the log signed, with its signatures and no others (MI-04)."""
    if note is None:
        return None
    try:
        opened = open_checkpoint(note, known.keys, known.origin)
    except TeelogError:
        return None
    own = notes.encode(opened.note.text, [line.signature for line in opened.note.signatures])
    return Pending(opened.checkpoint, own)
