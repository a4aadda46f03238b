"""Each attack on a bundle is refused with a cause of its own; what proves misbehaviour is kept as evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from teelog import Check, Outcome, Overall, Seen, Verdict
from teelog.errors import MisbehaviourError
from teelog.index import contradiction
from teelog.index.contradiction import View
from teelog.testing import ledger
from teelog.testing.ledger import Ledger, hiding
from teelog.tlog import fork
from tests.appraisal.attacks import ATTACKS, Made, number_not_minimal
from tests.appraisal.story import NOW, STREAM, Story, current, judge, told
from tests.statement import make

FAILED = Outcome.FAILED


def refused(verdict: Verdict, check: Check, outcome: Outcome, cause: str) -> None:
    assert verdict[check].outcome is outcome, verdict
    assert cause in str(verdict[check].cause)
    failing = {finding.check for finding in verdict.findings if finding.outcome is FAILED}
    # Where nobody rebuilt the index, its quorum is not fresh either.
    assert failing - {Check.FRESH} == ({check} if outcome is FAILED else set()) - {Check.FRESH}, verdict
    assert verdict.overall is (Overall.FAILED if failing else Overall.NOT_ESTABLISHED)


@pytest.mark.parametrize(("attack", "check", "outcome", "cause"), ATTACKS, ids=[each[0].__name__ for each in ATTACKS])
def test_an_attack_is_refused_with_its_own_cause(
    attack: Callable[[], Made], check: Check, outcome: Outcome, cause: str
):
    bundle, trust = attack()
    refused(judge(bundle, trust), check, outcome, cause)


def test_the_non_minimal_number_is_the_only_thing_wrong_with_that_bundle():
    bundle, trust = number_not_minimal()
    first = bundle.status_lookup.trie_proof
    fixed = bytes([first[0] & 0x7F]) + first[2:]
    good = replace(bundle, status_lookup=replace(bundle.status_lookup, trie_proof=fixed))
    assert judge(good, trust).overall is Overall.VERIFIED


def test_a_bundle_with_an_older_seq_than_seen_is_refused():
    story, release = told()
    old = story.bundle(release)
    story.status(current(release))
    seen = judge(story.bundle(release), story.trust()).seen
    refused(judge(old, story.trust(), seen=seen), Check.ALLOWED_NOW, FAILED, "a newer status of the stream was seen")


def test_another_status_of_a_seq_that_was_seen_is_refused():
    story, release = told()
    bundle = story.bundle(release)
    seen = Seen(statuses={STREAM: (0, "ab" * 32)})
    refused(judge(bundle, story.trust(), seen=seen), Check.ALLOWED_NOW, FAILED, "another status 0 of the stream")


def test_junk_by_a_stolen_release_key_changes_no_set_and_no_bundle():
    story, release = told()
    before = len(story.bundle(release).encode())
    for number in range(10_000):
        story.append(make.release_file(version=f"9.{number}"))
    bundle = story.bundle(release)
    assert judge(bundle, story.trust()).overall is Overall.VERIFIED
    # Paths grow with the logarithm of the log's size, and nothing else grows.
    paths = 3 * 14 + 14
    assert len(bundle.encode()) - before <= 32 * paths + 33 * 2 * 4 + 64


# -- what proves misbehaviour ------------------------------------------------------------------------------------------


def test_an_input_of_the_same_size_and_another_root_proves_a_fork_of_the_log():
    story, release = told()
    bundle = story.bundle(release)
    other = Story()
    other.release("6.6.6")
    other.status(())
    led = story.ledger
    led.index_leaves.clear()
    led.index_tree = ledger.Tree()
    led.add_leaf(led.shown.root(), other.ledger.checkpoint())
    head = ledger.cosigned(led.index_checkpoint(), led.index_log, led.semantic, NOW)
    forged = replace(bundle, index_checkpoint=head, index_leaf=led.index_leaves[0], index_path=())
    with pytest.raises(MisbehaviourError) as caught:
        judge(forged, story.trust())
    assert caught.value.evidence is not None
    fork.verify_fork(fork.parse_fork(caught.value.evidence), [signer.verifier for signer in led.log])


def test_two_index_trees_of_one_size_prove_a_fork_of_the_index():
    honest, release = told()
    seen = judge(honest.bundle(release), honest.trust()).seen
    liar = Story(rewrite=hiding(2))
    liar.release("1.4.2")
    liar.status(())
    bundle = replace(honest.bundle(release), index_checkpoint=liar.publish(collude=True).index)
    with pytest.raises(MisbehaviourError) as caught:
        judge(bundle, honest.trust(), seen=seen)
    assert caught.value.evidence is not None
    keys_of_index = [signer.verifier for signer in honest.ledger.index_log]
    fork.verify_fork(fork.parse_fork(caught.value.evidence), keys_of_index)


def contradicts(caught: pytest.ExceptionInfo[MisbehaviourError], led: Ledger) -> str:
    """What the evidence proves by the index log's key alone."""
    assert caught.value.evidence is not None
    found = contradiction.parse(caught.value.evidence)
    assert found.encode() == caught.value.evidence
    said = contradiction.verify(found, [signer.verifier for signer in led.index_log])
    assert contradiction.verify(found, found.keys) == said
    return said


