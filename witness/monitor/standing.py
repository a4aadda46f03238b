"""What holds of a log's views while they are as they are: who is silent, behind, old, or not cosigned. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from teelog.errors import MalformedError, TeelogError, UnavailableError, VerificationError
from teelog.tlog.policy import NONE, Policy, quorum_since, read_checkpoint
from teelog.witness.monitor.finding import Finding, Kind, cut
from teelog.witness.monitor.settings import Settings
from teelog.witness.monitor.state import Followed
from teelog.witness.monitor.views import Role, View

UNSHOWN = 300  # seconds after which the log should show what a witness has cosigned


def conditions(
    views: Sequence[View], target: View | None, followed: Followed, settings: Settings, policy: Policy, now: int
) -> list[Finding]:
    """The findings, each of which is cleared once it holds no more.

    views: all but those of another tree. target: the one that was followed. followed: how far. now: POSIX seconds.
    """
    log = followed.origin
    found = [(kind, about, text) for view in views for kind, about, text in _of_view(view, followed, settings, now)]
    found += _age(views, target, followed, settings, policy, now)
    return [Finding(kind, log, about, cut(text), standing=True) for kind, about, text in found]


def _of_view(view: View, followed: Followed, settings: Settings, now: int) -> Iterator[tuple[Kind, str, str]]:
    if view.seen is None:
        readable = isinstance(view.trouble, MalformedError | VerificationError)
        silent = isinstance(view.trouble, UnavailableError) or not readable
        yield Kind.UNREACHABLE if silent else Kind.UNREADABLE, str(view.place), str(view.trouble)
        return
    shown, seen, age = view.checkpoint.size, followed.signed, now - view.cosigned
    since = f", cosigned {age} s ago" if view.cosigned else ""
    if view.place.role is Role.LOG:
        if shown < seen:
            yield Kind.ROLLBACK, str(view.place), f"the log shows {shown} entries, and showed {seen} before"
    elif shown < seen and age > settings.behind:
        yield Kind.BEHIND, str(view.place), f"has {shown} of {seen} entries{since}"
    elif view.place.role is Role.WITNESS and shown > seen and view.cosigned and age > UNSHOWN:
        # what the log had cosigned and shows nobody. It may be of another tree: nothing can be proven yet.
        yield Kind.ROLLBACK, str(view.place), f"has {shown} entries{since}, and the log shows {seen}"


def _age(
    views: Sequence[View], target: View | None, followed: Followed, settings: Settings, policy: Policy, now: int
) -> Iterator[tuple[Kind, str, str]]:
    if policy.quorum == NONE:
        return  # nobody tells a time
    shown = [view.seen for view in views if view.seen is not None and view.place.role is not Role.WITNESS]
    times = [time for seen in shown if (time := quorum_since(seen, policy))]
    if target is not None and target.seen is not None and quorum_since(target.seen, policy) is None:
        missing = _missing(policy, set(target.seen.cosignatures))
        yield Kind.NOT_WITNESSED, "", f"the log's checkpoint of size {target.checkpoint.size}: {missing}"
    if followed.note:
        kept = quorum_since(read_checkpoint(followed.note, policy), policy)
        times += [kept] if kept is not None else []
    newest = max(times, default=None)
    if newest is not None and now - newest > settings.max_age:
        yield Kind.STALLED, "", f"no quorum has cosigned since {datetime.fromtimestamp(newest, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _missing(policy: Policy, cosigned: set[str]) -> str:
    try:
        policy.check_quorum(cosigned)
    except TeelogError as error:
        return str(error)
    return "the times of its cosignatures are not known"
