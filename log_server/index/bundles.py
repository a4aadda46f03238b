"""``GET /index/bundle/<stream>[/<statement id>]``: the bundle of a release, put together by the log itself.

For clients that have nothing but HTTP. The same code puts it together as for ``teelog bundle get``; nobody has
appraised it here, and whoever takes it does that.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from teelog.errors import MalformedError, RefusedError, TeelogError, UnavailableError
from teelog.log_server.directory import LogDirectory
from teelog.log_server.problems import Kind, Problem
from teelog.statement import names

if TYPE_CHECKING:
    from teelog.tlog.policy import WitnessedCheckpoint

PATH = re.compile(r"/index/bundle/([^/]+/[^/]+/[^/]+)(?:/([0-9a-f]{64}))?")
MEDIA_TYPE = "application/vnd.teelog.bundle+cbor"
MAX_SEARCHED = 4_096
"""Releases of a stream that one question may have read: a question is cheap, and anyone asks."""
KEPT = 64
"""Bundles kept in memory, about 10 KiB each; a new checkpoint makes others of all of them."""

Answer = Callable[[str], Any]
"""What the index answers at a path below ``/index/v1/<M>/``."""
_A = TypeVar("_A")


@dataclass(frozen=True, slots=True)
class Wanted:
    """stream: ``ns/product/channel``. release: statement id, None for the one that is allowed."""

    stream: str
    release: str | None

    @classmethod
    def of(cls, path: str) -> Wanted:
        """Raises Problem."""
        found = PATH.fullmatch(path)
        try:
            if found is None:
                raise MalformedError("not a path of a bundle")
            names.stream(found[1])
        except MalformedError as error:
            raise Problem(Kind.NOT_FOUND, error.message, expected="/index/bundle/NAMESPACE/PRODUCT/CHANNEL") from None
        return cls(found[1], found[2])


class Bundles:
    """Makes bundles of the log in ``main``. One thread, without an event loop."""

    def __init__(self, main: LogDirectory) -> None:
        self._main = main
        self._known: dict[int, str | None] = {}
        """Else a stream with many releases could be read from end to end with every question for none of them."""
        self._made: OrderedDict[tuple[Wanted, bytes, bytes], bytes] = OrderedDict()

    def get(self, wanted: Wanted, main_note: bytes, index_note: bytes, answer: Answer) -> bytes:
        """main_note: the cosigned main checkpoint of the last leaf of index_note; answer: of that index size.

        Raises Problem, UnavailableError.
        """
        at = (wanted, main_note, index_note)
        made = self._made.get(at)
        if made is not None:
            self._made.move_to_end(at)
            return made
        try:
            made = asyncio.run(self._make(wanted, main_note, index_note, answer))
        except RefusedError as error:
            raise Problem(
                Kind.NOT_FOUND,
                error.message,
                expected=error.expected,
                actual=error.actual,
                hint="of several releases name one: /index/bundle/NAMESPACE/PRODUCT/CHANNEL/STATEMENT-ID",
            ) from error
        except Problem:
            raise
        except TeelogError as error:
            raise UnavailableError("the bundle cannot be put together now", actual=error.message) from error
        self._made[at] = made
        while len(self._made) > KEPT:
            self._made.popitem(last=False)
        return made

    async def _make(self, wanted: Wanted, main_note: bytes, index_note: bytes, answer: Answer) -> bytes:
        # Loaded here: a front that makes no bundle needs none of it.
        from teelog.client.bundle import assemble
        from teelog.client.http import HttpClient
        from teelog.client.index import RemoteIndex
        from teelog.client.log import LogReader
        from teelog.client.source import DirectorySource
        from teelog.index.leaf import IndexLeaf

        @dataclass(frozen=True, slots=True)
        class Local(RemoteIndex):
            """Asks itself instead of a server."""

            async def _get(self, path: str, kind: type[_A]) -> _A:
                return msgspec.convert(answer(path), type=kind)

        main = _opened(self._main, main_note)
        index = _opened(self._main.index, index_note)
        size = index.checkpoint.size
        leaves = LogReader(DirectorySource(self._main.index.public), size, index.checkpoint.root)
        leaf = await leaves.entry(size - 1)
        path = tuple(await leaves.prove_inclusion(size - 1))
        log = LogReader(DirectorySource(self._main.public), main.checkpoint.size, main.checkpoint.root)
        nobody = cast("HttpClient", None)
        local = Local(nobody, "this log", main, index, leaf, path, IndexLeaf.parse(leaf).map_root, log)
        made = await assemble(local, wanted.stream, wanted.release, known=self._known, most=MAX_SEARCHED)
        # The whole notes: whose lines count is for those to say who appraise it.
        return replace(made, main_checkpoint=main_note, index_checkpoint=index_note).encode()


def _opened(directory: LogDirectory, note: bytes) -> WitnessedCheckpoint:
    from teelog.tlog.checkpoint import open_checkpoint
    from teelog.tlog.policy import WitnessedCheckpoint

    opened = open_checkpoint(note, directory.verifiers())
    return WitnessedCheckpoint(opened.checkpoint, opened.note, opened.note.signatures, {})
