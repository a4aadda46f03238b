"""HTTP as a client that trusts no server: every answer bounded in bytes and in time, every failure one of ours.

Bodies are decoded here, not by the library, so that a small answer cannot become a large one (A-05). Redirects stay
on the same scheme, host and port. Plain http is for loopback only. Names, credentials and proxies of the environment
are not used.
"""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import json
import os
import re
import socket
import zlib
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import urljoin, urlsplit

import aiohttp

from teelog.errors import ConfigError, MalformedError, RefusedError, TeelogError, UnavailableError

MAX_REDIRECTS = 3
PROBLEM_PREFIX = "urn:teelog:problem:"
MAX_PROBLEM = 65_536  # bytes of an error answer that are read
MAX_TEXT = 500  # characters of a peer's words that an error carries
MAX_WAIT = 86_400.0  # seconds; a longer Retry-After counts as this
TIMEOUT = 30.0  # seconds for one exchange, from connecting to the last byte
CONNECTIONS = 8
HINT = "see that a server runs there, or give its right address"

_BUSY = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx answer. body: decoded, within the limit asked for. content_type: as sent, in lower case.

    headers: by their names in lower case; of several the last.
    """

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """An error answer in the peer's words: to be shown, never to be followed.

    kind: the last part of the problem type. pointer: JSON pointer into what was sent. leaf: a leaf hash in hex.
    """

    kind: str = ""
    detail: str = ""
    pointer: str = ""
    expected: str | None = None
    actual: str | None = None
    leaf: str | None = None


class Refusal(RefusedError):
    """A 4xx answer with what the peer said about it."""

    def __init__(self, message: str, status: int, problem: Problem) -> None:
        super().__init__(message, status=status, expected=problem.expected, actual=problem.actual)
        self.problem = problem


def check_url(url: str) -> str:
    """``url`` without a trailing slash, if it is one that this client talks to. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError("not a URL", expected="https://HOST/PATH", actual=url) from error
    if parts.scheme not in ("https", "http") or not host or parts.query or parts.fragment or parts.username:
        raise ConfigError("not a usable URL", expected="https://HOST/PATH", actual=url)
    if parts.scheme == "http" and not _is_loopback(host):
        raise ConfigError("plain http is for this machine only", expected="https", actual=url)
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class HttpClient:
    """One session. ``async with HttpClient() as http: await http.get(url, limit)``.

    timeout: seconds for one exchange.
    """

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> HttpClient:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS),
            timeout=aiohttp.ClientTimeout(total=None),  # one deadline, ours, over redirects and reading
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "teelog"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """For exchanges that have rules of their own, as with witnesses."""
        if self._session is None:
            raise ValueError("the client is not open")
        return self._session

    async def get(self, url: str, limit: int, *, accept: str = "*/*", timeout: float | None = None) -> Answer:
        """The body at ``url``, at most ``limit`` bytes once decoded.

        Raises RefusedError (4xx), UnavailableError (network, 5xx, busy), MalformedError (an answer that no honest
        server gives).
        """
        # TT-21: gzip may come asked for or not.
        headers = {"Accept": accept, "Accept-Encoding": "gzip, identity"}
        return await self._within(self._get(url, headers, limit), url, timeout)

    async def post(
        self, url: str, body: bytes, content_type: str, limit: int, *, accept: str = "*/*", timeout: float | None = None
    ) -> Answer:
        """Posts ``body``; no redirect is followed. Raises as ``get``."""
        headers = {"Accept": accept, "Accept-Encoding": "gzip, identity", "Content-Type": content_type}
        return await self._within(self._send("POST", url, headers, body, limit), url, timeout)

    async def _within(self, exchange: Awaitable[Answer | str], url: str, timeout: float | None) -> Answer:
        try:
            async with asyncio.timeout(self._timeout if timeout is None else timeout):
                answer = await exchange
        except TimeoutError as error:
            raise UnavailableError(f"no answer in time from {url}") from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, UnicodeError) as error:
            raise ConfigError("not a usable URL", actual=url) from error
        # What the library throws at answers that are no HTTP is an answer all the same; the rest is the network.
        except (aiohttp.ClientResponseError, aiohttp.ClientPayloadError) as error:
            raise UnavailableError(f"unusable answer from {url}", actual=_words(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnavailableError(f"cannot reach {url}", actual=reason(error), hint=HINT) from error
        assert isinstance(answer, Answer)
        return answer

    async def _get(self, url: str, headers: Mapping[str, str], limit: int) -> Answer:
        start = url
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._send("GET", url, headers, None, limit)
            if isinstance(answer, Answer):
                return answer
            # A-05, TT-41: a log's data comes from where the caller said, or not at all.
            target = _join(url, answer)
            if target is None or _site(target) != _site(start):
                raise MalformedError(f"{start} redirects to another host", expected=start, actual=target or answer)
            url = target
        raise MalformedError(f"{start} redirects too often", expected=f"at most {MAX_REDIRECTS} redirects")

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, limit: int
    ) -> Answer | str:
        """The answer, or where a GET is redirected to."""
        if self._session is None:
            raise ValueError("the client is not open")
        async with self._session.request(method, url, headers=headers, data=body, allow_redirects=False) as response:
            if 200 <= response.status < 300 and response.status not in (202, 204, 206):
                data = await _read(response, limit, url)
                named = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, data, named.get("content-type", "").lower(), named)
            location = response.headers.get("Location")
            if response.status in (301, 302, 303, 307, 308) and location and method == "GET":
                return location
            raise _error(url, response.status, response.headers, await _problem(response))


