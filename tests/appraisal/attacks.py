"""Bundles that attack their verifier, each with the trust file that it is aimed at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from teelog import Check, Outcome, Trust
from teelog.bundle import Bundle, Lookup
from teelog.index import keys
from teelog.keys import Algorithm
from teelog.statement.index_map import Mapped, MemoryState, map_entry
from teelog.statement.log_policy import Frozen
from teelog.statement.namespace import Role
from teelog.testing import ledger
from teelog.testing.ledger import Cosigner, hiding
from teelog.tlog import rfc6962
from tests.appraisal.story import LATER, NOW, PIN, STREAM, Story, current, told
from tests.statement import make

FAILED, OPEN = Outcome.FAILED, Outcome.NOT_ESTABLISHED
OTHER_STREAM = "acme.example/inference/beta"
Made = tuple[Bundle, Trust]


def with_status(bundle: Bundle, story: Story, place: int) -> Bundle:
    """The bundle with entry ``place`` in place of its status; the index says what it said."""
    return replace(bundle, status=story.publish().include(place))


# -- the index ---------------------------------------------------------------------------------------------------------


def left_out() -> Made:
    """The log hides the withdrawal from the list: no honest semantic witness finds the same root."""
    story = Story(rewrite=hiding(4))
    release = story.release("1.4.2")
    story.status(current(release))
    story.status(())
    return story.bundle(release), story.trust()


def old_leaf() -> Made:
    story, release = told()
    old = story.bundle(release)
    story.status(())
    new = story.bundle(release)
    return replace(old, index_checkpoint=new.index_checkpoint), story.trust()


def old_leaf_at_its_own_place() -> Made:
    story, release = told()
    story.publish()
    story.status(())
    new = story.bundle(release)
    _, second = story.ledger.index_tree.levels[0]
    # Its true path, as leaf 0 of 2.
    return replace(new, index_leaf=story.ledger.index_leaves[0], index_path=(second,)), story.trust()


def stalled_index() -> Made:
    story, release = told()
    story.publish()
    story.status(())
    return story.bundle(release, NOW, index=False), story.trust()


def stalled_index_with_its_old_main() -> Made:
    """Index and main checkpoint fit each other, yet only the index was cosigned again."""
    story, release = told()
    old = story.bundle(release, NOW - 90_000)
    story.status(())
    return replace(old, index_checkpoint=story.publish(NOW, index=False).index), story.trust()


def newer_index() -> Made:
    story, release = told()
    old = story.bundle(release)
    story.status(current(release))
    new = story.bundle(release)
    mixed = replace(old, index_checkpoint=new.index_checkpoint, index_leaf=new.index_leaf, index_path=new.index_path)
    return mixed, story.trust()


def no_semantic_quorum() -> Made:
    """The main log's witnesses, three of them, in place of semantic ones."""
    story, release = told()
    return story.bundle(release, index_by=story.ledger.witnesses), story.trust()


def semantic_policy_of_plain_witnesses() -> Made:
    """The policy asks for semantic witnesses; one of them and all plain ones have cosigned."""
    story, release = told()
    return story.bundle(release, index_by=(story.ledger.semantic[0], *story.ledger.witnesses)), story.trust()


def empty_index() -> Made:
    story, release = told()
    bundle = story.bundle(release)
    empty = ledger.cosigned(story.ledger.index_checkpoint(0), story.ledger.index_log, story.ledger.semantic, NOW)
    return replace(bundle, index_checkpoint=empty), story.trust()


def index_of_another_log() -> Made:
    story, release = told()
    other = Story(origin="other.example/log")
    return replace(story.bundle(release), index_checkpoint=other.publish().index), story.trust()


def main_log_as_its_own_index() -> Made:
    story, release = told()
    bundle = story.bundle(release)
    return replace(bundle, index_checkpoint=bundle.main_checkpoint), story.trust()


def index_with_extension_lines() -> Made:
    story, release = told()
    led = story.ledger
    bundle = story.bundle(release)
    extended = replace(led.index_checkpoint(), extensions=("extension",))
    signed = ledger.cosigned(extended, led.index_log, led.semantic, NOW)
    return replace(bundle, index_checkpoint=signed), story.trust()


