"""Where a log is read: over HTTP or from a directory, laid out as in c2sp.org/tlog-tiles. Nothing is verified here.

A source gives bytes within the bounds of their kind; ``teelog.client.log`` decides whether they are true.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from teelog.errors import MalformedError, RefusedError, UnavailableError
from teelog.tlog import tiles
from teelog.tlog.rfc6962 import HASH_LENGTH
from teelog.tlog.tiles import Bundle, Tile

MAX_CHECKPOINT = 1 << 20  # bytes

NOT_FOUND = (404, 410)


class TileSource(Protocol):
    """Bytes of a log, unverified.

    All raise UnavailableError, RefusedError (404 where it is not there), MalformedError (too long).
    """

    @property
    def name(self) -> str:
        """The URL or path, for messages."""

    async def checkpoint(self) -> bytes:
        """The newest checkpoint, at most 1 MiB."""

    async def tile(self, tile: Tile) -> bytes:
        """At most ``tile.width`` hashes."""

    async def bundle(self, bundle: Bundle) -> bytes:
        """A bundle, decoded, of which the first ``bundle.width`` entries are meant."""


@runtime_checkable
class Replaceable(Protocol):
    """A source that may have another place for what it gave wrong (``teelog.client.places``)."""

    def reject(self, path: str) -> bool:
        """What was given at ``path`` does not hold; whether there is another place to ask for it."""


class FileSource(TileSource, Protocol):
    """A source that has other files of a log as well."""

    async def read(self, path: str, limit: int) -> bytes:
        """The file at a path, at most ``limit`` bytes. Raises as the rest."""


class _Paths:
    """The part that the two sources share: which paths, which bounds, and a partial that has become full."""

    name: str

    async def read(self, path: str, limit: int) -> bytes:
        return await self._read(path, limit)

    async def _read(self, path: str, limit: int) -> bytes:
        raise NotImplementedError

    async def checkpoint(self) -> bytes:
        return await self._read("checkpoint", MAX_CHECKPOINT)

    async def tile(self, tile: Tile) -> bytes:
        data = await self._partial_or_full(tile, tiles.TILE_LENGTH)
        return data[: tile.width * HASH_LENGTH] if isinstance(data, _Full) else data

    async def bundle(self, bundle: Bundle) -> bytes:
        data = await self._partial_or_full(bundle, tiles.MAX_BUNDLE)
        if isinstance(data, _Full):
            return tiles.encode_bundle(tiles.parse_bundle(data, tiles.WIDTH)[: bundle.width])
        return data

    async def _partial_or_full(self, wanted: Tile | Bundle, limit: int) -> bytes:
        try:
            return await self._read(wanted.path, limit)
        except RefusedError as error:
            # TT-18: a partial may be collected once its full version exists, which holds the same and more.
            if wanted.width == tiles.WIDTH or error.status not in NOT_FOUND:
                raise
        return _Full(await self._read(wanted.full.path, limit))


class _Full(bytes):
    """A full tile or bundle in place of the partial that was asked for."""


class DirectorySource(_Paths):
    """A log's public directory."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.path = path

    async def _read(self, path: str, limit: int) -> bytes:
        # Not in a thread: handing a read to one and back takes longer than the read.
        file_path = self.path / path
        try:
            with file_path.open("rb") as file:
                # As long as it is: a buffer for the largest that there may be costs more than the read.
                data = file.read(min(os.fstat(file.fileno()).st_size, limit) + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise RefusedError(f"{self.name} has no {path}", status=404) from error
        except OSError as error:
            raise UnavailableError(f"cannot read {file_path}", actual=error.strerror) from error
        if len(data) > limit:
            raise MalformedError(f"{file_path} is too long", expected=f"at most {limit} bytes", actual="more")
        return data


class HttpSource(_Paths):
    """A log's URL."""

    def __init__(self, http: object, url: str) -> None:
        from teelog.client.http import HttpClient, check_url

        if not isinstance(http, HttpClient):
            raise TypeError("an HttpClient is needed")
        self.name = check_url(url)
        self._http = http

    async def _read(self, path: str, limit: int) -> bytes:
        return (await self._http.get(f"{self.name}/{path}", limit)).body


def is_url(place: str) -> bool:
    """Whether a URL is meant, of whatever scheme: ``http.check_url`` then says which can be asked."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", place) is not None


def public_directory(path: Path) -> Path:
    """The directory that holds ``checkpoint``: ``path`` itself, or its ``public`` where it is a log server's."""
    inner = path / "public"
    return inner if inner.is_dir() and not (path / "checkpoint").is_file() else path


@asynccontextmanager
async def open_source(place: str) -> AsyncIterator[FileSource]:
    """The source at a URL or in a directory, for as long as the context lasts. Raises ConfigError for a bad URL."""
    if not is_url(place):
        yield DirectorySource(public_directory(Path(place)))
        return
    from teelog.client.http import HttpClient

    async with HttpClient() as http:
        yield HttpSource(http, place)