def test_two_leaves_for_one_checkpoint_with_other_roots_prove_that_the_index_lies():
    story, release = told()
    trust = story.trust()
    seen = judge(story.bundle(release), trust).seen
    led = story.ledger
    led.add_leaf(bytes(32), led.checkpoint())
    with pytest.raises(MisbehaviourError) as caught:
        judge(story.bundle(release, collude=True), trust, seen=seen)
    assert "two map roots" in contradicts(caught, led)


def test_a_list_that_became_shorter_proves_that_the_index_lies():
    """The withdrawal was seen; later the index hides it, its semantic quorum colluding."""
    story, release = told()
    story.status(())
    seen = judge(story.bundle(release), story.trust()).seen
    liar = Story(rewrite=hiding(4))
    liar.release("1.4.2")
    liar.status(current(release))
    liar.status(())
    assert liar.ledger.entries == story.ledger.entries
    liar.publish(collude=True)
    liar.release("1.4.4")
    bundle = liar.bundle(release, collude=True)
    assert judge(bundle, story.trust()).overall is Overall.VERIFIED, "who saw nothing is deceived by a colluding quorum"
    with pytest.raises(MisbehaviourError) as caught:
        judge(bundle, story.trust(), seen=seen)
    assert "a list of 2 elements has become one of 1" in contradicts(caught, liar.ledger)


def test_views_that_the_index_log_did_not_sign_accuse_nobody():
    story, release = told()
    bundle = story.bundle(release)
    seen = judge(bundle, story.trust()).seen
    assert seen is not None
    stranger = Story(origin="other.example/log")
    stranger.release("1.4.2")
    stranger.status(())
    view = stranger.publish(collude=True)
    path = bundle.index_path
    lies = {
        name: replace(
            View.parse(data), checkpoint=view.index, leaf=stranger.ledger.index_leaves[-1], path=path
        ).encode()
        for name, data in seen.views.items()
    }
    for views in (lies, dict.fromkeys(seen.views, b"garbage"), {}):
        verdict = judge(bundle, story.trust(), seen=replace(seen, views=views))
        assert verdict.overall is Overall.VERIFIED


def test_both_views_of_a_contradiction_must_hold_and_must_contradict():
    story, release = told()
    verdict = judge(story.bundle(release), story.trust())
    assert verdict.seen is not None
    view = View.parse(next(iter(verdict.seen.views.values())))
    log_keys = [signer.verifier for signer in story.ledger.index_log]
    with pytest.raises(contradiction.VerificationError, match="can be true"):
        contradiction.verify(contradiction.Contradiction(view, view), log_keys)
