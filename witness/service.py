"""The witness's HTTP interface (c2sp.org/tlog-witness, "HTTP Interface").

    POST /add-checkpoint                      POST /sign-subtree
    GET  /<sha256 of origin, hex>/checkpoint  GET  /

Paths are compared raw, as they came. What costs nothing is decided here (method, size, framing, unknown origin, rates);
the rest is the engine's.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

from teelog.serving import GuardedServer
from teelog.tlog.witness import MAX_REQUEST
from teelog.witness import decide, page, subtree
from teelog.witness.connections import HEADERS, proxy_networks, public
from teelog.witness.decide import Answer, refuse
from teelog.witness.directory import Witness
from teelog.witness.engine import Engine
from teelog.witness.limits import DAY, TokenBuckets, network
from teelog.witness.metrics import Metrics
from teelog.witness.mirror.files import PREFIX
from teelog.witness.mirror.http import MirrorService
from teelog.witness.published import Published
from teelog.witness.semantic import Pending
from teelog.witness.state import LogEntry

REQUEST_SECONDS = 30.0  # for a request's body
PATIENCE_SECONDS = 3.0  # logs give a witness 5 s by default
ADDRESSES = 16_384  # remembered for rate limits
ORIGINS = 131_072

_MONITORING = re.compile(r"/([0-9a-f]{64})/checkpoint")

Post = Callable[[bytes], Awaitable[Answer]]


class Service:
    """One witness's public interface.

    published: a reader of its own, used in the event loop. monotonic: seconds. request_seconds: for a request's body.
    semantic: whether only indexes are cosigned. patience: seconds that a request waits for one to be rebuilt. mirror:
    what logs push to, beside the witness.
    """

    def __init__(
        self,
        witness: Witness,
        engine: Engine,
        published: Published,
        metrics: Metrics,
        monotonic: Callable[[], float],
        request_seconds: float = REQUEST_SECONDS,
        *,
        semantic: bool = False,
        patience: float = PATIENCE_SECONDS,
        mirror: MirrorService | None = None,
    ) -> None:
        self._witness = witness
        self._engine = engine
        self._published = published
        self._metrics = metrics
        self._monotonic = monotonic
        self._request_seconds = request_seconds
        self._semantic = semantic
        self._patience = patience
        self._mirror = mirror
        # MI-06: "the mirror MUST use the same identity [...] as was used to sign and verify the reference checkpoint".
        self._signers = (*witness.signers, *(() if mirror is None else mirror.signers))
        self._limits = witness.config.limits
        self._proxies = proxy_networks(self._limits)
        self._addresses = TokenBuckets(ADDRESSES)
        self._origins = TokenBuckets(ORIGINS)

    def server(self) -> GuardedServer:
        return public(self.handle, self._limits)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path
        if path == "/add-checkpoint":
            return await self._post(request, "add-checkpoint", self._add_checkpoint)
        if path == "/sign-subtree":
            return await self._post(request, "sign-subtree", self._sign_subtree)
        if self._mirror is not None and (path == "/add-entries" or path.startswith(PREFIX)):
            return await self._of_mirror(request, self._mirror)
        monitoring = _MONITORING.fullmatch(path)
        if path != "/" and monitoring is None:
            return _response(refuse(HTTPStatus.NOT_FOUND, "not found"))
        if request.method != "GET":  # WM-02: "The request MUST be an HTTP GET."
            return _not_allowed("GET")
        return self._about() if monitoring is None else self._monitoring(monitoring[1])

    async def _of_mirror(self, request: web.BaseRequest, mirror: MirrorService) -> web.StreamResponse:
        if request.raw_path == "/add-entries":
            if request.method != "POST":
                return _not_allowed("POST")
            seconds = self._over_rate(request)
            answer = _too_many(seconds) if seconds else await mirror.add_entries(request)
            response = _response(answer)
            # MI-21: "mirrors SHOULD send an `Accept-Encoding` header that includes `gzip`".
            response.headers["Accept-Encoding"] = "gzip"
            self._metrics.answered("add-entries", response.status)
            if not request.content.is_eof():
                response.force_close()  # the rest of the body is not read
            return response
        if request.method != "GET":
            return _not_allowed("GET")
        found = await asyncio.to_thread(mirror.files.find, request.raw_path)
        if isinstance(found, Answer):
            return _response(found)
        return await mirror.files.send(request, self._client(request), found, HEADERS)

    # -- reading ------------------------------------------------------------------------------------------------------

    def _monitoring(self, hashed_origin: str) -> web.Response:
        try:
            note = self._published.note(hashed_origin)
        except sqlite3.Error:
            return _response(refuse(HTTPStatus.SERVICE_UNAVAILABLE, "try again later"))
        # WM-04: "If the witness has never cosigned a checkpoint for that log, it MUST respond with a "404 Not Found"".
        if note is None:
            return _response(refuse(HTTPStatus.NOT_FOUND, "no checkpoint of such a log was cosigned"))
        return _response(Answer(HTTPStatus.OK, note))

    def _about(self) -> web.Response:
        registry = self._engine.registry
        logs = registry.first(page.MAX_LISTED)
        name, vkeys = self._witness.config.name, self._witness.vkeys
        html = page.render(name, vkeys, logs, len(registry), semantic=self._semantic)
        response = _response(Answer(HTTPStatus.OK, html, "text/html; charset=utf-8"))
        response.headers.update(page.HEADERS)
        return response

    # -- writing ------------------------------------------------------------------------------------------------------

    async def _post(self, request: web.BaseRequest, call: str, answer: Post) -> web.Response:
        if request.method != "POST":  # W-01: "The request MUST be an HTTP POST."
            return _not_allowed("POST")
        begin = self._monotonic()
        response = _response(await self._answer(request, answer))
        self._metrics.answered(call, response.status, self._monotonic() - begin)
        if not request.content.is_eof():
            response.force_close()  # the rest of the body is not read
        return response

    async def _answer(self, request: web.BaseRequest, answer: Post) -> Answer:
        seconds = self._over_rate(request)
        if seconds:  # W-41
            return _too_many(seconds)
        if request.headers.get("Content-Encoding", "identity") != "identity":
            return refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "compressed requests are not read")
        try:
            async with asyncio.timeout(self._request_seconds):
                body = await _read(request)
        except TimeoutError:  # W-40
            return refuse(HTTPStatus.REQUEST_TIMEOUT, "request came too slowly")
        if body is None:  # W-40
            return refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"request is longer than {MAX_REQUEST} bytes")
        return await answer(body)

    async def _add_checkpoint(self, body: bytes) -> Answer:
        request = decide.read(body)
        if isinstance(request, Answer):
            return request
        # W-09, W-41: an unknown origin costs a look-up and no more.
        entry = self._engine.registry.entry(request.origin)
        if entry is None:
            return decide.unknown_origin()
        limited = self._over_quota(entry, request)
        if limited:
            return _too_many(limited)
        answer = await self._submit(request)
        if answer.status == HTTPStatus.OK:
            self._charge(entry, request)
        return answer

    async def _submit(self, request: decide.Request) -> Answer:
        """The engine's answer; where the log is just being read, what it is when that is done."""
        answer = await asyncio.wrap_future(self._engine.submit(request))
        if isinstance(answer, Pending):
            await asyncio.wait([asyncio.wrap_future(answer.done)], timeout=self._patience)
            answer = await asyncio.wrap_future(self._engine.submit(request))
        return answer

    async def _sign_subtree(self, body: bytes) -> Answer:
        if self._semantic:
            # Protocol section 5: sign-subtree lines count for no quorum, and no index has a use for them.
            return refuse(HTTPStatus.FORBIDDEN, "a semantic witness signs no subtrees")
        request = subtree.read(body)
        if isinstance(request, Answer):
            return request
        try:
            log = self._engine.registry.log(request.origin.decode())
        except UnicodeDecodeError:
            log = None
        if log is None:  # before a thread is asked
            return decide.unknown_origin()
        return await asyncio.to_thread(subtree.answer, request, log, self._signers)

    def _over_rate(self, request: web.BaseRequest) -> int:
        """Seconds until this address may send another body, 0 if now."""
        limits = self._limits
        return self._addresses.take(
            self._client(request), limits.per_address_per_second, limits.per_address_burst, self._monotonic()
        )

    # -- rates --------------------------------------------------------------------------------------------------------

    def _client(self, request: web.BaseRequest) -> str:
        """The address that a request is counted under. A-09: X-Forwarded-For counts from configured proxies only."""
        peer = network(request.remote)
        if peer not in self._proxies:
            return peer
        return network(request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip())

    def _over_quota(self, entry: LogEntry, request: decide.Request) -> int:
        if entry.per_day is None:
            return 0
        return self._origins.wait(_quota(request), entry.per_day / DAY, entry.per_day, self._monotonic())

    def _charge(self, entry: LogEntry, request: decide.Request) -> None:
        """Only what was cosigned is charged: strangers' junk must not use up a log's quota."""
        if entry.per_day is not None:
            self._origins.take(_quota(request), entry.per_day / DAY, entry.per_day, self._monotonic())


