"""`teelog log`: run a log."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teelog.cli import files, freeze, output
from teelog.cli import policy as policies
from teelog.cli.proof import utc
from teelog.client.source import is_url
from teelog.errors import MalformedError, RefusedError

if TYPE_CHECKING:
    from teelog.log_server.index.status import IndexStatus


def _directory(_context: click.Context, _parameter: click.Parameter, value: str) -> Path:
    if is_url(value):
        raise click.BadParameter(f"{value} is a URL; of a log elsewhere: teelog checkpoint verify, teelog log fsck")
    return Path(value)


LOG = click.argument("log", metavar="LOG", type=click.Path(), callback=_directory)


_NAMESPACE_HINT = "teelog namespace new --help"
_HINTS = {409: "see which: teelog log status LOG", 422: _NAMESPACE_HINT}


class _Group(click.Group):
    """`fsck` and `mirror` read any log, so their modules are loaded only when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *(["fsck"] if _has_fsck() else []), "mirror"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "mirror":
            from teelog.cli import log_mirror

            return log_mirror.command
        if cmd_name == "fsck" and _has_fsck():
            from teelog.cli import fsck

            return fsck.command
        return super().get_command(ctx, cmd_name)


def _has_fsck() -> bool:
    return importlib.util.find_spec("teelog.cli.fsck") is not None


@click.group(cls=_Group)
def group() -> None:
    """Run a log. LOG is its directory."""


@group.command()
@LOG
@click.option("--origin", required=True, help="The log's name, a URL without scheme: log.example/tee.")
@click.option(
    "--private-results",
    is_flag=True,
    help="Take results that hold raw evidence, nonces, chip ids. In entry 0 for good.",
)
@click.option("--raw", is_flag=True, help="Take any bytes on POST /add: for load tests. Stated in entry 0 for good.")
@output.json_option
def init(log: Path, origin: str, raw: bool, private_results: bool) -> None:
    """Make a log: its settings, its keys (Ed25519, ML-DSA-44, and an operator's), its first entry, its index log.

    LOG must not exist, or be empty. Prints the log's vkeys, which LOG/log.vkey holds too; the index log's are in
    LOG/index/log.vkey.

    Example: teelog log init LOG --origin log.example/tee
    """
    from teelog.log_server import create
    from teelog.log_server.clock import SystemClock

    made = create.create(log, origin, SystemClock(), raw=raw, private_results=private_results)
    vkeys = [str(key) for key in made.vkeys]
    output.note(f"hand out {log}/log.vkey; keep {log}/*.key to yourself, operator.key best away from this machine")
    output.result(
        vkeys,
        {
            "schema": "teelog-log/v1",
            "origin": origin,
            "vkeys": vkeys,
            "index_vkeys": [str(key) for key in made.index_vkeys],
            "directory": log,
            "operator": made.operator,
            "log_policy": made.policy_id,
            "raw": raw,
            "private_results": private_results,
        },
    )


@group.command()
@LOG
@click.option("--listen", default="127.0.0.1:6960", show_default=True, metavar="HOST:PORT", help="Port 0: any.")
@policies.policy_option
@click.option("--admin", "admin_listen", metavar="HOST:PORT", help="Where /metrics, /healthz, /readyz are; private.")
@click.option("--workers", default=0, metavar="N", help="Front processes beside the one that writes.  [default: none]")
@click.option("--index-policy", metavar="FILE", help="Policy of the index log: with it, the index is kept and served.")
def serve(
    log: Path, listen: str, policy_file: str, admin_listen: str | None, workers: int, index_policy: str | None
) -> None:
    """Serve until SIGTERM or SIGINT.

    The policy names the witnesses that are asked and the quorum without which nothing is published. The index log,
    whose origin ends in /index/v1, has a policy of its own, with semantic witnesses.

    Example: teelog log serve LOG --listen 127.0.0.1:6960 --policy policy.txt
    """
    from teelog.listen import Address, parse_address
    from teelog.log_server import serve as service

    policy = policies.load(policy_file)
    policies.warn_if_unwitnessed(policy)
    indexed = None if index_policy is None else policies.load(index_policy)
    if indexed is not None:
        policies.warn_if_unwitnessed(indexed)

    def ready(public: Address, admin: Address | None) -> None:
        if admin is not None:
            output.note(f"metrics on http://{admin}/metrics")
        output.note(f"listening on http://{public}")

    service.serve(
        log,
        parse_address(listen),
        policy,
        admin_listen=None if admin_listen is None else parse_address(admin_listen),
        workers=workers,
        index_policy=indexed,
        ready=ready,
    )


