"""Index faults: what a file proves, and every way in which it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from teelog.errors import MalformedError, TeelogError, VerificationError
from teelog.index import fault, keys
from teelog.index.fault import Cause, IndexFault, Omission
from teelog.index.lists import List
from teelog.testing.ledger import Ledger, hiding
from teelog.tlog import note
from tests.statement import make

SUBJECT = keys.key(keys.Kind.SUBJECT, "sha256", make.SUBJECT.digest["sha256"])


def lying(*hidden: int, releases: int = 6) -> Ledger:
    """A log of some releases of one subject, whose index leaves some out."""
    ledger = Ledger(rewrite=hiding(*hidden))
    ledger.append(make.log_policy_file())
    ledger.append(make.namespace_file())
    for number in range(releases):
        ledger.append(make.release_file(version=f"1.{number}"))
    ledger.add_leaf(ledger.shown.root(), ledger.checkpoint())
    return ledger


def made(ledger: Ledger, index: int, before: int | None, after: int | None, key: bytes = SUBJECT) -> IndexFault:
    """The file that says that entry ``index`` is left out between two positions of the list."""
    held = List(ledger.shown.lists.get(key, ()))
    size, head = len(ledger.entries), ledger.index_checkpoint()
    entry = fault.placed(index, ledger.entries[index], ledger.tree.path(index, size))

    def neighbour(position: int | None) -> fault.Neighbour | None:
        if position is None:
            return None
        return fault.neighbour(position, held.indices[position], held.prove(position))

    value = held.value() if held.indices else None
    omission = fault.omission(
        entry, key, value, ledger.shown.trie.prove_lookup(key), neighbour(before), neighbour(after)
    )
    text = head.body()
    return IndexFault(
        fault.SCHEMA,
        Cause.MAP_ROOT,
        tuple(str(signer.verifier) for signer in ledger.index_log),
        tuple(str(signer.verifier) for signer in ledger.log),
        note.encode(text, [signer.sign(text, 0) for signer in ledger.index_log]).decode(),
        fault.placed(0, ledger.index_leaves[0], ledger.index_tree.path(0, head.size)),
        omission=omission,
    )


@pytest.mark.parametrize(
    ("hidden", "before", "after"),
    [(2, None, 0), (4, 1, 2), (7, 4, None)],
    ids=["first", "between", "last"],
)
def test_omission_is_proven_by_two_neighbours_or_an_end(hidden: int, before: int | None, after: int | None) -> None:
    found = made(lying(hidden), hidden, before, after)
    verdict = fault.verify(fault.parse(found.encode()))
    assert (verdict.proven, verdict.omitted) == (True, (hidden, SUBJECT))


def test_omission_of_a_whole_list_is_proven_by_its_absence() -> None:
    verdict = fault.verify(made(lying(2, releases=1), 2, None, None))
    assert verdict.proven


@pytest.mark.parametrize(
    ("index", "before", "after"),
    [(4, 0, 2), (4, 1, None), (4, None, 2), (4, 2, 3), (4, None, None), (3, 1, 2), (5, 1, 2)],
)
def test_elements_that_leave_a_gap_prove_nothing(index: int, before: int | None, after: int | None) -> None:
    with pytest.raises(VerificationError):
        fault.verify(made(lying(4), index, before, after))


def test_nothing_is_omitted_in_an_honest_index() -> None:
    for before, after in ((1, 2), (2, 3)):
        with pytest.raises(VerificationError):
            fault.verify(made(lying(), 4, before, after))


def test_entry_that_does_not_belong_under_the_key_proves_nothing() -> None:
    ledger = lying(4)
    other = keys.key(keys.Kind.SUBJECT, "sha256", "00" * 32)
    with pytest.raises(VerificationError, match="does not belong"):
        fault.verify(made(ledger, 4, None, None, other))


def test_effective_lists_are_for_a_replay_to_decide() -> None:
    key = keys.release_key("acme.example/inference/stable")
    verdict = fault.verify(made(lying(4), 4, 1, 2, key))
    assert (verdict.proven, verdict.omitted) == (False, (4, key))


def _omission(found: IndexFault, **changes: Any) -> IndexFault:
    assert found.omission is not None
    return msgspec.structs.replace(found, omission=msgspec.structs.replace(found.omission, **changes))


def _flip(text: str) -> str:
    return ("B" if text[0] != "B" else "C") + text[1:]


BENT: dict[str, Callable[[IndexFault], IndexFault]] = {
    "another leaf": lambda f: msgspec.structs.replace(f, leaf=msgspec.structs.replace(f.leaf, data=_flip(f.leaf.data))),
    "another place": lambda f: msgspec.structs.replace(f, leaf=msgspec.structs.replace(f.leaf, index="1")),
    "another key of the index": lambda f: msgspec.structs.replace(f, index_keys=f.main_keys),
    "no key": lambda f: msgspec.structs.replace(f, index_keys=()),
    "another cause": lambda f: msgspec.structs.replace(f, cause=Cause.INPUT_SHRINKS),
    "no such cause": lambda f: msgspec.structs.replace(f, cause=Cause.INDEX_FORKS),
    "leaf said to be malformed": lambda f: msgspec.structs.replace(f, cause=Cause.LEAF),
    "another entry": lambda f: _omission(f, entry=msgspec.structs.replace(_of(f).entry, index="5")),
    "another value": lambda f: _omission(f, value=_flip(str(_of(f).value))),
    "another proof": lambda f: _omission(f, proof=_flip(_of(f).proof)),
    "no value": lambda f: _omission(f, value=None),
    "another position": lambda f: _omission(f, before=msgspec.structs.replace(_of(f).before, position="0")),
}


def _of(found: IndexFault) -> Any:
    assert isinstance(found.omission, Omission)
    return found.omission


@pytest.mark.parametrize("bend", BENT)
def test_bent_file_proves_nothing(bend: str) -> None:
    good = made(lying(4), 4, 1, 2)
    fault.verify(good)
    with pytest.raises(TeelogError):
        fault.verify(BENT[bend](good))


def test_file_has_one_spelling() -> None:
    data = made(lying(4), 4, 1, 2).encode()
    assert fault.parse(data).encode() == data
    for bent in (data + b"\n", b" " + data, data.replace(b'"schema"', b'"schema" ', 1), data[:-1], b"{}", b""):
        with pytest.raises(MalformedError):
            fault.parse(bent)
    with pytest.raises(MalformedError):
        fault.parse(data.replace(b"index-fault/v1", b"index-fault/v2", 1))


def test_map_root_without_omission_needs_another_root() -> None:
    plain = msgspec.structs.replace(made(lying(4), 4, 1, 2), omission=None)
    with pytest.raises(VerificationError):
        fault.verify(plain)
    ledger = lying(4)
    with pytest.raises(VerificationError):
        fault.verify(msgspec.structs.replace(plain, rebuilt=ledger.shown.root().hex()))
    verdict = fault.verify(msgspec.structs.replace(plain, rebuilt=ledger.honest.root().hex()))
    assert not verdict.proven
