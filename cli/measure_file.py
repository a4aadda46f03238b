"""`teelog measure file`: the digests of any file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from teelog.cli import files, measured, output
from teelog.measure.values import Value

ALGORITHMS = ("sha256", "sha384", "sha512")

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PIECE = 1 << 18


@click.command("file", short_help="Digests of any file.")
@click.argument("path", metavar="FILE", type=_FILE)
@click.option("--initdata", is_flag=True, help="FILE is initdata of confidential containers: add the fields it fills.")
@click.option("--expect", type=_FILE, help="Release statement, a subject of which must have this digest.")
@output.json_option
def command(path: Path, initdata: bool, expect: Path | None) -> None:
    """SHA-256, SHA-384 and SHA-512 of FILE: an image, an OCI manifest, a list of reference values.

    With --initdata also what HOST_DATA, MRCONFIGID and the like hold of it. The digest of an OCI manifest is that of
    its bytes as they were served.

    Example: teelog measure file manifest.json --expect release.json
    """
    digests = _digests(path)
    when: dict[str, str | int] = {}
    found = dict(digests)
    if initdata:
        from teelog.measure import initdata as container

        algorithm, fields = container.measure(files.read(path, container.MAX_BYTES, "initdata"))
        when, found = {"algorithm": algorithm}, {name: value.hex() for name, value in fields.items()}
    measured.tell_artifact("initdata" if initdata else "file", Value(when, found, "recomputed"), digests, expect)


def _digests(path: Path) -> dict[str, str]:
    states = {name: hashlib.new(name) for name in ALGORITHMS}
    with measured.opened(path) as read:
        while piece := read(_PIECE):
            for state in states.values():
                state.update(piece)
    return {name: state.hexdigest() for name, state in states.items()}
