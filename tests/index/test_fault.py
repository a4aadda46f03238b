"""Index faults: what a file proves, and every way in which it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from teelog.errors import ConfigError, MalformedError, TeelogError, VerificationError
from teelog.index import claims, fault, keys
from teelog.index.claims import Element, Listed
from teelog.index.fault import Cause, IndexFault, Omission
from teelog.index.lists import List
from teelog.index.placed import b64, placed
from teelog.keys import Algorithm
from teelog.statement import dsse
from teelog.statement.log_policy import Frozen
from teelog.statement.namespace import Role
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


def made(
    ledger: Ledger,
    index: int,
    before: int | None,
    after: int | None,
    key: bytes = SUBJECT,
    claimed: Sequence[Listed] = (),
) -> IndexFault:
    """The file that says that entry ``index`` is left out between two positions of the list."""
    held = List(ledger.shown.lists.get(key, ()))
    size, head = len(ledger.entries), ledger.index_checkpoint()
    entry = placed(index, ledger.entries[index], ledger.tree.path(index, size))

    def neighbour(position: int | None) -> fault.Neighbour | None:
        if position is None:
            return None
        return fault.neighbour(position, held.indices[position], held.prove(position))

    value = held.value() if held.indices else None
    omission = fault.omission(
        entry, key, value, ledger.shown.trie.prove_lookup(key), neighbour(before), neighbour(after), claimed
    )
    text = head.body()
    return IndexFault(
        fault.SCHEMA,
        Cause.MAP_ROOT,
        tuple(str(signer.verifier) for signer in ledger.index_log),
        tuple(str(signer.verifier) for signer in ledger.log),
        note.encode(text, [signer.sign(text, 0) for signer in ledger.index_log]).decode(),
        placed(0, ledger.index_leaves[0], ledger.index_tree.path(0, head.size)),
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


# -- effective lists: by the index's own claims -----------------------------------------------------------------------

STREAM = "acme.example/inference/stable"
STATUS, RELEASES = keys.status_key(STREAM), keys.release_key(STREAM)
NAMESPACE, POLICY = keys.namespace_key("acme.example"), keys.key(keys.Kind.LOG_POLICY)


def claim(ledger: Ledger, key: bytes, *positions: int, shown: int | None = None) -> Listed:
    """Elements of a list as the index holds it; those of entries from ``shown`` on come without them."""
    held = List(ledger.shown.lists.get(key, ()))
    size = len(ledger.entries)
    elements = []
    for position in positions:
        index = held.indices[position]
        entry = placed(index, ledger.entries[index], ledger.tree.path(index, size))
        elements.append(
            Element(
                str(position),
                str(index),
                tuple(b64(each) for each in held.prove(position)),
                entry if shown is None or index < shown else None,
            )
        )
    proof = ledger.shown.trie.prove_lookup(key)
    return claims.listed(key, held.value() if held.indices else None, proof, elements)


def statement_id(entry: bytes) -> str:
    return dsse.parse(entry).statement_id


def hidden_withdrawal(*, rotate: bool = False, freeze: bool = False) -> Ledger:
    """0 policy, 1 namespace, 2 release, 3 status, 4 rotation or freeze or junk, 5 the withdrawal that is left out."""
    ledger = Ledger(rewrite=hiding(5))
    release, policy = make.release_file(), make.log_policy_file()
    first = make.namespace_file()
    status = make.status_file(allowed=make.allowed(statement_id(release)))
    fourth = b"junk"
    if rotate:
        fourth = make.namespace_file(
            version=1,
            prev=statement_id(first),
            keys=(make.held(make.BUILD, Role.RELEASE), make.held(OTHER, *make.OWNER_ROLES)),
        )
    if freeze:
        fourth = make.log_policy_file(version=1, prev=statement_id(policy), frozen=Frozen(None))
    last = make.status_file(seq=1, prev=statement_id(status), allowed=make.allowed(statement_id(release)))
    for entry in (policy, first, release, status, fourth, last):
        ledger.append(entry)
    ledger.add_leaf(ledger.shown.root(), ledger.checkpoint())
    return ledger


OTHER = make.key("another owner")


def enough(ledger: Ledger) -> list[Listed]:
    return [claim(ledger, POLICY, 0), claim(ledger, NAMESPACE, 0), claim(ledger, STATUS, 0), claim(ledger, RELEASES, 0)]


def test_hidden_withdrawal_is_proven_by_the_index_itself() -> None:
    ledger = hidden_withdrawal()
    verdict = fault.verify(made(ledger, 5, 0, None, STATUS, enough(ledger)))
    assert (verdict.proven, verdict.omitted) == (True, (5, STATUS))


@pytest.mark.parametrize("lacking", [0, 1, 2, 3], ids=["log-policy", "namespace", "status", "release"])
def test_claims_that_lack_something_prove_nothing(lacking: int) -> None:
    ledger = hidden_withdrawal()
    claimed = enough(ledger)
    del claimed[lacking]
    with pytest.raises(VerificationError):
        fault.verify(made(ledger, 5, 0, None, STATUS, claimed))


def test_an_honest_index_cannot_be_framed_by_leaving_out_a_rotation() -> None:
    """The removed key's status is inert, so no list holds it; claims that end before the rotation are refused."""
    ledger = hidden_withdrawal(rotate=True)
    assert ledger.honest.lists[STATUS] == [3]
    assert ledger.honest.lists[NAMESPACE] == [1, 4]
    with pytest.raises(VerificationError, match="end before"):
        fault.verify(made(ledger, 5, 0, None, STATUS, enough(ledger)))
    claimed = enough(ledger)
    claimed[1] = claim(ledger, NAMESPACE, 0, 1)
    with pytest.raises(VerificationError, match="no effect"):
        fault.verify(made(ledger, 5, 0, None, STATUS, claimed))
    claimed[1] = claim(ledger, NAMESPACE, 1)
    with pytest.raises(VerificationError, match="skip"):
        fault.verify(made(ledger, 5, 0, None, STATUS, claimed))
    claimed[1] = claim(ledger, NAMESPACE, 0, 1, shown=4)
    with pytest.raises(VerificationError, match="lack"):
        fault.verify(made(ledger, 5, 0, None, STATUS, claimed))


