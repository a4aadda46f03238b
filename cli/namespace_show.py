"""`teelog namespace show`: a namespace from a file, or as it stands on the log."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from teelog.cli import online, output, standing, statements
from teelog.cli import policy as policies
from teelog.cli.standing import Asked
from teelog.errors import MalformedError, UntrustedKey
from teelog.statement import draft, names, namespace
from teelog.statement.admit import Kind
from teelog.statement.draft import Draft
from teelog.statement.namespace import Namespace, NamespacePredicate
from teelog.tlog.policy import WitnessedCheckpoint

if TYPE_CHECKING:
    from teelog.client.history import Version


@click.command("show")
@click.argument("which", metavar="FILE|NAME", type=click.Path(dir_okay=False, allow_dash=True))
@standing.reading_options_if_any
@output.json_option
def command(which: str, asked: Asked | None) -> None:
    """Show the namespace statement in a file, or the namespace of this NAME as the log has it now.

    A file is looked at with no network: a first version is verified against the owners that it names, of a later one
    only the log's chain can tell. On the log, every version is verified from the first one on.

    Example: teelog namespace show acme.example --policy policy.txt
    """
    if which != output.STDOUT and not os.path.lexists(which) and _is_name(which):
        if asked is None:
            raise click.UsageError(f"no file is called {which}; --policy FILE asks the log for this namespace")
        _show_logged(which, asked)
        return
    statement = statements.read(which)
    if statement.statement.kind is not Kind.NAMESPACE:
        raise statements.wrong_kind(which, Kind.NAMESPACE, statement.statement.kind)
    report(statement, which)


def report(statement: Draft, file: str) -> None:
    """The command's result: the namespace statement in ``file``."""
    known = _verified(statement)
    output.result(lines(statement, known[1]), {**as_json(statement, known[0] is not None), "file": file})


def _is_name(text: str) -> bool:
    try:
        names.namespace(text)
    except MalformedError:
        return False
    return True


def _show_logged(name: str, asked: Asked) -> None:
    versions, main = online.run(_learn(name, asked))
    statement = draft.read(versions[-1].entry)
    head = main.checkpoint
    output.ok(f"{name} version {versions[-1].namespace.version} is the last one in {head.origin}  VERIFIED")
    rows = [("index", "version", "statement id")]
    rows += [(str(each.index), str(each.namespace.version), each.namespace.statement_id) for each in versions]
    output.result(
        [
            *lines(statement, "each version by the owners before it: verified"),
            *output.columns(rows),
            f"log           {head.origin}, size {head.size}",
            f"witnessed by  {policies.witnessed_by(main, asked.main)}",
        ],
        {
            **as_json(statement, True),
            "file": None,
            "versions": [
                {
                    "index": each.index,
                    "version": each.namespace.version,
                    "statement_id": each.namespace.statement_id,
                }
                for each in versions
            ],
            "size": head.size,
            "root": head.root,
            "witnesses": policies.cosigners(main, asked.main),
        },
    )


async def _learn(name: str, asked: Asked) -> tuple[list[Version], WitnessedCheckpoint]:
    async with standing.standing(asked, name) as found:
        return await standing.versions(found.history, name), found.main


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


def lines(statement: Draft, signatures: str) -> list[str]:
    """The statement for people. signatures: a word on them."""
    predicate = _predicate(statement)
    lines = [
        f"namespace     {predicate.namespace}",
        f"log           {predicate.log}",
        f"version       {predicate.version}" + (f", after {predicate.prev}" if predicate.prev else ""),
        f"statement id  {statement.statement_id}",
        f"signatures    {signatures}",
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


def as_json(statement: Draft, verified: bool) -> dict[str, object]:
    """The statement as ``teelog-namespace/v1``."""
    predicate = _predicate(statement)
    held = namespace.held_keys(predicate)
    return {
        "schema": "teelog-namespace/v1",
        **statements.signatures(statement),
        "verified": verified,
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
