"""`teelog monitor notify`: whom a monitor tells."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from teelog.cli import online, output
from teelog.cli.monitor_alerts import reading
from teelog.cli.monitor_setup import MONITOR
from teelog.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from teelog.witness.monitor.settings import Settings, SinkSettings

_KINDS = ("webhook", "atom", "jsonl")


@click.command()
@MONITOR
@click.argument("kind", required=False, type=click.Choice(_KINDS), metavar="[KIND]")
@click.argument("target", default="", required=False, metavar="[TARGET]")
@click.option("--local", is_flag=True, help="A webhook on this machine (loopback), over plain http if need be.")
@click.option("--from-now", is_flag=True, help="Only alerts from now on.  [default: all that there are]")
@click.option("--remove", is_flag=True, help="Tell it no longer, and forget its key.")
@click.option("--test", is_flag=True, help="Send a test alert there; without KIND, to all.")
@output.json_option
def notify(
    monitor: Path, kind: str | None, target: str, local: bool, from_now: bool, remove: bool, test: bool
) -> None:
    """Tell someone of alerts; without KIND, list who is told.

    \b
    KIND     TARGET
    webhook  https://HOST/PATH   each alert is posted as JSON, signed with a key that this command prints
    atom                         MONITOR/feed.atom, also served by `monitor run --listen` at /feed.atom
    jsonl    FILE                each alert is a line at the end of FILE

    A running monitor takes the change over with its next look. A webhook's key is printed once; it stays in
    MONITOR/keys. What is sent, and how a receiver verifies it, is in docs/formats/monitor-webhook.md.

    Example: teelog monitor notify M webhook https://alerts.acme.example/teelog
    """
    from teelog.witness.monitor import settings
    from teelog.witness.monitor.folder import Folder
    from teelog.witness.monitor.notify import webhook

    if kind is None and (remove or from_now or local):
        raise click.UsageError("--remove, --from-now and --local go with a KIND")
    if remove and test:
        raise click.UsageError("--remove and --test exclude each other")
    key = None
    if kind is None:
        after = settings.read(monitor)
        chosen: Sequence[SinkSettings] = after.sinks
    else:
        asked = _sink(kind, target, local or remove)
        chosen = [asked]
        with settings.changing(monitor) as before:
            known = {sink.name: sink for sink in before.sinks}
            if remove:
                if asked.name not in known:
                    hint = f"teelog monitor notify {monitor}"
                    raise ConfigError(f"{kind} {target} is not told of anything", hint=hint)
                del known[asked.name]
            else:
                if asked.name not in known and kind == "webhook":
                    key = webhook.new_key(Folder(monitor).keys, asked.name).hex()
                known[asked.name] = _from(monitor, asked, known.get(asked.name), from_now)
            after = msgspec.structs.replace(before, sinks=tuple(known.values()))
            settings.write(monitor, after)
            if remove:
                (Folder(monitor).keys / asked.name).unlink(missing_ok=True)
    lines = _lines(after)
    if key is not None:
        lines.append(f"key         {key}")
        output.note("the receiver verifies each request with this key: it is shown once, and kept in MONITOR/keys")
    if test:
        _test(monitor, chosen)
        lines.append(f"tested      {len(chosen)} outlet{'' if len(chosen) == 1 else 's'}")
    output.result(lines, _json(after, key))


def _sink(kind: str, target: str, local: bool) -> SinkSettings:
    from teelog.client import outbound
    from teelog.witness.monitor.settings import SinkSettings

    if kind == "atom":
        if target:
            raise click.UsageError("`atom` takes nothing more: the feed is MONITOR/feed.atom")
        return SinkSettings("atom", kind, "")
    if not target:
        raise click.UsageError(f"`{kind}` needs {'a URL' if kind == 'webhook' else 'a file'}")
    if kind == "webhook":
        try:
            outbound.check_url(target, local=local)
        except ConfigError as error:
            hint = "--local for a receiver on this machine; docs/formats/monitor-webhook.md"
            raise ConfigError(error.message, expected=error.expected, actual=error.actual, hint=hint) from error
    elif Path(target).is_dir():
        raise click.UsageError(f"{target} is a folder")
    else:
        target = str(Path(target).absolute())
    name = f"{kind}-{hashlib.sha256(target.encode()).hexdigest()[:12]}"
    return SinkSettings(name, kind, target, local)


def _from(monitor: Path, asked: SinkSettings, known: SinkSettings | None, from_now: bool) -> SinkSettings:
    """Where it begins: after what it was told before, or after all that there is now."""
    if known is not None and not from_now:
        return msgspec.structs.replace(asked, after=known.after)
    if not from_now:
        return asked
    with reading(monitor) as state:
        newest = state.ledger.newest(1)
    return msgspec.structs.replace(asked, after=newest[0].number if newest else 0)


def _test(monitor: Path, sinks: Sequence[SinkSettings]) -> None:
    """Raises what an outlet raises."""
    from teelog.witness.monitor.folder import Folder
    from teelog.witness.monitor.outlets import test

    if not sinks:
        raise ConfigError("nobody is told of anything", hint=f"teelog monitor notify {monitor} webhook URL")
    with reading(monitor) as state:
        for sink in sinks:
            online.run(test(Folder(monitor), sink, state, lambda: int(time.time())))


def _lines(settings: Settings) -> list[str]:
    told = [f"{sink.kind:<11} {sink.target or 'feed.atom'}" for sink in settings.sinks]
    return told or ["nobody is told; alerts are kept: teelog monitor alerts MONITOR"]


def _json(settings: Settings, key: str | None) -> dict[str, object]:
    return {
        "schema": "teelog-monitor-outlets/v1",
        "outlets": [{"name": sink.name, "kind": sink.kind, "target": sink.target} for sink in settings.sinks],
        "key": key,
    }
