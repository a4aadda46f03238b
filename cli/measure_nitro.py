"""`teelog measure nitro`: the registers of an AWS Nitro enclave, recomputed from its image."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teelog.cli import measured, output
from teelog.errors import UnavailableError
from teelog.measure.registers import Variant

if TYPE_CHECKING:
    from teelog.measure.nitro import Job, Measurement, Read

PLATFORM = "nitro"

_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/\S+")
_INSTANCE = re.compile(r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("nitro", short_help="PCR0, 1, 2 and 8 of an AWS Nitro enclave.")
@click.argument("image", metavar="EIF", type=_FILE)
@click.option("--role", metavar="ARN", help="IAM role of the parent instance: adds PCR3.")
@click.option("--instance", metavar="ID", help="Parent instance, such as i-0123456789abcdef0: adds PCR4.")
@click.option("--expect", type=_FILE, help="Release statement that must state the same registers.")
@output.json_option
def command(image: Path, role: str | None, instance: str | None, expect: Path | None) -> None:
    """PCR0, PCR1 and PCR2 of an enclave image file (EIF), and PCR8 where the image is signed.

    A signature in the image is verified. Exit 1 if --expect FILE states other values. --expect compares and verifies
    no signature of the release: that is `teelog proof verify`.

    Example: teelog measure nitro app.eif --json > regs.json
    """
    # Any other text would be hashed as well, and give a value that no machine has.
    if role is not None and not _ROLE.fullmatch(role):
        raise click.UsageError("--role: not the ARN of a role, such as arn:aws:iam::123456789012:role/NAME")
    if instance is not None and not _INSTANCE.fullmatch(instance):
        raise click.UsageError("--instance: not an instance's id, such as i-0123456789abcdef0")
    from teelog.evidence.nitro import pcr

    found = measure(image)
    pcrs = dict(found.pcrs)
    if role is not None:
        pcrs["pcr3"] = pcr.of_role(role)
    if instance is not None:
        pcrs["pcr4"] = pcr.of_instance(instance)
    registers = {name: pcrs[name].hex() for name in sorted(pcrs)}
    measured.tell([Variant(PLATFORM, {"arch": found.architecture}, registers, "recomputed")], expect)


def measure(image: Path) -> Measurement:
    """Raises UnavailableError, and what `teelog.measure.nitro.measure` raises."""
    from teelog.measure import nitro

    with _opened(image) as (read, size):
        return nitro.measure(read, size, _side_by_side)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Read, int]]:
    """How to read a file in pieces, from several threads, and its size in bytes."""
    try:
        with path.open("rb", buffering=0) as file:
            number = file.fileno()

            def read(offset: int, size: int) -> bytes:
                piece = os.pread(number, size, offset)
                if len(piece) != size:
                    raise UnavailableError(f"{path} became shorter while it was read")
                return piece

            yield read, os.fstat(number).st_size
    except OSError as error:
        raise UnavailableError(f"cannot read {path}", actual=error.strerror or str(error)) from error


def _side_by_side(jobs: Sequence[Job]) -> list[tuple[bytes, ...]]:
    """Hashing lets other threads run meanwhile."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(lambda job: job(), jobs))
