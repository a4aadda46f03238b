"""The only file of the command line that prints. Its rules:

1. Results go to stdout; progress, notes and errors go to stderr.
2. With --json, stdout carries exactly one JSON object with a ``schema`` field and one newline, and nothing else.
   A failure is such an object too (``teelog-error/v1``), unless the command has already printed its result.
3. Text from outside never reaches a terminal raw, nor a pipe: every line passes `safe`, which writes control, C1,
   bidirectional, format and combining characters as ``\\u{..}`` (A-74). A line break inside a line is escaped as well.
   Only whole documents (`write_file` to ``-``) keep their bytes, and only where stdout is not a terminal.
4. Text that others wrote is set off by `quoted`, so it cannot pose as a verdict (A-77).
5. No colour and no moving progress off a terminal, with NO_COLOR, or with TERM=dumb.
6. A failure prints one cause, then ``expected:`` and ``actual:``, then ``next:`` with the command to try.
7. An output file appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO, TypeVar

import click

from teelog.cli import files

Command = TypeVar("Command", bound=Callable[..., Any])

STDOUT = "-"
MAX_ERROR_TEXT = 600  # characters of each error field on stderr
_META = "teelog.cli.output"

# Exit codes (design section 8), worst first: of several, the worst is the command's.
EXIT_ORDER = (5, 1, 6, 3, 4, 2, 70, 0)


def json_option(command: Command) -> Command:
    """Gives a command the flag --json; `result` and errors then print one JSON object."""

    def remember(context: click.Context, _option: click.Parameter, value: bool) -> None:
        if value:
            context.meta[_META] = True

    return click.option(
        "--json", is_flag=True, is_eager=True, expose_value=False, callback=remember, help="One JSON object on stdout."
    )(command)


def wants_json() -> bool:
    """Whether the running command was given --json."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_META))


def result(human: str | Iterable[str], obj: Mapping[str, Any]) -> None:
    """The command's result: ``human`` (one line, or several) or, with --json, ``obj``, which has a ``schema``.

    bytes in ``obj`` print as lower-case hex; paths and enum members as their text.
    """
    if not isinstance(obj.get("schema"), str):
        raise ValueError("a JSON result names its schema")
    if wants_json():
        _print_json(obj)
    else:
        for line in [human] if isinstance(human, str) else human:
            _write(sys.stdout, safe(line) + "\n")


def _print_json(obj: Mapping[str, Any]) -> None:
    global _answered  # one object for one run of the command
    if _answered:
        raise ValueError("a command prints one JSON object")
    _answered = True
    # ASCII only: every control, bidirectional and format character is a \u escape.
    _write(sys.stdout, json.dumps(obj, default=_plain, ensure_ascii=True, allow_nan=False) + "\n")


_answered = False


def begin() -> None:
    """Called by `main` once before each command."""
    global _answered
    _answered = False


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return str(value)


def ok(line: str) -> None:
    """A line of the human result that says what holds; nothing with --json."""
    _mark("ok", "32", line)


def fail(line: str) -> None:
    """A line of the human result that says what does not hold; nothing with --json. The exit code is the caller's."""
    _mark("FAILED", "31", line)


def undecided(line: str) -> None:
    """A line of the human result that says what neither holds nor fails; nothing with --json."""
    _mark("open", "33", line)


def _mark(word: str, colour: str, line: str) -> None:
    if wants_json():
        return
    shown = f"\x1b[{colour}m{word}\x1b[0m" if colourful(sys.stdout) else word
    _write(sys.stdout, shown + " " * (8 - len(word)) + safe(line) + "\n")


def note(line: str) -> None:
    """One line of talk, on stderr."""
    _write(sys.stderr, safe(line) + "\n")


def warn(line: str) -> None:
    """One line on stderr that the reader should act upon."""
    _write(sys.stderr, "warning: " + safe(line) + "\n")


def document(data: bytes) -> None:
    """``data`` itself on stdout; where that is a terminal, escaped line by line."""
    if sys.stdout.isatty():
        for line in data.removesuffix(b"\n").split(b"\n"):
            _write(sys.stdout, safe(line) + "\n")
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def write_file(path: str | Path, data: bytes, mode: int = 0o644, *, exclusive: bool = False) -> None:
    """Writes the whole of ``data`` or nothing, durably; ``-`` is stdout.

    exclusive: refuse to replace an existing file. Raises ConfigError (exists), UnavailableError (I/O).
    """
    if str(path) == STDOUT:
        document(data)
    else:
        files.write(Path(path), data, mode, exclusive=exclusive)


