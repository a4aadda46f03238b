"""How a status is shown: which releases a stream allows, until when, and what changes from one status to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from teelog.cli import output
from teelog.statement.release import Release
from teelog.statement.status import Allowed, StatusPredicate

Known = Mapping[str, Release]
"""Releases by statement id: what an id in a status means to people."""


def rows(predicate: StatusPredicate | None, known: Known) -> list[tuple[str, ...]]:
    """A row for each release that is allowed: version, svn, until when, statement id."""
    return [(*_name(each.release, known), _until(each), each.release) for each in _allowed(predicate)]


def changes(before: StatusPredicate | None, after: StatusPredicate, known: Known) -> list[str]:
    """What was allowed and what will be, release by release, in aligned columns."""
    was = {each.release: each for each in _allowed(before)}
    will = {each.release: each for each in after.allowed_now}
    causes = {each.release: each.cause for each in after.revoked}
    table: list[tuple[str, ...]] = [("", "release", "svn", "before", "after", "statement id")]
    for found in dict.fromkeys([*was, *will]):
        then, now = was.get(found), will.get(found)
        mark = "+" if then is None else "-" if now is None else " " if then == now else "~"
        gone = f"withdrawn: {output.safe(causes[found], 80)}" if found in causes else "not allowed"
        old = "not allowed" if then is None else _until(then)
        table.append((mark, *_name(found, known), old, gone if now is None else _until(now), found))
    return output.columns(table)


def terms(predicate: StatusPredicate) -> list[str]:
    """How long it is to be believed."""
    lines = [
        f"max age       {predicate.max_age_s} s: no older view of the log counts as now",
        f"next update   {predicate.next_update}: it is believed until then",
    ]
    return lines + ([f"reason        {output.safe(predicate.reason, 200)}"] if predicate.reason else [])


def revoked(predicate: StatusPredicate, known: Known) -> list[tuple[str, ...]]:
    return [(*_name(each.release, known), output.safe(each.cause, 200), each.release) for each in predicate.revoked]


def as_json(predicate: StatusPredicate | None, known: Known) -> dict[str, Any] | None:
    if predicate is None:
        return None
    return {
        "stream": predicate.stream,
        "log": predicate.log,
        "seq": predicate.seq,
        "prev": predicate.prev,
        "reason": predicate.reason,
        "allowed": [
            {"release": each.release, "state": each.state, "until": each.until, **_json_name(each.release, known)}
            for each in predicate.allowed_now
        ],
        "revoked": [
            {"release": each.release, "cause": each.cause, **_json_name(each.release, known)}
            for each in predicate.revoked
        ],
        "max_age_s": predicate.max_age_s,
        "next_update": predicate.next_update,
        "closed": predicate.is_closed,
        "successor": predicate.successor,
    }


def named(predicates: Iterable[StatusPredicate | None]) -> set[str]:
    """The statement ids of all releases that the statuses name."""
    found: set[str] = set()
    for predicate in predicates:
        if predicate is not None:
            found |= {each.release for each in predicate.allowed_now} | {each.release for each in predicate.revoked}
    return found


def _allowed(predicate: StatusPredicate | None) -> tuple[Allowed, ...]:
    return () if predicate is None else predicate.allowed_now


def _name(statement_id: str, known: Known) -> tuple[str, str]:
    found = known.get(statement_id)
    return ("?", "?") if found is None else (found.claim.predicate.version, str(found.claim.predicate.svn))


def _json_name(statement_id: str, known: Known) -> dict[str, Any]:
    found = known.get(statement_id)
    if found is None:
        return {"version": None, "svn": None, "index": None}
    predicate = found.claim.predicate
    return {"version": predicate.version, "svn": predicate.svn, "index": found.index}


def _until(allowed: Allowed) -> str:
    return "allowed" if allowed.until is None else f"grace until {allowed.until}"
