"""`teelog result`: attestation results, a verifier's verdicts as EAR tokens: sign, show, publish."""

from __future__ import annotations

import time

import click

import teelog
from teelog.cli import files, keyref, output, result_publish
from teelog.errors import ConfigError, MalformedError
from teelog.keys import PublicKey
from teelog.statement import dsse, ear, ear_token
from teelog.statement.ear import Result
from teelog.statement.token import Token
from teelog.verdict import Verdict

MODE = 0o644


@click.group()
def group() -> None:
    """Show and publish attestation results. `teelog verify --result-key` makes them."""


def write(verdict: Verdict, ref: str, out: str, issuer: str) -> None:
    """Signs a verdict as an attestation result. Raises ConfigError, UnavailableError, MalformedError.

    issuer: the namespace whose key ``ref`` is.
    """
    signer = keyref.load_signer(ref)
    build = f"teelog {teelog.__version__}"
    try:
        claims = ear.claims(verdict, issuer=issuer, issued_at=int(time.time()), build=build)
    except MalformedError as error:
        raise ConfigError(error.message, expected=error.expected, actual=error.actual) from error
    output.write_file(out, ear_token.sign(claims, signer, ear_token.form_of(out)).file, MODE)


@group.command()
@click.argument("file", metavar="RESULT", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--key", "keys", metavar="KEY", multiple=True, help="Verify with this public key; repeatable.")
@output.json_option
def show(file: str, keys: tuple[str, ...]) -> None:
    """Show an attestation result: ours or another verifier's, in the draft's dialect or the deployed one.

    Without --key nothing of it is verified.

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
    output.result(_lines(token, found, verified), _json(token, found, verified))


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
