"""What the commands about evidence take in the same way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from teelog import strict
from teelog.cli import files
from teelog.errors import MalformedError
from teelog.evidence import platform
from teelog.evidence.platform import Evidence, Roots

MAX_EVIDENCE = 1 << 20  # bytes

Command = TypeVar("Command", bound=Callable[..., Any])


def read(path: str) -> Evidence:
    """Raises UnavailableError, MalformedError, NotEstablished."""
    return platform.parse(files.read(path, MAX_EVIDENCE, "evidence"))


def root_option(command: Command) -> Command:
    """Gives a command ``--root``; its parameter is ``roots``, None where none was given."""
    return click.option(
        "--root",
        "roots",
        metavar="NAME=SHA256",
        multiple=True,
        callback=_roots,
        help="Believe this root in place of the vendor's, such as Milan=<hex of its certificate's hash>; "
        "CCA, TPM: of the key; repeatable.",
    )(command)


def _roots(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> Roots | None:
    pins: dict[str, bytes] = {}
    for value in values:
        name, _, digest = value.partition("=")
        try:
            pins[name] = strict.unhex(digest, "root", 32)
        except MalformedError as error:
            raise click.BadParameter(str(error)) from error
    return Roots(pins) if pins else None
