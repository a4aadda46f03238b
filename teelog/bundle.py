"""Bundles (``.teelog``, protocol section 6): everything that shows, offline, that a release is allowed now.

One deterministic CBOR map (RFC 8949 section 4.2.1) with the keys 0 to 9; docs/formats/bundle.md. A path is one byte
string, its hashes one after the other. Parsing authenticates nothing: ``teelog.appraise`` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from teelog import strict_cbor
from teelog.errors import MalformedError
from teelog.index.leaf import MAX_LEAF
from teelog.index.proof import MAX_PROOF
from teelog.statement.dsse import MAX_FILE
from teelog.tlog import note
from teelog.tlog.rfc6962 import HASH_LENGTH

FORMAT = "teelog-bundle/v1"
MEDIA_TYPE = "application/vnd.teelog.bundle+cbor"
MAX_LENGTH = 1 << 20  # bytes
MAX_NAMESPACES = 256  # versions of one namespace


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


def parse(data: bytes) -> Bundle:
    """A bundle from the bytes of its file. Raises MalformedError (``where``: the field's number)."""
    return strict_cbor.load(data, MAX_LENGTH, "bundle", _read, _encode)


def _encode(bundle: Bundle) -> bytes:
    return strict_cbor.dump(
        (
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
        )
    )


def _included(item: Included) -> dict[int, Any]:
    return strict_cbor.numbered(item.entry, item.index, b"".join(item.path))


def _lookup(item: Lookup) -> dict[int, Any]:
    return strict_cbor.numbered(item.count, item.list_root, b"".join(item.list_path), item.trie_proof)


def _read(tree: Any) -> Bundle:
    form, main, index, leaf, path, versions, owned, status, allowed, release = strict_cbor.fields(tree, 10, "bundle")
    if form != FORMAT:
        shown = form[:80] if type(form) is str else None
        raise MalformedError("not a bundle of a known version", where="0", expected=FORMAT, actual=shown)
    namespaces = strict_cbor.items(versions, "5", 1, MAX_NAMESPACES)
    return Bundle(
        strict_cbor.octets(main, "1", note.MAX_LENGTH),
        strict_cbor.octets(index, "2", note.MAX_LENGTH),
        strict_cbor.octets(leaf, "3", MAX_LEAF),
        strict_cbor.hashes(path, "4"),
        tuple([_read_included(each, f"5/{place}") for place, each in enumerate(namespaces)]),
        _read_lookup(owned, "6"),
        _read_included(status, "7"),
        _read_lookup(allowed, "8"),
        _read_included(release, "9"),
    )


def _read_included(tree: Any, where: str) -> Included:
    entry, index, path = strict_cbor.fields(tree, 3, where)
    return Included(
        strict_cbor.octets(entry, f"{where}/0", MAX_FILE),
        strict_cbor.number(index, f"{where}/1"),
        strict_cbor.hashes(path, f"{where}/2"),
    )


def _read_lookup(tree: Any, where: str) -> Lookup:
    count, root, path, proof = strict_cbor.fields(tree, 4, where)
    return Lookup(
        strict_cbor.number(count, f"{where}/0"),
        strict_cbor.octets(root, f"{where}/1", HASH_LENGTH, HASH_LENGTH),
        strict_cbor.hashes(path, f"{where}/2"),
        strict_cbor.octets(proof, f"{where}/3", MAX_PROOF),
    )
