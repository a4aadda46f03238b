"""What the servers write to stderr: JSON lines off a terminal, readable lines on one.

Modules log through ``logging``; here their records become structured events. Nothing from outside can start a line of
its own or reach the terminal raw (A-18, A-74).
"""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor


def configure(stream: TextIO | None = None, level: int = logging.INFO, *, process: str = "") -> None:
    """Sends all records of the process to ``stream`` (stderr). process: its name in every record, if it has one."""
    stream = stream or sys.stderr
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if process:
        shared.append(_named(process))
    rendering: list[Processor]
    if stream.isatty():
        rendering = [structlog.processors.format_exc_info, _escape, structlog.dev.ConsoleRenderer(colors=False)]
    else:
        rendering = [_tracebacks, structlog.processors.JSONRenderer(ensure_ascii=True)]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering]
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)


# Without the values of local variables: entries and keys are among them.
_tracebacks = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


def _named(process: str) -> Processor:
    def add(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    return add


def _escape(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Escapes what could move a terminal's cursor; a traceback keeps its newlines."""
    return {key: _printable(value, keep="\n" if key == "exception" else "") for key, value in event.items()}


def _printable(value: Any, keep: str) -> Any:
    if not isinstance(value, str):
        return value
    return "".join(char if " " <= char <= "~" or char in keep else f"\\u{{{ord(char):x}}}" for char in value)
