"""`teelog evidence fetch`: the one command about evidence that goes online, so that the others need not."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teelog.cli import evidence_input, files, online, output
from teelog.errors import NotEstablished, UnavailableError
from teelog.evidence.platform import Evidence, Roots

if TYPE_CHECKING:
    from teelog.client.endorsements import Found

PLATFORMS = frozenset({"sev-snp", "tdx", "sgx", "azure"})
"""Of whose evidence something can be fetched."""
_LEAST_PAUSE = 1.0  # seconds


@click.command("fetch")
@click.argument("file", metavar="EVIDENCE")
@click.option(
    "--out",
    "folder",
    metavar="DIR",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where what comes is kept, and looked for first.",
)
@click.option("--url", metavar="URL", help="Of a PCCS, or of a mirror of AMD's service.  [default: Intel's, AMD's]")
@click.option(
    "--endorsement",
    "endorsements",
    metavar="FILE",
    multiple=True,
    help="A certificate that you have already, such as the VLEK's from your cloud; repeatable.",
)
@click.option("--again", is_flag=True, help="Fetch also what is there and still holds, such as newer revocation lists.")
@evidence_input.root_option
@online.timeout_option
@output.json_option
def command(
    file: str,
    folder: Path,
    url: str | None,
    endorsements: tuple[str, ...],
    again: bool,
    roots: Roots | None,
    timeout: float,
) -> None:
    """Fetch what verifying EVIDENCE needs from AMD or Intel: certificates, revocation lists, collateral.

    Nothing is kept before it has been verified against the evidence and the pinned roots; a good file is not fetched
    again. The vendor learns the chip's id and firmware (AMD) or the kind of platform (Intel), and nothing else of the
    evidence.

    Example: teelog evidence fetch report.bin --out endorsements
    """
    evidence = evidence_input.read(file)
    given = [files.read(each, evidence_input.MAX_EVIDENCE, "endorsement") for each in endorsements]
    found = online.run(_fetch(evidence, folder, url, given, again, roots, timeout))
    again_with = _next(file, found, endorsements)
    output.result(
        [
            *(f"{'fetched' if each.fetched else 'is there'}  {each.path}" for each in found.files),
            *([f"lacking  {found.lacking}"] if found.lacking else []),
        ],
        {
            "schema": "teelog-evidence-fetch/v1",
            "platform": evidence.platform,
            "files": [{"path": each.path, "fetched": each.fetched} for each in found.files],
            "endorsements": [*endorsements, *found.endorsements],
            "lacking": found.lacking,
            "next": None if found.lacking else again_with,
        },
    )
    if found.lacking:
        raise NotEstablished("an endorsement is lacking that cannot be fetched", expected=found.lacking)
    output.note(f"next: {again_with}")


def _next(file: str, found: Found, given: Sequence[str]) -> str:
    words = ["teelog", "evidence", "verify", file]
    for each in (*given, *map(str, found.endorsements)):
        words += ["--endorsement", each]
    return shlex.join(words)


async def _fetch(
    evidence: Evidence,
    folder: Path,
    url: str | None,
    given: list[bytes],
    again: bool,
    roots: Roots | None,
    timeout: float,
) -> Found:
    import asyncio
    import time

    from teelog.client.endorsements import Fetching
    from teelog.client.http import HttpClient

    deadline = asyncio.get_running_loop().time() + timeout
    try:
        async with asyncio.timeout_at(deadline), HttpClient(timeout) as http:
            while True:
                try:
                    return await Fetching(http, folder, int(time.time()), roots, url, given, again).fetch(evidence)
                except UnavailableError as error:
                    await _pause(error, deadline)
    except TimeoutError as error:
        raise UnavailableError("no answer in time", expected=f"all within {timeout:g} s") from error


async def _pause(error: UnavailableError, deadline: float) -> None:
    """As long as a busy service asks for: AMD's limits how often one may ask. Raises ``error`` if that is too long."""
    import asyncio

    pause = max(_LEAST_PAUSE, error.retry_after or 0.0)
    if error.retry_after is None or asyncio.get_running_loop().time() + pause >= deadline:
        raise error
    online.tell(error, pause)
    await asyncio.sleep(pause)
