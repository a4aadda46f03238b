"""The rules of output that stand at the top of cli/output.py."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from teelog.cli import output
from teelog.errors import ConfigError, UnavailableError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, é and 日本", "plain text, é and 日本"),
        ("\x1b[31m", "\\u{1b}[31m"),
        ("\x9b31m", "\\u{9b}31m"),
        ("a\rb\nc\td\x7f", "a\\u{d}b\\u{a}c\\u{9}d\\u{7f}"),
        ("\u202e\u2066\u200f\u061c", "\\u{202e}\\u{2066}\\u{200f}\\u{61c}"),
        ("zero\u200bwidth\ufeff\u00ad", "zero\\u{200b}width\\u{feff}\\u{ad}"),
        ("\u2028\u2029\u0085\u00a0", "\\u{2028}\\u{2029}\\u{85}\\u{a0}"),
        ("\U000e0041tag", "\\u{e0041}tag"),
        ("o\u0301", "o\\u{301}"),
        ("\ud800", "\\u{d800}"),
        (b"\xff\x1b ok", "\\x{ff}\\u{1b} ok"),
        ("é".encode(), "é"),
        (17, "17"),
    ],
)
def test_A_74_hidden_and_steering_characters_are_escaped(text: str | bytes, shown: str):
    assert output.safe(text) == shown


@given(st.one_of(st.text(), st.binary()))
def test_A_74_nothing_that_steers_a_terminal_survives(text: str | bytes):
    shown = output.safe(text)
    assert all(char == " " or char.isprintable() for char in shown)
    shown.encode()


def test_safe_says_when_it_cuts():
    assert output.safe("x" * 50, limit=3) == "xxx ... (50 characters)"


def test_A_77_quoted_text_stands_behind_a_bar():
    assert output.quoted("fine\nok      verified\n") == ["| fine", "| ok      verified"]
    assert output.quoted("a\rb") == ["| a\\u{d}b"]


def test_columns_align_and_are_safe():
    assert output.columns([["name", "size"], ["a\x1b", 12]]) == ["name     size", "a\\u{1b}  12"]
    assert output.columns([]) == []


def test_a_line_break_inside_a_result_line_is_escaped(capsys: pytest.CaptureFixture[str]):
    output.result(["one", "two\nok      verified"], {"schema": "x/v1"})
    assert capsys.readouterr().out == "one\ntwo\\u{a}ok      verified\n"


def test_marks_are_plain_off_a_terminal(capsys: pytest.CaptureFixture[str]):
    output.ok("signed")
    output.fail("witnessed: 2 of 3")
    output.note("talk")
    captured = capsys.readouterr()
    assert captured.out == "ok      signed\nFAILED  witnessed: 2 of 3\n"
    assert captured.err == "talk\n"


def _with_json(body: object) -> click.Command:
    command: click.Command = click.command()(output.json_option(body))  # type: ignore[type-var]
    return command


def test_with_json_stdout_is_one_object(capsys: pytest.CaptureFixture[str]):
    def body() -> None:
        output.ok("not shown")
        output.note("shown on stderr")
        output.result("human", {"schema": "x/v1", "root": b"\x01\xff", "path": Path("a"), "text": "\u202e\x1b"})

    output.begin()
    _with_json(body).main(["--json"], standalone_mode=False)
    captured = capsys.readouterr()
    assert captured.out == '{"schema": "x/v1", "root": "01ff", "path": "a", "text": "\\u202e\\u001b"}\n'
    assert captured.err == "shown on stderr\n"


def test_a_second_json_object_is_a_programming_error():
    def body() -> None:
        output.result("human", {"schema": "x/v1"})
        output.result("human", {"schema": "x/v1"})

    output.begin()
    with pytest.raises(ValueError, match="one JSON object"):
        _with_json(body).main(["--json"], standalone_mode=False)


def test_a_json_result_names_its_schema():
    with pytest.raises(ValueError, match="schema"):
        output.result("human", {"root": 1})


@pytest.mark.parametrize(
    ("codes", "worst"),
    [([], 0), ([0, 0], 0), ([4, 3], 3), ([3, 6], 6), ([6, 1], 1), ([1, 5, 4], 5), ([0, 4], 4), ([0, 3, 4, 6, 1, 5], 5)],
)
def test_of_several_exit_codes_5_1_6_3_4_decides(codes: list[int], worst: int):
    assert output.worst_exit(codes) == worst


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_colour_on_a_terminal_only_and_never_with_NO_COLOR(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    output.ok("a")
    assert terminal.getvalue() == "\x1b[32mok\x1b[0m      a\n"
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        monkeypatch.setenv(name, value)
        plain = Terminal()
        monkeypatch.setattr(sys, "stdout", plain)
        output.ok("a")
        assert plain.getvalue() == "ok      a\n"


def test_A_74_a_document_on_a_terminal_is_escaped_line_by_line(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    output.document(b"log x\n\x1b[2J\n")
    assert terminal.getvalue() == "log x\n\\u{1b}[2J\n"


def test_a_document_off_a_terminal_keeps_its_bytes(capsysbinary: pytest.CaptureFixture[bytes]):
    output.write_file("-", b"\x00\xff\x1b\n")
    assert capsysbinary.readouterr().out == b"\x00\xff\x1b\n"


def test_progress_off_a_terminal_prints_nothing(capsys: pytest.CaptureFixture[str]):
    with output.progress("working", total=2) as step:
        step()
        step(text="more")
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal_is_on_stderr_and_safe(monkeypatch: pytest.MonkeyPatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with output.progress("[bold]work\x07ing", total=1) as step:
        step()
    assert "[bold]work\\u{7}ing" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_files_are_written_with_their_mode_and_leave_nothing_beside(tmp_path: Path):
    target = tmp_path / "key"
    output.write_file(target, b"one", 0o600)
    assert target.read_bytes() == b"one"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    output.write_file(str(target), b"two")
    assert target.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["key"]


def test_an_exclusive_write_refuses_to_replace(tmp_path: Path):
    target = tmp_path / "key"
    output.write_file(target, b"one", exclusive=True)
    with pytest.raises(ConfigError, match="exists already"):
        output.write_file(target, b"two", exclusive=True)
    assert target.read_bytes() == b"one"
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(ConfigError):
        output.write_file(tmp_path / "dangling", b"two", exclusive=True)
    assert sorted(os.listdir(tmp_path)) == ["dangling", "key"]


def test_a_failed_write_leaves_no_output_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target = tmp_path / "proof"
    target.write_bytes(b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnavailableError, match="No space left"):
        output.write_file(target, b"new")
    assert os.listdir(tmp_path) == ["proof"]
    assert target.read_bytes() == b"old"
    with pytest.raises(UnavailableError):
        output.write_file(tmp_path / "no" / "folder", b"new")


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path: Path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    output.write_file(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    output.write_file("/dev/null", b"gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
