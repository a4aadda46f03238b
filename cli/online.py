"""What the commands that ask a server share: its URL, a deadline, the memory of earlier checkpoints."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from teelog.cli import output
from teelog.cli.duration import DURATION
from teelog.errors import UnavailableError
from teelog.tlog.policy import Policy, WitnessedCheckpoint

if TYPE_CHECKING:
    from teelog.client.http import HttpClient
    from teelog.client.source import TileSource
    from teelog.client.state import ClientState

Command = TypeVar("Command", bound=Callable[..., Any])
Result = TypeVar("Result")


def url_option(command: Command) -> Command:
    """Gives a command ``--url`` (or TEELOG_LOG); its parameter is ``url``."""
    return click.option(
        "--url", metavar="URL", envvar="TEELOG_LOG", show_envvar=True, help="Of the log.  [default: the policy's]"
    )(command)


def mirror_option(command: Command) -> Command:
    """Gives a command ``--mirror`` (or TEELOG_MIRROR), repeatable; its parameter is ``mirrors``."""
    return click.option(
        "--mirror",
        "mirrors",
        metavar="URL|DIR",
        multiple=True,
        envvar="TEELOG_MIRROR",
        show_envvar=True,
        help="Where the log is read as well, should it be gone or lie behind; repeatable.",
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


def source(http: HttpClient, place: str | None, policy: Policy, mirrors: Sequence[str]) -> TileSource:
    """The policy's one log at ``place``, and at its mirrors. Raises ConfigError."""
    from teelog.cli import policy as policies
    from teelog.client.cosigning import cosign_anew
    from teelog.client.places import Places, sources
    from teelog.client.source import HttpSource

    if not mirrors and place is not None:
        return HttpSource(http, place)
    origin = policies.the_log(policy).key.name
    places = [*([place] if place is not None else []), *mirrors]

    async def cosign(checkpoint: bytes) -> bytes:
        return await cosign_anew(http, policy, checkpoint)

    return Places([sources(http, each, origin) for each in places], policy, origin, output.warn, cosign=cosign)


@contextlib.asynccontextmanager
async def open_source(place: str | None, policy: Policy, mirrors: Sequence[str]) -> AsyncIterator[TileSource]:
    """As ``source``, for as long as the context lasts. place: a URL or a directory, None: mirrors alone."""
    from teelog.client import source as sources

    if not mirrors and place is not None:
        async with sources.open_source(place) as found:
            yield found
        return
    from teelog.client.http import HttpClient

    async with HttpClient() as http:
        yield source(http, place, policy, mirrors)


async def remember(state: ClientState, seen: WitnessedCheckpoint, source: TileSource) -> None:
    """Compares a verified checkpoint with those seen before, and with what mirrors show (CP-13, CP-14).

    Raises MisbehaviourError.
    """
    from teelog.client.log import prover
    from teelog.client.places import Places

    views = [each.witnessed for each in source.views] if isinstance(source, Places) else []
    for each in [seen, *(view for view in views if view.checkpoint != seen.checkpoint)]:
        trouble = await state.observe(each, prover(source))
        if trouble:
            output.warn(trouble)
