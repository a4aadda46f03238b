"""Answers, and the tiles that their proofs are made of, from what is published."""

from __future__ import annotations

from collections.abc import Sequence

from teelog.log_server.delivery import Answer, Leaves, Verdict
from teelog.log_server.intake import Submission
from teelog.log_server.recovery import Memory
from teelog.tlog import rfc6962, subtree
from teelog.tlog.tiles import WIDTH

Answers = Sequence[tuple[Submission, Answer]]


def leaves(memory: Memory, answers: Answers) -> list[Leaves]:
    """Every tile that holds an answered entry, with the proof above it."""
    wanted = {v.index // WIDTH for _, answer in answers for v in answer.verdicts if v.rejected is None}
    size = memory.published_size
    read = memory.tree.reader(size)
    found = []
    for index in sorted(wanted):
        start, end = index * WIDTH, min((index + 1) * WIDTH, size)
        upper = subtree.prove(start, end, size, read)
        found.append(Leaves(index, memory.tree.leaf_hashes(index, size), b"".join(upper)))
    return found


def look_up(memory: Memory, finds: Sequence[Submission]) -> list[tuple[Submission, Answer]]:
    """One answer for each leaf hash that is asked for: where it is published, or no verdict."""
    indices = memory.dedup.lookup([item.find for item in finds if item.find], memory.applied.size)
    answers = []
    for item in finds:
        index = indices.get(item.find or b"")
        verdicts = [Verdict(index)] if index is not None and _is_published(memory, index, item.find) else []
        answers.append((item, Answer(item.ticket, verdicts)))
    return answers


def _is_published(memory: Memory, index: int, leaf: bytes | None) -> bool:
    if index >= memory.published_size:
        return False
    at = index % WIDTH * rfc6962.HASH_LENGTH
    hashes = memory.tree.leaf_hashes(index // WIDTH, memory.published_size)
    return hashes[at : at + rfc6962.HASH_LENGTH] == leaf  # a statement id is no leaf
