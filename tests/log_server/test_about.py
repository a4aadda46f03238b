"""What the log says about itself, and that nothing in it can run in a browser."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from teelog.log_server.about import About, LogInfo
from teelog.log_server.limits import Limits, Retention
from teelog.log_server.read import Directory, Reader
from tests.log_server.serving import INFO, Server


async def test_log_json_tells_keys_witnesses_and_limits(server: Server) -> None:
    answer = await server.get("/log.json")
    assert answer.headers["Content-Type"] == "application/json"
    told = answer.json
    assert told["schema"] == "teelog-log/v1"
    assert (told["origin"], told["vkeys"]) == (INFO.origin, list(INFO.vkeys))
    assert told["witnesses"] == [{"name": "w.example", "vkey": "w.example+00000000+AAAA", "url": None}]
    assert told["limits"]["entry_bytes"] == 65_535
    assert told["limits"]["batch_entries"] == Limits().batch_entries
    assert "trusted_proxies" not in told["limits"]
    assert (told["raw"], told["min_index"], told["retention"], told["frozen"]) == (False, "0", None, None)


async def test_A_70_the_page_has_a_strict_policy_and_no_script(server: Server) -> None:
    answer = await server.get("/")
    page = answer.body.decode()
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    csp = answer.headers["Content-Security-Policy"]
    assert csp.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in csp
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    style = re.search("<style>(.*)</style>", page, re.DOTALL)
    assert style is not None
    assert base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode() in csp
    assert not re.search(r"<script|javascript:| on[a-z]+=|style=|src=", page)
    assert "It holds 1 entries" in page


async def test_A_70_every_field_of_the_page_is_escaped(tmp_path: Path) -> None:
    nasty = "<img src=x onerror=alert(1)>\"'&"
    info = LogInfo(nasty, (nasty,), ((nasty, nasty, nasty),), True)
    objects = Directory(tmp_path)
    about = About(info, Limits(), Retention(), Reader(objects, Retention(), 0))
    page = (await about.get_page(None)).body  # type: ignore[arg-type]
    objects.close()
    assert isinstance(page, bytes)
    assert b"<img" not in page
    assert page.count(b"&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;&amp;") == 4
    assert b"takes any bytes" in page
    assert b"no published checkpoint" in page