@group.command()
@LOG
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False))
@output.json_option
def allow(log: Path, file: str) -> None:
    """Log the first version of a namespace, from FILE, which its owners have signed.

    Goes through the running server, where it takes effect at once; without one it is committed to LOG and published by
    the next `teelog log serve`. Doing it again changes nothing.

    Example: teelog log allow LOG ns.json
    """
    import asyncio

    from teelog.log_server.allow import allow as admit
    from teelog.log_server.clock import SystemClock
    from teelog.tlog.tiles import MAX_ENTRY

    entry = files.read(file, MAX_ENTRY, "statement")
    try:
        done = asyncio.run(admit(log, entry, SystemClock()))
    except MalformedError as error:
        raise MalformedError(
            f"{file}: {error.message}", expected=error.expected, actual=error.actual, hint=_NAMESPACE_HINT
        ) from error
    except RefusedError as error:
        error.hint = error.hint or _HINTS.get(error.status)
        raise
    if not done.entered.published:
        output.note("committed; the next `teelog log serve` publishes it")
    output.result(
        [
            f"namespace  {done.namespace}{'' if done.entered.fresh else ' (logged before)'}",
            f"index      {done.entered.index}",
            f"statement  {done.statement_id}",
            f"leaf       {done.entered.leaf.hex()}",
        ],
        {
            "schema": "teelog-allowed/v1",
            "namespace": done.namespace,
            "index": done.entered.index,
            "statement_id": done.statement_id,
            "leaf": done.entered.leaf,
            "fresh": done.entered.fresh,
            "published": done.entered.published,
        },
    )


group.add_command(freeze.command)


@group.command()
@LOG
@output.json_option
def status(log: Path) -> None:
    """Show what a log has signed and published; works beside a running server.

    Example: teelog log status LOG
    """
    from teelog.log_server.status import status as look

    found = look(log)
    rows = [
        ("origin", found.origin),
        ("running", "yes" if found.running else "no"),
        ("signed", f"size {found.size}  root {found.root.hex()}"),
        ("published", f"size {found.published_size}  root {found.published_root.hex()}"),
        ("signed at", utc(found.published_at) if found.published_at else "-"),
        ("cosigned by", ", ".join(found.cosigners) or "-"),
        ("unpublished", f"{found.staged_batches} batches"),
        ("namespaces", len(found.namespaces)),
        *(("", f"{name}  version {version}  index {index}") for name, version, index in found.namespaces),
        *((("ended", f"goes on at {found.successor or 'no other log'}"),) if found.frozen else ()),
        *_index_rows(found.index),
        ("free disk", f"{found.free / 1e9:.1f} GB"),
    ]
    output.result(
        output.columns(rows),
        {
            "schema": "teelog-log-status/v1",
            "origin": found.origin,
            "vkeys": list(found.vkeys),
            "running": found.running,
            "size": found.size,
            "root": found.root,
            "published": {
                "size": found.published_size,
                "root": found.published_root,
                "timestamp": found.published_at,
                "cosigners": list(found.cosigners),
            },
            "unpublished_batches": found.staged_batches,
            "namespaces": [
                {"namespace": name, "version": version, "index": index} for name, version, index in found.namespaces
            ],
            "frozen": found.frozen,
            "successor": found.successor,
            "index": None if found.index is None else dataclasses.asdict(found.index),
            "epoch": found.epoch,
            "raw": found.raw,
            "free_bytes": found.free,
        },
    )


def _index_rows(index: IndexStatus | None) -> list[tuple[str, object]]:
    if index is None:
        return []
    running = "" if index.running else "  (not running)"
    return [
        ("index", f"size {index.published_size}  covers {index.input_size} entries{running}"),
        ("  cosigned by", ", ".join(index.cosigners) or "-"),
    ]


@group.command()
@LOG
@output.json_option
def rebuild(log: Path) -> None:
    """Derive a log's index anew from its entries, and compare it with the index log's last leaf.

    Only without a running server. A server that finds no LOG/index/index.db does the same by itself.

    Example: teelog log rebuild LOG
    """
    from teelog.log_server.index.rebuild import rebuild as derive

    with output.progress("mapping entries") as step:
        last = 0

        def progress(done: int, total: int) -> None:
            nonlocal last
            step(done - last, f"{done} of {total} entries")
            last = done

        made = derive(log, progress)
    output.ok("the index is that of the index log's last leaf")
    output.result(
        [f"entries   {made.input_size}", f"map root  {made.map_root.hex()}", f"leaves    {made.index_size}"],
        {
            "schema": "teelog-rebuilt/v1",
            "index_size": made.index_size,
            "input_size": made.input_size,
            "map_root": made.map_root,
        },
    )
