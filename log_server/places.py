"""The place in a chain that a statement claims, and what of the log a result says it was judged by."""

from __future__ import annotations

from teelog import strict
from teelog.log_server.seams import LOG_POLICY, NAMESPACE, STATUS, Admitted, Cites, Place
from teelog.statement.admit import ParsedEntry
from teelog.statement.ear import Result
from teelog.statement.namespace import NamespacePredicate
from teelog.statement.release import ReleaseClaim
from teelog.statement.status import StatusPredicate
from teelog.tlog import rfc6962


def claimed(parsed: ParsedEntry) -> Place | None:
    """None for a statement that is in no chain."""
    predicate = parsed.statement.claim
    if isinstance(predicate, ReleaseClaim | Result):
        return None
    if isinstance(predicate, StatusPredicate):
        releases = tuple(bytes.fromhex(item.release) for item in predicate.allowed_now)
        return Place(
            STATUS,
            predicate.stream,
            predicate.seq,
            _prev(predicate.prev),
            predicate.is_closed,
            predicate.successor,
            releases,
        )
    if isinstance(predicate, NamespacePredicate):
        return Place(NAMESPACE, predicate.namespace, predicate.version, _prev(predicate.prev))
    frozen = predicate.frozen
    successor = None if frozen is None else frozen.successor
    return Place(LOG_POLICY, "", predicate.version, _prev(predicate.prev), frozen is not None, successor)


def cited(result: Result) -> Cites | None:
    """None for a result that does not say by what it was judged. Raises MalformedError for a root that is none."""
    judged = result.judged
    if judged is None:
        return None
    head = judged.checkpoint
    return Cites(
        None if judged.release is None else bytes.fromhex(judged.release),
        tuple(map(bytes.fromhex, judged.namespaces)),
        None if head is None else head.size,
        b"" if head is None else strict.unhex(head.root, "root", rfc6962.HASH_LENGTH),
    )


def admitted(
    entry: bytes,
    parsed: ParsedEntry,
    under: bytes | None = None,
    before: int | None = None,
    cites: Cites | None = None,
) -> Admitted:
    """A judged entry as the pool takes it."""
    statement = bytes.fromhex(parsed.statement_id)
    return Admitted(entry, rfc6962.leaf_hash(entry), statement, under, before, claimed(parsed), cites)


def _prev(statement_id: str | None) -> bytes | None:
    return None if statement_id is None else bytes.fromhex(statement_id)
