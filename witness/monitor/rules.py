"""What the owner of a namespace, or anyone else, should know of a log's entries, seen one by one in their order.

Pure: state in, findings out. The state is small whatever the log holds: of watched namespaces and streams only what was
said last. What anyone can log at no cost (entries without effect) is told one by one only up to a bound for each kind
and subject, so that junk hides nothing: what took effect is always told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

import msgspec

from teelog.errors import MalformedError
from teelog.statement import index_map
from teelog.statement.admit import ParsedEntry
from teelog.statement.ear import Result
from teelog.statement.effective import Effective, LogPolicyEffect, NamespaceEffect, StatusEffect
from teelog.statement.index_map import Mapped, Read
from teelog.statement.log_policy import LogPolicyPredicate
from teelog.statement.status import StatusPredicate
from teelog.tlog.rfc6962 import leaf_hash
from teelog.witness.monitor.finding import MAX_ABOUT, Finding, Kind, cut
from teelog.witness.monitor.watches import Subject, Watch

MAX_TOLD = 1_000  # findings of one kind about one subject that anyone could make up; the rest is counted
MAX_SUBJECTS = 10_000  # subjects for which there is a count
NOT_RECOGNISED = 33  # AR4SI `executables`: runtime memory is not what was expected


class Last(msgspec.Struct, frozen=True):
    """The last status of a stream. index: its entry. next_update: RFC 3339, as signed; None once it is closed."""

    index: int
    next_update: str | None


class _State(msgspec.Struct, frozen=True):
    statuses: dict[str, Last] = {}
    found: frozenset[str] = frozenset()
    counts: dict[str, int] = {}


class Rules:
    """For one log. watches: of its owner. known: statement ids that are expected, None: all are.

    state: what ``dump`` gave after the entries before the next one; empty: there are none. Raises MalformedError for
    other bytes.
    """

    def __init__(
        self, log: str, watches: Collection[Watch], known: Collection[str] | None = None, state: bytes = b""
    ) -> None:
        self._log = log
        self._known = known
        self._all = any(watch.subject is Subject.ALL for watch in watches)
        self._namespaces = {watch.value for watch in watches if watch.subject is Subject.NAMESPACE}
        self._streams = {watch.value for watch in watches if watch.subject is Subject.STREAM}
        self._owners = self._namespaces | {stream.partition("/")[0] for stream in self._streams}
        self._keys = {watch.key: watch for watch in watches if watch.key is not None}
        try:
            held = msgspec.json.decode(state, type=_State) if state else _State()
        except msgspec.MsgspecError as error:
            raise MalformedError("the state of the rules cannot be read", actual=str(error)[:200]) from error
        self._statuses, self._found, self._counts = dict(held.statuses), set(held.found), dict(held.counts)

    def dump(self) -> bytes:
        """The state, at most a few hundred bytes for each watched stream and each subject of junk."""
        return msgspec.json.encode(_State(self._statuses, frozenset(self._found), self._counts))

    # -- entries ------------------------------------------------------------------------------------------------------

    def observe(
        self, index: int, entry: bytes, mapped: Mapped | None, state: Effective | None, parsed: Read | None = None
    ) -> list[Finding]:
        """What the next entry gives rise to.

        mapped: what it maps to, state: what is in force before it; None, both, for a log that is none of ours.
        parsed: the entry as it was read, where it was.
        """
        return [*self._observe(index, entry, mapped, state, parsed)]

    def _observe(
        self, index: int, entry: bytes, mapped: Mapped | None, state: Effective | None, parsed: Read | None
    ) -> Iterator[Finding]:
        if mapped is None or state is None:
            if self._all:
                text = f"an entry of {len(entry)} bytes, leaf {leaf_hash(entry).hex()}"
                yield Finding(Kind.ENTRY, self._log, "", text, index)
            return
        parsed = index_map.read(entry) if parsed is None else parsed
        if isinstance(parsed, MalformedError):
            if self._all:
                yield from self._junk(Kind.ENTRY, "", "an entry that is no statement", index)
            return
        if isinstance(mapped.effect, LogPolicyEffect):
            yield from self._log_policy(index, parsed)
        for key in self._keys.keys() & set(mapped.keys):
            yield from self._key(self._keys[key], index, parsed, mapped)
        if self._is_watched(parsed):
            yield from self._watched(index, parsed, mapped, state)
        if self._all:
            yield from self._told(mapped, Kind.ENTRY, parsed.namespace or "", _named(parsed), index)

    def _is_watched(self, parsed: ParsedEntry) -> bool:
        stream = _stream(parsed)
        if parsed.namespace in self._namespaces or stream in self._streams:
            return True
        if stream is not None and stream.partition("/")[0] in self._namespaces:
            return True  # others' results about it
        # Whoever watches a stream has to know whose keys speak for it.
        return parsed.stream is None and parsed.namespace in self._owners and not _is_result(parsed)

    def _told(self, mapped: Mapped, kind: Kind, about: str, text: str, index: int) -> Iterator[Finding]:
        if mapped.effect is not None:
            yield Finding(kind, self._log, cut(about, MAX_ABOUT), cut(text), index)
        else:
            yield from self._junk(kind, about, text, index)

    def _junk(self, kind: Kind, about: str, text: str, index: int) -> Iterator[Finding]:
        """Of what may be made up: the first thousand one by one, then that there are more."""
        about = cut(about, MAX_ABOUT)
        subject = f"{kind} {about}"
        if subject not in self._counts and len(self._counts) >= MAX_SUBJECTS:
            subject = f"{kind} "
        count = self._counts[subject] = self._counts.get(subject, 0) + 1
        if count <= MAX_TOLD:
            yield Finding(kind, self._log, about, cut(text), index)
        else:
            more = f"{count - MAX_TOLD} more of the kind {subject}, the last of them entry {index}"
            yield Finding(Kind.OVERFLOW, self._log, subject, cut(more))

    def _log_policy(self, index: int, parsed: ParsedEntry) -> Iterator[Finding]:
        claim = parsed.predicate
        if isinstance(claim, LogPolicyPredicate) and claim.frozen is not None:
            goes_on = f" on {claim.frozen.successor}" if claim.frozen.successor else ""
            yield Finding(Kind.FROZEN, self._log, "", cut(f"the log is frozen: move{goes_on}"), index)

    def _key(self, watch: Watch, index: int, parsed: ParsedEntry, mapped: Mapped) -> Iterator[Finding]:
        kind = Kind.REGISTER if watch.subject is Subject.REGISTER else Kind.SIGNER
        yield from self._told(mapped, kind, watch.value, _named(parsed), index)

    def _watched(self, index: int, parsed: ParsedEntry, mapped: Mapped, state: Effective) -> Iterator[Finding]:
        effect, subject = mapped.effect, _stream(parsed) or parsed.namespace or ""
        if effect is not None and parsed.namespace is not None:
            self._found.add(parsed.namespace)
        if mapped.why_inert is not None:
            text = f"a {parsed.kind} that has no effect: {mapped.why_inert}"
            yield from self._told(mapped, Kind.INERT, subject, text, index)
        if _is_result(parsed):
            yield from self._result(index, parsed, state)
            return
        if self._known is not None and parsed.statement_id not in self._known:
            text = f"a {parsed.kind} that was not expected: {_named(parsed)}"
            yield from self._told(mapped, Kind.UNEXPECTED, subject, text, index)
        if isinstance(effect, NamespaceEffect):
            version = getattr(parsed.predicate, "version", 0)
            expected = self._known is not None and parsed.statement_id in self._known
            if version and not expected:
                yield Finding(
                    Kind.KEYS, self._log, effect.name, f"the namespace's keys changed: version {version}", index
                )
        if isinstance(effect, StatusEffect) and isinstance(parsed.predicate, StatusPredicate):
            yield from self._status(effect.stream, index, parsed.predicate)

    def _status(self, stream: str, index: int, status: StatusPredicate) -> Iterator[Finding]:
        self._statuses[stream] = Last(index, None if status.is_closed else status.next_update)
        if status.is_closed:
            goes_on = f", it goes on at {status.successor}" if status.successor else ""
            yield Finding(Kind.CLOSED, self._log, stream, cut(f"{stream} is closed on this log{goes_on}"), index)

    def _result(self, index: int, parsed: ParsedEntry, state: Effective) -> Iterator[Finding]:
        """A measurement that a verifier has seen running, and that is no release's on this log."""
        claim = parsed.statement.claim
        assert isinstance(claim, Result)
        why = unknown(claim, state)
        if why is None:
            return
        judged = claim.judged
        about = parsed.namespace or ""
        if judged is not None:
            about = f"{judged.stream} {_evidence(claim)}".rstrip()
        text = f"{claim.issuer} has seen {why} (result {parsed.statement_id})"
        # Whoever signs results can sign any number of them.
        yield from self._junk(Kind.MEASURED, about, text, index)

    # -- what holds now -----------------------------------------------------------------------------------------------

    def standing(self, now: datetime, ahead: timedelta) -> list[Finding]:
        """The conditions that hold at ``now``: what ends by itself. ahead: how long before its end a status is told."""
        ends = [
            Finding(Kind.MISSING, self._log, name, "not on this log", standing=True)
            for name in sorted(self._owners - self._found)
        ]
        for stream, last in sorted(self._statuses.items()):
            if last.next_update is None:
                continue
            end = datetime.fromisoformat(last.next_update.replace("Z", "+00:00"))
            if now + ahead > end:
                ended = "ended" if now > end else "ends"
                text = f"the last status {ended} at {last.next_update}"
                ends.append(Finding(Kind.STALE, self._log, stream, text, last.index, standing=True))
        return ends


