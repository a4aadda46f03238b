"""What holds of a log's views while they are as they are: who is silent, behind, old, or not cosigned. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from teelog.errors import MalformedError, TeelogError, UnavailableError, VerificationError
from teelog.tlog.policy import NONE, Policy, quorum_since, read_checkpoint
from teelog.witness.monitor.finding import Finding, Kind, cut
from teelog.witness.monitor.settings import Settings
from teelog.witness.monitor.state import Followed
from teelog.witness.monitor.views import Role, View

UNSHOWN = 300  # seconds after which the log should show what a witness has cosigned


class Waiting:
    """What witnesses have seen and the log does not show: origin and place -> (size, since when, POSIX seconds).

    A log that grows for everybody else has newer cosignatures all the time: what counts is how long it has not shown a
    size that somebody saw. data: as ``encode`` gave it.
    """

    def __init__(self, data: bytes = b"") -> None:
        self._held: dict[str, tuple[int, int]] = (
            msgspec.json.decode(data, type=dict[str, tuple[int, int]]) if data else {}
        )

    def encode(self) -> bytes:
        return msgspec.json.encode(self._held) if self._held else b""

    def since(self, place: str, has: int, shown: int, now: int) -> int | None:
        """Since when the log has not shown what ``place`` has, of ``has`` entries; None where it shows all.

        shown: entries that the log shows.
        """
        if has <= shown:
            self._held.pop(place, None)
            return None
        size, since = self._held.get(place, (has, now))
        if size <= shown:
            size, since = has, now
        self._held[place] = (size, since)
        return since


def conditions(
    views: Sequence[View],
    target: View | None,
    followed: Followed,
    settings: Settings,
    policy: Policy,
    now: int,
    waiting: Waiting,
) -> list[Finding]:
    """The findings, each of which is cleared once it holds no more.

    views: all but those of another tree. target: the one that was followed. followed: how far. now: POSIX seconds.
    waiting: moves on.
    """
    log = followed.origin
    found = [each for view in views for each in _of_view(view, followed, settings, policy, now, waiting)]
    found += _age(views, target, followed, settings, policy, now)
    return [Finding(kind, log, about, cut(text), standing=True) for kind, about, text in found]


def _of_view(
    view: View, followed: Followed, settings: Settings, policy: Policy, now: int, waiting: Waiting
) -> Iterator[tuple[Kind, str, str]]:
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
        elif is_older(view, followed, policy, settings.behind):
            yield Kind.ROLLBACK, str(view.place), "the log shows older cosignatures than it showed before"
        return
    if view.place.role is Role.WITNESS:
        unshown = waiting.since(f"{followed.origin} {view.place}", shown, seen, now)
        hidden = unshown is not None and (now - unshown > UNSHOWN or (view.cosigned and age > UNSHOWN))
    else:
        hidden = False
    if shown < seen and age > settings.behind:
        yield Kind.BEHIND, str(view.place), f"has {shown} of {seen} entries{since}"
    elif hidden:
        # what the log had cosigned and shows nobody. It may be of another tree: nothing can be proven yet.
        yield Kind.ROLLBACK, str(view.place), f"has {shown} entries{since}, and the log shows {seen}"


def _age(
    views: Sequence[View], target: View | None, followed: Followed, settings: Settings, policy: Policy, now: int
) -> Iterator[tuple[Kind, str, str]]:
    if policy.quorum == NONE:
        return  # nobody tells a time
    shown = [view.seen for view in views if view.seen is not None and view.place.role is not Role.WITNESS]
    times = [time for seen in shown if (time := quorum_since(seen, policy))]
    kept = quorum_since(read_checkpoint(followed.note, policy), policy) if followed.note else None
    bare = target is not None and target.place.role is Role.MIRROR and target.checkpoint.size == followed.signed
    known = kept is not None and bare
    # What was seen cosigned is, whoever shows it without: a mirror's checkpoint has the log's and its own line.
    if target is not None and target.seen is not None and not known and quorum_since(target.seen, policy) is None:
        missing = _missing(policy, set(target.seen.cosignatures))
        yield Kind.NOT_WITNESSED, "", f"the checkpoint of size {target.checkpoint.size} at {target.place}: {missing}"
    times += [kept] if kept is not None else []
    newest = max(times, default=None)
    if newest is not None and now - newest > settings.max_age:
        yield Kind.STALLED, "", f"no quorum has cosigned since {datetime.fromtimestamp(newest, UTC):%Y-%m-%dT%H:%M:%SZ}"


def is_older(view: View, followed: Followed, policy: Policy, seconds: float = 0) -> bool:
    """Whether a view shows the very tree that was followed, with an older quorum than the one kept, or with none.

    seconds: by more than so many.
    """
    if not followed.note or (view.checkpoint.size, view.checkpoint.root) != (followed.signed, followed.signed_root):
        return False
    kept = quorum_since(read_checkpoint(followed.note, policy), policy)
    assert view.seen is not None
    return kept is not None and (quorum_since(view.seen, policy) or 0) + seconds < kept


def _missing(policy: Policy, cosigned: set[str]) -> str:
    try:
        policy.check_quorum(cosigned)
    except TeelogError as error:
        return str(error)
    return "the times of its cosignatures are not known"
