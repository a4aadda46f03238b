from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.log_server.serving import Server, serving


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
