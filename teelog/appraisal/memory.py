"""Step 10 for the index: what it shows now against what it showed before, and what to remember of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from teelog.appraisal import log
from teelog.appraisal.index import Index
from teelog.appraisal.inputs import Seen, view_key
from teelog.appraisal.log import Head
from teelog.appraisal.status import ReadStatus
from teelog.bundle import Bundle
from teelog.errors import MisbehaviourError, TeelogError
from teelog.index import keys
from teelog.index.contradiction import Contradiction, Opened, View, contradicts, verify
from teelog.index.leaf import IndexLeaf
from teelog.index.lists import Value
from teelog.statement import names
from teelog.tlog import note
from teelog.tlog.checkpoint import parse_body
from teelog.tlog.vkey import VerifierKey
from teelog.trust import Trust


def compare_trees(head: Head, trust: Trust, seen: Seen) -> Seen:
    """Raises MisbehaviourError where the index log signed two trees of one size: this one, and one that was seen.

    Returns what was seen, without a checkpoint that the index log did not sign.
    """
    assert trust.index is not None
    return seen.forgetting(head.checkpoint.origin) if log.compare_trees([head], trust.index, seen) else seen


def views(bundle: Bundle, index: Index, stream: str) -> dict[bytes, View]:
    """What the index shows: its last leaf (under b""), and what it holds of the stream and its namespace."""
    bare = View(index.head.signed, bundle.index_leaf, bundle.index_path)
    found = {b"": bare}
    namespace = keys.namespace_key(names.stream(stream).namespace)
    for key, it in ((namespace, bundle.namespace_lookup), (keys.status_key(stream), bundle.status_lookup)):
        found[key] = View(bare.checkpoint, bare.leaf, bare.path, key, it.count, it.list_root, it.trie_proof)
    return found


def compare(shown: Mapping[bytes, View], origin: str, trust: Trust, seen: Seen) -> None:
    """Raises MisbehaviourError where the index log contradicts what it showed before.

    What was seen is the caller's word: what does not hold under the index log's own signature accuses nobody.
    """
    assert trust.index is not None
    vkeys = tuple(each.key for each in trust.index.logs)
    for key, view in shown.items():
        kept = seen.views.get(view_key(origin, key))
        said = None if kept is None else _contradiction(kept, view, vkeys)
        if said is not None:
            raise MisbehaviourError(
                f"the log's index contradicts itself: {said[0]}",
                expected="an index over an append-only log",
                evidence=said[1].encode(),
            )


def _contradiction(kept: bytes, view: View, vkeys: tuple[VerifierKey, ...]) -> tuple[str, Contradiction] | None:
    with suppress(TeelogError):
        before = View.parse(kept)
        # Claims first: signatures and proofs are only checked where there is something to prove.
        if before.checkpoint != view.checkpoint and contradicts(_claimed(before), _claimed(view)):
            found = Contradiction(before, view, vkeys)
            return verify(found, vkeys), found
    return None


def _claimed(view: View) -> Opened:
    head = parse_body(note.parse(view.checkpoint).claimed_text())
    leaf = IndexLeaf.parse(view.leaf)
    value = Value(view.count, view.list_root) if view.key else None
    return Opened(head, leaf.map_root, leaf.claimed(), view.key, value)


def remember(seen: Seen, index: Index, shown: Mapping[bytes, View], latest: ReadStatus | None) -> Seen:
    """What the index has shown, and the stream's last status where its place held (None where not)."""
    head = index.head.checkpoint
    seen = seen.with_larger(head.origin, head.size, head.root, index.head.signed)
    if latest is None:
        return seen.with_views(_newer({b"": shown[b""]}, index, seen))
    seen = seen.with_status(latest.predicate.stream, latest.predicate.seq, latest.statement_id)
    return seen.with_views(_newer(shown, index, seen))


def _newer(shown: Mapping[bytes, View], index: Index, seen: Seen) -> dict[str, bytes]:
    """Those that cover at least as much as the one that was remembered."""
    found = {}
    for key, view in shown.items():
        name = view_key(index.head.checkpoint.origin, key)
        kept = seen.views.get(name)
        if kept is None or _covers(view) >= _covers_kept(kept):
            found[name] = view.encode()
    return found


def _covers(view: View) -> tuple[int, int]:
    opened = _claimed(view)
    return opened.input.size, opened.head.size


def _covers_kept(kept: bytes) -> tuple[int, int]:
    with suppress(TeelogError):
        return _covers(View.parse(kept))
    return -1, -1
