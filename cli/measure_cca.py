"""`teelog measure cca`: the initial measurement of an Arm CCA realm, recomputed from its description."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from teelog.cli import files, measured, output
from teelog.errors import MalformedError, UnavailableError
from teelog.measure.registers import Variant

PLATFORM = "cca"

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PIECE = 1 << 18  # bytes, whole granules


@click.command("cca", short_help="RIM of an Arm CCA realm.")
@click.argument("realm", metavar="REALM", type=_FILE)
@click.option("--expect", type=_FILE, help="Release statement that must state the same registers.")
@output.json_option
def command(realm: Path, expect: Path | None) -> None:
    """RIM of an Arm CCA realm, from a description of what the host does to build it.

    REALM is JSON of the form teelog-realm/v1 (docs/formats/evidence-cca.md): parameters and steps. Files that it names
    lie beside it. Exit 1 if --expect FILE states another value; no signature of the release is verified.

    Example: teelog measure cca realm.json --json > regs.json
    """
    from teelog.measure import realm as realms

    try:
        described = realms.decode(files.read(realm, realms.MAX_BYTES, "realm"))
    except MalformedError as error:
        raise MalformedError(
            f"{realm}: {error.message}",
            expected=error.expected,
            actual=error.actual,
            hint="docs/formats/evidence-cca.md has a description to begin with",
        ) from error
    value = realms.rim(described, lambda name: _pieces(realm.parent / name))
    when: dict[str, str | int] = {"ipa_bits": described.ipa_bits, "hash": described.hash_algorithm}
    measured.tell([Variant(PLATFORM, when, {"rim": value.hex()}, "recomputed")], expect)


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        # Not a pipe or a device, whose end may never come.
        if not path.is_file():
            raise UnavailableError(f"cannot read {path}", actual="not a file")
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
    except OSError as error:
        raise UnavailableError(f"cannot read {path}", actual=error.strerror or str(error)) from error
