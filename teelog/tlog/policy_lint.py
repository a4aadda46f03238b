"""What a policy is worth: tolerated colluders, one operator counted once (PL-22). And writing one that passes.

All vkeys of one key name are one operator. ``f`` is how many colluding operators can not show two clients different
trees that both satisfy the quorum: the smallest overlap of two quorums, less one; 2k - n - 1 for k of n.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from teelog.errors import ConfigError
from teelog.tlog.policy import NONE, Policy, parse_policy
from teelog.tlog.vkey import VerifierKey


@dataclass(frozen=True, slots=True)
class Lint:
    """tolerated: f, at least -1. operators: the distinct key names that count. problems: empty if all is well.

    counted_twice: the operators that have keys outside a common ``any`` group.
    """

    tolerated: int
    operators: tuple[str, ...]
    problems: tuple[str, ...]
    counted_twice: tuple[str, ...] = ()


def lint(policy: Policy) -> Lint:
    """Judges a policy; never raises."""
    twice = {
        name: keys
        for name, keys in _operators(policy).items()
        if len(keys) > 1 and not _is_operator_group(policy, keys)
    }
    problems = [
        f"{name!r} is one operator with {len(keys)} keys outside a common `any` group: it would count {len(keys)} times"
        for name, keys in twice.items()
    ]
    members = _members(policy)
    counted = members[policy.quorum] if policy.quorum != NONE else set()
    unused = sorted(set(policy.witnesses) - counted)
    if policy.quorum == NONE:
        problems.append("quorum none: no witness is required, the log alone is trusted for everything")
    elif unused:
        problems.append(f"outside the quorum, so never counted: {', '.join(unused)}")
    own = [w.name for w in policy.witnesses.values() if any(w.key.public == log.key.public for log in policy.logs)]
    if own:  # CS-14: nobody is an independent witness of itself
        problems.append(f"a log's own key stands as a witness: {', '.join(own)}")
    overlap = 0 if policy.quorum == NONE else _overlaps(policy, members)[policy.quorum]
    # An operator that counts m times may be m of the shared members.
    tolerated = -(-overlap // max(map(len, twice.values()), default=1)) - 1
    if policy.quorum != NONE and tolerated < 0:
        problems.append("two disjoint sets of witnesses satisfy the quorum: no colluder is needed for a split view")
    if not policy.logs:
        problems.append("no log line: the caller must name the log")
    operators = tuple(sorted({policy.witnesses[name].key.name for name in counted}))
    return Lint(tolerated, operators, tuple(problems), tuple(twice))


def _operators(policy: Policy) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for witness in policy.witnesses.values():
        found.setdefault(witness.key.name, []).append(witness.name)
    return found


def _is_operator_group(policy: Policy, keys: Iterable[str]) -> bool:
    return any(set(group.members) == set(keys) and group.threshold == 1 for group in policy.groups.values())


def _members(policy: Policy) -> dict[str, set[str]]:
    """The witnesses below every name."""
    found = {name: {name} for name in policy.witnesses}
    for group in policy.groups.values():  # PL-09: members come first
        found[group.name] = set().union(*(found[member] for member in group.members))
    return found


def _overlaps(policy: Policy, members: Mapping[str, set[str]]) -> dict[str, int]:
    """For every name the smallest number of operators that two sets satisfying it have in common."""
    found = dict.fromkeys(policy.witnesses, 1)
    for group in policy.groups.values():
        if len({policy.witnesses[member].key.name for member in members[group.name]}) == 1:
            found[group.name] = 1  # all keys of one operator
            continue
        # Each name is a member only once (PL-10), so the two sets may share any 2k - n members: the cheapest.
        shared = max(0, 2 * group.threshold - len(group.members))
        found[group.name] = sum(sorted(found[member] for member in group.members)[:shared])
    return found


@dataclass(frozen=True, slots=True)
class Operator:
    """A witness as ``policy new`` takes it: its vkeys, all of one name, and its URL."""

    keys: tuple[VerifierKey, ...]
    url: str | None


def write_policy(logs: Sequence[tuple[VerifierKey, str | None]], operators: Sequence[Operator], quorum: int) -> bytes:
    """A policy that needs ``quorum`` of the operators, each counted once. Raises ConfigError.

    An operator is named by its key name; its keys are ``NAME:ed25519`` and so on, grouped under ``any``. No name has a
    ``#``: readers exist that take it for the start of a comment.
    """
    lines = [_line("log", str(key), url) for key, url in logs]
    names = []
    for operator in operators:
        name = operator.keys[0].name
        if any(key.name != name for key in operator.keys):
            raise ConfigError(
                "the keys of one witness must have one name", actual=", ".join(k.name for k in operator.keys)
            )
        members = []
        for key in operator.keys:
            member = name if len(operator.keys) == 1 else f"{name}:{key.public.algorithm}"
            lines.append(_line("witness", member, str(key), operator.url))
            members.append(member)
        if len(members) > 1:
            lines.append(_line("group", name, "any", *members))
        names.append(name)
    if quorum == 0:
        raise ConfigError(
            "a quorum of 0 checks nothing", expected=f"1 to {len(names)}", hint="teelog policy new ... --quorum 3"
        )
    if not 1 <= quorum <= len(names):
        raise ConfigError("quorum is out of range", expected=f"1 to {len(names)}", actual=quorum)
    lines.append(_line("group", "witnesses", str(quorum), *names))
    lines.append(_line("quorum", "witnesses"))
    data = "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape")
    parse_policy(data)
    return data


def _line(*words: str | None) -> str:
    return " ".join(word for word in words if word is not None)
