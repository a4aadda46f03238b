"""`teelog checkpoint`: show, verify and compare checkpoints, from files or from a log's URL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from teelog.cli import files, online, output
from teelog.cli import policy as policies
from teelog.cli.duration import DURATION
from teelog.cli.proof import utc, witness_times
from teelog.errors import MalformedError, MisbehaviourError, NotEstablished, VerificationError
from teelog.tlog import checkpoint as checkpoints
from teelog.tlog import fork, note
from teelog.tlog.policy import NONE, Policy, WitnessedCheckpoint, verify_checkpoint
from teelog.tlog.vkey import VerifierKey

MAX_FILE = 1 << 20  # bytes


@click.group()
def group() -> None:
    """Show, verify and compare checkpoints. CHECKPOINT is a file, a log's directory, or a URL."""


@group.command()
@click.argument("place", metavar="CHECKPOINT")
@output.json_option
def show(place: str) -> None:
    """Show what a checkpoint says, without verifying any of it.

    Example: teelog checkpoint show https://log.example/tee
    """
    unverified = note.parse(_fetch(place))
    head = checkpoints.parse_body(unverified.claimed_text())
    output.note("nothing of this is verified")
    output.result(
        [
            f"log        {head.origin}",
            f"size       {head.size}",
            f"root       {head.root.hex()}",
            *(f"extension  {output.safe(line, 300)}" for line in head.extensions),
            *(f"signature  {line.name} {line.key_id.hex()}" for line in unverified.signatures),
        ],
        {
            "schema": "teelog-checkpoint/v1",
            "log": head.origin,
            "size": head.size,
            "root": head.root,
            "extensions": list(head.extensions),
            "signatures": [{"name": line.name, "key_id": line.key_id} for line in unverified.signatures],
            "verified": False,
        },
    )


@group.command()
@click.argument("place", metavar="CHECKPOINT")
@policies.policy_option
@click.option("--require-witness", is_flag=True, help="Exit code 3 if the policy asks for no witness.")
@click.option("--max-age", type=DURATION, help="Count only cosignatures that are no older than this, such as 24h.")
@online.mirror_option
@output.json_option
def verify(
    place: str, policy_file: str, require_witness: bool, max_age: float | None, mirrors: tuple[str, ...]
) -> None:
    """Verify a checkpoint's signatures and quorum against a policy. With mirrors, the newest one counts.

    Example: teelog checkpoint verify https://log.example/tee --policy policy.txt --max-age 24h
    """
    import time

    policy = policies.load(policy_file)
    policies.warn_if_unwitnessed(policy)
    if require_witness and policy.quorum == NONE:  # PL-21
        raise NotEstablished("the policy asks for no witness", expected="a quorum of witnesses", actual="quorum none")
    now = int(time.time()) if max_age is not None else None
    age = int(max_age) if max_age is not None else None
    data = _newest(place, policy, mirrors) if mirrors and not Path(place).is_file() else _fetch(place)
    witnessed = verify_checkpoint(data, policy, now=now, max_age=age)
    head = witnessed.checkpoint
    times = witness_times(witnessed)
    newest = max(times.values(), default=0)
    output.ok(f"checkpoint of {head.origin}  VERIFIED")
    output.result(
        [
            f"size          {head.size}",
            f"root          {head.root.hex()}",
            f"witnessed by  {policies.witnessed_by(witnessed, policy)}{f'; newest {utc(newest)}' if newest else ''}",
        ],
        {
            "schema": "teelog-checkpoint-verdict/v1",
            "verdict": "verified",
            "log": head.origin,
            "size": head.size,
            "root": head.root,
            "quorum": policies.describe_quorum(policy),
            "witnesses": [{"name": name, "time": seconds} for name, seconds in times.items()],
        },
    )


