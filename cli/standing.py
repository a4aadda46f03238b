"""What the commands share that ask a log what is in effect: whom to ask, whom to believe, what it is.

With an index policy, the log's index answers and a quorum of semantic witnesses vouches for it. Without one, the
command reads the whole log and finds out by itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from teelog.cli import current_index, online, output, statements
from teelog.cli import policy as policies
from teelog.cli import trust as trusts
from teelog.errors import (
    ConfigError,
    MalformedError,
    NotEstablished,
    RefusedError,
)
from teelog.statement import names
from teelog.statement.admit import Kind
from teelog.statement.names import Stream
from teelog.statement.release import Release, ReleaseClaim
from teelog.tlog.policy import Policy, WitnessedCheckpoint
from teelog.trust import INDEX_SUFFIX

if TYPE_CHECKING:
    from teelog.client.history import History, Version
    from teelog.client.http import HttpClient
    from teelog.client.source import TileSource
    from teelog.client.state import ClientState

Command = TypeVar("Command", bound=Callable[..., Any])


_STATEMENT_ID = re.compile(r"[0-9a-f]{64}")
_OPTIONS = (
    click.option(
        "--policy",
        "policy_file",
        metavar="FILE",
        envvar="TEELOG_POLICY",
        show_envvar=True,
        help="Log, witnesses, quorum.  [default: the trust file's]",
    ),
    click.option(
        "--index-policy",
        "index_file",
        metavar="FILE",
        envvar="TEELOG_INDEX_POLICY",
        show_envvar=True,
        help="The same for the log's index.  [default: the trust file's; without any, the whole log is read]",
    ),
    click.option(
        "--trust", "trust_file", metavar="FILE", envvar="TEELOG_TRUST", show_envvar=True, help="Gives both policies."
    ),
    online.url_option,
    online.timeout_option,
    online.state_option,
)


@dataclass(frozen=True, slots=True)
class Asked:
    """main, index: whom to believe. max_age: seconds after which the trust file calls a view stale, None without one.

    words: the options that say so, for the next command to type. mirrors: where the log is read as well.
    """

    main: Policy
    index: Policy | None
    max_age: int | None
    url: str | None
    timeout: float
    state_folder: Path | None
    words: str
    mirrors: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The log's URL. Raises ConfigError."""
        return policies.url_of(self.main, self.url)

    @property
    def origin(self) -> str:
        return policies.the_log(self.main).key.name

    def source(self, http: HttpClient) -> TileSource:
        """The log, and its mirrors. Raises ConfigError where no place is known."""
        place = policies.place_of(self.main, self.url, self.mirrors)
        return online.source(http, place, self.main, self.mirrors)

    def resting_on(self, index: WitnessedCheckpoint | None) -> Asked:
        """As the answer was found: without the index's policy where the log was read instead."""
        return self if index is not None else dataclasses.replace(self, index=None)


def options(command: Command) -> Command:
    """Gives a command the options that say whom to ask and whom to believe; its parameter is ``asked``."""
    return _options(command, required=True)


def options_if_any(command: Command) -> Command:
    """The same where a command can do without the log: ``asked`` is None where no policy is given."""
    return _options(command, required=False)


def reading_options(command: Command) -> Command:
    """As ``options``, for a command that only reads: its ``asked`` may name mirrors."""
    return _options(command, required=True, reads=True)


def reading_options_if_any(command: Command) -> Command:
    """As ``options_if_any``, for a command that only reads."""
    return _options(command, required=False, reads=True)


def _options(command: Command, *, required: bool, reads: bool = False) -> Command:
    @functools.wraps(command)
    def packed(
        *args: Any,
        policy_file: str | None,
        index_file: str | None,
        trust_file: str | None,
        url: str | None,
        timeout: float,
        state_folder: Path | None,
        mirrors: tuple[str, ...] = (),
        **rest: Any,
    ) -> Any:
        if not required and policy_file is None and trust_file is None:
            return command(*args, asked=None, **rest)
        main, index, max_age, words = _policies(policy_file, index_file, trust_file)
        asked = Asked(main, index, max_age, url, timeout, state_folder, words, mirrors)
        return command(*args, asked=asked, **rest)

    made: Any = packed
    for option in reversed((*_OPTIONS, online.mirror_option) if reads else _OPTIONS):
        made = option(made)
    return made  # type: ignore[no-any-return]


