"""A log with its index, its witnesses and its semantic witnesses, in memory: the same parts as the servers', no I/O.

    from teelog.testing.ledger import Ledger

    ledger = Ledger()
    ledger.append(namespace_file); ledger.append(release_file); ledger.append(status_file)
    view = ledger.publish(now=1_790_000_000)
    data = view.bundle("acme.example/inference/stable", release_id).encode()
    trust = teelog.trust.parse(trust_text(stream, pin).encode(), ledger.policies().__getitem__)

Keys are derived from names, so the same calls give the same bytes. A ledger can lie: see ``publish`` and ``Rewrite``.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from teelog.bundle import Bundle, Included, Lookup
from teelog.errors import TeelogError
from teelog.index import keys as index_keys
from teelog.index.leaf import IndexLeaf, origin_of
from teelog.index.lists import List
from teelog.index.trie import Trie
from teelog.keys import Algorithm, PrivateKey, private_key_from_seed
from teelog.statement import dsse, names
from teelog.statement.index_map import Mapped, MemoryState, map_entry
from teelog.tlog import note, rfc6962, tiles
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.policy_lint import Operator, write_policy
from teelog.tlog.tiles import Edge
from teelog.tlog.vkey import NoteSigner, SignatureType

ORIGIN = "log.example/tee"
MAIN_POLICY, INDEX_POLICY = "main.policy", "index.policy"
_FILLER = b"filler"

_COSIGNATURE = {
    Algorithm.ED25519: SignatureType.COSIGNATURE_ED25519,
    Algorithm.ML_DSA_44: SignatureType.COSIGNATURE_ML_DSA_44,
}

Rewrite = Callable[[bytes, int, Mapped], Mapped]
"""(entry, index, what the map function gives) -> what a lying index holds instead."""


def key(name: str, algorithm: Algorithm = Algorithm.ED25519) -> PrivateKey:
    """The key that everyone can derive from ``name``."""
    return private_key_from_seed(algorithm, hashlib.sha256(name.encode()).digest())


@dataclass(frozen=True, slots=True)
class Cosigner:
    """One operator: a witness, or a semantic witness. signers: its keys, all of one name."""

    signers: tuple[NoteSigner, ...]

    @classmethod
    def of(cls, name: str, algorithms: Iterable[Algorithm] = (Algorithm.ED25519,)) -> Cosigner:
        return cls(tuple(NoteSigner.of(name, _COSIGNATURE[each], key(f"{name} {each}", each)) for each in algorithms))

    @property
    def name(self) -> str:
        return self.signers[0].verifier.name

    @property
    def operator(self) -> Operator:
        return Operator(tuple(signer.verifier for signer in self.signers), None)


class IndexMap:
    """The index of a log, built entry by entry."""

    def __init__(self, origin: str, rewrite: Rewrite | None = None) -> None:
        self.state = MemoryState(origin)
        self.lists: dict[bytes, list[int]] = {}
        self.trie = Trie()
        self._changed: set[bytes] = set()
        self._rewrite = rewrite

    def take(self, entry: bytes, index: int) -> Mapped:
        mapped = map_entry(entry, index, self.state)
        if self._rewrite is not None:
            mapped = self._rewrite(entry, index, mapped)
        for each in mapped.keys:
            self.lists.setdefault(each, []).append(index)
        self._changed.update(mapped.keys)
        if mapped.effect is not None:
            self.state.apply(mapped.effect)
        return mapped

    def root(self) -> bytes:
        """The map root over what was taken so far."""
        for each in sorted(self._changed):
            self.trie.set(each, List(self.lists[each]).value().encode())
        self._changed.clear()
        return self.trie.root()


class Tree:
    """Leaf hashes, and every complete node above them, so that roots and proofs at any size are cheap."""

    def __init__(self) -> None:
        self.levels: list[list[bytes]] = [[]]

    def __len__(self) -> int:
        return len(self.levels[0])

    def append(self, leaf: bytes) -> None:
        node, level = leaf, 0
        while True:
            self.levels[level].append(node)
            if len(self.levels[level]) % 2:
                return
            node = rfc6962.node_hash(*self.levels[level][-2:])
            level += 1
            if level == len(self.levels):
                self.levels.append([])

    def root(self, size: int) -> bytes:
        return rfc6962.root(size, self._read)

    def path(self, index: int, size: int) -> tuple[bytes, ...]:
        return tuple(rfc6962.prove_inclusion(index, size, self._read))

    def _read(self, wanted: Sequence[tuple[int, int]]) -> list[bytes]:
        return [self.levels[level][index] for level, index in wanted]


@dataclass(frozen=True, slots=True)
class View:
    """What was published at one moment. index_size: M; leaves: of the index log up to it. input_size: of leaf M-1.

    main, index: cosigned checkpoints.
    """

    ledger: Ledger
    size: int
    main: bytes
    index_size: int
    index: bytes
    input_size: int
    trie: Trie

    def include(self, index: int) -> Included:
        return Included(self.ledger.entries[index], index, self.ledger.tree.path(index, self.size))

    def elements(self, key: bytes) -> tuple[int, ...]:
        """The list under a key."""
        return tuple(index for index in self.ledger.shown.lists.get(key, ()) if index < self.input_size)

    def lookup(self, key: bytes) -> Lookup:
        """That the list's last element is the last of it. Raises ValueError where there is no list."""
        found = List(self.elements(key))
        value = found.value()
        path = found.prove(value.count - 1)
        return Lookup(value.count, value.root, tuple(path), self.trie.prove_lookup(key))

    def bundle(self, stream: str, release: str, *, pin: int = 0) -> Bundle:
        """The bundle of the release with this statement id. pin: the namespace's first version to carry."""
        owned = index_keys.namespace_key(names.stream(stream).namespace)
        allowed = index_keys.status_key(stream)
        return Bundle(
            self.main,
            self.index,
            self.ledger.index_leaves[self.index_size - 1],
            self.ledger.index_tree.path(self.index_size - 1, self.index_size),
            tuple(self.include(index) for index in self.elements(owned)[pin:]),
            self.lookup(owned),
            self.include(self.elements(allowed)[-1]),
            self.lookup(allowed),
            self.include(self.ledger.find(release)),
        )


