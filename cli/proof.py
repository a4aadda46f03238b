"""`teelog proof`: get, show and verify proofs of logging.

`show` and `verify` open no socket and load no HTTP client: what they need is in the files that they are given.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from teelog.cli import files, output, proof_get
from teelog.cli import policy as policies
from teelog.cli.duration import DURATION
from teelog.errors import (
    MalformedError,
    NotEstablished,
    NotWitnessed,
    ProofError,
    UntrustedKey,
)
from teelog.tlog import checkpoint, note, tiles
from teelog.tlog.policy import NONE, Policy, WitnessedCheckpoint
from teelog.tlog.proof import MAX_LENGTH, TlogProof, VerifiedInclusion, parse_proof, verify_proof
from teelog.tlog.rfc6962 import leaf_hash

if TYPE_CHECKING:
    from teelog.statement import draft


@click.group()
def group() -> None:
    """Get, show and verify proofs that an entry is in a witnessed log."""


group.add_command(proof_get.command)


# -- verify -----------------------------------------------------------------------------------------------------------


@group.command()
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False))
@click.option("--proof", "proof_file", metavar="PROOF", required=True, help="The .tlog-proof file.")
@policies.policy_option
@click.option("--log", "origin", metavar="ORIGIN", help="The one log wanted, where the policy lists several.")
@click.option("--require-witness", is_flag=True, help="Exit code 3 if the policy asks for no witness.")
@click.option("--max-age", type=DURATION, help="Count only cosignatures that are no older than this, such as 24h.")
@click.option("--min-index", type=click.IntRange(min=0), default=0, help="Refuse entries below this index.")
@click.option(
    "--pruned",
    metavar="NAME=INDEX",
    multiple=True,
    help="A mirror among the policy's witnesses that keeps entries from this index on: for others it does not count.",
)
@output.json_option
def verify(
    file: str,
    proof_file: str,
    policy_file: str,
    origin: str | None,
    require_witness: bool,
    max_age: float | None,
    min_index: int,
    pruned: tuple[str, ...],
) -> None:
    """Verify, with no network, that exactly the bytes of FILE are in a log that the policy's witnesses vouch for.

    It does not say who signed the statement, nor whether it is still allowed.

    Example: teelog proof verify release.json --proof release.tlog-proof --policy policy.txt
    """
    policy = policies.load(policy_file)
    policies.warn_if_unwitnessed(policy)
    if require_witness and policy.quorum == NONE:
        # PL-21: what was asked for cannot be shown by this policy.
        raise NotEstablished("the policy asks for no witness", expected="a quorum of witnesses", actual="quorum none")
    entry = files.read(file, tiles.MAX_ENTRY, "file")
    parsed = _read(proof_file)
    held = _held_from(pruned, policy)
    inclusion = _verify(parsed, entry, policy, origin, max_age, min_index, held, file=file, policy_file=policy_file)
    _report(entry, inclusion, policy)


def _read(path: str) -> TlogProof:
    """A proof file. Raises MalformedError, UnavailableError."""
    try:
        return parse_proof(files.read(path, MAX_LENGTH, "proof"))
    except MalformedError as error:
        raise MalformedError(f"{path}: {error.message}", expected=error.expected, actual=error.actual) from error


def _held_from(pruned: Sequence[str], policy: Policy) -> dict[str, int]:
    """The least index that each mirror holds, by its name in the policy."""
    held = {}
    for text in pruned:
        name, _, index = text.rpartition("=")
        if name not in policy.witnesses or not (index.isascii() and index.isdigit() and len(index) <= 19):
            raise click.UsageError(f"--pruned {text}: expected a witness of the policy and an index, NAME=INDEX")
        held[name] = int(index)
    return held


def _verify(
    proof: TlogProof,
    entry: bytes,
    policy: Policy,
    origin: str | None,
    max_age: float | None,
    min_index: int,
    held: Mapping[str, int],
    *,
    file: str,
    policy_file: str,
) -> VerifiedInclusion:
    now = int(time.time()) if max_age is not None else None  # PR-17, PR-19: no clock unless it is asked for
    age = int(max_age) if max_age is not None else None
    try:
        return verify_proof(
            proof, leaf_hash(entry), policy, origin=origin, now=now, max_age=age, min_index=min_index, mirrors=held
        )
    except ProofError as error:
        if proof.index < min_index:  # TT-30
            raise
        raise ProofError(
            f"{file} is not what the log holds at index {proof.index}",
            expected=error.expected,
            actual=error.actual,
            hint=f"see what it holds: teelog entry {proof.index} --policy {policy_file}",
        ) from error
    except NotWitnessed as error:
        older = " young enough" if max_age is not None else ""
        raise NotWitnessed(
            f"too few witnesses{older} have cosigned: {error.message}",
            expected=error.expected,
            actual=error.actual,
            hint=f"get a fresh proof: teelog proof get {file} --policy {policy_file} --out PROOF",
        ) from error
    except UntrustedKey as error:
        raise UntrustedKey(
            error.message,
            expected=error.expected,
            actual=error.actual,
            hint=f"is this the policy for {_claimed_log(proof)}? teelog policy show {policy_file}",
        ) from error


def _claimed_log(proof: TlogProof) -> str:
    """The log that the proof says it is from: unverified, for a message."""
    return checkpoint.parse_body(note.parse(proof.checkpoint).claimed_text()).origin


def _report(entry: bytes, inclusion: VerifiedInclusion, policy: Policy) -> None:
    head = inclusion.witnessed.checkpoint
    statement = _statement(entry)
    times = witness_times(inclusion.witnessed)
    newest = max((seconds for seconds in times.values() if seconds), default=0)
    said = f"; newest {utc(newest)}" if newest else ""
    output.ok(f"{_describe(statement)}  VERIFIED")
    output.result(
        [
            *([f"statement id  {statement.statement_id}"] if statement else []),
            f"in log        {head.origin}, index {inclusion.index} of {head.size}, root {head.root.hex()}",
            f"witnessed by  {policies.witnessed_by(inclusion.witnessed, policy)}{said}",
            "not checked   who signed the statement; whether it is still allowed; that the code is good",
        ],
        {
            "schema": "teelog-proof-verdict/v1",
            "verdict": "verified",
            "checks": [
                {"name": "logged", "ok": True},
                {"name": "witnessed", "ok": True if policy.quorum != NONE else None},
            ],
            "log": head.origin,
            "index": inclusion.index,
            "size": head.size,
            "root": head.root,
            "leaf": inclusion.leaf,
            "statement_id": statement.statement_id if statement else None,
            "quorum": policies.describe_quorum(policy),
            "witnesses": [{"name": name, "time": seconds} for name, seconds in times.items()],
        },
    )


def _statement(entry: bytes) -> draft.Draft | None:
    """What the entry states, where it is one of our statements."""
    from teelog.statement import draft


    try:
        return draft.read(entry)
    except MalformedError:
        return None


def _describe(statement: draft.Draft | None) -> str:
    from teelog.cli import statements

    return statements.describe(statement) if statement else "entry"


def witness_times(witnessed: WitnessedCheckpoint) -> dict[str, int]:
    """POSIX seconds of each witness's line, by its name in the policy; 0 where the line claims no time."""
    return {name: line.timestamp or 0 for name, line in witnessed.cosignatures.items()}