def bad_line_of_a_semantic_witness() -> Made:
    """One of three lines fails: the other two would be a quorum, and the checkpoint is refused all the same."""
    story, release = told()
    bundle = story.bundle(release)
    lines = story.publish(NOW + 1).index.split(b"\n")
    forged = bundle.index_checkpoint.split(b"\n")
    signature = lines[-2][-20:]
    forged[-2] = forged[-2][:-20] + signature
    return replace(bundle, index_checkpoint=b"\n".join(forged)), story.trust()


def policy_without_semantic_witnesses() -> Made:
    story, release = told()
    text = f"log {story.ledger.index_log[0].verifier}\nquorum none\n".encode()
    return story.bundle(release), story.trust(policies={ledger.INDEX_POLICY: text})


def leaf_of_another_input() -> Made:
    """The leaf's note is of a tree that the log never had: its line does not verify."""
    story, release = told()
    led = story.ledger
    bundle = story.bundle(release)
    leaf = bundle.index_leaf.replace(b"\n4\n", b"\n5\n")
    led.index_tree = ledger.Tree()
    led.index_tree.append(rfc6962.leaf_hash(leaf))
    signed = ledger.cosigned(led.index_checkpoint(1), led.index_log, led.semantic, NOW)
    return replace(bundle, index_leaf=leaf, index_checkpoint=signed), story.trust()


def two_keys_of_one_operator() -> Made:
    both = (Algorithm.ED25519, Algorithm.ML_DSA_44)
    story = Story(semantic=[Cosigner.of(f"semantic.example/s{n}", both) for n in range(3)])
    release = story.release("1.4.2")
    story.status(current(release))
    return story.bundle(release, index_by=story.ledger.semantic[:1]), story.trust()


def not_minimal(lookup: Lookup) -> Lookup:
    first = lookup.trie_proof[0]
    assert first < 0x80, "a short number is made longer here"
    return replace(lookup, trie_proof=bytes([first | 0x80, 0]) + lookup.trie_proof[1:])


def number_not_minimal() -> Made:
    story, release = told()
    bundle = story.bundle(release)
    return replace(bundle, status_lookup=not_minimal(bundle.status_lookup)), story.trust()


def another_keys_value() -> Made:
    story, release = told()
    bundle = story.bundle(release)
    return replace(bundle, status_lookup=story.publish().lookup(keys.release_key(STREAM))), story.trust()


# -- the status --------------------------------------------------------------------------------------------------------


def of_another_stream() -> Made:
    story, release = told()
    story.status((), stream=OTHER_STREAM)
    bundle = story.bundle(release)
    lookup = story.publish().lookup(keys.status_key(OTHER_STREAM))
    return replace(with_status(bundle, story, 4), status_lookup=lookup), story.trust()


def of_another_log() -> Made:
    story, release = told()
    story.append(make.status_file(log="other.example/log", allowed=current(release)))
    return with_status(story.bundle(release), story, 4), story.trust()


def two_of_one_seq() -> Made:
    story, release = told()
    story.append(make.status_file(allowed=current(release), reason="another first one"))
    return with_status(story.bundle(release), story, 4), story.trust()


def prev_not_the_head() -> Made:
    story, release = told()
    story.append(make.status_file(seq=1, prev="ab" * 32, allowed=current(release)))
    return with_status(story.bundle(release), story, 4), story.trust()


def an_older_status() -> Made:
    story, release = told()
    story.status(())
    return with_status(story.bundle(release), story, 3), story.trust()


def entered(entry: bytes, index: int, mapped: Mapped) -> Mapped:
    """A lying map function: whatever names the stream is in its list of statuses."""
    if b"status:v1" in make.dsse.parse(entry).claimed():
        return replace(mapped, keys=tuple(sorted({*mapped.keys, keys.status_key(STREAM)})))
    return mapped


def seq_beside_its_place() -> Made:
    """The semantic quorum colludes, and still the status says that it is another's."""
    story = Story(rewrite=entered)
    release = story.release("1.4.2")
    story.status(current(release))
    story.append(make.status_file(seq=7, prev="ab" * 32, allowed=current(release)))
    return story.bundle(release, collude=True), story.trust()


