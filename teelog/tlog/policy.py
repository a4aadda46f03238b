"""Trust policies (c2sp.org/tlog-policy): which logs, which witnesses, and the quorum among them.

Names are opaque octets (PL-14); here they are ``str`` with undecodable octets kept as surrogates, so that different
octets are different names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace

from teelog import strict
from teelog.errors import ConfigError, MalformedError, NotEstablished, NotWitnessed, UntrustedKey, VerificationError
from teelog.tlog import vkey
from teelog.tlog.checkpoint import Checkpoint, open_checkpoint, parse_body
from teelog.tlog.note import Note, UnverifiedNote, VerifiedSignature, Verifier, describe, index_verifiers, parse
from teelog.tlog.vkey import VerifierKey

MAX_LENGTH = 4 * 1024 * 1024  # bytes; PL-18: far above 32 logs, 32 witnesses and 32 groups
MAX_LINES = 10_000
MAX_DEFINITIONS = 1_000  # of each kind
FUTURE_SKEW = 300  # seconds a fresh cosignature may lie ahead (CS-04, protocol section 5)
NONE = "none"
_SHOW = "is the policy this log's? teelog policy show POLICY, and its operator's vkey"

# PL-02: tab, newline, printable ASCII and everything with the high bit set.
_FORBIDDEN = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")
_BLANK = re.compile(rb"[ \t]+")  # PL-01


@dataclass(frozen=True, slots=True)
class Log:
    """A ``log`` line."""

    key: VerifierKey
    url: str | None


@dataclass(frozen=True, slots=True)
class Witness:
    """A ``witness`` line. name: the policy's own word for it, not the key's name."""

    name: str
    key: VerifierKey
    url: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """A ``group`` line: at least ``threshold`` of ``members`` (1 <= threshold <= len(members))."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A parsed policy. quorum: the name of a witness or group, or "none".

    keys: all of its keys, by name and key ID. Raises ConfigError where two of them share both (PL-20, SN-27).
    """

    logs: tuple[Log, ...]
    witnesses: Mapping[str, Witness]
    groups: Mapping[str, Group]
    quorum: str
    keys: dict[tuple[str, bytes], Verifier] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", index_verifiers(self.verifiers()))

    def satisfied(self, cosigned: Set[str]) -> dict[str, bool]:
        """For every witness and group whether it has witnessed, given the names of the witnesses that cosigned."""
        state = {name: name in cosigned for name in self.witnesses}
        for group in self.groups.values():  # PL-09: members come first
            state[group.name] = sum(state[member] for member in group.members) >= group.threshold
        return state

    def key_names(self, witnesses: Iterable[str]) -> list[str]:
        """The names of these witnesses' keys, each once however many keys it has. witnesses: by the policy's words."""
        return list(dict.fromkeys(self.witnesses[name].key.name for name in witnesses))

    def check_quorum(self, cosigned: Set[str]) -> None:
        """Raises NotWitnessed, naming what is missing (PR-09), unless the quorum is met."""
        if self.quorum == NONE:
            return
        state = self.satisfied(cosigned)
        if not state[self.quorum]:
            # The quorum's own group first: the last line of the file.
            groups = [*self.groups.values()][::-1]
            lacking = [self._describe(group, state) for group in groups if not state[group.name]]
            raise NotWitnessed(
                "the policy's quorum is not met",
                expected="; ".join(lacking[:8]) or f"witness {self.quorum}",
                actual=", ".join(sorted(cosigned)) or "no valid cosignature",
            )

    def _describe(self, group: Group, state: Mapping[str, bool]) -> str:
        missing = ", ".join(member for member in group.members if not state[member])
        return f"{group.threshold} of {len(group.members)} in {group.name} (missing: {missing})"

    def verifiers(self) -> list[VerifierKey]:
        return [*(log.key for log in self.logs), *(witness.key for witness in self.witnesses.values())]

    def origins(self) -> list[str]:
        """The origins of the listed logs, each once, in the file's order (PL-13)."""
        return list(dict.fromkeys(log.key.name for log in self.logs))


