"""What was in effect at a moment, by the witnesses' clocks."""

from __future__ import annotations

import time

from teelog.cli.standing import Asked, Standing
from teelog.errors import NotEstablished, NotWitnessed, ProofError, RefusedError, TeelogError
from teelog.statement.names import Stream
from teelog.statement.status import Status
from teelog.tlog.policy import Policy, WitnessedCheckpoint, quorum_since, verify_checkpoint

Age = tuple[int | None, TeelogError | None]
"""As of when an answer is (POSIX seconds, None where nobody tells), and what is wrong with that."""

MAX_AGE = 86_400  # seconds, where no trust file says how old a view may be


async def status_at(asked: Asked, found: Standing, stream: Stream, at: int) -> tuple[Status | None, int | None]:
    """The last status that a quorum of witnesses had seen by ``at`` (POSIX seconds), and by when they had.

    The log keeps a cosigned checkpoint for each status; the witnesses' times in it are no earlier than the status. A
    log may keep a later one: so this says since when at the latest. Raises NotEstablished where nothing tells.
    """
    if at > time.time():
        raise NotEstablished("nobody knows what will be allowed", expected="a time in the past")
    from teelog.client.indexed import Indexed

    if not isinstance(found.history, Indexed):
        raise NotEstablished(
            "--at asks the log's index", expected="its policy", hint="add --index-policy FILE, or use --size N"
        )
    newest = await found.history.status(stream)
    low, high = 0, 0 if newest is None else newest.predicate.seq + 1
    chosen: tuple[Status | None, int | None] = None, None
    # Statuses below ``low`` were there at the moment, those from ``high`` on were not.
    while low < high:
        middle = (low + high) // 2
        status = await found.history.status_number(stream, middle)
        assert status is not None
        since = await effective_since(asked, found, status)
        if since <= at:
            chosen, low = (status, since), middle + 1
        else:
            high = middle
    return chosen


async def effective_since(asked: Asked, found: Standing, status: Status) -> int:
    """POSIX seconds at which the quorum had cosigned a checkpoint with this status in it. Verified against the log.

    Raises NotEstablished where nothing tells; what asking the log raises.
    """
    from teelog.client.log import LogReader

    assert status.index is not None
    try:
        data = (await found.http.get(f"{asked.place}/index/v1/since/{status.index}", 1 << 20)).body
    except RefusedError as error:
        raise NotEstablished(
            "the log keeps no checkpoint that tells since when a status is there", actual=error.message, hint="--size N"
        ) from error
    then = verify_checkpoint(data, asked.main)
    now = found.main.checkpoint
    if then.checkpoint.size <= status.index:
        raise ProofError(
            "the checkpoint that the log gives does not have the status yet",
            expected=f"a size above {status.index}",
            actual=then.checkpoint.size,
        )
    small, large = sorted((then.checkpoint, now), key=lambda head: head.size)
    root, _ = await LogReader(found.source, large.size, large.root).prove_consistency(small.size)
    if root != small.root:
        raise ProofError(
            "the checkpoint that the log gives is not of the same tree", expected=small.root.hex(), actual=root.hex()
        )
    return _complete(then, asked.main)


def check_age(asked: Asked, main: WitnessedCheckpoint, index: WitnessedCheckpoint | None) -> Age:
    """POSIX seconds up to which both quorums vouch that nothing newer was there; and what is wrong with that.

    None where no witness tells. The error is for the caller to raise once all is told: a stale view says what was.
    """
    both = [(main, asked.main), *([(index, asked.index)] if index is not None and asked.index is not None else [])]
    times = [quorum_since(each, policy) for each, policy in both]
    known = [each for each in times if each is not None]
    if len(known) < len(both):
        return None, None
    oldest = min(known)
    age = int(time.time()) - oldest
    most = MAX_AGE if asked.max_age is None else asked.max_age
    if age <= most:
        return oldest, None
    return oldest, NotEstablished(
        "this is what was, not what is: too few witnesses have seen it lately",
        expected=f"no older than {most} s",
        actual=f"{age} s old",
        hint="the log or its witnesses have stopped; --trust FILE gives the age that you accept",
    )


def _complete(then: WitnessedCheckpoint, policy: Policy) -> int:
    """When the quorum was complete, by the witnesses' own clocks."""
    times = {name: line.timestamp for name, line in then.cosignatures.items() if line.timestamp}
    for moment in sorted(set(times.values())):
        try:
            policy.check_quorum({name for name, seconds in times.items() if seconds <= moment})
        except NotWitnessed:
            continue
        return moment
    raise NotEstablished("no quorum of witnesses tells the time of this checkpoint", expected="timestamps above 0")
