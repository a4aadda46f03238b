"""A log with an index that may lie, served over HTTP, and a semantic witness on real files beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from teelog.errors import MalformedError
from teelog.index.leaf import IndexLeaf
from teelog.index.lists import List
from teelog.statement import dsse, log_policy
from teelog.testing.ledger import IndexMap, Ledger, Tree
from teelog.tlog import note, rfc6962, tiles
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.tiles import Tile
from teelog.tlog.vkey import NoteSigner
from teelog.tlog.witness import AddCheckpoint
from teelog.witness import admin
from teelog.witness.decide import Answer
from teelog.witness.engine import Engine
from teelog.witness.rebuilder import Rebuilder
from teelog.witness.semantic import Gate, Pending
from tests.client.peers import Asked, Peer, Reply, peer
from tests.statement import make
from tests.witness.harness import NOW, Desk

OpenDesk = Callable[..., "SemanticDesk"]
STREAM = "acme.example/inference/stable"
INDEX = "log.example/tee/index/v1"


def statement_id(file: bytes) -> str:
    return dsse.parse(file).statement_id


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Files:
    """The tiles of every size of a list of entries, as a server has them that never collects a partial."""

    def __init__(self, entries: list[bytes]) -> None:
        self.entries = entries

    def get(self, path: str) -> bytes | None:
        try:
            wanted = tiles.parse_path(path)
        except MalformedError:
            return None
        start = wanted.index * tiles.WIDTH
        if not isinstance(wanted, Tile):
            found = self.entries[start : start + wanted.width]
            return tiles.encode_bundle(found) if len(found) == wanted.width else None
        level = wanted.level * tiles.HEIGHT
        if (start + wanted.width) << level > len(self.entries):
            return None
        leaves = [rfc6962.leaf_hash(entry) for entry in self.entries[start << level : (start + wanted.width) << level]]
        return b"".join(rfc6962.root_of_leaves(leaves[i << level : (i + 1) << level]) for i in range(wanted.width))


class IndexedLog(Ledger):
    """A ledger that is served. lies: by path, what is answered instead."""

    def __init__(self, server: Peer, **more: Any) -> None:
        super().__init__(**more)
        self.server = server
        self.lies: dict[str, Reply | Callable[[Asked], Reply]] = {}
        self.main_files, self.index_files = Files(self.entries), Files(self.index_leaves)
        server.answers = _Paths(self)

    @property
    def url(self) -> str:
        return f"{self.server.url}/log"

    def grow(self, *entries: bytes) -> int:
        """Logs entries, and a leaf for them. Returns the index log's size."""
        for entry in entries:
            self.append(entry)
        self.add_leaf(self.shown.root(), self.checkpoint())
        return len(self.index_leaves)

    def begin(self) -> int:
        """A log policy, a namespace, a release, and the status that allows it."""
        release = make.release_file(version="1.4.2")
        return self.grow(
            make.log_policy_file(),
            make.namespace_file(),
            release,
            make.status_file(allowed=make.allowed(statement_id(release))),
        )

    def withdraw(self) -> bytes:
        """The next status of the stream, which allows nothing."""
        head = self.honest.state.status(STREAM)
        assert head is not None
        return make.status_file(seq=head.seq + 1, prev=head.statement_id, reason="a flaw")

    def freeze(self) -> bytes:
        policy = self.honest.state.log_policy()
        assert policy is not None
        return make.log_policy_file(
            version=policy.predicate.version + 1, prev=policy.statement_id, frozen=log_policy.Frozen(None)
        )

    def leaf(self, data: bytes) -> int:
        """A leaf of any bytes. Returns the index log's size."""
        self.index_leaves.append(data)
        self.index_tree.append(rfc6962.leaf_hash(data))
        return len(self.index_leaves)

    def rewrite_leaf(self, number: int, data: bytes) -> None:
        """The index log shows another tree from now on."""
        self.index_leaves[number] = data
        self.index_tree = Tree()
        for leaf in self.index_leaves:
            self.index_tree.append(rfc6962.leaf_hash(leaf))

    def rewrite_entry(self, index: int, entry: bytes) -> None:
        """The main log does; its index is honest about the new one."""
        entries = [*self.entries[:index], entry, *self.entries[index + 1 :]]
        self.entries.clear()
        self.tree = Tree()
        self.honest = self.shown = IndexMap(self.origin)
        for each in entries:
            self.append(each)

    def input_note(self, head: Checkpoint | None = None, signer: NoteSigner | None = None) -> bytes:
        text = (head or self.checkpoint()).body()
        return note.encode(text, [(signer or self.log[0]).sign(text, 0)])

    def lying_leaf(self, map_root: bytes | None = None, **more: Any) -> int:
        return self.leaf(IndexLeaf(map_root or self.shown.root(), self.input_note(**more)).encode())

    def index_note(self, size: int | None = None, signers: Sequence[NoteSigner] | None = None) -> bytes:
        text = self.index_checkpoint(size).body()
        return note.encode(text, [signer.sign(text, NOW) for signer in signers or self.index_log])

    def answer(self, words: list[str]) -> bytes | None:
        """Of the index server, for its newest size: what the index that is shown holds."""
        size, what, key, *rest = [*words, ""]
        if size != str(len(self.index_leaves)) or what not in ("lookup", "list"):
            return None
        found = List(self.shown.lists.get(bytes.fromhex(key), ()))
        if what == "list":
            indices, path = found.page(int(rest[0]))
            return json.dumps({"indices": list(map(str, indices)), "path": list(map(b64, path))}).encode()
        count = len(found.indices)
        answer: dict[str, Any] = {"count": str(count), "list_root": None, "last": None}
        if count:
            last = {"index": str(found.indices[-1]), "path": list(map(b64, found.prove(count - 1)))}
            answer |= {"list_root": b64(found.value().root), "last": last}
        self.shown.root()
        return json.dumps({**answer, "trie_proof": b64(self.shown.trie.prove_lookup(bytes.fromhex(key)))}).encode()

    def request(self, old: int, size: int | None = None) -> bytes:
        """The index log's add-checkpoint body."""
        size = len(self.index_leaves) if size is None else size
        hashes = [rfc6962.leaf_hash(leaf) for leaf in self.index_leaves]

        def read(nodes: Sequence[tuple[int, int]]) -> list[bytes]:
            return [rfc6962.root_of_leaves(hashes[i << level : (i + 1) << level]) for level, i in nodes]

        proof = rfc6962.prove_consistency(old, size, read)
        return AddCheckpoint(old, tuple(proof), self.index_note(size)).encode()


