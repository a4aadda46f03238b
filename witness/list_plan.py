"""What a published list of logs would add to a witness's own: the witness network's ``logs/v0`` lists. Pure.

    logs/v0

    vkey log.example/tee+1f2e3d4c+AQ...
    qpd 288
    contact ops@log.example

A list is a stranger's word and may be somebody else's tomorrow. So it only ever adds (A-65): no log is changed,
removed, disabled or enabled by one, and a list that gives a known log another key is not applied at all (W-48). It
cannot add more logs, nor higher quotas, than the operator allows.

Source: witness-network.org, "Log-list format". Lines are trimmed; blank ones and ``#`` comments count for nothing, nor
do keys that are not known here (``bastion``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from teelog import strict
from teelog.errors import ConfigError, MalformedError
from teelog.tlog.vkey import MAX_LENGTH
from teelog.witness import registry
from teelog.witness.state import LogEntry

HEADER = "logs/v0"
MAX_LIST = 16 << 20  # bytes
MAX_LINE = MAX_LENGTH + 16  # characters: the longest vkey, with its word
MAX_LOGS = 50_000  # known ones in all, unless the operator says otherwise
MAX_PER_DAY = 86_400  # the same for a log's quota
MAX_LISTED = 100_000  # logs in one list
_ONCE = frozenset({"origin", "qpd", "contact"})  # the other lines of a log that are read


@dataclass(frozen=True, slots=True)
class Bounds:
    """What any list may do. logs: known ones in all, afterwards. per_day: a listed log's quota is no larger."""

    logs: int = MAX_LOGS
    per_day: int = MAX_PER_DAY

    def __post_init__(self) -> None:
        for name, most in (("logs", 1_000_000), ("per_day", registry.MAX_PER_DAY)):
            if not 1 <= getattr(self, name) <= most:
                raise ConfigError(f"{name} is out of range", expected=f"1 to {most}", actual=getattr(self, name))


@dataclass(frozen=True, slots=True)
class Listed:
    """A log as listed, its key not looked at yet. line: where it begins, from 1. per_day: requests."""

    line: int
    vkey: str
    origin: str | None
    per_day: int
    contact: str | None

    @property
    def name(self) -> str:
        return self.vkey.partition("+")[0]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A listed log that cannot be cosigned here. line: in the list, from 1. name: of its key, as listed."""

    line: int
    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """add: entries of logs that are not known yet. known: how many are, and stay as they are. other_quota: of these,
    how many the list gives another quota."""

    add: tuple[LogEntry, ...]
    known: int
    other_quota: int
    skipped: tuple[Skipped, ...]


def parse(data: bytes) -> tuple[Listed, ...]:
    """A ``logs/v0`` list. Raises MalformedError, with the line."""
    if len(data) > MAX_LIST:
        raise MalformedError("log list is too long", expected=f"at most {MAX_LIST} bytes", actual=len(data))
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as error:
        raise MalformedError("log list is not UTF-8", actual=f"byte {error.start}") from error
    found: list[Listed] = []
    fields: dict[str, str] = {}
    begun = 0
    headed = False
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if len(line) > MAX_LINE:
            raise MalformedError(f"line {number} of the log list is too long", expected=f"at most {MAX_LINE}")
        if not headed:
            if line != HEADER:
                raise MalformedError("not a log list", expected=f"a first line {HEADER}", actual=line[:80])
            headed = True
            continue
        word, _, value = line.partition(" ")
        if word == "vkey":
            if fields:
                found.append(_listed(begun, fields))
            if len(found) >= MAX_LISTED:
                raise MalformedError("log list has too many logs", expected=f"at most {MAX_LISTED}")
            begun, fields = number, {}
        elif not fields:
            raise MalformedError(f"line {number} of the log list is not a vkey", expected="vkey ...", actual=word[:80])
        elif word not in _ONCE:
            continue
        value = value.strip()
        if not value or word in fields:
            raise MalformedError(f"line {number} of the log list is not usable", expected=f"one {word} with a value")
        fields[word] = value
    if not headed:
        raise MalformedError("not a log list", expected=f"a first line {HEADER}", actual="nothing")
    if fields:
        found.append(_listed(begun, fields))
    return tuple(found)


def _listed(line: int, fields: dict[str, str]) -> Listed:
    if "qpd" not in fields:
        raise MalformedError(f"the log at line {line} of the log list has no quota", expected="qpd N")
    per_day = strict.decimal(fields["qpd"].encode(), f"qpd of the log at line {line} of the log list")
    if per_day < 1:
        raise MalformedError(f"the log at line {line} of the log list has no quota", expected="qpd 1 or more")
    origin = fields.get("origin", "none")
    return Listed(line, fields["vkey"], None if origin == "none" else origin, per_day, fields.get("contact"))


def plan(
    listed: tuple[Listed, ...],
    entry: Callable[[str], LogEntry | None],
    total: int,
    witness_name: str,
    bounds: Bounds,
) -> Plan:
    """What ``listed`` adds. entry: the known log of an origin. total: known logs.

    Raises ConfigError where the list must not be applied at all: another key for a known log, two for one, too many.
    """
    add: dict[str, LogEntry] = {}
    skipped: list[Skipped] = []
    same = other_quota = 0
    for one in listed:
        known = entry(one.name) or add.get(one.name)
        if known is None:
            new = _entry(one, witness_name, bounds)
            if isinstance(new, Skipped):
                skipped.append(new)
            else:
                add[new.origin] = new
            continue
        # W-48: "same origin with another key -> refused, list not applied".
        if one.vkey not in known.vkeys:
            raise ConfigError(
                f"the list has another key for {one.name}: nothing of it is applied",
                expected=", ".join(key[:80] for key in known.vkeys),
                actual=f"{one.vkey[:80]} (line {one.line})",
                hint="if the log really has a new key: teelog witness add-log --add-key",
            )
        if one.name not in add:
            same += 1
            other_quota += known.per_day != min(one.per_day, bounds.per_day)
    if add and total + len(add) > bounds.logs:
        raise ConfigError(
            "the list would make too many logs known: nothing of it is applied",
            expected=f"at most {bounds.logs}",
            actual=f"{total} known and {len(add)} more",
            hint="--max-logs, or max_logs of the list in witness.toml",
        )
    return Plan(tuple(add.values()), same, other_quota, tuple(skipped))


def _entry(one: Listed, witness_name: str, bounds: Bounds) -> LogEntry | Skipped:
    if one.origin not in (None, one.name):
        return Skipped(one.line, one.name, "its origin is not its key's name")
    try:
        return registry.new_entry(
            (one.vkey,), witness_name, contact=one.contact, per_day=min(one.per_day, bounds.per_day)
        )
    except ConfigError as error:
        return Skipped(one.line, one.name, error.message)
