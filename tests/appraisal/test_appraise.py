"""The steps of protocol section 7: everything right, then one thing wrong at a time, each with a cause of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from teelog.appraisal.inputs import Expect, LoggedFile
from teelog.statement.release import Validity
from teelog.tlog.checkpoint import Checkpoint
from teelog.verdict import Check, Outcome, Overall
from tests.appraisal import fake_tee
from tests.appraisal.case import EXPECT, NAMESPACE, NOW, PIN, RELEASE, STREAM, Case, trust, trusting
from tests.client import logs
from tests.statement import make

GOOD = Case()
FAILED, OPEN = Outcome.FAILED, Outcome.NOT_ESTABLISHED


def test_with_everything_right_only_the_waived_check_is_not_verified():
    verdict = GOOD.appraise()
    assert {f.check: f.outcome for f in verdict.findings if f.outcome is not Outcome.VERIFIED} == {
        Check.ALLOWED_NOW: Outcome.OFF
    }, verdict
    assert verdict.overall is Overall.VERIFIED_WITH_WAIVERS
    assert verdict.judged is not None
    assert verdict.judged.release == make.admit.classify(RELEASE).statement_id
    assert verdict.judged.namespaces == (PIN,)
    head = logs.head(GOOD.entries)
    assert (verdict.judged.origin, verdict.judged.size, verdict.judged.root) == (head.origin, head.size, head.root)


def test_without_the_index_nothing_says_allowed_now_and_fresh_is_half():
    verdict = replace(GOOD, without=frozenset()).appraise()
    assert [f.check for f in verdict.findings if f.outcome is OPEN] == [Check.ALLOWED_NOW, Check.FRESH]
    assert "main log's quorum is fresh" in str(verdict[Check.FRESH].cause)
    assert verdict.overall is Overall.NOT_ESTABLISHED


def with_release(**changes: object) -> Case:
    return GOOD.with_release(make.release_file(**changes))


def with_namespace(namespace: bytes, **changes: object) -> Case:
    entries = tuple(namespace if entry == NAMESPACE else entry for entry in GOOD.entries)
    return replace(GOOD, namespace=namespace, entries=entries, **changes)


def signed_by(*witnesses: int, time: int = logs.NOW, log: object = logs.LOG) -> bytes:
    return logs.sign(logs.head(GOOD.entries), [logs.WITNESSES[n] for n in witnesses], log, time)  # type: ignore[arg-type]


def bad_line(signed: bytes, name: str) -> bytes:
    """The checkpoint with one line's signature spoiled."""
    lines = signed.split(b"\n")
    place = next(n for n, line in enumerate(lines) if line.startswith("\u2014 ".encode() + name.encode() + b" "))
    spoiled = bytearray(lines[place])
    spoiled[-10] ^= 1 if spoiled[-10] not in b"+/=Zz9" else 0x20
    lines[place] = bytes(spoiled)
    return b"\n".join(lines)


OTHER_LOG_NAMESPACE = make.namespace_file(log="other.example/log")
OTHER_LOG_PIN = make.admit.classify(OTHER_LOG_NAMESPACE).statement_id


def in_stream(text: str) -> object:
    return trust(stream=f'[[stream]]\nname = "{STREAM}"\n{text}\n')


EARLY = replace(GOOD, entries=(b"log policy", RELEASE, b"other", NAMESPACE, b"later"))
EXTENDED = logs.sign(replace(logs.head(GOOD.entries), extensions=("extension",)))

