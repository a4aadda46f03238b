"""The index in public: the index log's checkpoint and tiles, and proofs from its newest published versions.

    GET /index/checkpoint        GET /index/tile/...               as the main log's
    GET /index/v1/<M>/main                                         the cosigned main checkpoint of leaf M-1
    GET /index/v1/<M>/lookup/<key hex>     GET /index/v1/<M>/list/<key hex>/<page>
    GET /index/v1/<M>/prefix/<prefix hex>
    GET /index/bundle/<stream>[/<statement id>]                    see ``bundles``
    GET /index/v1/since/<N>                                        the first cosigned main checkpoint kept with entry N

Everything else under ``v1`` names the index size that it is of: an answer fits one index checkpoint or is none. A front
reads ``index.db`` through a connection that can't write, in one thread beside its event loop.
"""

from __future__ import annotations

import asyncio
import base64
import re
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from teelog.errors import ConfigError, MalformedError, RefusedError, TeelogError, UnavailableError
from teelog.index.proof import MAX_PROOF
from teelog.indexing.store import IndexReader, NotRetained, Version
from teelog.log_server.directory import LogDirectory
from teelog.log_server.index.bundles import MEDIA_TYPE, Bundles, Wanted
from teelog.log_server.index.inputs import Inputs
from teelog.log_server.limits import Retention
from teelog.log_server.problems import NO_STORE, Kind, Problem
from teelog.log_server.read import TEXT, Directory, Reader, published_size

PREFIX = "/index"
MAX_KEY = 1_024
"""Bytes."""
_NUMBER, _HEX = "(0|[1-9][0-9]{0,17})", "((?:[0-9a-f]{2})*)"
_PATH = re.compile(f"/index/v1/{_NUMBER}/(?:(main)|(lookup|prefix)/{_HEX}|list/{_HEX}/{_NUMBER})")

_SINCE = re.compile(f"/index/v1/since/{_NUMBER}")

T = TypeVar("T")


