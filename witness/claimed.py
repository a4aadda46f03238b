"""Collects what an index says itself, to show that an entry which it leaves out took effect."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from teelog.client.index import Found, RemoteIndex
from teelog.errors import MalformedError, VerificationError
from teelog.index import claims, keys
from teelog.index.claims import Element, Listed
from teelog.index.keys import Kind
from teelog.index.lists import PAGE, list_leaf
from teelog.index.placed import Placed, b64, placed
from teelog.statement import admit
from teelog.statement.admit import ParsedEntry
from teelog.statement.status import StatusPredicate
from teelog.tlog import rfc6962

MAX_SEARCHED = 2_000  # entries of a stream's list of releases that are read to find the allowed ones


async def gather(remote: RemoteIndex, key: bytes, missing: int, place: int) -> list[Listed]:
    """The claims for an entry that is missing at ``place`` in the effective list ``key``.

    Empty where there are none to be had: for other kinds, and where the entry does not take effect by them.
    """
    kind, _ = keys.parse(key)
    if kind not in (Kind.STATUS, Kind.NAMESPACE, Kind.LOG_POLICY):
        return []
    data = await remote.log.entry(missing)
    try:
        parsed = admit.classify(data)
    except MalformedError:
        return []
    found = [await _whole(remote, keys.key(Kind.LOG_POLICY), missing)]
    if parsed.namespace is not None:
        found.append(await _whole(remote, keys.namespace_key(parsed.namespace), missing))
    if isinstance(parsed.predicate, StatusPredicate):
        found += [await _one(remote, key, place - 1)] if place else []
        found += await _releases(remote, parsed, parsed.predicate)
    try:
        claims.check(found, remote.map_root, remote.main.checkpoint, data, missing, key)
    except (MalformedError, VerificationError):
        return []
    return found


async def entry(remote: RemoteIndex, index: int) -> Placed:
    """An entry of the log, with its path to the tree that the index was built from."""
    return placed(index, await remote.log.entry(index), await remote.log.prove_inclusion(index))


async def element(remote: RemoteIndex, found: Found, position: int) -> tuple[int, list[bytes]]:
    """The element at a position, and its path: within its page, then the page's own."""
    number, offset = divmod(position, PAGE)
    indices, path = await remote.proven_page(found, number)
    leaves = [list_leaf(index) for index in indices]

    def read(nodes: Sequence[tuple[int, int]]) -> list[bytes]:
        return [rfc6962.root_of_leaves(leaves[i << level : (i + 1) << level]) for level, i in nodes]

    return indices[offset], [*rfc6962.prove_inclusion(offset, len(leaves), read), *path]


async def _element(remote: RemoteIndex, found: Found, position: int, *, shown: bool = True) -> Element:
    index, path = await element(remote, found, position)
    return Element(str(position), str(index), tuple(map(b64, path)), await entry(remote, index) if shown else None)


async def _whole(remote: RemoteIndex, key: bytes, before: int) -> Listed:
    """All elements before an entry, and the next one."""
    found, proof = await remote.proven(key)
    if found is None:
        return claims.listed(key, None, proof, ())
    elements = []
    for position, index in enumerate((await remote.elements(found))[: claims.MAX_ELEMENTS]):
        elements.append(await _element(remote, found, position, shown=index < before))
        if index > before:
            break
    return claims.listed(key, found.value, proof, elements)


async def _one(remote: RemoteIndex, key: bytes, position: int) -> Listed:
    found, proof = await remote.proven(key)
    assert found is not None
    return claims.listed(key, found.value, proof, [await _element(remote, found, position)])


async def _releases(remote: RemoteIndex, parsed: ParsedEntry, status: StatusPredicate) -> list[Listed]:
    """The releases that the status allows, from the list of its stream, newest first."""
    wanted = {allowed.release for allowed in status.allowed_now}
    key = keys.release_key(str(parsed.stream))
    found, proof = await remote.proven(key)
    if not wanted or found is None:
        return []
    elements = []
    last = found.lookup.count - 1
    for position in range(last, max(-1, last - MAX_SEARCHED), -1):
        if not wanted:
            break
        index, _ = await element(remote, found, position)
        if _is_one_of(await remote.log.entry(index), wanted):
            wanted.discard(admit.classify(await remote.log.entry(index)).statement_id)
            elements.append(await _element(remote, found, position))
    return [claims.listed(key, found.value, proof, elements)]


def _is_one_of(data: bytes, wanted: Collection[str]) -> bool:
    try:
        return admit.classify(data).statement_id in wanted
    except MalformedError:
        return False
