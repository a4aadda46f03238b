"""What `teelog evidence` says to do next where an input is missing, or the file is none of its own: per platform."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from teelog.cli import findings
from teelog.testing import azure_cases, cca_cases, nitro, nitro_cases, nvidia_cases, tpm_cases
from teelog.verdict import Check, Verdict, not_established
from tests.commands import Ran, teelog
from tests.vectors import vectors

WAIVED = ("--without", "freshness", "--without", "binding")


def judged(folder: Path, evidence: bytes, *options: str) -> Ran:
    path = folder / "evidence"
    path.write_bytes(evidence)
    return teelog("evidence", "verify", path, *options, *WAIVED)


@pytest.mark.parametrize(
    ("evidence", "hint"),
    [
        (cca_cases.cases()[0].evidence, "evidence-cca.md"),
        (tpm_cases.cases()[0].evidence, "evidence-tpm.md"),
        (nvidia_cases.GPU.report(nvidia_cases.NONCE), "--endorsement CHAIN.pem"),
        (azure_cases.TDX.evidence(azure_cases.NONCE), "--collateral FILE"),
    ],
    ids=["cca", "tpm", "nvidia", "azure"],
)
def test_what_is_missing_is_not_established_and_the_next_step_is_the_platforms(
    tmp_path: Path, evidence: bytes, hint: str
) -> None:
    roots = azure_cases.TDX.roots().pins if hint == "--collateral FILE" else {}
    ran = judged(tmp_path, evidence, *(f"--root={name}={pin.hex()}" for name, pin in roots.items()))
    assert ran.code == 3, ran.stderr
    assert hint in ran.stderr.partition("next: ")[2]


@pytest.mark.parametrize(
    ("file", "hint"),
    [
        (b"0x0400020081\n", "in hex"),
        (bytes(32) + b"Spec ID Event03\0" + bytes(64), "teelog measure event-log"),
        (b"HCLA" + bytes(2596), "HCL report alone"),
    ],
)
def test_a_file_that_is_often_taken_for_evidence_is_named(tmp_path: Path, file: bytes, hint: str) -> None:
    ran = judged(tmp_path, file)
    assert ran.code == 1
    assert hint in ran.stderr.partition("next: ")[2]


def test_an_expired_revocation_list_is_told_in_words_with_both_ways_out() -> None:
    quote = vectors("evidence/tdx/dcap-qvl/tdx_quote")
    collateral = vectors("evidence/derived/collateral/tdx-B0C06F-2025-06.json")
    ran = teelog("evidence", "verify", quote, "--collateral", collateral, "--at", "2026-11-25", *WAIVED)
    assert ran.code == 1
    assert "a revocation list of the collateral has expired" in ran.stderr
    assert "UnixTime" not in ran.stderr + ran.text
    assert "expected: a time up to 2026-04-03T11:21:57Z" in ran.stderr
    assert "--again" in ran.stderr
    assert "--historical" in ran.stderr


def test_a_collateral_or_require_block_that_is_none_is_named(tmp_path: Path) -> None:
    ran = judged(tmp_path, nitro_cases.HYPERVISOR.document(), "--collateral", str(tmp_path / "evidence"))
    assert (ran.code, "evidence is no collateral" in ran.stderr) == (1, True)
    block = tmp_path / "require.json"
    block.write_text("[")
    ran = judged(tmp_path, nitro_cases.HYPERVISOR.document(), "--require", str(block))
    assert (ran.code, f"require block {block}: " in ran.stderr) == (1, True)


def test_an_old_document_s_age_is_told_in_days(tmp_path: Path) -> None:
    document = nitro_cases.HYPERVISOR.document()
    pins = nitro.roots().pins
    root = f"--root={nitro.ROOT}={pins[nitro.ROOT].hex()}"
    ran = judged(tmp_path, document, root, "--at", "2027-09-22", "--historical")
    assert re.search(r"was made: [0-9]+ days ago", ran.text), ran.text + ran.stderr


def test_a_library_that_is_missing_is_installed_and_not_fetched() -> None:
    cause = "dcap-qvl, which judges quotes of Intel platforms, is not installed"
    missing = Verdict((not_established(Check.HARDWARE, cause),))
    assert findings.hint(missing, platform="tdx") == "pip install 'teelog[tdx]'"
    other = Verdict((not_established(Check.HARDWARE, "TCB info of version 9 is not known here"),))
    assert findings.hint(other, platform="tdx") is None
