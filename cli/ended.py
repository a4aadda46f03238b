"""A log that has ended: its last entry is a policy that says so, and no index covers that one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from teelog.errors import MalformedError, RefusedError
from teelog.statement import draft
from teelog.statement.log_policy import LogPolicyPredicate
from teelog.tlog.checkpoint import Checkpoint

if TYPE_CHECKING:
    from teelog.client.source import TileSource


async def told(source: TileSource, head: Checkpoint) -> RefusedError | None:
    """What to say where the last entry of a verified checkpoint ends the log."""
    from teelog.client.log import LogReader

    try:
        claim = draft.read(await LogReader(source, head.size, head.root).entry(head.size - 1)).statement.claim
    except MalformedError:
        return None
    if not isinstance(claim, LogPolicyPredicate) or claim.frozen is None:
        return None
    onward = claim.frozen.successor
    return RefusedError(
        f"{head.origin} has ended: it takes nothing any more",
        actual=f"its streams go on at {onward}" if onward else None,
        hint="log the namespace and a status on the log that goes on" if onward else None,
    )