def not_listed() -> Made:
    story, release = told()
    other = story.release("1.4.3")
    del release
    return story.bundle(other), story.trust()


def logged_after_its_status() -> Made:
    """A colluding index lets a status list what is not logged yet."""
    story = Story(rewrite=entered)
    release = make.release_file(version="1.4.2")
    story.status(current(make.admit.classify(release).statement_id))
    return story.bundle(story.append(release), collude=True), story.trust()


def closed() -> Made:
    story, release = told()
    story.append(make.status_file(
        seq=1, prev=story.statuses[STREAM][0], allowed=make.status.msgspec.UNSET,
        closed=make.status.Closed("new.example/log"), next_update="2026-10-15T00:00:00Z",
    ))  # fmt: skip
    return story.bundle(release), story.trust()


# -- the namespace -----------------------------------------------------------------------------------------------------


def copied_to_a_second_log() -> Made:
    """Its semantic quorum colludes; the namespace says on which log it speaks."""
    state = MemoryState(ledger.ORIGIN)

    def elsewhere(entry: bytes, index: int, _: Mapped) -> Mapped:
        mapped = map_entry(entry, index, state)
        if mapped.effect is not None:
            state.apply(mapped.effect)
        return mapped

    story = Story(origin="second.example/log", rewrite=elsewhere)
    story.append(make.log_policy_file())
    release = story.release("1.4.2")
    story.status(current(release), log=ledger.ORIGIN)
    return story.bundle(release, collude=True), story.trust()


ROTATED_KEYS = (make.held(make.STRANGER, Role.STATUS), make.held(make.ACME, Role.OWNER, Role.RELEASE))


def rotated() -> tuple[Story, str]:
    """The status key is another one from version 1 on; the status is by the old one."""
    story, release = told()
    story.namespaces.append(story.append(make.namespace_file(version=1, prev=PIN, keys=ROTATED_KEYS)))
    return story, release


def skips_the_pin() -> Made:
    story, release = rotated()
    story.status(current(release), make.STRANGER)
    bundle = story.bundle(release)
    return replace(bundle, namespaces=bundle.namespaces[1:]), story.trust()


def ends_before_the_current_version() -> Made:
    """With version 0 as the last one, the removed key would still be in force."""
    story, release = rotated()
    bundle = story.bundle(release)
    return replace(bundle, namespaces=bundle.namespaces[:1]), story.trust()


def status_by_a_removed_key() -> Made:
    story, release = rotated()
    return story.bundle(release), story.trust()


def release_by_a_removed_key() -> Made:
    story, release = told()
    keys_now = (make.held(make.ACME, Role.OWNER, Role.STATUS), make.held(make.STRANGER, Role.RELEASE))
    story.append(make.namespace_file(version=1, prev=PIN, keys=keys_now))
    story.status(current(release))
    return story.bundle(release), story.trust()


# -- time --------------------------------------------------------------------------------------------------------------


def from_the_future() -> Made:
    story, release = told()
    return story.bundle(release, NOW + LATER + 301), story.trust()


def index_from_the_future() -> Made:
    story, release = told()
    bundle = story.bundle(release)
    return replace(bundle, index_checkpoint=story.publish(NOW + LATER + 301).index), story.trust()


def frozen_and_cosigned_again() -> Made:
    """After a move the main log's witnesses go on; the semantic ones have seen the last log policy and stopped."""
    story, release = told()
    before = story.bundle(release, NOW - 90_000)
    policy = make.admit.classify(story.ledger.entries[0]).statement_id
    story.append(make.log_policy_file(version=1, prev=policy, frozen=Frozen("new.example/log")))
    assert story.ledger.frozen
    head = ledger.cosigned(story.ledger.checkpoint(4), story.ledger.log, story.ledger.witnesses, NOW)
    return replace(before, main_checkpoint=head), story.trust()


def frozen_and_indexed_no_more() -> Made:
    story, release = told()
    policy = make.admit.classify(story.ledger.entries[0]).statement_id
    story.append(make.log_policy_file(version=1, prev=policy, frozen=Frozen(None)))
    return story.bundle(release), story.trust()


