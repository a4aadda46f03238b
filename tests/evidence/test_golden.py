"""Committed evidence: the fakes' bytes never change by accident, and no mutation of a good one passes."""

from __future__ import annotations

import json

import pytest

from teelog.errors import MalformedError
from teelog.evidence import certificates, platform
from teelog.evidence.platform import Expected, Roots
from teelog.verdict import Outcome
from tests.evidence import make_golden
from tests.evidence.contract import mutations
from tests.evidence.make_golden import GOLDEN

STATED = json.loads((GOLDEN / "expected.json").read_bytes())
CASES = {case["name"]: case for case in STATED["cases"]}
GOOD = [name for name, case in CASES.items() if case["check"] is None]
PINS = {name: bytes.fromhex(pin) for name, pin in STATED["pins"].items()}


def _roots() -> Roots:
    blocks = (GOLDEN / "roots.pem").read_bytes().split(b"-----END CERTIFICATE-----\n")
    pems = [block + b"-----END CERTIFICATE-----\n" for block in blocks if block]
    return Roots(PINS, tuple(der for pem in pems for der in certificates.load_pem(pem)))


ROOTS = _roots()


def test_generator_writes_what_is_committed():
    made = make_golden.files()
    assert made == {path.name: path.read_bytes() for path in GOLDEN.iterdir()}


@pytest.mark.parametrize("name", CASES)
def test_committed_evidence_yields_what_is_stated(name: str):
    case = CASES[name]
    raw, endorsement = ((GOLDEN / case[key]).read_bytes() for key in ("evidence", "endorsement"))
    if case["check"] == "parse":
        with pytest.raises(MalformedError) as caught:
            platform.parse(raw, "sev-snp")
        assert case["cause"] in caught.value.message
        return
    evidence = platform.parse(raw)
    hardware = evidence.hardware([endorsement], STATED["now"], ROOTS)
    found = [hardware, evidence.configuration(), evidence.freshness(Expected(nonce=bytes.fromhex(STATED["nonce"])))]
    bad = [finding for finding in found if finding.outcome is not Outcome.VERIFIED]
    if case["check"] is None:
        assert not bad
    else:
        assert (bad[0].check, bad[0].outcome) == (case["check"], case["outcome"])
        assert case["cause"] in str(bad[0].cause)


@pytest.mark.parametrize("name", GOOD)
def test_A_48_flipped_bits_and_truncations_never_pass(name: str):
    case = CASES[name]
    raw, endorsement = ((GOLDEN / case[key]).read_bytes() for key in ("evidence", "endorsement"))
    for bad in mutations(raw, name):
        try:
            evidence = platform.parse(bad)
        except MalformedError:
            continue
        assert evidence.hardware([endorsement], STATED["now"], ROOTS).outcome is Outcome.FAILED
