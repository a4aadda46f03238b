"""What a look at a log's index finds: leaves whose map root is wrong, and what they leave out; with proofs."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace

from teelog.client.http import HttpClient
from teelog.client.index import RemoteIndex
from teelog.client.log import LogReader
from teelog.client.source import TileSource
from teelog.errors import MalformedError, NotEstablished, RefusedError, UnavailableError, VerificationError
from teelog.index import fault, leaf
from teelog.index.fault import Cause, IndexFault, LeafError
from teelog.index.placed import placed
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.fork import ForkProof
from teelog.tlog.policy import NONE, Policy, WitnessedCheckpoint, verify_checkpoint
from teelog.tlog.vkey import SignatureType
from teelog.witness import faults, omission
from teelog.witness.audit import Audit, Names, View, WrongIndex, fork_between, reading
from teelog.witness.rebuilt import Rebuilt

EXPLAIN_SECONDS = 60.0  # for what an index that lies says of itself


@dataclass(frozen=True, slots=True)
class Crime:
    """Misbehaviour. proof: for anyone to check, None where what was signed convicts nobody by itself, or is kept.

    cause: of a wrong leaf.
    """

    text: str
    proof: ForkProof | IndexFault | None
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class ShownIndex:
    """An index log's checkpoint with its note, and where its tiles and those of the log that it indexes are read."""

    seen: WitnessedCheckpoint
    note: bytes
    index: TileSource
    main: TileSource

    @property
    def head(self) -> Checkpoint:
        return self.seen.checkpoint


def names(origin: str, policy: Policy, index: Policy | None) -> Names:
    """Whose index is looked at. origin: of the main log; policy: its own; index: that of its index log."""
    main = tuple(log.key for log in policy.logs if log.key.name == origin and log.key.type is SignatureType.ED25519)
    return Names(leaf.origin_of(origin), origin, main, () if index is None else tuple(log.key for log in index.logs))


async def follow(audit: Audit, of: Names, shown: ShownIndex, main_view: View) -> list[Crime]:
    """Every leaf up to what is shown; empty where all are right. main_view: the log's own checkpoint.

    A wrong one does not end the look at the log's own entries. Raises Unreadable, Unfit, sqlite3.Error.
    """
    try:
        await _compare_input(of, shown, main_view)
        await audit.follow(shown.head, shown.note)
    except WrongIndex as wrong:
        proof: ForkProof | IndexFault | None = wrong.fork
        if proof is None:
            proof = await faults.make(shown.index, of, shown.head, shown.note, wrong)
        return [Crime(f"{wrong.cause}: {wrong}", proof, wrong.cause)]
    return []


async def _compare_input(of: Names, shown: ShownIndex, main_view: View) -> None:
    """The newest leaf's input against the log's checkpoint: two notes convict the log even if it serves no tiles."""
    head = shown.head
    if head.size == 0:
        return
    with reading("index"):
        data = await LogReader(shown.index, head.size, head.root).entry(head.size - 1)
    try:
        newest, claimed = fault.open_leaf(data, of.main, of.main_origin)
    except LeafError:
        return  # told in its order
    with reading("main"):
        fork = await fork_between(shown.main, main_view, (claimed, newest.note), of.main)
    if fork is not None:
        raise WrongIndex(
            Cause.INPUT_FORKS, "the log's checkpoint is of another tree than its index was built from", fork=fork
        )


async def explain(
    audit: Audit, of: Names, shown: ShownIndex, rebuilt: Rebuilt, keys: omission.Recent, url: str, policy: Policy
) -> list[Crime]:
    """What the newest leaf's index leaves out, as far as its server answers: no answer, no matter.

    url: the log's. policy: the main log's. keys: of the entries that were mapped.
    """
    head, start = shown.head, rebuilt.confirmed.input_size
    try:
        reader = LogReader(shown.index, head.size, head.root)
        data, path = await reader.entry(head.size - 1), await reader.prove_inclusion(head.size - 1)
        newest, claimed = fault.open_leaf(data, of.main, of.main_origin)
        await audit.read_to(claimed)
        if rebuilt.roots(claimed.size) in (None, (claimed.root, newest.map_root)):
            return []
        witnessed = verify_checkpoint(newest.note, replace(policy, quorum=NONE))
        log = LogReader(shown.main, claimed.size, claimed.root)
        async with HttpClient() as http:
            remote = RemoteIndex(http, url, witnessed, shown.seen, data, tuple(path), newest.map_root, log)
            with contextlib.closing(rebuilt.reader()) as honest:
                # What is known already is told, however long the log takes over its answers.
                async with asyncio.timeout(EXPLAIN_SECONDS):
                    found = await omission.find(remote, honest, keys.since(start))
    except (UnavailableError, RefusedError, MalformedError, VerificationError, NotEstablished, TimeoutError):
        return []
    if found is None:
        return []
    proof = faults.omitted(of, shown.note, placed(head.size - 1, data, path), found)
    skipped = fault.verify(proof)
    assert skipped.omitted is not None
    where = skipped.omitted[1].decode("ascii", "replace").strip().replace("\n", " ")
    return [Crime(f"the index leaves out entry {skipped.omitted[0]} under: {where}", proof)]
