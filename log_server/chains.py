"""Chain conditions: what holds of a statement only against everything that is logged before it (protocol section 4).

The sequencer decides them in the order of the log, inside a batch too, so that whatever is admitted takes effect in
every reader's index. No signature is checked here: a front did that, by keys of a version that must still be current.
"""

from __future__ import annotations

from collections.abc import Mapping

from teelog.errors import TeelogError
from teelog.log_server.recovery import Memory
from teelog.log_server.seams import (
    LOG_POLICY,
    NAMESPACE,
    STALE,
    Admitted,
    Cites,
    NamespaceVersion,
    Place,
    Rejected,
    Tip,
)
from teelog.statement import admit, dsse, namespace
from teelog.statement.admit import Kind
from teelog.statement.namespace import Role
from teelog.statement.release import ReleasePredicate
from teelog.tlog import rfc6962

_HINTS = {NAMESPACE: "teelog namespace show", "status": "teelog release list", LOG_POLICY: "teelog log status LOG"}


class Chains:
    """All chains as they are after the entries that a batch has taken so far.

    hashes: index of what is known under a leaf hash or statement id, the batch's own included. entries: that the batch
    takes. awaited: the least size of a checkpoint that shows what the rejections since the last ``forget`` speak of.
    """

    def __init__(self, memory: Memory, known: Mapping[bytes, int], hashes: Mapping[bytes, int], entries: list[bytes]):
        self._memory = memory
        self._known, self._hashes, self._entries = known, hashes, entries
        self._current = memory.current
        self.policy = memory.policy
        self.namespaces: list[NamespaceVersion] = []
        self.tips: dict[tuple[str, str], Tip] = {}
        self.awaited = 0
        self._leaves: dict[int, bytes] = {}

    # -- what is refused ----------------------------------------------------------------------------------------------

    def refusal(self, item: Admitted, index: int) -> Rejected | None:
        """Why ``item`` may not become entry ``index``."""
        if self.policy is not None and self.policy.ended:
            return _frozen(self.policy)
        if item.under is not None and item.under not in self._current:
            last = self.namespaces[-1].index if self.namespaces else self._memory.last_namespace
            self.awaited = max(self.awaited, last + 1)
            return Rejected(409, STALE, "the namespace has a newer version by now", hint="send the same bytes again")
        # Protocol section 3: ``until`` is a log index; at it the key no longer counts.
        if item.before is not None and index >= item.before:
            detail = "a key that signed it is not in force any more"
            return Rejected(403, "wrong-key", detail, None, f"an index below {item.before}", f"index {index}")
        if item.cites is not None:
            return self._unknown(item.cites)
        return None if item.place is None else self._misplaced(item.place, index)

    def _unknown(self, cites: Cites) -> Rejected | None:
        """What a result names and this log does not hold: the log would lend it its own credit."""
        if cites.size is not None:
            root = self._memory.root_at(cites.size)
            if root != cites.root:
                return Rejected(
                    422,
                    "unknown-checkpoint",
                    "the result was judged by a checkpoint that is not this log's",
                    expected="at most the published size" if root is None else f"size {cites.size}, root {root.hex()}",
                    actual=f"size {cites.size}, root {cites.root.hex()}",
                )
        for named in cites.namespaces:
            if named not in self._memory.namespace_ids and all(named != it.statement for it in self.namespaces):
                return _not_held("namespace", named)
        if cites.release is not None and self._stream_of(cites.release) is None:
            return _not_held("release", cites.release)
        return None

    def _misplaced(self, place: Place, index: int) -> Rejected | None:
        tip = self._tip(place.kind, place.name)
        if tip is None and place.kind == LOG_POLICY and index:
            return Rejected(409, "conflict", "a log's first policy is its entry 0")
        position, prev = (0, None) if tip is None else (tip.position + 1, tip.statement)
        ended = tip is not None and tip.ended
        if ended or (place.position, place.prev) != (position, prev):
            return self._conflict(place, tip, ended)
        for release in place.releases:
            stream = self._stream_of(release)
            if stream != place.name:
                return Rejected(
                    422,
                    "unknown-release",
                    "the status allows what is no release of its stream on this log",
                    expected=f"a logged release of {place.name}",
                    actual=f"{release.hex()}, {f'of {stream}' if stream else 'not logged as a release'}",
                    hint="teelog release publish",
                )
        return None

    def _conflict(self, place: Place, tip: Tip | NamespaceVersion | None, ended: bool) -> Rejected:
        word = "seq" if place.kind == "status" else "version"
        leaf = None
        if tip is not None:
            self.awaited = max(self.awaited, tip.index + 1)
            leaf = self._leaf(tip.index)
        if ended:
            detail, expected = "the stream is closed on this log", "no further status"
        elif place.kind == NAMESPACE and place.position == 0:
            detail, expected = "the namespace exists already", _follows(word, tip)
        else:
            detail, expected = f"the {place.kind} does not follow the one before", _follows(word, tip)
        actual = f"{word} {place.position}, prev {place.prev.hex() if place.prev else 'null'}"
        return Rejected(409, "conflict", detail, leaf, expected, actual, _HINTS.get(place.kind))

    def _tip(self, kind: str, name: str) -> Tip | None:
        if kind == LOG_POLICY:
            return self.policy
        if kind == NAMESPACE:
            newest = self._newest(name)
            return None if newest is None else Tip(kind, name, newest.version, newest.statement, newest.index)
        return self.tips.get((kind, name)) or self._memory.tip(kind, name)

    def _newest(self, name: str) -> NamespaceVersion | None:
        for version in reversed(self.namespaces):
            if version.name == name:
                return version
        versions = self._memory.versions.get(name)
        return versions[-1] if versions else None

    # -- releases that a status may allow -----------------------------------------------------------------------------

    def _stream_of(self, release: bytes) -> str | None:
        """The stream in whose effective list the release with this statement id is."""
        index = self._hashes.get(release)
        if index is None:
            index = self._known.get(release)
        if index is None:
            return None
        found = self._memory.releases.get(release)
        if found is None:
            found = self._effective(release, index) or ""
            # That it is none is kept, too: a status that is refused costs its sender no quota, and comes again.
            if index < self._memory.size:
                self._memory.keep_release(release, found)
        return found or None

    def _effective(self, release: bytes, index: int) -> str | None:
        entry = self._entry(index)
        try:
            parsed = admit.classify(entry)
            # A leaf hash finds an entry, too, and is no statement id.
            if parsed.kind is not Kind.RELEASE or bytes.fromhex(parsed.statement_id) != release:
                return None
            # It was signed by keys of the version then current; one of them may have been on its way out.
            self._in_force(parsed.namespace or "", index).require(Role.RELEASE, parsed.envelope.keyids, index)
        except TeelogError:
            return None
        assert isinstance(parsed.predicate, ReleasePredicate)
        return parsed.predicate.stream

    def _in_force(self, name: str, index: int) -> namespace.Namespace:
        """The version of a namespace that was current for entry ``index``. Raises TeelogError."""
        versions = [*self._memory.versions.get(name, ()), *(v for v in self.namespaces if v.name == name)]
        before = [version for version in versions if version.index < index]
        if not before:
            raise TeelogError("the namespace has no version before this entry")
        return namespace.restore(dsse.parse(before[-1].entry).claimed())

    def _leaf(self, index: int) -> bytes:
        # Of each entry once a batch: thousands of statuses may conflict with one, and cost their sender nothing.
        if index not in self._leaves:
            self._leaves[index] = rfc6962.leaf_hash(self._entry(index))
        return self._leaves[index]

    def _entry(self, index: int) -> bytes:
        at = index - self._memory.size
        return self._entries[at] if at >= 0 else self._memory.entry(index)

    # -- what is taken ------------------------------------------------------------------------------------------------

    def take(self, item: Admitted, index: int) -> None:
        """``item`` is entry ``index``."""
        place, statement = item.place, item.statement
        if place is None or statement is None:
            return
        if place.kind == NAMESPACE:
            self._current = (self._current - {place.prev}) | {statement}
            self.namespaces.append(NamespaceVersion(place.name, place.position, statement, index, item.entry))
            return
        kept = item.entry if place.kind == LOG_POLICY else b""
        tip = Tip(place.kind, place.name, place.position, statement, index, place.ended, place.successor, kept)
        self.tips[place.kind, place.name] = tip
        if place.kind == LOG_POLICY:
            self.policy = tip


def _not_held(kind: str, statement: bytes) -> Rejected:
    detail = f"the result names what is no {kind} on this log"
    return Rejected(422, "unknown-statement", detail, expected=f"a logged {kind}", actual=statement.hex())


def _follows(word: str, tip: Tip | NamespaceVersion | None) -> str:
    if tip is None:
        return f"{word} 0, prev null"
    position = tip.position if isinstance(tip, Tip) else tip.version
    return f"{word} {position + 1}, prev {tip.statement.hex()}"


def _frozen(policy: Tip) -> Rejected:
    hint = f"the log that goes on: {policy.successor}" if policy.successor else None
    return Rejected(410, "frozen", "the log has ended: it takes nothing any more", hint=hint)
