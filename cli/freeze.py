"""`teelog log freeze`: the end of a log."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from teelog.cli import keyref, output
from teelog.errors import MalformedError
from teelog.statement import names
from teelog.statement.dsse import Signer


def _origin(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else names.origin(value)
    except MalformedError as error:
        raise click.BadParameter(f"{error.message}, expected {error.expected}") from error


@click.command("freeze")
@click.argument("log", metavar="LOG", type=click.Path(file_okay=False, exists=True, path_type=Path))
@click.option("--successor", metavar="ORIGIN", callback=_origin, help="The log that goes on.")
@click.option(
    "--key", "refs", metavar="KEYREF", multiple=True, help="Of an operator; repeatable.  [default: LOG/operator.key]"
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@output.json_option
def command(log: Path, successor: str | None, refs: tuple[str, ...], yes: bool) -> None:
    """End a log, for good: its last policy, after which it takes nothing.

    What is logged stays readable and proven. Semantic witnesses sign nothing more for its index, so every bundle of
    the log goes stale within its maximum age: streams go on by new statuses on the successor. Goes through the running
    server; without one it is committed to LOG and published by the next `teelog log serve`. Doing it again changes
    nothing.

    Example: teelog log freeze LOG --successor log2.example/tee
    """
    import asyncio

    from teelog.log_server import freeze
    from teelog.log_server.clock import SystemClock

    signers: list[Signer] = [keyref.load_signer(ref) for ref in refs]
    file = freeze.policy_file(log, successor, signers or [freeze.operator(log)])
    if not yes:
        _confirm(log, successor)
    done = asyncio.run(freeze.freeze(log, file, SystemClock()))
    entered = done.entered
    if not entered.published:
        output.note("committed; the next `teelog log serve` publishes it")
    output.result(
        [
            f"log        {done.origin} has ended{'' if entered.fresh else ' (before)'}",
            f"successor  {done.successor or '-'}",
            f"index      {entered.index}",
            f"statement  {done.policy.statement_id}",
            f"leaf       {entered.leaf.hex()}",
        ],
        {
            "schema": "teelog-frozen/v1",
            "origin": done.origin,
            "successor": done.successor,
            "index": entered.index,
            "statement_id": done.policy.statement_id,
            "leaf": entered.leaf,
            "fresh": entered.fresh,
            "published": entered.published,
        },
    )


def _confirm(log: Path, successor: str | None) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is there to agree: --yes")
    goes_on = f"its streams go on at {successor}" if successor else "no log is named that goes on"
    output.note(f"{log} takes nothing any more, for good; {goes_on}")
    click.confirm("end this log?", abort=True, err=True)
