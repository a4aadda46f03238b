from __future__ import annotations

import pytest

from teelog.evidence import platform
from tests.appraisal import fake_tee


@pytest.fixture(autouse=True)
def _fake_tee(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "real_tee" not in request.keywords:
        monkeypatch.setattr(platform, "parse", fake_tee.parse)