class IndexFront:
    """One front's reader of the index of ``log``. main: the newest published main checkpoint.

    ``close`` after the last request.
    """

    def __init__(self, log: LogDirectory, main: Callable[[], bytes], cache_bytes: int) -> None:
        directory = log.index
        self._objects = Directory(directory.public)
        self.reader = Reader(self._objects, Retention(), cache_bytes, prefix=PREFIX)
        self._database = directory.index_db
        self._inputs = Inputs(directory.inputs)
        self._moments = Inputs(directory.moments)
        self._main = main
        self._bundles = Bundles(log)
        self._index: IndexReader | None = None
        self._file = 0
        self._thread = ThreadPoolExecutor(1, "index")

    def close(self) -> None:
        """Ends its thread."""
        self._thread.submit(self._close)
        self._thread.shutdown()
        self._objects.close()

    def _close(self) -> None:
        index, self._index = self._index, None
        if index is not None:
            index.close()

    async def get(self, request: web.BaseRequest) -> web.Response:
        """Answers all paths under /index/v1/."""
        since = _SINCE.fullmatch(request.raw_path)
        if since is not None:
            return await self._get_since(int(since[1]))
        found = _PATH.fullmatch(request.raw_path)
        if found is None or len(found[4] or found[5] or "") > 2 * MAX_KEY:
            raise Problem(Kind.NOT_FOUND, "not a path of the index")
        if found[2]:
            return await self._get_main(int(found[1]))
        return _json(await self._run(lambda index: self._asked(index, int(found[1]), found)))

    async def get_bundle(self, request: web.BaseRequest) -> web.Response:
        """Answers all paths under /index/bundle/."""
        wanted = Wanted.of(request.raw_path)
        data = await self._run(lambda index: self._bundle(index, wanted))
        return web.Response(body=data, headers={"Content-Type": MEDIA_TYPE, "Cache-Control": NO_STORE})

    async def state(self) -> dict[str, Any]:
        """Sizes and lag, for ``/log.json``; never raises."""
        try:
            newest = await self._run(lambda index: index.published())
            return self._sizes(newest) if newest is not None else {}
        except (TeelogError, Problem):
            return {}

    # -- each kind ----------------------------------------------------------------------------------------------------

    async def _get_main(self, size: int) -> web.Response:
        note = await self._run(lambda index: self._inputs.read(_version(index, size).input_size))
        if note is None:
            raise Problem(Kind.NOT_FOUND, "this main checkpoint is not kept; the next index size has one")
        return _note(note)

    async def _get_since(self, index: int) -> web.Response:
        loop = asyncio.get_running_loop()
        note = await loop.run_in_executor(self._thread, self._moments.first_with, index)
        if note is None:
            raise Problem(Kind.NOT_FOUND, "no checkpoint is kept that tells since when this entry is there")
        return _note(note)

    def _bundle(self, index: IndexReader, wanted: Wanted) -> bytes:
        shown = self.reader.checkpoint()
        size = published_size(shown)
        note = self._inputs.read(_version(index, size).input_size) if size else None
        if note is None:
            raise UnavailableError("the index has no published size to make a bundle of")

        def answer(path: str) -> dict[str, Any]:
            found = _PATH.fullmatch(f"{PREFIX}/v1/{size}/{path}")
            assert found is not None
            return self._asked(index, size, found)

        return self._bundles.get(wanted, note, shown, answer)

    def _asked(self, index: IndexReader, size: int, found: re.Match[str]) -> dict[str, Any]:
        """Raises Problem."""
        at, key = _version(index, size), bytes.fromhex(found[4] or found[5] or "")
        if found[3] == "lookup":
            return self._lookup(index, at, key)
        if found[3] == "prefix":
            return self._prefix(index, at, key)
        return self._page(index, at, key, int(found[6]))

    def _lookup(self, index: IndexReader, at: Version, key: bytes) -> dict[str, Any]:
        found = index.lookup(at.index_size, key)
        last = None
        if found.value is not None:
            element, path = index.element(at.index_size, key, found.value.count - 1)
            last = {"index": str(element), "path": _hashes(path)}
        return {
            "schema": "teelog-lookup/v1",
            **self._sizes(at),
            "count": str(found.value.count if found.value else 0),
            "list_root": _b64(found.value.root) if found.value else None,
            "trie_proof": _b64(found.proof),
            "last": last,
        }

    def _page(self, index: IndexReader, at: Version, key: bytes, number: int) -> dict[str, Any]:
        try:
            indices, path = index.page(at.index_size, key, number)
        except IndexError:
            raise Problem(Kind.NOT_FOUND, "the key's list has no such page") from None
        return {
            "schema": "teelog-list/v1",
            **self._sizes(at),
            "indices": [str(each) for each in indices],
            "path": _hashes(path),
        }

    def _prefix(self, index: IndexReader, at: Version, prefix: bytes) -> dict[str, Any]:
        try:
            pairs, proof = index.scan(at.index_size, prefix, MAX_PROOF)
        except RefusedError as error:
            if error.status != 413:
                raise
            raise Problem(
                Kind.TOO_LARGE,
                error.message,
                expected=error.expected,
                hint="ask for a longer prefix, or read the log's entries",
            ) from None
        return {
            "schema": "teelog-prefix/v1",
            **self._sizes(at),
            "pairs": [{"key": key.hex(), "value": _b64(value)} for key, value in pairs],
            "proof": _b64(proof),
        }

    def _sizes(self, at: Version) -> dict[str, str]:
        """R-12: numbers of 64 bits are strings. How far the index is behind is part of every answer."""
        return {
            "index_size": str(at.index_size),
            "input_size": str(at.input_size),
            "published_size": str(published_size(self._main())),
        }

    # -- the reading thread -------------------------------------------------------------------------------------------

    async def _run(self, work: Callable[[IndexReader], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._work, work)

    def _work(self, work: Callable[[IndexReader], T]) -> T:
        try:
            return work(self._open())
        except (ConfigError, MalformedError, OSError, sqlite3.Error) as error:
            self._close()
            raise UnavailableError("the index cannot be read now", actual=str(error)) from error

    def _open(self) -> IndexReader:
        """The index as it lies there now: one that was built anew is another file."""
        file = self._database.stat().st_ino
        if self._index is None or file != self._file:
            self._close()
            self._index, self._file = IndexReader.open(self._database), file
        return self._index


def _version(index: IndexReader, size: int) -> Version:
    """Raises Problem: 404 with the newest size where ``size`` is not, or no longer, answered from."""
    try:
        return index.version(size)
    except NotRetained:
        newest = index.published()
        raise Problem(
            Kind.NOT_FOUND,
            "the index is not kept at this size",
            expected=newest.index_size if newest else "none is published yet",
            actual=size,
            hint="take the newest size, from /index/checkpoint",
        ) from None


def _json(members: dict[str, Any]) -> web.Response:
    headers = {"Content-Type": "application/json", "Cache-Control": NO_STORE, "X-Content-Type-Options": "nosniff"}
    return web.Response(body=msgspec.json.encode(members) + b"\n", headers=headers)


def _note(note: bytes) -> web.Response:
    return web.Response(body=note, headers={"Content-Type": TEXT, "Cache-Control": NO_STORE})


def _hashes(path: Sequence[bytes]) -> list[str]:
    return [_b64(each) for each in path]


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
