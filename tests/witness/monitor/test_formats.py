"""What the pages about alerts say is what is sent: kinds, headers, the vector, and the receiver's program."""

from __future__ import annotations

import re

import pytest

from teelog.witness.monitor.finding import Alert, Finding, Kind
from teelog.witness.monitor.form import document
from teelog.witness.monitor.notify import webhook
from teelog.witness.monitor.notify.text import json_line
from teelog.witness.monitor.state import Followed
from tests.project.sources import ROOT

FORMATS = ROOT / "docs" / "formats"
WEBHOOK = (FORMATS / "monitor-webhook.md").read_text()
ALERT = (FORMATS / "monitor-alert.md").read_text()
KEY = bytes(range(32))
HEADERS = dict(re.findall(r"^(Teelog-[A-Za-z]+): (.*)$", WEBHOOK, re.MULTILINE))
BODY = re.findall(r"^```json\n(.*)\n```$", WEBHOOK, re.MULTILINE)[0].encode()


def test_the_vector_is_what_a_monitor_sends():
    text = f"a release that was not expected: release of acme.example/inference/stable, statement {'5e' * 32}"
    found = Finding(Kind.UNEXPECTED, "log.example/tee", "acme.example/inference/stable", text, 41)
    root = b"\x11" * 32
    looked = Followed("log.example/tee", 42, root, b"", 42, root, 42, b"", 1789000000, 1789000000)
    alert = Alert(7, found, 1789000000, 1789000000)
    assert json_line(document(alert, looked)) == BODY
    assert {
        "Teelog-Alert": f"{found.id}-7",
        "Teelog-Timestamp": "1789000003",
        "Teelog-Signature": webhook.sign(KEY, 1789000003, BODY),
    } == HEADERS
    webhook.verify(KEY, HEADERS, BODY, 1789000003)


def test_the_receivers_program_takes_an_alert_once_and_nothing_else(monkeypatch: pytest.MonkeyPatch):
    (program,) = re.findall(r"^```python\n(.*?)^```$", WEBHOOK, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(program, "monitor-webhook.md", "exec"), names)
    verify = names["verify"]
    assert callable(verify)
    monkeypatch.setattr("time.time", lambda: 1789000303.0)
    seen: set[str] = set()
    assert verify(KEY, HEADERS, BODY, seen)
    assert not verify(KEY, HEADERS, BODY, seen)
    assert not verify(KEY, HEADERS, BODY + b" ", set())
    assert not verify(KEY[::-1], HEADERS, BODY, set())
    assert not verify(KEY, HEADERS | {"Teelog-Timestamp": "1789000004"}, BODY, set())
    monkeypatch.setattr("time.time", lambda: 1789000304.0)
    assert not verify(KEY, HEADERS, BODY, set())


def test_every_kind_has_a_row_with_its_severity():
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (crime|alert|notice)", ALERT, re.MULTILINE))
    wanted = {kind.value: Finding(kind, "log.example/tee", "", "").severity.value for kind in Kind}
    assert rows == wanted


def test_every_member_has_a_row():
    document_rows = re.findall(r"^\| (`[a-z_`, ]+`) \| ", ALERT.partition("## Kinds")[0], re.MULTILINE)
    named = {name for row in document_rows for name in re.findall(r"`([a-z_]+)`", row)}
    alert = Alert(1, Finding(Kind.ENTRY, "log.example/tee", "", ""), 0, 0)
    assert named == document(alert, Followed("log.example/tee")).keys()
