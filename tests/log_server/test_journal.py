"""Log lines: one record, one line, whatever it holds."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from teelog.log_server import journal

NASTY = 'x\n{"event":"forged"}\r\x1b[2J\x9b31m\u202e\U0001f600'


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_A_18_a_record_is_one_json_line_off_a_terminal() -> None:
    stream = io.StringIO()
    journal.configure(stream)
    logging.getLogger("teelog.log_server").warning("refused %s", NASTY)
    (line,) = stream.getvalue().splitlines()
    assert line.isascii()
    event = json.loads(line)
    assert event["event"] == f"refused {NASTY}"
    assert (event["level"], event["logger"]) == ("warning", "teelog.log_server")
    assert event["timestamp"].endswith("Z")


def test_A_74_a_record_is_one_escaped_line_on_a_terminal() -> None:
    stream = Terminal()
    journal.configure(stream)
    logging.getLogger("teelog.log_server").warning("refused %s", NASTY)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert all(" " <= char <= "~" for char in text[:-1])
    assert "refused x\\u{a}" in text


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["file", "terminal"])
def test_a_failure_shows_where_it_happened(stream: io.StringIO) -> None:
    journal.configure(stream)
    secret_local = "hunter2" * 2
    try:
        raise ValueError("why", len(secret_local))
    except ValueError:
        logging.getLogger("teelog").exception("request failed")
    assert "why" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()
    assert "test_journal" in stream.getvalue()


def test_a_named_process_says_which_it_is() -> None:
    stream = io.StringIO()
    journal.configure(stream, process="index")
    logging.getLogger("teelog.log_server").warning("slow")
    assert json.loads(stream.getvalue())["process"] == "index"
