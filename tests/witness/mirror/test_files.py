"""What a reader of a mirror's files costs, whatever it does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientPayloadError

from teelog.tlog.tiles import bundle_for, parse_bundle
from teelog.witness.mirror import files
from tests.witness.harness import Desk, Log
from tests.witness.mirror.mirroring import HASH, Mirroring, entry, mirroring

BUNDLE = bundle_for(0, 256).path


@pytest.fixture
async def mirror(desk: Desk, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Mirroring]:
    """With one full bundle, which is larger than a piece."""
    monkeypatch.setattr(files, "PIECE", 1_000)
    async with mirroring(desk, tmp_path / "mirror") as made:
        made.pend(log, 0, 256)
        assert (await made.push(log, 0, 256)).status == 200
        yield made


class Pieces:
    """Takes note of the pieces that are read, and holds them back until ``go``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lengths: list[int] = []
        self.asked = asyncio.Event()
        self.go = threading.Event()
        honest, loop = files._piece, asyncio.get_running_loop()

        def piece(large: files.Large, at: int) -> bytes:
            loop.call_soon_threadsafe(self.asked.set)
            assert self.go.wait(60)
            data = honest(large, at)
            self.lengths.append(len(data))
            return data

        monkeypatch.setattr(files, "_piece", piece)


async def test_a_large_file_leaves_in_pieces(mirror: Mirroring, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = Pieces(monkeypatch)
    pieces.go.set()
    async with mirror.session.get(f"{mirror.url}/mirror/{HASH}/{BUNDLE}") as response:
        data = await response.read()
    assert parse_bundle(data, 256) == [entry(log, index) for index in range(256)]
    assert max(pieces.lengths) == 1_000
    assert sum(pieces.lengths) == len(data)
    # As of any other answer.
    assert (response.headers["Server"], response.headers["Content-Type"]) == ("teelog", "application/octet-stream")
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("bound", ["READERS", "READERS_PER_ADDRESS"])
async def test_readers_of_large_files_are_bounded(
    mirror: Mirroring, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(files, bound, 1)
    pieces = Pieces(monkeypatch)
    first = asyncio.create_task(mirror.get(BUNDLE))
    try:
        async with asyncio.timeout(60):
            await pieces.asked.wait()
        async with mirror.session.get(f"{mirror.url}/mirror/{HASH}/{BUNDLE}") as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "1")
        # What is small is always there.
        assert (await mirror.get("checkpoint"))[0] == 200
    finally:
        pieces.go.set()
    assert (await first)[0] == 200
    assert (await mirror.get(BUNDLE))[0] == 200


async def test_a_file_that_goes_while_it_is_read_is_no_whole_answer(
    mirror: Mirroring, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = Pieces(monkeypatch)
    reading = asyncio.create_task(mirror.get(BUNDLE))
    try:
        async with asyncio.timeout(60):
            await pieces.asked.wait()
        (mirror.mirror.path / "logs" / HASH / BUNDLE).unlink()
    finally:
        pieces.go.set()
    with pytest.raises(ClientPayloadError):
        await reading
    assert (await mirror.get(BUNDLE))[0] == 404