@dataclass(frozen=True, slots=True)
class WitnessedCheckpoint:
    """A checkpoint that satisfies a policy.

    cosignatures: the verified lines by the policy's witnesses, by policy name, newest per witness.
    log_signatures: the verified lines by the log. checkpoint.extensions is empty unless one of them covers those lines
    (CS-13): a witness that covers them says nothing about them.
    """

    checkpoint: Checkpoint
    note: Note
    log_signatures: tuple[VerifiedSignature, ...]
    cosignatures: Mapping[str, VerifiedSignature]


def verify_checkpoint(
    data: bytes,
    policy: Policy,
    *,
    origin: str | None = None,
    now: int | None = None,
    max_age: int | None = None,
    not_before: int | None = None,
    without: Set[str] = frozenset(),
) -> WitnessedCheckpoint:
    """A checkpoint of one of the policy's logs with the policy's quorum.

    origin: the one log wanted, where the policy lists several. max_age (seconds, needs ``now``, POSIX seconds) and
    not_before (POSIX seconds) restrict which cosignatures count; without them timestamps are ignored (PR-17).
    without: witnesses, by the policy's names, that do not count here.
    Raises MalformedError, SignatureError, UntrustedKey, VerificationError, NotWitnessed; NotEstablished where a time is
    asked for and the policy has no witness to tell it.
    """
    if policy.quorum == NONE and (max_age is not None or not_before is not None):
        raise NotEstablished(
            "nobody tells the checkpoint's age", expected="a quorum of witnesses", actual="quorum none"
        )
    witnessed = read_checkpoint(data, policy, origin=origin)
    counted = {
        name
        for name, line in witnessed.cosignatures.items()
        if name not in without and _in_time(line.timestamp or 0, now=now, max_age=max_age, not_before=not_before)
    }
    policy.check_quorum(counted)
    return witnessed


def read_checkpoint(data: bytes, policy: Policy, *, origin: str | None = None) -> WitnessedCheckpoint:
    """As ``verify_checkpoint``, every signature checked, but for the quorum: whether it is met, the caller asks."""
    unverified = parse(data)
    body = parse_body(unverified.claimed_text())
    claimed = body.origin
    if origin is not None and claimed != origin:
        raise VerificationError("checkpoint is of another log", expected=origin, actual=claimed)
    # PR-07, PL-13: only keys whose name is the origin speak for it.
    log_keys = [log.key for log in policy.logs if log.key.name == claimed]
    if not log_keys:
        raise UntrustedKey(
            "checkpoint is of a log that the policy does not list",
            expected=", ".join(policy.origins()) or "a log line",
            actual=claimed,
            hint=_SHOW,
        )
    checkpoint, note = _open(unverified, body, log_keys, policy)
    # PL-17: one listed key of the log suffices.
    log_signatures = tuple(s for s in note.signatures if s.verifier in log_keys)
    if not log_signatures:
        raise _not_by_the_log(unverified, log_keys)
    covering = [key for key in log_keys if key.covers_extensions]
    if not any(s.verifier in covering for s in log_signatures):
        checkpoint = replace(checkpoint, extensions=())
    return WitnessedCheckpoint(checkpoint, note, log_signatures, _cosignatures(note.signatures, policy))


def _open(
    unverified: UnverifiedNote, body: Checkpoint, log_keys: list[VerifierKey], policy: Policy
) -> tuple[Checkpoint, Note]:
    # PR-08: every line by a known witness is verified, and one that fails rejects the note.
    try:
        if len(log_keys) == len(policy.logs):
            opened = open_checkpoint(unverified, policy.keys, body=body)
        else:
            keys = [*log_keys, *(witness.key for witness in policy.witnesses.values())]
            opened = open_checkpoint(unverified, keys, body=body)
    except UntrustedKey as error:
        raise _not_by_the_log(unverified, log_keys) from error
    return opened.checkpoint, opened.note


