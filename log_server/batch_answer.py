"""``POST /entries/batch``: the entries in its body, and the one answer that holds a verdict on each of them."""

from __future__ import annotations

from typing import Any

import msgspec

from teelog.log_server.problems import Kind, Problem
from teelog.log_server.seams import Outcome, Rejected

SCHEMA = "teelog-batch/v1"


class BatchItem(msgspec.Struct, omit_defaults=True):
    """One verdict. status: as the entry alone would have had. index: decimal. checkpoint: place in ``checkpoints``."""

    status: int
    leaf: str | None = None
    index: str | None = None
    checkpoint: int | None = None
    proof: tuple[bytes, ...] | None = None
    problem: dict[str, Any] | None = None


class BatchAnswer(msgspec.Struct):
    """``{"schema","checkpoints":[note..],"results":[..]}``: all that is needed to write each entry's tlog-proof."""

    schema: str
    checkpoints: list[str]
    results: list[BatchItem]


class Results:
    """The verdicts on a batch's entries, by their places, as they come in; a later one replaces an earlier one."""

    def __init__(self, count: int) -> None:
        self._items: list[BatchItem | None] = [None] * count
        self._kinds: dict[int, str] = {}
        self._checkpoints: dict[bytes, int] = {}

    def put(self, place: int, leaf: bytes, outcome: Outcome) -> None:
        """What became of the entry with this leaf hash."""
        if isinstance(outcome, Rejected):
            self.refuse(place, rejection(outcome))
            return
        checkpoint = self._checkpoints.setdefault(outcome.note, len(self._checkpoints))
        status = 201 if outcome.fresh else 200
        self._kinds.pop(place, None)
        self._items[place] = BatchItem(status, leaf.hex(), str(outcome.index), checkpoint, outcome.proof)

    def refuse(self, place: int, problem: Problem) -> None:
        self._items[place] = BatchItem(problem.status, problem=problem.members)
        self._kinds[place] = problem.kind

    def refusal(self, place: int) -> str | None:
        """The kind of problem that the entry met; None if it met none."""
        return self._kinds.get(place)

    def answer(self) -> BatchAnswer:
        items = [item for item in self._items if item is not None]
        return BatchAnswer(SCHEMA, [note.decode() for note in self._checkpoints], items)


def rejection(outcome: Rejected) -> Problem:
    """The sequencer's no, as a front tells it."""
    return Problem(
        outcome.kind,
        outcome.detail,
        status=outcome.status,
        leaf=outcome.leaf,
        expected=outcome.expected,
        actual=outcome.actual,
        hint=outcome.hint,
    )


def split(body: bytes, limit: int) -> list[bytes]:
    """The entries of a batch. Raises Problem: a broken frame leaves no telling what was meant, so nothing is taken."""
    entries: list[bytes] = []
    at, end = 0, len(body)
    while at < end:
        length = int.from_bytes(body[at : at + 2], "big")
        at += 2
        if at + length > end:
            raise Problem(Kind.BAD_REQUEST, "the batch is cut short", actual=f"entry {len(entries)}")
        if len(entries) == limit:
            raise Problem(Kind.TOO_LARGE, "the batch has too many entries", expected=f"at most {limit}")
        entries.append(body[at : at + length])
        at += length
    if not entries:
        raise Problem(Kind.BAD_REQUEST, "the batch is empty", expected="uint16 length and entry, one or more times")
    return entries
