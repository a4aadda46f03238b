"""The document that carries measured registers, and its comparison with a release."""

from __future__ import annotations

import json
from typing import Any

import pytest

from teelog.errors import MalformedError, NotEstablished, VerificationError
from teelog.measure import expectation, registers
from teelog.measure.registers import Variant
from teelog.statement import release

A, B, C = "aa" * 48, "bb" * 48, "cc" * 48
DOCUMENT: dict[str, Any] = {
    "schema": "teelog-registers/v1",
    "variants": [
        {
            "platform": "sev-snp",
            "when": {"vcpus": 4, "cpu": "EPYC-v4", "vmm": "qemu"},
            "registers": {"measurement": A},
            "how": "recomputed",
        }
    ],
}


def encoded(**change: object) -> bytes:
    return json.dumps({**DOCUMENT, "variants": [{**DOCUMENT["variants"][0], **change}]}).encode()


def test_the_document_survives_a_round_trip():
    document = registers.decode(json.dumps(DOCUMENT).encode())
    assert json.loads(registers.encode(document)) == DOCUMENT
    assert registers.decode(registers.encode(document)) == document


@pytest.mark.parametrize(
    "change",
    [
        {"how": "guessed"},
        {"extra": 1},
        {"platform": "sev-snq"},
        {"platform": "SEV-SNP"},
        {"registers": {}},
        {"registers": {"measurement": A.upper()}},
        {"registers": {"measurement": A[2:]}},
        {"registers": {"measurement": "any"}},
        {"registers": {"measurement": [A]}},
        {"registers": {"mrtd": A}},
        {"registers": {"measurement": A, "mrtd": A}},
        {"when": {"vcpus": 1.5}},
        {"when": {"vcpus": {}}},
        {"when": {"Vcpus": 1}},
        {"when": {"cpu": "x" * 257}},
        {"when": {f"label{number}": 1 for number in range(33)}},
    ],
    ids=lambda change: json.dumps(change)[:50],
)
def test_a_document_with_a_fault_is_refused(change: dict[str, object]):
    registers.decode(encoded())
    with pytest.raises(MalformedError):
        registers.decode(encoded(**change))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"schema":"teelog-registers/v1","variants":[]}',
        b'{"schema":"teelog-registers/v2","variants":[1]}',
        json.dumps(DOCUMENT).replace('"how"', '"how": "extracted", "how"').encode(),
        json.dumps({**DOCUMENT, "variants": DOCUMENT["variants"] * (registers.MAX_VARIANTS + 1)}).encode(),
        b" " * (registers.MAX_BYTES + 1),
    ],
    ids=range(8),
)
def test_what_is_no_such_document_is_refused(data: bytes):
    with pytest.raises(MalformedError):
        registers.decode(data)


def measured(value: str = A, **when: str | int) -> Variant:
    return Variant("sev-snp", when or {"vcpus": 4, "cpu": "EPYC-v4"}, {"measurement": value}, "recomputed")


def stated(value: str = A, platform: str = "sev-snp", **when: str | int) -> release.Variant:
    return release.Variant(platform=platform, when=dict(when), registers={"measurement": value})


def test_equal_registers_agree():
    agreement = expectation.compare([measured()], [stated(vcpus=4, cpu="EPYC-v4")])
    assert agreement == expectation.Agreement((), ())


def test_a_label_that_only_one_side_has_does_not_matter():
    expectation.compare([measured()], [stated()])
    expectation.compare([measured()], [stated(vcpus=4, cpu="EPYC-v4", region="north")])
    expectation.compare([measured()], [stated(vcpus="4")])


def test_one_of_several_alternatives_suffices():
    expectation.compare([measured()], [stated(B, vcpus=4), stated(A, vcpus=4)])


def test_the_register_that_differs_is_named():
    with pytest.raises(VerificationError) as caught:
        expectation.compare([measured()], [stated(C), stated(B, vcpus=4)])
    assert "measurement" in caught.value.message
    assert "vcpus=4" in caught.value.message
    assert (caught.value.expected, caught.value.actual) == (B, A)  # of the closest variant, not of the first


def test_a_register_on_one_side_only_differs():
    both = release.Variant(platform="sev-snp", registers={"measurement": A, "other": B})
    with pytest.raises(VerificationError, match="register other"):
        expectation.compare([measured()], [both])
    none = release.Variant(platform="sev-snp", registers={})
    with pytest.raises(VerificationError, match="register measurement"):
        expectation.compare([measured()], [none])


def test_a_register_left_open_is_told():
    assert expectation.compare([measured()], [stated("any")]).left_open == ("measurement",)


def test_what_was_not_measured_is_told():
    big, tdx = stated(B, vcpus=8), stated(C, platform="tdx")
    assert expectation.compare([measured()], [stated(vcpus=4), big, tdx]).unmeasured == (big,)


@pytest.mark.parametrize(
    "others", [[], [stated(vcpus=8)], [stated(platform="tdx")], [stated(vcpus=4, cpu="EPYC-Milan")]]
)
def test_a_launch_that_the_release_does_not_state_is_not_established(others: list[release.Variant]):
    with pytest.raises(NotEstablished):
        expectation.compare([measured()], others)


def test_a_difference_outweighs_a_missing_variant():
    with pytest.raises(VerificationError):
        expectation.compare([measured(A, vcpus=1), measured(A, vcpus=4)], [stated(B, vcpus=4)])