def test_an_honest_index_cannot_be_framed_by_leaving_out_the_end_of_the_log() -> None:
    ledger = hidden_withdrawal(freeze=True)
    with pytest.raises(VerificationError, match="end before"):
        fault.verify(made(ledger, 5, 0, None, STATUS, enough(ledger)))
    claimed = enough(ledger)
    claimed[0] = claim(ledger, POLICY, 0, 1)
    with pytest.raises(VerificationError, match="no effect"):
        fault.verify(made(ledger, 5, 0, None, STATUS, claimed))


def test_claims_of_another_status_than_the_one_before_are_refused() -> None:
    ledger = hidden_withdrawal()
    claimed = [*enough(ledger), claim(ledger, STATUS, 0)]
    with pytest.raises(VerificationError):
        fault.verify(made(ledger, 5, 0, None, STATUS, claimed))


def test_hidden_rotation_is_proven_by_the_index_itself() -> None:
    ledger = Ledger(rewrite=hiding(2))
    first = make.namespace_file()
    for entry in (
        make.log_policy_file(),
        first,
        make.namespace_file(version=1, prev=statement_id(first), keys=(make.held(make.ACME, *make.OWNER_ROLES),)),
    ):
        ledger.append(entry)
    ledger.add_leaf(ledger.shown.root(), ledger.checkpoint())
    claimed = [claim(ledger, POLICY, 0), claim(ledger, NAMESPACE, 0)]
    verdict = fault.verify(made(ledger, 2, 0, None, NAMESPACE, claimed))
    assert (verdict.proven, verdict.omitted) == (True, (2, NAMESPACE))


def test_an_honest_index_cannot_be_framed_with_a_second_first_version() -> None:
    ledger = Ledger()
    for entry in (
        make.log_policy_file(),
        make.namespace_file(),
        make.namespace_file(keys=(make.held(make.ACME, *make.OWNER_ROLES),)),
    ):
        ledger.append(entry)
    ledger.add_leaf(ledger.shown.root(), ledger.checkpoint())
    assert ledger.honest.lists[NAMESPACE] == [1]
    with pytest.raises(VerificationError, match="lack the list"):
        fault.verify(made(ledger, 2, 0, None, NAMESPACE, [claim(ledger, POLICY, 0)]))
    with pytest.raises(VerificationError, match="no effect"):
        fault.verify(made(ledger, 2, 0, None, NAMESPACE, [claim(ledger, POLICY, 0), claim(ledger, NAMESPACE, 0)]))


def test_an_honest_index_cannot_be_framed_with_a_release_that_is_logged_again() -> None:
    ledger = Ledger()
    for entry in (
        make.log_policy_file(),
        make.namespace_file(),
        make.release_file(),
        make.release_file(make.ACME, make.BUILD),
    ):
        ledger.append(entry)
    ledger.add_leaf(ledger.shown.root(), ledger.checkpoint())
    assert ledger.honest.lists[RELEASES] == [2]
    with pytest.raises(VerificationError, match="cannot show"):
        fault.verify(made(ledger, 3, 0, None, RELEASES, [claim(ledger, POLICY, 0), claim(ledger, NAMESPACE, 0)]))


def test_who_knows_no_ed25519_key_of_the_log_accuses_nobody() -> None:
    """An index is built from what the log's Ed25519 key signs, whatever other keys a policy names."""
    ledger = Ledger(log_algorithms=(Algorithm.ED25519, Algorithm.ML_DSA_44))
    ledger.append(make.log_policy_file())
    ledger.add_leaf(ledger.shown.root(), ledger.checkpoint())
    known = [ledger.log[1].verifier]
    with pytest.raises(ConfigError, match="no Ed25519 key of the log"):
        fault.open_leaf(ledger.index_leaves[0], known, ledger.origin)
    text = ledger.index_checkpoint().body()
    accused = IndexFault(
        fault.SCHEMA,
        Cause.INPUT_KEY,
        tuple(str(signer.verifier) for signer in ledger.index_log),
        tuple(map(str, known)),
        note.encode(text, [ledger.index_log[0].sign(text, 0)]).decode(),
        placed(0, ledger.index_leaves[0], ()),
    )
    for main in (None, known):
        with pytest.raises(VerificationError, match="no Ed25519 key of the log"):
            fault.verify(accused, None, main)
