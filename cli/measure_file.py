"""`teelog measure file`: the digests of any file."""

from __future__ import annotations

import hashlib
import time
from datetime import datetime
from pathlib import Path

import click

from teelog.cli import files, measured, output
from teelog.cli.duration import moment
from teelog.errors import VerificationError
from teelog.measure.values import Value

ALGORITHMS = ("sha256", "sha384", "sha512")

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PIECE = 1 << 18


@click.command("file", short_help="Digests of any file.")
@click.argument("path", metavar="FILE", type=_FILE)
@click.option("--initdata", is_flag=True, help="FILE is initdata of confidential containers: add the fields it fills.")
@click.option("--rim", is_flag=True, help="FILE is a list of reference values of NVIDIA: verify it and print them.")
@click.option("--at", metavar="TIME", callback=moment, help="With --rim: judge as of 2026-01-31, or with T12:00:00Z.")
@click.option("--expect", type=_FILE, help="Release statement, a subject of which must have this digest.")
@output.json_option
def command(path: Path, initdata: bool, rim: bool, at: datetime | None, expect: Path | None) -> None:
    """SHA-256, SHA-384 and SHA-512 of FILE: an image, an OCI manifest, a list of reference values.

    With --rim, the values that a GPU or switch must report, extracted: nothing outside NVIDIA recomputes them.
    With --initdata what HOST_DATA, MRCONFIGID and the like hold of it. The digest of an OCI manifest is that of
    its bytes as they were served.

    Example: teelog measure file manifest.json --expect release.json
    """
    if (initdata and rim) or (at is not None and not rim):
        raise click.UsageError("--initdata and --rim exclude each other; --at needs --rim")
    digests = _digests(path)
    if rim:
        measured.tell_artifact("nvidia-rim", _reference_values(path, at), digests, expect)
        return
    when: dict[str, str | int] = {}
    found = dict(digests)
    if initdata:
        from teelog.measure import initdata as container

        algorithm, fields = container.measure(files.read(path, container.MAX_BYTES, "initdata"))
        when, found = {"algorithm": algorithm}, {name: value.hex() for name, value in fields.items()}
    measured.tell_artifact("initdata" if initdata else "file", Value(when, found, "recomputed"), digests, expect)


def _reference_values(path: Path, at: datetime | None) -> Value:
    """``index_N``, or where several values are right ``index_N.1`` and so on. Raises what `rim.verify` raises."""
    from teelog.evidence.nvidia import rim, roots

    now = int(time.time()) if at is None else int(at.timestamp())
    try:
        found = rim.verify(files.read(path, rim.MAX_RIM, "RIM"), now, roots.rim(roots.shipped()))
    except VerificationError as error:
        if at is None and "has expired" in error.message:
            error.hint = "--at TIME, if what was right then is the question"
        raise
    values: dict[str, str] = {}
    for index, golden in sorted(found.golden.items()):
        names = [f"index_{index}.{place}" for place in range(1, len(golden) + 1)]
        values |= zip(names if len(golden) > 1 else [f"index_{index}"], (each.hex() for each in golden), strict=True)
    return Value({"edition": found.edition, "product": found.product, "version": found.version}, values, "extracted")


def _digests(path: Path) -> dict[str, str]:
    states = {name: hashlib.new(name) for name in ALGORITHMS}
    with measured.opened(path) as read:
        while piece := read(_PIECE):
            for state in states.values():
                state.update(piece)
    return {name: state.hexdigest() for name, state in states.items()}
