"""`teelog monitor notify`: whom a monitor tells."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from teelog.cli import output
from teelog.cli.monitor_setup import MONITOR
from teelog.errors import ConfigError

if TYPE_CHECKING:
    from teelog.witness.monitor.settings import Settings, SinkSettings

_KINDS = ("webhook", "atom", "jsonl")


@click.command()
@MONITOR
@click.argument("kind", required=False, type=click.Choice(_KINDS), metavar="[KIND]")
@click.argument("target", default="", required=False, metavar="[TARGET]")
@click.option("--local", is_flag=True, help="A webhook on this machine (loopback), over plain http if need be.")
@click.option("--from-now", is_flag=True, help="Only alerts from now on.  [default: all that there are]")
@click.option("--remove", is_flag=True, help="Tell it no longer.")
@output.json_option
def notify(monitor: Path, kind: str | None, target: str, local: bool, from_now: bool, remove: bool) -> None:
    """Tell someone of alerts; without KIND, list who is told.

    \b
    KIND     TARGET
    webhook  https://HOST/PATH   each alert is posted as JSON, signed with a key that this command prints
    atom                         MONITOR/feed.atom, also served by `monitor run --listen` at /feed.atom
    jsonl    FILE                each alert is a line at the end of FILE

    A webhook's key is printed once; it stays in MONITOR/keys. What is sent and how it is verified is in
    docs/formats/monitor-alert.md.

    Example: teelog monitor notify M webhook https://alerts.acme.example/teelog
    """
    from teelog.witness.monitor import settings

    before = settings.read(monitor)
    if kind is None:
        output.result(_lines(before), _json(before, None))
        return
    sink = _sink(kind, target, local)
    known = {each.name: each for each in before.sinks}
    if remove:
        if sink.name not in known:
            raise ConfigError(f"{kind} {target} is not told of anything", hint=f"teelog monitor notify {monitor}")
        after = msgspec.structs.replace(before, sinks=tuple(each for each in before.sinks if each.name != sink.name))
        settings.write(monitor, after)
        output.result(_lines(after), _json(after, None))
        return
    key = _add(monitor, sink, from_now, known.get(sink.name))
    after = msgspec.structs.replace(before, sinks=(*(each for each in before.sinks if each.name != sink.name), sink))
    settings.write(monitor, after)
    lines = _lines(after)
    if key is not None:
        lines.append(f"key         {key}")
        output.note("the receiver verifies each request with this key: it is shown once, and kept in MONITOR/keys")
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
        outbound.check_url(target, local=local)
    elif Path(target).is_dir():
        raise click.UsageError(f"{target} is a folder")
    else:
        target = str(Path(target).absolute())
    name = f"{kind}-{hashlib.sha256(target.encode()).hexdigest()[:12]}"
    return SinkSettings(name, kind, target, local)


def _add(monitor: Path, sink: SinkSettings, from_now: bool, known: SinkSettings | None) -> str | None:
    from teelog.witness.monitor.folder import Folder
    from teelog.witness.monitor.notify import webhook

    folder = Folder(monitor)
    if from_now and known is None:
        with folder.locked() as state:
            newest = state.ledger.newest(1)
            state.tell(sink.name, newest[0].number if newest else 0)
    return webhook.new_key(folder.keys, sink.name).hex() if sink.kind == "webhook" and known is None else None


def _lines(settings: Settings) -> list[str]:
    told = [f"{sink.kind:<11} {sink.target or 'feed.atom'}" for sink in settings.sinks]
    return told or ["nobody is told; alerts are kept: teelog monitor alerts MONITOR"]


def _json(settings: Settings, key: str | None) -> dict[str, object]:
    return {
        "schema": "teelog-monitor-outlets/v1",
        "outlets": [{"name": sink.name, "kind": sink.kind, "target": sink.target} for sink in settings.sinks],
        "key": key,
    }
