from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.witness.harness import Desk, Log


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def open_desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Makes witnesses that are stopped when the test ends."""
    opened: list[Desk] = []

    def make(*logs: Log, path: Path = tmp_path / "W1", **more: Any) -> Desk:
        desk = Desk(path, *logs, **more)
        opened.append(desk)
        return desk

    yield make
    for desk in opened:
        desk.stop()


@pytest.fixture
def desk(open_desk: Callable[..., Desk], log: Log) -> Desk:
    """A witness that knows ``log``."""
    return open_desk(log)
