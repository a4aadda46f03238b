"""What the sequencer knows, and how it comes to know it: from durable state alone, at start and after every failure.

Refused (R-01): a published checkpoint beyond last_signed, the same size with another root, tiles that do not lead to
the published root, staged batches that do not lead to last_signed, another origin or key. Committed batches are applied
here by the same code as in ordinary operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from teelog.errors import TeelogError
from teelog.log_server import apply as applying
from teelog.log_server import places
from teelog.log_server.apply import Applied
from teelog.log_server.dedup import Dedup
from teelog.log_server.rehash import CompactRange, require_root
from teelog.log_server.seams import (
    LOG_POLICY,
    Clock,
    Damaged,
    Head,
    LogState,
    NamespaceVersion,
    RolledBack,
    Staged,
    TileStore,
    Tip,
)
from teelog.log_server.signing import LogSigner
from teelog.log_server.tree import Tree
from teelog.statement import admit, dsse, log_policy
from teelog.statement.log_policy import Admission, LogPolicy, LogPolicyPredicate
from teelog.tlog import rfc6962, tiles
from teelog.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from teelog.tlog.tiles import WIDTH, Edge

MAX_RELEASES = 4_096
"""Effective releases that are remembered."""
MAX_ROOTS = 4_096
"""Earlier roots that are remembered: results are judged by a few checkpoints, again and again."""


@dataclass(slots=True)
class Memory:
    """All of it is derived; a failure throws it away.

    edge, compact: the tree at last_signed by the first and by the second code path. applied: what the store holds.
    unapplied: committed batches above it, with their tiles in overlay by (level, index). published_*, note: the newest
    published checkpoint. versions: of each namespace, committed, ascending. current: statement ids of the newest of
    each. namespace_ids: those of all versions. last_namespace: index of the last of all. policy: the newest log policy,
    None where entry 0 is none. tip: of another chain. releases: streams of effective releases, by statement id, as far
    as they were asked for lately. roots: of published sizes, likewise.
    """

    epoch: int
    edge: Edge
    compact: CompactRange
    applied: Applied
    published_size: int
    published_root: bytes
    note: bytes
    tree: Tree
    dedup: Dedup
    unapplied: list[Staged] = field(default_factory=list)
    overlay: dict[tuple[int, int], bytes] = field(default_factory=dict)
    tip: Callable[[str, str], Tip | None] = lambda _kind, _name: None
    policy: Tip | None = None
    versions: dict[str, list[NamespaceVersion]] = field(default_factory=dict)
    current: frozenset[bytes] = frozenset()
    namespace_ids: set[bytes] = field(default_factory=set)
    last_namespace: int = -1
    releases: dict[bytes, str] = field(default_factory=dict)
    roots: dict[int, bytes] = field(default_factory=dict)
    unpublished_namespaces: list[NamespaceVersion] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Of last_signed."""
        return self.edge.size

    @property
    def root(self) -> bytes:
        """Of last_signed."""
        return self.edge.root()

    def consistency(self, size: int) -> Callable[[int], Sequence[bytes]]:
        """Proofs to an applied ``size``."""
        read = self.tree.reader(size)
        return lambda old: rfc6962.prove_consistency(old, size, read)

    def publish(self, size: int, root: bytes, note_bytes: bytes) -> list[NamespaceVersion]:
        """The checkpoint is published; the namespace statements that are so with it."""
        self.published_size, self.published_root, self.note = size, root, note_bytes
        new = [item for item in self.unpublished_namespaces if item.index < size]
        self.unpublished_namespaces = [item for item in self.unpublished_namespaces if item.index >= size]
        return new

    def published_namespaces(self) -> list[NamespaceVersion]:
        """For the fronts, at start."""
        published = [v for versions in self.versions.values() for v in versions if v.index < self.published_size]
        return sorted(published, key=lambda item: item.index)

    def take_chains(self, namespaces: Sequence[NamespaceVersion], tips: Sequence[Tip]) -> None:
        """What a committed batch added to chains."""
        for item in namespaces:
            self.versions.setdefault(item.name, []).append(item)
            self.namespace_ids.add(item.statement)
        if namespaces:
            self.current = frozenset(versions[-1].statement for versions in self.versions.values())
            self.last_namespace = namespaces[-1].index
            self.unpublished_namespaces += namespaces
        self.policy = next((tip for tip in tips if tip.kind == LOG_POLICY), self.policy)

    def log_policy(self) -> LogPolicy | None:
        """The newest one, committed; from any thread."""
        tip = self.policy
        return None if tip is None else log_policy.restore(dsse.parse(tip.entry).claimed())

    def keep_release(self, statement: bytes, stream: str) -> None:
        """stream: in whose effective list the logged statement is; empty for one that is in none."""
        if len(self.releases) >= MAX_RELEASES:
            self.releases.clear()
        self.releases[statement] = stream

    def root_at(self, size: int) -> bytes | None:
        """The root of the first ``size`` entries; None for more than are published."""
        if size > self.published_size:
            return None
        root = self.roots.get(size)
        if root is None:
            if len(self.roots) >= MAX_ROOTS:
                self.roots.clear()
            root = self.roots[size] = CompactRange.load(size, self.tree.reader(self.applied.size)).root()
        return root

    def entry(self, index: int) -> bytes:
        """A committed entry."""
        if index < self.applied.size:
            return self.tree.bundle(index // WIDTH, self.applied.size)[index % WIDTH]
        staged = next(item for item in self.unapplied if item.lo <= index < item.size)
        return staged.entries()[index - staged.lo]


def load(state: LogState, store: TileStore, signer: LogSigner, clock: Clock) -> Memory:
    """Opens the state, compares it with what is published, applies what was committed.

    Raises ConfigError, Damaged, Conflict, RolledBack, ClockBack.
    """
    head = state.open(signer.origin, signer.key_hash)
    published = _published(head, store, signer)
    signer.check_clock(clock.now_ms() // 1000)
    size, root = published.checkpoint.size, published.checkpoint.root
    tree = Tree(store)
    base = applying.load(tree, size, root)
    compact = CompactRange.load(size, tree.reader(size))
    require_root(compact, size, root)
    batches = state.staged()
    for batch in batches:
        compact = compact.extend(batch.entries())
    applied = applying.apply(store, tree, base, batches)
    if (applied.size, applied.edge.root()) != (head.size, head.root):
        raise Damaged("the staged batches do not lead to last_signed", expected=head.size, actual=applied.size)
    require_root(compact, head.size, head.root)
    store.drop_partials(_recent(size))
    stated = stated_admission(tree, head.size)
    policy = state.tip(LOG_POLICY, "") or _first_policy(tree, head.size)
    dedup = Dedup(state, tree, head.dedup_upto, statements=stated is None or not stated.raw)
    dedup.replay(_entries(tree, head.dedup_upto, head.size))
    memory = Memory(
        head.epoch,
        applied.edge,
        compact,
        applied,
        size,
        root,
        head.published,
        tree,
        dedup,
        tip=state.tip,
        policy=policy,
    )
    memory.take_chains(state.namespaces(), ())
    memory.unpublished_namespaces = [item for item in memory.unpublished_namespaces if item.index >= size]
    return memory


def stated_admission(tree: Tree, size: int) -> Admission | None:
    """What the log takes, as entry 0 says; None if the log is empty or begins with something else."""
    if not size:
        return None
    try:
        first = admit.classify(tree.bundle(0, size)[0]).predicate
    except TeelogError:
        return None
    return first.admission if isinstance(first, LogPolicyPredicate) else None


def _first_policy(tree: Tree, size: int) -> Tip | None:
    """The log policy that is entry 0, for a state from before it kept tips."""
    if not size:
        return None
    entry = tree.bundle(0, size)[0]
    try:
        parsed = admit.classify(entry)
    except TeelogError:
        return None
    place = places.claimed(parsed)
    if place is None or (place.kind, place.position) != (LOG_POLICY, 0):
        return None
    statement = bytes.fromhex(parsed.statement_id)
    return Tip(LOG_POLICY, "", 0, statement, 0, place.ended, place.successor, entry)


def require_extended(memory: Memory, before: Memory) -> None:
    """R-05: what a reload found holds all that this process knew to be committed or published. Raises RolledBack.

    Whoever puts an older copy in a running server's place gets no signature over it, and no witness need tell.
    """
    size, root = max((before.size, before.root), (before.published_size, before.published_root))
    if memory.size >= size and memory.published_size >= before.published_size:
        found = CompactRange.load(size, memory.tree.reader(memory.applied.size))
        if found.root() == root:
            return
    raise RolledBack(
        "the log's directory was replaced under the running server",
        expected=f"an extension of size {size}",
        actual=f"size {memory.size}",
        hint="stop the server before its directory is changed; start from the newest copy",
    )


def _published(head: Head, store: TileStore, signer: LogSigner) -> SignedCheckpoint:
    """The published checkpoint, the state's and the public file's brought together."""
    stored = _open(head.published, signer, "the state's published checkpoint")
    if stored.checkpoint.size != head.published_size:
        raise Damaged("the state's published checkpoint has another size", expected=head.published_size)
    _require_signed(stored, head)
    public = store.checkpoint()
    if public != head.published:
        if public is not None:
            shown = _open(public, signer, "the published checkpoint")
            _require_signed(shown, head)
            _require_older(shown, stored)
        # A crash came between storing the note and showing it.
        store.replace_checkpoint(head.published)
    return stored


def _open(data: bytes, signer: LogSigner, what: str) -> SignedCheckpoint:
    try:
        opened = open_checkpoint(data, signer.vkeys, signer.origin)
    except TeelogError as error:
        raise Damaged(f"{what} is not this log's", actual=error.message) from error
    signer.saw(opened.note.signatures)
    return opened


def _require_signed(shown: SignedCheckpoint, head: Head) -> None:
    checkpoint = shown.checkpoint
    if checkpoint.size > head.size:
        raise RolledBack(
            "the published checkpoint is newer than the log's state: the state is an older copy",
            expected=f"at most size {head.size}",
            actual=f"size {checkpoint.size}",
            hint="start from the newest copy; with none, end this log and init a new origin",
        )
    if checkpoint.size == head.size and checkpoint.root != head.root:
        raise RolledBack(
            "the published checkpoint has another tree than the log's state",
            expected=head.root.hex(),
            actual=checkpoint.root.hex(),
        )


def _require_older(shown: SignedCheckpoint, stored: SignedCheckpoint) -> None:
    if shown.checkpoint.size > stored.checkpoint.size or (
        shown.checkpoint.size == stored.checkpoint.size and shown.checkpoint.root != stored.checkpoint.root
    ):
        raise RolledBack(
            "the published checkpoint is newer than the one in the state: the state is an older copy",
            expected=f"at most size {stored.checkpoint.size}",
            actual=f"size {shown.checkpoint.size}",
        )


def _recent(size: int) -> list[str]:
    """The full tiles at the end of a published tree: a crash may have left their partials behind (TT-17)."""
    paths = []
    level = 0
    while size >> (tiles.HEIGHT * (level + 1)):
        full = size >> (tiles.HEIGHT * (level + 1))
        for index in range(max(0, full - WIDTH), full):
            paths.append(tiles.Tile(level, index).path)
            if level == 0:
                paths.append(tiles.Bundle(index).path)
        level += 1
    return paths


def _entries(tree: Tree, start: int, size: int) -> Iterator[bytes]:
    """Entries [start, size)."""
    for index in range(start // WIDTH, -(-size // WIDTH)):
        bundle = tree.bundle(index, size)
        yield from bundle[start - index * WIDTH :] if index == start // WIDTH else bundle