def _not_by_the_log(unverified: UnverifiedNote, log_keys: list[VerifierKey]) -> UntrustedKey:
    names = {key.name for key in log_keys}
    own = [(line.name, line.key_id) for line in unverified.signatures if line.name in names]
    return UntrustedKey(
        "checkpoint is not signed by the log's key in the policy",
        expected=describe((key.name, key.key_id) for key in log_keys),
        actual=describe(own),
        hint=_SHOW,
    )


def _cosignatures(lines: Iterable[VerifiedSignature], policy: Policy) -> dict[str, VerifiedSignature]:
    # SN-13: the pair identifies the key; in one policy no two keys share it (SN-27).
    by_key = {(witness.key.name, witness.key.key_id): witness.name for witness in policy.witnesses.values()}
    newest: dict[str, VerifiedSignature] = {}
    for line in lines:
        name = by_key.get((line.verifier.name, line.verifier.key_id))
        if name is not None and (name not in newest or (line.timestamp or 0) > (newest[name].timestamp or 0)):
            newest[name] = line
    return newest


def in_time(witnessed: WitnessedCheckpoint, *, now: int, max_age: int) -> set[str]:
    """The witnesses, by policy name, whose cosignature is no older than ``max_age`` seconds at ``now`` (CS-04)."""
    lines = witnessed.cosignatures.items()
    return {name for name, line in lines if _in_time(line.timestamp or 0, now=now, max_age=max_age, not_before=None)}


def quorum_since(witnessed: WitnessedCheckpoint, policy: Policy) -> int | None:
    """The latest time (POSIX seconds) such that the cosignatures from then on make the quorum.

    None where they do not, or where the policy asks for none: nobody tells a time then.
    """
    if policy.quorum == NONE:
        return None
    # CS-15, CS-22: timestamp 0 claims no time.
    times = {name: line.timestamp for name, line in witnessed.cosignatures.items() if line.timestamp}
    for time in sorted(set(times.values()), reverse=True):
        try:
            policy.check_quorum({name for name, own in times.items() if own >= time})
        except NotWitnessed:
            continue
        return time
    return None


def _in_time(timestamp: int, *, now: int | None, max_age: int | None, not_before: int | None) -> bool:
    if max_age is not None:
        if now is None:
            raise ValueError("max_age needs now")
        # CS-15, CS-22: timestamp 0 claims no time. CS-04: nor does one too far ahead.
        if timestamp == 0 or not now - max_age <= timestamp <= now + FUTURE_SKEW:
            return False
    return not_before is None or timestamp >= not_before


def _short(key: VerifierKey) -> str:
    return f"{key.name}+{key.key_id.hex()}"


# -- the file ---------------------------------------------------------------------------------------------------------


def parse_policy(data: bytes) -> Policy:
    """Reads a policy file strictly. Raises ConfigError with the line number."""
    if len(data) > MAX_LENGTH:
        raise ConfigError("policy is too long", expected=f"at most {MAX_LENGTH} bytes", actual=f"{len(data)} bytes")
    if _FORBIDDEN.search(data):
        raise ConfigError("policy contains a control character")
    # PL-19: a truncated last line could name a smaller quorum.
    if data and not data.endswith(b"\n"):
        raise ConfigError("policy's last line is not ended by a newline: is the file complete?")
    lines = data.split(b"\n")
    if len(lines) > MAX_LINES:
        raise ConfigError("policy has too many lines", expected=f"at most {MAX_LINES}", actual=len(lines))
    reader = _Reader()
    for number, line in enumerate(lines, 1):
        words = [word for word in _BLANK.split(line) if word]
        # PL-03: only whole lines are comments.
        if not words or words[0].startswith(b"#"):
            continue
        try:
            reader.line([word.decode("utf-8", "surrogateescape") for word in words])
        except (ConfigError, MalformedError) as error:
            raise ConfigError(
                f"policy line {number}: {error.message}", expected=error.expected, actual=error.actual
            ) from error
    return reader.finish()


def _url(words: list[str]) -> str | None:
    # PL-03: no URL starts so; who wrote it meant a comment, and other readers take it for one.
    if words and words[0].startswith("#"):
        raise ConfigError("a comment needs a line of its own", actual=words[0])
    return words[0] if words else None