class Ledger:
    """witnesses, semantic: of the main log and of its index. rewrite: makes the index that is shown a lie.

    log_algorithms: of the keys that sign checkpoints, Ed25519 first.
    """

    def __init__(
        self,
        origin: str = ORIGIN,
        *,
        witnesses: Sequence[Cosigner] | None = None,
        semantic: Sequence[Cosigner] | None = None,
        rewrite: Rewrite | None = None,
        log_algorithms: Sequence[Algorithm] = (Algorithm.ED25519,),
    ) -> None:
        self.origin = origin
        self.index_origin = origin_of(origin)
        self.log = _log_signers(origin, log_algorithms)
        self.index_log = _log_signers(self.index_origin, log_algorithms)
        self.witnesses = tuple(witnesses or (Cosigner.of(f"witness.example/w{n}") for n in range(1, 5)))
        self.semantic = tuple(semantic or (Cosigner.of(f"semantic.example/s{n}") for n in range(1, 4)))
        self.entries: list[bytes] = []
        self.tree = Tree()
        self.index_leaves: list[bytes] = []
        self.index_tree = Tree()
        self.honest = IndexMap(origin)
        self.shown = self.honest if rewrite is None else IndexMap(origin, rewrite)
        self._input_size = 0
        self._statements: dict[str, int] = {}

    # -- what is logged -----------------------------------------------------------------------------------------------

    def append(self, entry: bytes) -> int:
        """The entry's index. Nothing is refused: what is not in force is inert in the index."""
        index = len(self.entries)
        self.entries.append(entry)
        self.tree.append(rfc6962.leaf_hash(entry))
        with suppress(TeelogError):
            self._statements.setdefault(dsse.parse(entry).statement_id, index)
        for each in {self.honest, self.shown}:
            each.take(entry, index)
        return index

    def fill(self, count: int) -> None:
        """So many entries of which the map function understands nothing, so that the log is large."""
        leaf = rfc6962.leaf_hash(_FILLER)
        self.entries += [_FILLER] * count
        for _ in range(count):
            self.tree.append(leaf)

    def find(self, statement: str) -> int:
        """The index of the first entry with this statement id. Raises ValueError."""
        found = self._statements.get(statement)
        if found is None:
            raise ValueError(f"no entry has the statement id {statement}")
        return found

    # -- publication --------------------------------------------------------------------------------------------------

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        """The main log's, unsigned."""
        size = len(self.entries) if size is None else size
        return Checkpoint(self.origin, size, self.tree.root(size))

    def index_checkpoint(self, size: int | None = None) -> Checkpoint:
        """The index log's, unsigned."""
        size = len(self.index_leaves) if size is None else size
        return Checkpoint(self.index_origin, size, self.index_tree.root(size))

    def publish(
        self,
        now: int,
        *,
        by: Sequence[Cosigner] | None = None,
        index_by: Sequence[Cosigner] | None = None,
        index: bool = True,
        collude: bool = False,
    ) -> View:
        """Both checkpoints at POSIX seconds ``now``; the index log gets a leaf if the main log has grown.

        by, index_by: who cosigns, all by default. index: False where the index stalls; its last checkpoint is cosigned
        again. collude: the semantic witnesses sign whatever is shown. An honest one signs no map root that is not its
        own, and nothing at all once the log is frozen.
        """
        main = self.checkpoint()
        shown = self.shown.root()
        if index and main.size > self._input_size:
            self.add_leaf(shown, main)
            self._input_size = main.size
        signers = self.semantic if index_by is None else tuple(index_by)
        if not collude and (shown != self.honest.root() or self.frozen):
            signers = ()
        head = self.index_checkpoint()
        return View(
            self,
            main.size,
            cosigned(main, self.log, self.witnesses if by is None else by, now),
            head.size,
            cosigned(head, self.index_log, signers, now),
            self._input_size,
            copy.copy(self.shown.trie),
        )

    @property
    def frozen(self) -> bool:
        """Whether an effective log policy has ended the log."""
        policy = self.honest.state.log_policy()
        return policy is not None and policy.predicate.frozen is not None

    def add_leaf(self, map_root: bytes, main: Checkpoint) -> None:
        """One more leaf of the index log, with the main log's Ed25519 line under ``main``."""
        text = main.body()
        leaf = IndexLeaf(map_root, note.encode(text, [self.log[0].sign(text, 0)])).encode()
        self.index_leaves.append(leaf)
        self.index_tree.append(rfc6962.leaf_hash(leaf))

    # -- what others read ---------------------------------------------------------------------------------------------

    def policies(self, quorum: int = 3, semantic: int = 2, urls: Mapping[str, str] | None = None) -> dict[str, bytes]:
        """The two policy files by name: so many of the witnesses, so many of the semantic ones.

        urls: where a cosigner is asked, by its name.
        """
        return {
            MAIN_POLICY: policy_text(self.log, self.witnesses, quorum, urls),
            INDEX_POLICY: policy_text(self.index_log, self.semantic, semantic, urls),
        }

    def files(self) -> dict[str, bytes]:
        """Tiles and entry bundles of the main log, and under ``index/`` of its index log, by path."""
        index = _files(self.index_leaves)
        return _files(self.entries) | {f"index/{path}": data for path, data in index.items()}


