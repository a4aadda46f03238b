"""`teelog fork`: verify proofs that a log showed two views, offline; make one of a lead, with the log's own tiles."""

from __future__ import annotations

import click

from teelog.cli import files, index_fault, keyref, output
from teelog.cli import policy as policies
from teelog.errors import MalformedError, NotEstablished, UntrustedKey, VerificationError
from teelog.index import contradiction, fault
from teelog.tlog import fork, note
from teelog.tlog.checkpoint import SignedCheckpoint, open_checkpoint, parse_body
from teelog.tlog.note import Verifier
from teelog.tlog.vkey import LOG_TYPES, VerifierKey

FIRST_LINE = b"teelog-fork/"
MAX_PROOF = max(fork.MAX_LENGTH, contradiction.MAX_LENGTH, fault.MAX_LENGTH)
SOURCES = {"log": "the keys given", "policy": "the policy's keys", "file": "a key that the file itself names"}


@click.group()
def group() -> None:
    """Verify and make fork proofs (.teelog-fork): that a log signed two views that cannot both be true."""


@group.command()
@click.argument("file", type=click.Path())
@click.option(
    "--log", "--vkey", "vkeys", multiple=True, metavar="VKEY", help="The log's vkeys: literal or file. Repeatable."
)
@click.option("--policy", "policy_file", metavar="FILE", help="A policy that lists the log.")
@output.json_option
def verify(file: str, vkeys: tuple[str, ...], policy_file: str | None) -> None:
    """Verify that FILE proves a fork: exit code 0 if it does, 1 if it does not.

    FILE is a .teelog-fork, or a .teelog-index-fork: what a log's index said, and what contradicts it; or a
    .teelog-index-fault: something false that the index said. With --log or --policy the views must be signed by keys
    that these name. Without, the file must prove that the holder of one key that it names itself signed both: then
    compare that key with the log's. Exit code 3 where only a replay of the log can tell.

    Example: teelog fork verify log.teelog-fork --policy policy.txt
    """
    data = files.read(file, MAX_PROOF, "fork proof")
    trusted = _trusted(vkeys, policy_file)
    if data.startswith(index_fault.FIRST_BYTES):
        index_fault.verify(data, trusted, "file" if trusted is None else "log" if vkeys else "policy")
        return
    if not data.startswith(FIRST_LINE):
        _verify_index(data, trusted, vkeys)
        return
    found = fork.parse_fork(data)
    if trusted is None and not found.keys:
        raise NotEstablished(
            "the file names no key, so nobody's signatures can be checked",
            expected="the log's vkey",
            hint=f"teelog fork verify {file} --log VKEY",
        )
    source = "file" if trusted is None else "log" if vkeys else "policy"
    try:
        views = fork.verify_own_keys(found) if trusted is None else fork.verify_fork(found, trusted)
    except UntrustedKey as error:
        raise UntrustedKey(
            "no fork is proven: a view is not signed by a trusted key", expected=error.expected, actual=error.actual
        ) from error
    _show(views, found, source)


def _verify_index(data: bytes, trusted: list[VerifierKey] | None, vkeys: tuple[str, ...]) -> None:
    """A proof that an index log contradicted itself: its views are no trees of one size, they say what cannot be."""
    try:
        found = contradiction.parse(data)
    except MalformedError as error:
        raise MalformedError(
            "not a fork proof", expected="teelog-fork/v1 or teelog-index-fork/v1", actual=error.message
        ) from error
    source = "file" if trusted is None else "log" if vkeys else "policy"
    signers: list[VerifierKey] = []
    if trusted is not None:
        said = contradiction.verify(found, trusted)
    else:
        if not found.keys:
            raise NotEstablished("the file names no key, so nobody's signatures can be checked", expected="a vkey")
        said, key = contradiction.verify_own_keys(found)
        signers.append(key)
    heads = [parse_body(note.parse(view.checkpoint).claimed_text()) for view in (found.first, found.second)]
    output.ok(f"INDEX FORK PROVEN: {said}")
    if source == "file":
        output.note("the key is the one that the file names: compare it with the log's, or give --log or --policy")
    output.result(
        [
            f"log     {heads[0].origin}",
            *(f"view    leaf {head.size - 1}" for head in heads),
            *(f"signed by {_name(key)} ({SOURCES[source]})" for key in signers),
        ],
        {
            "schema": "teelog-index-fork-verdict/v1",
            "verdict": "index fork proven",
            "said": said,
            "log": heads[0].origin,
            "sizes": [head.size for head in heads],
            "key": found.first.key.decode("ascii", "replace") or None,
            "keys_from": source,
        },
    )


