"""Index faults (``.teelog-index-fault``): something false that an index log signed, for anyone to check.

Ours; described in docs/formats/index-fault.md. One JSON object in its one spelling. It holds a checkpoint that the
index log signed, a leaf and its path to it, and what is wrong with the leaf:

    leaf-malformed, input-of-another-log,      seen from the leaf itself
    input-not-signed-by-the-log,
    input-signature-fails
    input-shrinks                              seen from the leaf before, which is there too
    map-root                                   an omission shows it: an entry, a key, two neighbours in the key's list
                                               that skip the entry; without one, a replay of the log does

A map root can also be wrong in a way that no omission shows. Then the file names the root that its writer computed, and
proves that the log signed another for so many entries: who replays these knows which is right.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec

from teelog import strict
from teelog.errors import (
    ConfigError,
    MalformedError,
    SignatureError,
    TeelogError,
    UntrustedKey,
    VerificationError,
)
from teelog.index import claims, keys
from teelog.index.claims import Listed
from teelog.index.keys import Kind
from teelog.index.leaf import IndexLeaf, main_of, origin_of
from teelog.index.lists import Value, verify_element
from teelog.index.placed import Placed, b64, included, number, path_of, unb64
from teelog.index.proof import verify_lookup
from teelog.statement import strict_json
from teelog.statement.effective import MemoryState
from teelog.statement.index_map import map_entry
from teelog.tlog import vkey
from teelog.tlog.checkpoint import Checkpoint, claimed_origin, open_checkpoint
from teelog.tlog.rfc6962 import HASH_LENGTH
from teelog.tlog.vkey import LOG_TYPES, SignatureType, VerifierKey

SCHEMA = "teelog-index-fault/v1"
MAX_LENGTH = 1024 * 1024  # bytes
MAX_KEYS = 8
ALONE = frozenset({Kind.REGISTER, Kind.SUBJECT, Kind.EVIDENCE, Kind.ABOUT})
"""Kinds of keys that follow from an entry alone."""


class Cause(enum.StrEnum):
    """What is wrong with an index log for good: it signed a tree that holds this."""

    LEAF = "leaf-malformed"
    INPUT_LOG = "input-of-another-log"
    INPUT_KEY = "input-not-signed-by-the-log"
    INPUT_SIGNATURE = "input-signature-fails"
    INPUT_SHRINKS = "input-shrinks"
    INPUT_FORKS = "input-forks"
    MAP_ROOT = "map-root"
    INDEX_FORKS = "index-forks"


BY_MAIN_KEYS = frozenset({Cause.INPUT_KEY, Cause.INPUT_SIGNATURE})
"""Causes that are true or not as the log's keys are these or others."""


class LeafError(VerificationError):
    """A leaf is wrong by itself. cause: how."""

    def __init__(self, cause: Cause, error: TeelogError) -> None:
        super().__init__(error.message, expected=error.expected, actual=error.actual)
        self.cause = cause


def open_leaf(data: bytes, main: Iterable[VerifierKey], origin: str) -> tuple[IndexLeaf, Checkpoint]:
    """A leaf and its input checkpoint. main: the Ed25519 keys of the log ``origin``.

    Raises LeafError; ConfigError where there is none among them: nobody is accused for what we do not know.
    """
    main = [key for key in main if key.type is SignatureType.ED25519]
    if not main:
        raise ConfigError(
            "no Ed25519 key of the log is given, which signs what its index is built from",
            expected=f"a policy with the Ed25519 vkey of {origin}",
        )
    try:
        leaf = IndexLeaf.parse(data)
        claimed = leaf.claimed()
    except MalformedError as error:
        raise LeafError(Cause.LEAF, error) from error
    if claimed.origin != origin:
        other = VerificationError("input note is of another log", expected=origin, actual=claimed.origin)
        raise LeafError(Cause.INPUT_LOG, other)
    try:
        return leaf, leaf.open(main, origin)
    except UntrustedKey as error:
        raise LeafError(Cause.INPUT_KEY, error) from error
    except SignatureError as error:
        raise LeafError(Cause.INPUT_SIGNATURE, error) from error
    except (VerificationError, MalformedError) as error:
        raise LeafError(Cause.LEAF, error) from error


# -- the file ---------------------------------------------------------------------------------------------------------


