"""The read paths of c2sp.org/tlog-tiles: the checkpoint, hash tiles and entry bundles.

    GET /checkpoint    GET /tile/<L>/<N>[.p/<W>]    GET /tile/entries/<N>[.p/<W>]

A name of a file is built from the numbers that the strict parser found, never from what was asked (A-11). A tile is
written once the checkpoint that needs it is signed, so what exists may be served, and nothing else (TT-19).
"""

from __future__ import annotations

import asyncio
import gzip
import os
import stat
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

from aiohttp import web

from teelog.errors import MalformedError, UnavailableError
from teelog.log_server.limits import Retention
from teelog.log_server.problems import NO_STORE, Kind, Problem
from teelog.tlog import checkpoint, note, tiles
from teelog.tlog.tiles import HEIGHT, WIDTH, Bundle, Tile

TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
IMMUTABLE = "public, max-age=31536000, immutable"
MAX_CHECKPOINT = 1_048_576  # bytes
_COMPRESS_ASIDE = 16_384  # bytes; from here on compression leaves the event loop


class Objects(Protocol):
    """Where the public objects lie: ``checkpoint``, ``tile/...``."""

    def read(self, path: str, limit: int) -> bytes | None:
        """The object's bytes, at most ``limit`` of them; None if there is none. Raises UnavailableError."""


class Directory:
    """A directory of public objects, as any static web server could serve it."""

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._root)

    def read(self, path: str, limit: int) -> bytes | None:
        # a link or a pipe in the place of a file is not followed or waited for.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, dir_fd=self._root)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UnavailableError("an object cannot be read", actual=f"{path}: {error.strerror}") from error
        try:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode) or state.st_size > limit:
                raise UnavailableError("an object is no file of its kind", actual=path)
            return os.read(descriptor, limit)
        except OSError as error:
            raise UnavailableError("an object cannot be read", actual=f"{path}: {error.strerror}") from error
        finally:
            os.close(descriptor)


class Cache:
    """The most recently used immutable objects, up to ``budget`` bytes."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held = 0
        self._items: OrderedDict[str, bytes] = OrderedDict()

    def get(self, key: str) -> bytes | None:
        data = self._items.get(key)
        if data is not None:
            self._items.move_to_end(key)
        return data

    def put(self, key: str, data: bytes) -> None:
        if len(data) > self._budget // 4 or key in self._items:
            return
        self._items[key] = data
        self._held += len(data)
        while self._held > self._budget:
            self._held -= len(self._items.popitem(last=False)[1])


class Reader:
    """Answers the read paths. prefix: of all of them."""

    def __init__(self, objects: Objects, retention: Retention, cache_bytes: int, prefix: str = "") -> None:
        self._objects = objects
        self._retention = retention
        self._at = len(prefix) + 1
        self._cache = Cache(cache_bytes)

    def checkpoint(self) -> bytes:
        """The published checkpoint. Raises UnavailableError."""
        data = self._objects.read("checkpoint", MAX_CHECKPOINT)
        if data is None:
            raise UnavailableError("no checkpoint is published yet")
        return data

    def last_entry(self) -> bytes | None:
        """The published log's newest entry, None of an empty log. Raises UnavailableError, Problem."""
        size = published_size(self.checkpoint())
        if not size:
            return None
        place = tiles.bundle_for((size - 1) // WIDTH, size)
        return tiles.parse_bundle(self._load(place), place.width)[-1]

    async def get_checkpoint(self, _request: web.BaseRequest) -> web.Response:
        # TT-01, TT-02: `body` with an explicit header, as the charset is part of the format.
        return web.Response(body=self.checkpoint(), headers={"Content-Type": TEXT, "Cache-Control": NO_STORE})

    async def get_tile(self, request: web.BaseRequest) -> web.Response:
        try:
            # TT-06, TT-07, TT-08: the raw path, undecoded, in its one spelling.
            place = tiles.parse_path(request.raw_path[self._at :])
        except MalformedError:
            raise Problem(Kind.NOT_FOUND, "not a path of a tile or bundle") from None
        self._check_kept(place)
        data = self._load(place)
        # TT-09, TT-05, TT-20: long-lived caching, on this answer alone.
        headers = {"Content-Type": BYTES, "Cache-Control": IMMUTABLE, "X-Content-Type-Options": "nosniff"}
        if isinstance(place, Bundle):
            headers["Vary"] = "Accept-Encoding"
            if accepts_gzip(request.headers.getall("Accept-Encoding", [])):  # TT-21
                data = await self._compressed(place.path, data)
                headers["Content-Encoding"] = "gzip"
        return web.Response(body=data, headers=headers)

    def _check_kept(self, place: Tile | Bundle) -> None:
        # TT-28: only a full one, and only if it ends at or below the minimum index. TT-29: refused, not deleted.
        if place.width != WIDTH or not self._retention.min_index:
            return
        level = place.level if isinstance(place, Tile) else 0
        if (place.index + 1) << (HEIGHT * (level + 1)) <= self._retention.min_index:
            raise Problem(Kind.PRUNED, "below the log's minimum index", actual=self._retention.min_index)

    def _load(self, place: Tile | Bundle) -> bytes:
        path = place.path
        data = self._cache.get(path)
        if data is not None:
            return data
        bundle = isinstance(place, Bundle)
        data = self._objects.read(path, tiles.MAX_BUNDLE if bundle else tiles.TILE_LENGTH)
        if data is None:
            raise Problem(Kind.NOT_FOUND, "no signed checkpoint needs this, or a full one has replaced it")
        # A torn file must not be cached by anyone as immutable.
        try:
            if bundle:
                tiles.parse_bundle(data, place.width)
            else:
                tiles.parse_tile(data, place.width)
        except MalformedError as error:
            raise UnavailableError("an object is damaged", actual=path) from error
        self._cache.put(path, data)
        return data

    async def _compressed(self, path: str, data: bytes) -> bytes:
        key = path + " gzip"
        found = self._cache.get(key)
        if found is None:
            work = _gzip if len(data) < _COMPRESS_ASIDE else None
            found = work(data) if work else await asyncio.to_thread(_gzip, data)
            self._cache.put(key, found)
        return found


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=6, mtime=0)


def accepts_gzip(lines: list[str]) -> bool:
    """Whether an Accept-Encoding header asks for gzip (RFC 9110 section 12.5.3); silence is no request."""
    weights = {}
    for item in ",".join(lines).split(","):
        coding, *parameters = (part.strip().lower() for part in item.split(";"))
        weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        weights[coding] = weight.strip("0.") != ""
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", False)))


def published_size(data: bytes) -> int:
    """The size in a checkpoint of our own, as it lies in our directory. Raises MalformedError."""
    return checkpoint.parse_body(note.parse(data).claimed_text()).size
