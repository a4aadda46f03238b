"""Steps 3 to 6, as far as the index goes: its checkpoint, its last leaf, and what the map under that leaf holds.

Functions raise what is wrong as VerificationError or MalformedError, and NotEstablished where an input is missing:
``finding_of`` makes a finding of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from teelog import strict
from teelog.appraisal.log import Head, Refused, check_one_tree, open_head
from teelog.bundle import Bundle, Lookup
from teelog.errors import (
    MalformedError,
    MisbehaviourError,
    NotEstablished,
    NotWitnessed,
    ProofError,
    TeelogError,
    VerificationError,
)
from teelog.index.leaf import IndexLeaf
from teelog.index.lists import Value, verify_element
from teelog.index.proof import verify_lookup
from teelog.tlog import rfc6962
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.policy import NONE, Policy
from teelog.tlog.rfc6962 import HASH_LENGTH
from teelog.tlog.vkey import SignatureType
from teelog.trust import Trust
from teelog.verdict import Check, Finding, failed, not_established

_HEX = 2 * HASH_LENGTH


@dataclass(frozen=True, slots=True)
class Index:
    """The index over the main checkpoint's own tree. head: of the index log. map_root: of its last leaf, 32 bytes.

    covers: entries of the main log, all that its checkpoint has.
    """

    head: Head
    map_root: bytes
    covers: int

    @property
    def rebuilt_by(self) -> tuple[str, ...]:
        """The semantic witnesses that cosigned, by their names in the policy."""
        return tuple(self.head.witnessed.cosignatures)


def finding_of(error: TeelogError) -> Finding:
    """Of ``allowed-now``. Misbehaviour is no finding, and raised again."""
    if isinstance(error, MisbehaviourError):
        raise error
    if isinstance(error, NotEstablished):
        return not_established(Check.ALLOWED_NOW, error.message)
    return failed(Check.ALLOWED_NOW, error)


def open_checkpoint(bundle: Bundle, trust: Trust) -> Head:
    """Step 3: the index log's checkpoint, every known signature of it checked; its quorum is not judged yet."""
    policy = _policy(trust)
    head = open_head(bundle.index_checkpoint, policy)
    if isinstance(head, Refused):
        raise head.error
    if head.checkpoint.size == 0:
        raise VerificationError("the index log holds nothing yet", expected="a leaf", actual="size 0")
    return head


def _policy(trust: Trust) -> Policy:
    if trust.index is None:
        raise NotEstablished("the trust file names no policy for the log's index")
    if trust.index.quorum == NONE:
        raise NotEstablished("the trust file's index policy asks for no semantic witness")
    return trust.index


def read(bundle: Bundle, head: Head, main: Head, trust: Trust) -> Index:
    """Steps 3 and 4: the index has its quorum, and its last leaf was built from the main checkpoint's tree.

    Raises MisbehaviourError where the leaf holds the log's signature over another tree of the same size.
    """
    try:
        _policy(trust).check_quorum(set(head.witnessed.cosignatures))
    except NotWitnessed as error:
        raise NotWitnessed(
            "too few semantic witnesses have rebuilt the index", expected=error.expected, actual=error.actual
        ) from error
    size, root = head.checkpoint.size, head.checkpoint.root
    try:
        rfc6962.verify_inclusion(size - 1, size, rfc6962.leaf_hash(bundle.index_leaf), bundle.index_path, root)
    except ProofError as error:
        raise ProofError(
            "the index leaf is not the last one of the index log",
            expected=f"leaf {size - 1} of {size}",
            actual=error.message,
        ) from error
    return Index(head, _map_root(bundle.index_leaf, main, trust), main.checkpoint.size)


def _map_root(leaf: bytes, main: Head, trust: Trust) -> bytes:
    """Step 4: the map root of a leaf that was built from (N, R)."""
    ours = main.checkpoint
    keys = [log.key for log in trust.main.logs if log.key.type is SignatureType.ED25519]
    rest = b"\n%b\n" % main.witnessed.note.text
    for line in main.witnessed.log_signatures:
        # The text of the main checkpoint with the line that was verified there.
        if line.verifier in keys and leaf[_HEX:] == rest + line.signature.line():
            return strict.unhex(leaf[:_HEX], "map root", HASH_LENGTH)
    parsed = IndexLeaf.parse(leaf)
    found = parsed.open(keys, ours.origin)
    check_one_tree((found, parsed.note), (ours, main.signed), keys)
    _check_size(found, ours)
    return parsed.map_root


def _check_size(found: Checkpoint, ours: Checkpoint) -> None:
    if found.size < ours.size:
        raise NotEstablished(f"the index ends before the log does: it covers {found.size} of {ours.size} entries")
    if found.size > ours.size:
        raise VerificationError(
            "the index was built from another checkpoint than the bundle's",
            expected=f"size {ours.size}",
            actual=f"size {found.size}",
        )


def check_last(index: Index, key: bytes, lookup: Lookup, entry: int, what: str) -> None:
    """That the list under ``key`` has ``lookup.count`` elements and the last of them is the entry at ``entry``.

    what: of the list's elements, for messages.
    """
    value = Value(lookup.count, lookup.list_root)
    try:
        verify_lookup(index.map_root, key, value.encode(), lookup.trie_proof)
    except (ProofError, MalformedError) as error:
        raise type(error)(
            f"the index does not hold what is given for the {what}: {error.message}",
            expected=error.expected,
            actual=error.actual,
        ) from error
    try:
        verify_element(value, lookup.count - 1, entry, lookup.list_path)
    except ProofError as error:
        raise ProofError(
            f"the {what} given is not the last one in the index",
            expected=f"element {lookup.count - 1} of the index's list",
            actual=f"entry {entry}: {error.message}",
        ) from error
