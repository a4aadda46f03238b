"""Asking a witness for cosignatures (c2sp.org/tlog-witness): one exchange, its answer typed, its lines unverified."""

from __future__ import annotations

import asyncio

import aiohttp

from teelog.client.http import reason, retry_after
from teelog.errors import MalformedError, RefusedError, UnavailableError
from teelog.tlog import note
from teelog.tlog.witness import (
    MAX_ANSWER,
    SIZE_TYPE,
    AddCheckpoint,
    parse_answer,
    parse_conflict,
)

PATH = "/add-checkpoint"


class SizeConflict(RefusedError):
    """409: the witness has last cosigned ``size``, not the old size that was sent."""

    def __init__(self, size: int) -> None:
        super().__init__("the witness has cosigned another size", status=409, actual=size)
        self.size = size


class Inconsistent(RefusedError):
    """422: for the witness the checkpoint does not extend the one that it has cosigned."""


async def add_checkpoint(
    session: aiohttp.ClientSession, url: str, request: AddCheckpoint, timeout: float, *, may_be_empty: bool = False
) -> tuple[note.Signature, ...]:
    """The lines of a 200 answer. url: the submission prefix. timeout: seconds for the whole exchange.
    may_be_empty: a mirror's answer has lines only where it is a witness too.

    Raises SizeConflict, Inconsistent, RefusedError (another 4xx), UnavailableError (network, 5xx, or 429 with
    ``retry_after``), MalformedError (an answer that no honest witness gives).
    """
    try:
        async with asyncio.timeout(timeout):
            async with session.post(
                url.rstrip("/") + PATH,
                data=request.encode(),
                headers={"Content-Type": "application/octet-stream", "Accept-Encoding": "identity"},
                allow_redirects=False,
            ) as response:
                body = await read_answer(response, MAX_ANSWER)
                if may_be_empty and response.status == 200 and not body:
                    return ()
                return _answer(url, response, body)
    except TimeoutError as error:
        raise UnavailableError(f"no answer in time from {url}") from error
    except (aiohttp.ClientError, OSError, UnicodeError) as error:
        raise UnavailableError(f"cannot reach {url}", actual=reason(error)[:200]) from error


async def read_answer(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, of at most ``limit`` bytes. Raises MalformedError."""
    parts, left = [], limit
    async for chunk in response.content.iter_chunked(16_384):
        left -= len(chunk)
        if left < 0:
            raise MalformedError("answer is too long", expected=f"at most {limit} bytes")
        parts.append(chunk)
    return b"".join(parts)


def _answer(url: str, response: aiohttp.ClientResponse, body: bytes) -> tuple[note.Signature, ...]:
    status = response.status
    if status == 200:
        return parse_answer(body)
    actual = f"{status}: {body[:200].decode('utf-8', 'replace').strip()}"
    if status == 409:
        # W-44: only the size in its own media type is one; a bare 409 is a refusal.
        if response.headers.get("Content-Type", "") != SIZE_TYPE:
            raise MalformedError("a 409 without the size", expected=SIZE_TYPE, actual=actual)
        raise SizeConflict(parse_conflict(body))
    if status == 422:
        raise Inconsistent(f"{url} finds the checkpoint inconsistent", status=422, actual=actual)
    if status in (408, 425, 429) or status >= 500:
        raise UnavailableError(f"{url} cannot answer now", actual=actual, retry_after=retry_after(response.headers))
    if status >= 400:
        raise RefusedError(f"{url} refused", status=status, actual=actual)
    raise MalformedError(f"{url} gives an answer that does not belong here", expected=200, actual=actual)
