from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from teelog.log_server import guard
from tests.log_server.serving import Server, serving


@pytest.fixture(autouse=True)
def short_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused body that never ends is waited for: no test is about for how long."""
    monkeypatch.setattr(guard, "LINGER_SECONDS", 0.2)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A log with its first namespace, acme.example."""
    from tests.statement import make

    async with serving(tmp_path / "public") as found:
        await found.front.submissions.allow(make.namespace_file())
        yield found


@pytest.fixture
async def raw_server(tmp_path: Path) -> AsyncIterator[Server]:
    """A log that takes any bytes."""
    async with serving(tmp_path / "public", raw=True) as found:
        yield found
