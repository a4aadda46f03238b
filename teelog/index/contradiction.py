"""Index forks (``.teelog-index-fork``): proof that an index log said two things that cannot both be true.

Ours; described in docs/formats/index-fork.md.

A ``View`` is what one leaf of the index log says, shown under a checkpoint that the index log signed; with a key, also
what the map holds under it. Two views contradict each other where

* both maps were built from the same checkpoint, and their roots differ;
* the later leaf covers less of the main log than the earlier one;
* the map over more of the main log has a shorter list under the key, or another one of the same length.

Deterministic CBOR: 0 format, 1 vkeys of the index log, 2 and 3 the views; a view: 0 checkpoint, 1 leaf, 2 path, 3 key,
4 count, 5 list root, 6 trie proof (3 and 6 empty, 4 zero where there is no key). Two trees of one size are a fork proof
(``teelog.tlog.fork``), not this.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from teelog import strict_cbor
from teelog.errors import ConfigError, MalformedError, TeelogError, VerificationError
from teelog.index.keys import MAX_KEY
from teelog.index.leaf import MAX_LEAF, IndexLeaf, main_of
from teelog.index.lists import Value
from teelog.index.proof import MAX_PROOF, verify_lookup
from teelog.tlog import note, rfc6962, vkey
from teelog.tlog.checkpoint import Checkpoint, open_checkpoint
from teelog.tlog.rfc6962 import EMPTY_ROOT, HASH_LENGTH
from teelog.tlog.vkey import LOG_TYPES, VerifierKey

FORMAT = "teelog-index-fork/v1"
VIEW_FORMAT = "teelog-index-view/v1"
MAX_LENGTH = 1 << 20  # bytes
MAX_KEYS = 8


@dataclass(frozen=True, slots=True)
class View:
    """The last leaf under a checkpoint of an index log, and what its map holds under ``key`` (b"" for no key).

    checkpoint: signed note. path: of the leaf, at size - 1. count, list_root: the key's value. Nothing is verified.
    """

    checkpoint: bytes = field(repr=False)
    leaf: bytes = field(repr=False)
    path: tuple[bytes, ...] = field(repr=False)
    key: bytes = b""
    count: int = 0
    list_root: bytes = field(default=EMPTY_ROOT, repr=False)
    trie_proof: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        return strict_cbor.dump((VIEW_FORMAT, _view(self)))

    @classmethod
    def parse(cls, data: bytes) -> View:
        """Raises MalformedError."""

        def read(tree: Any) -> View:
            form, view = strict_cbor.fields(tree, 2, "view")
            _check_format(form, VIEW_FORMAT)
            return _read_view(view, "1")

        return strict_cbor.load(data, MAX_LENGTH, "view of an index", read, cls.encode)


@dataclass(frozen=True, slots=True)
class Opened:
    """A view that holds. input: the checkpoint from which the map was built, as the index log's leaf claims it."""

    head: Checkpoint
    map_root: bytes
    input: Checkpoint
    key: bytes
    value: Value | None


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two views of one index log. keys: its vkeys, as the writer of the file knew them."""

    first: View
    second: View
    keys: tuple[VerifierKey, ...] = ()

    def encode(self) -> bytes:
        """The file."""
        return strict_cbor.dump((FORMAT, [str(key) for key in self.keys], _view(self.first), _view(self.second)))


def parse(data: bytes) -> Contradiction:
    """A contradiction from the bytes of its file, unverified. Raises MalformedError."""
    return strict_cbor.load(data, MAX_LENGTH, "index fork", _read, Contradiction.encode)


def open_view(view: View, log_keys: Iterable[VerifierKey]) -> Opened:
    """Checks a view by the index log's own signature.

    log_keys: of one index log. Raises MalformedError, SignatureError, UntrustedKey, ProofError, VerificationError.
    """
    head = open_checkpoint(view.checkpoint, log_keys).checkpoint
    # Another log takes whatever its clients hand in, and what looks like leaves among it: that is not its word.
    main_of(head.origin)
    if head.size == 0:
        raise VerificationError("the index log of a view is empty")
    rfc6962.verify_inclusion(head.size - 1, head.size, rfc6962.leaf_hash(view.leaf), view.path, head.root)
    leaf = IndexLeaf.parse(view.leaf)
    if not view.key:
        return Opened(head, leaf.map_root, leaf.claimed(), b"", None)
    value = Value(view.count, view.list_root)
    verify_lookup(leaf.map_root, view.key, value.encode(), view.trie_proof)
    return Opened(head, leaf.map_root, leaf.claimed(), view.key, value)


def contradicts(first: Opened, second: Opened) -> str | None:
    """In words, what the two views contradict each other in; None if both can be true."""
    if first.head.origin != second.head.origin:
        return None
    small, large = sorted((first, second), key=lambda each: (each.input.size, each.head.size))
    if small.input == large.input and small.map_root != large.map_root:
        return f"two map roots for the first {small.input.size} entries"
    if small.head.size > large.head.size and small.input.size < large.input.size:
        return (
            f"leaf {small.head.size - 1} covers {small.input.size} entries, the earlier leaf {large.head.size - 1} more"
        )
    before, after = small.value, large.value
    if before is None or after is None or small.key != large.key:
        return None
    if after.count < before.count:
        return f"a list of {before.count} elements has become one of {after.count}"
    if after.count == before.count and after.root != before.root:
        return f"two lists of {before.count} elements under one key"
    return None


def verify(found: Contradiction, log_keys: Iterable[VerifierKey]) -> str:
    """What the index log has contradicted itself in, in words. Raises VerificationError if this does not show it."""
    keys = list(log_keys)
    said = contradicts(open_view(found.first, keys), open_view(found.second, keys))
    if said is None:
        raise VerificationError("no contradiction: both views of the index can be true")
    return said


def verify_own_keys(found: Contradiction) -> tuple[str, VerifierKey]:
    """By the keys that the file names itself, each alone: two keys, one view each, prove nothing.

    Returns what ``verify`` does, and by which key. Raises VerificationError, MalformedError.
    """
    reason: TeelogError = VerificationError("no contradiction: the file names no key", hint="give the index log's key")
    for key in found.keys:
        try:
            return verify(found, [key]), key
        except (VerificationError, MalformedError) as error:
            reason = error
    raise reason


def _view(view: View) -> dict[int, Any]:
    path = b"".join(view.path)
    return strict_cbor.numbered(view.checkpoint, view.leaf, path, view.key, view.count, view.list_root, view.trie_proof)


def _read_view(tree: Any, where: str) -> View:
    checkpoint, leaf, path, key, count, root, proof = strict_cbor.fields(tree, 7, where)
    return View(
        strict_cbor.octets(checkpoint, f"{where}/0", note.MAX_LENGTH),
        strict_cbor.octets(leaf, f"{where}/1", MAX_LEAF),
        strict_cbor.hashes(path, f"{where}/2"),
        strict_cbor.octets(key, f"{where}/3", MAX_KEY),
        strict_cbor.number(count, f"{where}/4"),
        strict_cbor.octets(root, f"{where}/5", HASH_LENGTH, HASH_LENGTH),
        strict_cbor.octets(proof, f"{where}/6", MAX_PROOF),
    )


def _read(tree: Any) -> Contradiction:
    form, keys, first, second = strict_cbor.fields(tree, 4, "index fork")
    _check_format(form, FORMAT)
    named = [strict_cbor.text(each, f"1/{n}", vkey.MAX_LENGTH) for n, each in enumerate(_keys(keys))]
    try:
        parsed = tuple(vkey.parse_for(each, LOG_TYPES, "log") for each in named)
    except ConfigError as error:
        raise MalformedError("index fork names something that is no log key", where="1") from error
    return Contradiction(_read_view(first, "2"), _read_view(second, "3"), parsed)


def _keys(value: Any) -> list[Any]:
    return strict_cbor.items(value, "1", 0, MAX_KEYS)


def _check_format(form: Any, expected: str) -> None:
    if form != expected:
        shown = form[:80] if type(form) is str else None
        raise MalformedError("not a file of a known version", where="0", expected=expected, actual=shown)
