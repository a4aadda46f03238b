"""A served log with its index, and the reference that every index leaf is compared with."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from teelog.index import keys, lists, proof
from teelog.index.leaf import IndexLeaf, origin_of
from teelog.index.lists import List, Value
from teelog.index.trie import Trie
from teelog.log_server.clock import SystemClock
from teelog.log_server.create import create
from teelog.log_server.directory import LogDirectory
from teelog.log_server.read import published_size
from teelog.statement.effective import MemoryState
from teelog.statement.index_map import map_entry
from teelog.tlog import rfc6962, tiles
from teelog.tlog.checkpoint import Checkpoint, open_checkpoint
from tests.log_server.test_serve import Log
from tests.statement import make

NAMESPACE = keys.namespace_key("acme.example")
RELEASES = keys.release_key("acme.example/inference/stable")


def make_log(folder: Path, *, toml: str = "", witnesses: bytes = b"quorum none\n", index: bytes = b"") -> Log:
    """A quick log in ``folder``. toml: (name = value) lines in place of the template's. witnesses, index: policies."""
    path = folder / "LOG"
    created = create(path, make.LOG, SystemClock())
    wanted = {"batch_ms": "20", "checkpoint_ms": "20", "retry_ms": "50"}
    wanted |= dict(line.split(" = ") for line in toml.splitlines())
    text = (path / "log.toml").read_text()
    lines = []
    for line in text.splitlines():
        name = line.removeprefix("# ").split(" = ")[0]
        lines.append(f"{name} = {wanted.pop(name)}" if name in wanted else line)
    assert not wanted, wanted
    (path / "log.toml").write_text("\n".join(lines) + "\n")
    policy, index_policy = folder / "main.policy", folder / "index.policy"
    policy.write_bytes(b"".join(b"log %s\n" % str(key).encode() for key in created.vkeys) + witnesses)
    index = index or b"quorum none\n"
    index_policy.write_bytes(b"".join(b"log %s\n" % str(key).encode() for key in created.index_vkeys) + index)
    return Log(path, policy, [str(key) for key in created.vkeys], index_policy)


