"""The files of mirrored logs, to be read: a large one leaves in pieces, so that who does not read it holds no more of
it in memory than a piece or two, and no descriptor.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from aiohttp import hdrs, web

from teelog.errors import MalformedError
from teelog.serving import SOFTWARE
from teelog.tlog import tiles
from teelog.tlog.mirror import CONTENT_TYPE
from teelog.witness.decide import Answer, refuse

PREFIX = "/mirror/"
PIECE = 65_536  # bytes
READERS = 1_024  # of files larger than a piece, at a time: each may hold three pieces
READERS_PER_ADDRESS = 64  # of them: a few addresses that do not read are not all there can be
_FILE = re.compile(r"/mirror/(?P<log>[0-9a-f]{64})/(?P<path>checkpoint|tile/[0-9a-z./x]{1,80})")


@dataclass(frozen=True, slots=True)
class Large:
    """A file that is larger than a piece. size: bytes."""

    path: Path
    size: int


class Files:
    """logs: folder of the mirrored logs' folders."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._readers: Counter[str] = Counter()

    def find(self, path: str) -> Answer | Large:
        """The file of a mirrored log at a raw request path below ``PREFIX`` (MI-01)."""
        match = _FILE.fullmatch(path)
        if match is None:
            return refuse(HTTPStatus.NOT_FOUND, "not found")
        name = match["path"]
        if name != "checkpoint":
            try:
                tiles.parse_path(name)
            except MalformedError:
                return refuse(HTTPStatus.NOT_FOUND, "not found")
        file = self._logs / match["log"] / name
        try:
            size = file.stat().st_size
            if size > PIECE and name != "checkpoint":  # that is one request's at most, and replaced at any moment
                return Large(file, size)
            data = file.read_bytes()
        except OSError:
            return refuse(HTTPStatus.NOT_FOUND, "not found")
        return Answer(HTTPStatus.OK, data, "text/plain; charset=utf-8" if name == "checkpoint" else CONTENT_TYPE)

    async def send(
        self, request: web.BaseRequest, client: str, large: Large, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        """Sends it as fast as it is read. client: the address that it is counted under. Raises ConnectionError where
        the file is there no longer, or the client is not."""
        if self._readers[client] >= READERS_PER_ADDRESS or self._readers.total() >= READERS:
            return web.Response(
                status=HTTPStatus.SERVICE_UNAVAILABLE,
                body=b"too many readers\n",
                headers={**headers, "Content-Type": "text/plain; charset=utf-8", "Retry-After": "1"},
            )
        self._readers[client] += 1
        try:
            response = web.StreamResponse(headers={**headers, "Content-Type": CONTENT_TYPE, hdrs.SERVER: SOFTWARE})
            response.content_length = large.size
            await response.prepare(request)
            for at in range(0, large.size, PIECE):
                piece = await asyncio.to_thread(_piece, large, at)
                await response.write(piece)  # goes on once most of what was written before has left
            await response.write_eof()
            return response
        finally:
            self._readers[client] -= 1
            if not self._readers[client]:
                del self._readers[client]


def _piece(large: Large, at: int) -> bytes:
    # Opened anew for each: descriptors of all who read would be those that databases and connections need. A name
    # stands for the same bytes for ever, or for none: a partial bundle goes once the full one is shown.
    length = min(PIECE, large.size - at)
    try:
        with large.path.open("rb") as file:
            file.seek(at)
            data = file.read(length)
    except OSError as error:
        raise ConnectionError("the file is there no longer") from error
    if len(data) != length:
        raise ConnectionError("the file is shorter now")
    return data
