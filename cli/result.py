"""`teelog result`: attestation results, a verifier's verdicts as EAR tokens: sign, show, publish."""

from __future__ import annotations

import click

from teelog.cli import files, keyref, output, result_made, result_publish
from teelog.errors import MalformedError
from teelog.keys import PublicKey
from teelog.statement import disclosure, dsse, ear, ear_token
from teelog.statement.disclosure import Checked
from teelog.statement.ear import Result
from teelog.statement.token import Token


@click.group()
def group() -> None:
    """Show and publish attestation results. `teelog verify --result-key` makes them."""


@group.command()
@click.argument("file", metavar="RESULT", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--key", "keys", metavar="KEY", multiple=True, help="Verify with this public key; repeatable.")
@click.option("--disclosed", "disclosed_file", metavar="FILE", help="Parts of which it holds the salted digests.")
@output.json_option
def show(file: str, keys: tuple[str, ...], disclosed_file: str | None) -> None:
    """Show an attestation result: ours or another verifier's, JWT or CWT, in the draft's dialect or the deployed one.

    Without --key nothing of it is verified. With --disclosed, exit code 0 means that every part in FILE is one that
    the result holds the digest of.

    Example: teelog result show result.jwt --key verifier.key.pub
    """
    data = files.read(file, dsse.MAX_FILE, "result")
    try:
        token = ear_token.parse(ear_token.canonical(data))
    except MalformedError as error:
        raise MalformedError(
            f"{file} is no attestation result: {error.message}", expected=error.expected, actual=error.actual
        ) from error
    verified: str | None = None
    if keys:
        loaded: dict[str, PublicKey] = {key.fingerprint: key for key in map(keyref.load_public, keys)}
        verified = token.verify(loaded).signer
    else:
        output.note("nothing of this is verified: --key KEY verifies the signature")
    found = ear_token.read(token)
    claims = ear_token.claims(token)
    parts = None if disclosed_file is None else _disclosed(disclosed_file)
    checked = disclosure.check(claims, parts or [])
    for each in checked.disclosed:
        if found.judged is not None and (each.where, each.name) == ("", result_made.EVIDENCE):
            result_made.check_evidence(found.judged.evidence_digests, each.value)
    output.result(
        _lines(token, found, verified) + _parts_lines(checked),
        _json(token, found, verified) | {"disclosed": _parts_json(checked), "withheld": checked.withheld},
    )


def _disclosed(path: str) -> list[bytes]:
    try:
        return disclosure.read(files.read(path, disclosure.MAX_DISCLOSURE * 2, "disclosures"))
    except MalformedError as error:
        raise MalformedError(f"{path}: {error.message}", expected=error.expected, actual=error.actual) from error


def _parts_lines(checked: Checked) -> list[str]:
    lines = [f"discloses     {each.where}/{each.name}: {result_made.size_of(each.value)}" for each in checked.disclosed]
    return lines + ([f"withholds     {checked.withheld}: it holds their digests only"] if checked.withheld else [])


def _parts_json(checked: Checked) -> list[dict[str, object]]:
    return [{"where": each.where, "name": each.name, "value": each.value} for each in checked.disclosed]


def _lines(token: Token, found: Result, verified: str | None) -> list[str]:
    lines = [
        f"statement id  {token.statement_id}",
        f"signature     {token.alg}, " + (f"verified: key {verified}" if verified else "not verified"),
        f"profile       {found.profile}  ({found.dialect})",
        f"issuer        {found.issuer or '-'}",
        f"subject       {found.subject or '-'}",
        f"issued        {_utc(found.issued_at)}" + (f", expires {_utc(found.expires)}" if found.expires else ""),
        f"verifier      {found.developer or '-'}, {found.build or '-'}",
    ]
    lines += [f"status        {found.status}"] if found.status else []
    for each in found.submodules:
        lines.append(f"appraisal     {each.name}: {each.status}")
        lines += [f"              {claim} {value} ({ear.tier(value)})" for claim, value in each.vector.items()]
    if found.judged is not None:
        judged = found.judged
        lines.append(f"verdict       {judged.verdict}")
        lines += [f"              {name} {outcome}" for name, outcome in judged.checks.items()]
        lines += [f"evidence      {name}:{value}" for name, value in judged.evidence_digests.items()]
        lines += [f"release       {judged.release or '-'}"] + [f"namespace     {each}" for each in judged.namespaces]
        if judged.checkpoint is not None:
            head = judged.checkpoint
            lines.append(f"judged by     {head.origin}, size {head.size}, root {head.root}")
    return lines + [f"holds         {place}: evidence, a nonce or a machine's identity" for place in found.private]


def _json(token: Token, found: Result, verified: str | None) -> dict[str, object]:
    judged = found.judged
    head = None if judged is None else judged.checkpoint
    return {
        "schema": "teelog-result/v1",
        "statement_id": token.statement_id,
        "alg": token.alg,
        "kid": token.kid,
        "verified_by": verified,
        "dialect": found.dialect,
        "profile": found.profile,
        "issuer": found.issuer,
        "subject": found.subject,
        "issued_at": found.issued_at,
        "expires": found.expires,
        "verifier": {"developer": found.developer, "build": found.build},
        "status": found.status,
        "submods": {
            each.name: {"status": each.status, "vector": dict(each.vector), "policies": list(each.policies)}
            for each in found.submodules
        },
        "judged": None
        if judged is None
        else {
            "verdict": judged.verdict,
            "as_of": judged.as_of,
            "stream": judged.stream,
            "release": judged.release,
            "namespaces": list(judged.namespaces),
            "evidence": judged.evidence_digests,
            "checks": judged.checks,
            "log": head and head.origin,
            "size": head and head.size,
            "root": head and head.root,
        },
        "private": list(found.private),
    }


def _utc(seconds: int) -> str:
    from teelog.cli.proof import utc

    return utc(seconds)


group.add_command(result_publish.command)