# Category C*: control, format, surrogate, private, unassigned; Z*: separators other than the space; M*: combining.
def _is_hidden(char: str) -> bool:
    return char != " " and unicodedata.category(char)[0] in "CZM"


def safe(text: str | bytes | object, limit: int | None = None) -> str:
    """``text`` with everything that could steer a terminal or hide itself escaped; bytes that are no UTF-8 as \\x{..}.

    limit: characters after which the text is cut, and the cut is told.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    elif not isinstance(text, str):
        text = str(text)
    cut = ""
    if limit is not None and len(text) > limit:
        text, cut = text[:limit], f" ... ({len(text)} characters)"
    if text.isascii() and text.isprintable():
        return text + cut
    return "".join(_escape(char) if _is_hidden(char) else char for char in text) + cut


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{{{code - 0xDC00:02x}}}" if 0xDC80 <= code <= 0xDCFF else f"\\u{{{code:x}}}"


def quoted(text: str | bytes) -> list[str]:
    """Text that others wrote, line by line behind a bar: it cannot be taken for this command's own words (A-77)."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return ["| " + safe(line) for line in raw.removesuffix(b"\n").split(b"\n")]


def columns(rows: Iterable[Sequence[object]]) -> list[str]:
    """Rows of cells as lines with aligned columns, two spaces apart; every cell is made safe."""
    cells = [[safe(cell) for cell in row] for row in rows]
    count = max(map(len, cells), default=0)
    widths = [max((len(row[i]) for row in cells if i < len(row)), default=0) for i in range(count)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in cells]


def error(
    cause: str, *, expected: object = None, actual: object = None, hint: str | None = None, code: int, as_json: bool
) -> None:
    """Prints a failure (rule 6) on stderr; where JSON is wanted and nothing is answered yet, on stdout as an object."""
    lines = [_coloured("error:", "31") + " " + safe(cause, MAX_ERROR_TEXT)]
    lines += [f"expected: {safe(expected, MAX_ERROR_TEXT)}"] if expected is not None else []
    lines += [f"actual: {safe(actual, MAX_ERROR_TEXT)}"] if actual is not None else []
    lines += [f"next: {safe(hint, MAX_ERROR_TEXT)}"] if hint else []
    _write(sys.stderr, "\n".join(lines) + "\n")
    if as_json and not _answered:
        _print_json(
            {
                "schema": "teelog-error/v1",
                "error": cause,
                "expected": None if expected is None else _text(expected),
                "actual": None if actual is None else _text(actual),
                "next": hint,
                "exit": code,
            }
        )


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def help_text(text: str) -> None:
    """This command's own help, on stderr: it was called without what it needs."""
    _write(sys.stderr, text.rstrip("\n") + "\n")


def trace(text: str) -> None:
    """A traceback for a developer (TEELOG_DEBUG), on stderr, made safe."""
    for line in text.rstrip("\n").split("\n"):
        _write(sys.stderr, safe(line) + "\n")


def worst_exit(codes: Iterable[int]) -> int:
    """The exit code of a command from those of its parts: 5 > 1 > 6 > 3 > 4 (design section 8)."""
    present = set(codes) or {0}
    return next((code for code in EXIT_ORDER if code in present), max(present))


class Step(Protocol):
    def __call__(self, advance: int = 1, text: str | None = None) -> None: ...


def _no_step(advance: int = 1, text: str | None = None) -> None:
    del advance, text


@contextlib.contextmanager
def progress(text: str, total: int | None = None) -> Iterator[Step]:
    """Shows work under way on a terminal's stderr, and nothing anywhere else. Call the yielded function per step."""
    if not colourful(sys.stderr):
        yield _no_step
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    shown = TextColumn("{task.description}", markup=False)
    with Progress(SpinnerColumn(), shown, BarColumn(), console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task(safe(text), total=total)

        def step(advance: int = 1, text: str | None = None) -> None:
            bar.update(task, advance=advance, description=None if text is None else safe(text))

        yield step


def colourful(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in (None, "", "dumb")


def _coloured(word: str, colour: str) -> str:
    return f"\x1b[{colour}m{word}\x1b[0m" if colourful(sys.stderr) else word


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
