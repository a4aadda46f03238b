"""What earlier appraisals saw: it grows, it is compared, and where it counts for nothing that is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from teelog.appraisal.inputs import LoggedFile, Seen, SeenCheckpoint
from teelog.errors import MisbehaviourError
from teelog.tlog import fork
from teelog.verdict import Check, Overall
from tests.appraisal.case import NAMESPACE, PIN, Case
from tests.client import logs

GOOD = Case()
IMPOSTOR = logs.NoteSigner.of(logs.ORIGIN, logs.SignatureType.ED25519, logs.key("impostor"))


def test_what_was_seen_grows_and_is_compared():
    first = replace(GOOD, entries=GOOD.entries[:-1]).appraise()
    assert first.seen is not None
    assert first.seen.checkpoints[logs.ORIGIN].size == 4
    second = replace(GOOD, seen=first.seen).appraise()
    assert second.seen is not None
    assert second.seen.checkpoints[logs.ORIGIN].size == 5
    again = replace(GOOD, entries=GOOD.entries[:-1], seen=second.seen).appraise()
    assert again.overall is Overall.VERIFIED_WITH_WAIVERS
    assert again.seen == second.seen


def test_a_log_that_signed_two_trees_of_one_size_is_caught_with_a_proof():
    seen = GOOD.appraise().seen
    assert seen is not None
    other = replace(GOOD, entries=(*GOOD.entries[:-1], b"instead"), seen=seen)
    with pytest.raises(MisbehaviourError) as caught:
        other.appraise()
    assert caught.value.evidence is not None
    fork.verify_fork(fork.parse_fork(caught.value.evidence), [logs.LOG.verifier])


def test_two_trees_of_one_size_among_the_proofs_are_caught():
    other = (*GOOD.entries[:-1], b"instead")
    with pytest.raises(MisbehaviourError):
        replace(GOOD, more={"namespaces": (LoggedFile(NAMESPACE, logs.proof(other, 1)),)}).appraise()


OTHER = logs.head((*GOOD.entries[:-1], b"instead"))
LARGER = logs.head((*GOOD.entries, b"more"))
BAD_MEMORIES = {
    "another's signature": SeenCheckpoint(OTHER.size, OTHER.root, logs.sign(OTHER, log=IMPOSTOR)),
    "garbage": SeenCheckpoint(OTHER.size, OTHER.root, b"garbage"),
    "larger garbage": SeenCheckpoint(1 << 40, OTHER.root, b"garbage"),
    "another checkpoint's note": SeenCheckpoint(OTHER.size, OTHER.root, logs.sign(LARGER)),
}


@pytest.mark.parametrize("name", BAD_MEMORIES)
def test_a_memory_that_the_log_did_not_sign_accuses_nobody_and_is_told(name: str):
    seen = Seen({logs.ORIGIN: BAD_MEMORIES[name]}, {"acme.example": (0, PIN)})
    verdict = replace(GOOD, seen=seen).appraise()
    assert verdict.overall is Overall.VERIFIED_WITH_WAIVERS
    assert "that was seen before counts for nothing" in verdict[Check.WITNESSED].details[-1]
    # It blocks nothing either: the next memory is a good one.
    assert verdict.seen is not None
    assert verdict.seen.checkpoints[logs.ORIGIN].root == logs.head(GOOD.entries).root
    assert verdict.seen.namespaces == {"acme.example": (0, PIN)}


def test_a_good_memory_is_not_doubted():
    for head in (logs.head(GOOD.entries), LARGER):
        seen = Seen({logs.ORIGIN: SeenCheckpoint(head.size, head.root, logs.sign(head))})
        verdict = replace(GOOD, seen=seen).appraise()
        assert len(verdict[Check.WITNESSED].details) == 1
        assert verdict.seen is not None
        assert verdict.seen.checkpoints[logs.ORIGIN].size == head.size


def test_an_unwitnessed_checkpoint_is_not_remembered():
    few = logs.sign(logs.head(GOOD.entries), logs.WITNESSES[:1])
    verdict = replace(GOOD, signed=few).appraise()
    assert verdict.seen is not None
    assert verdict.seen.checkpoints == {}
