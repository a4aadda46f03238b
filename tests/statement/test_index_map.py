"""The map function: what has an effect, what is inert, and what stands where all the same (protocol section 4)."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from teelog.errors import VerificationError
from teelog.index import keys
from teelog.index.keys import Kind
from teelog.statement import admit, dsse, ear, index_map, jws, log_policy, namespace, release, status
from teelog.statement.intoto import Subject
from teelog.statement.namespace import Role
from teelog.statement.status import Closed, Revoked
from tests.statement import make
from tests.statement.replay import STREAM, Replay, kinds, signers

OWNER, OPERATOR = make.key("owner"), make.key("operator")
RELEASER = make.key("releaser")
KEEPERS = tuple(make.key(f"keeper {n}") for n in range(3))
"""Hold the role status; two of the three have to sign."""
OTHER = "acme.example/inference/beta"

POLICY = make.log_policy_file(OPERATOR, operators=(OPERATOR.public.to_pem().decode(),))
KEYS = (
    make.held(OWNER, Role.OWNER),
    make.held(RELEASER, Role.RELEASE),
    *(make.held(keeper, Role.STATUS) for keeper in KEEPERS),
)
THRESHOLDS = {Role.OWNER: 1, Role.RELEASE: 1, Role.STATUS: 2}
SPACE: dict[str, Any] = {"keys": KEYS, "thresholds": THRESHOLDS}
FIRST = make.namespace_file(OWNER, **SPACE)


def identity(file: bytes) -> str:
    return admit.classify(file).statement_id


def logged_release(version: str = "1.4.2", *signers_: Any, **changes: Any) -> bytes:
    return make.release_file(*(signers_ or (RELEASER,)), version=version, **changes)


def state(*signers_: Any, after: bytes | None = None, allow: tuple[bytes, ...] = (), **changes: Any) -> bytes:
    """A status by two keepers, or by ``signers_``, that follows the one in ``after``."""
    members: dict[str, Any] = {"allowed": make.allowed(*map(identity, allow))}
    if after is not None:
        before = admit.classify(after)
        assert isinstance(before.predicate, status.StatusPredicate)
        members |= {"seq": before.predicate.seq + 1, "prev": before.statement_id}
    return make.status_file(*(signers_ or KEEPERS[:2]), **members | changes)


def later(*signers_: Any, after: bytes = FIRST, **changes: Any) -> bytes:
    before = admit.classify(after)
    assert isinstance(before.predicate, namespace.NamespacePredicate)
    members = {**SPACE, "version": before.predicate.version + 1, "prev": before.statement_id}
    return make.namespace_file(*(signers_ or (OWNER,)), **members | changes)


RELEASE = logged_release()


@pytest.fixture
def log() -> Replay:
    """Entries 0 to 2: the policy, the namespace, one release."""
    return Replay([POLICY, FIRST, RELEASE])


def refused(log: Replay, entry: bytes, why: str) -> None:
    """The entry is inert because of ``why``, and in no effective list."""
    before = log.effective()
    mapped = log.add(entry)
    assert mapped.effect is None
    assert mapped.why_inert is not None
    assert why in mapped.why_inert
    assert log.effective() == before


def takes_effect(log: Replay, entry: bytes) -> None:
    mapped = log.add(entry)
    assert mapped.effect is not None, mapped.why_inert
    assert mapped.effect.key in mapped.keys
    assert mapped.why_inert is None


# -- keys -------------------------------------------------------------------------------------------------------------


def test_what_stands_where(log: Replay) -> None:
    assert [kinds(mapped) for mapped in log.mapped] == [
        ["log-policy", "signer"],
        ["namespace", "signer"],
        ["register", "release", "signer", "subject"],
    ]
    assert log.mapped[2].keys == (
        keys.key(Kind.REGISTER, "sev-snp", "measurement", make.MEASUREMENT),
        keys.release_key(STREAM),
        keys.key(Kind.SIGNER, RELEASER.public.fingerprint),
        keys.key(Kind.SUBJECT, "sha256", hashlib.sha256(b"a disk image").hexdigest()),
    )
    mapped = log.add(state(revoked=(Revoked("77" * 32, "CVE-2026-1"),)))
    assert mapped.keys == (
        keys.key(Kind.ABOUT, "77" * 32),
        *sorted(keys.key(Kind.SIGNER, keeper.public.fingerprint) for keeper in KEEPERS[:2]),
        keys.status_key(STREAM),
    )


def test_keys_are_distinct_sorted_and_registers_left_open_have_none(log: Replay) -> None:
    tdx = {"mrtd": "d1" * 48, "rtmr0": "any", "rtmr1": "d3" * 48, "rtmr2": "d1" * 48}
    variants = (make.variant(), make.variant(when={}), make.variant(platform="tdx", registers=tdx, require={}))
    mapped = log.add(logged_release("2", variants=variants))
    assert list(mapped.keys) == sorted(set(mapped.keys))
    assert kinds(mapped).count("register") == 4


def test_inert_release_keeps_its_registers_and_subjects_but_no_signer(log: Replay) -> None:
    mapped = log.add(logged_release("2", make.STRANGER))
    assert kinds(mapped) == ["register", "subject"]


def test_signer_is_who_has_signed_and_not_who_the_entry_names(log: Replay) -> None:
    both = dsse.parse(logged_release("2", RELEASER, make.STRANGER))
    assert signers(log.add(both.file)) == {RELEASER.public.fingerprint}
    wrong = dsse.parse(logged_release("3"))
    forged = dsse.encode(dsse.PAYLOAD_TYPE, both.claimed(), wrong.signatures)
    assert signers(log.add(forged.file)) == set()


def test_entry_of_another_role_or_another_log_still_stands_under_its_signer(log: Replay) -> None:
    assert signers(log.add(logged_release("2", KEEPERS[0]))) == {KEEPERS[0].public.fingerprint}
    assert signers(log.add(state(log="log.example/tee2"))) == {k.public.fingerprint for k in KEEPERS[:2]}


def test_more_than_256_keys_are_none_at_all() -> None:
    digests = {f"x{n}": "ab" for n in range(85)}
    subjects = tuple(Subject(f"{n}", dict.fromkeys(digests, f"{n:02x}")) for n in range(3))
    file = make.sign(release.payload(make.release_predicate(variants=(make.variant(),)), subjects), RELEASER).file
    mapped = Replay([POLICY, FIRST]).add(file)
    assert mapped.keys == ()
    assert mapped.effect is None


def test_exactly_256_keys_are_all_there() -> None:
    subjects = tuple(Subject("x", {f"x{n}": f"{part:02x}" for n in range(250 if part else 3)}) for part in range(2))
    file = make.sign(release.payload(make.release_predicate(), subjects), RELEASER).file
    log = Replay([POLICY, FIRST])
    assert len(log.add(file).keys) == 256
    assert log.mapped[-1].effect is not None
    assert log.effective()[keys.release_key(STREAM)] == 1


# -- namespaces and policies ------------------------------------------------------------------------------------------


def test_rotation_takes_effect_for_the_next_entry(log: Replay) -> None:
    renewed = make.key("renewed")
    moved = (*KEYS[:1], make.held(renewed, Role.RELEASE), *KEYS[2:])
    takes_effect(log, later(keys=moved))
    refused(log, logged_release("2"), "none of the keys")
    takes_effect(log, logged_release("2", renewed))


def test_removed_status_key_signs_nothing_more(log: Replay) -> None:
    takes_effect(log, state(allow=(RELEASE,)))
    takes_effect(log, later(keys=KEYS[:-3] + KEYS[-2:]))  # without the first keeper
    refused(log, state(KEEPERS[0], KEEPERS[1], after=log.entries[3]), "none of the keys")
    takes_effect(log, state(KEEPERS[1], KEEPERS[2], after=log.entries[3]))


def test_until_ends_a_key_at_its_index(log: Replay) -> None:
    kept = (*KEYS[:1], make.held(RELEASER, Role.RELEASE, until=5), *KEYS[2:])
    takes_effect(log, later(keys=kept))  # entry 3
    takes_effect(log, logged_release("2"))  # entry 4
    refused(log, logged_release("3"), "too few signatures")  # entry 5
    assert signers(log.add(logged_release("4"))) == {RELEASER.public.fingerprint}


def test_namespace_that_does_not_follow_is_inert(log: Replay) -> None:
    second = later()
    refused(log, later(make.STRANGER), "none of the keys")
    refused(log, later(RELEASER), "too few signatures")
    refused(log, later(prev="ab" * 32), "does not follow")
    refused(log, later(version=2), "does not follow")
    refused(log, later(log="log.example/tee2"), "another log")
    takes_effect(log, second)
    refused(log, second, "does not follow")
    refused(log, later(keys=KEYS[:1], thresholds={Role.OWNER: 1}), "does not follow")
    takes_effect(log, later(after=second))


def test_new_chain_beside_one_in_force_is_inert_whatever_it_replaces(log: Replay) -> None:
    thief: dict[str, Any] = {"keys": (make.held(make.STRANGER, *make.OWNER_ROLES),), "thresholds": {
        Role.OWNER: 1, Role.RELEASE: 1, Role.STATUS: 1}}  # fmt: skip
    for replaces in (None, identity(FIRST), "ab" * 32):
        refused(log, make.namespace_file(make.STRANGER, replaces=replaces, **thief), "does not follow")
    refused(log, logged_release("2", make.STRANGER), "none of the keys")
    takes_effect(log, logged_release("2"))


def test_recovered_chain_starts_on_a_log_that_has_none() -> None:
    log = Replay([POLICY])
    takes_effect(log, make.namespace_file(OWNER, replaces="ab" * 32, **SPACE))


def test_nothing_takes_effect_without_its_namespace() -> None:
    log = Replay([POLICY])
    refused(log, RELEASE, "no version in force")
    refused(log, state(), "no version in force")
    takes_effect(log, FIRST)
    takes_effect(log, RELEASE)


def test_log_policy_is_entry_0_or_follows() -> None:
    log = Replay([FIRST])
    refused(log, POLICY, "entry 0")
    log = Replay([POLICY])
    refused(log, POLICY, "does not follow")
    following: dict[str, Any] = {"version": 1, "prev": identity(POLICY), "frozen": log_policy.Frozen(None)}
    refused(log, make.log_policy_file(make.STRANGER, **following), "none of the keys")
    named = make.STRANGER.public.to_pem().decode()
    refused(log, make.log_policy_file(make.STRANGER, operators=(named,), **following), "none of the keys")
    takes_effect(log, FIRST)


def test_policy_of_another_log_is_inert() -> None:
    refused(Replay(), make.log_policy_file(log="log.example/tee2"), "another log")


def test_nothing_takes_effect_after_a_frozen_policy(log: Replay) -> None:
    operators = (OPERATOR.public.to_pem().decode(),)
    takes_effect(log, state(allow=(RELEASE,)))
    frozen = make.log_policy_file(
        OPERATOR, operators=operators, version=1, prev=identity(POLICY), frozen=log_policy.Frozen(None)
    )
    takes_effect(log, frozen)
    thawed = make.log_policy_file(OPERATOR, operators=operators, version=2, prev=identity(frozen))
    for entry in (state(after=log.entries[3]), logged_release("2"), later(), thawed, frozen):
        refused(log, entry, "frozen")
    assert "register" in kinds(log.add(logged_release("3")))


# -- releases ---------------------------------------------------------------------------------------------------------


def test_one_statement_enters_its_list_once(log: Replay) -> None:
    two = (*KEYS, make.held(make.key("second releaser"), Role.RELEASE))
    takes_effect(log, later(keys=two))
    payload = dsse.parse(RELEASE).claimed()
    again = make.sign(payload, RELEASER, make.key("second releaser")).file
    assert identity(again) == identity(RELEASE)
    refused(log, again, "logged before")
    refused(log, RELEASE, "logged before")


def test_release_for_a_stream_of_another_namespace_is_inert(log: Replay) -> None:
    takes_effect(log, make.namespace_file(make.ACME, namespace="other.example"))
    refused(log, logged_release("2", stream="other.example/inference/stable"), "none of the keys")
    takes_effect(log, logged_release("2", make.ACME, stream="other.example/inference/stable"))


def test_release_threshold() -> None:
    pair = (make.held(OWNER, Role.OWNER), make.held(RELEASER, Role.RELEASE), make.held(make.BUILD, Role.RELEASE))
    log = Replay([POLICY, make.namespace_file(OWNER, keys=pair, thresholds={Role.OWNER: 1, Role.RELEASE: 2})])
    refused(log, logged_release("1"), "too few signatures")
    takes_effect(log, logged_release("2", RELEASER, make.BUILD))


# -- statuses ---------------------------------------------------------------------------------------------------------


def test_chain_of_statuses(log: Replay) -> None:
    first = state(allow=(RELEASE,))
    takes_effect(log, first)
    second = state(after=first)
    takes_effect(log, second)
    head = log.state.status(STREAM)
    assert head == status.StatusHead(identity(second), 1, closed=False)
    assert log.effective()[keys.status_key(STREAM)] == 2


def test_two_of_three_one_stolen_key_cannot_act(log: Replay) -> None:
    refused(log, state(KEEPERS[0]), "too few signatures")
    refused(log, state(KEEPERS[0], RELEASER), "too few signatures")
    refused(log, state(KEEPERS[0], make.STRANGER), "none of the keys")
    takes_effect(log, state(KEEPERS[0], KEEPERS[2]))


def test_A_40_stolen_key_that_signs_twice_maps_to_nothing(log: Replay) -> None:
    once = dsse.parse(state(KEEPERS[0]))
    wire = msgspec.json.decode(once.file)
    wire["signatures"] *= 2
    mapped = log.add(msgspec.json.encode(wire))
    assert (mapped.keys, mapped.effect) == ((), None)


def test_of_two_statuses_of_one_seq_the_first_counts(log: Replay) -> None:
    first = state(allow=(RELEASE,))
    takes_effect(log, first)
    one, other = state(after=first, reason="one"), state(after=first, reason="other")
    takes_effect(log, one)
    refused(log, other, "does not follow")
    refused(log, one, "does not follow")
    refused(log, state(after=other), "does not follow")
    takes_effect(log, state(after=one))


def test_status_whose_prev_or_seq_is_not_the_heads_is_inert(log: Replay) -> None:
    takes_effect(log, state())
    first = log.entries[-1]
    refused(log, state(after=first, prev="ab" * 32), "does not follow")
    refused(log, state(after=first, seq=2), "does not follow")
    refused(log, state(reason="again"), "does not follow")
    takes_effect(log, state(after=first))


def test_status_may_allow_effective_releases_of_its_own_stream_only(log: Replay) -> None:
    beta, unlogged = logged_release("2", stream=OTHER), logged_release("9")
    inert = logged_release("3", make.STRANGER)
    takes_effect(log, beta)
    refused(log, inert, "none of the keys")
    for other in (beta, unlogged, inert):
        refused(log, state(allow=(RELEASE, other)), "no release of its stream")
    takes_effect(log, state(allow=(RELEASE,)))
    takes_effect(log, state(allow=(beta,), stream=OTHER))


def test_release_logged_after_a_status_does_not_bring_it_to_life(log: Replay) -> None:
    late = logged_release("9")
    first = state(allow=(late,))
    refused(log, first, "no release of its stream")
    takes_effect(log, late)
    takes_effect(log, first)


def test_another_logs_or_another_streams_status_is_inert_here(log: Replay) -> None:
    refused(log, state(log="log.example/tee2", allow=(RELEASE,)), "another log")
    takes_effect(log, state(allow=(RELEASE,)))
    refused(log, state(stream=OTHER, allow=(RELEASE,)), "no release of its stream")
    refused(log, state(after=log.entries[3 + 1], stream=OTHER), "does not follow")
    takes_effect(log, state(stream=OTHER))


def test_closed_stream_stays_closed_and_its_neighbour_open(log: Replay) -> None:
    closed = state(allowed=msgspec.UNSET, closed=Closed("log.example/tee2"))
    takes_effect(log, closed)
    refused(log, state(after=closed, allow=(RELEASE,)), "closed")
    refused(log, state(allow=(RELEASE,)), "closed")
    takes_effect(log, state(stream=OTHER))


def test_withdrawal_of_everything_takes_effect(log: Replay) -> None:
    first = state(allow=(RELEASE,))
    takes_effect(log, first)
    takes_effect(log, state(after=first, revoked=(Revoked(identity(RELEASE), "CVE-2026-1"),)))
    assert log.lists[keys.key(Kind.ABOUT, identity(RELEASE))].value().count == 1


def test_time_has_no_part_in_it(log: Replay) -> None:
    """A status whose next_update is long past takes effect: that is for verifiers to judge."""
    takes_effect(log, state(next_update="1970-01-01T00:00:00Z"))
    takes_effect(log, state(after=log.entries[3], next_update="9999-12-31T23:59:59Z"))


# -- results ----------------------------------------------------------------------------------------------------------


def result(signer: Any, **judged: Any) -> bytes:
    claims = msgspec.json.decode(make_result())
    claims[ear.CLAIM] |= judged
    return jws.sign(msgspec.json.encode(claims), signer, "eat+jwt").file


def make_result() -> bytes:
    claim = {"verdict": "verified", "stream": STREAM, "release": "ab" * 32, "namespaces": ["cd" * 32, "ef" * 32]}
    return msgspec.json.encode(
        {
            "eat_profile": ear.PROFILE,
            "iss": "acme.example",
            "iat": 1_790_000_000,
            "ear_verifier_id": {"developer": "urn:example", "build": "1"},
            "submods": {"sev-snp": {"ear_status": "affirming"}},
            ear.CLAIM: {**claim, "checkpoint": None, "checks": {}, "as_of": None},
        }
    )


def test_result_stands_under_what_it_names_and_who_signed_it(log: Replay) -> None:
    checker = make.key("checker")
    takes_effect(log, later(keys=(*KEYS, make.held(checker, Role.RESULT)), thresholds={**THRESHOLDS, Role.RESULT: 1}))
    mapped = log.add(result(checker, evidence={"sha256": "0e" * 32}))
    assert (mapped.effect, mapped.why_inert) == (None, None)
    assert mapped.keys == (
        *(keys.key(Kind.ABOUT, named * 32) for named in ("ab", "cd", "ef")),
        keys.key(Kind.EVIDENCE, "sha256", "0e" * 32),
        keys.key(Kind.SIGNER, checker.public.fingerprint),
    )
    assert signers(log.add(result(make.STRANGER))) == set()


@pytest.mark.parametrize(
    "judged",
    [
        {"release": ""},
        {"release": "AB" * 32},
        {"evidence": {}},
        {"evidence": {"sha256": "0e"}},
        {"evidence": {f"x{n}": "0e" for n in range(17)}},
        {"namespaces": [f"{n:064x}" for n in range(201)]},
    ],
)
def test_result_with_malformed_names_maps_to_nothing(log: Replay, judged: dict[str, Any]) -> None:
    assert log.add(result(RELEASER, **judged)).keys == ()


def test_largest_result_stays_within_the_bound(log: Replay) -> None:
    mapped = log.add(
        result(RELEASER, namespaces=[f"{n:064x}" for n in range(200)], evidence={f"x{n}": "0e" for n in range(16)})
    )
    assert len(mapped.keys) == 200 + 1 + 16 + 1


def test_decide_says_why(log: Replay) -> None:
    with pytest.raises(VerificationError, match="logged before"):
        index_map.decide(admit.classify(RELEASE), 3, log.state)
    assert index_map.decide(admit.classify(result(RELEASER)), 3, log.state) is None