class Neighbour(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An element of a list. position, index: decimal. path: base64, for ``lists.verify_element``."""

    position: str
    index: str
    path: tuple[str, ...]


class Omission(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An entry that is missing in a list. key: base64. value: what the trie holds under it, base64; absent: nothing.

    proof: base64, for ``proof.verify_lookup``. before, after: the neighbours that skip the entry; absent at an end.
    claims: by which the entry took effect, where the key is of an effective list.
    """

    entry: Placed
    key: str
    proof: str
    value: str | None = None
    before: Neighbour | None = None
    after: Neighbour | None = None
    claims: tuple[Listed, ...] = ()


class IndexFault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """index_keys, main_keys: vkeys, as the writer knew them. checkpoint: the index log's note. leaf: the wrong one.

    previous: the leaf before, where the cause is input-shrinks. rebuilt: the writer's map root, hex.
    """

    schema: str
    cause: Cause
    index_keys: tuple[str, ...]
    main_keys: tuple[str, ...]
    checkpoint: str
    leaf: Placed
    previous: Placed | None = None
    rebuilt: str | None = None
    omission: Omission | None = None

    def encode(self) -> bytes:
        """The file."""
        return strict_json.encode(self)


_decoder = msgspec.json.Decoder(IndexFault)


def parse(data: bytes) -> IndexFault:
    """Reads a fault strictly; nothing is verified. Raises MalformedError."""
    found = strict_json.decode(data, _decoder, MAX_LENGTH)
    if found.encode() != data or found.schema != SCHEMA:
        raise MalformedError("not an index fault in its one spelling", expected=SCHEMA, actual=found.schema[:80])
    if max(len(found.index_keys), len(found.main_keys)) > MAX_KEYS:
        raise MalformedError("index fault has too many keys", expected=f"at most {MAX_KEYS}")
    return found


def main_origin(fault: IndexFault) -> str:
    """The origin of the log whose index is at fault, as the file claims it. Raises MalformedError."""
    return main_of(claimed_origin(fault.checkpoint.encode()))


def own_keys(fault: IndexFault) -> tuple[VerifierKey, ...]:
    """The index log's, as the file's writer claims them. Raises MalformedError."""
    return _keys(fault.index_keys)


def neighbour(position: int, index: int, path: Sequence[bytes]) -> Neighbour:
    """An element beside the gap. position: in the list. index: of its entry. path: to the list's root."""
    return Neighbour(str(position), str(index), tuple(map(b64, path)))


def omission(
    entry: Placed,
    key: bytes,
    value: Value | None,
    proof: bytes,
    before: Neighbour | None = None,
    after: Neighbour | None = None,
    claims: Sequence[Listed] = (),
) -> Omission:
    """A list that skips ``entry``: the one under ``key``, None for no list at all, with the trie's proof of it.

    before, after: the gap's neighbours, as far as there are any. claims: what shows that the entry takes effect.
    """
    held = None if value is None else b64(value.encode())
    return Omission(entry, b64(key), b64(proof), held, before, after, tuple(claims))


# -- verification -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VerifiedFault:
    """What a file shows. checkpoint: the index log's. number: the leaf's. input: of a leaf that is right so far.

    proven: whether the file alone proves it; otherwise the index log signed ``map_root`` for ``input``, and a replay
    of the log tells whether that is the map root. omitted: (entry index, key) where a list skips the entry.
    """

    origin: str
    cause: Cause
    checkpoint: Checkpoint
    number: int
    proven: bool
    input: Checkpoint | None = None
    map_root: bytes | None = None
    omitted: tuple[int, bytes] | None = None


def verify(
    fault: IndexFault, index_keys: Iterable[VerifierKey] | None = None, main_keys: Iterable[VerifierKey] | None = None
) -> VerifiedFault:
    """Checks what the file shows. keys: as the caller knows them; None: those that the file names itself.

    Raises VerificationError where the leaf is not wrong in the way that the file says, MalformedError.
    """
    index = _keys(fault.index_keys) if index_keys is None else tuple(index_keys)
    main = _keys(fault.main_keys) if main_keys is None else tuple(main_keys)
    main = tuple(key for key in main if key.type is SignatureType.ED25519)
    if not main:
        raise VerificationError("no Ed25519 key of the log is known: whose input a leaf has says nothing then")
    origin = main_origin(fault)
    head = open_checkpoint(fault.checkpoint.encode(), index, origin_of(origin)).checkpoint
    place, data = included(fault.leaf, head, "leaf")
    try:
        leaf, found = open_leaf(data, main, origin)
    except LeafError as error:
        if error.cause is not fault.cause:
            raise VerificationError(
                "the leaf is wrong in another way", expected=fault.cause, actual=error.cause
            ) from error
        return VerifiedFault(origin, fault.cause, head, place, proven=True)
    shown = VerifiedFault(origin, fault.cause, head, place, False, found, leaf.map_root)
    if fault.cause is Cause.INPUT_SHRINKS and fault.previous is not None:
        before, earlier = included(fault.previous, head, "leaf before")
        _, larger = open_leaf(earlier, main, origin)
        if before >= place or larger.size <= found.size:
            raise VerificationError("the input does not shrink", expected=f"below {larger.size}", actual=found.size)
        return replace(shown, proven=True)
    if fault.cause is not Cause.MAP_ROOT:
        raise VerificationError("the leaf is right as far as the file shows", expected=fault.cause)
    if fault.omission is None:
        if fault.rebuilt is None or strict.unhex(fault.rebuilt, "map root", HASH_LENGTH) == leaf.map_root:
            raise VerificationError("the file names no other map root")
        return shown
    return _verify_omission(fault.omission, shown)


def _verify_omission(found: Omission, shown: VerifiedFault) -> VerifiedFault:
    assert shown.input is not None
    assert shown.map_root is not None
    index, entry = included(found.entry, shown.input, "entry")
    key = unb64(found.key, "key")
    kind, _ = keys.parse(key)
    value = None if found.value is None else Value.parse(unb64(found.value, "value"))
    proof = unb64(found.proof, "proof")
    verify_lookup(shown.map_root, key, None if value is None else value.encode(), proof)
    _check_skipped(found, index, value)
    # Of these kinds the entry alone decides; of the others all before it: by a replay, or by what the index claims.
    alone = kind in ALONE
    if alone and key not in map_entry(entry, index, MemoryState(shown.origin)).keys:
        raise VerificationError("the entry does not belong under the key", actual=key[:80])
    if found.claims and not alone:
        _check_claims(found, shown, entry, index, key)
        alone = True
    return replace(shown, proven=alone, omitted=(index, key))


def _check_claims(found: Omission, shown: VerifiedFault, entry: bytes, index: int, key: bytes) -> None:
    """By the index's own lists the entry took effect."""
    assert shown.input is not None
    assert shown.map_root is not None
    if keys.parse(key)[0] is Kind.STATUS:
        # What the entry follows is the element before its place, no other.
        before = None if found.before is None else found.before.position
        listed = [each for each in found.claims if each.key == found.key]
        positions = [element.position for each in listed for element in each.elements]
        if positions != ([] if before is None else [before]):
            raise VerificationError("the claims are not of the status before", expected=before, actual=positions)
    claims.check(found.claims, shown.map_root, shown.input, entry, index, key)


def _check_skipped(found: Omission, index: int, value: Value | None) -> None:
    """Two neighbours in the list, or its end, leave no place for ``index``. Raises VerificationError."""
    before = None if found.before is None else _element(found.before, value)
    after = None if found.after is None else _element(found.after, value)
    last = -1 if value is None else value.count - 1
    first_place = -1 if before is None else before[0]
    next_place = last + 1 if after is None else after[0]
    if next_place != first_place + 1:
        raise VerificationError("the elements are no neighbours in the list", actual=f"{first_place}, {next_place}")
    if (before is not None and before[1] >= index) or (after is not None and after[1] <= index):
        raise VerificationError("the list does not skip the entry", expected=f"neighbours around {index}")


def _element(found: Neighbour, value: Value | None) -> tuple[int, int]:
    """(position, index) of an element that is in the list."""
    if value is None:
        raise VerificationError("an element of a list that is not there")
    position, index = number(found.position, "position"), number(found.index, "index")
    verify_element(value, position, index, path_of(found.path))
    return position, index


def _keys(texts: Sequence[str]) -> tuple[VerifierKey, ...]:
    try:
        return tuple(vkey.parse_for(text, LOG_TYPES, "log") for text in texts)
    except ConfigError as error:
        raise MalformedError("index fault names something that is no log key") from error
