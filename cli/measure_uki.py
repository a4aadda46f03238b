"""`teelog measure uki`: PCR 4 and PCR 11 of a TPM, recomputed from the program that firmware starts."""

from __future__ import annotations

from pathlib import Path

import click

from teelog.cli import measured, output
from teelog.measure.registers import Variant

PLATFORM = "azure"

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("uki", short_help="PCR 4 and 11 of a unified kernel image.")
@click.argument("image", metavar="FILE", type=_FILE)
@click.option("--bank", type=click.Choice(["sha256", "sha384"]), default="sha256", show_default=True)
@click.option("--stub", type=click.IntRange(252, 999), help="Version of systemd-stub, where FILE does not name it.")
@click.option("--expect", type=_FILE, help="Release statement, a variant of which must state the same PCRs.")
@output.json_option
def command(image: Path, bank: str, stub: int | None, expect: Path | None) -> None:
    """PCR 4 and PCR 11 after firmware started FILE directly: a unified kernel image, or (PCR 4) any EFI program.

    One variant is printed for each way to boot that the image leaves open: Secure Boot on or off, and how far the boot
    has come. A release states PCRs of the SHA-256 bank, of the platform azure; the SHA-384 bank is for others.

    Example: teelog measure uki linux.efi --json > regs.json
    """
    from teelog.measure import uki

    with measured.at_any_place(image) as (read, size):
        boots = uki.measure(read, size, bank, stub)
    platform = PLATFORM if bank == "sha256" else f"tpm-{bank}"
    measured.tell_alternatives(
        [
            Variant(platform, {**boot.when}, {name: value.hex() for name, value in boot.pcrs.items()}, "recomputed")
            for boot in boots
        ],
        expect,
    )