def _quota(request: decide.Request) -> tuple[str, bool]:
    """Anyone may have an unchanged checkpoint signed again; that is counted apart from the log's growth."""
    size = request.add.checkpoint.split(b"\n", 2)[1]
    return request.origin, size == b"%d" % request.add.old


async def _read(request: web.BaseRequest) -> bytes | None:
    """The body, None where it is longer than MAX_REQUEST; no more than one chunk beyond that is read (A-02)."""
    if (request.content_length or 0) > MAX_REQUEST:
        return None
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    chunks: list[bytes] = []
    length = 0
    while chunk := await request.content.readany():
        length += len(chunk)
        if length > MAX_REQUEST:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _too_many(seconds: int) -> Answer:
    return Answer(HTTPStatus.TOO_MANY_REQUESTS, b"too many requests\n", retry_after=seconds)


def _not_allowed(allowed: str) -> web.Response:
    response = _response(refuse(HTTPStatus.METHOD_NOT_ALLOWED, f"only {allowed}"))
    response.headers["Allow"] = allowed
    return response


def _response(answer: Answer) -> web.Response:
    # W-16: the type goes out as it stands; aiohttp's text= would add a charset.
    headers = {**HEADERS, "Content-Type": answer.content_type}
    if answer.retry_after is not None:
        headers["Retry-After"] = str(answer.retry_after)
    return web.Response(status=answer.status, body=answer.body, headers=headers)