@group.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@policies.policy_option
@online.url_option
@click.option(
    "--out", "fork_file", metavar="FILE", help="Where a fork proof goes.  [default: beside the client's state]"
)
@online.state_option
@output.json_option
def compare(
    first: str, second: str, policy_file: str, url: str | None, fork_file: str | None, state_folder: Path | None
) -> None:
    """Check that two checkpoints of one log fit together: that the larger tree begins with the smaller one.

    What connects them is read from --url, else from where the larger one was read, else from the policy's log, and
    verified. Only the log's own signatures are
    asked for, so that a checkpoint that lacks a quorum can be compared too. Exit code 5 and a fork proof if they
    cannot both be true.

    Example: teelog checkpoint compare old.checkpoint https://log.example/tee --policy policy.txt
    """
    policy = policies.load(policy_file)
    log_only = Policy(policy.logs, {}, {}, NONE)
    one, two = (verify_checkpoint(_fetch(place), log_only) for place in (first, second))
    larger_place = first if one.checkpoint.size > two.checkpoint.size else second
    if one.checkpoint.origin != two.checkpoint.origin:
        raise VerificationError(
            "the checkpoints are of two logs", expected=one.checkpoint.origin, actual=two.checkpoint.origin
        )
    small, large = sorted((one, two), key=lambda each: each.checkpoint.size)
    found = _fork(small, large, lambda: url or _tiles_of(larger_place, policy, large.checkpoint.origin))
    if found is not None:
        _accuse(found, small.checkpoint.origin, fork_file, state_folder, policy_file)
    output.ok(f"the two checkpoints of {small.checkpoint.origin} are consistent")
    output.result(
        [
            f"smaller  size {small.checkpoint.size}, root {small.checkpoint.root.hex()}",
            f"larger   size {large.checkpoint.size}, root {large.checkpoint.root.hex()}",
        ],
        {
            "schema": "teelog-checkpoint-comparison/v1",
            "consistent": True,
            "log": small.checkpoint.origin,
            "smaller": {"size": small.checkpoint.size, "root": small.checkpoint.root},
            "larger": {"size": large.checkpoint.size, "root": large.checkpoint.root},
        },
    )


def _tiles_of(place: str, policy: Policy, origin: str) -> str:
    from teelog.client.source import is_url

    if is_url(place):
        return place.removesuffix("/checkpoint")
    return place if Path(place).is_dir() else policies.url_of(policy, None, origin)


def _fork(small: WitnessedCheckpoint, large: WitnessedCheckpoint, place: Callable[[], str]) -> fork.ForkProof | None:
    pair = (small.checkpoint, small.note.encode()), (large.checkpoint, large.note.encode())
    lines = [line.verifier for each in (small, large) for line in each.log_signatures]
    keys = [key for key in dict.fromkeys(lines) if isinstance(key, VerifierKey)]
    if small.checkpoint.size == large.checkpoint.size or small.checkpoint.size == 0:
        return fork.find_fork(*pair, keys=keys)
    from teelog.client.log import prover
    from teelog.client.source import open_source

    async def connect() -> tuple[bytes, list[bytes]]:
        async with open_source(place()) as source:
            return await prover(source)(small.checkpoint, large.checkpoint)

    root, proof = online.run(connect())
    return fork.find_fork(*pair, proof, root, keys)


def _accuse(
    found: fork.ForkProof, origin: str, fork_file: str | None, state_folder: Path | None, policy_file: str
) -> None:
    """Writes the fork proof and raises MisbehaviourError."""
    fork.verify_own_keys(found)
    if fork_file is not None:
        output.write_file(fork_file, found.encode())
        path = fork_file
    else:
        path = str(online.open_state(state_folder).keep_fork(origin, found))
    raise MisbehaviourError(
        f"the log {origin} signed two views that cannot both be true",
        expected="one append-only tree",
        actual=f"fork proof {path}",
        hint=f"teelog fork verify {path} --policy {policy_file}",
        evidence=found.encode(),
    )


def _newest(place: str, policy: Policy, mirrors: tuple[str, ...]) -> bytes:
    """The newest checkpoint that verifies, of the log and its mirrors."""

    async def ask() -> bytes:
        async with online.open_source(place.removesuffix("/checkpoint"), policy, mirrors) as source:
            return await source.checkpoint()

    return online.run(ask())


def _fetch(place: str) -> bytes:
    """The bytes of a checkpoint: of a file, in a log's directory, or behind a URL."""
    from teelog.client.source import is_url, open_source

    if not is_url(place) and not Path(place).is_dir():
        return files.read(place, MAX_FILE, "checkpoint")

    async def ask() -> bytes:
        async with open_source(place.removesuffix("/checkpoint") if is_url(place) else place) as source:
            return await source.checkpoint()

    data = online.run(ask())
    if data[:1] == b"<":
        raise MalformedError(f"{place} answers with a web page", expected="a checkpoint")
    return data
