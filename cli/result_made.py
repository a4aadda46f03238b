"""What `teelog verify` makes of a verdict: a signed attestation result, with what is raw in a file of its own."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click

from teelog.cli import output
from teelog.errors import ConfigError, MalformedError, VerificationError
from teelog.verdict import Verdict

Command = TypeVar("Command", bound=Callable[..., Any])

MODE, PRIVATE_MODE = 0o644, 0o600
EVIDENCE, NONCE = "ear_raw_evidence", "eat_nonce"
REPORT_DATA, PARTS, ENDORSEMENTS = (f"urn:teelog:{name}:v1" for name in ("report-data", "parts", "endorsements"))
"""Claims that a disclosure may add to a result."""
_HASHES = ("sha256", "sha384", "sha512")

_OPTIONS = (
    click.option("--result-key", metavar="KEYREF", help="Sign the verdict as an attestation result with this key."),
    click.option("--result-out", metavar="FILE", help="Where the attestation result goes; FILE.cwt gets a CWT."),
    click.option("--result-form", type=click.Choice(["jwt", "cwt"]), help="Of the result, whatever its name ends in."),
    click.option("--result-evidence", is_flag=True, help="Name the evidence by SHA-256: who has it finds the result."),
    click.option(
        "--result-disclosures",
        metavar="FILE",
        help="Keep evidence, endorsements and nonce in FILE, and only their salted digests in the result.",
    ),
    click.option("--verifier", metavar="NAME", help="Namespace of the result's key.  [default: the stream's]"),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """key: KEYREF. out, disclosures: files. form: jwt, cwt, or None for what ``out`` ends in. verifier: a namespace."""

    key: str
    out: str
    form: str | None
    evidence: bool
    disclosures: str | None
    verifier: str | None


@dataclass(frozen=True, slots=True)
class Raw:
    """What was judged, none of which a log gets to see."""

    evidence: bytes | None = field(repr=False)
    endorsements: Sequence[bytes] = field(repr=False)
    parts: Sequence[bytes] = field(repr=False)
    nonce: bytes | None
    report_data: bytes | None

    def claims(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            EVIDENCE: None if self.evidence is None else _text(self.evidence),
            ENDORSEMENTS: [_text(each) for each in self.endorsements],
            PARTS: [_text(each) for each in self.parts],
            NONCE: None if self.nonce is None else _text(self.nonce),
            REPORT_DATA: None if self.report_data is None else _text(self.report_data),
        }
        return {name: value for name, value in found.items() if value}


def options(command: Command) -> Command:
    """Gives a command the options on its result; its parameter is ``wanted``, None where none is wanted."""

    @functools.wraps(command)
    def packed(
        *args: Any,
        result_key: str | None,
        result_out: str | None,
        result_form: str | None,
        result_evidence: bool,
        result_disclosures: str | None,
        verifier: str | None,
        **rest: Any,
    ) -> Any:
        if (result_key is None) != (result_out is None):
            raise click.UsageError("--result-key and --result-out go together")
        if result_key is None or result_out is None:
            if result_form or result_evidence or result_disclosures:
                raise click.UsageError("which result? --result-key and --result-out")
            return command(*args, wanted=None, **rest)
        wanted = Wanted(result_key, result_out, result_form, result_evidence, result_disclosures, verifier)
        return command(*args, wanted=wanted, **rest)

    made: Any = packed
    for option in reversed(_OPTIONS):
        made = option(made)
    return made  # type: ignore[no-any-return]


def write(verdict: Verdict, wanted: Wanted, namespace: str, raw: Raw) -> None:
    """Signs a verdict as an attestation result. Raises ConfigError, UnavailableError, MalformedError.

    namespace: whose key signs it, unless another is wanted.
    """
    import secrets
    import time

    import teelog
    from teelog.cli import keyref
    from teelog.statement import disclosure, ear_token, ear_verdict
    from teelog.statement.token import Form

    signer = keyref.load_signer(wanted.key)
    named = None
    if wanted.evidence and raw.evidence is not None:
        named = {"sha256": hashlib.sha256(raw.evidence).hexdigest()}
    try:
        claims = ear_verdict.claims(
            verdict,
            issuer=wanted.verifier or namespace,
            issued_at=int(time.time()),
            build=f"teelog {teelog.__version__}",
            evidence=named,
        )
    except MalformedError as error:
        raise ConfigError(error.message, expected=error.expected, actual=error.actual) from error
    parts = raw.claims()
    if wanted.disclosures is not None and parts:
        salts = [secrets.token_bytes(disclosure.SALT_LENGTH) for _ in parts]
        claims, made = disclosure.conceal(claims, parts, salts)
        output.write_file(wanted.disclosures, disclosure.write(made), PRIVATE_MODE)
    form = ear_token.form_of(wanted.out) if wanted.form is None else Form(wanted.form)
    output.write_file(wanted.out, ear_token.sign(claims, signer, form).file, MODE)


def check_evidence(named: dict[str, str], disclosed: object) -> None:
    """Raises VerificationError where the result names other evidence than it discloses.

    named: algorithm -> hex. disclosed: the value of the claim.
    """
    evidence = _bytes(disclosed)
    for algorithm in _HASHES:
        found = None if evidence is None else hashlib.new(algorithm, evidence).hexdigest()
        if algorithm in named and named[algorithm] != found:
            raise VerificationError(
                "the disclosed evidence is not the one that the result names",
                expected=f"{algorithm} {named[algorithm]}",
                actual=found,
            )


def size_of(value: object) -> str:
    """A disclosed value in a few words."""
    if isinstance(value, list):
        return f"{len(value)} of them"
    content = _bytes(value)
    if content is None:
        return "a value"
    return f"{len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}"


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(value: object) -> bytes | None:
    from teelog.statement import jws

    try:
        return jws.unb64url(value.encode(), "") if isinstance(value, str) else None
    except MalformedError:
        return None
