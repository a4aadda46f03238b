"""Request bodies: read under a limit each, a deadline each, and one bound on all of them together.

A body counts from its first byte on, as it arrives, until its request is answered, so a client pays in bytes sent and
not in promises (a large Content-Length costs nothing). Batches may use up three quarters of the bound: many slow ones
leave room for single entries.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from aiohttp import StreamReader, hdrs, web

from teelog.log_server.limits import Limits
from teelog.log_server.problems import Kind, Problem
from teelog.tlog.tiles import MAX_ENTRY

RETRY_AFTER = 2.0  # seconds


class Bodies:
    """held: bytes of the bodies under way, in this process. peak: the most that was held at any time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.held = 0
        self.peak = 0

    def one(self, limit: int) -> Body:
        """A request's body of at most ``limit`` bytes: ``with bodies.one(n) as body: await body.read(request)``."""
        return Body(self, limit)

    def room(self, limit: int) -> int:
        """Bytes that a body of at most ``limit`` bytes may still take."""
        bound = self._limits.bodies_bytes
        return (bound if limit <= MAX_ENTRY else bound * 3 // 4) - self.held

    @property
    def seconds(self) -> float:
        return self._limits.body_seconds


class Body:
    """One request's share, given back at the end of the ``with`` block."""

    __slots__ = ("_bodies", "_held", "_limit")

    def __init__(self, bodies: Bodies, limit: int) -> None:
        self._bodies = bodies
        self._limit = limit
        self._held = 0

    def __enter__(self) -> Body:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bodies.held -= self._held

    async def read(self, request: web.BaseRequest) -> bytes:
        """The whole body; of a longer one never more than the limit and one read are kept (A-02). Raises Problem."""
        for encoding in request.headers.getall(hdrs.CONTENT_ENCODING, ()):
            if encoding.lower() != "identity":
                raise Problem(Kind.MEDIA_TYPE, "no content encoding is accepted", actual=encoding)
        length = request.content_length
        if length is not None and length > self._limit:
            raise too_large(self._limit)
        await _continue(request)
        content = request.content
        if content.is_eof() and length is not None:
            self._take(length)
            return content.read_nowait() if length else b""
        try:
            async with asyncio.timeout(self._bodies.seconds):
                return await self._gather(content)
        except TimeoutError:
            raise Problem(Kind.TIMEOUT, "the body did not arrive in time") from None

    async def _gather(self, content: StreamReader) -> bytes:
        parts: list[bytes] = []
        while not content.at_eof():
            part = await content.readany()
            self._take(len(part))
            parts.append(part)
        return b"".join(parts)

    def _take(self, count: int) -> None:
        if self._held + count > self._limit:
            raise too_large(self._limit)
        bodies = self._bodies
        # what is held in all is bounded; the one that would exceed it is let go, not the others.
        if count > bodies.room(self._limit):
            raise Problem(Kind.BUSY, "too many request bodies are under way", retry_after=RETRY_AFTER)
        self._held += count
        bodies.held += count
        bodies.peak = max(bodies.peak, bodies.held)


def too_large(limit: int) -> Problem:
    return Problem(Kind.TOO_LARGE, "the request's body is too large", expected=f"at most {limit} bytes")


async def _continue(request: web.BaseRequest) -> None:
    expect = request.headers.get(hdrs.EXPECT)
    if expect is None:
        return
    if expect.lower() != "100-continue":
        raise Problem(Kind.EXPECTATION, "only 100-continue is supported", actual=expect)
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0
