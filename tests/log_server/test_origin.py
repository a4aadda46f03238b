"""A log's origin, at the only moment at which it can be chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from teelog.errors import ConfigError
from teelog.log_server import create as creating
from tests.log_server.rig import ManualClock


@pytest.mark.parametrize(
    "origin", ["https://log.example/tee", "http://log.example", "log.example/tee/", "/log", "log/", "/"]
)
def test_TT_03_origin_is_the_url_without_scheme_and_trailing_slash(tmp_path: Path, origin: str):
    with pytest.raises(ConfigError, match="without scheme and trailing slash"):
        creating.create(tmp_path / "log", origin, ManualClock())
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("origin", ["log.example", "log.example/tee", "log.example:8443/tee/2"])
def test_TT_03_origin_may_have_a_port_and_a_path(tmp_path: Path, origin: str):
    created = creating.create(tmp_path / "log", origin, ManualClock())
    assert {key.name for key in created.vkeys} == {origin}
