"""What an index says itself, enough of it to show that an entry took effect (part of an index fault).

That an entry enters an effective list depends on everything before it. But who accuses an index need not prove that: it
suffices that *by the index's own lists* the entry took effect. Either they are right, and so is the accusation, or they
are not, and the index is wrong anyway. For an entry e:

    log-policy, namespace      the whole list up to e, with its entries: what was in force
    status                     the element before e's place: what e has to follow
    release                    the releases that e allows
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from teelog.errors import MalformedError, VerificationError
from teelog.index import keys
from teelog.index.keys import Kind
from teelog.index.lists import Value, verify_element
from teelog.index.placed import Placed, b64, included, number, path_of, unb64
from teelog.index.proof import verify_lookup
from teelog.statement import admit
from teelog.statement.index_map import MemoryState, ReleaseEffect, StatusEffect, map_entry
from teelog.statement.status import StatusHead, StatusPredicate
from teelog.tlog.checkpoint import Checkpoint

MAX_ELEMENTS = 1_024
CHECKED = frozenset({Kind.LOG_POLICY, Kind.NAMESPACE, Kind.STATUS})
"""Kinds of lists whose growth claims can show. A release's cannot: it may be in its list already, anywhere."""


class Element(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An element of a list. position, index: decimal. path: base64, for ``lists.verify_element``. entry: if needed."""

    position: str
    index: str
    path: tuple[str, ...]
    entry: Placed | None = None


class Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the index holds under a key. key, proof, value: base64, as in an omission."""

    key: str
    proof: str
    elements: tuple[Element, ...]
    value: str | None = None


def check(claims: Sequence[Listed], map_root: bytes, head: Checkpoint, entry: bytes, index: int, key: bytes) -> None:
    """Checks that by these claims the entry at ``index`` enters the effective list ``key``.

    map_root, head: what the index signed, and for which tree. Raises VerificationError, MalformedError.
    """
    if sum(len(listed.elements) for listed in claims) > MAX_ELEMENTS:
        raise MalformedError("too many claims", expected=f"at most {MAX_ELEMENTS} elements")
    state = MemoryState(head.origin)
    chains: list[tuple[int, bytes, bytes]] = []
    found: set[Kind] = set()
    for listed in claims:
        claimed = unb64(listed.key, "key")
        kind, components = keys.parse(claimed)
        found.add(kind)
        elements = _elements(listed, claimed, map_root, head)
        if kind in (Kind.LOG_POLICY, Kind.NAMESPACE):
            chains += [(at, claimed, data) for at, data in _whole(listed, elements, index)]
        elif kind is Kind.STATUS:
            _apply_status(state, elements, "/".join(components))
        elif kind is Kind.RELEASE:
            _apply_releases(state, elements, "/".join(components), index)
    if keys.parse(key)[0] not in CHECKED:
        raise VerificationError("claims cannot show that an entry enters this list", actual=key[:80])
    # Without the list itself a second version 0 would look like the first.
    if keys.parse(key)[0] is not Kind.STATUS and b64(key) not in {listed.key for listed in claims}:
        raise VerificationError("the claims lack the list that skips the entry", expected=key[:80])
    if Kind.LOG_POLICY not in found:
        raise VerificationError("the claims do not show whether the log was frozen")
    for at, claimed, data in sorted(chains):
        effect = map_entry(data, at, state).effect
        if effect is None or effect.key != claimed:
            raise VerificationError("the index lists an entry that has no effect", actual=f"entry {at}")
        state.apply(effect)
    mapped = map_entry(entry, index, state)
    if mapped.effect is None or mapped.effect.key != key:
        raise VerificationError("the entry has no effect by these claims", actual=mapped.why_inert)


def _elements(listed: Listed, key: bytes, map_root: bytes, head: Checkpoint) -> list[tuple[int, int, bytes | None]]:
    """(position, entry index, entry) of the elements, all of which are in the list."""
    value = None if listed.value is None else Value.parse(unb64(listed.value, "value"))
    verify_lookup(map_root, key, None if value is None else value.encode(), unb64(listed.proof, "proof"))
    found = []
    for element in listed.elements:
        if value is None:
            raise VerificationError("an element of a list that is not there")
        position, index = number(element.position, "position"), number(element.index, "index")
        verify_element(value, position, index, path_of(element.path))
        entry = None
        if element.entry is not None:
            at, entry = included(element.entry, head, "entry")
            if at != index:
                raise VerificationError("another entry than the list's element", expected=index, actual=at)
        found.append((position, index, entry))
    return found


def _whole(listed: Listed, elements: Iterable[tuple[int, int, bytes | None]], before: int) -> list[tuple[int, bytes]]:
    """(index, entry) of all of the list's elements before an entry."""
    count = 0 if listed.value is None else Value.parse(unb64(listed.value, "value")).count
    taken: list[tuple[int, bytes]] = []
    for expected, (position, index, entry) in enumerate(elements):
        if position != expected:
            raise VerificationError("claims skip an element of a list", expected=expected, actual=position)
        if index > before:
            return taken
        if entry is None:
            raise VerificationError("claims lack an element's entry", actual=f"entry {index}")
        taken.append((index, entry))
    if len(taken) != count:
        raise VerificationError("claims end before the list does", expected=count, actual=len(taken))
    return taken


def _apply_status(state: MemoryState, elements: Iterable[tuple[int, int, bytes | None]], stream: str) -> None:
    for position, _, entry in elements:
        parsed = admit.classify(entry or b"")
        claim = parsed.predicate
        if not isinstance(claim, StatusPredicate) or claim.stream != stream or claim.seq != position:
            raise VerificationError("the index lists something else as a status", expected=f"seq {position}")
        state.apply(StatusEffect(stream, StatusHead(parsed.statement_id, claim.seq, claim.is_closed)))


def _apply_releases(
    state: MemoryState, elements: Iterable[tuple[int, int, bytes | None]], stream: str, before: int
) -> None:
    for _, index, entry in elements:
        parsed = admit.classify(entry or b"")
        if str(parsed.stream) != stream:
            raise VerificationError("the index lists something else as a release", expected=stream)
        if index >= before:
            raise VerificationError("a release is allowed before it is logged", actual=f"entry {index}")
        state.apply(ReleaseEffect(stream, parsed.statement_id))


def listed(key: bytes, value: Value | None, proof: bytes, elements: Sequence[Element]) -> Listed:
    """As the file has it."""
    return Listed(b64(key), b64(proof), tuple(elements), None if value is None else b64(value.encode()))
