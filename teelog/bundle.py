"""Bundles (``.teelog``, protocol section 6): everything that shows, offline, that a release is allowed now.

One deterministic CBOR map (RFC 8949 section 4.2.1) with the keys 0 to 9; docs/formats/bundle.md. A path is one byte
string, its hashes one after the other. Parsing authenticates nothing: ``teelog.appraise`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from teelog import strict
from teelog.errors import MalformedError
from teelog.index.leaf import MAX_LEAF
from teelog.index.proof import MAX_PROOF
from teelog.statement.dsse import MAX_FILE
from teelog.tlog import note
from teelog.tlog.rfc6962 import HASH_LENGTH, MAX_HASHES

FORMAT = "teelog-bundle/v1"
MEDIA_TYPE = "application/vnd.teelog.bundle+cbor"
MAX_LENGTH = 1 << 20  # bytes
MAX_NAMESPACES = 256  # versions of one namespace

_FIELDS = 10


@dataclass(frozen=True, slots=True)
class Included:
    """A logged statement. entry: its exact bytes. index: in the main log. path: its inclusion proof there."""

    entry: bytes = field(repr=False)
    index: int
    path: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Lookup:
    """What the index holds under one key, and that an entry is the last of it.

    count, list_root: the key's value. list_path: inclusion of the last element in the list. trie_proof: of the value.
    """

    count: int
    list_root: bytes
    list_path: tuple[bytes, ...] = field(repr=False)
    trie_proof: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bundle:
    """main_checkpoint, index_checkpoint: signed notes with cosignatures. index_leaf: the last of the index log.

    index_path: its inclusion proof. namespaces: the versions in order, to the current one. status: of the release's
    stream. The fields are as they came: nothing is verified.
    """

    main_checkpoint: bytes = field(repr=False)
    index_checkpoint: bytes = field(repr=False)
    index_leaf: bytes = field(repr=False)
    index_path: tuple[bytes, ...] = field(repr=False)
    namespaces: tuple[Included, ...]
    namespace_lookup: Lookup
    status: Included
    status_lookup: Lookup
    release: Included

    def encode(self) -> bytes:
        """The file. Raises MalformedError for a bundle that ``parse`` would refuse."""
        data = _encode(self)
        parse(data)
        return data


def _encode(bundle: Bundle) -> bytes:
    from cbor2 import dumps  # loaded only where there is a bundle

    fields: list[Any] = [
        FORMAT,
        bundle.main_checkpoint,
        bundle.index_checkpoint,
        bundle.index_leaf,
        b"".join(bundle.index_path),
        [_included(each) for each in bundle.namespaces],
        _lookup(bundle.namespace_lookup),
        _included(bundle.status),
        _lookup(bundle.status_lookup),
        _included(bundle.release),
    ]
    # Ascending small integers: the order of deterministic encoding.
    return dumps(dict(enumerate(fields)))


def _included(item: Included) -> dict[int, Any]:
    return {0: item.entry, 1: item.index, 2: b"".join(item.path)}


def _lookup(item: Lookup) -> dict[int, Any]:
    return {0: item.count, 1: item.list_root, 2: b"".join(item.list_path), 3: item.trie_proof}


def parse(data: bytes) -> Bundle:
    """A bundle from the bytes of its file. Raises MalformedError (``where``: the field's number)."""
    from cbor2 import CBORError, loads

    if len(data) > MAX_LENGTH:
        raise MalformedError("bundle is too long", expected=f"at most {MAX_LENGTH} bytes", actual=len(data))
    try:
        tree = loads(data)
    except (CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise MalformedError("bundle is not CBOR", actual=str(error)[:80] or None) from error
    bundle = _read(tree)
    # One encoding: order, lengths, indefinite forms, repeated keys, tags and trailing bytes all show here.
    if _encode(bundle) != data:
        raise MalformedError(
            "bundle is not in its one encoding", expected="deterministic CBOR (RFC 8949 section 4.2.1)"
        )
    return bundle


def _read(tree: object) -> Bundle:
    form, main, index, leaf, path, namespaces, owned, status, allowed, release = _fields(tree, _FIELDS, "bundle")
    if form != FORMAT:
        raise MalformedError(
            "not a bundle of a known version", where="0", expected=FORMAT, actual=form if type(form) is str else None
        )
    if type(namespaces) is not list or not 1 <= len(namespaces) <= MAX_NAMESPACES:
        raise MalformedError("not a list of namespaces", where="5", expected=f"1 to {MAX_NAMESPACES} versions")
    return Bundle(
        _bytes(main, "1", note.MAX_LENGTH),
        _bytes(index, "2", note.MAX_LENGTH),
        _bytes(leaf, "3", MAX_LEAF),
        _hashes(path, "4"),
        tuple(_read_included(each, f"5/{place}") for place, each in enumerate(namespaces)),
        _read_lookup(owned, "6"),
        _read_included(status, "7"),
        _read_lookup(allowed, "8"),
        _read_included(release, "9"),
    )


def _read_included(tree: object, where: str) -> Included:
    entry, index, path = _fields(tree, 3, where)
    return Included(_bytes(entry, f"{where}/0", MAX_FILE), _number(index, f"{where}/1"), _hashes(path, f"{where}/2"))


def _read_lookup(tree: object, where: str) -> Lookup:
    count, root, path, proof = _fields(tree, 4, where)
    root = _bytes(root, f"{where}/1", HASH_LENGTH)
    if len(root) != HASH_LENGTH:
        raise MalformedError("not a hash", where=f"{where}/1", expected=f"{HASH_LENGTH} bytes", actual=len(root))
    return Lookup(
        _number(count, f"{where}/0"),
        root,
        _hashes(path, f"{where}/2"),
        _bytes(proof, f"{where}/3", MAX_PROOF),
    )


def _fields(tree: object, count: int, where: str) -> Sequence[Any]:
    """The values of a map whose keys are 0 to count - 1, in order."""
    if type(tree) is not dict or list(tree) != list(range(count)) or any(type(key) is not int for key in tree):
        raise MalformedError("not a map of the fields", where=where, expected=f"the keys 0 to {count - 1}, in order")
    return list(tree.values())


def _bytes(value: object, where: str, limit: int) -> bytes:
    if type(value) is not bytes or len(value) > limit:
        raise MalformedError("not a byte string", where=where, expected=f"at most {limit} bytes")
    return value


def _number(value: object, where: str) -> int:
    if type(value) is not int or not 0 <= value <= strict.MAX_INT:
        raise MalformedError("not a number", where=where, expected=f"0 to {strict.MAX_INT}")
    return value


def _hashes(value: object, where: str) -> tuple[bytes, ...]:
    joined = _bytes(value, where, MAX_HASHES * HASH_LENGTH)
    if len(joined) % HASH_LENGTH:
        raise MalformedError("not whole hashes", where=where, expected=f"a multiple of {HASH_LENGTH} bytes")
    return tuple([joined[start : start + HASH_LENGTH] for start in range(0, len(joined), HASH_LENGTH)])