def utc(seconds: int) -> str:
    """POSIX seconds as people read them."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{seconds} seconds after 1970"


# -- show -------------------------------------------------------------------------------------------------------------


@group.command()
@click.argument("file", metavar="PROOF", type=click.Path(dir_okay=False))
@output.json_option
def show(file: str) -> None:
    """Show what a proof says, without verifying any of it.

    Example: teelog proof show release.tlog-proof
    """
    proof = _read(file)
    unverified = note.parse(proof.checkpoint)
    head = checkpoint.parse_body(unverified.claimed_text())
    extra = proof.unauthenticated_extra
    output.note("nothing of this is verified")
    output.result(
        [
            f"log         {head.origin}",
            f"index       {proof.index} of {head.size}",
            f"root        {head.root.hex()}",
            f"proof       {len(proof.hashes)} hash{'' if len(proof.hashes) == 1 else 'es'}",
            *([f"extra       {len(extra)} bytes that nothing vouches for"] if extra else []),
            *(f"signature   {line.name} {line.key_id.hex()}" for line in unverified.signatures),
        ],
        {
            "schema": "teelog-proof/v1",
            "log": head.origin,
            "index": proof.index,
            "size": head.size,
            "root": head.root,
            "hashes": list(proof.hashes),
            "unauthenticated_extra": extra,
            "signatures": [{"name": line.name, "key_id": line.key_id} for line in unverified.signatures],
            "verified": False,
        },
    )
