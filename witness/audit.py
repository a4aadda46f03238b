"""An index log followed leaf by leaf beside the log that it indexes: is every map root what the entries lead to?

    index leaf i:  map root, input note (N, R)
    checked        the leaf is in the index log's tree; the note is the main log's; N and R continue the leaf before;
                   the first N entries, hashed again, lead to R; the map function over them leads to the map root

Roots are compared and nothing else (protocol section 4). Everything read is authenticated first: leaves against the
index log's checkpoint, entries against the newest input note at hand. Memory: some bundles and the tiles above them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass

from teelog.client.log import LogReader
from teelog.client.source import TileSource
from teelog.errors import (
    MalformedError,
    RefusedError,
    TeelogError,
    UnavailableError,
    VerificationError,
)
from teelog.index import fault
from teelog.index.fault import Cause, LeafError
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.fork import ForkProof, find_fork
from teelog.tlog.rfc6962 import leaf_hash
from teelog.tlog.tiles import WIDTH
from teelog.tlog.vkey import VerifierKey
from teelog.witness.frontier import Frontier
from teelog.witness.rebuilt import Confirmed, Rebuilt, Unfit

LEAF_BUNDLES = 4  # index leaves held at a time: 1,024, of at most 4 KiB each
ENTRY_BUNDLES = 4  # bundles of entries fetched and held at a time: 64 MiB where every entry is as long as may be

STEP_BYTES = 1 << 20  # of entries mapped at a time: one log's dear entries hold up no other log for long


View = tuple[Checkpoint, bytes]
"""A checkpoint and its note."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf whose input note holds. number: its index in the index log. input: the note's checkpoint."""

    number: int
    data: bytes
    map_root: bytes
    note: bytes
    input: Checkpoint

    @property
    def view(self) -> View:
        """What the main log signed."""
        return self.input, self.note


class WrongIndex(VerificationError):
    """The index log signed something false.

    cause: what. number: the leaf that shows it, None where it is the tree itself. leaf: its bytes. rebuilt: the map
    root that follows from the entries. fork: proof that the main log, or the index log, signed two views.
    """

    def __init__(
        self,
        cause: Cause,
        message: str,
        *,
        number: int | None = None,
        leaf: bytes = b"",
        rebuilt: bytes | None = None,
        fork: ForkProof | None = None,
        expected: object = None,
        actual: object = None,
    ) -> None:
        where = "" if number is None else f"index leaf {number}: "
        super().__init__(where + message, expected=expected, actual=actual)
        self.cause = cause
        self.number = number
        self.leaf = leaf
        self.rebuilt = rebuilt
        self.fork = fork


class Unreadable(UnavailableError):
    """A log's files cannot be read, or are not those of its checkpoint: nothing is proven, trying again may help.

    reason: the cause in words of our own, for strangers.
    """

    def __init__(self, log: str, error: TeelogError) -> None:
        super().__init__(
            f"{log} log: {error.message}",
            expected=error.expected,
            actual=error.actual,
            retry_after=getattr(error, "retry_after", None),
        )
        self.reason = f"{log} log: {_reason(error)}"


def _reason(error: TeelogError) -> str:
    if isinstance(error, RefusedError):
        return "it has no file that its checkpoint promises"
    if isinstance(error, UnavailableError):
        return "it cannot be read"
    if isinstance(error, MalformedError):
        return "its files are malformed or too long"
    return "its files do not belong to its checkpoint"


@dataclass(frozen=True, slots=True)
class Names:
    """Whose index is followed. main: the Ed25519 keys of the log that is indexed. index: of the index log."""

    origin: str
    main_origin: str
    main: tuple[VerifierKey, ...]
    index: tuple[VerifierKey, ...] = ()


