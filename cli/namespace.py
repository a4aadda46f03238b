"""`teelog namespace`: a vendor's namespace, its keys and their roles."""

from __future__ import annotations

import click

from teelog.cli import files, keyref, namespace_show, output, rotate, statements
from teelog.keys import PublicKey
from teelog.statement import draft, namespace
from teelog.statement.namespace import NamespacePredicate, Role


@click.group()
def group() -> None:
    """Make, rotate and show a vendor's namespace: a DNS name, the keys that speak for it, and their roles."""


group.add_command(rotate.command)
group.add_command(namespace_show.command)


@group.command()
@click.option("--namespace", "name", metavar="NAME", required=True, help="A DNS name, such as acme.example.")
@click.option("--log", metavar="ORIGIN", required=True, help="Origin of the one log on which the namespace speaks.")
@click.option("--owner", metavar="KEYREF", multiple=True, required=True, help="Signs the namespace; repeatable.")
@click.option("--release", metavar="KEYREF", multiple=True, help="Signs releases; repeatable.")
@click.option("--status", metavar="KEYREF", multiple=True, help="Says which releases are allowed; repeatable.")
@click.option("--result", metavar="KEYREF", multiple=True, help="Signs attestation results; repeatable.")
@click.option(
    "--threshold", metavar="ROLE=N", multiple=True, callback=rotate.thresholds, help="How many must sign.  [default: 1]"
)
@click.option("--replaces", metavar="ID", help="Statement id: last version of the chain that a DNS recovery abandons.")
@click.option("--out", metavar="FILE", required=True, type=click.Path(dir_okay=False, allow_dash=True))
@output.json_option
def new(
    name: str,
    log: str,
    owner: tuple[str, ...],
    release: tuple[str, ...],
    status: tuple[str, ...],
    result: tuple[str, ...],
    threshold: dict[Role, int],
    replaces: str | None,
    out: str,
) -> None:
    """Make version 0 of a namespace, signed by all its owner keys that are at hand.

    A KEYREF is a private key or, where its holder signs later or not at all, a public key file. Owners that were given
    as public keys add theirs with `teelog sign FILE --key KEYREF`.

    Example: teelog namespace new --namespace acme.example --log log.example/tee --owner acme.key --release acme.key
    --status acme.key --out ns.json
    """
    refs = {Role.OWNER: owner, Role.RELEASE: release, Role.STATUS: status, Role.RESULT: result}
    held = _held(refs)
    thresholds = {role: threshold.get(role, 1) for role, given in refs.items() if given}
    for role in threshold.keys() - thresholds.keys():
        raise click.UsageError(f"--threshold {role} without --{role} KEYREF")
    entries = tuple(namespace.Key(key.to_pem().decode(), roles, None) for key, roles in held)
    predicate = NamespacePredicate(name, log, 0, None, entries, thresholds, replaces)
    unsigned = draft.read(namespace.payload(predicate))
    signers = [keyref.load_signer(ref) for ref in dict.fromkeys(owner) if not _is_public_file(ref)]
    signed = draft.sign(unsigned, signers)
    statements.write_new(out, signed)
    if out != output.STDOUT:
        namespace_show.report(signed, out)


def _held(refs: dict[Role, tuple[str, ...]]) -> list[tuple[PublicKey, tuple[Role, ...]]]:
    """Each key once, with all its roles, in the order of the options."""
    loaded = {ref: keyref.load_public(ref) for given in refs.values() for ref in given}
    roles: dict[str, list[Role]] = {}
    by_id = {key.fingerprint: key for key in loaded.values()}
    for role, given in refs.items():
        for keyid in dict.fromkeys(loaded[ref].fingerprint for ref in given):
            roles.setdefault(keyid, []).append(role)
    return [(by_id[keyid], tuple(of)) for keyid, of in roles.items()]


def _is_public_file(ref: str) -> bool:
    if ref.startswith((keyref.AGENT, keyref.EXEC)):
        return False
    return keyref.PRIVATE_MARK not in files.read(ref, what="key file")
