"""docs/formats/http-api.md says what the code does: kinds of problems, limits, paths."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from teelog.log_server.about import LogInfo
from teelog.log_server.app import Front
from teelog.log_server.limits import Limits
from teelog.log_server.problems import STATUS
from teelog.log_server.read import Directory
from tests.log_server.memory_pool import MemoryPool

PAGE = (Path(__file__).parents[2] / "docs/formats/http-api.md").read_text()


def test_every_kind_of_problem_is_listed_with_its_status() -> None:
    listed = dict(re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", PAGE, re.MULTILINE))
    assert listed == {str(kind): str(status) for kind, (status, _) in STATUS.items()}


def test_every_limit_is_listed_with_its_default() -> None:
    table = PAGE.partition("\n## Limits\n")[2].partition("\n## ")[0]
    listed = dict(re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \|", table, re.MULTILINE))
    assert list(listed) == [item.name for item in fields(Limits)]
    for item in fields(Limits):
        default = getattr(Limits(), item.name)
        if isinstance(default, int | float):
            assert listed[item.name].split(" ")[0] == f"{default:,.0f}", item.name


async def test_every_path_is_listed(tmp_path: Path) -> None:
    objects = Directory(tmp_path)
    front = Front(MemoryPool(tmp_path), objects, LogInfo("log.example/tee", (), (), True))
    for path, route in front.routes().items():
        for method in set(route.methods) - {"HEAD"}:
            assert f"`{method} {path}`" in PAGE
    front.close()
    objects.close()