def entries_of(public: Path, size: int) -> list[bytes]:
    """All entries of a tree of ``size``, from its bundles."""
    found: list[bytes] = []
    for number in range(-(-size // 256)):
        place = tiles.bundle_for(number, size)
        path = public / place.path
        data, width = (path.read_bytes(), place.width) if path.exists() else (None, 256)
        found += tiles.parse_bundle(data or (public / place.full.path).read_bytes(), width)[: place.width]
    assert len(found) == size
    return found


@dataclass
class Reference:
    """The map, by the slow trie and the state in memory; ``root`` may be asked of growing sizes only."""

    entries: Sequence[bytes]
    state: MemoryState = field(default_factory=lambda: MemoryState(make.LOG))
    trie: Trie = field(default_factory=Trie)
    lists: dict[bytes, List] = field(default_factory=dict)
    size: int = 0

    def root(self, size: int) -> bytes:
        assert size >= self.size
        for index in range(self.size, size):
            mapped = map_entry(self.entries[index], index, self.state)
            for key in mapped.keys:
                self.lists.setdefault(key, List()).append(index)
                self.trie.set(key, self.lists[key].value().encode())
            if mapped.effect is not None:
                self.state.apply(mapped.effect)
        self.size = size
        return self.trie.root()


def agree(log: Log) -> tuple[Checkpoint, list[int]]:
    """Everything that must hold of an index log's directory at any moment; (its checkpoint, its leaves' input sizes).

    Its checkpoint is signed and its tree whole; its leaves' inputs are signed by the main log, are trees of its
    entries, grow strictly, and have the reference's map roots.
    """
    directory = LogDirectory(log.path)
    main_keys, index_keys = directory.verifiers(), directory.index.verifiers()
    main = open_checkpoint((directory.public / "checkpoint").read_bytes(), main_keys, make.LOG).checkpoint
    data = (directory.index.public / "checkpoint").read_bytes()
    head = open_checkpoint(data, index_keys, origin_of(make.LOG)).checkpoint
    entries = entries_of(directory.public, main.size)
    hashes = [rfc6962.leaf_hash(entry) for entry in entries]
    assert rfc6962.root_of_leaves(hashes) == main.root
    leaves = entries_of(directory.index.public, head.size)
    assert rfc6962.root_of_leaves([rfc6962.leaf_hash(leaf) for leaf in leaves]) == head.root
    reference = Reference(entries)
    sizes: list[int] = []
    for number, leaf in enumerate(leaves):
        parsed = IndexLeaf.parse(leaf)
        opened = parsed.open(main_keys, make.LOG)
        assert opened.size > (sizes[-1] if sizes else 0)
        assert opened.root == rfc6962.root_of_leaves(hashes[: opened.size])
        assert parsed.map_root == reference.root(opened.size), f"leaf {number}"
        sizes.append(opened.size)
    return head, sizes


@dataclass
class Client:
    """Asks a server's index, and verifies what it says against the index log."""

    session: aiohttp.ClientSession
    url: str
    log: Log

    async def get(self, path: str) -> tuple[int, bytes]:
        async with self.session.get(self.url + path) as response:
            return response.status, await response.read()

    async def json(self, path: str) -> Any:
        status, body = await self.get(path)
        assert status == 200, (path, status, body)
        return json.loads(body)

    async def state(self) -> tuple[int, int]:
        """(index size, input size) of the newest published."""
        told = (await self.json("/log.json"))["index"]
        return int(told.get("index_size", 0)), int(told.get("input_size", 0))

    async def until(self, size: int) -> int:
        """Waits until the index covers ``size`` entries; the index size. It is answered from before it is shown."""
        async with asyncio.timeout(120):
            while True:
                index_size, input_size = await self.state()
                if input_size >= size and await self._shown() >= index_size:
                    return index_size
                await asyncio.sleep(0.01)

    async def _shown(self) -> int:
        """The size of the index log's published checkpoint."""
        status, body = await self.get("/index/checkpoint")
        return published_size(body) if status == 200 else 0

    async def map_root(self, index_size: int) -> bytes:
        """Of the leaf index_size - 1, as a client finds it in the index log's bundles."""
        number = (index_size - 1) // 256
        place = tiles.bundle_for(number, index_size)
        status, body = await self.get(f"/index/{place.path}")
        width = place.width
        if status == 404:
            (status, body), width = await self.get(f"/index/{place.full.path}"), 256
        assert status == 200
        return IndexLeaf.parse(tiles.parse_bundle(body, width)[(index_size - 1) % 256]).map_root

    async def lookup(self, index_size: int, key: bytes) -> list[int]:
        """The key's verified list."""
        told = await self.json(f"/index/v1/{index_size}/lookup/{key.hex()}")
        root, count = await self.map_root(index_size), int(told["count"])
        trie_proof = base64.b64decode(told["trie_proof"])
        if not count:
            assert told["list_root"] is told["last"] is None
            proof.verify_lookup(root, key, None, trie_proof)
            return []
        value = Value(count, base64.b64decode(told["list_root"]))
        proof.verify_lookup(root, key, value.encode(), trie_proof)
        found: list[int] = []
        for number in range(-(-count // lists.PAGE)):
            page = await self.json(f"/index/v1/{index_size}/list/{key.hex()}/{number}")
            indices = [int(each) for each in page["indices"]]
            lists.verify_page(value, number, indices, [base64.b64decode(each) for each in page["path"]])
            found += indices
        last = int(told["last"]["index"])
        lists.verify_element(value, count - 1, last, [base64.b64decode(each) for each in told["last"]["path"]])
        assert last == found[-1]
        return found

    async def prefix(self, index_size: int, prefix: bytes) -> dict[bytes, Value]:
        """All keys with the prefix, verified."""
        told = await self.json(f"/index/v1/{index_size}/prefix/{prefix.hex()}")
        pairs = [(bytes.fromhex(each["key"]), base64.b64decode(each["value"])) for each in told["pairs"]]
        root = await self.map_root(index_size)
        proof.verify_prefix(root, prefix, pairs, base64.b64decode(told["proof"]))
        return {key: Value.parse(value) for key, value in pairs}


async def until(done: Callable[[], Awaitable[bool]], seconds: float = 120) -> None:
    """Waits for something that another process does."""
    async with asyncio.timeout(seconds):
        while not await done():
            await asyncio.sleep(0.01)


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
