"""Every real Nitro document of the shared vectors yields what expected.json states, and its mutations never pass."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import pytest

from teelog.errors import MalformedError, NotEstablished
from teelog.evidence import nitro, platform
from teelog.evidence.nitro import document, pcr
from teelog.evidence.platform import Expected, Roots
from teelog.verdict import Outcome
from tests.evidence.contract import mutations
from tests.evidence.real import seconds
from tests.vectors import vectors

PASSING = ("nitro/dstack/nitro_attestation.bin", "nitro/evervault/valid-attestation-doc-bytes")
DEBUG = ("nitro/dstack/nitro_attestation_dbg.bin", "nitro/evervault/debug-mode-attestation-doc-bytes")
ALL = (*PASSING, *DEBUG)
MUTATIONS = 1000
ARCHIVED = 1_790_000_000  # POSIX seconds, years after all of them


@dataclass(frozen=True, slots=True)
class Real:
    """raw: the bare COSE_Sign1. now: POSIX seconds. expect, window: as stated."""

    raw: bytes
    now: int
    expect: dict[str, Any]
    window: tuple[int, int]


def stated() -> dict[str, dict[str, Any]]:
    entries = json.loads(vectors("evidence/expected.json").read_bytes())
    return {entry["evidence"]: entry for entry in entries if entry["platform"] == "nitro"}


def load(name: str) -> Real:
    entry = stated()[name]
    raw = vectors(f"evidence/{entry['cose']}").read_bytes()
    first, last = map(seconds, entry["chain_window"])
    return Real(raw, seconds(entry["verify_at"]), entry["expect"], (first, last))


def test_every_stated_case_is_tested():
    assert set(stated()) == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_fields_are_as_stated(name: str):
    case = load(name)
    parsed = document.parse(case.raw)
    expect = case.expect
    assert (parsed.module_id, parsed.timestamp, parsed.debug) == (
        expect["module_id"],
        expect["timestamp"],
        expect["debug"],
    )
    set_ = {str(index): value.hex() for index, value in parsed.pcrs.items() if any(value)}
    assert set_ == expect["pcrs"]
    for field in ("nonce", "user_data"):
        value = getattr(parsed, field)
        assert (None if value is None else value.hex()) == expect[field]
    key = parsed.public_key
    assert (None if key is None else hashlib.sha256(key).hexdigest()) == expect["public_key_sha256"]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("when", ["then", "years later"])
def test_genuine_document_chains_to_aws_at_the_time_at_which_it_was_made(name: str, when: str):
    case = load(name)
    finding = platform.parse(case.raw).hardware([], case.now if when == "then" else ARCHIVED)
    assert finding.outcome is Outcome.VERIFIED
    assert not any("NOT AWS's" in each for each in finding.details)
    assert any(each.startswith("certificates judged at") for each in finding.details)


@pytest.mark.parametrize("name", PASSING)
def test_genuine_document_passes_configuration(name: str):
    case = load(name)
    evidence = platform.parse(case.raw)
    assert evidence.configuration().outcome is Outcome.VERIFIED
    assert {f"pcr{number}": evidence.registers[f"pcr{number}"].hex() for number in (0, 1, 2)} == {
        f"pcr{number}": case.expect["pcrs"][str(number)] for number in (0, 1, 2)
    }


@pytest.mark.parametrize("name", DEBUG)
def test_A_50_enclave_in_debug_mode_fails_though_its_hardware_is_genuine(name: str):
    case = load(name)
    evidence = platform.parse(case.raw)
    assert evidence.hardware([], case.now).outcome is Outcome.VERIFIED
    finding = evidence.configuration()
    assert finding.outcome is Outcome.FAILED
    assert "debug mode" in str(finding.cause)


@pytest.mark.parametrize("name", ALL)
def test_a_document_from_the_future_and_an_unpinned_root_fail(name: str):
    case = load(name)
    evidence = platform.parse(case.raw)
    assert evidence.hardware([], case.now - 301).outcome is Outcome.FAILED
    assert evidence.hardware([], case.now, Roots({"other": bytes(32)})).outcome is Outcome.FAILED


@pytest.mark.parametrize("name", ALL)
def test_pcr4_stands_for_the_instance_that_the_module_names(name: str):
    parsed = document.parse(load(name).raw)
    assert parsed.pcrs[4] == pcr.of_instance(parsed.instance)
    evidence = nitro.parse(load(name).raw)
    if name in PASSING:
        assert evidence.configuration({"instance": parsed.instance}).outcome is Outcome.VERIFIED
        assert evidence.configuration({"instance": "i-00000000"}).outcome is Outcome.FAILED


@pytest.mark.parametrize("name", ALL)
def test_user_data_answers_report_data(name: str):
    parsed = document.parse(load(name).raw)
    if parsed.user_data:
        evidence = platform.parse(parsed.raw)
        assert evidence.freshness(Expected(report_data=parsed.user_data)).outcome is Outcome.VERIFIED
        assert evidence.freshness(Expected(report_data=b"other")).outcome is Outcome.FAILED


@pytest.mark.parametrize("name", ALL)
def test_A_48_flipped_bits_and_truncations_never_pass(name: str):
    case = load(name)
    for bad in mutations(case.raw, name, MUTATIONS):
        try:
            evidence = platform.parse(bad, "nitro")
        except (MalformedError, NotEstablished):
            continue
        assert evidence.hardware([], case.now).outcome is Outcome.FAILED
