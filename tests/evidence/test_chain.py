"""From a report to a pinned root: whose certificates are used, and whose are not (see also the fakes' cases)."""

from __future__ import annotations

import pytest

from teelog.errors import MalformedError, NotEstablished, UntrustedKey, VerificationError
from teelog.evidence import platform
from teelog.evidence.platform import Roots
from teelog.evidence.sev_snp import chain, endorsement, report
from teelog.testing import sev_snp, x509
from teelog.testing.sev_snp import NOW, Machine
from teelog.verdict import Outcome

MACHINE = Machine()
REPORT = report.parse(MACHINE.report())
FAKE = sev_snp.roots()
PIN_ONLY = Roots(FAKE.pins)


def test_leaf_alone_needs_authorities_from_somewhere():
    chain.verify(REPORT, [MACHINE.endorsement()], NOW, FAKE)
    chain.verify(REPORT, [MACHINE.chain()], NOW, PIN_ONLY)
    with pytest.raises(NotEstablished, match="root"):
        chain.verify(REPORT, [MACHINE.endorsement()], NOW, PIN_ONLY)
    with pytest.raises(NotEstablished, match="SEV-Milan"):
        chain.verify(REPORT, [MACHINE.endorsement(), sev_snp.authority("ark", "Milan")], NOW, PIN_ONLY)


def test_without_any_certificate_hardware_is_not_established():
    assert platform.parse(REPORT.raw).hardware([], NOW, FAKE).outcome is Outcome.NOT_ESTABLISHED


def test_product_without_a_pin_is_not_trusted():
    others = Roots({"Genoa": FAKE.pins["Genoa"]}, FAKE.certificates)
    with pytest.raises(UntrustedKey, match="no root is pinned for Milan"):
        chain.verify(REPORT, [MACHINE.chain()], NOW, others)


def test_pin_of_one_product_is_no_pin_of_another():
    swapped = Roots({"Milan": FAKE.pins["Genoa"]}, FAKE.certificates)
    finding = platform.parse(REPORT.raw).hardware([MACHINE.chain()], NOW, swapped)
    assert finding.outcome is not Outcome.VERIFIED


def test_leaf_that_poses_as_an_intermediate_signs_nothing():
    """A certificate in the chain must itself be an authority, whoever signed it."""
    spki = x509.rsa_spki(x509.rsa_key("rogue"))
    for subject in ("SEV-Milan", "SEV-VCEK"):
        posing = x509.Draft(subject, "ARK-Milan", spki, sev_snp.NOT_BEFORE, sev_snp.NOT_AFTER, 9).sign("root")
        rogue = Machine(rogue=True).endorsement()
        finding = platform.parse(REPORT.raw).hardware([rogue, posing], NOW, FAKE)
        assert finding.outcome is Outcome.FAILED


def test_A_49_expired_authority_fails_at_verification_time():
    with pytest.raises(VerificationError, match="ARK-Milan has expired"):
        chain.verify(REPORT, [MACHINE.chain()], sev_snp.NOT_AFTER + 1, FAKE)
    chain.verify(REPORT, [MACHINE.chain()], sev_snp.NOT_AFTER, FAKE)
    chain.verify(REPORT, [MACHINE.chain()], sev_snp.NOT_BEFORE, FAKE)


def test_A_49_many_certificates_are_refused():
    files = [Machine(seed=bytes([number])).endorsement() for number in range(9)]
    with pytest.raises(MalformedError, match="too many"):
        chain.verify(REPORT, files, NOW, FAKE)
    chain.verify(REPORT, [MACHINE.chain()] * 9, NOW, FAKE)  # the same again counts once


def test_table_in_either_byte_order_is_read():
    table = MACHINE.table()
    other = table[3::-1] + table[5:3:-1] + table[7:5:-1] + table[8:]
    assert endorsement.certificates_in([other]) == endorsement.certificates_in([table])


@pytest.mark.parametrize(
    "bad",
    [
        MACHINE.table()[:24], MACHINE.table()[:-1], MACHINE.table()[:20],
        MACHINE.table()[:16] + b"\xff" * 8 + MACHINE.table()[24:], MACHINE.table()[:24] * 10,
        b"", b"\0" * 48, b"\x30", b"-----BEGIN CERTIFICATE-----",
    ],
    ids=range(9),
)  # fmt: skip
def test_A_48_broken_endorsement_files_are_refused(bad: bytes):
    with pytest.raises(MalformedError):
        endorsement.certificates_in([bad])
    assert platform.parse(REPORT.raw).hardware([bad], NOW, FAKE).outcome is Outcome.FAILED


def test_A_48_huge_endorsement_file_is_refused():
    with pytest.raises(MalformedError, match="too long"):
        endorsement.certificates_in([bytes(endorsement.MAX_FILE + 1)])


def test_signature_numbers_out_of_range_are_refused():
    order = chain._P384_ORDER
    for r, s in ((0, 1), (1, 0), (order, 1), (1, order)):
        raw = REPORT.raw[: report.SIGNED] + r.to_bytes(72, "little") + s.to_bytes(72, "little")
        finding = platform.parse(raw.ljust(report.SIZE, b"\0")).hardware([MACHINE.endorsement()], NOW, FAKE)
        assert "out of range" in str(finding.cause)


def test_details_say_whose_key_signed():
    for machine, words in ((MACHINE, "key of the chip"), (Machine(vlek=True), "CN=cloud.example")):
        finding = platform.parse(machine.report()).hardware([machine.endorsement()], NOW, FAKE)
        assert any(words in each for each in finding.details)
    masked = platform.parse(MACHINE.report(chip_id=bytes(64))).hardware([MACHINE.endorsement()], NOW, FAKE)
    assert any("hides which chip" in each for each in masked.details)


def test_a_root_that_is_not_the_vendors_is_said_to_be_so():
    finding = platform.parse(REPORT.raw).hardware([MACHINE.endorsement()], NOW, FAKE)
    assert any("NOT AMD's" in each for each in finding.details)
