"""Turns a wrong leaf into a file that anyone can check (``teelog.index.fault``)."""

from __future__ import annotations

from teelog.client.log import LogReader
from teelog.client.source import TileSource
from teelog.index import fault
from teelog.index.fault import Cause, IndexFault, Omission
from teelog.index.placed import Placed, placed
from teelog.tlog.checkpoint import Checkpoint
from teelog.witness.audit import Names, WrongIndex, reading


async def make(source: TileSource, names: Names, head: Checkpoint, note: bytes, wrong: WrongIndex) -> IndexFault | None:
    """The fault of the leaf that ``wrong`` names, with its path to ``head``; None where no leaf is at fault.

    source: of the index log. note: that of ``head``. Raises Unreadable.
    """
    if wrong.number is None:
        return None
    with reading("index"):
        reader = LogReader(source, head.size, head.root)
        leaf = await _placed(reader, wrong.number)
        previous = await _placed(reader, wrong.number - 1) if wrong.cause is Cause.INPUT_SHRINKS else None
    return IndexFault(
        fault.SCHEMA,
        wrong.cause,
        tuple(map(str, names.index)),
        tuple(map(str, names.main)),
        note.decode(),
        leaf,
        previous,
        None if wrong.rebuilt is None else wrong.rebuilt.hex(),
    )


def omitted(names: Names, note: bytes, leaf: Placed, found: Omission) -> IndexFault:
    """The fault of a leaf whose map leaves something out. note: of the index log's checkpoint that holds the leaf."""
    index, main = tuple(map(str, names.index)), tuple(map(str, names.main))
    return IndexFault(fault.SCHEMA, Cause.MAP_ROOT, index, main, note.decode(), leaf, omission=found)


async def _placed(reader: LogReader, number: int) -> Placed:
    return placed(number, await reader.entry(number), await reader.prove_inclusion(number))