def cosigned(head: Checkpoint, log: Iterable[NoteSigner], cosigners: Iterable[Cosigner], now: int) -> bytes:
    """The signed note."""
    text = head.body()
    signers = [*log, *(signer for cosigner in cosigners for signer in cosigner.signers)]
    return note.encode(text, [signer.sign(text, now) for signer in signers])


def policy_text(
    log: Sequence[NoteSigner], cosigners: Sequence[Cosigner], quorum: int, urls: Mapping[str, str] | None = None
) -> bytes:
    """A policy of one log and so many of these cosigners."""
    keys = [(signer.verifier, None) for signer in log]
    operators = [replace(cosigner.operator, url=(urls or {}).get(cosigner.name)) for cosigner in cosigners]
    return write_policy(keys, operators, quorum)


def hiding(*indices: int) -> Rewrite:
    """A lie: these entries are left out of every list and have no effect."""

    def rewrite(_: bytes, index: int, mapped: Mapped) -> Mapped:
        return replace(mapped, keys=(), effect=None) if index in indices else mapped

    return rewrite


def trust_text(stream: str, pin: str | None, *, max_age: str = "24h", index: bool = True, more: str = "") -> str:
    """A trust file over ``Ledger.policies``. more: further tables."""
    namespace = names.stream(stream).namespace
    lines = [f'main = "{MAIN_POLICY}"', *([f'index = "{INDEX_POLICY}"'] if index else []), f'max_age = "{max_age}"']
    lines += ["[[namespace]]", f'name = "{namespace}"', *([f'pin = "{pin}"'] if pin else [])]
    lines += ["[[stream]]", f'name = "{stream}"', more]
    return "\n".join(lines) + "\n"


def _log_signers(origin: str, algorithms: Iterable[Algorithm]) -> tuple[NoteSigner, ...]:
    kinds: Mapping[Algorithm, SignatureType] = {
        Algorithm.ED25519: SignatureType.ED25519,
        Algorithm.ML_DSA_44: SignatureType.COSIGNATURE_ML_DSA_44,
    }
    return tuple(NoteSigner.of(origin, kinds[each], key(f"log {origin} {each}", each)) for each in algorithms)


def _files(entries: Sequence[bytes]) -> dict[str, bytes]:
    _, new = Edge().append([rfc6962.leaf_hash(entry) for entry in entries])
    found = {tile.path: data for tile, data in new.items()}
    for bundle in tiles.new_bundles_between(0, len(entries)):
        start = bundle.index * tiles.WIDTH
        found[bundle.path] = tiles.encode_bundle(entries[start : start + bundle.width])
    return found
