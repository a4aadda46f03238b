"""A thousand ways to spoil a file."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from teelog.errors import TeelogError


def damaged(data: bytes, seed: object = None, count: int = 1000) -> Iterator[bytes]:
    """Every fifth is cut short, the others have one bit flipped."""
    chance = random.Random(repr(seed))
    for number in range(count):
        if number % 5 == 0:
            yield data[: chance.randrange(len(data))]
            continue
        bad = bytearray(data)
        place = chance.randrange(8 * len(bad))
        bad[place // 8] ^= 1 << place % 8
        yield bytes(bad)


def unharmed(data: bytes, measure: Callable[[bytes], object], count: int = 1000) -> int:
    """How many damaged files yield the same as the good one; what is refused must be refused by a TeelogError."""
    good, same = measure(data), 0
    for bad in damaged(data, len(data), count):
        try:
            same += measure(bad) == good
        except TeelogError:
            continue
    return same