def _policies(
    policy_file: str | None, index_file: str | None, trust_file: str | None
) -> tuple[Policy, Policy | None, int | None, str]:
    trust = trusts.load(trust_file) if trust_file else None
    if policy_file is None and trust is None:
        raise click.UsageError("Missing option '--policy' (env var: 'TEELOG_POLICY'), or '--trust'.")
    if policy_file is not None:
        main = policies.load(policy_file)
        policies.the_log(main)  # exactly one
    else:
        assert trust is not None
        main = trust.main
    policies.warn_if_unwitnessed(main)
    origin = main.origins()[0]
    index = policies.load(index_file) if index_file else None
    if index is None and trust is not None and trust.origin == origin:
        index = trust.index
    must_belong(main, index)
    words = f"--policy {policy_file}" if policy_file is not None else f"--trust {trust_file}"
    words += f" --index-policy {index_file}" if index_file else ""
    return main, index, None if trust is None else trust.max_age, words


def must_belong(main: Policy, index: Policy | None) -> None:
    """Raises ConfigError where main is an index's policy, or index not that of main's log."""
    origins = main.origins()
    # An index holds no statements: whatever is asked of it, the answer would be that there is nothing.
    if origins and all(origin.endswith(INDEX_SUFFIX) for origin in origins):
        raise ConfigError(
            "the policy is that of a log's index, not of the log",
            expected=origins[0].removesuffix(INDEX_SUFFIX),
            actual=origins[0],
            hint="--policy FILE of the log; the index's is for --index-policy",
        )
    if index is not None and not {*index.origins()} & {origin + INDEX_SUFFIX for origin in origins}:
        raise ConfigError(
            "the index policy is not that of the log's index",
            expected=", ".join(origin + INDEX_SUFFIX for origin in origins),
            actual=", ".join(index.origins()) or "no log",
            hint="teelog policy show FILE",
        )


# -- what is in effect ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Standing:
    """What there is to ask while the connection lasts. main, index: the checkpoints that it rests on."""

    history: History
    main: WitnessedCheckpoint
    index: WitnessedCheckpoint | None
    source: TileSource
    http: HttpClient
    state: ClientState


@contextlib.asynccontextmanager
async def standing(asked: Asked, name: str, *, complete: bool = False) -> AsyncIterator[Standing]:
    """The log's history of a namespace. complete: see ``current_index.current``. Raises what asking the log raises."""
    from teelog.client.http import HttpClient
    from teelog.client.indexed import Indexed

    state = online.open_state(asked.state_folder)
    async with HttpClient() as http:
        source = asked.source(http)
        index = await current_index.if_any(asked, source, http, state, complete=complete)
        if index is None:
            history, main = await _replay(asked, name, source, state)
            yield Standing(history, main, None, source, http, state)
        else:
            yield Standing(Indexed(index), index.main, index.index, source, http, state)


async def _replay(
    asked: Asked, name: str, source: TileSource, state: ClientState
) -> tuple[History, WitnessedCheckpoint]:
    from teelog.client.cache import DiskCache
    from teelog.client.history import replay
    from teelog.client.log import LogReader
    from teelog.tlog.policy import verify_checkpoint

    witnessed = verify_checkpoint(await source.checkpoint(), asked.main)
    await online.remember(state, witnessed, source)
    head = witnessed.checkpoint
    cache = DiskCache(state.tiles(policies.the_log(asked.main).key))
    if head.size > 10_000:
        output.note(f"reading all {head.size} entries: --index-policy asks the log's index instead")
    with output.progress("reading the log", head.size) as step:
        reader = LogReader(source, head.size, head.root, cache)
        return await replay(reader, head.origin, name, step), witnessed


