"""`teelog namespace`: a vendor's namespace, its keys and their roles."""

from __future__ import annotations

import re
from collections.abc import Iterable

import click

from teelog.cli import files, keyref, output, statements
from teelog.errors import UntrustedKey
from teelog.keys import PublicKey
from teelog.statement import draft, namespace
from teelog.statement.admit import Kind
from teelog.statement.draft import Draft
from teelog.statement.namespace import Namespace, NamespacePredicate, Role

_THRESHOLD = re.compile(r"(owner|release|status|result)=([1-9][0-9]?)")


@click.group()
def group() -> None:
    """Make and show a vendor's namespace: a DNS name, the keys that speak for it, and their roles."""


def _thresholds(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[Role, int]:
    matches = [_THRESHOLD.fullmatch(value) for value in values]
    if not all(matches):
        raise click.BadParameter("expected ROLE=N, such as owner=2")
    return {Role(match[1]): int(match[2]) for match in matches if match}


@group.command()
@click.option("--namespace", "name", metavar="NAME", required=True, help="A DNS name, such as acme.example.")
@click.option("--log", metavar="ORIGIN", required=True, help="Origin of the one log on which the namespace speaks.")
@click.option("--owner", metavar="KEYREF", multiple=True, required=True, help="Signs the namespace; repeatable.")
@click.option("--release", metavar="KEYREF", multiple=True, help="Signs releases; repeatable.")
@click.option("--status", metavar="KEYREF", multiple=True, help="Says which releases are allowed; repeatable.")
@click.option("--result", metavar="KEYREF", multiple=True, help="Signs attestation results; repeatable.")
@click.option(
    "--threshold", metavar="ROLE=N", multiple=True, callback=_thresholds, help="How many must sign.  [default: 1]"
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
        output.result(_lines(signed), {"schema": "teelog-namespace/v1", "file": out, **_json(signed)})


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


@group.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@output.json_option
def show(file: str) -> None:
    """Show the namespace statement in FILE. Opens no socket.

    A first version is verified against the owners that it names; of a later one only a log's chain can tell.

    Example: teelog namespace show ns.json
    """
    statement = statements.read(file)
    if statement.statement.kind is not Kind.NAMESPACE:
        raise statements.wrong_kind(file, Kind.NAMESPACE, statement.statement.kind)
    output.result(_lines(statement), {"schema": "teelog-namespace/v1", "file": file, **_json(statement)})


def _predicate(statement: Draft) -> NamespacePredicate:
    assert isinstance(statement.statement.claim, NamespacePredicate)
    return statement.statement.claim


def _verified(statement: Draft) -> tuple[Namespace | None, str]:
    """The namespace if its signatures hold, and a word on them. Raises SignatureError for one that fails."""
    if statement.envelope is None:
        return None, "not signed"
    if _predicate(statement).version != 0:
        return None, "not verified: its chain on the log tells whether the owners before it signed"
    try:
        return namespace.verify_first(statement.envelope), "signed by its owners: verified"
    except UntrustedKey as error:
        return None, f"not complete: {error}"


def _lines(statement: Draft) -> list[str]:
    predicate = _predicate(statement)
    lines = [
        f"namespace     {predicate.namespace}",
        f"log           {predicate.log}",
        f"version       {predicate.version}" + (f", after {predicate.prev}" if predicate.prev else ""),
        f"statement id  {statement.statement_id}",
        f"signatures    {_verified(statement)[1]}",
    ]
    lines += [f"replaces      {predicate.replaces}"] if predicate.replaces else []
    rows: list[Iterable[object]] = [["keyid", "algorithm", "roles", "until", "signed"]]
    for keyid, key in namespace.held_keys(predicate).items():
        until = "-" if key.until is None else key.until
        rows.append(
            [keyid, key.public.algorithm, ",".join(key.roles), until, "yes" if keyid in statement.signers else "-"]
        )
    lines += output.columns([tuple(row) for row in rows])
    lines.append("thresholds    " + " ".join(f"{role}={n}" for role, n in predicate.thresholds.items()))
    return lines


def _json(statement: Draft) -> dict[str, object]:
    predicate = _predicate(statement)
    held = namespace.held_keys(predicate)
    return {
        **statements.signatures(statement),
        "verified": _verified(statement)[0] is not None,
        "namespace": predicate.namespace,
        "log": predicate.log,
        "version": predicate.version,
        "prev": predicate.prev,
        "replaces": predicate.replaces,
        "keys": [
            {"keyid": keyid, "algorithm": key.public.algorithm, "roles": list(key.roles), "until": key.until}
            for keyid, key in held.items()
        ],
        "thresholds": dict(predicate.thresholds),
    }
