"""What a verifier has seen before, from and to the client state. Opens no socket, loads no HTTP client."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from teelog.appraisal.inputs import Seen
from teelog.cli import output
from teelog.errors import MisbehaviourError, TeelogError
from teelog.tlog.policy import verify_checkpoint
from teelog.trust import Trust

if TYPE_CHECKING:
    from teelog.client.state import ClientState


def recall(state: ClientState, trust: Trust) -> Seen:
    """What was seen of the trust file's log and its index."""
    seen = Seen()
    for key in (log.key for log in trust.main.logs):
        known = state.latest(key)
        if known is not None:
            seen = seen.with_larger(trust.origin, known.checkpoint.size, known.checkpoint.root, known.note)
        for name, (version, statement_id) in state.namespaces(key).items():
            seen = seen.with_namespace(name, version, statement_id)
        for name, (seq, statement_id) in state.statuses(key).items():
            seen = seen.with_status(name, seq, statement_id)
        seen = seen.with_views(state.views(key))
    for key in (log.key for log in trust.index.logs) if trust.index else ():
        known = state.latest(key)
        if known is not None:
            head = known.checkpoint
            seen = seen.with_larger(head.origin, head.size, head.root, known.note)
    return seen


def remember(state: ClientState, trust: Trust, before: Seen, seen: Seen, *, chosen: bool) -> None:
    """What was followed, and the newest witnessed checkpoints.

    before: what was recalled. chosen: the user named the place; otherwise trouble with it is only told.
    """
    trouble = None
    try:
        for log in trust.main.logs:
            state.follow(log.key, seen.namespaces, seen.statuses, seen.views)
        for policy in (trust.main, trust.index):
            found = None if policy is None else seen.checkpoints.get(policy.origins()[0])
            if policy is not None and found is not None and found != before.checkpoints.get(policy.origins()[0]):
                trouble = state.observe_offline(verify_checkpoint(found.note, policy)) or trouble
    except MisbehaviourError:
        raise
    except TeelogError as error:
        if chosen or os.environ.get("TEELOG_STATE"):
            raise
        trouble = error.message
    if trouble:
        output.note(f"not remembered: {trouble}")
