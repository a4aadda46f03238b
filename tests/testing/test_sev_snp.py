"""The fakes: exact in structure, the same every time, and judged as each says."""

from __future__ import annotations

import pytest

from teelog.errors import MalformedError
from teelog.evidence import platform
from teelog.evidence.platform import Expected
from teelog.evidence.sev_snp import report
from teelog.testing import sev_snp, sev_snp_cases
from teelog.testing.sev_snp_cases import NONCE, Case
from teelog.verdict import Finding, Outcome

CASES = sev_snp_cases.cases()


def judge(case: Case) -> tuple[str, str, str] | None:
    """(check, outcome, cause) of the first check that does not hold, None if all do."""
    try:
        evidence = platform.parse(case.evidence, "sev-snp")
    except MalformedError as error:
        return "parse", "failed", error.message
    findings: tuple[Finding, ...] = (
        evidence.hardware([case.endorsement], sev_snp.NOW, sev_snp.roots()),
        evidence.configuration(),
        evidence.freshness(Expected(nonce=NONCE)),
    )
    for finding in findings:
        if finding.outcome is not Outcome.VERIFIED:
            return finding.check, finding.outcome, str(finding.cause)
    return None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case_is_judged_as_it_says(case: Case):
    found = judge(case)
    if case.check is None:
        assert found is None
    else:
        assert found is not None
        assert found[:2] == (case.check, case.outcome)
        assert case.cause in found[2]


def test_cases_are_the_same_every_time():
    sev_snp._leaf.cache_clear()
    sev_snp.authority.cache_clear()
    assert sev_snp_cases.cases() == CASES


@pytest.mark.parametrize("case", [case for case in CASES if case.check is None], ids=lambda case: case.name)
def test_no_fake_is_trusted_by_default(case: Case):
    finding = platform.parse(case.evidence).hardware([case.endorsement], sev_snp.NOW)
    assert finding.outcome is Outcome.FAILED


def test_fake_report_has_the_fields_that_were_asked_for():
    machine = sev_snp.Machine("Genoa")
    raw = machine.report(report_data=b"data", measurement=b"\7" * 48, host_data=b"\x08" * 32, vmpl=2, guest_svn=9)
    parsed = report.parse(raw)
    assert (parsed.report_data, parsed.measurement) == (b"data".ljust(64, b"\0"), b"\7" * 48)
    assert (parsed.host_data, parsed.vmpl, parsed.guest_svn) == (b"\x08" * 32, 2, 9)
    assert (parsed.product, parsed.reported_tcb) == ("Genoa", machine.certified_tcb)


def test_fake_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="longer"):
        sev_snp.Machine().report(report_data=bytes(65))