def unknown(result: Result, state: Effective) -> str | None:
    """What a result has seen that no release on this log explains, None where there is nothing."""
    judged = result.judged
    if judged is not None and judged.release is not None:
        if state.release(judged.release) is None:
            return f"release {judged.release}, which is not in effect on this log"
        return None
    if any(each.vector.get("executables") == NOT_RECOGNISED for each in result.submodules):
        return "a measurement that is no release's"
    if judged is not None and judged.checks.get("hardware") == "verified":
        return f"genuine hardware that runs no release it knows of {judged.stream}"
    return None


def _evidence(result: Result) -> str:
    judged = result.judged
    if judged is None or isinstance(judged.evidence, msgspec.UnsetType):
        return ""
    return " ".join(f"{name}:{value}" for name, value in sorted(judged.evidence.items()))


def _is_result(parsed: ParsedEntry) -> bool:
    return isinstance(parsed.statement.claim, Result)


def _stream(parsed: ParsedEntry) -> str | None:
    claim = parsed.statement.claim
    if isinstance(claim, Result):
        return None if claim.judged is None else claim.judged.stream
    return None if parsed.stream is None else str(parsed.stream)


def _named(parsed: ParsedEntry) -> str:
    where = _stream(parsed) or parsed.namespace
    return f"{parsed.kind}{f' of {where}' if where else ''}, statement {parsed.statement_id}"
