"""Checks the leaves of an index log against the log that it indexes: inputs, not map roots.

Each leaf parses, its input is signed by the main log and is one of its trees, and inputs only grow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from teelog.client.fsck import MAX_PROBLEMS, Problem
from teelog.client.source import TileSource
from teelog.errors import MalformedError, RefusedError, VerificationError
from teelog.index.leaf import IndexLeaf
from teelog.tlog import tiles
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.tiles import WIDTH, Bundle
from teelog.tlog.vkey import VerifierKey


async def check_leaves(
    index: TileSource,
    size: int,
    main: TileSource,
    head: Checkpoint,
    verifiers: Collection[VerifierKey],
    progress: Callable[[int], object] = lambda _: None,
) -> tuple[int, list[Problem]]:
    """(the newest input size, what is wrong, MAX_PROBLEMS at most) of an index log of ``size`` leaves.

    head: the main log's, verified; verifiers: its keys. progress: called with the number of leaves of each bundle.
    Raises UnavailableError.
    """
    newest, problems = 0, list[Problem]()
    for number in range(-(-size // WIDTH)):
        place = Bundle(number, min(WIDTH, size - WIDTH * number))
        try:
            leaves = tiles.parse_bundle(await index.bundle(place), place.width)
        except (RefusedError, MalformedError):
            return newest, problems  # the replay of its tree says so
        for at, leaf in enumerate(leaves):
            try:
                found = IndexLeaf.parse(leaf).open(verifiers, head.origin)
                await _check(found, newest, main, head)
                newest = found.size
            except (MalformedError, VerificationError) as error:
                path = f"index leaf {number * WIDTH + at}"
                problems.append(Problem(path, error.message, _text(error.expected), _text(error.actual)))
                if len(problems) == MAX_PROBLEMS:
                    return newest, problems
        progress(place.width)
    return newest, problems


async def _check(found: Checkpoint, before: int, main: TileSource, head: Checkpoint) -> None:
    if found.size <= before:
        raise VerificationError("the input does not grow", expected=f"above {before}", actual=found.size)
    if found.size > head.size:
        raise VerificationError("the input is beyond the log", expected=f"at most {head.size}", actual=found.size)
    try:
        edge = [await main.tile(tile) for tile in tiles.edge(found.size)]
    except (RefusedError, MalformedError) as error:
        raise VerificationError("the input's tree cannot be read", actual=error.message) from error
    root = tiles.edge_from_tiles(found.size, edge).root()
    if root != found.root:
        raise VerificationError(
            "the input is of another tree than the log's", expected=root.hex(), actual=found.root.hex()
        )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
