"""Until when a bundle that verifies now goes on doing so, if nothing else changes."""

from __future__ import annotations

from teelog.appraisal import log
from teelog.appraisal.log import Head
from teelog.bundle import Bundle
from teelog.statement import dsse, release, status
from teelog.tlog.policy import quorum_since
from teelog.trust import Trust


def fresh_until(bundle: Bundle, trust: Trust) -> int | None:
    """The last second (POSIX) at which both quorums are young enough, the status holds, and the release is valid.

    None where no such time follows from the bundle: a quorum is not met, or a policy asks for none. Signatures of the
    checkpoints are checked, nothing else is. Raises MalformedError for a status or release that cannot be read.
    """
    predicate = status.read(dsse.parse(bundle.status.entry).claimed())
    envelope = dsse.parse(bundle.release.entry)
    age = min(trust.max_age, predicate.max_age_s)
    moments = [predicate.next_update_time, release.read(envelope.claimed()).not_after]
    moments += [
        item.until_time
        for item in predicate.allowed_now
        if item.release == envelope.statement_id and item.until_time is not None
    ]
    ends = [int(moment.timestamp()) for moment in moments]
    asked = [(bundle.main_checkpoint, trust.main)]
    asked += [(bundle.index_checkpoint, trust.index)] if trust.index is not None else []
    for checkpoint, policy in asked:
        head = log.open_head(checkpoint, policy)
        quorum = quorum_since(head.witnessed, policy) if isinstance(head, Head) else None
        if quorum is None:
            return None
        ends.append(quorum + age)
    return min(ends)
