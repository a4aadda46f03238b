"""`teelog measure event-log`: the registers that a log of measured boot explains."""

from __future__ import annotations

from pathlib import Path

import click

from teelog.cli import files, measured, output
from teelog.errors import NotEstablished
from teelog.measure.registers import Variant

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("event-log", short_help="Registers that a log of measured boot gives.")
@click.argument("log", metavar="FILE", type=_FILE)
@click.option("--bank", type=click.Choice(["sha1", "sha256", "sha384", "sha512"]), help="Of a TPM's log.  [sha256]")
@click.option("--expect", type=_FILE, help="Release statement, a variant of which must state the same registers.")
@output.json_option
def command(log: Path, bank: str | None, expect: Path | None) -> None:
    """The registers after the events of FILE: a TPM's log, a CCEL of TDX, or dstack's JSON.

    Nothing in a log is signed: its values are extracted, and hold as far as a quote has the same (`teelog evidence
    verify --event-log`). Logs of TCG 1.2 are read with --bank sha1.

    Example: teelog measure event-log /sys/firmware/acpi/tables/data/CCEL --json
    """
    from teelog.measure import event_logs

    found = event_logs.replay(files.read(log, event_logs.MAX_LOG, "event log"), bank)
    if not found.registers:
        raise NotEstablished("the log extends no register", expected="an event")
    when: dict[str, str | int] = {"log": found.form, "bank": found.bank}
    registers = {name: value.hex() for name, value in found.registers.items()}
    measured.tell_alternatives([Variant(_platform(found.form, found.bank), when, registers, "extracted")], expect)


def _platform(form: str, bank: str) -> str:
    """As in a release, where it has one for such registers."""
    if form in ("ccel", "dstack"):
        return "tdx"
    return "azure" if bank == "sha256" else f"tpm-{bank}"