class _Reader:
    def __init__(self) -> None:
        self.logs: list[Log] = []
        self.witnesses: dict[str, Witness] = {}
        self.groups: dict[str, Group] = {}
        self.members: set[str] = set()
        self.quorum: str | None = None

    def line(self, words: list[str]) -> None:
        kind, *rest = words
        handlers = {"log": self.log, "witness": self.witness, "group": self.group, "quorum": self.quorum_line}
        handler = handlers.get(kind)
        if handler is None:  # PL-04
            raise ConfigError("unknown keyword", expected="log, witness, group or quorum", actual=kind)
        handler(rest)

    def log(self, words: list[str]) -> None:
        if not 1 <= len(words) <= 2:  # PL-04
            raise ConfigError("a log line has a vkey and perhaps a URL", expected="log <vkey> [<url>]")
        self._room(self.logs)
        key = vkey.parse_for(words[0], vkey.LOG_TYPES, "log")  # PL-16
        if any(log.key.public == key.public for log in self.logs):  # PL-05
            raise ConfigError("duplicate log key", actual=_short(key))
        self.logs.append(Log(key, _url(words[1:])))

    def witness(self, words: list[str]) -> None:
        if not 2 <= len(words) <= 3:
            raise ConfigError(
                "a witness line has a name, a vkey and perhaps a URL", expected="witness <name> <vkey> [<url>]"
            )
        self._room(self.witnesses)
        name = self._new_name(words[0])
        key = vkey.parse_for(words[1], vkey.WITNESS_TYPES, "witness")  # PL-16
        if any(witness.key.public == key.public for witness in self.witnesses.values()):  # PL-06
            raise ConfigError("duplicate witness key", actual=_short(key))
        self.witnesses[name] = Witness(name, key, _url(words[2:]))

    def group(self, words: list[str]) -> None:
        if len(words) < 3:  # PL-08: n >= 1
            raise ConfigError(
                "a group needs a name, a threshold and members", expected="group <name> all|any|<k> <name>..."
            )
        self._room(self.groups)
        name = self._new_name(words[0])
        members = tuple(words[2:])
        for member in members:
            # PL-11, PL-09: only what earlier lines define.
            if member not in self.witnesses and member not in self.groups:
                raise ConfigError("group member is not defined on an earlier line", actual=member)
            if member in self.members:  # PL-10
                raise ConfigError("name is already a member of a group", actual=member)
            self.members.add(member)
        self.groups[name] = Group(name, self._threshold(words[1], len(members)), members)

    def _threshold(self, word: str, count: int) -> int:
        if word in ("any", "all"):
            return 1 if word == "any" else count
        threshold = strict.decimal(word.encode("utf-8", "surrogateescape"), "group threshold")
        if not 1 <= threshold <= count:  # PL-08
            raise ConfigError("group threshold is out of range", expected=f"1 to {count}", actual=threshold)
        return threshold

    def quorum_line(self, words: list[str]) -> None:
        if len(words) != 1:
            raise ConfigError("a quorum line has one name", expected="quorum <name>|none")
        if self.quorum is not None:  # PL-12
            raise ConfigError("more than one quorum line")
        name = words[0]
        if name != NONE and name not in self.witnesses and name not in self.groups:  # PL-09
            raise ConfigError("quorum is not defined on an earlier line", actual=name)
        self.quorum = name

    def _new_name(self, name: str) -> str:
        if name == NONE or name in self.witnesses or name in self.groups:  # PL-07
            raise ConfigError("name is already defined", actual=name)
        return name

    def _room(self, defined: list[Log] | dict[str, Witness] | dict[str, Group]) -> None:
        if len(defined) >= MAX_DEFINITIONS:  # PL-18
            raise ConfigError("policy has too many definitions", expected=f"at most {MAX_DEFINITIONS} of a kind")

    def finish(self) -> Policy:
        if self.quorum is None:  # PL-12
            raise ConfigError("policy has no quorum line", expected="quorum <name>|none", actual="end of file")
        return Policy(tuple(self.logs), self.witnesses, self.groups, self.quorum)