@group.command()
@click.argument("lead", type=click.Path())
@click.option("--url", required=True, metavar="URL", help="Where the larger view's tiles are read: a URL or a folder.")
@click.option("--out", required=True, metavar="FILE", help="Where the fork proof goes.")
@output.json_option
def prove(lead: str, url: str, out: str) -> None:
    """Make a fork proof of a witness's LEAD (evidence/*.teelog-evidence), with the tiles that the log serves.

    Exit code 1, and no file, if the tiles show that one view extends the other.

    Example: teelog fork prove W1/evidence/LEAD.teelog-evidence --url https://log.example/tee --out log.teelog-fork
    """
    from teelog.cli import online
    from teelog.client.log import prover
    from teelog.client.source import open_source

    found = fork.parse_fork(files.read(lead, fork.MAX_LENGTH, "lead"))
    first, second = (open_checkpoint(note, found.keys).checkpoint for note in (found.first, found.second))

    async def ask() -> tuple[bytes, list[bytes]]:
        async with open_source(url) as source:
            return await prover(source)(*sorted((first, second), key=lambda head: head.size))

    root, proof = online.run(ask()) if first.size != second.size else (None, [])
    proven = fork.find_fork((first, found.first), (second, found.second), proof, root, found.keys)
    if proven is None:
        raise VerificationError("no fork: one view extends the other", actual=f"sizes {first.size} and {second.size}")
    views = fork.verify_own_keys(proven)
    output.write_file(out, proven.encode())
    _show(views, proven, "file")


def _trusted(vkeys: tuple[str, ...], policy_file: str | None) -> list[VerifierKey] | None:
    keys = [key for ref in vkeys for key in keyref.load_vkeys(ref)]
    if policy_file is not None:
        keys += [log.key for log in policies.load(policy_file).logs]
    if not keys and not vkeys and policy_file is None:
        return None
    logs = [key for key in dict.fromkeys(keys) if key.type in LOG_TYPES]
    if not logs:
        raise VerificationError("no log key is given", expected="the vkeys of a log")
    return logs


def _show(views: fork.VerifiedFork, found: fork.ForkProof, source: str) -> None:
    signers = views.signers()
    first, second = views.first.checkpoint, views.second.checkpoint
    extra = [] if found.root is None else [f"the second view's first {first.size} entries hash to {found.root.hex()}"]
    output.ok("FORK PROVEN: two views that cannot both be true")
    if source == "file":
        output.note("the key is the one that the file names: compare it with the log's, or give --log or --policy")
    output.result(
        [
            f"log     {first.origin}",
            *_view("first", views.first),
            *_view("second", views.second),
            *extra,
            *(f"signed by {_name(key)} ({SOURCES[source]})" for key in signers),
        ],
        {
            "schema": "teelog-fork-verdict/v1",
            "verdict": "fork proven",
            "log": first.origin,
            "first": {"size": first.size, "root": first.root},
            "second": {"size": second.size, "root": second.root, "root_at_first_size": found.root or second.root},
            "keys": [str(key) for key in signers],
            "keys_from": source,
        },
    )


def _view(which: str, view: SignedCheckpoint) -> list[str]:
    return [f"{which:<7} size {view.checkpoint.size}  root {view.checkpoint.root.hex()}"]


def _name(key: Verifier) -> str:
    return f"{key.name}+{key.key_id.hex()}"
