"""`teelog proof get`: a fresh proof of logging, from the log's server or made from tiles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teelog.cli import files, online, output
from teelog.cli import policy as policies
from teelog.errors import MalformedError, RefusedError, TeelogError, UnavailableError, VerificationError
from teelog.tlog import tiles
from teelog.tlog.policy import Policy
from teelog.tlog.proof import TlogProof, verify_proof
from teelog.tlog.rfc6962 import leaf_hash

if TYPE_CHECKING:
    from teelog.client.publish import Published
    from teelog.client.state import ClientState

LOG_PATIENCE = 5.0  # seconds for the log's server, where mirrors hold its tiles too
LEAF = re.compile(r"[0-9a-f]{64}")


@click.command("get")
@click.argument("entries", metavar="FILE|LEAF...", nargs=-1, required=True)
@policies.policy_option
@click.option("--out", "outs", metavar="PROOF", multiple=True, required=True, help="Where to write it; one for each.")
@click.option("--from", "place", metavar="URL|DIR", help="Make the proof from the tiles there; asks no log server.")
@online.mirror_option
@online.url_option
@online.timeout_option
@online.state_option
@output.json_option
def command(
    entries: tuple[str, ...],
    policy_file: str,
    outs: tuple[str, ...],
    place: str | None,
    mirrors: tuple[str, ...],
    url: str | None,
    timeout: float,
    state_folder: Path | None,
) -> None:
    """Get a fresh proof for an entry that is logged, given its file or its leaf hash, and verify it.

    With several entries, and as many --out in the same order, all proofs are for one checkpoint: what is judged
    together, such as a release and its namespace, has to be in one tree.

    Example: teelog proof get release.json ns.json --policy policy.txt --out release.tlog-proof --out ns.tlog-proof
    """
    if len(outs) != len(entries):
        raise click.UsageError(f"{len(entries)} entries need {len(entries)} --out, in the same order")
    policy = policies.load(policy_file)
    policies.warn_if_unwitnessed(policy)
    leaves = [_leaf(entry) for entry in entries]
    state = online.open_state(state_folder)
    log = policies.place_of(policy, url, mirrors) if place is None else None
    found = online.run(_get(place, log, mirrors, leaves, policy, timeout, state))
    for out, each in zip(outs, found, strict=True):
        output.write_file(out, each.file)
    witnessed = found[0].inclusion.witnessed
    head = witnessed.checkpoint
    got = [(each.inclusion.index, each.inclusion.leaf, out) for each, out in zip(found, outs, strict=True)]
    output.ok("proof verified" if len(found) == 1 else f"{len(found)} proofs verified, for one checkpoint")
    output.result(
        [
            *(
                line
                for index, leaf, out in got
                for line in (
                    f"index         {index} of {head.size} in {head.origin}",
                    f"leaf          {leaf.hex()}",
                    f"proof         {out}",
                )
            ),
            f"witnessed by  {policies.witnessed_by(witnessed, policy)}",
        ],
        {
            "schema": "teelog-proof-got/v1",
            "log": head.origin,
            "size": head.size,
            "root": head.root,
            "witnesses": policies.cosigners(witnessed, policy),
            "proofs": [{"index": index, "leaf": leaf, "proof": out} for index, leaf, out in got],
        },
    )


def _leaf(entry: str) -> bytes:
    if LEAF.fullmatch(entry) and not Path(entry).exists():
        return bytes.fromhex(entry)
    return leaf_hash(files.read(entry, tiles.MAX_ENTRY, "file"))


async def _get(
    place: str | None,
    url: str | None,
    mirrors: Sequence[str],
    leaves: Sequence[bytes],
    policy: Policy,
    timeout: float,
    state: ClientState,
) -> list[Published]:
    """From the log's server, where it answers; else from the tiles of the log and its mirrors."""
    if place is None and url is not None:
        try:
            patience = min(timeout, LOG_PATIENCE) if mirrors else timeout
            return await _ask(url, leaves, policy, patience, state)
        except (UnavailableError, RefusedError, MalformedError, VerificationError) as error:
            if not mirrors:
                raise
            output.warn(f"{error.message}: the proof is made from tiles")
    return await _make(place or url, mirrors, leaves, policy, state)


async def _ask(
    url: str, leaves: Sequence[bytes], policy: Policy, timeout: float, state: ClientState
) -> list[Published]:
    from teelog.client.http import HttpClient, Refusal
    from teelog.client.publish import at_one_checkpoint, get_proof
    from teelog.client.source import HttpSource

    found = []
    async with HttpClient() as http:
        source = HttpSource(http, url)
        for leaf in leaves:
            try:
                found.append(await get_proof(http, url, leaf, policy, timeout=timeout, tell=online.tell))
            except Refusal as refusal:
                raise _explained(refusal, leaf, url) from refusal
            await online.remember(state, found[-1].inclusion.witnessed, source)
        # The log may have grown between two answers.
        return await at_one_checkpoint(found, source, policy)


def _explained(refusal: TeelogError, leaf: bytes, url: str) -> TeelogError:
    if getattr(refusal, "status", 0) != 404:
        return refusal
    return VerificationError(
        "the log knows no entry with this leaf hash",
        expected=f"leaf {leaf.hex()}",
        actual=refusal.message,
        hint=f"publish it, or search a log of another make: teelog proof get {leaf.hex()} --from {url}",
    )


async def _make(
    place: str | None, mirrors: Sequence[str], leaves: Sequence[bytes], policy: Policy, state: ClientState
) -> list[Published]:
    """Proofs from tiles alone: for mirrors, static copies and logs of other makes."""
    from teelog.client.log import LogReader
    from teelog.client.publish import Published
    from teelog.tlog.policy import verify_checkpoint

    proofs = []
    async with online.open_source(place, policy, mirrors) as source:
        witnessed = verify_checkpoint(await source.checkpoint(), policy)
        head = witnessed.checkpoint
        # First: what another tree does not have is no answer about the log.
        await online.remember(state, witnessed, source)
        reader = LogReader(source, head.size, head.root)
        for leaf in leaves:
            index = await reader.locate(leaf)
            proofs.append(TlogProof(index, tuple(await reader.prove_inclusion(index)), witnessed.note.encode()))
    return [
        Published(verify_proof(proof, leaf, policy), proof.encode(), False)
        for leaf, proof in zip(leaves, proofs, strict=True)
    ]