class Audit:
    """Follows one index log from where ``rebuilt`` is on; that moves with every leaf that is right.

    read: called with the number of entries of each batch that was mapped. Raises whatever it raises.
    """

    def __init__(
        self,
        names: Names,
        rebuilt: Rebuilt,
        index_source: TileSource,
        main_source: TileSource,
        read: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._names = names
        self._rebuilt = rebuilt
        self._index_source = index_source
        self._main_source = main_source
        self._read = read

    async def follow(self, head: Checkpoint, note: bytes = b"") -> None:
        """Follows the index log up to a checkpoint that it signed. note: that checkpoint's.

        Raises WrongIndex; Unreadable; Unfit where what is kept cannot be gone on with; ConfigError; sqlite3.Error.
        """
        await self._check_same_tree(head, note)
        await self._catch_up()
        while self._rebuilt.confirmed.leaves.size < head.size:
            start = self._rebuilt.confirmed.leaves.size
            end = min(head.size, (start // WIDTH + LEAF_BUNDLES) * WIDTH)
            with reading("index"):
                reader = LogReader(self._index_source, head.size, head.root)
                leaves = [leaf async for _, leaf in reader.entries(start, end)]
            await self._take(leaves)
        if self._rebuilt.head is None or self._rebuilt.head[0].size <= head.size:
            self._rebuilt.follow(head, note)

    async def _check_same_tree(self, head: Checkpoint, note: bytes) -> None:
        """The leaves that were found right are those of this tree, too."""
        held = self._rebuilt.confirmed.leaves
        large = Checkpoint(head.origin, held.size, held.root())
        if head.size <= held.size:
            root, proof = await self._root_at(large, head.size)
            forked = root != head.root
        else:
            root, proof = await self._root_at(head, held.size)
            forked = root != large.root
        if not forked:
            return
        before = self._rebuilt.head
        fork = None
        if before is not None and note:
            if before[0].size > head.size:
                root, proof = await self._root_at(before[0], head.size)
            elif before[0].size != held.size:
                root, proof = await self._root_at(head, before[0].size)
            fork = find_fork(before, (head, note), proof, root if proof else None, self._names.index)
        raise WrongIndex(
            Cause.INDEX_FORKS,
            "index log has another tree than it showed before",
            fork=fork,
            expected=f"the tree of its first {held.size} leaves, root {held.root().hex()}",
            actual=f"size {head.size}, root {head.root.hex()}",
        )

    async def _root_at(self, head: Checkpoint, size: int) -> tuple[bytes, list[bytes]]:
        """The root of a tree's first ``size`` leaves, and the consistency proof from them."""
        if size == head.size:
            return head.root, []
        if size == 0:
            return Frontier().root(), []
        with reading("index"):
            return await LogReader(self._index_source, head.size, head.root).prove_consistency(size)

    async def _catch_up(self) -> None:
        """Maps again what a crash took from the index: up to the last confirmed leaf's input."""
        done = self._rebuilt.confirmed
        if self._rebuilt.entries.size >= done.input_size:
            return
        await self.read_to(Checkpoint(self._names.main_origin, done.input_size, done.input_root))
        if self._rebuilt.roots(done.input_size) != (done.input_root, done.map_root):
            raise Unfit("what is kept of the index does not fit together")

    async def _take(self, leaves: Sequence[bytes]) -> None:
        """Checks consecutive leaves; those before the first wrong one count."""
        opened: list[Leaf] = []
        wrong: WrongIndex | None = None
        before = self._confirmed()
        for number, data in enumerate(leaves, self._rebuilt.confirmed.leaves.size):
            try:
                leaf = self._open(number, data, *before)
            except WrongIndex as error:
                wrong = error
                break
            before = leaf.view
            opened.append(leaf)
        if opened:
            await self._compare(opened)
        if wrong is not None:
            raise wrong

    def _confirmed(self) -> View:
        """The last confirmed leaf's input."""
        done = self._rebuilt.confirmed
        return Checkpoint(self._names.main_origin, done.input_size, done.input_root), done.note

    def _open(self, number: int, data: bytes, before: Checkpoint, note: bytes) -> Leaf:
        """before, note: the input of the leaf before this one."""
        try:
            leaf, checkpoint = fault.open_leaf(data, self._names.main, self._names.main_origin)
        except LeafError as error:
            raise WrongIndex(
                error.cause, error.message, number=number, leaf=data, expected=error.expected, actual=error.actual
            ) from error
        if checkpoint.size < before.size:
            raise WrongIndex(
                Cause.INPUT_SHRINKS,
                "input is smaller than that of the leaf before",
                number=number,
                leaf=data,
                expected=f"at least {before.size} entries",
                actual=checkpoint.size,
            )
        if checkpoint.size == before.size and checkpoint.root != before.root:
            raise WrongIndex(
                Cause.INPUT_FORKS,
                "input note has another root than the leaf before has for the same size",
                number=number,
                leaf=data,
                fork=find_fork((before, note), (checkpoint, leaf.note), keys=self._names.main) if note else None,
                expected=before.root.hex(),
                actual=checkpoint.root.hex(),
            )
        return Leaf(number, data, leaf.map_root, leaf.note, checkpoint)

    # -- the main log -------------------------------------------------------------------------------------------------

    async def _compare(self, leaves: Sequence[Leaf]) -> None:
        """Maps the entries up to each leaf's input and compares both roots."""
        newest = leaves[-1]
        batches = self._batches(newest.input)
        rest: list[bytes] = []
        for leaf in leaves:
            while self._rebuilt.entries.size < leaf.input.size:
                rest = await self._map(rest or await anext(batches), leaf.input.size)
            roots = self._rebuilt.roots(leaf.input.size)
            if roots is None:
                raise Unfit("what is kept of the index has no root for a leaf's input", actual=leaf.input.size)
            tree, mapped = roots
            if tree != leaf.input.root:
                raise WrongIndex(
                    Cause.INPUT_FORKS,
                    "input note has another root than the log's entries lead to",
                    number=leaf.number,
                    leaf=leaf.data,
                    fork=await self._main_fork([self._confirmed(), leaf.view], newest.view),
                    expected=tree.hex(),
                    actual=leaf.input.root.hex(),
                )
            if mapped != leaf.map_root:
                raise WrongIndex(
                    Cause.MAP_ROOT,
                    f"map root is not that of the log's first {leaf.input.size} entries",
                    number=leaf.number,
                    leaf=leaf.data,
                    rebuilt=mapped,
                    expected=mapped.hex(),
                    actual=leaf.map_root.hex(),
                )
            after = self._rebuilt.confirmed.leaves.copy()
            after.append(leaf_hash(leaf.data))
            self._rebuilt.confirm(Confirmed(after, leaf.input.size, tree, mapped, leaf.note))
            await asyncio.sleep(0)  # leaves of one input cost the log nothing, and here a transaction each

    async def _map(self, batch: list[bytes], upto: int) -> list[bytes]:
        """Takes some entries, so that there are at most ``upto``; what is left."""
        count = min(_step(batch), upto - self._rebuilt.entries.size)
        self._rebuilt.take(batch[:count])
        self._read(count)
        await asyncio.sleep(0)  # others wait for their turn
        return batch[count:]

    async def reach(self, head: Checkpoint, note: bytes) -> None:
        """Reads the main log on, beyond the last leaf's input, up to a checkpoint that it signed. note: that one's.

        Raises as ``follow``; WrongIndex where the checkpoint is not of the tree that the index log's input is of.
        """
        await self.read_to(head)
        roots = self._rebuilt.roots(head.size)
        done = self._rebuilt.confirmed
        if head.size >= done.input_size and roots is not None and roots[0] == head.root:
            return
        found = await self._main_fork([self._confirmed()], (head, note))
        if found is None and head.size < done.input_size:
            return
        raise WrongIndex(
            Cause.INPUT_FORKS, "the log's checkpoint is of another tree than its index was built from", fork=found
        )

    async def read_to(self, head: Checkpoint) -> None:
        """Reads and maps the main log's entries on, up to a checkpoint of it."""
        async for batch in self._batches(head):
            rest = batch
            while rest:
                rest = await self._map(rest, head.size)

    async def _main_fork(self, views: Sequence[View], newest: View) -> ForkProof | None:
        """Two notes of the main log that cannot both be true: one of ``views``, and ``newest``."""
        for view in views:
            with reading("main"):
                found = await fork_between(self._main_source, view, newest, self._names.main)
            if found is not None:
                return found
        return None

    async def _batches(self, newest: Checkpoint) -> AsyncIterator[list[bytes]]:
        """The entries from the first that was not read up to ``newest``, in order, authenticated against it."""
        start = self._rebuilt.entries.size
        while start < newest.size:
            end = min(newest.size, (start // WIDTH + ENTRY_BUNDLES) * WIDTH)
            with reading("main"):
                # A reader of its own for each round: the tiles below the top are not kept for the whole log.
                reader = LogReader(self._main_source, newest.size, newest.root)
                bundles = await _bundles(reader, start, end)
            yield [entry for bundle in bundles for entry in bundle]
            start = end


def _step(batch: Sequence[bytes]) -> int:
    """How many entries are mapped before others have their turn: at least one."""
    total = 0
    for count, entry in enumerate(batch):
        total += len(entry)
        if count and total > STEP_BYTES:
            return count
    return len(batch)


async def _bundles(reader: LogReader, start: int, end: int) -> list[list[bytes]]:
    """Entries [start, end) bundle by bundle, fetched side by side."""
    await reader.leaf_hashes(start, end)  # the tiles first, once

    async def one(low: int, high: int) -> list[bytes]:
        return [entry async for _, entry in reader.entries(low, high)]

    cuts = [start, *range((start // WIDTH + 1) * WIDTH, end, WIDTH), end]
    return list(await asyncio.gather(*(one(low, high) for low, high in itertools.pairwise(cuts))))


async def fork_between(source: TileSource, one: View, other: View, keys: tuple[VerifierKey, ...]) -> ForkProof | None:
    """A fork proof where two checkpoints that a log signed are of different trees, as the tiles of one of them show.

    None where they fit together. Raises what reading the tiles raises.
    """
    small, large = sorted((one[0], other[0]), key=lambda head: head.size)
    if small.size == 0:
        return None
    root, proof = None, list[bytes]()
    if small.size < large.size:
        root, proof = await LogReader(source, large.size, large.root).prove_consistency(small.size)
    return find_fork(one, other, proof, root, keys)


@contextlib.contextmanager
def reading(log: str) -> Iterator[None]:
    """Says which log could not be read."""
    try:
        yield
    except (UnavailableError, RefusedError, MalformedError, VerificationError) as error:
        raise Unreadable(log, error) from error