def _join(url: str, location: str) -> str | None:
    try:
        return urljoin(url, location)
    except ValueError:
        return None


def _site(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    try:
        return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:  # a port that is no number
        return "", None, None


async def _read(response: aiohttp.ClientResponse, limit: int, url: str) -> bytes:
    """The decoded body; reading stops one byte above the limit (A-05)."""
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise MalformedError(
            f"{url} answers in an encoding that was not asked for", expected="gzip or identity", actual=encoding
        )
    inflate = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    parts: list[bytes] = []
    left = limit
    async for chunk in response.content.iter_chunked(65_536):
        try:
            data = chunk if inflate is None else inflate.decompress(chunk, left + 1)
        except zlib.error as error:
            raise MalformedError(f"{url} answers with broken gzip") from error
        left -= len(data)
        if left < 0:
            raise MalformedError(f"answer from {url} is too long", expected=f"at most {limit} bytes", actual="more")
        if inflate is not None and inflate.unused_data:
            raise MalformedError(f"{url} answers with bytes after the gzip stream")
        parts.append(data)
    if inflate is not None and not inflate.eof:
        raise MalformedError(f"{url} answers with truncated gzip")
    return b"".join(parts)


async def _problem(response: aiohttp.ClientResponse) -> Problem:
    """What an error answer says (RFC 9457), as far as it says anything."""
    try:
        data = await _read(response, MAX_PROBLEM, "")
    except (TeelogError, aiohttp.ClientError, OSError):
        return Problem()
    content_type = response.headers.get("Content-Type", "").lower()
    if content_type.startswith("text/plain"):
        return Problem(detail=data.decode("utf-8", "replace")[:MAX_TEXT].strip())
    if not content_type.startswith("application/problem+json"):
        return Problem()  # a page made for a browser says nothing in a terminal
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return Problem()
    return problem_of(document) if isinstance(document, dict) else Problem()


def problem_of(document: Mapping[str, object]) -> Problem:
    """What a decoded problem says (RFC 9457), its texts cut."""
    text = {name: value[:MAX_TEXT] for name, value in document.items() if isinstance(value, str)}
    leaf = text.get("leaf", "")
    return Problem(
        kind=text.get("type", "").removeprefix(PROBLEM_PREFIX),
        detail=text.get("detail") or text.get("title", ""),
        pointer=text.get("pointer", ""),
        expected=text.get("expected"),
        actual=text.get("actual"),
        leaf=leaf if re.fullmatch("[0-9a-f]{64}", leaf) else None,
    )


def _error(url: str, status: int, headers: Mapping[str, str], problem: Problem) -> TeelogError:
    words = problem.detail or http.client.responses.get(status, "")
    if problem.pointer:
        words = f"{problem.pointer}: {words}"
    if status in _BUSY or status >= 500:
        return UnavailableError(
            f"{url} cannot answer now: {status} {words}", actual=problem.actual, retry_after=retry_after(headers)
        )
    if status >= 400:
        return Refusal(f"{url} refused: {status} {words}", status, problem)
    return MalformedError(f"{url} gives an answer that does not belong here", expected="200", actual=status)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds; a date, as any other text, counts as none."""
    text = headers.get("Retry-After", "")
    return min(float(text), MAX_WAIT) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def reason(error: BaseException) -> str:
    """Why there is no connection, in the system's words where it has some: the library's name its own internals."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if type(cause) is ConnectionRefusedError and cause.errno:
        return os.strerror(cause.errno)
    if isinstance(cause, socket.gaierror) and cause.strerror:
        return cause.strerror
    return _words(error)


def _words(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text[:MAX_TEXT]
