"""Entries checked ahead by threads map to what they map to one by one."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from teelog.keys import PublicKey
from teelog.statement.effective import MemoryState, NamespaceEffect
from teelog.statement.index_map import Mapped, map_entry, map_read
from teelog.witness.monitor.ahead import Ahead, Batch
from tests.statement import make, make_map_vectors

LOGS = [
    pytest.param(log["origin"], [base64.b64decode(each["entry"]) for each in log["entries"]], id=log["name"])
    for log in json.loads(make_map_vectors.FILE.read_bytes())
]


def one_by_one(origin: str, entries: list[bytes]) -> list[Mapped]:
    state, found = MemoryState(origin), []
    for index, entry in enumerate(entries):
        found.append(map_entry(entry, index, state))
        effect = found[-1].effect
        if effect is not None:
            state.apply(effect)
    return found


async def ahead_of(
    origin: str, entries: list[bytes], size: int, between: Callable[[], object] = lambda: None
) -> list[Mapped]:
    """In batches of ``size``. between: called before each entry is mapped."""
    state, found = MemoryState(origin), []

    async def batches() -> AsyncIterator[Batch]:
        for start in range(0, len(entries), size):
            yield start, entries[start : start + size]

    with Ahead(state, 3) as ahead:
        async for first, batch in ahead.over(batches()):
            for index, (entry, parsed) in enumerate(batch, first):
                assert entry == entries[index]
                between()
                found.append(map_read(parsed, index, state))
                effect = found[-1].effect
                if effect is not None:
                    state.apply(effect)
                    if isinstance(effect, NamespaceEffect):
                        ahead.known.renew(effect.name)
    return found


@pytest.mark.parametrize(("origin", "entries"), LOGS)
@pytest.mark.parametrize("size", [1, 2, 256])
def test_the_map_is_the_same_whatever_was_checked_ahead(origin: str, entries: list[bytes], size: int) -> None:
    assert asyncio.run(ahead_of(origin, entries, size)) == one_by_one(origin, entries)


def test_a_signature_is_checked_once_where_the_key_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    releases = [make.release_file(version=f"1.{number}.0") for number in range(64)]
    entries = [make.log_policy_file(), make.namespace_file(), *releases]
    checked: list[bytes] = []
    verify = PublicKey.verify

    def counted(key: PublicKey, message: bytes, signature: bytes) -> None:
        checked.append(signature)
        verify(key, message, signature)

    monkeypatch.setattr(PublicKey, "verify", counted)
    mapped = asyncio.run(ahead_of(make.LOG, entries, 2))
    assert all(each.effect is not None for each in mapped)
    # Those in the batches that were read before the namespace took effect are checked twice.
    assert len(set(checked)) == len(entries)
    assert len(checked) <= len(entries) + 2 * 5


def test_what_cannot_be_read_stops_the_threads() -> None:
    async def batches() -> AsyncIterator[Batch]:
        yield 0, [b"junk"] * 100
        raise OSError("gone")

    async def run() -> Any:
        with Ahead(MemoryState(make.LOG)) as ahead:
            return [batch async for batch in ahead.over(batches())]

    with pytest.raises(OSError, match="gone"):
        asyncio.run(run())
