"""What the commands that ask a server share: its URL, a deadline, the memory of earlier checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from teelog.cli import output
from teelog.cli.duration import DURATION
from teelog.errors import UnavailableError
from teelog.tlog.policy import WitnessedCheckpoint

if TYPE_CHECKING:
    from teelog.client.source import TileSource
    from teelog.client.state import ClientState

Command = TypeVar("Command", bound=Callable[..., Any])
Result = TypeVar("Result")


def url_option(command: Command) -> Command:
    """Gives a command ``--url`` (or TEELOG_LOG); its parameter is ``url``."""
    return click.option(
        "--url", metavar="URL", envvar="TEELOG_LOG", show_envvar=True, help="Of the log.  [default: the policy's]"
    )(command)


def timeout_option(command: Command) -> Command:
    """Gives a command ``--timeout``; its parameter is ``timeout``, in seconds."""
    return click.option(
        "--timeout", type=DURATION, default="60s", show_default=True, help="Time in which to succeed, retries included."
    )(command)


def state_option(command: Command) -> Command:
    """Gives a command ``--state`` (or TEELOG_STATE); its parameter is ``state_folder``."""
    return click.option(
        "--state",
        "state_folder",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        help="Where checkpoints seen are remembered.  [env var: TEELOG_STATE; default: ~/.local/state/teelog]",
    )(command)


def open_state(folder: Path | None) -> ClientState:
    """Raises ConfigError where there is no place for it."""
    from teelog.client.state import ClientState, default_folder

    return ClientState(folder or default_folder(dict(os.environ)))


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Runs asynchronous work to its end; retries are told by `tell`, not by the library's own loggers."""
    import asyncio

    import stamina.instrumentation

    stamina.instrumentation.set_on_retry_hooks([])
    return asyncio.run(work)


def tell(error: UnavailableError, pause: float) -> None:
    """Says why a request is made again, and when."""
    detail = f" ({output.safe(error.actual, 200)})" if error.actual else ""
    output.note(f"{error.message}{detail}; again in {pause:.1f} s")


async def remember(state: ClientState, seen: WitnessedCheckpoint, source: TileSource) -> None:
    """Compares a verified checkpoint with those seen before (CP-13, CP-14). Raises MisbehaviourError."""
    from teelog.client.log import prover

    trouble = await state.observe(seen, prover(source))
    if trouble:
        output.warn(trouble)