async def versions(history: History, name: str) -> list[Version]:
    """The versions of a namespace that the log has. Raises RefusedError without any."""
    found = list(await history.versions(name))
    if not found:
        raise RefusedError(
            f"the log has no namespace {name}",
            expected=f"version 0 of {name} on {history.origin}",
            hint="teelog namespace new; the log's operator logs it with: teelog log allow LOG FILE",
        )
    return found


def vouched(asked: Asked) -> str:
    """Who says that there is nothing else."""
    if asked.index is None:
        return "the whole log was read"
    return f"by the index, quorum: {policies.describe_quorum(asked.index)}"


# -- RELEASE: a file, a statement id or stream@version ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """A release that a user named. One of statement_id and version is there. stream: None where the name has none."""

    text: str
    stream: Stream | None
    statement_id: str | None = None
    version: str | None = None

    def is_(self, release: Release) -> bool:
        if self.statement_id is not None:
            return release.statement_id == self.statement_id
        return release.claim.predicate.version == self.version


def wanted(text: str) -> Wanted:
    """RELEASE as typed. A version alone is one of the stream that other words name. Raises UsageError and more."""
    if os.path.lexists(text):
        return _in_file(text)
    if _STATEMENT_ID.fullmatch(text):
        return Wanted(text, None, statement_id=text)
    stream, _, version = text.rpartition("@")
    try:
        return Wanted(text, names.stream(stream) if stream else None, version=names.version(version))
    except MalformedError as error:
        raise click.UsageError(f"{text} is no file that exists, no statement id and no STREAM@VERSION") from error


def _in_file(path: str) -> Wanted:
    made = statements.read(path)
    claim = made.statement.claim
    if not isinstance(claim, ReleaseClaim):
        raise statements.wrong_kind(path, Kind.RELEASE, made.statement.kind)
    return Wanted(path, claim.stream, statement_id=made.statement_id)


def stream_of(named: Iterable[Wanted], given: Stream | None) -> Stream:
    """The one stream that is meant. Raises UsageError."""
    found = {each.stream for each in named if each.stream is not None} | ({given} if given is not None else set())
    if len(found) > 1:
        raise click.UsageError(f"a status is of one stream, not of {', '.join(sorted(map(str, found)))}")
    if not found:
        version = next((f"{each.text} is no file: " for each in named if each.version is not None), "")
        raise click.UsageError(f"{version}which stream? --stream NAMESPACE/PRODUCT/CHANNEL")
    return found.pop()


async def resolve(history: History, stream: Stream, named: Iterable[Wanted]) -> list[Release]:
    """The logged releases that are meant, in the order of ``named``. Raises RefusedError, NotEstablished."""
    asked = list(named)
    found: dict[int, list[Release]] = {place: [] for place in range(len(asked))}
    by_version = any(each.version is not None for each in asked)
    async for release in history.releases(stream):
        for place, each in enumerate(asked):
            if each.is_(release):
                found[place].append(release)
        if not by_version and all(found.values()):
            break
    return [_one(each, found[place], stream) for place, each in enumerate(asked)]


async def known(history: History, stream: Stream, statement_ids: Collection[str]) -> dict[str, Release]:
    """The logged releases of a stream with these statement ids, as far as there are any."""
    found: dict[str, Release] = {}
    if not statement_ids:
        return found
    async for release in history.releases(stream):
        if release.statement_id in statement_ids:
            found[release.statement_id] = release
            if len(found) == len(statement_ids):
                break
    return found


def _one(named: Wanted, found: list[Release], stream: Stream) -> Release:
    if not found:
        raise RefusedError(
            f"{named.text} is no release of {stream} on this log",
            expected="a release that is logged and in effect",
            hint="teelog release publish FILE --policy POLICY --out PROOF",
        )
    if len(found) > 1:
        raise NotEstablished(
            f"{len(found)} releases of {stream} are called {named.version}",
            expected="a statement id",
            actual=", ".join(each.statement_id for each in found[:4]),
        )
    return found[0]
