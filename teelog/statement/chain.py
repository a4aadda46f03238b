"""The next statement of a chain, made from the last one: statuses, namespaces, log policies.

What is not said stays as it was. Nothing is signed here, and no time is read: moments are arguments.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from teelog.errors import ConfigError
from teelog.statement import key_set, log_policy, namespace, release, status
from teelog.statement.log_policy import Frozen, LogPolicy, LogPolicyPredicate
from teelog.statement.names import Stream
from teelog.statement.namespace import Key, NamespacePredicate, Role
from teelog.statement.status import Allowed, Closed, Revoked, State, Status, StatusPredicate


@dataclass(frozen=True, slots=True)
class Last:
    """The stream's last effective status, or that there is none (``predicate`` and ``statement_id`` None)."""

    stream: Stream
    log: str
    predicate: StatusPredicate | None = None
    statement_id: str | None = None

    @classmethod
    def of(cls, verified: Status) -> Last:
        return cls(verified.stream, verified.predicate.log, verified.predicate, verified.statement_id)


@dataclass(frozen=True, slots=True)
class Terms:
    """reason: for people. max_age_s: seconds, 1 or more. next_update: aware; the last second of this status."""

    reason: str
    max_age_s: int
    next_update: datetime


# -- statuses ---------------------------------------------------------------------------------------------------------


def allow(
    last: Last,
    releases: Sequence[str],
    terms: Terms,
    *,
    only: bool = False,
    grace: Mapping[str, datetime] | None = None,
) -> StatusPredicate:
    """``releases`` are current; what was allowed stays, after them, unless ``only``.

    releases: statement ids. grace: those that are allowed until a moment from now on; each was allowed before.
    Raises ConfigError (closed stream, a grace for what was not allowed or is current now), MalformedError.
    """
    grace = grace or {}
    before = () if last.predicate is None else last.predicate.allowed_now
    stray = [one for one in grace if one in releases or one not in {item.release for item in before}]
    if stray:
        raise ConfigError(
            "grace is for a release that was allowed and is no longer current",
            actual=stray[0],
            hint="teelog release list",
        )
    now = [Allowed(one, State.CURRENT, None) for one in dict.fromkeys(releases)]
    for item in before:
        if item.release in grace:
            now.append(Allowed(item.release, State.GRACE, release.format_time(grace[item.release])))
        elif item.release not in releases and not only:
            now.append(item)
    return _next(last, terms, tuple(now), _revoked(last, ()))


def withdraw(last: Last, releases: Mapping[str, str], terms: Terms) -> StatusPredicate:
    """What was allowed without ``releases``, which stand in ``revoked``.

    releases: statement id -> cause; one that is not allowed now may be named too. Raises ConfigError (closed stream),
    MalformedError.
    """
    before = () if last.predicate is None else last.predicate.allowed_now
    gone = [Revoked(one, cause) for one, cause in releases.items()]
    return _next(last, terms, tuple(item for item in before if item.release not in releases), _revoked(last, gone))


def renew(last: Last, terms: Terms) -> StatusPredicate:
    """The same sets for longer. Raises ConfigError (no status before, closed stream), MalformedError."""
    if last.predicate is None:
        raise ConfigError(
            "nothing was ever allowed in this stream", actual=str(last.stream), hint="teelog release allow"
        )
    return _next(last, terms, last.predicate.allowed_now, last.predicate.revoked)


def close(last: Last, successor: str | None, terms: Terms) -> StatusPredicate:
    """Ends the stream on this log. successor: origin of the log on which it goes on. Raises as ``withdraw``."""
    return _next(last, terms, msgspec.UNSET, _revoked(last, ()), Closed(successor))


def _revoked(last: Last, added: Sequence[Revoked]) -> tuple[Revoked, ...]:
    """What was revoked, and now ``added``; beyond the bound the oldest go: the index still has what revoked them."""
    again = {item.release for item in added}
    before = () if last.predicate is None else last.predicate.revoked
    return (*(item for item in before if item.release not in again), *added)


def _next(
    last: Last,
    terms: Terms,
    allowed: tuple[Allowed, ...] | msgspec.UnsetType,
    revoked: tuple[Revoked, ...],
    closed: Closed | msgspec.UnsetType = msgspec.UNSET,
) -> StatusPredicate:
    if last.predicate is not None and last.predicate.is_closed:
        raise ConfigError(
            "the stream is closed on this log",
            expected=f"a status on {last.predicate.successor or 'no log at all'}",
            actual=str(last.stream),
        )
    kept = () if isinstance(allowed, msgspec.UnsetType) else [item.release for item in allowed]
    made = StatusPredicate(
        stream=str(last.stream),
        log=last.log,
        seq=0 if last.predicate is None else last.predicate.seq + 1,
        prev=last.statement_id,
        reason=terms.reason,
        allowed=allowed,
        # What is allowed again is no longer revoked: an id in both sets is an error.
        revoked=tuple(item for item in revoked if item.release not in kept)[-status.MAX_REVOKED :],
        max_age_s=terms.max_age_s,
        next_update=release.format_time(terms.next_update),
        closed=closed,
    )
    status.payload(made)
    return made


# -- namespaces and log policies --------------------------------------------------------------------------------------


def rotate(
    last: NamespacePredicate,
    statement_id: str,
    *,
    add: Sequence[Key] = (),
    remove: Collection[str] = (),
    until: int | None = None,
    thresholds: Mapping[Role, int] | None = None,
) -> NamespacePredicate:
    """The next version of a namespace.

    statement_id: of ``last``. add: keys; one that is listed already gets these roles beside its own. remove: keyids;
    with ``until`` they stay listed and count for entries before that log index, else they are gone at once.
    thresholds: those that change; a role that nobody holds any more loses its own.
    Raises ConfigError (a key to remove is not listed), MalformedError (a threshold that cannot be met, no owner left).
    """
    listed = dict(zip(namespace.held_keys(last), last.keys, strict=True))
    for keyid in remove:
        if keyid not in listed:
            hint = f"teelog namespace show {last.namespace}"
            raise ConfigError("no such key in the namespace", expected=", ".join(listed), actual=keyid, hint=hint)
        gone = listed.pop(keyid)
        if until is not None:
            ends = until if gone.until is None else min(until, gone.until)
            listed[keyid] = Key(gone.key, gone.roles, ends)
    for key in add:
        keyid = key_set.read(key.key, "/predicate/keys").fingerprint
        old = listed.get(keyid)
        held = () if old is None else old.roles
        listed[keyid] = Key(key.key, tuple(role for role in Role if role in (*held, *key.roles)), key.until)
    roles = {role for key in listed.values() for role in key.roles}
    asked = {**dict.fromkeys(roles, 1), **last.thresholds, **(thresholds or {})}
    made = NamespacePredicate(
        last.namespace,
        last.log,
        last.version + 1,
        statement_id,
        tuple(listed.values()),
        {role: asked[role] for role in Role if role in roles},
    )
    namespace.payload(made)
    return made


def freeze(last: LogPolicy, successor: str | None) -> LogPolicyPredicate:
    """The last policy of a log. successor: the origin of the log that goes on.

    Raises ConfigError (frozen already), MalformedError.
    """
    before = last.predicate
    if before.frozen is not None:
        raise ConfigError("the log is frozen already", actual=last.statement_id)
    made = LogPolicyPredicate(
        before.log,
        before.version + 1,
        last.statement_id,
        before.operators,
        before.threshold,
        before.admission,
        Frozen(successor),
    )
    log_policy.payload(made)
    return made
