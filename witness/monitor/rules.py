"""What the owner of a namespace, or anyone else, should know of a log's entries, seen one by one in their order.

Pure: state in, findings out. The state is small whatever the log holds: of watched namespaces and streams what was said
last and which keys have signed, some results that no release explains, and counts. What anyone can log at no cost
(entries without effect, results) is told one by one only up to a bound (``budget``); what took effect is always told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

import msgspec

from teelog.errors import MalformedError
from teelog.index import keys
from teelog.statement import index_map, release
from teelog.statement.admit import ParsedEntry
from teelog.statement.ear import Result
from teelog.statement.effective import Effective, LogPolicyEffect, NamespaceEffect, ReleaseEffect, StatusEffect
from teelog.statement.index_map import Mapped, Read
from teelog.statement.log_policy import LogPolicyPredicate
from teelog.statement.status import StatusPredicate
from teelog.tlog.rfc6962 import leaf_hash
from teelog.witness.monitor.budget import Budget
from teelog.witness.monitor.finding import MAX_ABOUT, Finding, Kind, cut
from teelog.witness.monitor.measured import Measured, Unexplained
from teelog.witness.monitor.watches import Subject, Watch

MAX_STREAMS = 10_000  # streams of watched namespaces whose end is watched
MAX_SIGNERS = 256  # keys remembered of one namespace and kind

_SIGNER = keys.prefix(keys.Kind.SIGNER)


class Last(msgspec.Struct, frozen=True):
    """The last status of a stream. index: its entry. next_update: RFC 3339, as signed; None once it is closed."""

    index: int
    next_update: str | None


class _State(msgspec.Struct, frozen=True):
    statuses: dict[str, Last] = {}
    found: frozenset[str] = frozenset()
    signers: dict[str, tuple[str, ...]] = {}
    unexplained: tuple[Unexplained, ...] = ()
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
        self._statuses, self._found, self._signers = dict(held.statuses), set(held.found), dict(held.signers)
        self._budget = Budget(held.counts, self._owners | {watch.value for watch in watches})
        self._measured = Measured(log, held.unexplained, self._budget)

    def dump(self) -> bytes:
        """The state: at most some hundred bytes for each stream, key, unexplained result and name with a count."""
        return msgspec.json.encode(
            _State(self._statuses, frozenset(self._found), self._signers, self._measured.pending, self._budget.counts),
            order="deterministic",
        )

    # -- entries ------------------------------------------------------------------------------------------------------

    def concerned(self, mapped: Mapped) -> bool:
        """Whether an entry has to be observed: where nothing is watched, few have."""
        watching = self._all or self._owners or self._keys
        return bool(watching) or isinstance(mapped.effect, LogPolicyEffect)

    def observe(
        self, index: int, entry: bytes, mapped: Mapped | None, state: Effective | None, parsed: Read | None = None
    ) -> list[Finding]:
        """What the next entry gives rise to; with ``over``, what it explains.

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
                yield from self._made_up(Kind.ENTRY, "", "", "an entry that is no statement", index)
            return
        if isinstance(mapped.effect, LogPolicyEffect):
            yield from self._log_policy(index, parsed)
        if isinstance(mapped.effect, ReleaseEffect):
            yield from self._measured.released(mapped.effect)
        for key in self._keys.keys() & set(mapped.keys):
            yield from self._key(self._keys[key], index, parsed, mapped)
        if self._is_watched(parsed):
            yield from self._watched(index, parsed, mapped, state)
        if self._all:
            name, text = parsed.namespace or "", _named(parsed)
            if mapped.effect is not None or any(key.startswith(_SIGNER) for key in mapped.keys):
                yield Finding(Kind.ENTRY, self._log, cut(name, MAX_ABOUT), cut(text), index)
            else:
                yield from self._made_up(Kind.ENTRY, name, name, text, index)

    def _is_watched(self, parsed: ParsedEntry) -> bool:
        stream = _stream(parsed)
        if parsed.namespace in self._namespaces or stream in self._streams:
            return True
        if stream is not None and stream.partition("/")[0] in self._namespaces:
            return True  # others' results about it
        # Whoever watches a stream has to know whose keys speak for it.
        return parsed.stream is None and parsed.namespace in self._owners and not _is_result(parsed)

    def _told(self, mapped: Mapped, kind: Kind, payer: str, about: str, text: str, index: int) -> Iterator[Finding]:
        if mapped.effect is not None:
            yield Finding(kind, self._log, cut(about, MAX_ABOUT), cut(text), index)
        else:
            yield from self._made_up(kind, payer, about, text, index)

    def _made_up(self, kind: Kind, payer: str, about: str, text: str, index: int) -> Iterator[Finding]:
        if self._budget.spend(kind, payer):
            yield Finding(kind, self._log, cut(about, MAX_ABOUT), cut(text), index)

    def _log_policy(self, index: int, parsed: ParsedEntry) -> Iterator[Finding]:
        claim = parsed.predicate
        if isinstance(claim, LogPolicyPredicate) and claim.frozen is not None:
            goes_on = f" on {claim.frozen.successor}" if claim.frozen.successor else ""
            yield Finding(Kind.FROZEN, self._log, "", cut(f"the log is frozen: move{goes_on}"), index)

    def _key(self, watch: Watch, index: int, parsed: ParsedEntry, mapped: Mapped) -> Iterator[Finding]:
        kind = Kind.REGISTER if watch.subject is Subject.REGISTER else Kind.SIGNER
        yield from self._told(mapped, kind, watch.value, watch.value, _named(parsed), index)

    def _watched(self, index: int, parsed: ParsedEntry, mapped: Mapped, state: Effective) -> Iterator[Finding]:
        effect, subject = mapped.effect, _stream(parsed) or parsed.namespace or ""
        owner = subject.partition("/")[0]
        if mapped.why_inert is not None:
            text = f"a {parsed.kind} that has no effect: {mapped.why_inert}"
            yield from self._told(mapped, Kind.INERT, owner, subject, text, index)
        if _is_result(parsed):
            yield from self._measured.result(index, parsed, owner, state)
            return
        expected = self._known is None or parsed.statement_id in self._known
        if not expected:
            text = f"a {parsed.kind} that was not expected: {_named(parsed)}"
            yield from self._told(mapped, Kind.UNEXPECTED, owner, subject, text, index)
        if effect is None:
            return
        self._found.add(owner)
        if isinstance(effect, NamespaceEffect):
            version = getattr(parsed.predicate, "version", 0)
            if version and (self._known is None or not expected):
                yield Finding(
                    Kind.KEYS, self._log, effect.name, f"the namespace's keys changed: version {version}", index
                )
            return
        new = self._new_signers(f"{parsed.kind} {owner}", parsed, mapped)
        if new and (self._known is None or not expected):
            text = f"the first {parsed.kind} in this name signed by {', '.join(new)}: {_named(parsed)}"
            yield Finding(Kind.NEW_SIGNER, self._log, subject, cut(text), index)
        if isinstance(effect, StatusEffect) and isinstance(parsed.predicate, StatusPredicate):
            yield from self._status(effect.stream, index, parsed.predicate)

    def _new_signers(self, who: str, parsed: ParsedEntry, mapped: Mapped) -> list[str]:
        """The keys that have signed nothing of this kind in this name before, where others have."""
        before = self._signers.get(who, ())
        held = {keyid for keyid in parsed.envelope.keyids if keys.key(keys.Kind.SIGNER, keyid) in mapped.keys}
        new = sorted(held.difference(before))
        if new:
            self._signers[who] = (*before, *new)[-MAX_SIGNERS:]
        return new if before else []

    def _status(self, stream: str, index: int, status: StatusPredicate) -> Iterator[Finding]:
        if stream in self._statuses or len(self._statuses) < MAX_STREAMS:
            self._statuses[stream] = Last(index, None if status.is_closed else status.next_update)
        else:
            text = f"more than {MAX_STREAMS} streams: when the last status of {stream} and later ones ends is not told"
            yield Finding(Kind.OVERFLOW, self._log, f"{Kind.STALE} *", cut(text))
        if status.is_closed:
            goes_on = f", it goes on at {status.successor}" if status.successor else ""
            yield Finding(Kind.CLOSED, self._log, stream, cut(f"{stream} is closed on this log{goes_on}"), index)

    # -- what holds now -----------------------------------------------------------------------------------------------

    def standing(self, now: datetime, ahead: timedelta, *, whole: bool = True) -> list[Finding]:
        """The conditions that hold at ``now``: what ends by itself.

        ahead: how long before its end a status is told. whole: whether a checkpoint was ever read to its end; before,
        nothing is missing, and no status the last one.
        """
        found = [*self._budget.rest(self._log)]
        if not whole:
            return found
        found += [
            Finding(Kind.MISSING, self._log, name, "not on this log", standing=True)
            for name in sorted(self._owners - self._found)
        ]
        for stream, last in sorted(self._statuses.items()):
            if last.next_update is None:
                continue
            end = release.time(last.next_update)
            if now + ahead > end:
                ended = "ended" if now > end else "ends"
                text = f"the last status {ended} at {last.next_update}"
                found.append(Finding(Kind.STALE, self._log, stream, text, last.index, standing=True))
        return found


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