ATTACKS: list[tuple[Callable[[], Made], Check, Outcome, str]] = [
    (left_out, Check.ALLOWED_NOW, FAILED, "too few semantic witnesses have rebuilt"),
    (old_leaf, Check.ALLOWED_NOW, FAILED, "index leaf is not the last one"),
    (old_leaf_at_its_own_place, Check.ALLOWED_NOW, FAILED, "index leaf is not the last one"),
    (stalled_index, Check.ALLOWED_NOW, OPEN, "ends before the log does: it covers 4 of 5"),
    (stalled_index_with_its_old_main, Check.FRESH, FAILED, "too few witnesses have cosigned the checkpoint"),
    (newer_index, Check.ALLOWED_NOW, FAILED, "another checkpoint than the bundle's"),
    (no_semantic_quorum, Check.ALLOWED_NOW, FAILED, "too few semantic witnesses have rebuilt"),
    (semantic_policy_of_plain_witnesses, Check.ALLOWED_NOW, FAILED, "too few semantic witnesses have rebuilt"),
    (empty_index, Check.ALLOWED_NOW, FAILED, "holds nothing yet"),
    (index_of_another_log, Check.ALLOWED_NOW, FAILED, "of a log that the policy does not list"),
    (main_log_as_its_own_index, Check.ALLOWED_NOW, FAILED, "of a log that the policy does not list"),
    (index_with_extension_lines, Check.ALLOWED_NOW, FAILED, "extension lines"),
    (bad_line_of_a_semantic_witness, Check.ALLOWED_NOW, FAILED, "signature does not verify"),
    (policy_without_semantic_witnesses, Check.ALLOWED_NOW, OPEN, "asks for no semantic witness"),
    (leaf_of_another_input, Check.ALLOWED_NOW, FAILED, "signature does not verify"),
    (two_keys_of_one_operator, Check.ALLOWED_NOW, FAILED, "too few semantic witnesses have rebuilt"),
    (number_not_minimal, Check.ALLOWED_NOW, FAILED, "for the status: "),
    (another_keys_value, Check.ALLOWED_NOW, FAILED, "does not hold what is given for the status"),
    (of_another_stream, Check.ALLOWED_NOW, FAILED, "status is of another stream"),
    (of_another_log, Check.ALLOWED_NOW, FAILED, "status is for another log"),
    (two_of_one_seq, Check.ALLOWED_NOW, FAILED, "status given is not the last one"),
    (prev_not_the_head, Check.ALLOWED_NOW, FAILED, "status given is not the last one"),
    (an_older_status, Check.ALLOWED_NOW, FAILED, "status given is not the last one"),
    (seq_beside_its_place, Check.ALLOWED_NOW, FAILED, "seq does not suit its place"),
    (not_listed, Check.ALLOWED_NOW, FAILED, "the release is not allowed"),
    (logged_after_its_status, Check.ALLOWED_NOW, FAILED, "logged after the status that lists it"),
    (closed, Check.ALLOWED_NOW, FAILED, "closed on this log"),
    (copied_to_a_second_log, Check.LOGGED, FAILED, "speaks on another log"),
    (skips_the_pin, Check.SIGNER, FAILED, "is the pinned one"),
    (ends_before_the_current_version, Check.ALLOWED_NOW, FAILED, "namespace given is not the last one"),
    (status_by_a_removed_key, Check.SIGNER, FAILED, "the status: too few signatures by status keys"),
    (release_by_a_removed_key, Check.SIGNER, FAILED, "too few signatures by release keys"),
    (from_the_future, Check.FRESH, FAILED, "too few witnesses have cosigned the checkpoint"),
    (index_from_the_future, Check.FRESH, FAILED, "too few semantic witnesses have cosigned the index"),
    (frozen_and_cosigned_again, Check.FRESH, FAILED, "too few semantic witnesses have cosigned the index"),
    (frozen_and_indexed_no_more, Check.ALLOWED_NOW, FAILED, "too few semantic witnesses have rebuilt"),
]  # fmt: skip
