"""What the commands on statement files share: read, sign in place, describe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from teelog.cli import files, output
from teelog.errors import ConfigError, MalformedError, TeelogError
from teelog.statement import draft, dsse, release, status
from teelog.statement.admit import Kind
from teelog.statement.draft import Draft
from teelog.statement.ear import Result


def read(path: str) -> Draft:
    """Raises UnavailableError, MalformedError."""
    return draft.read(files.read(path, dsse.MAX_FILE, "statement"))


def write_new(path: str, statement: Draft) -> None:
    """Writes a statement just made. Raises ConfigError where that would destroy another one that is signed.

    A draft may be made again and again; a signed statement may be on a log, and its proof fits its bytes only.
    """
    if path != output.STDOUT and Path(path).exists() and _would_lose(path, statement):
        raise ConfigError(
            f"{path} holds a signed statement, which would be lost",
            expected="a new file, or one that nobody has signed",
            hint=f"choose another --out, or remove {path} first",
        )
    output.write_file(path, statement.file)


def _would_lose(path: str, statement: Draft) -> bool:
    try:
        held = read(path)
    except TeelogError:
        return False  # no statement at all: not ours to guard
    kept = held.statement_id == statement.statement_id and set(held.signers) <= set(statement.signers)
    return bool(held.signers) and not kept


def sign(path: str, refs: Sequence[str], only: Kind | None = None) -> None:
    """Signs the statement in ``path`` with every KEYREF, in place; a key that has signed already adds nothing.

    only: refuse statements of other kinds. Raises ConfigError, UnavailableError, MalformedError, SignatureError.
    """
    from teelog.cli import keyref

    before = read(path)
    kind = before.statement.kind
    if only is not None and kind is not only:
        raise wrong_kind(path, only, kind)
    # All keys first: a wrong one leaves the file as it was.
    after = draft.sign(before, [keyref.load_signer(ref) for ref in refs])
    if after.file != before.file or path == output.STDOUT:
        output.write_file(path, after.file, _mode(path))
    added = sorted(set(after.signers) - set(before.signers))
    new = f"{len(added)} signature{'' if len(added) == 1 else 's'} added" if added else "signed already, nothing added"
    talk = f"{describe(after)}: {new}, {len(after.signers)} in all"
    output.note(talk)
    if path != output.STDOUT:
        output.result(
            [f"statement id  {after.statement_id}", *(f"signed by     {keyid}" for keyid in after.signers)],
            {
                "schema": "teelog-signed/v1",
                "file": path,
                "kind": kind,
                "statement_id": after.statement_id,
                "signers": list(after.signers),
                "added": added,
            },
        )


def wrong_kind(path: str, expected: Kind, actual: Kind) -> MalformedError:
    """The error for a statement of another kind than the command is about."""
    return MalformedError(f"{path} is not a {expected}", expected=expected, actual=actual)


def _mode(path: str) -> int:
    return 0o644 if path == output.STDOUT else Path(path).stat().st_mode & 0o777


def describe(statement: Draft) -> str:
    """One line: what the file states."""
    claim = statement.statement.claim
    if isinstance(claim, release.ReleaseClaim):
        return f"release {claim.stream} {claim.predicate.version}"
    if isinstance(claim, Result):
        return f"attestation result of {claim.issuer} on {claim.subject or 'no subject'}"
    if isinstance(claim, status.StatusPredicate):
        return f"status {claim.stream} seq {claim.seq}"
    name = statement.statement.namespace or claim.log
    return f"{statement.statement.kind} {name} version {claim.version}"


def signatures(statement: Draft) -> dict[str, Any]:
    """The members that every ``show`` has in common."""
    return {
        "kind": statement.statement.kind,
        "statement_id": statement.statement_id,
        "signed": statement.signed,
        "signers": list(statement.signers),
    }