WRONG: list[tuple[str, Check, Outcome, str, Callable[[], Case]]] = [
    # the evidence alone
    ("no evidence", Check.HARDWARE, OPEN, "no evidence", lambda: replace(GOOD, evidence=None)),
    ("no endorsement", Check.HARDWARE, OPEN, "no endorsement", lambda: replace(GOOD, endorsements=())),
    ("garbage", Check.HARDWARE, FAILED, "no evidence", lambda: replace(GOOD, evidence=b"\x00")),
    ("forged", Check.HARDWARE, FAILED, "signature does not", lambda: replace(GOOD, endorsements=(b"other",))),
    (
        "debug",
        Check.CONFIGURATION,
        FAILED,
        "debugging is allowed",
        lambda: replace(GOOD, evidence=fake_tee.report(debug=True)),
    ),
    (
        "floor of the release",
        Check.CONFIGURATION,
        FAILED,
        "TCB is too low",
        lambda: with_release(variants=(make.variant(require={"min_tcb": {"bl": 0, "tee": 0, "snp": 24, "ucode": 0}}),)),
    ),
    (
        "unknown requirement",
        Check.CONFIGURATION,
        OPEN,
        "no meaning here",
        lambda: GOOD.with_release(UNKNOWN_REQUIREMENT),
    ),
    (
        "replayed nonce",
        Check.FRESHNESS,
        FAILED,
        "another nonce",
        lambda: replace(GOOD, expect=replace(EXPECT, nonce=b"fedcba9876543210")),
    ),
    ("no nonce", Check.FRESHNESS, OPEN, "no nonce", lambda: replace(GOOD, expect=replace(EXPECT, nonce=None))),
    (
        "unbound output",
        Check.BINDING,
        FAILED,
        "does not commit",
        lambda: replace(GOOD, expect=replace(EXPECT, binds=b"another file")),
    ),
    ("nothing bound", Check.BINDING, OPEN, "nothing is", lambda: replace(GOOD, expect=replace(EXPECT, binds=None))),
    # the release
    (
        "another program",
        Check.MEASUREMENT,
        FAILED,
        "another program runs there",
        lambda: replace(GOOD, evidence=fake_tee.report(measurement="ab" * 48)),
    ),
    (
        "another platform",
        Check.MEASUREMENT,
        FAILED,
        "no variant for sev-snp",
        lambda: with_release(variants=(make.variant(platform="cca", registers={"rim": "ab" * 32}, require={}),)),
    ),
    ("denied", Check.MEASUREMENT, FAILED, "denies", lambda: replace(GOOD, trust=in_stream(f'deny = ["{RELEASE_ID}"]'))),
    ("svn", Check.MEASUREMENT, FAILED, "too low", lambda: replace(GOOD, trust=in_stream("min_svn = 4"))),
    (
        "not valid yet",
        Check.MEASUREMENT,
        FAILED,
        "not valid at this time",
        lambda: with_release(validity=Validity("2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z")),
    ),
    (
        "not valid any more",
        Check.MEASUREMENT,
        FAILED,
        "not valid at this time",
        lambda: with_release(validity=Validity("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")),
    ),
    # whose it is
    ("no release", Check.SIGNER, OPEN, "no release", lambda: replace(GOOD, more={"release": None})),
    ("no namespace", Check.SIGNER, OPEN, "no namespace statement", lambda: replace(GOOD, more={"namespaces": ()})),
    (
        "no pin",
        Check.SIGNER,
        OPEN,
        "no pin",
        lambda: replace(GOOD, trust=trust(namespace='[[namespace]]\nname = "acme.example"\n')),
    ),
    ("another pin", Check.SIGNER, FAILED, "the pinned one", lambda: replace(GOOD, trust=trusting("ab" * 32))),
    ("stream not trusted", Check.SIGNER, OPEN, "does not list", lambda: replace(GOOD, trust=trust(stream=""))),
    (
        "another stream",
        Check.SIGNER,
        FAILED,
        "of another stream",
        lambda: with_release(stream="acme.example/inference/beta"),
    ),
    (
        "another namespace's stream",
        Check.SIGNER,
        FAILED,
        "of another stream",
        lambda: with_release(stream="other.example/inference/stable"),
    ),
    (
        "a stranger's signature",
        Check.SIGNER,
        FAILED,
        "none of the keys",
        lambda: GOOD.with_release(make.release_file(make.STRANGER)),
    ),
    ("a broken signature", Check.SIGNER, FAILED, "does not verify", lambda: GOOD.with_release(BROKEN)),
    ("no envelope", Check.SIGNER, FAILED, "not JSON", lambda: GOOD.with_release(b"{")),
    ("a namespace instead", Check.SIGNER, FAILED, "", lambda: replace(GOOD, release=NAMESPACE)),
    # where it is
    (
        "no proof",
        Check.LOGGED,
        OPEN,
        "no proof of the release",
        lambda: replace(GOOD, more={"release": LoggedFile(RELEASE)}),
    ),
    (
        "proof of another entry",
        Check.LOGGED,
        FAILED,
        "the proof is not for this release",
        lambda: replace(GOOD, more={"release": LoggedFile(RELEASE, GOOD.proof(b"later"))}),
    ),
    (
        "namespace's proof of another entry",
        Check.LOGGED,
        FAILED,
        "the proof is not for this namespace",
        lambda: replace(GOOD, more={"namespaces": (LoggedFile(NAMESPACE, GOOD.proof(b"later")),)}),
    ),
    (
        "malformed proof",
        Check.LOGGED,
        FAILED,
        "not a tlog-proof",
        lambda: replace(GOOD, more={"release": LoggedFile(RELEASE, b"proof")}),
    ),
    ("another log", Check.LOGGED, FAILED, "", lambda: replace(GOOD, signed=OTHER_ORIGIN)),
    (
        "not the log's key",
        Check.LOGGED,
        FAILED,
        "not signed by the log",
        lambda: replace(GOOD, signed=signed_by(0, 1, 2, 3, log=IMPOSTOR)),
    ),
    (
        "the log's bad signature",
        Check.LOGGED,
        FAILED,
        "does not verify",
        lambda: replace(GOOD, signed=bad_line(signed_by(0, 1, 2, 3), logs.ORIGIN)),
    ),
    ("extension lines", Check.LOGGED, FAILED, "extension lines", lambda: replace(GOOD, signed=EXTENDED)),
    ("release before namespace", Check.LOGGED, FAILED, "before there was its namespace", lambda: EARLY),
    (
        "namespace on another log",
        Check.LOGGED,
        FAILED,
        "speaks on another log",
        lambda: with_namespace(OTHER_LOG_NAMESPACE, trust=trusting(OTHER_LOG_PIN)),
    ),
    # who saw it, and when
    ("no quorum", Check.WITNESSED, FAILED, "quorum is not met", lambda: replace(GOOD, signed=signed_by(0, 1))),
    (
        "a witness's bad signature",
        Check.WITNESSED,
        FAILED,
        "does not verify",
        lambda: replace(GOOD, signed=bad_line(signed_by(0, 1, 2, 3), "witness.example/w4")),
    ),
    (
        "a policy without witnesses",
        Check.WITNESSED,
        OPEN,
        "asks for no witness",
        lambda: replace(GOOD, trust=trust(f"log {logs.LOG.verifier}\nquorum none\n".encode())),
    ),
    ("stale", Check.FRESH, FAILED, "within the max age", lambda: replace(GOOD, now=logs.NOW + 86_401)),
    ("ahead of the clock", Check.FRESH, FAILED, "within the max age", lambda: replace(GOOD, now=logs.NOW - 301)),
    (
        "no claim of time",
        Check.FRESH,
        FAILED,
        "within the max age",
        lambda: replace(GOOD, signed=signed_by(0, 1, 2, 3, time=0)),
    ),
]

