"""docs/commands.md, generated from the command tree: `make fix` (`python -m tests.project.reference`) writes it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from teelog.cli.main import root
from tests.project.sources import ROOT

PAGE = ROOT / "docs" / "commands.md"

HEAD = """# Commands

Generated from the command line by `make fix`; a test compares.
Output, JSON and exit codes: [command line](formats/command-line.md).
KEYREF and VKEY: [key references](formats/keyref.md).
"""


def commands(command: click.Command = root, path: tuple[str, ...] = ("teelog",)) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with the words that call it."""
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        member = command.get_command(context, name)
        assert member is not None
        if not member.hidden:
            yield from commands(member, (*path, name))


def reference() -> str:
    parts = [HEAD]
    for path, command in commands():
        parts.append(f"## {path}\n\n{_help(command)}\n")
        context = click.Context(command, info_name=path)
        usage = " ".join([path, *command.collect_usage_pieces(context)])
        rows = [f"```\n{usage}\n```\n"]
        options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
        if options:
            rows.append("| option | |\n|---|---|")
            rows += [f"| {_name(each, context)} | {_text(each)} |" for each in options]
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def _help(command: click.Command) -> str:
    paragraphs = inspect.cleandoc(command.help or "").replace("\f", "").replace("\b", "").split("\n\n")
    shown = []
    for paragraph in paragraphs:
        text = " ".join(paragraph.split())
        if text.startswith("Example: "):
            text = f"Example: `{text.removeprefix('Example: ')}`"
        shown.append(text)
    return "\n\n".join(shown)


def _name(option: click.Option, context: click.Context) -> str:
    metavar = "" if option.is_flag else " " + option.make_metavar(context)
    return f"`{', '.join(option.opts)}{metavar}`".replace("|", "\\|")


def _text(option: click.Option) -> str:
    text = " ".join((option.help or "").split()).replace("|", "\\|")
    notes = ["required"] if option.required else []
    notes += ["repeatable"] if option.multiple else []
    notes += [f"default: {option.default}"] if option.show_default else []
    notes += [f"environment: {option.envvar}"] if option.envvar else []
    return f"{text} ({'; '.join(notes)})".strip() if notes else text


if __name__ == "__main__":
    PAGE.write_text(reference())
