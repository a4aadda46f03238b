"""The README's table of platforms: `python -m tests.evidence.table` runs the tests over real evidence and writes it.

A vector counts as passed if every test that has it as its parameter passed. A test compares all but the date.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from teelog.evidence import platform
from teelog.evidence.sev_snp import report
from teelog.evidence.sev_snp import roots as amd
from tests.project.sources import ROOT

README = ROOT / "README.md"
BEGIN, END = "<!-- platforms: begin -->\n", "<!-- platforms: end -->\n"
_BLOCK = re.compile(f"{BEGIN}(.*?){END}", re.S)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_HERE = "tests.evidence."


@dataclass(frozen=True)
class Row:
    """tests: a module of this folder. names: ``module:ATTRIBUTE`` that names its vectors. only: how these begin."""

    title: str
    versions: str
    checked: str
    unchecked: str
    tests: str
    names: tuple[str, ...]
    only: tuple[str, ...] = ("",)

    def vectors(self) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for place in self.names:
            module, _, attribute = place.partition(":")
            value = getattr(importlib.import_module(_HERE + module), attribute)
            found |= dict.fromkeys([value] if isinstance(value, str) else value)
        return tuple(each for each in found if each.startswith(self.only))


_QUOTE = "PCK chain, quoting enclave, collateral in force, revocation lists, TCB status"

ROWS = {
    "sev-snp": Row(
        "AMD SEV-SNP",
        f"reports {report.VERSIONS[0]} to {report.VERSIONS[-1]}; {', '.join(amd.PINS)}; VCEK, VLEK",
        "chain to AMD's root, report signature, chip, TCB; guest policy, platform info, VMPL",
        "revocation (`evidence fetch` does)",
        "test_real",
        ("real:GENUINE",),
    ),
    "tdx": Row(
        "Intel TDX",
        "quotes 4 and 5; TDX 1.0, 1.5",
        f"{_QUOTE}; TD attributes, module; CCEL replay to RTMRs",
        "whether newer collateral exists",
        "test_intel_real",
        ("intel_real:ALL",),
        ("tdx/", "az-tdx-vtpm/"),
    ),
    "sgx": Row(
        "Intel SGX",
        "quotes 3",
        f"{_QUOTE}; enclave attributes",
        "whether newer collateral exists",
        "test_intel_real",
        ("intel_real:ALL",),
        ("sgx/",),
    ),
    "nitro": Row(
        "AWS Nitro Enclaves",
        "attestation documents; COSE_Sign1, ES384",
        "chain to AWS's root at the document's time, signature; debug mode",
        "revocation",
        "test_nitro_real",
        ("test_nitro_real:ALL",),
    ),
    "cca": Row(
        "Arm CCA",
        "tokens of both platform profiles of 1.0",
        "platform token by a pinned key, realm token bound to it; life cycle",
        "time, revocation, a vendor's chain: no production root is public",
        "test_cca",
        ("test_cca:REAL",),
    ),
    "azure": Row(
        "Azure confidential VMs",
        "HCL reports 1 and 2, on SEV-SNP and TDX",
        "the machine's own evidence, runtime data, vTPM quote, PCRs; paravisor by its measurement",
        "Microsoft's certificates; revocation as the machine's",
        "test_azure_real",
        ("test_azure_real:SNP", "test_azure_real:TDX"),
    ),
    "tpm": Row(
        "TPM",
        "quotes 2.0, SHA-256 bank",
        "key pinned or below a pinned root, signature, PCRs; event log replay",
        "revocation, which machine the TPM lies in, endorsement keys",
        "test_tpm",
        ("test_tpm:REAL",),
    ),
    "nvidia": Row(
        "NVIDIA GPU",
        "SPDM 1.1 reports",
        "chain to NVIDIA's device root, FWID, signature; measurements against signed golden RIMs",
        "revocation (OCSP), so a GPU on hold passes",
        "test_nvidia_real",
        ("test_nvidia_real:ALL",),
    ),
}
"""By the platform's name, in the order of the table."""


HEAD = """\
As of {date}, when `python -m tests.evidence.table` ran the tests and wrote this. Real vectors are evidence that
others published, good and bad (Arm CCA's is of emulators); passed is one that yields what is stated of it. Where
they are not at hand, forged machines of every platform ([`teelog.testing`](teelog/testing)) take the same paths.

| platform | versions | checked | not checked | real vectors passed |
|---|---|---|---|---|"""


def shown() -> dict[str, Row]:
    """Those that this version appraises."""
    return {name: row for name, row in ROWS.items() if name in platform.MODULES}


def table(passed: dict[str, int], date: str) -> str:
    lines = [HEAD.format(date=date)]
    for name, row in shown().items():
        title = f"[{row.title}](docs/formats/evidence-{name}.md)"
        total = len(row.vectors())
        lines.append(f"| {title} | {row.versions} | {row.checked} | {row.unchecked} | {passed[name]} of {total} |")
    return "\n".join(lines) + "\n"


def block(readme: str) -> str:
    found = _BLOCK.search(readme)
    if found is None:
        raise ValueError("the README has no place for the table of platforms")
    return found[1]


def stale(readme: str) -> str | None:
    """The block as it should be, with its own date, if it is another; real vectors all passed."""
    current = block(readme)
    date = _DATE.search(current)
    expected = table({name: len(row.vectors()) for name, row in shown().items()}, date[0] if date else "")
    return None if expected == current else expected


@dataclass
class Recorder:
    """A pytest plugin: the outcomes of tests, by the vectors that are their parameters."""

    good: set[str] = field(default_factory=set)
    bad: set[str] = field(default_factory=set)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file, _, rest = report.nodeid.partition("::")
        parameter = rest.partition("[")[2].removesuffix("]")
        for name in _named(file, parameter):
            if report.outcome != "passed":
                self.bad.add(name)
            elif report.when == "call":
                self.good.add(name)


def _named(file: str, parameter: str) -> Iterator[str]:
    module = file.rpartition("/")[2].removesuffix(".py")
    for row in shown().values():
        if row.tests == module:
            yield from (name for name in row.vectors() if f"-{name}-" in f"-{parameter}-")


def run(arguments: Sequence[str] = ()) -> dict[str, int]:
    """How many vectors of each platform passed."""
    recorder = Recorder()
    files = sorted({str(ROOT / "tests" / "evidence" / f"{row.tests}.py") for row in shown().values()})
    pytest.main(["-q", "-p", "no:cacheprovider", *arguments, *files], plugins=[recorder])
    passed = recorder.good - recorder.bad
    return {name: len(passed & set(row.vectors())) for name, row in shown().items()}


def main() -> int:
    passed = run(sys.argv[1:])
    lacking = {name: row for name, row in shown().items() if passed[name] != len(row.vectors())}
    if lacking:
        sys.stderr.write(f"not every real vector passed, the README stays as it is: {', '.join(lacking)}\n")
        return 1
    readme = README.read_text()
    new = table(passed, datetime.now(UTC).strftime("%Y-%m-%d"))
    README.write_text(readme.replace(BEGIN + block(readme) + END, BEGIN + new + END))
    return 0


if __name__ == "__main__":
    sys.exit(main())
