"""Something at a place in a tree, as JSON holds it: its bytes, its index, and the path that proves both."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec

from teelog import strict
from teelog.errors import ProofError
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.rfc6962 import HASH_LENGTH, MAX_HASHES, leaf_hash, verify_inclusion


class Placed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something at a place in a tree. data, path: base64. index: decimal."""

    index: str
    data: str
    path: tuple[str, ...]


def placed(index: int, data: bytes, path: Sequence[bytes]) -> Placed:
    """index: in the tree. path: from the leaf's sibling up, hashes of 32 bytes."""
    return Placed(str(index), b64(data), tuple(map(b64, path)))


def included(found: Placed, head: Checkpoint, what: str) -> tuple[int, bytes]:
    """(index, bytes) of what is in the tree of ``head``. what: for messages. Raises MalformedError, ProofError."""
    index, data = number(found.index, f"index of the {what}"), unb64(found.data, what)
    verify_inclusion(index, head.size, leaf_hash(data), path_of(found.path), head.root)
    return index, data


def path_of(path: Sequence[str]) -> list[bytes]:
    """At most 63 hashes of 32 bytes. Raises MalformedError, ProofError."""
    if len(path) > MAX_HASHES:
        raise ProofError("path is too long", expected=f"at most {MAX_HASHES} hashes")
    return [strict.b64(item.encode(), "path", HASH_LENGTH) for item in path]


def number(text: str, what: str) -> int:
    """0 to 2**63 - 1, in decimal. Raises MalformedError."""
    return strict.decimal(text.encode(), what)


def b64(data: bytes) -> str:
    """Padded standard base64."""
    return base64.b64encode(data).decode()


def unb64(text: str, what: str) -> bytes:
    """What ``b64`` makes, in that one spelling. Raises MalformedError."""
    return strict.b64(text.encode(), what)
