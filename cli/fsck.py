"""`teelog log fsck`: re-derive a whole log from its entries and compare every tile and the signed root."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teelog.cli import files, keyref, online, output
from teelog.cli import policy as policies
from teelog.client.source import MAX_CHECKPOINT, is_url
from teelog.errors import ConfigError, TeelogError
from teelog.tlog.checkpoint import open_checkpoint
from teelog.tlog.policy import NONE, Log, Policy, WitnessedCheckpoint, verify_checkpoint
from teelog.tlog.vkey import LOG_TYPES

if TYPE_CHECKING:
    from teelog.client.fsck import Problem, Replay
    from teelog.client.state import ClientState

VKEY_FILE = "log.vkey"


@click.command("fsck")
@click.argument("place", metavar="LOG|URL")
@click.option("--policy", "policy_file", metavar="FILE", envvar="TEELOG_POLICY", show_envvar=True, help="With quorum.")
@click.option("--vkey", metavar="VKEY", help="The log's key instead of a policy.  [default for LOG: LOG/log.vkey]")
@online.state_option
@output.json_option
def command(place: str, policy_file: str | None, vkey: str | None, state_folder: Path | None) -> None:
    """Check a whole log: that its checkpoint is signed, and that every tile and the root follow from its entries.

    LOG is a log server's directory, or a copy of a log's public files. All entries are read and hashed again, by code
    of its own. Of a server's directory the index log is checked too, but for its map roots, which `teelog monitor once`
    derives again. Exit code 1 if anything differs, 5 if the log has signed another view before.

    Example: teelog log fsck LOG
    """
    policy = _policy(place, policy_file, vkey)
    state = online.open_state(state_folder) if is_url(place) or state_folder else None
    # Before the log's: a running server shows no leaf for more of the log than it has shown.
    shown = _index_checkpoint(place)
    with output.progress("hashing entries") as step:
        witnessed, found = online.run(_replay(place, policy, state, step))
        index = None if shown is None else online.run(_replay_index(place, shown, policy, witnessed, step))
    _report(witnessed, found, policy, index)
    if found.problems or (index is not None and index.problems):
        raise click.exceptions.Exit(1)


def _policy(place: str, policy_file: str | None, vkey: str | None) -> Policy:
    beside = Path(place) / VKEY_FILE
    if vkey is None and policy_file is None and not is_url(place) and beside.is_file():
        vkey = str(beside)
    if vkey is not None:
        keys = [key for key in keyref.load_vkeys(vkey) if key.type in LOG_TYPES]
        if not keys:
            raise ConfigError(f"{vkey} holds no log key", expected="a vkey of type 0x01 or 0x06")
        return Policy(tuple(Log(key, None) for key in keys), {}, {}, NONE)
    if not is_url(place) and not Path(place).is_dir():
        raise ConfigError(f"{place} is no log", expected="a log's directory or URL")
    if policy_file is None:
        raise ConfigError(
            "whose signature should the checkpoint have?",
            expected="--policy FILE or --vkey VKEY",
            hint=f"teelog log fsck {place} --policy policy.txt",
        )
    policy = policies.load(policy_file)
    policies.warn_if_unwitnessed(policy)
    return policy


async def _replay(
    place: str, policy: Policy, state: ClientState | None, step: output.Step
) -> tuple[WitnessedCheckpoint, Replay]:
    from teelog.client.fsck import replay
    from teelog.client.source import open_source

    async with open_source(place) as source:
        witnessed = verify_checkpoint(await source.checkpoint(), policy)
        if state is not None:
            await online.remember(state, witnessed, source)
        head = witnessed.checkpoint
        total = f" of {head.size}"
        done = 0

        def progress(count: int) -> None:
            nonlocal done
            done += count
            step(count, f"{done}{total} entries")

        return witnessed, await replay(source, head.size, head.root, progress)


@dataclass(frozen=True, slots=True)
class _Index:
    """size: leaves. input_size: main entries that the last one covers."""

    size: int
    input_size: int
    problems: tuple[Problem, ...]


def _index_checkpoint(place: str) -> bytes | None:
    """Of a log server's directory that has an index log; None of others."""
    if is_url(place) or not (Path(place) / "index" / VKEY_FILE).is_file():
        return None
    file = Path(place) / "public/index/checkpoint"
    return files.read(str(file), MAX_CHECKPOINT, "checkpoint") if file.is_file() else b""


async def _replay_index(
    place: str, shown: bytes, policy: Policy, main: WitnessedCheckpoint, step: output.Step
) -> _Index:
    from teelog.client.fsck import Problem, replay
    from teelog.client.fsck_index import check_leaves
    from teelog.client.source import DirectorySource, open_source
    from teelog.index.leaf import origin_of

    origin = origin_of(main.checkpoint.origin)
    keys = [key for key in keyref.load_vkeys(str(Path(place) / "index" / VKEY_FILE)) if key.type in LOG_TYPES]
    async with open_source(place) as source:
        assert isinstance(source, DirectorySource)
        index = DirectorySource(source.path / "index")
        try:
            head = open_checkpoint(shown, keys, origin).checkpoint
        except TeelogError as error:
            return _Index(0, 0, (Problem("index/checkpoint", error.message),))
        found = await replay(index, head.size, head.root)
        keys = [log.key for log in policy.logs]
        reached, wrong = await check_leaves(index, head.size, source, main.checkpoint, keys, step)
    tree = [replace(each, path=f"index/{each.path}") for each in found.problems]
    return _Index(head.size, reached, (*tree, *wrong))


def _report(witnessed: WitnessedCheckpoint, found: Replay, policy: Policy, index: _Index | None) -> None:
    head = witnessed.checkpoint
    problems = [*found.problems, *(index.problems if index else ())]
    for problem in problems:
        compared = f": expected {problem.expected}, found {problem.actual}" if problem.expected else ""
        output.fail(f"{problem.path}: {problem.cause}{compared}")
    if found.more:
        output.fail(f"and {found.more} more")
    if not problems:
        output.ok(f"{head.origin} is whole")
    output.result(
        [
            f"entries     {found.size} of {head.size}",
            f"tiles       {found.tiles} compared",
            f"root        {head.root.hex()}",
            *([] if index is None else [f"index       {index.size} leaves, up to {index.input_size} entries"]),
            *([] if policy.quorum == NONE else [f"witnessed   {policies.witnessed_by(witnessed, policy)}"]),
        ],
        {
            "schema": "teelog-fsck/v1",
            "ok": not problems,
            "log": head.origin,
            "size": head.size,
            "root": head.root,
            "entries": found.size,
            "tiles": found.tiles,
            "problems": [
                {"path": each.path, "cause": each.cause, "expected": each.expected, "actual": each.actual}
                for each in problems
            ],
            "more_problems": found.more,
            "index": None if index is None else {"size": index.size, "input_size": index.input_size},
        },
    )
