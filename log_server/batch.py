"""A batch: what becomes of each entry, and its commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from teelog.log_server.chains import Chains
from teelog.log_server.delivery import Verdict
from teelog.log_server.intake import Submission
from teelog.log_server.recovery import Memory
from teelog.log_server.rehash import CompactRange, require_root
from teelog.log_server.seams import Admitted, Damaged, LogState, NamespaceVersion, Rejected, Staged, Tip
from teelog.tlog import rfc6962, tiles

__all__ = ["Submission", "Waiting", "commit", "decide"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A decided submission. needs: the size of the checkpoint that answers it; 0 = any."""

    submission: Submission
    verdicts: list[Verdict]
    needs: int


@dataclass(slots=True)
class Plan:
    """The entries to commit, in order, and what has to be remembered of them."""

    entries: list[bytes] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    hashes: dict[bytes, int] = field(default_factory=dict)
    namespaces: Sequence[NamespaceVersion] = ()
    tips: Sequence[Tip] = ()


def decide(submissions: Sequence[Submission], memory: Memory) -> tuple[list[Waiting], Plan | None]:
    """A verdict for each entry, in order: strict dedup and chain conditions. Plan: None if nothing is new."""
    items = [item for submission in submissions for item in submission.entries]
    asked = [item.leaf for item in items]
    if memory.dedup.statements:
        asked += [item.statement for item in items if item.statement]
        asked += [release for item in items if item.place is not None for release in item.place.releases]
        asked += {item.cites.release for item in items if item.cites is not None and item.cites.release is not None}
    known = memory.dedup.lookup(asked, memory.applied.size)
    plan = Plan()
    chains = Chains(memory, known, plan.hashes, plan.entries)
    waiting = []
    for submission in submissions:
        chains.awaited = 0
        verdicts = [_judge(item, known, plan, chains, memory) for item in submission.entries]
        needs = max([verdict.index for verdict in verdicts], default=-1) + 1
        waiting.append(Waiting(submission, verdicts, max(needs, chains.awaited)))
    plan.namespaces, plan.tips = chains.namespaces, list(chains.tips.values())
    return waiting, plan if plan.entries else None


def _judge(item: Admitted, known: dict[bytes, int], plan: Plan, chains: Chains, memory: Memory) -> Verdict:
    # keys are full hashes; a leaf that waits for its publication is joined (design section 5, rule 10).
    index = plan.hashes.get(item.leaf)
    if index is None:
        index = known.get(item.leaf)
    if index is not None:
        return Verdict(index)
    statement = item.statement if memory.dedup.statements else None
    if statement is not None:
        index = plan.hashes.get(statement)
        if index is None:
            index = known.get(statement)
        if index is not None:
            leaf = _leaf_at(index, plan, memory)
            detail = "this statement is logged already, in other bytes"
            return Verdict(-1, rejected=Rejected(409, "conflict", detail, leaf))
    index = memory.size + len(plan.entries)
    rejected = chains.refusal(item, index)
    if rejected is not None:
        return Verdict(-1, rejected=rejected)
    plan.entries.append(item.entry)
    plan.leaves.append(item.leaf)
    plan.hashes[item.leaf] = index
    if statement is not None:
        plan.hashes[statement] = index
    if item.place is not None:
        chains.take(item, index)
    return Verdict(index, True)


def _leaf_at(index: int, plan: Plan, memory: Memory) -> bytes:
    """The leaf hash of a logged entry, or of one committed or planned."""
    at = index % tiles.WIDTH * rfc6962.HASH_LENGTH
    if index >= memory.size:
        return plan.leaves[index - memory.size]
    overlaid = memory.overlay.get((0, index // tiles.WIDTH))
    if overlaid is None:
        overlaid = memory.tree.leaf_hashes(index // tiles.WIDTH, memory.applied.size)
    return overlaid[at : at + rfc6962.HASH_LENGTH]


def commit(plan: Plan, memory: Memory, state: LogState) -> None:
    """Makes the plan durable together with the new last_signed. What it raises leaves ``memory`` as it was."""
    lo, previous = memory.size, (memory.size, memory.root)
    edge, new = memory.edge.append(plan.leaves)
    staged = Staged(lo, len(plan.entries), edge.size, edge.root(), tiles.encode_bundle(plan.entries))
    overlay = memory.overlay | {(tile.level, tile.index): data for tile, data in new.items()}
    read = memory.tree.reader(memory.applied.size, overlay)
    extended: list[CompactRange] = []

    def check(stored: bytes) -> None:
        # what was stored, hashed again another way, gives the tree that is about to be signed ...
        if stored != staged.bundle:
            raise Damaged("the state reads back another batch than was written")
        compact = memory.compact.extend(tiles.parse_bundle(stored, staged.count))
        require_root(compact, staged.size, staged.root)
        # ... and the verifier agrees that it extends the one before. Nothing extends the empty tree.
        if lo:
            proof = rfc6962.prove_consistency(lo, staged.size, read)
            rfc6962.verify_consistency(*previous, staged.size, staged.root, proof)
        extended.append(compact)

    state.commit(memory.epoch, previous, staged, plan.namespaces, check, plan.tips)
    memory.edge, memory.compact, memory.overlay = edge, extended[-1], overlay
    memory.unapplied.append(staged)
    memory.dedup.add(plan.hashes.items())
    memory.take_chains(plan.namespaces, plan.tips)