class _Paths(dict[str, Any]):
    """What the peer looks answers up in: made when they are asked for."""

    def __init__(self, log: IndexedLog) -> None:
        super().__init__()
        self._log = log

    def get(self, path: str, default: Any = None) -> Any:
        inner = path.removeprefix("/log/")
        lie = self._log.lies.get(inner)
        if lie is not None:
            return lie
        if inner.startswith("index/v1/"):
            return self._log.answer(inner.split("/")[2:]) or default
        files = self._log.index_files if inner.startswith("index/") else self._log.main_files
        found = files.get(inner.removeprefix("index/"))
        return default if found is None else found


class SemanticDesk(Desk):
    """A semantic witness's engine on its folder, without HTTP of its own."""

    def __init__(self, path: Path, *logs: IndexedLog, timeout: float = 10.0, **more: Any) -> None:
        self.time = 0.0
        self.timeout = timeout
        self.index_logs = logs
        super().__init__(path, start=False, **more)
        for log in logs:
            self.know(log)
        self.start()

    def know(self, log: IndexedLog, **more: Any) -> None:
        index = tuple(str(signer.verifier) for signer in log.index_log)
        main = tuple(str(signer.verifier) for signer in log.log)
        admin.run(self.path, admin.AddLog(index, url=log.url, main=main, **more))

    def start(self) -> Engine:
        from teelog.witness import directory
        from teelog.witness.metrics import Metrics

        self.witness = directory.load(self.path)
        self.metrics = Metrics()
        self.rebuilder = Rebuilder(
            self.path, self.witness.evidence, self.metrics, lambda: self.time, timeout=self.timeout
        )
        engine = Engine(
            directory.open_state(self.witness),
            directory.open_published(self.path),
            self.witness.evidence,
            self.witness.signers,
            now=self.clock,
            monotonic=lambda: self.time,
            metrics=self.metrics,
            gate=Gate(self.rebuilder, lambda origin: engine.registry.entry(origin), lambda: self.time),
            step=lambda name: self.step(name),
        )
        self.engine = engine
        self.rebuilder.start()
        engine.start()
        return engine

    def stop(self) -> None:
        if self.engine is not None:
            super().stop()
            self.rebuilder.stop()

    def restart(self) -> None:
        self.stop()
        self.start()

    def once(self, body: bytes) -> Answer:
        """The engine's answer, without waiting for a rebuild."""
        return super().post(body)

    def post(self, body: bytes) -> Answer:
        """The answer once the attempt that the request began has ended."""
        answer = self.once(body)
        if isinstance(answer, Pending):
            answer.done.result(timeout=120)
            answer = self.once(body)
        return answer

    def ask(self, log: IndexedLog, old: int, size: int | None = None) -> Answer:
        return self.post(log.request(old, size))

    def good(self, log: IndexedLog, old: int, size: int | None = None) -> Answer:
        answer = self.ask(log, old, size)
        assert answer.status == 200, answer
        return answer


@contextmanager
def served(**more: Any) -> Iterator[IndexedLog]:
    """A log on a server of its own."""
    with peer() as server:
        yield IndexedLog(server, **more)