RELEASE_ID = make.admit.classify(RELEASE).statement_id
UNKNOWN_REQUIREMENT = make.sign(
    RELEASE_PAYLOAD := make.release_payload().replace(b'"debug":false', b'"quantum_safe":true')
).file
BROKEN = make.dsse.encode(
    make.dsse.PAYLOAD_TYPE,
    make.release_payload(),
    [make.dsse.Signature(make.ACME.public.fingerprint, make.ACME.sign(b"something else"))],
).file
IMPOSTOR = logs.NoteSigner.of(logs.ORIGIN, logs.SignatureType.ED25519, logs.key("impostor"))
OTHER_ORIGIN = logs.sign(logs.head(GOOD.entries, "other.example/log"), log=logs.OTHER_LOG)


@pytest.mark.parametrize(("check", "outcome", "cause", "case"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_one_thing_wrong_has_its_own_cause(check: Check, outcome: Outcome, cause: str, case: Callable[[], Case]):
    verdict = case().appraise()
    assert verdict[check].outcome is outcome, verdict
    assert cause in str(verdict[check].cause)
    failing = [f.check for f in verdict.findings if f.outcome is FAILED]
    assert failing == ([check] if outcome is FAILED else []), verdict
    assert verdict.overall is (Overall.FAILED if outcome is FAILED else Overall.NOT_ESTABLISHED)


def test_nothing_of_a_forged_report_is_used():
    verdict = replace(GOOD, endorsements=(b"other",), evidence=fake_tee.report(debug=True)).appraise()
    for check in (Check.CONFIGURATION, Check.FRESHNESS, Check.BINDING, Check.MEASUREMENT):
        assert verdict[check].outcome is OPEN
        assert "see hardware" in str(verdict[check].cause)


def test_nothing_of_a_release_with_a_bad_signature_is_used():
    verdict = GOOD.with_release(make.release_file(make.STRANGER)).appraise()
    assert "see signer" in str(verdict[Check.MEASUREMENT].cause)
    assert verdict[Check.CONFIGURATION].outcome is OPEN
    assert verdict.judged is not None
    assert verdict.judged.release is None


@pytest.mark.parametrize("check", list(Check))
def test_a_check_is_off_only_by_name_and_is_told(check: Check):
    by_option = replace(GOOD, without=frozenset({check, Check.ALLOWED_NOW})).appraise()
    assert by_option[check].outcome is Outcome.OFF
    assert by_option.overall is Overall.VERIFIED_WITH_WAIVERS
    named = "".join(f'{each} = "off"\n' for each in {check, Check.ALLOWED_NOW})
    off_by_file = trust(stream=f'[[stream]]\nname = "{STREAM}"\n[checks]\n{named}')
    by_file = replace(GOOD, trust=off_by_file, without=frozenset()).appraise()
    assert by_file.findings == by_option.findings


def test_a_waived_check_hides_no_other():
    every = frozenset(Check) - {Check.MEASUREMENT}
    verdict = replace(GOOD, without=every, evidence=fake_tee.report(measurement="ab" * 48)).appraise()
    assert verdict.overall is Overall.FAILED


def test_a_release_that_cannot_be_read_fails_even_where_its_signer_is_waived():
    verdict = replace(GOOD.with_release(b"{"), without=frozenset({Check.SIGNER, Check.ALLOWED_NOW})).appraise()
    assert verdict[Check.MEASUREMENT].outcome is FAILED


def test_all_checks_off_is_no_success():
    assert replace(GOOD, without=frozenset(Check)).appraise().overall is Overall.NOT_ESTABLISHED


def test_a_witnesses_bad_signature_refuses_the_checkpoint_even_where_witnesses_are_waived():
    spoiled = bad_line(signed_by(0, 1, 2, 3), "witness.example/w4")
    waived = frozenset({Check.ALLOWED_NOW, Check.WITNESSED})
    verdict = replace(GOOD, signed=spoiled, without=waived).appraise()
    assert verdict[Check.LOGGED].outcome is FAILED
    assert verdict[Check.FRESH].outcome is OPEN


def test_stale_cosignatures_fail_with_or_without_the_index():
    verdict = replace(GOOD, now=logs.NOW + 86_401, without=frozenset()).appraise()
    assert verdict[Check.FRESH].outcome is FAILED


def test_the_quorum_itself_must_be_young_not_one_witness():
    text = logs.head(GOOD.entries).body()
    old = [w.sign(text, logs.NOW - 86_400) for w in logs.WITNESSES[:2]]
    young = [w.sign(text, logs.NOW) for w in logs.WITNESSES[2:]]
    signed = logs.note.encode(text, [logs.LOG.sign(text, 0), *old, *young])
    verdict = replace(GOOD, signed=signed).appraise()
    assert verdict[Check.WITNESSED].outcome is Outcome.VERIFIED
    assert verdict[Check.FRESH].outcome is FAILED


def test_statements_under_different_checkpoints_are_not_known_to_be_in_one_log():
    early = GOOD.entries[:2]
    small = logs.proof(early, 1, logs.sign(logs.head(early), time=logs.NOW))
    verdict = replace(GOOD, more={"namespaces": (LoggedFile(NAMESPACE, small),)}).appraise()
    assert verdict[Check.LOGGED].outcome is OPEN
    assert "the release's of size 5, the namespace's of size 2" in str(verdict[Check.LOGGED].cause)
    assert "teelog proof get" in str(verdict[Check.LOGGED].cause)
    # A log that shows each of two trees of which neither contains the other.
    forked = (b"another view", NAMESPACE)
    verdict = replace(GOOD, more={"namespaces": (LoggedFile(NAMESPACE, logs.proof(forked, 1)),)}).appraise()
    assert verdict.overall is Overall.NOT_ESTABLISHED


def test_a_young_checkpoint_beside_a_statement_does_not_make_its_own_fresh():
    old = logs.sign(logs.head(GOOD.entries), time=logs.NOW - 10_000_000)
    for signed, check in ((old, Check.FRESH), (signed_by(0), Check.WITNESSED)):
        of_namespace = logs.proof(GOOD.entries, 1, signed)
        verdict = replace(GOOD, more={"namespaces": (LoggedFile(NAMESPACE, of_namespace),)}).appraise()
        assert verdict[Check.LOGGED].outcome is Outcome.VERIFIED
        assert verdict[check].outcome is FAILED


def test_registers_left_open_are_told_and_must_not_be_all():
    verdict = GOOD.appraise()
    assert not any("left open" in line for line in verdict[Check.MEASUREMENT].details)
    assert "release acme.example/inference/stable 1.4.2, svn 3" in verdict[Check.MEASUREMENT].details[0]
    assert any("acpi" in line for line in verdict[Check.MEASUREMENT].details)


@pytest.mark.parametrize("first", [0, 1])
def test_of_several_variants_that_fit_each_must_be_satisfied(first: int):
    """Nothing says which one the machine is, so the laxer one does not open the stricter one's door."""
    strict = make.variant(require={"min_tcb": {"bl": 0, "tee": 0, "snp": 99, "ucode": 0}}, when={"cpu": "strict"})
    both = (strict, make.variant(when={"cpu": "lax"}))
    verdict = with_release(variants=both[first:] + both[:first]).appraise()
    assert verdict[Check.CONFIGURATION].outcome is FAILED
    assert '{"cpu":"strict"}' in verdict[Check.MEASUREMENT].details[0]
    assert '{"cpu":"lax"}' in verdict[Check.MEASUREMENT].details[0]
    other = make.variant(registers={"measurement": "ab" * 48}, require=strict.require)
    assert with_release(variants=(other, make.variant())).appraise().overall is Overall.VERIFIED_WITH_WAIVERS


# -- what a waiver lifts ----------------------------------------------------------------------------------------------


def waiving(case: Case, *checks: Check) -> Case:
    return replace(case, without=frozenset({Check.ALLOWED_NOW, *checks}))


@pytest.mark.parametrize("name", ["denied", "svn", "not valid yet", "not valid any more"])
def test_without_measurement_the_release_itself_must_still_be_allowed(name: str):
    cause, case = next((w[3], w[4]()) for w in WRONG if w[0] == name)
    verdict = waiving(case, Check.MEASUREMENT).appraise()
    assert verdict[Check.SIGNER].outcome is FAILED
    assert cause in str(verdict[Check.SIGNER].cause)
    both = waiving(case, Check.MEASUREMENT, Check.SIGNER).appraise()
    assert both.overall is Overall.VERIFIED_WITH_WAIVERS
    assert "deny, min_svn and validity" in both[Check.MEASUREMENT].details[0]


def test_without_measurement_what_the_release_requires_still_holds():
    strict = {"min_tcb": {"bl": 0, "tee": 0, "snp": 99, "ucode": 0}}
    ours, other = make.variant(require=strict), make.variant(registers={"measurement": "ab" * 48}, require=strict)
    assert waiving(with_release(variants=(ours,)), Check.MEASUREMENT).appraise()[Check.CONFIGURATION].outcome is FAILED
    # Another program: it could be any variant of the platform, so each counts.
    stranger = replace(with_release(variants=(ours, other)), evidence=fake_tee.report(measurement="cd" * 48))
    assert waiving(stranger, Check.MEASUREMENT).appraise()[Check.CONFIGURATION].outcome is FAILED
    fitting = with_release(variants=(make.variant(), other))
    assert waiving(fitting, Check.MEASUREMENT).appraise()[Check.CONFIGURATION].outcome is Outcome.VERIFIED
    unsigned = waiving(GOOD.with_release(make.release_file(make.STRANGER)), Check.MEASUREMENT)
    assert unsigned.appraise()[Check.CONFIGURATION].outcome is OPEN
    none = waiving(replace(GOOD, more={"release": None}), Check.MEASUREMENT)
    assert none.appraise()[Check.CONFIGURATION].outcome is Outcome.VERIFIED


def test_of_another_program_it_is_not_known_what_the_release_requires():
    assert (
        replace(GOOD, evidence=fake_tee.report(measurement="ab" * 48)).appraise()[Check.CONFIGURATION].outcome is OPEN
    )


def test_without_signer_the_stream_is_still_compared():
    verdict = waiving(with_release(stream="acme.example/inference/beta"), Check.SIGNER).appraise()
    assert verdict[Check.MEASUREMENT].outcome is FAILED
    assert "of another stream" in str(verdict[Check.MEASUREMENT].cause)


def test_the_trust_files_floor_holds_where_the_release_asks_for_less(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("teelog.evidence.platform.check_floor", lambda platform, table: None)
    high = trust(platform="[platform.sev-snp]\nmin_tcb = { bl = 0, tee = 0, snp = 24, ucode = 0 }\n")
    assert replace(GOOD, trust=high).appraise()[Check.CONFIGURATION].outcome is FAILED


# -- the arguments ----------------------------------------------------------------------------------------------------


def test_another_time_never_gives_verified():
    verdict = replace(GOOD, more={"historical": True}).appraise()
    assert verdict.overall is Overall.VERIFIED_AS_OF
    assert verdict.as_of == NOW


@pytest.mark.parametrize("now", [-1, 253_402_300_800])
def test_a_time_outside_of_the_calendar_is_a_mistake(now: int):
    with pytest.raises(ValueError, match="not a time"):
        replace(GOOD, now=now).appraise()


def test_both_a_nonce_and_report_data_are_a_mistake():
    with pytest.raises(ValueError, match="not both"):
        replace(GOOD, expect=Expect(STREAM, nonce=b"n", report_data=bytes(64))).appraise()


@pytest.mark.parametrize(
    "wrong", [{"nonce": b""}, {"nonce": bytes(65)}, {"nonce": None, "report_data": b""}, {"binds": b""}]
)
def test_a_challenge_or_output_that_says_nothing_is_a_mistake(wrong: dict[str, bytes]):
    with pytest.raises(ValueError, match=r"empty|1 to 64 bytes"):
        replace(GOOD, expect=replace(EXPECT, **wrong)).appraise()


def test_a_stream_that_is_none_fails_the_signer():
    assert replace(GOOD, expect=replace(EXPECT, stream="acme")).appraise()[Check.SIGNER].outcome is FAILED


def test_nothing_given_is_nothing_established():
    verdict = replace(
        GOOD,
        evidence=None,
        endorsements=(),
        expect=Expect(STREAM),
        without=frozenset(),
        more={"release": None, "namespaces": ()},
    ).appraise()
    assert {finding.outcome for finding in verdict.findings} == {OPEN}


def test_a_checkpoint_of_another_origin_with_our_logs_key_is_refused():
    head = Checkpoint("log.example/other", len(GOOD.entries), logs.head(GOOD.entries).root)
    verdict = replace(GOOD, signed=logs.sign(head)).appraise()
    assert verdict[Check.LOGGED].outcome is FAILED
