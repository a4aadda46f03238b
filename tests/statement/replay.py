"""Replays entries through the map function and keeps the lists, as any reader of a log does."""

from __future__ import annotations

from collections.abc import Iterable

from teelog.index import keys
from teelog.index.keys import Kind
from teelog.index.lists import List
from teelog.index.trie import Trie
from teelog.statement import index_map
from teelog.statement.index_map import Mapped, MemoryState
from tests.statement import make

STREAM = "acme.example/inference/stable"


class Replay:
    def __init__(self, entries: Iterable[bytes] = (), origin: str = make.LOG) -> None:
        self.state = MemoryState(origin)
        self.entries: list[bytes] = []
        self.lists: dict[bytes, List] = {}
        self.trie = Trie()
        self.mapped = [self.add(entry) for entry in entries]

    def add(self, entry: bytes) -> Mapped:
        """Appends the entry; its effect counts from the next one on."""
        index = len(self.entries)
        mapped = index_map.map_entry(entry, index, self.state)
        self.entries.append(entry)
        for key in mapped.keys:
            found = self.lists.setdefault(key, List())
            found.append(index)
            self.trie.set(key, found.value().encode())
        if mapped.effect is not None:
            self.state.apply(mapped.effect)
        return mapped

    def effective(self) -> dict[bytes, int]:
        """Effective list -> its length."""
        return {key: value.value().count for key, value in self.lists.items() if keys.parse(key)[0] in keys.EFFECTIVE}


def signers(mapped: Mapped) -> set[str]:
    """Keyids under which an entry stands."""
    return {components[0] for kind, components in map(keys.parse, mapped.keys) if kind is Kind.SIGNER}


def kinds(mapped: Mapped) -> list[str]:
    """Kinds of an entry's keys, in their order."""
    return [kind.value for kind, _ in map(keys.parse, mapped.keys)]
