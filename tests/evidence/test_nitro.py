"""Forged Nitro documents: each yields what its case says, and no mutation of a good one passes."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog import cbor
from teelog.errors import ConfigError, MalformedError, NotEstablished
from teelog.evidence import platform, report_data, tables
from teelog.evidence.nitro import policy
from teelog.evidence.platform import Expected
from teelog.statement import registers, require
from teelog.testing import nitro, nitro_cases
from teelog.testing.nitro import Hypervisor
from teelog.testing.nitro_cases import HYPERVISOR, NONCE
from teelog.testing.sev_snp import NOW
from teelog.verdict import Check, Finding, Outcome
from tests.evidence.contract import check_case, mutations

CASES = {case.name: case for case in nitro_cases.cases()}
GOOD = [name for name, case in CASES.items() if case.check is None]
ROOTS = nitro.roots()
REFUSED = (MalformedError, NotEstablished)


@pytest.mark.parametrize("name", CASES)
def test_each_case_yields_what_it_says(name: str):
    check_case(CASES[name], "nitro", NONCE, lambda evidence: evidence.hardware([], NOW, ROOTS))


def test_a_version_that_is_not_known_is_not_established_and_a_broken_one_is_malformed():
    for name in ("algorithm-es512", "algorithm-es256", "digest-sha512", "unknown-member"):
        with pytest.raises(NotEstablished):
            platform.parse(CASES[name].evidence)
    for name in ("truncated", "trailing-byte", "pcr-missing"):
        with pytest.raises(MalformedError):
            platform.parse(CASES[name].evidence, "nitro")


def test_the_same_document_comes_out_every_time():
    assert Hypervisor().document() == Hypervisor().document()
    assert Hypervisor(b"2").document() != Hypervisor().document()


def test_the_built_in_root_does_not_know_the_fake_and_the_verdict_says_when_it_is_not_the_vendors():
    evidence = platform.parse(HYPERVISOR.document(nonce=NONCE))
    assert evidence.hardware([], NOW).outcome is Outcome.FAILED
    assert any("NOT AWS's" in each for each in evidence.hardware([], NOW, ROOTS).details)


def test_registers_go_by_the_names_of_statements():
    evidence = platform.parse(HYPERVISOR.document())
    assert list(evidence.registers) == [f"pcr{number}" for number in range(16)]
    registers.check("nitro", {name: value.hex() for name, value in evidence.registers.items()})


def test_age_is_not_established_before_hardware_was_asked():
    evidence = platform.parse(HYPERVISOR.document())
    assert evidence.configuration({"max_age": 1}).outcome is Outcome.NOT_ESTABLISHED
    assert evidence.hardware([], NOW, ROOTS).outcome is Outcome.VERIFIED
    assert evidence.configuration({"max_age": 60}).outcome is Outcome.VERIFIED
    assert evidence.hardware([], NOW + 1, ROOTS).outcome is Outcome.VERIFIED
    assert evidence.configuration({"max_age": 60}).outcome is Outcome.FAILED


def test_the_stricter_of_trust_file_and_release_holds_and_an_unknown_demand_is_not_established():
    evidence = platform.parse(HYPERVISOR.document())
    right, wrong = {"role": nitro.ROLE}, {"role": nitro.ROLE + "2"}
    assert evidence.configuration(right, right).outcome is Outcome.VERIFIED
    assert evidence.configuration(wrong, right).outcome is Outcome.FAILED
    assert evidence.configuration(right, wrong).outcome is Outcome.FAILED
    assert evidence.configuration({}, {"colour": "red"}).outcome is Outcome.NOT_ESTABLISHED
    assert evidence.configuration({}, {"pcr3": "00"}).outcome is Outcome.NOT_ESTABLISHED


@pytest.mark.parametrize("table", [{"debug": True}, {"pcr9": "00" * 48}, {"role": "x"}, {"max_age": 0}, {"pcr8": "AA"}])
def test_a_trust_file_that_means_nothing_or_too_much_is_an_error(table: dict[str, object]):
    with pytest.raises(ConfigError):
        platform.check_floor("nitro", table)


KEY = b"a public key, SPKI DER"


def bound(document: bytes, **expected: object) -> Finding:
    return platform.parse(document).binding(Expected(**expected))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "expected", "outcome"),
    [
        ({"public_key": KEY}, {"binds": KEY}, Outcome.VERIFIED),
        ({"public_key": KEY, "nonce": NONCE}, {"binds": KEY, "nonce": NONCE}, Outcome.VERIFIED),
        ({"public_key": KEY + b"\0"}, {"binds": KEY}, Outcome.FAILED),
        ({}, {"binds": KEY}, Outcome.FAILED),
        ({}, {}, Outcome.NOT_ESTABLISHED),
        ({"user_data": report_data.commitment(NONCE, KEY)}, {"binds": KEY, "nonce": NONCE}, Outcome.VERIFIED),
        ({"user_data": report_data.commitment(b"", KEY)}, {"binds": KEY, "nonce": NONCE}, Outcome.VERIFIED),
        ({"user_data": report_data.commitment(b"older", KEY)}, {"binds": KEY, "nonce": NONCE}, Outcome.FAILED),
        ({"user_data": report_data.commitment(NONCE, b"other")}, {"binds": KEY, "nonce": NONCE}, Outcome.FAILED),
        ({"public_key": KEY}, {"binds": KEY, "parts": (b"gpu",)}, Outcome.FAILED),
        (
            {"user_data": report_data.commitment(NONCE, KEY, (b"gpu",))},
            {"binds": KEY, "nonce": NONCE, "parts": (b"gpu",)},
            Outcome.VERIFIED,
        ),
        ({"user_data": b"x" * 65}, {"binds": KEY}, Outcome.FAILED),
        ({"user_data": b""}, {"binds": KEY}, Outcome.FAILED),
    ],
)
def test_binding_is_the_public_key_or_what_user_data_commits_to(
    fields: dict[str, object], expected: dict[str, object], outcome: Outcome
):
    assert bound(HYPERVISOR.document(**fields), **expected).outcome is outcome


@pytest.mark.parametrize("name", ["sha256", "sha384", "sha512"])
def test_binding_takes_a_plain_digest_in_user_data(name: str):
    import hashlib

    digest = hashlib.new(name, KEY).digest()
    assert bound(HYPERVISOR.document(user_data=digest), binds=KEY).outcome is Outcome.VERIFIED
    assert bound(HYPERVISOR.document(user_data=digest[:-1]), binds=KEY).outcome is Outcome.FAILED


def test_report_data_is_the_whole_user_data_or_that_with_zeros_up_to_64_bytes():
    for user_data, outcome in (
        (b"data", Outcome.VERIFIED),
        (b"data".ljust(64, b"\0"), Outcome.VERIFIED),
        (b"data\0", Outcome.FAILED),
        (b"data".ljust(65, b"\0"), Outcome.FAILED),
        (None, Outcome.FAILED),
    ):
        evidence = platform.parse(HYPERVISOR.document(user_data=user_data))
        assert evidence.freshness(Expected(report_data=b"data")).outcome is outcome
        assert evidence.freshness(Expected()).outcome is Outcome.NOT_ESTABLISHED


def test_equal_nonces_alone_say_nothing_about_parts_of_composite_evidence():
    expected = Expected(nonce=NONCE, parts=(b"gpu",))
    assert platform.parse(HYPERVISOR.document(nonce=NONCE)).freshness(expected).outcome is Outcome.FAILED
    whole = HYPERVISOR.document(user_data=report_data.commitment(NONCE, None, (b"gpu",)))
    assert platform.parse(whole).freshness(expected).outcome is Outcome.VERIFIED


def never_passes(raw: bytes) -> None:
    try:
        evidence = platform.parse(raw)
    except REFUSED:
        return
    assert evidence.hardware([], NOW, ROOTS).outcome is Outcome.FAILED


@pytest.mark.parametrize("name", GOOD[:2])
def test_A_48_flipped_bits_and_truncations_never_pass(name: str):
    for bad in mutations(CASES[name].evidence, name):
        never_passes(bad)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_A_48_arbitrary_bytes_within_a_document_never_pass(junk: bytes, place: int):
    good = CASES["good"].evidence
    bad = good[:place] + junk + good[place + max(len(junk), 1) :]
    if bad != good:
        never_passes(bad)


@given(st.binary(max_size=200))
def test_the_cbor_reader_takes_or_refuses_whatever_it_is_given(junk: bytes):
    for indefinite in (False, True):
        try:
            cbor.load(junk, "junk", indefinite=indefinite)
        except MalformedError:
            continue


@pytest.mark.parametrize(
    "raw", ["9b00000001ffffffff", "bbffffffffffffffff", "5b7fffffffffffffff00", "9f", "bf", "5f4100ff", "7f6100ff"]
)
def test_A_48_a_promised_length_costs_no_memory(raw: str):
    tracemalloc.start()
    with pytest.raises(MalformedError):
        cbor.load(bytes.fromhex(raw), "junk", indefinite=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    "raw", ["1800", "1817", "190017", "1a0000ffff", "1b00000000ffffffff", "3817", "5817" + "00" * 23]
)
def test_numbers_and_lengths_have_one_form(raw: str):
    with pytest.raises(MalformedError, match="short form"):
        cbor.load(bytes.fromhex(raw), "junk")


@pytest.mark.parametrize(
    "raw", ["a1f400", "a1410000", "a201000100", "a2616101616102", "bf01000100ff", "f7", "e0", "f818", "f97e00"]
)
def test_keys_are_numbers_or_text_and_stand_once(raw: str):
    with pytest.raises(MalformedError):
        cbor.load(bytes.fromhex(raw), "junk", indefinite=True)


def test_facts_say_what_holds():
    text = "\n".join(platform.parse(HYPERVISOR.document(pcrs=nitro.pcrs(debug=True))).facts)
    assert "debug: ON" in text
    assert "as PCR4 says" in text
    other = "\n".join(platform.parse(HYPERVISOR.document(module_id="i-0ff-enc1")).facts)
    assert "which is NOT what PCR4 says" in other


def test_every_check_is_named_in_the_findings():
    evidence = platform.parse(HYPERVISOR.document(nonce=NONCE))
    assert evidence.hardware([], NOW, ROOTS).check is Check.HARDWARE
    assert evidence.configuration().check is Check.CONFIGURATION
    assert evidence.fields()["module_id"] == nitro.MODULE_ID


def test_a_release_can_be_written_with_every_demand_that_is_understood_here():
    demands = {"debug": False, "max_age": 60, "role": nitro.ROLE, "instance": nitro.INSTANCE_ID}
    demands |= {f"pcr{index}": nitro.pcrs()[index].hex() for index in (3, 4, 8)}
    assert set(policy.Policy.__struct_fields__) == set(demands)
    assert require.read(demands)[1] == ()
    assert tables.read(demands, policy.Policy)[1] == ()
