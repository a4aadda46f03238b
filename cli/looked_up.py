"""What a looked-up entry is. A list holds whatever names its key, so a result is shown with whether it is signed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from teelog.cli import statements
from teelog.cli.proof import utc
from teelog.errors import MalformedError, TeelogError
from teelog.statement import admit, draft
from teelog.statement.admit import Kind
from teelog.statement.ear import Result
from teelog.statement.namespace import Namespace


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry of a list. text: what it states. result: of an attestation result. signer: the key of role ``result``
    that signed it, in force there; else ``unsigned`` says why there is none.
    """

    index: int
    kind: str | None
    text: str
    statement_id: str | None = None
    result: Result | None = None
    signer: str | None = None
    unsigned: str | None = None


def issuer(entry: bytes) -> str | None:
    """The namespace whose keys a result is judged by; None for anything else."""
    try:
        parsed = admit.classify(entry)
    except MalformedError:
        return None
    return parsed.namespace if parsed.kind is Kind.RESULT else None


def shown(index: int, entry: bytes, namespace: Namespace | None) -> Shown:
    """Entry ``index``. namespace: the version of the issuer's that was current before it."""
    try:
        made = draft.read(entry)
    except MalformedError:
        return Shown(index, None, "no statement")
    kind, text = made.statement.kind.value, statements.describe(made)
    claim = made.statement.claim
    if not isinstance(claim, Result):
        return Shown(index, kind, text, made.statement_id)
    signer, unsigned = None, None
    try:
        if namespace is None:
            raise MalformedError("its issuer has no namespace on this log")
        signer = admit.check_result(admit.classify(entry), namespace, index).signer
    except TeelogError as error:
        unsigned = error.message
    return Shown(index, kind, text, made.statement_id, claim, signer, unsigned)


def lines(entries: Sequence[Shown], now: int) -> list[str]:
    """A few words on each. now: POSIX seconds, to tell a result's age."""
    found = []
    for each in entries:
        found.append(f"entry         {each.index}  {each.text}")
        if each.result is not None:
            found += [f"              {line}" for line in _of_result(each, each.result, now)]
    counted = Counter(verdict(each) for each in entries if each.result is not None)
    if counted:
        found.append("results       " + ", ".join(f"{count} {word}" for word, count in counted.most_common()))
    return found


def verdict(each: Shown) -> str:
    """What a result says; of one that nobody answers for, nothing."""
    if each.result is None or each.signer is None:
        return "of nobody"
    judged = each.result.judged
    return judged.verdict if judged is not None else each.result.status or each.result.submodules[0].status


def _of_result(each: Shown, result: Result, now: int) -> list[str]:
    if each.signer is None:
        return [f"NOT SIGNED by a result key of {result.issuer}: {each.unsigned}"]
    platforms = ", ".join(f"{one.name} {one.status}" for one in result.submodules[:4])
    found = [f"{verdict(each)}  ({platforms})  {utc(result.issued_at)}, {_age(now - result.issued_at)}"]
    if result.judged is not None and result.judged.release is not None:
        found.append(f"release {result.judged.release}")
    return found


def _age(seconds: int) -> str:
    if seconds < 0:
        return "by its own clock still to come"
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} seconds ago"


def as_json(each: Shown) -> dict[str, Any]:
    found: dict[str, Any] = {"index": each.index, "kind": each.kind, "statement_id": each.statement_id}
    result = each.result
    if result is None:
        return found
    judged = result.judged
    head = None if judged is None else judged.checkpoint
    return found | {
        "result": {
            "verdict": None if judged is None else judged.verdict,
            "status": result.status,
            "submods": {one.name: one.status for one in result.submodules},
            "issuer": result.issuer,
            "subject": result.subject,
            "issued_at": result.issued_at,
            "expires": result.expires,
            "release": None if judged is None else judged.release,
            "size": None if head is None else head.size,
            "evidence": {} if judged is None else judged.evidence_digests,
            "signed_by": each.signer,
            "unsigned": each.unsigned,
        }
    }
