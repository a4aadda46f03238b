"""`teelog monitor`: look at logs that others run."""

from __future__ import annotations

import importlib

import click

# The order is that of `teelog monitor --help`.
_COMMANDS = {
    "init": "monitor_setup:init",
    "watch": "monitor_setup:watch",
    "notify": "monitor_notify:notify",
    "run": "monitor_run:run",
    "alerts": "monitor_alerts:alerts",
    "once": "monitor_once:once",
}


class _Group(click.Group):
    """Loads what is used: `once` needs no database, `alerts` no network."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        module, _, attribute = _COMMANDS.get(cmd_name, "").partition(":")
        if not module:
            return None
        command = getattr(importlib.import_module(f"teelog.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Group)
def group() -> None:
    """Watch logs: their trees, their indexes, what they say in a vendor's name. MONITOR is a monitor's folder."""
